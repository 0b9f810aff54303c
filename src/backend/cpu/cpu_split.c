/* Splitting an op's work over a rank's threads, and what ops check. SPDX-License-Identifier: Apache-2.0 */
#include <omp.h>

#include "backend/cpu/cpu.h"
#include "core/error.h"

void para_cpu_split(const para_device *dev, int64_t n, int64_t grain, para_cpu_task task, void *context) {
    int64_t most = n / (grain > 0 ? grain : 1);
    int workers = most < dev->threads ? (int)most : dev->threads;
    if (n <= 0) return;
    if (workers <= 1) {
        task(context, 0, n, 0);
        return;
    }
#pragma omp parallel num_threads(workers)
    {
        int count = omp_get_num_threads(), worker = omp_get_thread_num();
        int64_t first = n * worker / count, last = n * (worker + 1) / count;
        if (first < last) task(context, first, last, worker);
    }
}

int64_t para_cpu_grain(int64_t bytes) {
    enum { WORTH = 65536 };
    return bytes >= WORTH ? 1 : WORTH / (bytes > 0 ? bytes : 1);
}

int64_t para_cpu_row(const para_tensor *t, int64_t row) {
    int64_t offset = 0;
    for (int i = t->rank - 2; i >= 0; i--) {
        offset += row % t->dim[i] * t->stride[i];
        row /= t->dim[i];
    }
    return offset;
}

para_status para_cpu_check(bool right, const char *op, const char *rule) {
    if (right) return PARA_OK;
    return para_fail(PARA_ERR_SHAPE, "cpu %s: %s; this is a defect of the model's wiring, please report it", op, rule);
}
