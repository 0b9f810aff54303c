/* LlamaModel of transformers: causal pre-RMS-norm decoder, grouped query heads, rotary positions. SPDX-License-Identifier: Apache-2.0 */
#include "text/llama_model.h"

#include <math.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/llama_rope.h"
#include "text/text_activation.h"
#include "text/text_ops.h"

/* D hidden size, I heads · head_dim, J key heads · head_dim, F intermediate size. */
typedef struct llama_layer {
    para_tensor attention_norm, mlp_norm; /* [D] */
    para_linear q, k, v, o;               /* [I, D], [J, D], [J, D], [D, I] */
    para_linear gate, up, down;           /* [F, D], [F, D], [D, F] */
} llama_layer;

struct para_llama_model {
    int64_t vocab, dim, mlp_dim, heads, key_heads, head_dim;
    int64_t layers; /* that are computed */
    bool norms;     /* the result goes through the norm behind the last layer */
    bool attention_bias, mlp_bias;
    double eps;
    para_activation activation;
    para_llama_rope rope;
    para_tensor embed_tokens; /* [vocab, D] */
    para_tensor final_norm;   /* [D], where `norms` */
    llama_layer *layer;       /* [layers] */
};

void para_llama_model_close(para_llama_model **m) {
    if (!*m) return;
    para_free((*m)->layer);
    para_free(*m);
    *m = NULL;
}

static para_status check_heads(const para_llama_model *m, const para_config *c) {
    if (m->dim % m->heads)
        return para_fail(PARA_ERR_CONFIG, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld", c->path,
                         (long long)m->dim, (long long)m->heads);
    if (m->heads % m->key_heads)
        return para_fail(PARA_ERR_CONFIG, "%s: num_attention_heads %lld is not a multiple of num_key_value_heads %lld",
                         c->path, (long long)m->heads, (long long)m->key_heads);
    if (m->head_dim % 2)
        return para_fail(PARA_ERR_CONFIG, "%s: head_dim %lld is odd; rotary positions turn pairs", c->path,
                         (long long)m->head_dim);
    return PARA_OK;
}

static para_status read_config(para_llama_model *m, const para_config *c, int skip) {
    const char *activation;
    int64_t layers;
    PARA_TRY(para_config_int_in(c, "vocab_size", 32000, 1, 1 << 24, &m->vocab));
    PARA_TRY(para_config_int_in(c, "hidden_size", 4096, 1, 1 << 16, &m->dim));
    PARA_TRY(para_config_int_in(c, "intermediate_size", 11008, 1, 1 << 20, &m->mlp_dim));
    PARA_TRY(para_config_int_in(c, "num_hidden_layers", 32, 1, 1024, &layers));
    PARA_TRY(para_config_int_in(c, "num_attention_heads", 32, 1, 1024, &m->heads));
    PARA_TRY(para_config_int_in(c, "num_key_value_heads", m->heads, 1, 1024, &m->key_heads));
    PARA_TRY(para_config_int_in(c, "head_dim", m->dim / m->heads, 1, 1 << 12, &m->head_dim));
    PARA_TRY(para_config_bool(c, "attention_bias", false, &m->attention_bias));
    PARA_TRY(para_config_bool(c, "mlp_bias", false, &m->mlp_bias));
    PARA_TRY(para_config_number(c, "rms_norm_eps", 1e-6, &m->eps));
    PARA_TRY(para_config_string(c, "hidden_act", "silu", &activation));
    PARA_TRY(para_text_activation(c, "hidden_act", activation, &m->activation));
    PARA_TRY(para_llama_rope_read(&m->rope, c));
    if (skip < 0 || skip > layers)
        return para_fail(PARA_ERR_CONFIG, "%s: num_hidden_layers is %lld, of which the last %d cannot be left out",
                         c->path, (long long)layers, skip);
    m->layers = layers - skip;
    m->norms = skip == 0;
    return check_heads(m, c);
}

para_status para_llama_model_open(para_llama_model **out, const para_config *config, int num_hidden_layers_to_skip) {
    para_llama_model *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    para_status status = read_config(m, config, num_hidden_layers_to_skip);
    if (status == PARA_OK && !(m->layer = para_alloc((size_t)m->layers, sizeof *m->layer))) status = PARA_ERR_MEMORY;
    if (status != PARA_OK) {
        para_llama_model_close(&m);
        return status;
    }
    *out = m;
    return PARA_OK;
}

void para_llama_model_weights(para_llama_model *m, para_weights *w, const para_checkpoint *checkpoint) {
    para_tensor found;
    bool whole = checkpoint && para_checkpoint_find(checkpoint, "model.embed_tokens.weight", &found, NULL);
    const char *p = whole ? "model." : ""; /* a file of LlamaForCausalLM */
    int64_t d = m->dim, inner = m->heads * m->head_dim, key_inner = m->key_heads * m->head_dim;
    para_weights_matrix(w, &m->embed_tokens, m->vocab, d, "%sembed_tokens.weight", p);
    for (int i = 0; i < m->layers; i++) {
        llama_layer *l = &m->layer[i];
        para_weights_vector(w, &l->attention_norm, d, "%slayers.%d.input_layernorm.weight", p, i);
        para_weights_linear(w, &l->q, inner, d, m->attention_bias, "%slayers.%d.self_attn.q_proj", p, i);
        para_weights_linear(w, &l->k, key_inner, d, m->attention_bias, "%slayers.%d.self_attn.k_proj", p, i);
        para_weights_linear(w, &l->v, key_inner, d, m->attention_bias, "%slayers.%d.self_attn.v_proj", p, i);
        para_weights_linear(w, &l->o, d, inner, m->attention_bias, "%slayers.%d.self_attn.o_proj", p, i);
        para_weights_vector(w, &l->mlp_norm, d, "%slayers.%d.post_attention_layernorm.weight", p, i);
        para_weights_linear(w, &l->gate, m->mlp_dim, d, m->mlp_bias, "%slayers.%d.mlp.gate_proj", p, i);
        para_weights_linear(w, &l->up, m->mlp_dim, d, m->mlp_bias, "%slayers.%d.mlp.up_proj", p, i);
        para_weights_linear(w, &l->down, d, m->mlp_dim, m->mlp_bias, "%slayers.%d.mlp.down_proj", p, i);
    }
    if (m->norms) para_weights_vector(w, &m->final_norm, d, "%snorm.weight", p);
}

int64_t para_llama_model_hidden_size(const para_llama_model *m) {
    return m->dim;
}

int64_t para_llama_model_vocab_size(const para_llama_model *m) {
    return m->vocab;
}

static para_norm_args rms_norm(const para_llama_model *m, para_tensor x, para_tensor weight, para_tensor y) {
    return (para_norm_args){.kind = PARA_NORM_RMS, .eps = (float)m->eps, .x = x, .weight = weight, .y = y};
}

/* cos, sin [n, head_dim] on the device. */
static para_status make_tables(const para_llama_model *m, para_device *dev, int64_t n, para_tensor *cos,
                               para_tensor *sin) {
    PARA_TRY(PARA_NEW(dev, cos, PARA_F32, n, m->head_dim));
    PARA_TRY(PARA_NEW(dev, sin, PARA_F32, n, m->head_dim));
    size_t count = (size_t)n * (size_t)m->head_dim;
    float *host = para_alloc(2 * count, sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    para_llama_rope_tables(&m->rope, n, m->head_dim, host, host + count);
    para_status status = dev->ops->upload(dev, *cos, host);
    if (status == PARA_OK) status = dev->ops->upload(dev, *sin, host + count);
    para_free(host);
    return status;
}

/* The heads of x [n, heads · head_dim], turned where they lie. */
static para_head_args turned(para_tensor x, int64_t head_dim, para_tensor cos, para_tensor sin) {
    para_tensor split = PARA_RESHAPE(x, x.dim[0], x.dim[1] / head_dim, head_dim);
    return (para_head_args){.x = split, .cos = cos, .sin = sin, .y = PARA_PERMUTE(split, 1, 0, 2)};
}

static para_status layers(const para_llama_model *m, para_rank *rank, para_tensor x, para_tensor cos, para_tensor sin) {
    para_device *dev = rank->device;
    int64_t n = x.dim[0];
    float scale = (float)(1.0 / sqrt((double)m->head_dim));
    para_tensor y, q, k, v, out;
    PARA_TRY(PARA_NEW(dev, &y, x.dtype, n, m->dim));
    PARA_TRY(PARA_NEW(dev, &q, x.dtype, n, m->heads * m->head_dim));
    PARA_TRY(PARA_NEW(dev, &k, x.dtype, n, m->key_heads * m->head_dim));
    PARA_TRY(PARA_NEW(dev, &v, x.dtype, n, m->key_heads * m->head_dim));
    PARA_TRY(PARA_NEW(dev, &out, x.dtype, n, m->heads * m->head_dim));
    const para_head_args heads[] = {turned(q, m->head_dim, cos, sin), turned(k, m->head_dim, cos, sin)};
    for (int i = 0; i < m->layers; i++) {
        const llama_layer *l = &m->layer[i];
        PARA_TRY(para_rank_check(rank));
        para_norm_args norm = rms_norm(m, x, l->attention_norm, y), mlp_norm = rms_norm(m, x, l->mlp_norm, y);
        PARA_TRY(dev->ops->norm(dev, &norm));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->q, .y = q}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->k, .y = k}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->v, .y = v}));
        PARA_TRY(dev->ops->heads(dev, 2, heads));
        PARA_TRY(para_self_attention(dev, q, k, v, m->heads, scale, true, (para_tensor){0}, out));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = out, .w = &l->o, .y = y}));
        PARA_TRY(dev->ops->residual(dev, &(para_residual_args){.x = x, .y = y, .norm = &mlp_norm}));
        PARA_TRY(para_gated_feed_forward(dev, m->activation, &l->gate, &l->up, &l->down, y, y));
        PARA_TRY(dev->ops->residual(dev, &(para_residual_args){.x = x, .y = y}));
    }
    return PARA_OK;
}

para_status para_llama_model_encode(para_llama_model *m, para_rank *rank, const int32_t *ids, int n, int first,
                                    para_tensor out) {
    para_device *dev = rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor x, cos, sin;
    PARA_TRY(PARA_NEW(dev, &x, out.dtype, n, m->dim));
    PARA_TRY(para_embed_tokens(dev, m->embed_tokens, ids, n, x));
    PARA_TRY(make_tables(m, dev, n, &cos, &sin));
    PARA_TRY(layers(m, rank, x, cos, sin));
    para_norm_args norm = rms_norm(m, para_rows(x, first, n - first), m->final_norm, out);
    PARA_TRY(m->norms ? dev->ops->norm(dev, &norm) : dev->ops->copy(dev, out, norm.x));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
