/* Linear layers: oneDNN's matrix product, or one pass over the weights for few rows. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/cpu_scratch.h"
#include "core/error.h"

enum {
    FEW_ROWS = 8,             /* up to here reading the weights is what takes the time */
    SLICE_BYTES = 4 << 20,    /* of converted weights */
    SCRATCH_LIMIT = 16 << 20, /* oneDNN's own scratch is cut down to about this by slicing */
    SLICE_STEP = 64,
};

/* How a layer is computed: weight rows [i · slice, (i + 1) · slice) at a time. */
typedef struct linear_plan {
    para_dtype type; /* of the product: the activations', or F32 where oneDNN has no fast BF16 */
    int threads;
    bool few, convert_x, convert_w, convert_y;
    int64_t slice;
    size_t x_bytes, w_bytes, y_bytes, onednn_bytes;
} linear_plan;

static para_onednn_key key_of(const para_linear_args *a, const linear_plan *p, int64_t columns) {
    int64_t m = a->x.dim[0], k = a->x.dim[1];
    return (para_onednn_key){
        .type = p->type,
        .activation = a->activation,
        .bias = a->w->bias.dtype != PARA_DTYPE_NONE,
        .accumulate = a->accumulate && !p->convert_y,
        .threads = p->threads,
        .m = m,
        .n = columns,
        .k = k,
        .src_row = p->convert_x ? k : a->x.stride[0],
        .weights_row = p->convert_w ? k : a->w->weight.stride[0],
        .dst_row = p->convert_y ? columns : a->y.stride[0],
    };
}

static int64_t slice_of(int64_t wanted, int64_t n) {
    int64_t slice = wanted / SLICE_STEP * SLICE_STEP;
    if (slice < SLICE_STEP) slice = SLICE_STEP;
    return slice < n ? slice : n;
}

/* oneDNN's scratch for whole slices and for the rest. */
static para_status measure(para_onednn *o, const para_linear_args *a, linear_plan *p, bool describe_only,
                           bool *reference) {
    int64_t n = a->y.dim[1], columns[] = {p->slice, n % p->slice};
    p->onednn_bytes = 0;
    for (int i = 0; i < 2; i++) {
        const para_onednn_op *op;
        if (columns[i] == 0) continue;
        para_onednn_key key = key_of(a, p, columns[i]);
        PARA_TRY(para_onednn_find(o, &key, describe_only, &op));
        if (op->scratch_bytes > p->onednn_bytes) p->onednn_bytes = op->scratch_bytes;
        *reference = op->reference;
    }
    return PARA_OK;
}

static para_status make_plan(para_onednn *o, const para_linear_args *a, int threads, bool describe_only,
                             linear_plan *p) {
    int64_t m = a->x.dim[0], k = a->x.dim[1], n = a->y.dim[1];
    bool reference = false;
    *p = (linear_plan){.type = a->x.dtype, .threads = threads, .few = m <= FEW_ROWS, .slice = n};
    if (p->few) return PARA_OK;
    p->convert_w = a->w->weight.dtype != p->type;
    if (p->convert_w) p->slice = slice_of(SLICE_BYTES / (k * (int64_t)para_dtype_size(p->type)), n);
    PARA_TRY(measure(o, a, p, describe_only, &reference));
    if (p->type == PARA_BF16 && reference) {
        p->type = PARA_F32;
        p->convert_x = p->convert_w = p->convert_y = true;
        p->slice = slice_of(SLICE_BYTES / (k * 4), n);
        PARA_TRY(measure(o, a, p, describe_only, &reference));
    } else if (p->onednn_bytes > SCRATCH_LIMIT) {
        int64_t slice = slice_of((int64_t)((double)p->slice * SCRATCH_LIMIT / (double)p->onednn_bytes), n);
        if (slice < p->slice) {
            p->slice = slice;
            PARA_TRY(measure(o, a, p, describe_only, &reference));
        }
    }
    if (p->convert_x) p->x_bytes = para_cpu_round((size_t)(m * k) * 4);
    if (p->convert_w) p->w_bytes = para_cpu_round((size_t)(p->slice * k) * para_dtype_size(p->type));
    if (p->convert_y) p->y_bytes = para_cpu_round((size_t)(m * p->slice) * 4);
    return PARA_OK;
}

static size_t plan_bytes(const linear_plan *p) {
    return p->x_bytes + p->w_bytes + p->y_bytes + p->onednn_bytes;
}

para_status para_cpu_linear_scratch(para_onednn **kept, const para_linear_args *a, int threads, size_t *out) {
    linear_plan plan;
    *out = 0;
    if (a->x.dim[0] == 0 || a->y.dim[1] == 0) return PARA_OK;
    if (!*kept) PARA_TRY(para_onednn_open(kept));
    PARA_TRY(make_plan(*kept, a, threads, true, &plan));
    *out = plan_bytes(&plan);
    return PARA_OK;
}

/* Rows of a matrix to contiguous rows of another type. */
typedef struct convert_rows {
    const para_simd *simd;
    const para_tensor *from;
    void *to;
    para_dtype type, between;
} convert_rows;

static void convert_range(void *context, int64_t first, int64_t last, int worker) {
    const convert_rows *c = context;
    int64_t k = c->from->dim[1], size = (int64_t)para_dtype_size(c->from->dtype);
    (void)worker;
    for (int64_t row = first; row < last; row++)
        c->simd->convert((char *)c->to + row * k * (int64_t)para_dtype_size(c->type), c->type,
                         (char *)c->from->data + row * c->from->stride[0] * size, c->from->dtype, c->between, k);
}

/* A float32 tile [m, columns] goes to columns of y. */
typedef struct store_tile {
    const para_simd *simd;
    const para_linear_args *a;
    const float *tile;
    int64_t column, columns;
} store_tile;

static void store_range(void *context, int64_t first, int64_t last, int worker) {
    const store_tile *s = context;
    para_dtype type = s->a->y.dtype;
    (void)worker;
    for (int64_t row = first; row < last; row++) {
        char *y = (char *)s->a->y.data + (row * s->a->y.stride[0] + s->column) * (int64_t)para_dtype_size(type);
        const float *tile = s->tile + row * s->columns;
        if (s->a->accumulate) s->simd->add(y, type, tile, s->columns);
        else s->simd->convert(y, type, tile, PARA_F32, PARA_F32, s->columns);
    }
}

static void convert(para_device *dev, const para_tensor *from, void *to, para_dtype type, para_dtype between) {
    convert_rows c = {para_simd_of(dev), from, to, type, between};
    para_cpu_split(dev, from->dim[0], para_cpu_grain(from->dim[1] * 4), convert_range, &c);
}

static para_status run_slices(para_device *dev, const para_linear_args *a, const linear_plan *p, char *scratch) {
    para_onednn *o = para_cpu_of(dev)->onednn;
    char *x = scratch, *w = x + p->x_bytes, *y = w + p->w_bytes, *workspace = y + p->y_bytes;
    int64_t n = a->y.dim[1];
    if (p->convert_x) convert(dev, &a->x, x, PARA_F32, PARA_F32);
    for (int64_t column = 0; column < n; column += p->slice) {
        int64_t columns = n - column < p->slice ? n - column : p->slice;
        para_tensor weight = para_rows(a->w->weight, column, columns);
        const para_onednn_op *op;
        para_onednn_key key = key_of(a, p, columns);
        PARA_TRY(para_onednn_find(o, &key, false, &op));
        if (p->convert_w) convert(dev, &weight, w, p->type, a->x.dtype);
        para_onednn_run_args run = {
            .src = p->convert_x ? x : a->x.data,
            .weights = p->convert_w ? w : weight.data,
            .bias = key.bias ? (float *)a->w->bias.data + column : NULL,
            .dst = p->convert_y ? y : (char *)a->y.data + column * (int64_t)para_dtype_size(a->y.dtype),
            .scratch = workspace,
        };
        PARA_TRY(para_onednn_run(o, op, &run));
        store_tile s = {para_simd_of(dev), a, (float *)(void *)y, column, columns};
        if (p->convert_y) para_cpu_split(dev, a->y.dim[0], para_cpu_grain(columns * 4), store_range, &s);
    }
    return PARA_OK;
}

typedef struct few_rows {
    const para_simd *simd;
    const para_linear_args *a;
} few_rows;

static void few_range(void *context, int64_t first, int64_t last, int worker) {
    const few_rows *f = context;
    (void)worker;
    f->simd->linear_few(f->a, first, last);
}

para_status para_cpu_linear(para_device *dev, const para_linear_args *a) {
    const para_tensor *w = &a->w->weight;
    linear_plan plan;
    void *scratch;
    PARA_TRY(para_cpu_check(a->x.rank == 2 && w->rank == 2 && a->y.rank == 2 && a->x.dim[0] == a->y.dim[0] &&
                                a->x.dim[1] == w->dim[1] && a->y.dim[1] == w->dim[0] && a->x.dtype == a->y.dtype,
                            "linear", "x [M, K], weight [N, K] and y [M, N] do not fit together"));
    if (a->x.dim[0] == 0 || a->y.dim[1] == 0) return PARA_OK;
    PARA_TRY(make_plan(para_cpu_of(dev)->onednn, a, dev->threads, false, &plan));
    if (plan.few) {
        few_rows f = {para_simd_of(dev), a};
        para_cpu_split(dev, w->dim[0], para_cpu_grain(w->dim[1] * (int64_t)para_dtype_size(w->dtype)), few_range, &f);
        return PARA_OK;
    }
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(para_arena_take(&dev->arena, plan_bytes(&plan), &scratch));
    para_status status = run_slices(dev, a, &plan, scratch);
    para_arena_release(&dev->arena, mark);
    return status;
}
