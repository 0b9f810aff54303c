/* Resnets, attention and levels of a VAE. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_blocks.h"

#include <math.h>
#include <stdio.h>

#include "core/error.h"

enum { NAME_MAX_BYTES = 128 };

void para_vae_norm_weights(para_vae_norm *n, para_weights *list, int64_t channels, const char *prefix,
                           const char *name) {
    para_weights_vector(list, &n->weight, channels, "%s.%s.weight", prefix, name);
    para_weights_vector(list, &n->bias, channels, "%s.%s.bias", prefix, name);
}

static void resnet_weights(para_vae_resnet *r, para_weights *list, const char *prefix, int index) {
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%s.resnets.%d", prefix, index);
    para_vae_norm_weights(&r->norm1, list, r->in, name, "norm1");
    para_weights_conv2d(list, &r->conv1, r->out, r->in, 3, 3, "%s.conv1", name);
    para_vae_norm_weights(&r->norm2, list, r->out, name, "norm2");
    para_weights_conv2d(list, &r->conv2, r->out, r->out, 3, 3, "%s.conv2", name);
    if (r->in != r->out) para_weights_conv2d(list, &r->conv_shortcut, r->out, r->in, 1, 1, "%s.conv_shortcut", name);
}

void para_vae_mid_weights(para_vae_mid *m, para_weights *list, int64_t channels, bool old_names, const char *prefix) {
    for (int i = 0; i < 2; i++) {
        m->resnets[i].in = m->resnets[i].out = channels;
        resnet_weights(&m->resnets[i], list, prefix, i);
    }
    if (!m->add_attention) return;
    para_vae_attention *a = &m->attention;
    a->channels = channels;
    para_vae_norm_weights(&a->group_norm, list, channels, prefix, "attentions.0.group_norm");
    const char *names[2][4] = {{"to_q", "to_k", "to_v", "to_out.0"}, {"query", "key", "value", "proj_attn"}};
    para_linear *layers[4] = {&a->to_q, &a->to_k, &a->to_v, &a->to_out};
    for (int i = 0; i < 4; i++)
        para_weights_linear(list, layers[i], channels, channels, true, "%s.attentions.0.%s", prefix,
                            names[old_names][i]);
}

void para_vae_level_weights(para_vae_level *l, para_weights *list, const char *prefix) {
    for (int i = 0; i < l->num_resnets; i++) {
        l->resnets[i].in = i ? l->out : l->in;
        l->resnets[i].out = l->out;
        resnet_weights(&l->resnets[i], list, prefix, i);
    }
    if (l->resample != PARA_VAE_SAME)
        para_weights_conv2d(list, &l->conv, l->out, l->out, 3, 3, "%s.%s.0.conv", prefix,
                            l->resample == PARA_VAE_UP ? "upsamplers" : "downsamplers");
}

static para_tensor map_tensor(const para_vae_map *m, int64_t h, int64_t w, int64_t c) {
    return para_tensor_make(m->data, m->dtype, 4, (int64_t[]){1, h, w, c});
}

para_tensor para_vae_map_tensor(const para_vae_map *m) {
    return map_tensor(m, m->h, m->w, m->c);
}

int64_t para_vae_level_elements(const para_vae_level *l, int64_t h, int64_t w) {
    int64_t widest = l->in > l->out ? l->in : l->out;
    int64_t after = l->resample == PARA_VAE_UP ? 4 * l->out : 0;
    return h * w * (widest > after ? widest : after);
}

para_status para_vae_conv(para_device *dev, const para_linear *w, para_tensor x, para_tensor y) {
    PARA_TRY(para_device_check(dev));
    int pad = (int)w->weight.dim[2] / 2;
    return dev->ops->conv2d(
        dev,
        &(para_conv2d_args){
            .x = x, .w = w, .stride = 1, .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad, .y = y});
}

para_status para_vae_group_norm(const para_vae_map *m, const para_vae_norm *n, para_activation f, para_tensor x,
                                para_tensor y) {
    return m->dev->ops->group_norm(
        m->dev,
        &(para_group_norm_args){
            .x = x, .groups = m->groups, .eps = 1e-6f, .weight = n->weight, .bias = n->bias, .activation = f, .y = y});
}

/* x += y */
static para_status add(para_device *dev, para_tensor x, para_tensor y) {
    return dev->ops->combine(dev, x, 2, (para_tensor[]){x, y}, (float[]){1, 1});
}

static para_status resnet_same(const para_vae_resnet *r, para_vae_map *m) {
    para_device *dev = m->dev;
    para_tensor x = para_vae_map_tensor(m), a, b; /* [1, h, w, C] all */
    PARA_TRY(PARA_NEW(dev, &a, m->dtype, 1, m->h, m->w, m->c));
    PARA_TRY(PARA_NEW(dev, &b, m->dtype, 1, m->h, m->w, m->c));
    PARA_TRY(para_vae_group_norm(m, &r->norm1, m->activation, x, a));
    PARA_TRY(para_vae_conv(dev, &r->conv1, a, b));
    PARA_TRY(para_vae_group_norm(m, &r->norm2, m->activation, b, a));
    PARA_TRY(para_vae_conv(dev, &r->conv2, a, b));
    return add(dev, x, b);
}

/* The shortcut comes first, so that the norm may overwrite x. */
static para_status resnet_shortcut(const para_vae_resnet *r, para_vae_map *m) {
    para_device *dev = m->dev;
    para_tensor x = para_vae_map_tensor(m), y = map_tensor(m, m->h, m->w, r->out), shortcut,
                a; /* [1, h, w, in] and [1, h, w, out] */
    PARA_TRY(PARA_NEW(dev, &shortcut, m->dtype, 1, m->h, m->w, r->out));
    PARA_TRY(PARA_NEW(dev, &a, m->dtype, 1, m->h, m->w, r->out));
    PARA_TRY(para_vae_conv(dev, &r->conv_shortcut, x, shortcut));
    PARA_TRY(para_vae_group_norm(m, &r->norm1, m->activation, x, x));
    PARA_TRY(para_vae_conv(dev, &r->conv1, x, a));
    PARA_TRY(para_vae_group_norm(m, &r->norm2, m->activation, a, a));
    PARA_TRY(para_vae_conv(dev, &r->conv2, a, y));
    m->c = r->out;
    return add(dev, y, shortcut);
}

static para_status resnet_run(const para_vae_resnet *r, para_vae_map *m) {
    size_t mark = para_arena_mark(&m->dev->arena);
    PARA_TRY(r->in == r->out ? resnet_same(r, m) : resnet_shortcut(r, m));
    para_arena_release(&m->dev->arena, mark);
    return PARA_OK;
}

static para_status attention_run(const para_vae_attention *a, para_vae_map *m) {
    para_device *dev = m->dev;
    const para_ops *ops = dev->ops;
    int64_t s = m->h * m->w, c = a->channels;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor map = para_vae_map_tensor(m), x = PARA_RESHAPE(map, s, c), n, qkv[3]; /* [S, C] all */
    PARA_TRY(PARA_NEW(dev, &n, m->dtype, s, c));
    PARA_TRY(para_vae_group_norm(m, &a->group_norm, PARA_ACT_NONE, map, PARA_RESHAPE(n, 1, m->h, m->w, c)));
    const para_linear *layers[3] = {&a->to_q, &a->to_k, &a->to_v};
    for (int i = 0; i < 3; i++) {
        PARA_TRY(PARA_NEW(dev, &qkv[i], m->dtype, s, c));
        PARA_TRY(ops->linear(dev, &(para_linear_args){.x = n, .w = layers[i], .y = qkv[i]}));
        qkv[i] = PARA_RESHAPE(qkv[i], 1, 1, s, c);
    }
    PARA_TRY(ops->attention(dev, &(para_attention_args){.q = qkv[0],
                                                        .k = qkv[1],
                                                        .v = qkv[2],
                                                        .out = PARA_RESHAPE(n, 1, 1, s, c),
                                                        .scale = (float)(1 / sqrt((double)c))}));
    PARA_TRY(ops->linear(dev, &(para_linear_args){.x = n, .w = &a->to_out, .y = x, .accumulate = true}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

para_status para_vae_mid_run(const para_vae_mid *b, para_vae_map *m) {
    PARA_TRY(resnet_run(&b->resnets[0], m));
    if (b->add_attention) PARA_TRY(attention_run(&b->attention, m));
    return resnet_run(&b->resnets[1], m);
}

static para_status upsample(const para_vae_level *l, para_vae_map *m) {
    para_device *dev = m->dev;
    para_tensor up; /* [1, 2h, 2w, C] */
    PARA_TRY(PARA_NEW(dev, &up, m->dtype, 1, 2 * m->h, 2 * m->w, m->c));
    PARA_TRY(dev->ops->upsample2x(dev, para_vae_map_tensor(m), up));
    m->h *= 2, m->w *= 2;
    return para_vae_conv(dev, &l->conv, up, para_vae_map_tensor(m));
}

/* Diffusers pads below and to the right only. */
static para_status downsample(const para_vae_level *l, para_vae_map *m) {
    para_device *dev = m->dev;
    para_tensor down; /* [1, h / 2, w / 2, C] */
    PARA_TRY(PARA_NEW(dev, &down, m->dtype, 1, m->h / 2, m->w / 2, m->c));
    PARA_TRY(dev->ops->conv2d(
        dev, &(para_conv2d_args){
                 .x = para_vae_map_tensor(m), .w = &l->conv, .stride = 2, .pad_bottom = 1, .pad_right = 1, .y = down}));
    m->h /= 2, m->w /= 2;
    return dev->ops->copy(dev, para_vae_map_tensor(m), down);
}

para_status para_vae_level_run(const para_vae_level *l, para_vae_map *m) {
    for (int i = 0; i < l->num_resnets; i++) PARA_TRY(resnet_run(&l->resnets[i], m));
    if (l->resample == PARA_VAE_SAME) return PARA_OK;
    size_t mark = para_arena_mark(&m->dev->arena);
    PARA_TRY(l->resample == PARA_VAE_UP ? upsample(l, m) : downsample(l, m));
    para_arena_release(&m->dev->arena, mark);
    return PARA_OK;
}
