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

void para_vae_conv_weights(para_linear *w, para_weights *list, bool video, int64_t out, int64_t in, int64_t kernel,
                           const char *prefix, const char *name) {
    if (video) para_weights_conv3d(list, w, out, in, kernel, kernel, kernel, "%s.%s.conv", prefix, name);
    else para_weights_conv2d(list, w, out, in, kernel, kernel, "%s.%s", prefix, name);
}

static void resnet_weights(para_vae_resnet *r, para_weights *list, bool video, const char *prefix, int index) {
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%s.resnets.%d", prefix, index);
    para_vae_norm_weights(&r->norm1, list, r->in, name, "norm1");
    para_vae_conv_weights(&r->conv1, list, video, r->out, r->in, 3, name, "conv1");
    para_vae_norm_weights(&r->norm2, list, r->out, name, "norm2");
    para_vae_conv_weights(&r->conv2, list, video, r->out, r->out, 3, name, "conv2");
    if (r->in != r->out) para_vae_conv_weights(&r->conv_shortcut, list, video, r->out, r->in, 1, name, "conv_shortcut");
}

void para_vae_mid_weights(para_vae_mid *m, para_weights *list, bool video, int64_t channels, bool old_names,
                          const char *prefix) {
    for (int i = 0; i < 2; i++) {
        m->resnets[i].in = m->resnets[i].out = channels;
        resnet_weights(&m->resnets[i], list, video, prefix, i);
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

void para_vae_level_weights(para_vae_level *l, para_weights *list, bool video, const char *prefix) {
    for (int i = 0; i < l->num_resnets; i++) {
        l->resnets[i].in = i ? l->out : l->in;
        l->resnets[i].out = l->out;
        resnet_weights(&l->resnets[i], list, video, prefix, i);
    }
    if (l->resample != PARA_VAE_SAME)
        para_vae_conv_weights(&l->conv, list, video, l->out, l->out, 3, prefix,
                              l->resample == PARA_VAE_UP ? "upsamplers.0.conv" : "downsamplers.0.conv");
}

static para_tensor map_tensor(const para_vae_map *m, int64_t c) {
    return para_tensor_make(m->data, m->dtype, 4, (int64_t[]){m->f, m->h, m->w, c});
}

para_tensor para_vae_map_tensor(const para_vae_map *m) {
    return map_tensor(m, m->c);
}

/* A tensor as large as the map, with c channels. */
static para_status new_map(const para_vae_map *m, para_tensor *out, int64_t c) {
    return PARA_NEW(m->dev, out, m->dtype, m->f, m->h, m->w, c);
}

void para_vae_level_size(const para_vae_level *l, bool video, int64_t size[3]) {
    for (int i = 0; i < 3; i++) {
        if (l->resample == PARA_VAE_SAME || (i ? !l->in_space : !l->in_time)) continue;
        if (l->resample == PARA_VAE_DOWN) size[i] = (size[i] + video) / 2; /* a picture loses an odd edge */
        else size[i] = i ? 2 * size[i] : 2 * size[i] - 1;                  /* the first frame stays one */
    }
}

int64_t para_vae_level_elements(const para_vae_level *l, bool video, const int64_t size[3]) {
    int64_t widest = l->in > l->out ? l->in : l->out, most = size[0] * size[1] * size[2] * widest,
            after[3] = {size[0], size[1], size[2]};
    para_vae_level_size(l, video, after);
    int64_t grown = after[0] * after[1] * after[2] * l->out;
    return most > grown ? most : grown;
}

static para_tensor as_video(para_tensor t) {
    return PARA_RESHAPE(t, 1, t.dim[0], t.dim[1], t.dim[2], t.dim[3]);
}

para_status para_vae_conv(para_device *dev, const para_linear *w, para_tensor x, para_tensor y) {
    PARA_TRY(para_device_check(dev));
    int pad = (int)w->weight.dim[w->weight.rank - 1] / 2;
    if (w->weight.rank == 5)
        return dev->ops->conv3d(dev, &(para_conv3d_args){.x = as_video(x),
                                                         .w = w,
                                                         .stride_t = 1,
                                                         .stride = 1,
                                                         .pad_h = pad,
                                                         .pad_w = pad,
                                                         .replicate = true,
                                                         .y = as_video(y)});
    return dev->ops->conv2d(
        dev,
        &(para_conv2d_args){
            .x = x, .w = w, .stride = 1, .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad, .y = y});
}

/* The last frames of what was carried and x [f, h, w, I], into what is carried. */
static para_status carry_frames(para_device *dev, para_tensor last, bool first, para_tensor x) {
    para_tensor kept = PARA_RESHAPE(last, last.dim[1], last.dim[2], last.dim[3], last.dim[4]); /* [kt - 1, h, w, I] */
    int64_t back = kept.dim[0], more = back - x.dim[0];
    for (int64_t i = 0; i < more; i++) /* x is shorter: what was carried moves up, or the first frame stands for it */
        PARA_TRY(
            dev->ops->copy(dev, para_rows(kept, i, 1), first ? para_rows(x, 0, 1) : para_rows(kept, i + x.dim[0], 1)));
    int64_t count = more > 0 ? x.dim[0] : back;
    return dev->ops->copy(dev, para_rows(kept, back - count, count), para_rows(x, x.dim[0] - count, count));
}

para_status para_vae_map_conv(const para_vae_map *m, const para_linear *w, para_tensor x, para_tensor y) {
    para_vae_carry *c = m->carry;
    if (!c || w->weight.dim[2] == 1) return para_vae_conv(m->dev, w, x, y);
    PARA_TRY(para_device_check(m->dev));
    para_tensor *last = c->last ? &c->last[c->next++] : NULL;
    para_conv3d_args a = {
        .x = as_video(x), .w = w, .stride_t = 1, .stride = 1, .pad_h = 1, .pad_w = 1, .replicate = c->replicate, .y = as_video(y)};
    if (last && !c->first) a.before = *last;
    PARA_TRY(m->dev->ops->conv3d(m->dev, &a));
    return last && !c->final ? carry_frames(m->dev, *last, c->first, x) : PARA_OK;
}

/* What a norm makes of the condition: [1, f, h, w, C] of the map's channels. */
static para_status make_condition(const para_vae_map *m, const para_linear *w, int64_t channels, para_tensor *out) {
    const para_tensor *z = &m->carry->condition;
    PARA_TRY(PARA_NEW(m->dev, out, m->dtype, 1, z->dim[0], z->dim[1], z->dim[2], channels));
    return para_vae_conv(m->dev, w, *z, PARA_RESHAPE(*out, z->dim[0], z->dim[1], z->dim[2], channels));
}

para_status para_vae_group_norm(const para_vae_map *m, const para_vae_norm *n, para_activation f, para_tensor x,
                                para_tensor y) {
    int64_t apart = m->norm_frames ? x.dim[0] : 1, together = x.dim[0] / apart;
    para_group_norm_args a = {.x = PARA_RESHAPE(x, apart, together, x.dim[1], x.dim[2], x.dim[3]),
                              .groups = m->groups,
                              .eps = m->eps,
                              .weight = n->weight,
                              .bias = n->bias,
                              .activation = f,
                              .y = PARA_RESHAPE(y, apart, together, y.dim[1], y.dim[2], y.dim[3])};
    size_t mark = para_arena_mark(&m->dev->arena);
    if (n->conv_y.weight.rank) {
        PARA_TRY(make_condition(m, &n->conv_y, x.dim[3], &a.scale));
        PARA_TRY(make_condition(m, &n->conv_b, x.dim[3], &a.shift));
    }
    PARA_TRY(m->dev->ops->group_norm(m->dev, &a));
    para_arena_release(&m->dev->arena, mark);
    return PARA_OK;
}

/* x += y */
static para_status add(para_device *dev, para_tensor x, para_tensor y) {
    return dev->ops->combine(dev, x, 2, (para_tensor[]){x, y}, (float[]){1, 1});
}

static para_status resnet_same(const para_vae_resnet *r, para_vae_map *m) {
    para_device *dev = m->dev;
    para_tensor x = para_vae_map_tensor(m), a, b; /* [f, h, w, C] all */
    PARA_TRY(new_map(m, &a, m->c));
    PARA_TRY(new_map(m, &b, m->c));
    PARA_TRY(para_vae_group_norm(m, &r->norm1, m->activation, x, a));
    PARA_TRY(para_vae_map_conv(m, &r->conv1, a, b));
    PARA_TRY(para_vae_group_norm(m, &r->norm2, m->activation, b, a));
    PARA_TRY(para_vae_map_conv(m, &r->conv2, a, b));
    return add(dev, x, b);
}

/* The shortcut comes first, so that the norm may overwrite x. */
static para_status resnet_shortcut(const para_vae_resnet *r, para_vae_map *m) {
    para_device *dev = m->dev;
    para_tensor x = para_vae_map_tensor(m), y = map_tensor(m, r->out), shortcut,
                a; /* [f, h, w, in] and [f, h, w, out] */
    PARA_TRY(new_map(m, &shortcut, r->out));
    PARA_TRY(new_map(m, &a, r->out));
    PARA_TRY(para_vae_map_conv(m, &r->conv_shortcut, x, shortcut));
    PARA_TRY(para_vae_group_norm(m, &r->norm1, m->activation, x, x));
    PARA_TRY(para_vae_map_conv(m, &r->conv1, x, a));
    PARA_TRY(para_vae_group_norm(m, &r->norm2, m->activation, a, a));
    PARA_TRY(para_vae_map_conv(m, &r->conv2, a, y));
    m->c = r->out;
    return add(dev, y, shortcut);
}

para_status para_vae_resnet_run(const para_vae_resnet *r, para_vae_map *m) {
    size_t mark = para_arena_mark(&m->dev->arena);
    PARA_TRY(r->in == r->out ? resnet_same(r, m) : resnet_shortcut(r, m));
    para_arena_release(&m->dev->arena, mark);
    return PARA_OK;
}

/* Rows [first, first + count) of [S, C] as one head. */
static para_tensor head_rows(para_tensor t, int64_t first, int64_t count) {
    para_tensor rows = para_rows(t, first, count);
    return PARA_RESHAPE(rows, 1, 1, count, t.dim[1]);
}

static para_status attention_run(const para_vae_attention *a, para_vae_map *m) {
    para_device *dev = m->dev;
    const para_ops *ops = dev->ops;
    int64_t frame = m->h * m->w, s = m->f * frame, c = a->channels;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor map = para_vae_map_tensor(m), x = PARA_RESHAPE(map, s, c), n, qkv[3]; /* [S, C] all */
    PARA_TRY(PARA_NEW(dev, &n, m->dtype, s, c));
    PARA_TRY(para_vae_group_norm(m, &a->group_norm, PARA_ACT_NONE, map, PARA_RESHAPE(n, m->f, m->h, m->w, c)));
    const para_linear *layers[3] = {&a->to_q, &a->to_k, &a->to_v};
    for (int i = 0; i < 3; i++) {
        PARA_TRY(PARA_NEW(dev, &qkv[i], m->dtype, s, c));
        PARA_TRY(ops->linear(dev, &(para_linear_args){.x = n, .w = layers[i], .y = qkv[i]}));
    }
    /* The mask of a video is one of whole frames: the queries of a frame attend to all keys up to its end. */
    for (int64_t t = 0; t < m->f; t++) {
        PARA_TRY(para_device_check(dev));
        PARA_TRY(ops->attention(dev, &(para_attention_args){.q = head_rows(qkv[0], t * frame, frame),
                                                            .k = head_rows(qkv[1], 0, (t + 1) * frame),
                                                            .v = head_rows(qkv[2], 0, (t + 1) * frame),
                                                            .out = head_rows(n, t * frame, frame),
                                                            .scale = (float)(1 / sqrt((double)c))}));
    }
    PARA_TRY(ops->linear(dev, &(para_linear_args){.x = n, .w = &a->to_out, .y = x, .accumulate = true}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

para_status para_vae_mid_run(const para_vae_mid *b, para_vae_map *m) {
    PARA_TRY(para_vae_resnet_run(&b->resnets[0], m));
    if (b->add_attention) PARA_TRY(attention_run(&b->attention, m));
    return para_vae_resnet_run(&b->resnets[1], m);
}

static void set_size(para_vae_map *m, const int64_t size[3]) {
    m->f = size[0], m->h = size[1], m->w = size[2];
}

static para_status upsample(const para_vae_level *l, para_vae_map *m) {
    para_device *dev = m->dev;
    para_tensor up; /* [1, 2h, 2w, C] */
    PARA_TRY(PARA_NEW(dev, &up, m->dtype, 1, 2 * m->h, 2 * m->w, m->c));
    PARA_TRY(dev->ops->upsample2x(dev, para_vae_map_tensor(m), up));
    m->h *= 2, m->w *= 2;
    return para_vae_conv(dev, &l->conv, up, para_vae_map_tensor(m));
}

/* The convolution itself enlarges what it reads, so that only the small map is copied. */
static para_status upsample_video(const para_vae_level *l, para_vae_map *m) {
    para_device *dev = m->dev;
    int64_t size[3] = {m->f, m->h, m->w};
    para_tensor x; /* [f, h, w, C] */
    para_vae_level_size(l, true, size);
    PARA_TRY(new_map(m, &x, m->c));
    PARA_TRY(dev->ops->copy(dev, x, para_vae_map_tensor(m)));
    set_size(m, size);
    return dev->ops->conv3d(dev, &(para_conv3d_args){.x = as_video(x),
                                                     .grown = {size[0], size[1], size[2]},
                                                     .w = &l->conv,
                                                     .stride_t = 1,
                                                     .stride = 1,
                                                     .pad_h = 1,
                                                     .pad_w = 1,
                                                     .replicate = true,
                                                     .y = as_video(para_vae_map_tensor(m))});
}

/* Of a picture diffusers pads below and to the right only. */
static para_status downsample(const para_vae_level *l, para_vae_map *m) {
    para_device *dev = m->dev;
    bool video = l->conv.weight.rank == 5;
    int64_t size[3] = {m->f, m->h, m->w};
    para_tensor x = para_vae_map_tensor(m), down; /* [f, h, w, C], smaller */
    para_vae_level_size(l, video, size);
    PARA_TRY(PARA_NEW(dev, &down, m->dtype, size[0], size[1], size[2], m->c));
    if (video)
        PARA_TRY(dev->ops->conv3d(dev, &(para_conv3d_args){.x = as_video(x),
                                                           .w = &l->conv,
                                                           .stride_t = 1 + l->in_time,
                                                           .stride = 1 + l->in_space,
                                                           .pad_h = 1,
                                                           .pad_w = 1,
                                                           .replicate = true,
                                                           .y = as_video(down)}));
    else
        PARA_TRY(dev->ops->conv2d(
            dev, &(para_conv2d_args){.x = x, .w = &l->conv, .stride = 2, .pad_bottom = 1, .pad_right = 1, .y = down}));
    set_size(m, size);
    return dev->ops->copy(dev, para_vae_map_tensor(m), down);
}

para_status para_vae_level_run(const para_vae_level *l, para_vae_map *m) {
    for (int i = 0; i < l->num_resnets; i++) PARA_TRY(para_vae_resnet_run(&l->resnets[i], m));
    if (l->resample == PARA_VAE_SAME) return PARA_OK;
    bool video = l->conv.weight.rank == 5;
    size_t mark = para_arena_mark(&m->dev->arena);
    PARA_TRY(para_device_check(m->dev));
    PARA_TRY(l->resample == PARA_VAE_DOWN ? downsample(l, m) : video ? upsample_video(l, m) : upsample(l, m));
    para_arena_release(&m->dev->arena, mark);
    return PARA_OK;
}
