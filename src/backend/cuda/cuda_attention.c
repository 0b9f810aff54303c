/* Attention: the fused kernels where one serves, else two products. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_attention.h"

#include "backend/cuda/cuda_attention_plain.h"
#include "backend/cuda/cuda_cudnn.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda_scratch.h"

enum { CUDNN_WIDTH = 128 }; /* of a head of a transformer; what is wider, as in autoencoders, is not cuDNN's to compute */

para_status para_cuda_attention_open(para_device *dev) {
    para_cuda *cuda = para_cuda_of(dev);
    size_t bytes = para_cuda_attention_workspace(cuda->processors);
    CUDA_TRY(cudaMalloc(&cuda->attention_workspace, bytes), "allocate memory on the GPU");
    CUDA_TRY(cudaMemsetAsync(cuda->attention_workspace, 0, bytes, cuda->stream), "clear memory on the GPU");
    return PARA_OK;
}

static para_cuda_strides strides(const para_tensor *t) {
    return (para_cuda_strides){t->stride[0], t->stride[1], t->stride[2]};
}

static int64_t between(int64_t low, int64_t x, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

/* The kernels' arguments; para_cuda_attention_fuses() holds. */
static para_cuda_attention fused_args(const para_cuda *cuda, const para_attention_args *a) {
    const int64_t *q = a->q.dim, *k = a->k.dim;
    return (para_cuda_attention){.type = a->q.dtype == PARA_BF16 ? PARA_CUDA_ATTENTION_BF16 : PARA_CUDA_ATTENTION_F16,
                                 .batch = (int)q[0], .heads = (int)q[1], .kv_heads = (int)k[1],
                                 .q_len = (int)q[2], .kv_len = (int)k[2], .head_dim = (int)q[3],
                                 .q = a->q.data, .k = a->k.data, .v = a->v.data,
                                 .q_stride = strides(&a->q), .k_stride = strides(&a->k), .v_stride = strides(&a->v),
                                 .out = a->out.data, .out_stride = strides(&a->out), .out_f32 = a->out.dtype == PARA_F32,
                                 .lse = a->lse.data, .lse_stride = strides(&a->lse),
                                 .mask = a->mask.data, .mask_is_bool = a->mask.dtype == PARA_BOOL, .mask_stride = strides(&a->mask),
                                 .mask_key_stride = a->mask.stride[3], .scale = a->scale, .causal = a->causal,
                                 .causal_offset = (int)between(-q[2], a->causal_offset, k[2]), /* beyond, nothing changes */
                                 .workspace = cuda->attention_workspace};
}

/* What was asked for and does not work is no reason to compute something else. */
static para_status by_cudnn(para_device *dev, const para_attention_args *a) {
    bool done;
    PARA_TRY(para_cuda_cudnn_attention(dev, a, &done));
    if (done) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG,
                     "cuDNN has no kernel for attention over %lld heads of %lld in %s to %s; use the project's own (PARA_ATTENTION_AUTO, --attention auto)",
                     (long long)a->q.dim[1], (long long)a->q.dim[3], para_dtype_name(a->q.dtype), para_dtype_name(a->out.dtype));
}

static para_status check(para_device *dev, const para_attention_args *a) {
    const int64_t *q = a->q.dim, *k = a->k.dim, *v = a->v.dim, *out = a->out.dim;
    CUDA_BEGIN(dev, a->q.rank == 4 && a->k.rank == 4 && a->v.rank == 4 && a->out.rank == 4 && q[0] == k[0] && q[0] == v[0] && q[0] == out[0] &&
                        (k[1] > 0 ? q[1] % k[1] == 0 : q[1] == 0) && v[1] == k[1] && out[1] == q[1] && q[3] == k[3] && k[2] == v[2] && out[2] == q[2] &&
                        out[3] == v[3],
               "attention", "q [B, H, Sq, D], k [B, Hkv, Skv, D], v [B, Hkv, Skv, Dv] and out [B, H, Sq, Dv] do not fit together");
    PARA_TRY(para_cuda_check(para_cuda_computes(a->q.dtype) && a->k.dtype == a->q.dtype && a->v.dtype == a->q.dtype &&
                                 (a->out.dtype == a->q.dtype || a->out.dtype == PARA_F32),
                             "attention", "q, k and v must all be F32, BF16 or F16, and out F32 or of their type"));
    PARA_TRY(para_cuda_check(!a->mask.data || (a->mask.rank == 4 && a->mask.dim[0] == q[0] && a->mask.dim[1] == q[1] && a->mask.dim[2] == q[2] &&
                                              a->mask.dim[3] == k[2] && (a->mask.dtype == PARA_BOOL || a->mask.dtype == PARA_F32)),
                             "attention", "the mask must be [B, H, Sq, Skv] of BOOL or F32"));
    return para_cuda_check(!a->lse.data || (a->lse.rank == 3 && a->lse.dtype == PARA_F32 && a->lse.dim[0] == q[0] && a->lse.dim[1] == q[1] &&
                                            a->lse.dim[2] == q[2]),
                           "attention", "lse must be [B, H, Sq] of F32");
}

static bool wants_cudnn(const para_device *dev, const para_attention_args *a) {
    return dev->attention == PARA_ATTENTION_CUDNN && !a->mask.data && !a->causal && a->q.dim[3] <= CUDNN_WIDTH;
}

static bool on_hopper(const para_cuda *cuda, const para_cuda_attention *a) {
    return cuda->major == 9 && cuda->minor == 0 && para_cuda_attention_sm90_takes(a);
}

para_status para_cuda_attend(para_device *dev, const para_attention_args *a) {
    const para_cuda *cuda = para_cuda_of(dev);
    PARA_TRY(check(dev, a));
    if (a->q.dim[0] * a->q.dim[1] * a->q.dim[2] == 0) return PARA_OK;
    if (wants_cudnn(dev, a)) return by_cudnn(dev, a);
    if (!para_cuda_attention_fuses(a, para_cuda_attention_sm80_wide())) return para_cuda_attention_plain(dev, a);
    para_cuda_attention fused = fused_args(cuda, a);
    return para_cuda_checked((cudaError_t)(on_hopper(cuda, &fused) ? para_cuda_attention_sm90 : para_cuda_attention_sm80)(&fused, cuda->stream), "compute attention");
}

/* Whether b is at row `first` of what begins with a: [B, H, S, …]. Strides of axes with one entry are never used. */
static bool follows(const para_tensor *a, const para_tensor *b, int64_t first) {
    const char *begin = a->data;
    bool right = a->dtype == b->dtype && (const char *)b->data == begin + first * a->stride[2] * (int64_t)para_dtype_size(a->dtype);
    for (int i = 0; right && i < 3; i++) right = b->dim[i] <= 1 || a->stride[i] == b->stride[i];
    return right;
}

static bool same_view(const para_tensor *a, const para_tensor *b) {
    bool right = a->data == b->data && a->dtype == b->dtype;
    for (int i = 0; right && i < 4; i++) right = a->dim[i] == b->dim[i] && a->stride[i] == b->stride[i];
    return right;
}

/* Whether all parts are one attention over neighbouring queries, with results that lie alike; and that attention, its `out` as that of the longest part. */
static bool join(int parts, const para_attention_args *part, para_attention_args *all) {
    int64_t queries = 0;
    int longest = 0;
    for (int i = 1; i < parts; i++)
        if (part[i].q.dim[2] > part[longest].q.dim[2]) longest = i;
    *all = part[0];
    all->q.stride[2] = part[longest].q.stride[2]; /* the first may have a single query */
    all->lse.stride[2] = part[longest].lse.stride[2];
    all->out = part[longest].out;
    bool right = parts <= PARA_CUDA_ATTENTION_PARTS && !all->mask.data && !all->causal && all->out.dtype == all->q.dtype;
    for (int i = 0; right && i < parts; i++) {
        const para_attention_args *a = &part[i];
        right = same_view(&all->k, &a->k) && same_view(&all->v, &a->v) && a->scale == all->scale && !a->mask.data && !a->causal && a->q.dim[0] == all->q.dim[0] &&
                a->q.dim[1] == all->q.dim[1] && follows(&all->q, &a->q, queries) && !a->lse.data == !all->lse.data && a->out.dtype == all->out.dtype;
        if (right && a->lse.data) right = follows(&all->lse, &a->lse, queries);
        for (int d = 0; right && d < 3; d++) right = a->out.dim[d] <= 1 || a->out.stride[d] == all->out.stride[d];
        queries += a->q.dim[2];
    }
    all->q.dim[2] = all->lse.dim[2] = all->out.dim[2] = queries;
    return right;
}

_Static_assert((int)PARA_CUDA_ATTENTION_PARTS == (int)PARA_MOST_PLACES, "as many as there are places");

/* One launch where the kernel takes several results. Parts of queries would each leave multiprocessors idle at their end. */
para_status para_cuda_attend_parts(para_device *dev, int parts, const para_attention_args *part) {
    const para_cuda *cuda = para_cuda_of(dev);
    para_attention_args all;
    for (int i = 0; i < parts; i++) PARA_TRY(check(dev, &part[i]));
    if (parts > 1 && join(parts, part, &all) && !wants_cudnn(dev, &all) && para_cuda_attention_fuses(&all, para_cuda_attention_sm80_wide())) {
        para_cuda_attention fused = fused_args(cuda, &all);
        for (int i = 0, end = 0; i < parts; i++) {
            end += (int)part[i].q.dim[2];
            if (part[i].q.dim[2] == 0) continue; /* it may have no memory */
            fused.part_end[fused.parts] = end;
            fused.part[fused.parts++] = part[i].out.data;
        }
        if (on_hopper(cuda, &fused)) return para_cuda_checked((cudaError_t)para_cuda_attention_sm90(&fused, cuda->stream), "compute attention");
    }
    for (int i = 0; i < parts; i++) PARA_TRY(para_cuda_attend(dev, &part[i]));
    return PARA_OK;
}

static bool merges(const para_tensor *out, const para_tensor *lse) {
    bool right = out->rank == 4 && lse->rank == 3 && out->dtype == PARA_F32 && lse->dtype == PARA_F32 && out->stride[3] == 1;
    for (int i = 0; right && i < 3; i++) right = out->dim[i] == lse->dim[i];
    return right;
}

para_status para_cuda_attention_merge(para_device *dev, const para_merge_args *a) {
    CUDA_BEGIN(dev, merges(&a->out, &a->lse) && merges(&a->part_out, &a->part_lse) && para_cuda_same_sizes(&a->out, &a->part_out), "attention_merge",
               "out [B, H, Sq, Dv] and lse [B, H, Sq] of both parts must be F32 and of the same sizes");
    if (para_tensor_count(&a->lse) == 0) return PARA_OK;
    para_cuda_launch_merge(a, para_cuda_of(dev)->stream);
    return para_cuda_launched("attention_merge");
}

para_status para_cuda_mask_columns(para_device *dev, para_tensor mask, uint8_t *out) {
    void *columns;
    CUDA_BEGIN(dev, mask.rank == 4 && (mask.dtype == PARA_BOOL || mask.dtype == PARA_F32), "mask_columns", "the mask must be [B, H, Sq, keys] of BOOL or F32");
    int64_t count = mask.dim[0] * mask.dim[3];
    if (count == 0) return PARA_OK;
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(para_arena_take(&dev->arena, (size_t)count, &columns));
    para_tensor found = para_tensor_make(columns, PARA_U8, 1, &count);
    para_cuda_launch_mask_columns(mask, columns, para_cuda_of(dev)->stream);
    para_status status = para_cuda_launched("mask_columns");
    if (status == PARA_OK) status = para_cuda_download(dev, out, &found);
    para_arena_release(&dev->arena, mark);
    return status;
}
