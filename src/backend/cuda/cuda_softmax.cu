/* The softmax between the two products of plain attention, its last scaling, and the merge of two results. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"

struct softmax {
    const float *scores;
    void *weights;
    para_dtype type;
    int64_t keys, row, head, first, rows;
    float scale, *factor;
    const void *mask; /* of the item; NULL: none */
    bool mask_is_bool, causal;
    int64_t mask_h, mask_q, mask_k, causal_offset;
    float *lse; /* of the item; NULL: none */
    int64_t lse_h, lse_q;
};

static __device__ __forceinline__ float score_of(const softmax &s, const float *scores, int64_t mask_at, int64_t last, int64_t key) {
    float x = scores[key] * s.scale;
    if (s.mask) {
        int64_t at = mask_at + key * s.mask_k;
        if (!s.mask_is_bool) x += static_cast<const float *>(s.mask)[at];
        else if (!static_cast<const uint8_t *>(s.mask)[at]) x = -INFINITY;
    }
    return key > last ? -INFINITY : x;
}

/* Block (query, head). Weights of F32 may lie where the scores were: the thread that reads a score last writes its weight. */
static __global__ void softmax_kernel(const __grid_constant__ softmax s) {
    __shared__ float room[32];
    int64_t row = (int64_t)blockIdx.y * s.rows + blockIdx.x, query = s.first + blockIdx.x, head = s.head + blockIdx.y;
    const float *scores = s.scores + row * s.row;
    int64_t mask_at = head * s.mask_h + query * s.mask_q, last = s.causal ? query + s.causal_offset : s.keys;
    float most = -INFINITY, sum = 0, exact = 0;
    for (int64_t key = threadIdx.x; key < s.keys; key += blockDim.x) most = fmaxf(most, score_of(s, scores, mask_at, last, key));
    most = para_block_max(most, room);
    float about = most == -INFINITY ? 0 : most; /* a row that attends nothing has weights of 0 */
    for (int64_t key = threadIdx.x; key < s.keys; key += blockDim.x) {
        float w[1] = {expf(score_of(s, scores, mask_at, last, key) - about)};
        exact += w[0];
        sum += para_rounded(w[0], s.type); /* of what the product sees */
        para_store(s.weights, s.type, row * s.row + key, w);
    }
    sum = para_block_sum(sum, room);
    if (s.lse) exact = para_block_sum(exact, room);
    if (threadIdx.x == 0) {
        s.factor[row] = sum == 0 ? 0 : 1 / sum; /* NaN stays */
        if (s.lse) s.lse[head * s.lse_h + query * s.lse_q] = sum == 0 ? -INFINITY : most + logf(exact);
    }
}

void para_cuda_launch_softmax(const para_softmax_job *job, cudaStream_t stream) {
    const para_attention_args *a = job->a;
    softmax s = {};
    s.scores = job->scores, s.weights = job->weights, s.type = a->v.dtype, s.keys = a->k.dim[2], s.row = job->row;
    s.head = job->head, s.first = job->first, s.rows = job->rows, s.scale = a->scale, s.factor = job->factor;
    s.causal = a->causal, s.causal_offset = a->causal_offset;
    if (a->mask.data) {
        s.mask = static_cast<char *>(a->mask.data) + job->b * a->mask.stride[0] * (int64_t)para_dtype_size(a->mask.dtype);
        s.mask_is_bool = a->mask.dtype == PARA_BOOL;
        s.mask_h = a->mask.stride[1], s.mask_q = a->mask.stride[2], s.mask_k = a->mask.stride[3];
    }
    if (a->lse.data) {
        s.lse = static_cast<float *>(a->lse.data) + job->b * a->lse.stride[0];
        s.lse_h = a->lse.stride[1], s.lse_q = a->lse.stride[2];
    }
    int threads = s.keys <= 256 ? 64 : s.keys <= 2048 ? 256 : 1024;
    softmax_kernel<<<dim3((unsigned)job->rows, (unsigned)job->heads), threads, 0, stream>>>(s);
}

static __global__ void attention_out_kernel(const __grid_constant__ para_tensor out, const float *sum, const float *factor, int64_t b, int64_t head,
                                            int64_t first) {
    int64_t row = (int64_t)blockIdx.y * gridDim.x + blockIdx.x, dv = out.dim[3];
    int64_t to = b * out.stride[0] + (head + blockIdx.y) * out.stride[1] + (first + blockIdx.x) * out.stride[2];
    for (int64_t i = threadIdx.x; i < dv; i += blockDim.x) {
        float f[1] = {sum[row * dv + i] * factor[row]};
        para_store(out.data, out.dtype, to + i, f);
    }
}

void para_cuda_launch_attention_out(const para_softmax_job *job, const float *sum, cudaStream_t stream) {
    dim3 grid((unsigned)job->rows, (unsigned)job->heads);
    attention_out_kernel<<<grid, job->a->out.dim[3] <= 64 ? 32 : 128, 0, stream>>>(job->a->out, sum, job->factor, job->b, job->head, job->first);
}

/* A warp for each row [Dv]. */
static __global__ void merge_kernel(const __grid_constant__ para_merge_args a, int64_t rows) {
    int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32, queries = a.out.dim[2], heads = a.out.dim[1];
    if (row >= rows) return;
    int64_t q = row % queries, h = row / queries % heads, b = row / queries / heads;
    float *own = static_cast<float *>(a.lse.data) + b * a.lse.stride[0] + h * a.lse.stride[1] + q * a.lse.stride[2];
    float part = static_cast<const float *>(a.part_lse.data)[b * a.part_lse.stride[0] + h * a.part_lse.stride[1] + q * a.part_lse.stride[2]];
    float lse = *own, most = fmaxf(lse, part);
    if (most == -INFINITY) return;
    float keep = expf(lse - most), add = expf(part - most), all = keep + add;
    float *out = static_cast<float *>(a.out.data) + b * a.out.stride[0] + h * a.out.stride[1] + q * a.out.stride[2];
    const float *more = static_cast<const float *>(a.part_out.data) + b * a.part_out.stride[0] + h * a.part_out.stride[1] + q * a.part_out.stride[2];
    for (int64_t i = threadIdx.x % 32; i < a.out.dim[3]; i += 32) out[i] = (keep * out[i] + add * more[i]) / all;
    __syncwarp();
    if (threadIdx.x % 32 == 0) *own = most + logf(all);
}

void para_cuda_launch_merge(const para_merge_args *a, cudaStream_t stream) {
    int64_t rows = a->out.dim[0] * a->out.dim[1] * a->out.dim[2];
    merge_kernel<<<(unsigned)((rows + 7) / 8), 256, 0, stream>>>(*a, rows);
}
