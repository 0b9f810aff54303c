/* compare_tensors A B BOUND: the largest difference between the F32 tensors of two safetensors files; fails above the bound.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "io/safetensors.h"

static para_status open_file(para_safetensors **out, const char *path) {
    para_status status = para_safetensors_open(out, path);
    if (status != PARA_OK) fprintf(stderr, "compare_tensors: %s\n", para_last_error());
    return status;
}

/* Infinity where they are not alike in name, type or shape. */
static double difference(const para_safetensors *a, const para_safetensors *b, int64_t i) {
    para_tensor x = para_safetensors_tensor(a, i), y = para_safetensors_tensor(b, i);
    if (strcmp(para_safetensors_name(a, i), para_safetensors_name(b, i)) != 0 || x.dtype != PARA_F32 ||
        y.dtype != PARA_F32 || x.rank != y.rank || memcmp(x.dim, y.dim, (size_t)x.rank * sizeof *x.dim) != 0)
        return INFINITY;
    double most = 0;
    for (int64_t e = 0; e < para_tensor_count(&x); e++) {
        float p, q;
        memcpy(&p, (const char *)x.data + 4 * e, 4);
        memcpy(&q, (const char *)y.data + 4 * e, 4);
        double d = fabs((double)p - q);
        if (!(d <= most)) most = isnan(d) ? INFINITY : d;
    }
    return most;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    para_safetensors *a, *b;
    if (open_file(&a, argv[1]) != PARA_OK) return 1;
    if (open_file(&b, argv[2]) != PARA_OK) {
        para_safetensors_close(&a);
        return 1;
    }
    double most =
        para_safetensors_count(a) == para_safetensors_count(b) && para_safetensors_count(a) > 0 ? 0 : INFINITY;
    for (int64_t i = 0; i < para_safetensors_count(a) && isfinite(most); i++) most = fmax(most, difference(a, b, i));
    para_safetensors_close(&a);
    para_safetensors_close(&b);
    printf("%.3g\n", most);
    return !(most <= atof(argv[3]));
}
