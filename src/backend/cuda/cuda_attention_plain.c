/* Attention of any width, mask and type: two matrix products with a softmax between them, some heads and queries at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_attention_plain.h"

#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_matmul.h"
#include "backend/cuda_scratch.h"

static void *at(const para_tensor *t, int64_t b, int64_t h, int64_t s) {
    return (char *)t->data + (b * t->stride[0] + h * t->stride[1] + s * t->stride[2]) * (int64_t)para_dtype_size(t->dtype);
}

static para_status run_part(para_device *dev, const para_attention_args *a, const para_softmax_job *job, float *scores, float *sum) {
    int64_t keys = a->k.dim[2], shared = a->q.dim[1] / a->k.dim[1], key_head = job->head / shared, dv = a->v.dim[3];
    cudaStream_t stream = para_cuda_of(dev)->stream;
    if (keys > 0)
        PARA_TRY(para_cuda_multiply(dev, &(para_cuda_product){.x = at(&a->q, job->b, job->head, job->first), .w = at(&a->k, job->b, key_head, 0),
                                                              .y = scores, .in = a->q.dtype, .out = PARA_F32,
                                                              .m = job->rows, .n = keys, .k = a->q.dim[3],
                                                              .x_row = a->q.stride[2], .w_row = a->k.stride[2], .y_row = job->row,
                                                              .batch = job->heads, .x_batch = a->q.stride[1],
                                                              .w_batch = shared > 1 ? 0 : a->k.stride[1], .y_batch = job->rows * job->row}));
    para_cuda_launch_softmax(job, stream);
    PARA_TRY(para_cuda_launched("attention"));
    if (dv == 0) return PARA_OK;
    if (keys == 0) {
        CUDA_TRY(cudaMemsetAsync(sum, 0, (size_t)(job->heads * job->rows * dv) * sizeof *sum, stream), "clear memory on the GPU");
    } else {
        PARA_TRY(para_cuda_multiply(dev, &(para_cuda_product){.x = job->weights, .w = at(&a->v, job->b, key_head, 0), .y = sum, .turned = true,
                                                              .in = a->v.dtype, .out = PARA_F32, .m = job->rows, .n = dv, .k = keys,
                                                              .x_row = job->row, .w_row = a->v.stride[2], .y_row = dv,
                                                              .batch = job->heads, .x_batch = job->rows * job->row,
                                                              .w_batch = shared > 1 ? 0 : a->v.stride[1], .y_batch = job->rows * dv}));
    }
    para_cuda_launch_attention_out(job, sum, stream);
    return para_cuda_launched("attention");
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static para_status run(para_device *dev, const para_attention_args *a, const para_cuda_attention_plan *p, char *scratch) {
    int64_t heads = a->q.dim[1], shared = heads / a->k.dim[1], group = shared > 1 ? shared : heads; /* a call stays inside one */
    float *scores = (float *)(void *)scratch, *sum = (float *)(void *)(scratch + p->score_bytes + p->weight_bytes);
    para_softmax_job job = {.a = a, .scores = scores, .row = p->row, .factor = (float *)(void *)((char *)sum + p->sum_bytes)};
    job.weights = p->weight_bytes ? scratch + p->score_bytes : scratch;
    for (job.b = 0; job.b < a->q.dim[0]; job.b++)
        for (job.head = 0; job.head < heads; job.head += job.heads) {
            job.heads = least(p->heads, group - job.head % group);
            for (job.first = 0; job.first < a->q.dim[2]; job.first += p->rows) {
                job.rows = least(p->rows, a->q.dim[2] - job.first);
                PARA_TRY(run_part(dev, a, &job, scores, sum));
            }
        }
    return PARA_OK;
}

para_status para_cuda_attention_plain(para_device *dev, const para_attention_args *a) {
    para_cuda_attention_plan plan = para_cuda_plan_attention(a);
    size_t mark = para_arena_mark(&dev->arena);
    void *scratch;
    PARA_TRY(para_arena_take(&dev->arena, plan.bytes, &scratch));
    para_status status = run(dev, a, &plan, scratch);
    para_arena_release(&dev->arena, mark);
    return status;
}
