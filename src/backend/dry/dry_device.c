/* The dry back end: computes nothing, counts FLOPs and bytes, finds the arena's peak. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backend/backend.h"
#include "backend/conv3d.h"
#include "backend/counts.h"
#include "backend/cpu/cpu_scratch.h"
#include "backend/cuda_scratch.h"
#include "core/alloc.h"
#include "core/error.h"

typedef struct dry_impl {
    para_counts counts;
    bool gpu; /* scratch is that of the cuda back end's ops, not of the cpu's */
    para_onednn *onednn; /* what it said for the cpu's ops, by shape */
    const para_op_watch *watch;
} dry_impl;

static bool like_gpu(const para_device *dev) {
    return ((const dry_impl *)dev->impl)->gpu;
}

static double bytes_of(const para_tensor *t) {
    return t->data ? (double)para_tensor_count(t) * (double)para_dtype_size(t->dtype) : 0;
}

static para_status count_op(para_device *dev, const para_counted_op *op) {
    para_counts *c = para_dry_counts(dev);
    const para_op_watch *watch = ((const dry_impl *)dev->impl)->watch;
    *(op->rate == PARA_RATE_ATTENTION ? &c->attention_flops : &c->matmul_flops) += op->flops;
    c->bytes += op->bytes;
    c->ops++;
    if (watch) watch->op(watch->user, op);
    return PARA_OK;
}

/* An op that only moves memory. */
static para_status count(para_device *dev, para_rate rate, double bytes) {
    return count_op(dev, &(para_counted_op){.rate = rate, .bytes = bytes});
}

/* A product of [m, k] and [k, n]. */
static para_status count_product(para_device *dev, int64_t m, int64_t n, int64_t k, double bytes, double activation) {
    return count_op(dev, &(para_counted_op){.rate = PARA_RATE_LINEAR,
                                            .size = {m, n, k},
                                            .flops = 2.0 * (double)m * (double)n * (double)k,
                                            .bytes = bytes,
                                            .activation = activation});
}

/* Takes and gives back what the real op would take, so that the peak is the real one. */
static para_status touch_scratch(para_device *dev, size_t bytes) {
    if (!bytes) return PARA_OK;
    size_t mark = para_arena_mark(&dev->arena);
    void *p;
    PARA_TRY(para_arena_take(&dev->arena, bytes, &p));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_onednn **kept(para_device *dev) {
    return &((dry_impl *)dev->impl)->onednn;
}

static void dry_close(para_device *dev) {
    para_onednn_close(kept(dev));
    para_free(dev->impl);
    para_free(dev);
}

static para_status dry_alloc(para_device *dev, size_t bytes, void **out) {
    (void)bytes;
    *out = dev->arena.base; /* never dereferenced */
    return PARA_OK;
}

static void dry_free(para_device *dev, void *p) {
    (void)dev;
    (void)p;
}

static para_status dry_upload(para_device *dev, para_tensor dst, const void *src) {
    (void)src;
    return count(dev, PARA_RATE_COPY, bytes_of(&dst));
}

static para_status dry_download(para_device *dev, void *dst, const para_tensor *src) {
    (void)dst;
    return count(dev, PARA_RATE_COPY, bytes_of(src));
}

static para_status dry_copy(para_device *dev, para_tensor dst, para_tensor src) {
    return count(dev, PARA_RATE_COPY, bytes_of(&dst) + bytes_of(&src));
}

static para_status dry_linear(para_device *dev, const para_linear_args *a) {
    size_t scratch;
    if (like_gpu(dev)) scratch = para_cuda_linear_scratch(a);
    else PARA_TRY(para_cpu_linear_scratch(kept(dev), a, dev->threads, &scratch));
    PARA_TRY(touch_scratch(dev, scratch));
    double activation = a->activation == PARA_ACT_NONE ? 0 : 2 * bytes_of(&a->y);
    return count_product(dev, a->x.dim[0], a->y.dim[1], a->x.dim[1], bytes_of(&a->x) + bytes_of(&a->y) + bytes_of(&a->w->weight), activation);
}

static para_status dry_conv2d(para_device *dev, const para_conv2d_args *a) {
    size_t scratch;
    if (like_gpu(dev)) scratch = para_cuda_conv2d_scratch(a);
    else PARA_TRY(para_cpu_conv2d_scratch(kept(dev), a, dev->threads, &scratch));
    PARA_TRY(touch_scratch(dev, scratch));
    const int64_t *k = a->w->weight.dim;
    return count_product(dev, para_tensor_count(&a->y) / k[0], k[0], k[1] * k[2] * k[3], bytes_of(&a->x) + bytes_of(&a->y) + bytes_of(&a->w->weight), 0);
}

static para_status dry_conv3d(para_device *dev, const para_conv3d_args *a) {
    size_t scratch;
    PARA_TRY(para_conv3d_check(a));
    if (like_gpu(dev)) scratch = para_cuda_conv3d_scratch(a);
    else PARA_TRY(para_cpu_conv3d_scratch(kept(dev), a, dev->threads, &scratch));
    PARA_TRY(touch_scratch(dev, scratch));
    const int64_t *k = a->w->weight.dim;
    return count_product(dev, para_tensor_count(&a->y) / k[0], k[0], k[1] * k[2] * k[3] * k[4],
                         bytes_of(&a->x) + bytes_of(&a->y) + bytes_of(&a->w->weight), 0);
}

static para_status dry_embedding(para_device *dev, para_tensor table, para_tensor ids, para_tensor y) {
    (void)table;
    return count(dev, PARA_RATE_COPY, bytes_of(&ids) + 2 * bytes_of(&y));
}

static para_status dry_norm(para_device *dev, const para_norm_args *a) {
    return count(dev, PARA_RATE_NORM, bytes_of(&a->x) + bytes_of(&a->y));
}

static para_status dry_residual(para_device *dev, const para_residual_args *a) {
    return count(dev, PARA_RATE_NORM, 2 * bytes_of(&a->x) + bytes_of(&a->y) + (a->norm ? bytes_of(&a->norm->y) : 0));
}

static para_status dry_group_norm(para_device *dev, const para_group_norm_args *a) {
    PARA_TRY(touch_scratch(dev, like_gpu(dev) ? para_cuda_group_norm_scratch(a) : para_cpu_group_norm_scratch(a, dev->threads)));
    return count(dev, PARA_RATE_NORM, bytes_of(&a->x) + bytes_of(&a->y) + bytes_of(&a->scale) + bytes_of(&a->shift));
}

/* One by one, as their time was measured. What an operand turns by hardly counts beside all its heads. */
static para_status dry_heads(para_device *dev, int n, const para_head_args *a) {
    for (int i = 0; i < n; i++) PARA_TRY(count(dev, PARA_RATE_HEAD, 2 * bytes_of(&a[i].x)));
    return PARA_OK;
}

static para_status dry_attention(para_device *dev, const para_attention_args *a) {
    PARA_TRY(touch_scratch(dev, like_gpu(dev) ? para_cuda_attention_scratch(a) : para_cpu_attention_scratch(a, dev->threads)));
    double pairs = (double)(a->q.dim[0] * a->q.dim[1]) * (double)(a->q.dim[2] * a->k.dim[2]);
    double flops = 2.0 * pairs * (double)(a->q.dim[3] + a->v.dim[3]);
    return count_op(dev, &(para_counted_op){.rate = PARA_RATE_ATTENTION,
                                            .size = {a->q.dim[0] * a->q.dim[1], a->q.dim[2], a->k.dim[2], a->q.dim[3]},
                                            .flops = flops,
                                            .bytes = bytes_of(&a->q) + bytes_of(&a->k) + bytes_of(&a->v) + bytes_of(&a->out)});
}

static para_status dry_attention_parts(para_device *dev, int parts, const para_attention_args *a) {
    para_attention_args all = *a;
    for (int i = 1; i < parts; i++) {
        all.q.dim[2] += a[i].q.dim[2];
        all.out.dim[2] += a[i].out.dim[2];
    }
    return dry_attention(dev, &all);
}

static para_status dry_attention_merge(para_device *dev, const para_merge_args *a) {
    return count(dev, PARA_RATE_MERGE,
                 2 * (bytes_of(&a->out) + bytes_of(&a->lse)) + bytes_of(&a->part_out) + bytes_of(&a->part_lse));
}

static para_status dry_activate(para_device *dev, para_activation f, para_tensor x, para_tensor y) {
    (void)f;
    return count(dev, PARA_RATE_ACTIVATION, bytes_of(&x) + bytes_of(&y));
}

static para_status dry_gated(para_device *dev, para_activation f, para_tensor a, para_tensor b, para_tensor y) {
    (void)f;
    return count(dev, PARA_RATE_ACTIVATION, bytes_of(&a) + bytes_of(&b) + bytes_of(&y));
}

static para_status dry_combine(para_device *dev, para_tensor y, int n, const para_tensor *x, const float *c) {
    (void)c;
    double bytes = bytes_of(&y);
    for (int i = 0; i < n; i++) bytes += bytes_of(&x[i]);
    return count(dev, PARA_RATE_COPY, bytes);
}

static para_status dry_change(para_device *dev, para_tensor before, para_tensor now, para_tensor sums) {
    return count(dev, PARA_RATE_COPY, bytes_of(&before) + bytes_of(&now) + bytes_of(&sums));
}

static para_status dry_upsample2x(para_device *dev, para_tensor x, para_tensor y) {
    return count(dev, PARA_RATE_COPY, bytes_of(&x) + bytes_of(&y));
}

static para_status dry_blend(para_device *dev, para_tensor edge, para_tensor dst, int axis) {
    (void)axis;
    return count(dev, PARA_RATE_COPY, bytes_of(&edge) + 2 * bytes_of(&dst));
}

/* Stated policy: a dry run has only finite values. */
static para_status dry_all_finite(para_device *dev, para_tensor x, bool *out) {
    *out = true;
    return count(dev, PARA_RATE_COPY, bytes_of(&x));
}

/* Stated policy: a dry run's masks drop no key. */
static para_status dry_mask_columns(para_device *dev, para_tensor mask, uint8_t *out) {
    size_t columns = (size_t)(mask.dim[0] * mask.dim[3]);
    memset(out, PARA_COLUMN_CHANGES, columns);
    if (like_gpu(dev)) PARA_TRY(touch_scratch(dev, columns));
    return count(dev, PARA_RATE_COPY, bytes_of(&mask));
}

static const para_ops dry_ops = {
    .name = "dry",
    .close = dry_close,
    .alloc = dry_alloc,
    .free = dry_free,
    .upload = dry_upload,
    .download = dry_download,
    .copy = dry_copy,
    .linear = dry_linear,
    .conv2d = dry_conv2d,
    .conv3d = dry_conv3d,
    .embedding = dry_embedding,
    .norm = dry_norm,
    .residual = dry_residual,
    .group_norm = dry_group_norm,
    .heads = dry_heads,
    .attention = dry_attention,
    .attention_parts = dry_attention_parts,
    .attention_merge = dry_attention_merge,
    .activate = dry_activate,
    .gated = dry_gated,
    .combine = dry_combine,
    .change = dry_change,
    .upsample2x = dry_upsample2x,
    .blend = dry_blend,
    .all_finite = dry_all_finite,
    .mask_columns = dry_mask_columns,
};

para_status para_dry_open(para_device **out) {
    para_device *dev = para_alloc(1, sizeof *dev);
    dry_impl *impl = para_alloc(1, sizeof *impl);
    if (!dev || !impl) {
        para_free(dev);
        para_free(impl);
        return PARA_ERR_MEMORY;
    }
    /* A base that is not NULL and leaves room for any offset; nothing ever reads through it. */
    *dev = (para_device){.ops = &dry_ops, .threads = 1, .impl = impl};
    dev->arena = (para_arena){.base = (char *)(uintptr_t)PARA_ARENA_ALIGN, .size = SIZE_MAX / 4};
    *out = dev;
    return PARA_OK;
}

void para_dry_stand_for(para_device *dry, para_device_kind kind) {
    dry->joins = dry->copies_beside = ((dry_impl *)dry->impl)->gpu = kind == PARA_CUDA;
}

void para_dry_watch(para_device *dev, const para_op_watch *watch) {
    ((dry_impl *)dev->impl)->watch = watch;
}

para_counts *para_dry_counts(para_device *dev) {
    return &((dry_impl *)dev->impl)->counts;
}
