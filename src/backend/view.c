/* Views of tensors: parts of them, and the same elements in other shapes. SPDX-License-Identifier: Apache-2.0 */
#include "backend/backend.h"

para_tensor para_rows(para_tensor t, int64_t first, int64_t count) {
    return para_slice(t, 0, first, count);
}

para_tensor para_slice(para_tensor t, int axis, int64_t first, int64_t count) {
    if (t.data) t.data = (char *)t.data + first * t.stride[axis] * (int64_t)para_dtype_size(t.dtype);
    t.dim[axis] = count;
    return t;
}

para_tensor para_reshape(para_tensor t, int rank, const int64_t *dim) {
    return para_tensor_make(t.data, t.dtype, rank, dim);
}

para_tensor para_permute(para_tensor t, const int *order) {
    para_tensor p = t;
    for (int i = 0; i < t.rank; i++) {
        p.dim[i] = t.dim[order[i]];
        p.stride[i] = t.stride[order[i]];
    }
    return p;
}
