/* Norms, heads, elementwise ops and pictures: what is checked before their kernels run. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda_scratch.h"

enum { GROUP_CHANNELS = 6144 }; /* of group norm: two floats each in 48 kB of shared memory */

static cudaStream_t stream_of(const para_device *dev) {
    return para_cuda_of(dev)->stream;
}

bool para_cuda_same_sizes(const para_tensor *a, const para_tensor *b) {
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) same = a->dim[i] == b->dim[i];
    return same;
}

bool para_cuda_vector(const para_tensor *v, int64_t d) {
    return !v->data || (v->rank == 1 && v->dim[0] == d && v->dtype == PARA_F32 && v->stride[0] == 1 && para_cuda_aligned(v));
}

bool para_cuda_matrices(const para_tensor *x, const para_tensor *y) {
    return x->rank == 2 && para_cuda_same_sizes(x, y) && x->dtype == y->dtype && para_cuda_computes(x->dtype) && para_cuda_aligned(x) &&
           para_cuda_aligned(y);
}

static bool norm_vectors(const para_norm_args *a, int64_t d) {
    return para_cuda_vector(&a->weight, d) && para_cuda_vector(&a->bias, d) && para_cuda_vector(&a->scale, d) && para_cuda_vector(&a->shift, d) &&
           d <= PARA_CUDA_NORM_WIDTH;
}

para_status para_cuda_norm(para_device *dev, const para_norm_args *a) {
    CUDA_BEGIN(dev, para_cuda_matrices(&a->x, &a->y) && norm_vectors(a, a->x.dim[1]), "norm",
               "x [M, D], y [M, D] and the vectors [D] of F32 do not fit together, or D is above 32768");
    if (para_tensor_count(&a->x) == 0) return PARA_OK;
    para_cuda_launch_norm(a, NULL, stream_of(dev));
    return para_cuda_launched("norm");
}

para_status para_cuda_residual(para_device *dev, const para_residual_args *a) {
    CUDA_BEGIN(dev, para_cuda_matrices(&a->x, &a->y) && para_cuda_vector(&a->gate, a->x.dim[1]) && a->x.dim[1] <= PARA_CUDA_NORM_WIDTH, "residual",
               "x [M, D], y [M, D] and gate [D] of F32 do not fit together, or D is above 32768");
    PARA_TRY(para_cuda_check(!a->norm || (para_cuda_matrices(&a->x, &a->norm->y) && norm_vectors(a->norm, a->x.dim[1])), "residual",
                             "x [M, D] and the norm's y [M, D] and vectors [D] do not fit together"));
    if (para_tensor_count(&a->x) == 0) return PARA_OK;
    para_cuda_launch_norm(a->norm, a, stream_of(dev));
    return para_cuda_launched("residual");
}

static bool conditioned(const para_group_norm_args *a) {
    const para_tensor *x = &a->x, *s = &a->scale, *o = &a->shift;
    if (!s->data && !o->data) return true;
    bool right = s->data && o->data && x->rank == 5 && s->rank == 5 && para_cuda_same_sizes(s, o) && s->dtype == x->dtype && o->dtype == x->dtype &&
                 para_tensor_contiguous(s) && para_tensor_contiguous(o) && para_cuda_aligned(s) && para_cuda_aligned(o);
    for (int i = 0; right && i < 5; i++) right = s->dim[i] <= x->dim[i] && (s->dim[i] > 0 || x->dim[i] == 0);
    return right && s->dim[0] == x->dim[0] && s->dim[4] == x->dim[4] && x->dim[1] * x->dim[2] * x->dim[3] <= UINT32_MAX;
}

para_status para_cuda_group_norm(para_device *dev, const para_group_norm_args *a) {
    int64_t c = a->x.dim[a->x.rank - 1];
    void *moments, *vectors;
    CUDA_BEGIN(dev, (a->x.rank == 4 || a->x.rank == 5) && a->groups > 0 && c % a->groups == 0 && c <= GROUP_CHANNELS && a->weight.data && a->bias.data &&
                        para_cuda_vector(&a->weight, c) && para_cuda_vector(&a->bias, c) && a->x.dtype == a->y.dtype && para_cuda_computes(a->x.dtype) &&
                        para_cuda_same_sizes(&a->x, &a->y) && para_tensor_contiguous(&a->x) && para_tensor_contiguous(&a->y) &&
                        para_cuda_aligned(&a->x) && para_cuda_aligned(&a->y),
               "group_norm", "x and y [N, H, W, C] or [N, F, H, W, C], contiguous, and the vectors [C] of F32 do not fit together, or C is above 6144");
    PARA_TRY(para_cuda_check(conditioned(a), "group_norm", "scale and shift must be [N, f, h, w, C] of x's type, no larger than x [N, F, H, W, C]"));
    if (para_tensor_count(&a->x) == 0) return PARA_OK;
    para_cuda_group_plan plan = para_cuda_plan_group_norm(a);
    size_t mark = para_arena_mark(&dev->arena);
    para_status status;
    PARA_TRY_GOTO(status, done, para_arena_take(&dev->arena, plan.moment_bytes, &moments));
    PARA_TRY_GOTO(status, done, para_arena_take(&dev->arena, plan.vector_bytes, &vectors));
    para_cuda_launch_group_norm(a, plan.chunks, moments, vectors, stream_of(dev));
    status = para_cuda_launched("group_norm");
done:
    para_arena_release(&dev->arena, mark);
    return status;
}

/* [rows, d] of F32, or none. */
static bool matrix_of(const para_tensor *t, int64_t rows, int64_t d) {
    return !t->data || (t->rank == 2 && t->dim[0] == rows && t->dim[1] == d && t->dtype == PARA_F32 && para_cuda_aligned(t));
}

/* [3, H, D/2] of F32, or none. */
static bool frequencies_of(const para_tensor *t, const int64_t x[3]) {
    return !t->data || (t->rank == 3 && t->dim[0] == 3 && t->dim[1] == x[1] && t->dim[2] == x[2] / 2 && t->dtype == PARA_F32 && para_cuda_aligned(t));
}

/* All heads of x, in one part or several of the same strides; without tokens they have none. */
static bool takes_heads(const para_head_args *a) {
    const para_tensor *x = &a->x, *y = a->parts ? a->part : &a->y;
    int64_t heads = 0;
    bool right = x->rank == 3 && a->parts <= PARA_MOST_PLACES;
    for (int i = 0; right && i < (a->parts ? a->parts : 1); i++) {
        heads += y[i].dim[0];
        right = y[i].rank == 3 && y[i].dim[1] == x->dim[0] && y[i].dim[2] == x->dim[2] && y[i].dtype == x->dtype && para_cuda_aligned(&y[i]) &&
                (x->dim[0] == 0 || (y[i].stride[0] == y->stride[0] && y[i].stride[1] == y->stride[1]));
    }
    return right && heads == x->dim[1];
}

static para_status check_head(const para_head_args *a) {
    const int64_t *x = a->x.dim;
    PARA_TRY(para_cuda_check(takes_heads(a) && para_cuda_computes(a->x.dtype) && para_cuda_aligned(&a->x) && para_cuda_vector(&a->weight, x[2]) &&
                                 para_cuda_vector(&a->bias, x[2]) && (a->weight.data || !a->bias.data),
                             "heads", "x [S, H, D], y [H, S, D] or its parts (of the same strides), the weight and the bias [D] of F32 do not fit together"));
    bool tables = a->cos.data, angles = a->positions.data;
    PARA_TRY(para_cuda_check(tables == !!a->sin.data && matrix_of(&a->cos, x[0], x[2]) && matrix_of(&a->sin, x[0], x[2]) && (!tables || x[2] % 2 == 0),
                             "heads", "cos and sin must be [S, D] of F32 with an even D"));
    return para_cuda_check(angles == !!a->frequencies.data && matrix_of(&a->positions, x[0], 3) && frequencies_of(&a->frequencies, x) &&
                               (!angles || (!tables && x[2] % 2 == 0)),
                           "heads", "positions [S, 3] and frequencies [3, H, D/2] must be of F32 with an even D, and without cos and sin");
}

para_status para_cuda_heads(para_device *dev, int n, const para_head_args *a) {
    CUDA_BEGIN(dev, n >= 0 && n <= PARA_OPERANDS, "heads", "there are no more operands than three");
    for (int i = 0; i < n; i++) PARA_TRY(check_head(&a[i]));
    para_cuda_launch_heads(n, a, stream_of(dev));
    return para_cuda_launched("heads");
}

static bool alike(const para_tensor *a, const para_tensor *y) {
    return para_cuda_same_sizes(a, y) && a->dtype == y->dtype && para_cuda_computes(y->dtype) && para_cuda_aligned(a) && para_cuda_aligned(y);
}

para_status para_cuda_activate(para_device *dev, para_activation f, para_tensor x, para_tensor y) {
    CUDA_BEGIN(dev, alike(&x, &y), "activate", "x and y must have the same sizes and type");
    if (para_tensor_count(&y) == 0) return PARA_OK;
    para_walk w = para_walk_of(2, (const para_tensor *[]){&y, &x});
    para_cuda_launch_map(&w, f, stream_of(dev));
    return para_cuda_launched("activate");
}

para_status para_cuda_gated(para_device *dev, para_activation f, para_tensor a, para_tensor b, para_tensor y) {
    CUDA_BEGIN(dev, alike(&a, &y) && alike(&b, &y), "gated", "a, b and y must have the same sizes and type");
    if (para_tensor_count(&y) == 0) return PARA_OK;
    para_walk w = para_walk_of(3, (const para_tensor *[]){&y, &a, &b});
    para_cuda_launch_map(&w, f, stream_of(dev));
    return para_cuda_launched("gated");
}

para_status para_cuda_copy(para_device *dev, para_tensor dst, para_tensor src) {
    CUDA_BEGIN(dev, para_cuda_same_sizes(&dst, &src), "copy", "source and destination must have the same sizes");
    PARA_TRY(para_cuda_check(dst.dtype == src.dtype || (para_cuda_is_float(src.dtype) && para_cuda_computes(dst.dtype)), "copy",
                             "only float types are converted, and none to F8_E4M3"));
    PARA_TRY(para_cuda_check(para_cuda_aligned(&dst) && para_cuda_aligned(&src), "copy", "elements must lie at multiples of their size"));
    if (para_tensor_count(&dst) == 0) return PARA_OK;
    para_walk w = para_walk_of(2, (const para_tensor *[]){&dst, &src});
    para_cuda_launch_copy(&w, stream_of(dev));
    return para_cuda_launched("copy");
}

para_status para_cuda_combine(para_device *dev, para_tensor y, int n, const para_tensor *x, const float *c) {
    CUDA_BEGIN(dev, n >= 0 && n <= 4 && para_tensor_contiguous(&y) && para_cuda_computes(y.dtype) && para_cuda_aligned(&y), "combine",
               "at most 4 terms into a contiguous y of F32, F16 or BF16");
    for (int i = 0; i < n; i++)
        PARA_TRY(para_cuda_check(para_tensor_count(&x[i]) == para_tensor_count(&y) && para_tensor_contiguous(&x[i]) && para_cuda_is_float(x[i].dtype) &&
                                     para_cuda_aligned(&x[i]),
                                 "combine", "each term must be contiguous, of a float type and as large as y"));
    if (para_tensor_count(&y) == 0) return PARA_OK;
    para_cuda_launch_combine(y, n, x, c, stream_of(dev));
    return para_cuda_launched("combine");
}

para_status para_cuda_change(para_device *dev, para_tensor before, para_tensor now, para_tensor sums) {
    CUDA_BEGIN(dev, para_tensor_count(&before) == para_tensor_count(&now) && before.dtype == now.dtype && para_cuda_computes(now.dtype) &&
                        para_tensor_contiguous(&before) && para_tensor_contiguous(&now) && para_cuda_aligned(&before) && para_cuda_aligned(&now),
               "change", "both must be contiguous, of the same size and type, F32, BF16 or F16");
    PARA_TRY(para_cuda_check(para_tensor_count(&sums) == 2 && sums.dtype == PARA_F32 && para_tensor_contiguous(&sums) && para_cuda_aligned(&sums),
                             "change", "the sums must be two of F32"));
    para_cuda_launch_change(before, now, para_cuda_of(dev)->sums, sums.data, stream_of(dev));
    return para_cuda_launched("change");
}

para_status para_cuda_embedding(para_device *dev, para_tensor table, para_tensor ids, para_tensor y) {
    CUDA_BEGIN(dev, table.rank == 2 && ids.rank == 1 && y.rank == 2 && ids.dim[0] == y.dim[0] && table.dim[1] == y.dim[1] && ids.dtype == PARA_I32 &&
                        para_cuda_is_float(table.dtype) && para_cuda_computes(y.dtype) && para_cuda_aligned(&table) && para_cuda_aligned(&ids) &&
                        para_cuda_aligned(&y),
               "embedding", "table [V, D], ids [M] of I32 and y [M, D] do not fit together");
    if (para_tensor_count(&y) == 0) return PARA_OK;
    para_cuda_launch_embedding(table, ids, y, stream_of(dev));
    return para_cuda_launched("embedding");
}

para_status para_cuda_upsample2x(para_device *dev, para_tensor x, para_tensor y) {
    CUDA_BEGIN(dev, x.rank == 4 && y.rank == 4 && x.dim[0] == y.dim[0] && 2 * x.dim[1] == y.dim[1] && 2 * x.dim[2] == y.dim[2] && x.dim[3] == y.dim[3] &&
                        x.dtype == y.dtype && para_cuda_computes(x.dtype) && para_tensor_contiguous(&x) && para_tensor_contiguous(&y) &&
                        para_cuda_aligned(&x) && para_cuda_aligned(&y),
               "upsample2x", "x [N, H, W, C] and y [N, 2H, 2W, C] must be contiguous and fit together");
    if (para_tensor_count(&x) == 0) return PARA_OK;
    para_cuda_launch_upsample2x(x, y, stream_of(dev));
    return para_cuda_launched("upsample2x");
}

para_status para_cuda_blend(para_device *dev, para_tensor edge, para_tensor dst, int axis) {
    CUDA_BEGIN(dev, dst.rank > 0 && axis >= 0 && axis < dst.rank && alike(&edge, &dst), "blend", "edge and dst must have the same sizes and type");
    if (para_tensor_count(&dst) == 0) return PARA_OK;
    para_cuda_launch_blend(edge, dst, axis, stream_of(dev));
    return para_cuda_launched("blend");
}

para_status para_cuda_all_finite(para_device *dev, para_tensor x, bool *out) {
    para_cuda *cuda = para_cuda_of(dev);
    int found = 0;
    para_tensor flag = para_tensor_make(cuda->flag, PARA_I32, 1, (int64_t[]){1});
    CUDA_BEGIN(dev, para_tensor_contiguous(&x) && para_cuda_is_float(x.dtype) && para_cuda_aligned(&x), "all_finite",
               "x must be contiguous and of a float type");
    *out = true;
    if (para_tensor_count(&x) == 0) return PARA_OK;
    CUDA_TRY(cudaMemsetAsync(cuda->flag, 0, sizeof *cuda->flag, cuda->stream), "clear memory on the GPU");
    para_cuda_launch_find_not_finite(x, cuda->flag, cuda->stream);
    PARA_TRY(para_cuda_launched("all_finite"));
    PARA_TRY(para_cuda_download(dev, &found, &flag));
    *out = !found;
    return PARA_OK;
}
