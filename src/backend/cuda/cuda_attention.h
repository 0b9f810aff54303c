/* The attention kernels of the cuda back end, as plain C: softmax(scale · q · kᵀ + mask) · v on device memory. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_ATTENTION_H
#define PARA_CUDA_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum para_cuda_attention_type { PARA_CUDA_ATTENTION_BF16, PARA_CUDA_ATTENTION_F16 } para_cuda_attention_type;

/* Of [batch, head, token, column], in elements; columns are contiguous. Of an LSE: of [batch, head, token]. */
typedef struct para_cuda_strides {
    int64_t batch, head, token;
} para_cuda_strides;

enum { PARA_CUDA_ATTENTION_PARTS = 16 };

/* Sizes up to 2^31 - 1; memory is the device's, but for the struct itself. */
typedef struct para_cuda_attention {
    para_cuda_attention_type type; /* of q, k, v, and of out unless out_f32 */
    int batch, heads, kv_heads;    /* heads is a multiple of kv_heads; query head h sees key head h / (heads / kv_heads) */
    int q_len, kv_len, head_dim;
    const void *q, *k, *v;         /* [B, H, Sq, D], [B, Hkv, Skv, D], [B, Hkv, Skv, D] */
    para_cuda_strides q_stride, k_stride, v_stride;
    void *out;                     /* [B, H, Sq, D]; with parts that of the first of them */
    para_cuda_strides out_stride;
    bool out_f32;
    int parts;                     /* of the queries in order, each with its own result; 0: out is of all. Only the Hopper kernel takes them, without carry */
    int part_end[PARA_CUDA_ATTENTION_PARTS]; /* the query after the last of each */
    void *part[PARA_CUDA_ATTENTION_PARTS];   /* [B, H, its queries, D], strides as out's; may lie in the memory of other GPUs */
    float *lse;                    /* [B, H, Sq], natural log of the softmax's sum, or NULL */
    para_cuda_strides lse_stride;
    const int32_t *kv_lengths;     /* [B] keys of each item, those after are not seen but have to be finite; or NULL: kv_len */
    const float *carry_out;        /* [B, H, Sq, D], the result over other keys, which the result then covers too, and its LSE; or NULL. May be out and lse */
    const float *carry_lse;        /* [B, H, Sq] */
    para_cuda_strides carry_out_stride, carry_lse_stride;
    const void *mask;              /* [B, H, Sq, Skv] float32, added after the scale; or bytes, of which 0 hides a key; or NULL */
    bool mask_is_bool;
    para_cuda_strides mask_stride; /* token: of the queries. In elements, 0 to use the same again */
    int64_t mask_key_stride;
    float scale;
    bool causal;                   /* query i sees keys 0 to i + causal_offset; a query that sees none gets 0, and LSE -inf */
    int causal_offset;
    void *workspace;               /* para_cuda_attention_workspace() bytes, zeroed once; of one stream. NULL: slower where tiles do not fill the GPU evenly */
} para_cuda_attention;

/* Bytes of workspace on a GPU of so many multiprocessors. */
size_t para_cuda_attention_workspace(int processors);

/* Whether the Hopper kernel takes these arguments: head_dim 64 or 128; rows and strides of q, k, v and out multiples of 16 bytes; no mask; scale above 0;
 * parts neither causal nor of float32 results. */
bool para_cuda_attention_sm90_takes(const para_cuda_attention *a);
/* Launches it on a stream of the current device, of compute capability 9.0. A cudaError_t. Never waits. */
int para_cuda_attention_sm90(const para_cuda_attention *a, void *stream);

enum { PARA_CUDA_ATTENTION_WIDE = 512 };
/* The kernels of sm_80, on any GPU from there on: head_dim a multiple of 8 up to 256, or up to PARA_CUDA_ATTENTION_WIDE without mask and carry, with a scale
 * above 0, where the GPU has shared memory enough; rows and strides as above. Needs no workspace. A cudaError_t. Never waits. */
int para_cuda_attention_sm80(const para_cuda_attention *a, void *stream);
/* Whether the current device has shared memory for head dims above 256. */
bool para_cuda_attention_sm80_wide(void);

#ifdef __cplusplus
}
#endif
#endif
