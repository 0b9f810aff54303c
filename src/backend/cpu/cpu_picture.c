/* Doubling pictures and blending the seams of tiles. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backend/cpu/cpu.h"
#include "core/error.h"
#include "core/float.h"

typedef struct picture_task {
    const para_tensor *x, *y;
    int axis;
} picture_task;

/* Rows of y [N · 2H]. */
static void upsample_range(void *context, int64_t first, int64_t last, int worker) {
    const picture_task *t = context;
    int64_t height = t->y->dim[1], width = t->x->dim[2], size = (int64_t)para_dtype_size(t->x->dtype),
            bytes = t->x->dim[3] * size;
    (void)worker;
    for (int64_t row = first; row < last; row++) {
        int64_t picture = row / height, line = row % height;
        const char *from = (char *)t->x->data + (picture * t->x->stride[0] + line / 2 * t->x->stride[1]) * size;
        char *to = (char *)t->y->data + (picture * t->y->stride[0] + line * t->y->stride[1]) * size;
        for (int64_t i = 0; i < 2 * width; i++)
            memcpy(to + i * t->y->stride[2] * size, from + i / 2 * t->x->stride[2] * size, (size_t)bytes);
    }
}

para_status para_cpu_upsample2x(para_device *dev, para_tensor x, para_tensor y) {
    picture_task task = {&x, &y, 0};
    PARA_TRY(para_cpu_check(x.rank == 4 && y.rank == 4 && x.dim[0] == y.dim[0] && 2 * x.dim[1] == y.dim[1] &&
                                2 * x.dim[2] == y.dim[2] && x.dim[3] == y.dim[3] && x.dtype == y.dtype &&
                                x.stride[3] == 1 && y.stride[3] == 1,
                            "upsample2x", "x [N, H, W, C] and y [N, 2H, 2W, C] do not fit together"));
    para_cpu_split(dev, y.dim[0] * y.dim[1], para_cpu_grain(y.dim[2] * y.dim[3] * 4), upsample_range, &task);
    return PARA_OK;
}

static float load(const para_tensor *t, int64_t at) {
    uint16_t h;
    if (t->dtype == PARA_F32) return ((float *)t->data)[at];
    h = ((uint16_t *)t->data)[at];
    return para_bf16_to_f32(h);
}

static void store(const para_tensor *t, int64_t at, float f) {
    if (t->dtype == PARA_F32) ((float *)t->data)[at] = f;
    else ((uint16_t *)t->data)[at] = para_f32_to_bf16(f);
}

/* Where along `axis` the row-th row lies. */
static int64_t index_along(const para_tensor *t, int axis, int64_t row) {
    for (int i = t->rank - 2; i > axis; i--) row /= t->dim[i];
    return row % t->dim[axis];
}

static void blend_range(void *context, int64_t first, int64_t last, int worker) {
    const picture_task *t = context;
    const para_tensor *edge = t->x, *dst = t->y;
    int inner = dst->rank - 1;
    float n = (float)dst->dim[t->axis];
    (void)worker;
    for (int64_t row = first; row < last; row++) {
        int64_t from = para_cpu_row(edge, row), to = para_cpu_row(dst, row);
        int64_t at = t->axis == inner ? 0 : index_along(dst, t->axis, row);
        for (int64_t i = 0; i < dst->dim[inner]; i++) {
            float share = (float)(t->axis == inner ? i : at) / n;
            int64_t d = to + i * dst->stride[inner];
            store(dst, d, load(edge, from + i * edge->stride[inner]) * (1 - share) + load(dst, d) * share);
        }
    }
}

para_status para_cpu_blend(para_device *dev, para_tensor edge, para_tensor dst, int axis) {
    picture_task task = {&edge, &dst, axis};
    bool right = edge.rank == dst.rank && dst.rank > 0 && axis >= 0 && axis < dst.rank && edge.dtype == dst.dtype &&
                 (dst.dtype == PARA_F32 || dst.dtype == PARA_BF16);
    for (int i = 0; right && i < dst.rank; i++) right = edge.dim[i] == dst.dim[i];
    PARA_TRY(para_cpu_check(right, "blend", "edge and dst must have the same sizes and type, F32 or BF16"));
    int64_t length = dst.dim[dst.rank - 1];
    if (length > 0)
        para_cpu_split(dev, para_tensor_count(&dst) / length, para_cpu_grain(length * 16), blend_range, &task);
    return PARA_OK;
}
