/* Blocks of AutoencoderKLMochi. SPDX-License-Identifier: Apache-2.0 */
#include "vae/mochi_blocks.h"

#include <math.h>
#include <stdio.h>

#include "core/error.h"
#include "vae/autoencoder_kl_mochi_config.h"

enum { NAME_MAX_BYTES = 128, MOST_PIXELS = 1 << 15 /* whose attention is one call, as in diffusers */ };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

void para_mochi_norm_weights(para_vae_norm *n, para_weights *list, int64_t channels, const char *prefix,
                             const char *name) {
    para_weights_vector(list, &n->weight, channels, "%s.%s.norm_layer.weight", prefix, name);
    para_weights_vector(list, &n->bias, channels, "%s.%s.norm_layer.bias", prefix, name);
}

static void layer_weights(para_mochi_block *b, para_weights *list, const char *prefix, int i) {
    char name[NAME_MAX_BYTES], norm[NAME_MAX_BYTES];
    para_vae_resnet *r = &b->resnets[i];
    int64_t c = r->in = r->out = b->kind == PARA_MOCHI_UP ? b->in : b->out;
    snprintf(name, sizeof name, "%s.resnets.%d", prefix, i);
    para_mochi_norm_weights(&r->norm1, list, c, name, "norm1");
    para_vae_conv_weights(&r->conv1, list, true, c, c, 3, name, "conv1");
    para_mochi_norm_weights(&r->norm2, list, c, name, "norm2");
    para_vae_conv_weights(&r->conv2, list, true, c, c, 3, name, "conv2");
    if (!b->add_attention) return;
    para_mochi_attention *a = &b->attentions[i];
    snprintf(norm, sizeof norm, "norms.%d", i);
    para_mochi_norm_weights(&a->norm, list, c, prefix, norm);
    para_linear *layers[] = {&a->to_q, &a->to_k, &a->to_v, &a->to_out};
    const char *const names[] = {"to_q", "to_k", "to_v", "to_out.0"};
    for (int k = 0; k < 4; k++)
        para_weights_linear(list, layers[k], c, c, k == 3, "%s.attentions.%d.%s", prefix, i, names[k]);
}

void para_mochi_block_weights(para_mochi_block *b, para_weights *list, const char *prefix) {
    int64_t times = b->in_time * b->in_space * b->in_space;
    if (b->kind == PARA_MOCHI_DOWN)
        para_weights_conv3d(list, &b->resample, b->out, b->in, b->in_time, b->in_space, b->in_space, "%s.conv_in.conv",
                            prefix);
    for (int i = 0; i < b->layers; i++) layer_weights(b, list, prefix, i);
    if (b->kind == PARA_MOCHI_UP)
        para_weights_linear(list, &b->resample, b->out * times, b->in, true, "%s.proj", prefix);
}

void para_mochi_block_size(const para_mochi_block *b, int64_t size[3]) {
    for (int i = 0; i < 3; i++) {
        int64_t by = i ? b->in_space : b->in_time;
        if (b->kind == PARA_MOCHI_DOWN) size[i] = i ? size[i] / by : (size[i] - 1) / by + 1;
        if (b->kind == PARA_MOCHI_UP) size[i] *= by;
    }
}

int64_t para_mochi_block_elements(const para_mochi_block *b, const int64_t size[3]) {
    int64_t after[3] = {size[0], size[1], size[2]}, before = size[0] * size[1] * size[2] * b->in;
    para_mochi_block_size(b, after);
    int64_t then = after[0] * after[1] * after[2] * b->out;
    return before > then ? before : then;
}

static void set_size(const para_mochi_block *b, para_vae_map *m) {
    int64_t size[3] = {m->f, m->h, m->w};
    para_mochi_block_size(b, size);
    m->f = size[0], m->h = size[1], m->w = size[2], m->c = b->out;
}

/* Copies the map into memory of its own. */
static para_status take_map(const para_vae_map *m, para_tensor *out) {
    para_tensor map = para_vae_map_tensor(m);
    PARA_TRY(para_new(m->dev, out, m->dtype, 4, map.dim));
    return m->dev->ops->copy(m->dev, *out, map);
}

static para_status downsample(const para_mochi_block *b, para_vae_map *m) {
    para_tensor x, y; /* [f, h, w, C] */
    PARA_TRY(para_device_check(m->dev));
    PARA_TRY(take_map(m, &x));
    set_size(b, m);
    y = para_vae_map_tensor(m);
    return m->dev->ops->conv3d(m->dev,
                               &(para_conv3d_args){.x = PARA_RESHAPE(x, 1, x.dim[0], x.dim[1], x.dim[2], x.dim[3]),
                                                   .w = &b->resample,
                                                   .stride_t = (int)b->in_time,
                                                   .stride = (int)b->in_space,
                                                   .replicate = true,
                                                   .y = PARA_RESHAPE(y, 1, y.dim[0], y.dim[1], y.dim[2], y.dim[3])});
}

/* A linear layer gives each pixel all that it becomes; frame by frame that goes where it belongs. */
static para_status upsample(const para_mochi_block *b, para_vae_map *m) {
    const para_ops *ops = m->dev->ops;
    int64_t st = b->in_time, s = b->in_space, h = m->h, w = m->w, c = b->out;
    para_tensor x, y, wide; /* [f, h, w, C], larger, [h · w, c · st · s · s] */
    PARA_TRY(take_map(m, &x));
    PARA_TRY(PARA_NEW(m->dev, &wide, m->dtype, h * w, c * st * s * s));
    set_size(b, m);
    y = para_vae_map_tensor(m);
    for (int64_t t = 0; t < x.dim[0]; t++) {
        PARA_TRY(para_device_check(m->dev));
        PARA_TRY(ops->linear(
            m->dev,
            &(para_linear_args){.x = PARA_RESHAPE(para_rows(x, t, 1), h * w, x.dim[3]), .w = &b->resample, .y = wide}));
        para_tensor to = PARA_RESHAPE(para_rows(y, t * st, st), st, h, s, w, s, c),
                    from = PARA_RESHAPE(wide, h, w, c, st, s, s);
        PARA_TRY(ops->copy(m->dev, to, PARA_PERMUTE(from, 3, 0, 4, 1, 5, 2)));
    }
    return PARA_OK;
}

/* [f · pixels, C] as [pixels, heads, f, head], of some of the pixels. */
static para_tensor by_pixel(para_tensor t, const para_vae_map *m, int64_t first, int64_t count) {
    para_tensor split = PARA_RESHAPE(t, m->f, m->h * m->w, m->c / PARA_MOCHI_HEAD, PARA_MOCHI_HEAD);
    return para_rows(PARA_PERMUTE(split, 1, 2, 0, 3), first, count);
}

/* Each pixel attends to itself in this frame and the ones before, in heads of 32 channels, with queries and keys of length 1. */
static para_status attention_run(const para_mochi_attention *a, para_vae_map *m, para_tensor unit) {
    para_device *dev = m->dev;
    const para_ops *ops = dev->ops;
    int64_t pixels = m->h * m->w, s = m->f * pixels, c = m->c;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor map = para_vae_map_tensor(m), n, qkv[3]; /* [S, C] */
    PARA_TRY(PARA_NEW(dev, &n, m->dtype, s, c));
    PARA_TRY(para_vae_group_norm(m, &a->norm, PARA_ACT_NONE, map, PARA_RESHAPE(n, m->f, m->h, m->w, c)));
    const para_linear *layers[3] = {&a->to_q, &a->to_k, &a->to_v};
    para_head_args head[3];
    for (int i = 0; i < 3; i++) {
        PARA_TRY(PARA_NEW(dev, &qkv[i], m->dtype, s, c));
        PARA_TRY(ops->linear(dev, &(para_linear_args){.x = n, .w = layers[i], .y = qkv[i]}));
        para_tensor heads = PARA_RESHAPE(qkv[i], s, c / PARA_MOCHI_HEAD, PARA_MOCHI_HEAD);
        head[i] = (para_head_args){.x = heads, .weight = unit, .eps = 1e-12f, .y = PARA_PERMUTE(heads, 1, 0, 2)};
    }
    PARA_TRY(ops->heads(dev, 2, head)); /* queries and keys */
    for (int64_t first = 0; first < pixels; first += MOST_PIXELS) {
        int64_t count = least(MOST_PIXELS, pixels - first);
        PARA_TRY(para_device_check(dev));
        PARA_TRY(ops->attention(dev, &(para_attention_args){.q = by_pixel(qkv[0], m, first, count),
                                                            .k = by_pixel(qkv[1], m, first, count),
                                                            .v = by_pixel(qkv[2], m, first, count),
                                                            .out = by_pixel(n, m, first, count),
                                                            .scale = (float)(1 / sqrt((double)PARA_MOCHI_HEAD)),
                                                            .causal = true}));
    }
    PARA_TRY(ops->linear(
        dev, &(para_linear_args){.x = n, .w = &a->to_out, .y = PARA_RESHAPE(map, s, c), .accumulate = true}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_status resample(const para_mochi_block *b, para_vae_map *m) {
    size_t mark = para_arena_mark(&m->dev->arena);
    PARA_TRY(b->kind == PARA_MOCHI_DOWN ? downsample(b, m) : upsample(b, m));
    para_arena_release(&m->dev->arena, mark);
    return PARA_OK;
}

para_status para_mochi_block_run(const para_mochi_block *b, para_vae_map *m, para_tensor unit) {
    if (b->kind == PARA_MOCHI_DOWN) PARA_TRY(resample(b, m));
    for (int i = 0; i < b->layers; i++) {
        PARA_TRY(para_vae_resnet_run(&b->resnets[i], m));
        if (b->add_attention) PARA_TRY(attention_run(&b->attentions[i], m, unit));
    }
    return b->kind == PARA_MOCHI_UP ? resample(b, m) : PARA_OK;
}
