/* CLIPTextModel of transformers: causal pre-norm encoder, output of the end-of-text token. SPDX-License-Identifier: Apache-2.0 */
#include "text/clip_text.h"

#include <math.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/text_activation.h"
#include "text/text_ops.h"

typedef struct clip_layer {
    para_tensor norm1_weight, norm1_bias, norm2_weight, norm2_bias; /* [D] */
    para_linear q, k, v, out;                                       /* [D, D] */
    para_linear fc1, fc2;                                           /* [F, D], [D, F] */
} clip_layer;

struct para_clip_text {
    int64_t vocab, dim, mlp_dim, layers, heads, max_tokens, eos_token_id;
    double eps;
    para_activation activation;
    para_tensor token_embedding, position_embedding; /* [vocab, D], [max_tokens, D] */
    para_tensor final_weight, final_bias;            /* [D] */
    clip_layer *layer;                               /* [layers] */
};

void para_clip_text_close(para_clip_text **m) {
    if (!*m) return;
    para_free((*m)->layer);
    para_free(*m);
    *m = NULL;
}

static para_status read_config(para_clip_text *m, const para_config *c) {
    const char *activation;
    PARA_TRY(para_config_int_in(c, "vocab_size", 49408, 1, 1 << 24, &m->vocab));
    PARA_TRY(para_config_int_in(c, "hidden_size", 512, 1, 1 << 16, &m->dim));
    PARA_TRY(para_config_int_in(c, "intermediate_size", 2048, 1, 1 << 20, &m->mlp_dim));
    PARA_TRY(para_config_int_in(c, "num_hidden_layers", 12, 0, 1024, &m->layers));
    PARA_TRY(para_config_int_in(c, "num_attention_heads", 8, 1, 1024, &m->heads));
    PARA_TRY(para_config_int_in(c, "max_position_embeddings", 77, 1, 1 << 20, &m->max_tokens));
    PARA_TRY(para_config_int(c, "eos_token_id", 49407, &m->eos_token_id));
    PARA_TRY(para_config_number(c, "layer_norm_eps", 1e-5, &m->eps));
    PARA_TRY(para_config_string(c, "hidden_act", "quick_gelu", &activation));
    PARA_TRY(para_text_activation(c, "hidden_act", activation, &m->activation));
    if (m->dim % m->heads)
        return para_fail(PARA_ERR_CONFIG, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld", c->path,
                         (long long)m->dim, (long long)m->heads);
    return PARA_OK;
}

para_status para_clip_text_open(para_clip_text **out, const para_config *config) {
    para_clip_text *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    para_status status = read_config(m, config);
    if (status == PARA_OK && !(m->layer = para_alloc((size_t)m->layers, sizeof *m->layer))) status = PARA_ERR_MEMORY;
    if (status != PARA_OK) {
        para_clip_text_close(&m);
        return status;
    }
    *out = m;
    return PARA_OK;
}

void para_clip_text_weights(para_clip_text *m, para_weights *w, const para_checkpoint *checkpoint) {
    para_tensor found;
    bool bare = checkpoint && para_checkpoint_find(checkpoint, "embeddings.token_embedding.weight", &found, NULL);
    const char *p = bare ? "" : "text_model.";
    int64_t d = m->dim;
    para_weights_matrix(w, &m->token_embedding, m->vocab, d, "%sembeddings.token_embedding.weight", p);
    para_weights_matrix(w, &m->position_embedding, m->max_tokens, d, "%sembeddings.position_embedding.weight", p);
    for (int i = 0; i < m->layers; i++) {
        clip_layer *l = &m->layer[i];
        para_weights_vector(w, &l->norm1_weight, d, "%sencoder.layers.%d.layer_norm1.weight", p, i);
        para_weights_vector(w, &l->norm1_bias, d, "%sencoder.layers.%d.layer_norm1.bias", p, i);
        para_weights_linear(w, &l->q, d, d, true, "%sencoder.layers.%d.self_attn.q_proj", p, i);
        para_weights_linear(w, &l->k, d, d, true, "%sencoder.layers.%d.self_attn.k_proj", p, i);
        para_weights_linear(w, &l->v, d, d, true, "%sencoder.layers.%d.self_attn.v_proj", p, i);
        para_weights_linear(w, &l->out, d, d, true, "%sencoder.layers.%d.self_attn.out_proj", p, i);
        para_weights_vector(w, &l->norm2_weight, d, "%sencoder.layers.%d.layer_norm2.weight", p, i);
        para_weights_vector(w, &l->norm2_bias, d, "%sencoder.layers.%d.layer_norm2.bias", p, i);
        para_weights_linear(w, &l->fc1, m->mlp_dim, d, true, "%sencoder.layers.%d.mlp.fc1", p, i);
        para_weights_linear(w, &l->fc2, d, m->mlp_dim, true, "%sencoder.layers.%d.mlp.fc2", p, i);
    }
    para_weights_vector(w, &m->final_weight, d, "%sfinal_layer_norm.weight", p);
    para_weights_vector(w, &m->final_bias, d, "%sfinal_layer_norm.bias", p);
}

int64_t para_clip_text_hidden_size(const para_clip_text *m) {
    return m->dim;
}

int64_t para_clip_text_max_tokens(const para_clip_text *m) {
    return m->max_tokens;
}

int64_t para_clip_text_vocab_size(const para_clip_text *m) {
    return m->vocab;
}

/* The row that is pooled: the first end-of-text token; with the legacy eos_token_id 2, the highest id. */
static int pooled_row(const para_clip_text *m, const int32_t *ids, int n) {
    int best = 0;
    for (int i = 0; i < n; i++) {
        if (m->eos_token_id != 2 && ids[i] == m->eos_token_id) return i;
        if (m->eos_token_id == 2 && ids[i] > ids[best]) best = i;
    }
    return best;
}

static para_norm_args layer_norm(const para_clip_text *m, para_tensor x, para_tensor weight, para_tensor bias,
                                 para_tensor y) {
    return (para_norm_args){
        .kind = PARA_NORM_LAYER, .eps = (float)m->eps, .x = x, .weight = weight, .bias = bias, .y = y};
}

static para_status layers(para_clip_text *m, para_rank *rank, para_tensor x, para_tensor y) {
    para_device *dev = rank->device;
    int64_t n = x.dim[0], d = m->dim;
    para_tensor q, k, v, out, mid;
    PARA_TRY(PARA_NEW(dev, &q, x.dtype, n, d));
    PARA_TRY(PARA_NEW(dev, &k, x.dtype, n, d));
    PARA_TRY(PARA_NEW(dev, &v, x.dtype, n, d));
    PARA_TRY(PARA_NEW(dev, &out, x.dtype, n, d));
    PARA_TRY(PARA_NEW(dev, &mid, x.dtype, n, m->mlp_dim));
    for (int i = 0; i < m->layers; i++) {
        const clip_layer *l = &m->layer[i];
        PARA_TRY(para_rank_check(rank));
        para_norm_args norm1 = layer_norm(m, x, l->norm1_weight, l->norm1_bias, y);
        para_norm_args norm2 = layer_norm(m, x, l->norm2_weight, l->norm2_bias, y);
        PARA_TRY(dev->ops->norm(dev, &norm1));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->q, .y = q}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->k, .y = k}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->v, .y = v}));
        float scale = (float)(1.0 / sqrt((double)(d / m->heads)));
        PARA_TRY(para_self_attention(dev, q, k, v, m->heads, scale, true, (para_tensor){0}, out));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = out, .w = &l->out, .y = q}));
        PARA_TRY(dev->ops->residual(dev, &(para_residual_args){.x = x, .y = q, .norm = &norm2}));
        PARA_TRY(
            dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->fc1, .y = mid, .activation = m->activation}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = mid, .w = &l->fc2, .y = q}));
        PARA_TRY(dev->ops->residual(dev, &(para_residual_args){.x = x, .y = q}));
    }
    return PARA_OK;
}

para_status para_clip_text_encode(para_clip_text *m, para_rank *rank, const int32_t *ids, int n, para_tensor pooled) {
    para_device *dev = rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor x, y;
    if (n > m->max_tokens)
        return para_fail(PARA_ERR_CONFIG,
                         "%d tokens are more than the CLIP text encoder's max_position_embeddings %lld", n,
                         (long long)m->max_tokens);
    PARA_TRY(PARA_NEW(dev, &x, pooled.dtype, n, m->dim));
    PARA_TRY(PARA_NEW(dev, &y, pooled.dtype, n, m->dim));
    PARA_TRY(para_embed_tokens(dev, m->token_embedding, ids, n, x));
    PARA_TRY(dev->ops->copy(dev, y, para_rows(m->position_embedding, 0, n)));
    PARA_TRY(dev->ops->residual(dev, &(para_residual_args){.x = x, .y = y}));
    PARA_TRY(layers(m, rank, x, y));
    para_norm_args norm = layer_norm(m, para_rows(x, pooled_row(m, ids, n), 1), m->final_weight, m->final_bias, pooled);
    PARA_TRY(dev->ops->norm(dev, &norm));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
