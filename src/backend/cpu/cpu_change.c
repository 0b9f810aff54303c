/* How much a tensor differs from an earlier one. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "backend/cpu/cpu.h"
#include "core/error.h"

/* The tensors are cut into BLOCKS, whatever the number of threads, so that sums are added up in one order. */
enum { BLOCKS = 64, CHUNK = 1024, LANES = 8 };

typedef struct change_task {
    const para_simd *simd;
    const para_tensor *before, *now;
    int64_t count;
    double difference[BLOCKS], size[BLOCKS];
} change_task;

/* n ≤ CHUNK elements from `at` on as float32. */
static void load(const change_task *t, const para_tensor *x, int64_t at, int64_t n, float *out) {
    t->simd->convert(out, PARA_F32, (const char *)x->data + at * (int64_t)para_dtype_size(x->dtype), x->dtype, PARA_F32,
                     n);
    for (int64_t i = n; i % LANES; i++) out[i] = 0;
}

static void change_blocks(void *context, int64_t first, int64_t last, int worker) {
    change_task *t = context;
    (void)worker;
    for (int64_t b = first; b < last; b++) {
        double difference[LANES] = {0}, size[LANES] = {0};
        int64_t end = t->count * (b + 1) / BLOCKS;
        for (int64_t at = t->count * b / BLOCKS; at < end; at += CHUNK) {
            float before[CHUNK], now[CHUNK];
            int64_t n = end - at < CHUNK ? end - at : CHUNK;
            load(t, t->before, at, n, before);
            load(t, t->now, at, n, now);
            for (int64_t i = 0; i < n; i += LANES) {
                for (int j = 0; j < LANES; j++) {
                    difference[j] += fabsf(before[i + j] - now[i + j]);
                    size[j] += fabsf(before[i + j]);
                }
            }
        }
        t->difference[b] = t->size[b] = 0;
        for (int j = 0; j < LANES; j++) t->difference[b] += difference[j], t->size[b] += size[j];
    }
}

para_status para_cpu_change(para_device *dev, para_tensor before, para_tensor now, para_tensor sums) {
    change_task task = {.simd = para_simd_of(dev), .before = &before, .now = &now, .count = para_tensor_count(&now)};
    PARA_TRY(para_cpu_check(para_tensor_count(&before) == task.count && before.dtype == now.dtype &&
                                (now.dtype == PARA_F32 || now.dtype == PARA_BF16) && para_tensor_contiguous(&before) &&
                                para_tensor_contiguous(&now),
                            "change", "both must be contiguous, of the same size and type, F32 or BF16"));
    PARA_TRY(para_cpu_check(para_tensor_count(&sums) == 2 && sums.dtype == PARA_F32 && para_tensor_contiguous(&sums),
                            "change", "the sums must be two of F32"));
    para_cpu_split(dev, BLOCKS, para_cpu_grain(task.count / BLOCKS * 8), change_blocks, &task);
    double difference = 0, size = 0;
    for (int b = 0; b < BLOCKS; b++) difference += task.difference[b], size += task.size[b];
    ((float *)sums.data)[0] = (float)difference;
    ((float *)sums.data)[1] = (float)size;
    return PARA_OK;
}
