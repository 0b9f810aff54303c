/* How a convolution in time and space is cut into slices. SPDX-License-Identifier: Apache-2.0 */
#include "backend/conv3d.h"

#include "core/error.h"

enum {
    SLICE_BYTES = 64 << 20,
    LEAST_FRAMES = 8
}; /* of a padded copy; of y in a slice: a kernel's other frames are copied once more for each */

static int64_t grown(const para_conv3d_args *a, int axis) {
    return a->grown[axis] ? a->grown[axis] : a->x.dim[1 + axis];
}

static int64_t out_size(int64_t in, int64_t pad, int64_t kernel, int64_t stride) {
    return (in + 2 * pad - kernel) / stride + 1;
}

static bool fits(const para_conv3d_args *a) {
    const para_tensor *w = &a->w->weight, *x = &a->x, *y = &a->y, *b = &a->w->bias;
    return x->rank == 5 && y->rank == 5 && w->rank == 5 && x->dim[0] == y->dim[0] && x->dim[4] == w->dim[1] &&
           y->dim[4] == w->dim[0] && x->dtype == y->dtype && (x->dtype == PARA_F32 || x->dtype == PARA_BF16) &&
           a->stride > 0 && a->stride_t > 0 &&
           (!b->data || (b->rank == 1 && b->dim[0] == w->dim[0] && b->dtype == PARA_F32)) &&
           para_tensor_contiguous(x) && para_tensor_contiguous(y) && para_tensor_contiguous(w);
}

static bool enlarges(const para_conv3d_args *a) {
    for (int i = 0; i < 3; i++)
        if (a->x.dim[1 + i] < 1 || grown(a, i) < a->x.dim[1 + i]) return false;
    return true;
}

static bool follows(const para_conv3d_args *a) {
    const int64_t *w = a->w->weight.dim, *y = a->y.dim;
    return y[1] == (grown(a, 0) - 1) / a->stride_t + 1 && y[2] == out_size(grown(a, 1), a->pad_h, w[3], a->stride) &&
           y[3] == out_size(grown(a, 2), a->pad_w, w[4], a->stride) && y[2] > 0 && y[3] > 0;
}

static bool comes_before(const para_conv3d_args *a) {
    const para_tensor *b = &a->before;
    return !b->data || (b->rank == 5 && b->dtype == a->x.dtype && para_tensor_contiguous(b) &&
                        b->dim[0] == a->x.dim[0] && b->dim[1] == a->w->weight.dim[2] - 1 && b->dim[2] == grown(a, 1) &&
                        b->dim[3] == grown(a, 2) && b->dim[4] == a->x.dim[4]);
}

para_status para_conv3d_check(const para_conv3d_args *a) {
    if (!fits(a))
        return para_fail(PARA_ERR_SHAPE, "conv3d: x [N, F, H, W, I], weight [O, I, kt, kh, kw], bias [O] of F32 and y "
                                         "[N, OF, OH, OW, O], contiguous, do not fit "
                                         "together");
    if (!enlarges(a)) return para_fail(PARA_ERR_SHAPE, "conv3d: x must not be empty, nor smaller after it is enlarged");
    if (!follows(a))
        return para_fail(PARA_ERR_SHAPE,
                         "conv3d: y's frames, height and width do not follow from x, padding, kernel and stride");
    if (!comes_before(a))
        return para_fail(PARA_ERR_SHAPE, "conv3d: the frames before x must be kt - 1 of its size and type");
    return PARA_OK;
}

para_conv3d_plan para_plan_conv3d(const para_conv3d_args *a, int64_t size) {
    const int64_t *w = a->w->weight.dim, *x = a->x.dim, *y = a->y.dim;
    para_conv3d_plan p = {.f = grown(a, 0), .h = grown(a, 1), .w = grown(a, 2), .frames = y[1]};
    p.product = w[2] * w[3] * w[4] == 1 && a->stride == 1 && a->stride_t == 1 && !a->pad_h && !a->pad_w &&
                p.f * p.h * p.w == x[1] * x[2] * x[3];
    int64_t frame = (p.h + 2 * a->pad_h) * (p.w + 2 * a->pad_w) * x[4] * size,
            most = (SLICE_BYTES / frame - w[2]) / a->stride_t + 1;
    if (most < LEAST_FRAMES) most = LEAST_FRAMES;
    int64_t slices = (y[1] + most - 1) / most;
    p.frames = (y[1] + slices - 1) / slices;
    p.padded[0] = (p.frames - 1) * a->stride_t + w[2];
    p.padded[1] = p.h + 2 * a->pad_h;
    p.padded[2] = p.w + 2 * a->pad_w;
    p.padded[3] = x[4];
    return p;
}

int64_t para_conv3d_slice(const para_conv3d_plan *p, const para_conv3d_args *a, int64_t i) {
    int64_t first = i * p->frames, last = a->y.dim[1] - p->frames;
    return first >= a->y.dim[1] ? -1 : first < last ? first : last;
}

para_linear_args para_conv3d_product(const para_conv3d_args *a, para_linear *layer) {
    const int64_t *w = a->w->weight.dim;
    int64_t pixels = para_tensor_count(&a->x) / w[1];
    *layer = (para_linear){PARA_RESHAPE(a->w->weight, w[0], w[1]), a->w->bias};
    return (para_linear_args){.x = PARA_RESHAPE(a->x, pixels, w[1]), .w = layer, .y = PARA_RESHAPE(a->y, pixels, w[0])};
}
