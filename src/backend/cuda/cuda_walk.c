/* Tensors of the same sizes as few long runs. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "backend/cuda/cuda_kernels.h"

static bool joins(const para_walk *w, int i, int n) {
    for (int k = 0; k < n; k++)
        if (w->stride[k][i] != w->stride[k][i + 1] * w->dim[i + 1]) return false;
    return true;
}

static void remove_dim(para_walk *w, int i) {
    for (int j = i; j + 1 < w->rank; j++) {
        w->dim[j] = w->dim[j + 1];
        for (int k = 0; k < w->n; k++) w->stride[k][j] = w->stride[k][j + 1];
    }
    w->rank--;
}

static void swap(int64_t *v, int i, int j) {
    int64_t was = v[i];
    v[i] = v[j];
    v[j] = was;
}

/* Longest steps of the first tensor outermost. */
static void sort_dims(para_walk *w) {
    for (int i = 1; i < w->rank; i++)
        for (int j = i; j > 0 && llabs(w->stride[0][j - 1]) < llabs(w->stride[0][j]); j--) {
            swap(w->dim, j, j - 1);
            for (int k = 0; k < w->n; k++) swap(w->stride[k], j, j - 1);
        }
}

static bool vectors_fit(const para_walk *w) {
    int last = w->rank - 1;
    bool fit = w->dim[last] % 8 == 0;
    for (int k = 0; fit && k < w->n; k++) {
        size_t bytes = 8 * para_dtype_size(w->type[k]);
        fit = w->stride[k][last] == 1 && (uintptr_t)w->data[k] % (bytes < 16 ? bytes : 16) == 0;
        for (int i = 0; fit && i < last; i++) fit = w->stride[k][i] % 8 == 0;
    }
    return fit;
}

para_walk para_walk_of(int n, const para_tensor *const *t) {
    para_walk w = {.n = n, .vector = 1, .rank = t[0]->rank, .count = para_tensor_count(t[0])};
    for (int k = 0; k < n; k++) {
        w.data[k] = t[k]->data;
        w.type[k] = t[k]->dtype;
        for (int i = 0; i < w.rank; i++) w.dim[i] = t[k]->dim[i], w.stride[k][i] = t[k]->stride[i];
    }
    for (int i = w.rank - 1; i >= 0; i--)
        if (w.dim[i] == 1) remove_dim(&w, i);
    sort_dims(&w);
    for (int i = w.rank - 2; i >= 0; i--)
        if (joins(&w, i, n)) {
            w.dim[i + 1] *= w.dim[i];
            remove_dim(&w, i);
        }
    if (w.rank == 0) {
        w.rank = 1;
        w.dim[0] = 1;
        for (int k = 0; k < n; k++) w.stride[k][0] = 1;
    }
    if (vectors_fit(&w)) w.vector = 8;
    return w;
}
