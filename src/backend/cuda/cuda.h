/* The cuda back end's own state, and what its ops share. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_CUDA_H
#define PARA_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#include "backend/backend.h"
#include "backend/cuda/cuda_module.h"
#include "core/error.h"

typedef struct para_cuda_matmuls para_cuda_matmuls; /* cuda_matmul.c */
typedef struct para_cuda_cudnn para_cuda_cudnn;     /* cuda_cudnn.c */
typedef struct para_cuda_memory para_cuda_memory;   /* cuda_memory.c */

typedef struct para_cuda {
    int index;              /* of the GPU */
    int major, minor;       /* its compute capability */
    int processors;         /* multiprocessors */
    cudaStream_t stream;    /* all ops run on it, */
    cudaStream_t fetching;  /* but `fetch`; NULL until it reaches another device */
    cudaStream_t lane;      /* and what moves between processes; NULL until something does */
    para_cuda_memory *memory;
    para_cuda_matmuls *matmuls;
    para_cuda_cudnn *cudnn; /* NULL until it is asked for something */
    int *flag;              /* device: what all_finite finds */
    double *sums;           /* device: of the op `change` */
    struct para_cuda_copy_state *copy; /* cuda_copies.c */
    void *attention_workspace; /* device: of the fused kernel */
    para_choices *choices;  /* NULL until the first one is asked for */
    struct para_cuda_stamps *stamps; /* cuda_stamps.c; NULL until the first */
} para_cuda;

static inline para_cuda *para_cuda_of(const para_device *dev) {
    return dev->impl;
}

void para_cuda_use_host(const para_cuda_host *host);

/* PARA_ERR_DEVICE (PARA_ERR_MEMORY where memory ran out) with a sentence unless the call went well; "copy to the GPU". */
para_status para_cuda_checked(cudaError_t error, const char *doing);
#define CUDA_TRY(call, doing) PARA_TRY(para_cuda_checked((call), (doing)))

/* Makes the device the thread's current one: every op begins with it. */
para_status para_cuda_enter(const para_device *dev);
/* What a launch said: every op ends with it. */
para_status para_cuda_launched(const char *op);
/* PARA_ERR_SHAPE with a sentence that names the op when `right` is false. */
para_status para_cuda_check(bool right, const char *op, const char *rule);
/* Enters, and checks shapes in the same breath. */
#define CUDA_BEGIN(dev, right, op, rule)                                                                               \
    PARA_TRY(para_cuda_check((right), (op), (rule)));                                                                  \
    PARA_TRY(para_cuda_enter(dev))

static inline bool para_cuda_computes(para_dtype type) {
    return type == PARA_F32 || type == PARA_BF16 || type == PARA_F16;
}
static inline bool para_cuda_is_float(para_dtype type) {
    return para_cuda_computes(type) || type == PARA_F8_E4M3;
}
/* Whether the first element, and with it every one, lies at a multiple of its own size: what the GPU can read. */
static inline bool para_cuda_aligned(const para_tensor *t) {
    size_t size = para_dtype_size(t->dtype);
    return size == 0 || (uintptr_t)t->data % size == 0;
}
bool para_cuda_same_sizes(const para_tensor *a, const para_tensor *b);
/* None, or [d] of F32. */
bool para_cuda_vector(const para_tensor *v, int64_t d);
/* x and y [M, D] of one type that can be computed in, rows contiguous. */
bool para_cuda_matrices(const para_tensor *x, const para_tensor *y);

/* ---- cuda_memory.c */
para_status para_cuda_memory_open(para_device *dev);
void para_cuda_memory_close(para_device *dev);
para_status para_cuda_alloc(para_device *dev, size_t bytes, void **out);
void para_cuda_free(para_device *dev, void *p);
para_status para_cuda_device_memory(para_device *dev, para_device_memory *out);
/* Memory of the back end's own, which counts towards the device's limit; of the same bytes when it is given back. */
para_status para_cuda_take(para_device *dev, size_t bytes, void **out);
void para_cuda_give(para_device *dev, void *p, size_t bytes);
/* ---- cuda_copies.c */
extern const para_copies para_cuda_copies;
para_status para_cuda_copies_open(para_device *dev);
void para_cuda_copies_close(para_device *dev);
para_status para_cuda_upload(para_device *dev, para_tensor dst, const void *src);
para_status para_cuda_download(para_device *dev, void *dst, const para_tensor *src);
para_status para_cuda_constant(para_device *dev, para_tensor vector);
/* The BF16 copy of a constant vector whose every element BF16 can hold, or NULL. */
const void *para_cuda_bf16_of(const para_device *dev, const void *vector);

/* ---- cuda_choices.c */
/* What was found on this GPU with these versions of the libraries; the device's own. */
para_status para_cuda_choices(para_device *dev, para_choices **out);

/* ---- the ops */
para_status para_cuda_copy(para_device *dev, para_tensor dst, para_tensor src);
para_status para_cuda_linear(para_device *dev, const para_linear_args *a);
para_status para_cuda_conv2d(para_device *dev, const para_conv2d_args *a);
para_status para_cuda_conv3d(para_device *dev, const para_conv3d_args *a);
para_status para_cuda_embedding(para_device *dev, para_tensor table, para_tensor ids, para_tensor y);
para_status para_cuda_norm(para_device *dev, const para_norm_args *a);
para_status para_cuda_residual(para_device *dev, const para_residual_args *a);
para_status para_cuda_group_norm(para_device *dev, const para_group_norm_args *a);
para_status para_cuda_heads(para_device *dev, int n, const para_head_args *a);
para_status para_cuda_attend(para_device *dev, const para_attention_args *a);
para_status para_cuda_attend_parts(para_device *dev, int parts, const para_attention_args *part);
para_status para_cuda_attention_open(para_device *dev);
para_status para_cuda_attention_merge(para_device *dev, const para_merge_args *a);
para_status para_cuda_activate(para_device *dev, para_activation f, para_tensor x, para_tensor y);
para_status para_cuda_gated(para_device *dev, para_activation f, para_tensor a, para_tensor b, para_tensor y);
para_status para_cuda_combine(para_device *dev, para_tensor y, int n, const para_tensor *x, const float *c);
para_status para_cuda_change(para_device *dev, para_tensor before, para_tensor now, para_tensor sums);
para_status para_cuda_upsample2x(para_device *dev, para_tensor x, para_tensor y);
para_status para_cuda_blend(para_device *dev, para_tensor edge, para_tensor dst, int axis);
para_status para_cuda_all_finite(para_device *dev, para_tensor x, bool *out);
para_status para_cuda_mask_columns(para_device *dev, para_tensor mask, uint8_t *out);

/* ---- cuda_stamps.c */
para_status para_cuda_stamp(para_device *dev, int i);
para_status para_cuda_stamp_seconds(para_device *dev, int from, int to, double *out);
void para_cuda_range(para_device *dev, const char *name);
void para_cuda_stamps_close(para_cuda *cuda);

/* ---- cuda_record.c */
para_status para_cuda_record(para_device *dev, bool joined);
para_status para_cuda_record_end(para_device *dev, para_recording **out);
para_status para_cuda_play(para_device *dev, const para_recording *recording);
void para_cuda_recording_close(para_device *dev, para_recording **recording);

/* ---- cuda_peer.c */
para_status para_cuda_reach(para_device *dev, const para_device *other);
para_status para_cuda_fetch(para_device *dev, const para_fetch_args *a);
para_status para_cuda_mark_here(para_device *dev, para_mark **out);
para_status para_cuda_after(para_device *dev, const para_mark *mark);
void para_cuda_mark_close(para_device *dev, para_mark **mark);
para_status para_cuda_lane(para_device *dev, const para_mark *after, void **stream);
para_status para_cuda_lane_mark(para_device *dev, para_mark **out);

#endif
