/* T5EncoderModel of transformers: pre-RMS-norm encoder with a relative position bias and no attention scale.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/t5_encoder.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/text_activation.h"
#include "text/text_ops.h"

typedef struct t5_layer {
    para_tensor attention_norm, ff_norm; /* [D] */
    para_linear q, k, v, o;              /* [I, D], [D, I] */
    para_linear wi_0, wi_1, wo;          /* [F, D], [F, D] where gated, [D, F] */
} t5_layer;

struct para_t5_encoder {
    int64_t vocab, dim, head_dim, mlp_dim, layers, heads, buckets, max_distance;
    double eps;
    bool gated;
    para_activation activation;
    para_tensor shared;     /* [vocab, D] */
    para_tensor bias_table; /* [buckets, heads] */
    para_tensor final_norm; /* [D] */
    t5_layer *layer;        /* [layers] */
};

void para_t5_encoder_close(para_t5_encoder **m) {
    if (!*m) return;
    para_free((*m)->layer);
    para_free(*m);
    *m = NULL;
}

/* "relu", "gated-gelu", …; "gated-gelu" means gelu_new. Source: T5Config. */
static para_status read_feed_forward(para_t5_encoder *m, const para_config *c) {
    const char *name;
    PARA_TRY(para_config_string(c, "feed_forward_proj", "relu", &name));
    m->gated = strncmp(name, "gated-", 6) == 0;
    const char *activation = m->gated ? name + 6 : name;
    if (strcmp(name, "gated-gelu") == 0) activation = "gelu_new";
    return para_text_activation(c, "feed_forward_proj", activation, &m->activation);
}

static para_status read_config(para_t5_encoder *m, const para_config *c) {
    PARA_TRY(para_config_int_in(c, "vocab_size", 32128, 1, 1 << 24, &m->vocab));
    PARA_TRY(para_config_int_in(c, "d_model", 512, 1, 1 << 16, &m->dim));
    PARA_TRY(para_config_int_in(c, "d_kv", 64, 1, 1 << 12, &m->head_dim));
    PARA_TRY(para_config_int_in(c, "d_ff", 2048, 1, 1 << 20, &m->mlp_dim));
    PARA_TRY(para_config_int_in(c, "num_layers", 6, 1, 1024, &m->layers));
    PARA_TRY(para_config_int_in(c, "num_heads", 8, 1, 1024, &m->heads));
    PARA_TRY(para_config_int_in(c, "relative_attention_num_buckets", 32, 4, 1 << 16, &m->buckets));
    PARA_TRY(para_config_int_in(c, "relative_attention_max_distance", 128, 2, 1 << 24, &m->max_distance));
    PARA_TRY(para_config_number(c, "layer_norm_epsilon", 1e-6, &m->eps));
    if (m->max_distance <= m->buckets / 4)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: relative_attention_max_distance %lld must be more than a quarter of "
                         "relative_attention_num_buckets %lld",
                         c->path, (long long)m->max_distance, (long long)m->buckets);
    return read_feed_forward(m, c);
}

para_status para_t5_encoder_open(para_t5_encoder **out, const para_config *config) {
    para_t5_encoder *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    para_status status = read_config(m, config);
    if (status == PARA_OK && !(m->layer = para_alloc((size_t)m->layers, sizeof *m->layer))) status = PARA_ERR_MEMORY;
    if (status != PARA_OK) {
        para_t5_encoder_close(&m);
        return status;
    }
    *out = m;
    return PARA_OK;
}

void para_t5_encoder_weights(para_t5_encoder *m, para_weights *w, const para_checkpoint *checkpoint) {
    para_tensor found;
    bool own = checkpoint && !para_checkpoint_find(checkpoint, "shared.weight", &found, NULL) &&
               para_checkpoint_find(checkpoint, "encoder.embed_tokens.weight", &found, NULL);
    int64_t d = m->dim, inner = m->heads * m->head_dim;
    para_weights_matrix(w, &m->shared, m->vocab, d, "%s", own ? "encoder.embed_tokens.weight" : "shared.weight");
    para_weights_matrix(w, &m->bias_table, m->buckets, m->heads,
                        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    for (int i = 0; i < m->layers; i++) {
        t5_layer *l = &m->layer[i];
        para_weights_vector(w, &l->attention_norm, d, "encoder.block.%d.layer.0.layer_norm.weight", i);
        para_weights_linear(w, &l->q, inner, d, false, "encoder.block.%d.layer.0.SelfAttention.q", i);
        para_weights_linear(w, &l->k, inner, d, false, "encoder.block.%d.layer.0.SelfAttention.k", i);
        para_weights_linear(w, &l->v, inner, d, false, "encoder.block.%d.layer.0.SelfAttention.v", i);
        para_weights_linear(w, &l->o, d, inner, false, "encoder.block.%d.layer.0.SelfAttention.o", i);
        para_weights_vector(w, &l->ff_norm, d, "encoder.block.%d.layer.1.layer_norm.weight", i);
        para_weights_linear(w, &l->wi_0, m->mlp_dim, d, false, "encoder.block.%d.layer.1.DenseReluDense.%s", i,
                            m->gated ? "wi_0" : "wi");
        if (m->gated)
            para_weights_linear(w, &l->wi_1, m->mlp_dim, d, false, "encoder.block.%d.layer.1.DenseReluDense.wi_1", i);
        para_weights_linear(w, &l->wo, d, m->mlp_dim, false, "encoder.block.%d.layer.1.DenseReluDense.wo", i);
    }
    para_weights_vector(w, &m->final_norm, d, "encoder.final_layer_norm.weight");
}

int64_t para_t5_encoder_hidden_size(const para_t5_encoder *m) {
    return m->dim;
}

int64_t para_t5_encoder_vocab_size(const para_t5_encoder *m) {
    return m->vocab;
}

/* Bucket of key position minus query position, both directions. Source: T5Attention._relative_position_bucket. */
static int32_t relative_bucket(const para_t5_encoder *m, int64_t relative) {
    int64_t half = m->buckets / 2, exact = half / 2, distance = relative < 0 ? -relative : relative;
    int64_t bucket = distance;
    if (distance >= exact) {
        float ratio = logf((float)distance / (float)exact) / (float)log((double)m->max_distance / (double)exact);
        bucket = exact + (int64_t)(ratio * (float)(half - exact));
        if (bucket > half - 1) bucket = half - 1;
    }
    return (int32_t)(bucket + (relative > 0 ? half : 0));
}

/* The bias depends on key minus query only: a row of 2n - 1 values per head, seen as [1, heads, n, n] by strides. */
static para_status position_bias(para_t5_encoder *m, para_device *dev, int n, para_tensor *mask) {
    int64_t span = 2 * (int64_t)n - 1;
    para_tensor row; /* [heads, 2n - 1] */
    PARA_TRY(PARA_NEW(dev, &row, PARA_F32, m->heads, span));
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor by_distance; /* [2n - 1, heads] */
    PARA_TRY(PARA_NEW(dev, &by_distance, PARA_F32, span, m->heads));
    int32_t *buckets = para_alloc((size_t)span, sizeof *buckets);
    if (!buckets) return PARA_ERR_MEMORY;
    for (int64_t i = 0; i < span; i++) buckets[i] = relative_bucket(m, i - (n - 1));
    para_status status = para_embed_tokens(dev, m->bias_table, buckets, (int)span, by_distance);
    para_free(buckets);
    PARA_TRY(status);
    PARA_TRY(dev->ops->copy(dev, row, PARA_PERMUTE(by_distance, 1, 0)));
    para_arena_release(&dev->arena, mark);
    *mask = (para_tensor){
        .dtype = PARA_F32,
        .rank = 4,
        .dim = {1, m->heads, n, n},
        .stride = {0, span, -1, 1},
        .data = (float *)row.data + (n - 1),
    };
    return PARA_OK;
}

static para_norm_args rms_norm(const para_t5_encoder *m, para_tensor x, para_tensor weight, para_tensor y) {
    return (para_norm_args){.kind = PARA_NORM_RMS, .eps = (float)m->eps, .x = x, .weight = weight, .y = y};
}

static para_status feed_forward(const para_t5_encoder *m, para_device *dev, const t5_layer *l, para_tensor x,
                                para_tensor y) {
    if (m->gated) return para_gated_feed_forward(dev, m->activation, &l->wi_0, &l->wi_1, &l->wo, x, y);
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor inner; /* [n, F] */
    PARA_TRY(PARA_NEW(dev, &inner, x.dtype, x.dim[0], m->mlp_dim));
    PARA_TRY(
        dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &l->wi_0, .y = inner, .activation = m->activation}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = inner, .w = &l->wo, .y = y}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_status layers(para_t5_encoder *m, para_rank *rank, para_tensor x, para_tensor mask) {
    para_device *dev = rank->device;
    int64_t n = x.dim[0], inner = m->heads * m->head_dim;
    para_tensor y, q, k, v, out;
    PARA_TRY(PARA_NEW(dev, &y, x.dtype, n, m->dim));
    PARA_TRY(PARA_NEW(dev, &q, x.dtype, n, inner));
    PARA_TRY(PARA_NEW(dev, &k, x.dtype, n, inner));
    PARA_TRY(PARA_NEW(dev, &v, x.dtype, n, inner));
    PARA_TRY(PARA_NEW(dev, &out, x.dtype, n, inner));
    for (int i = 0; i < m->layers; i++) {
        const t5_layer *l = &m->layer[i];
        PARA_TRY(para_rank_check(rank));
        para_norm_args norm = rms_norm(m, x, l->attention_norm, y), ff_norm = rms_norm(m, x, l->ff_norm, y);
        PARA_TRY(dev->ops->norm(dev, &norm));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->q, .y = q}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->k, .y = k}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &l->v, .y = v}));
        PARA_TRY(para_self_attention(dev, q, k, v, m->heads, 1.0f, false, mask, out));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = out, .w = &l->o, .y = y}));
        PARA_TRY(dev->ops->residual(dev, &(para_residual_args){.x = x, .y = y, .norm = &ff_norm}));
        PARA_TRY(feed_forward(m, dev, l, y, y));
        PARA_TRY(dev->ops->residual(dev, &(para_residual_args){.x = x, .y = y}));
    }
    return PARA_OK;
}

para_status para_t5_encoder_encode(para_t5_encoder *m, para_rank *rank, const int32_t *ids, int n, para_tensor out) {
    para_device *dev = rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor x, mask;
    PARA_TRY(PARA_NEW(dev, &x, out.dtype, n, m->dim));
    PARA_TRY(para_embed_tokens(dev, m->shared, ids, n, x));
    PARA_TRY(position_bias(m, dev, n, &mask));
    PARA_TRY(layers(m, rank, x, mask));
    para_norm_args norm = rms_norm(m, x, m->final_norm, out);
    PARA_TRY(dev->ops->norm(dev, &norm));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
