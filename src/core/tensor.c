/* Tensor views and element types. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/tensor.h>

#include <string.h>

size_t para_dtype_size(para_dtype dtype) {
    switch (dtype) {
    case PARA_DTYPE_NONE: return 0;
#define SIZE_CASE(name, value, bytes, text)                                                                            \
    case name: return bytes;
        PARA_DTYPE_MAP(SIZE_CASE)
#undef SIZE_CASE
    }
    return 0;
}

const char *para_dtype_name(para_dtype dtype) {
    switch (dtype) {
    case PARA_DTYPE_NONE: return "?";
#define NAME_CASE(name, value, bytes, text)                                                                            \
    case name: return text;
        PARA_DTYPE_MAP(NAME_CASE)
#undef NAME_CASE
    }
    return "?";
}

para_dtype para_dtype_from_name(const char *name) {
#define FROM_CASE(dtype, value, bytes, text)                                                                           \
    if (strcmp(name, text) == 0) return dtype;
    PARA_DTYPE_MAP(FROM_CASE)
#undef FROM_CASE
    return PARA_DTYPE_NONE;
}

para_tensor para_tensor_make(void *data, para_dtype dtype, int rank, const int64_t *dim) {
    para_tensor t = {.dtype = dtype, .rank = rank, .data = data};
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        t.dim[i] = dim[i];
        t.stride[i] = step;
        step *= dim[i];
    }
    return t;
}

int64_t para_tensor_count(const para_tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) count *= t->dim[i];
    return count;
}

bool para_tensor_contiguous(const para_tensor *t) {
    int64_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->dim[i] != 1 && t->stride[i] != step) return false;
        step *= t->dim[i];
    }
    return true;
}
