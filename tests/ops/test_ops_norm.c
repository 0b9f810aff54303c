/* Norms, residuals, heads and group norm against their double-precision twins. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/cpu_scratch.h"
#include "ops/ops_case.h"
#include "ops/twin_ops.h"

#include <math.h>

#include <stdlib.h>

static const para_dtype types[] = {PARA_F32, PARA_BF16};

static ops_tensor maybe(para_device *dev, int64_t d) {
    return ops_chance(0.6) ? OPS_MAKE(dev, PARA_F32, OPS_PADDED, 0.5, d) : ops_none();
}

/* The optional vectors of a norm. */
typedef struct norm_vectors {
    ops_tensor weight, bias, scale, shift;
} norm_vectors;

static norm_vectors make_vectors(para_device *dev, int64_t d) {
    return (norm_vectors){maybe(dev, d), maybe(dev, d), maybe(dev, d), maybe(dev, d)};
}

static void free_vectors(para_device *dev, norm_vectors *v) {
    ops_free(dev, &v->weight);
    ops_free(dev, &v->bias);
    ops_free(dev, &v->scale);
    ops_free(dev, &v->shift);
}

static para_norm_args norm_args(const norm_vectors *v, para_tensor x, para_tensor y) {
    return (para_norm_args){.kind = ops_chance(0.5) ? PARA_NORM_LAYER : PARA_NORM_RMS,
                            .eps = 1e-6f,
                            .x = x,
                            .y = y,
                            .weight = v->weight.view,
                            .bias = v->bias.view,
                            .scale = v->scale.view,
                            .shift = v->shift.view};
}

static void norm_rows(double *y, const double *x, const para_norm_args *a, const norm_vectors *v) {
    int64_t d = a->y.dim[1];
    for (int64_t i = 0; i < a->y.dim[0]; i++)
        twin_norm(y + i * d, x + i * d, d, a->kind, a->eps, v->weight.value, v->bias.value, v->scale.value,
                  v->shift.value);
}

static void norm_case(para_device *dev, para_dtype type) {
    int64_t m = ops_int(1, 40), d = ops_chance(0.2) ? ops_int(1, 4) : ops_int(5, 700);
    norm_vectors v = make_vectors(dev, d);
    ops_tensor x = OPS_MAKE(dev, type, OPS_PADDED, 2, m, d), y = OPS_MAKE(dev, type, OPS_PADDED, 1, m, d);
    double shift = ops_chance(0.3) ? 10 * ops_normal() : 0;
    for (int64_t i = 0; i < m * d; i++) x.value[i] += shift;
    ops_write(dev, &x);
    para_norm_args a = norm_args(&v, x.view, y.view);
    ops_ok(dev, dev->ops->norm(dev, &a));
    norm_rows(y.value, x.value, &a, &v);
    ops_check(dev, &y, y.value, a.kind == PARA_NORM_LAYER && d < 5 ? 20 : 5, "norm %s",
              a.kind == PARA_NORM_LAYER ? "layer" : "rms");
    free_vectors(dev, &v);
    ops_free(dev, &x);
    ops_free(dev, &y);
}

static void norms(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < 40; i++) norm_case(ops_device(d), types[t]);
}

static void residual_case(para_device *dev, para_dtype type) {
    int64_t m = ops_int(1, 40), d = ops_int(8, 300);
    bool with_norm = ops_chance(0.7), rms = ops_chance(0.5);
    norm_vectors v = make_vectors(dev, d);
    ops_tensor gate = maybe(dev, d), x = OPS_MAKE(dev, type, OPS_PADDED, 2, m, d),
               y = OPS_MAKE(dev, type, OPS_PADDED, 1, m, d);
    ops_tensor out = OPS_MAKE(dev, type, OPS_PADDED, 1, m, d);
    para_norm_args norm = norm_args(&v, (para_tensor){0}, out.view);
    ops_ok(dev, dev->ops->residual(dev, &(para_residual_args){.x = x.view,
                                                              .gate = gate.view,
                                                              .y = y.view,
                                                              .rms_norm = rms,
                                                              .eps = 1e-6f,
                                                              .norm = with_norm ? &norm : NULL}));
    for (int64_t i = 0; i < m && rms; i++)
        twin_norm(y.value + i * d, y.value + i * d, d, PARA_NORM_RMS, 1e-6f, NULL, NULL, NULL, NULL);
    for (int64_t i = 0; i < m * d; i++) x.value[i] += y.value[i] * (gate.value ? gate.value[i % d] : 1);
    ops_check(dev, &x, x.value, 1, rms ? "residual of rms" : "residual");
    double *sum = ops_read(dev, &x); /* rounded as the device rounded it */
    if (with_norm) norm_rows(out.value, sum, &norm, &v);
    ops_check(dev, &out, out.value, 5, "residual's norm");
    free(sum);
    free_vectors(dev, &v);
    ops_free(dev, &gate);
    ops_free(dev, &x);
    ops_free(dev, &y);
    ops_free(dev, &out);
}

static void residuals(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < 30; i++) residual_case(ops_device(d), types[t]);
}

/* What a head may come with: a norm of either kind with or without a bias, what turns it, and the order of its pairs. */
typedef struct head_options {
    bool normed, layer_norm, bias;
    enum { NOTHING_TURNS, TABLES, FREQUENCIES } rope;
    bool interleaved;
} head_options;

/* Two of these, or none. */
typedef struct head_rotation {
    ops_tensor cosine, sine;
    ops_tensor positions, frequencies; /* angles of some hundreds */
} head_rotation;

static head_rotation make_rotation(para_device *dev, const head_options *o, int64_t s, int64_t h, int64_t d) {
    bool tables = o->rope == TABLES, angles = o->rope == FREQUENCIES;
    return (head_rotation){.cosine = tables ? OPS_MAKE(dev, PARA_F32, OPS_PADDED, 1, s, d) : ops_none(),
                           .sine = tables ? OPS_MAKE(dev, PARA_F32, OPS_PADDED, 1, s, d) : ops_none(),
                           .positions = angles ? OPS_MAKE(dev, PARA_F32, OPS_PADDED, 100, s, 3) : ops_none(),
                           .frequencies = angles ? OPS_MAKE(dev, PARA_F32, OPS_TURNED, 1, 3, h, d / 2) : ops_none()};
}

static void free_rotation(para_device *dev, head_rotation *r) {
    ops_free(dev, &r->cosine);
    ops_free(dev, &r->sine);
    ops_free(dev, &r->positions);
    ops_free(dev, &r->frequencies);
}

static ops_tensor head_vector(para_device *dev, bool there, int64_t d) {
    return there ? OPS_MAKE(dev, PARA_F32, OPS_PADDED, 0.5, d) : ops_none();
}

/* What the op is called with, and where its heads go. */
typedef struct head_operand {
    ops_tensor x, y, turned, weight, bias; /* y, turned [H, S, D]; y.value: what shall come out */
    para_tensor part[3];                   /* of turned: its last heads, then the others */
    enum { TO_Y, TO_PARTS, IN_PLACE, HEAD_PLACES } place;
    para_head_args args;
} head_operand;

static void make_head(para_device *dev, para_dtype type, ops_layout layout, const int64_t size[3], const head_options *o,
                      const head_rotation *r, head_operand *out) {
    int64_t s = size[0], h = size[1], d = size[2];
    *out = (head_operand){.x = OPS_MAKE(dev, type, layout, 1, s, h, d),
                          .y = OPS_MAKE(dev, type, layout, 1, h, s, d),
                          .turned = OPS_MAKE(dev, type, layout, 1, h, s, d),
                          .weight = head_vector(dev, o->normed, d),
                          .bias = head_vector(dev, o->normed && o->bias, d)};
    out->args = (para_head_args){.x = out->x.view,
                                 .layer_norm = o->layer_norm,
                                 .weight = out->weight.view,
                                 .bias = out->bias.view,
                                 .eps = 1e-6f,
                                 .rope_interleaved = o->interleaved};
    twin_head_options twin = {.kind = o->layer_norm ? PARA_NORM_LAYER : PARA_NORM_RMS,
                              .weight = out->weight.value,
                              .bias = out->bias.value,
                              .eps = 1e-6f,
                              .interleaved = o->interleaved};
    if (o->rope != NOTHING_TURNS) {
        out->args.cos = r->cosine.view, out->args.sin = r->sine.view;
        out->args.positions = r->positions.view, out->args.frequencies = r->frequencies.view;
        twin.cosine = r->cosine.value, twin.sine = r->sine.value;
        twin.positions = r->positions.value, twin.frequencies = r->frequencies.value;
    }
    twin_head(out->y.value, out->x.value, s, h, d, &twin);
}

/* To parts: the first heads to where the last ones would be, and the others, in one part or two, before them. */
static void aim_head(head_operand *p, int place) {
    int64_t s = p->y.view.dim[1], h = p->y.view.dim[0], d = p->y.view.dim[2], row = s * d, first = ops_int(0, (int)h),
            second = ops_int(0, (int)(h - first));
    p->place = place;
    p->args.parts = 0;
    p->args.y = place == TO_Y ? p->y.view : PARA_PERMUTE(p->x.view, 1, 0, 2);
    for (int64_t i = 0; place == IN_PLACE && i < s * h * d; i++)
        p->x.value[i] = p->y.value[(i / d % h * s + i / d / h) * d + i % d];
    if (place != TO_PARTS) return;
    p->args.y = (para_tensor){0};
    p->args.parts = 3;
    p->args.part = p->part;
    p->part[0] = para_slice(p->turned.view, 0, h - first, first);
    p->part[1] = para_slice(p->turned.view, 0, 0, second);
    p->part[2] = para_slice(p->turned.view, 0, second, h - first - second);
    for (int64_t i = 0; i < h * row; i++) p->turned.value[i] = p->y.value[(i / row + first) % h * row + i % row];
}

static void check_head(para_device *dev, const head_operand *p, const char *name) {
    const ops_tensor *out = p->place == TO_Y ? &p->y : p->place == TO_PARTS ? &p->turned : &p->x;
    ops_check(dev, out, out->value, 1, "%s", name);
}

static void free_head(para_device *dev, head_operand *p) {
    ops_free(dev, &p->x);
    ops_free(dev, &p->y);
    ops_free(dev, &p->turned);
    ops_free(dev, &p->weight);
    ops_free(dev, &p->bias);
}

static void head_case(para_device *dev, para_dtype type, const head_options *o) {
    const char *name[] = {o->rope == FREQUENCIES ? "head by frequencies" : "head", "head in parts", "head in place"};
    int64_t size[] = {ops_int(1, 30), ops_int(1, 5), 2 * ops_int(1, 70)};
    if (!o->rope && ops_chance(0.5)) size[2]--;
    head_rotation r = make_rotation(dev, o, size[0], size[1], size[2]);
    head_operand p;
    make_head(dev, type, OPS_TURNED, size, o, &r, &p);
    for (int place = 0; place < HEAD_PLACES; place++) {
        aim_head(&p, place);
        ops_ok(dev, dev->ops->heads(dev, 1, &p.args));
        check_head(dev, &p, name[place]);
    }
    free_head(dev, &p);
    free_rotation(dev, &r);
}

/* The i-th of all that may come together. */
enum { HEAD_OPTIONS = 2 * 2 * 2 * 3 * 2 };
static head_options head_options_of(int i) {
    head_options o = {.normed = i % 2, .layer_norm = i / 2 % 2, .bias = i / 4 % 2, .interleaved = i / 8 % 2};
    o.rope = i / 16;
    return o;
}

static void heads(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < HEAD_OPTIONS; i++) {
                head_options o = head_options_of(i);
                for (int k = 0; k < 3; k++) head_case(ops_device(d), types[t], &o);
            }
}

/* A rank that holds no tokens, and the places where others' heads would go: their strides are of whatever was offered. */
static void heads_of_no_tokens(void **state) {
    (void)state;
    for (int i = 0; i < ops_device_count(); i++) {
        para_device *dev = ops_device(i);
        ops_tensor x = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 0, 3, 8), y = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 2, 20, 8);
        const para_tensor part[] = {para_tensor_make(y.view.data, PARA_F32, 3, (int64_t[]){1, 0, 8}), para_slice(y.view, 1, 7, 0)};
        ops_ok(dev, dev->ops->heads(dev, 1, &(para_head_args){.x = x.view, .parts = 2, .part = part}));
        ops_check(dev, &y, y.value, 1, "heads of no tokens");
        ops_free(dev, &x);
        ops_free(dev, &y);
    }
}

/* n operands in a call. Alike: of one size and layout, turned by the same, as queries, keys and values are; some without norm or rotation, or with another
 * kind of them. Else they have nothing in common. */
static void together_case(para_device *dev, para_dtype type, int n, bool alike) {
    head_operand p[PARA_OPERANDS];
    head_rotation r[PARA_OPERANDS];
    para_head_args args[PARA_OPERANDS + 1] = {0};
    head_options o = head_options_of((int)ops_int(0, HEAD_OPTIONS - 1));
    int64_t size[] = {ops_int(1, 30), ops_int(1, 5), ops_chance(0.5) ? 16 : 2 * ops_int(1, 70)};
    int place = (int)ops_int(0, HEAD_PLACES - 1), turned = 0;
    for (int i = 0; i < n; i++) {
        if (!alike) {
            o = head_options_of((int)ops_int(0, HEAD_OPTIONS - 1));
            size[0] = ops_int(1, 30), size[1] = ops_int(1, 5), size[2] = 2 * ops_int(1, 70);
            place = (int)ops_int(0, HEAD_PLACES - 1), turned = i;
        }
        if (turned == i) r[i] = make_rotation(dev, &o, size[0], size[1], size[2]);
        head_options own = o;
        if (ops_chance(0.3)) own.normed = false;
        if (ops_chance(0.3)) own.rope = NOTHING_TURNS;
        if (ops_chance(0.2)) own.layer_norm = !own.layer_norm;
        if (ops_chance(0.2)) own.interleaved = !own.interleaved;
        make_head(dev, type, alike ? OPS_PLAIN : OPS_TURNED, size, &own, &r[turned], &p[i]);
        aim_head(&p[i], place);
        args[i] = p[i].args;
    }
    ops_ok(dev, dev->ops->heads(dev, n, args));
    for (int i = 0; i < n; i++) check_head(dev, &p[i], alike ? "heads alike" : "heads of all kinds");
    args[n - 1].x.dim[2]++; /* the last of them does not fit */
    assert_int_equal(dev->ops->heads(dev, n, args), PARA_ERR_SHAPE);
    assert_int_equal(dev->ops->heads(dev, PARA_OPERANDS + 1, args), PARA_ERR_SHAPE);
    for (int i = 0; i < n; i++) {
        free_head(dev, &p[i]);
        if (i == 0 || !alike) free_rotation(dev, &r[i]);
    }
}

static void heads_together(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < 60; i++) together_case(ops_device(d), types[t], 1 + i % PARA_OPERANDS, i / PARA_OPERANDS % 2);
}

static void group_norm_case(para_device *dev, para_dtype type, int64_t h, int64_t w, double shift) {
    int groups = (int)ops_int(1, 8);
    int64_t n = ops_int(1, 2), c = groups * ops_int(1, 9);
    para_activation f = ops_chance(0.5) ? PARA_ACT_SILU : PARA_ACT_NONE;
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 2, n, h, w, c), y = OPS_MAKE(dev, type, OPS_PLAIN, 1, n, h, w, c);
    ops_tensor weight = OPS_MAKE(dev, PARA_F32, OPS_PADDED, 1, c), bias = OPS_MAKE(dev, PARA_F32, OPS_PADDED, 1, c);
    for (int64_t i = 0; i < ops_count(&x); i++) x.value[i] += shift;
    ops_write(dev, &x);
    bool in_place = ops_chance(0.3);
    para_group_norm_args a = {.x = x.view,
                              .groups = groups,
                              .eps = 1e-6f,
                              .weight = weight.view,
                              .bias = bias.view,
                              .activation = f,
                              .y = in_place ? x.view : y.view};
    ops_ok(dev, dev->ops->group_norm(dev, &a));
    ops_took(dev, para_cpu_group_norm_scratch(&a, dev->threads));
    twin_group_norm(y.value, x.value, n, h * w, c, groups, 1e-6f, weight.value, bias.value, f);
    ops_check(dev, in_place ? &x : &y, y.value, 1 + 0.2 * (shift < 0 ? -shift : shift),
              shift == 0 ? "group_norm" : "group_norm off centre");
    ops_free(dev, &x);
    ops_free(dev, &y);
    ops_free(dev, &weight);
    ops_free(dev, &bias);
}

/* A video whose norm is scaled and shifted by a smaller one, enlarged: floor of the position times the ratio, of an odd number of frames all but the first. */
static void conditioned_case(para_device *dev, para_dtype type) {
    int groups = (int)ops_int(1, 4);
    int64_t n = ops_int(1, 2), c = ops_chance(0.5) ? 8 * groups : groups * ops_int(1, 5), from[3], to[3], up = ops_int(0, 2);
    for (int i = 0; i < 3; i++) from[i] = ops_int(1, 4), to[i] = from[i] << up;
    if (from[0] % 2) to[0] = 1 + ((from[0] - 1) << up);
    bool odd = to[0] > 1 && to[0] % 2;
    para_activation f = ops_chance(0.5) ? PARA_ACT_SILU : PARA_ACT_NONE;
    int64_t pixels = to[0] * to[1] * to[2];
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 2, n, to[0], to[1], to[2], c), y = OPS_MAKE(dev, type, OPS_PLAIN, 1, n, to[0], to[1], to[2], c);
    ops_tensor scale = OPS_MAKE(dev, type, OPS_PLAIN, 1, n, from[0], from[1], from[2], c), shift = OPS_MAKE(dev, type, OPS_PLAIN, 1, n, from[0], from[1], from[2], c);
    ops_tensor weight = OPS_MAKE(dev, PARA_F32, OPS_PADDED, 1, c), bias = OPS_MAKE(dev, PARA_F32, OPS_PADDED, 1, c);
    bool in_place = ops_chance(0.3);
    para_group_norm_args a = {.x = x.view, .groups = groups, .eps = 1e-6f, .weight = weight.view, .bias = bias.view, .scale = scale.view, .shift = shift.view,
                              .activation = f, .y = in_place ? x.view : y.view};
    ops_ok(dev, dev->ops->group_norm(dev, &a));
    ops_took(dev, para_cpu_group_norm_scratch(&a, dev->threads));
    twin_group_norm(y.value, x.value, n, pixels, c, groups, 1e-6f, weight.value, bias.value, PARA_ACT_NONE);
    for (int64_t i = 0; i < n * pixels * c; i++) {
        int64_t at = i / c % pixels, w = at % to[2], h = at / to[2] % to[1], t = at / to[2] / to[1];
        t = odd && t ? 1 + (int64_t)floor((double)(t - 1) * (double)(from[0] - 1) / (double)(to[0] - 1)) : odd ? 0 : (int64_t)floor((double)t * (double)from[0] / (double)to[0]);
        int64_t s = (((i / c / pixels * from[0] + t) * from[1] + (h >> up)) * from[2] + (w >> up)) * c + i % c;
        y.value[i] = twin_activation(f, y.value[i] * scale.value[s] + shift.value[s]);
    }
    ops_check(dev, in_place ? &x : &y, y.value, 2, "group_norm conditioned");
    a.scale.dim[3]++; /* one too many, or more than x has */
    assert_int_equal(dev->ops->group_norm(dev, &a), PARA_ERR_SHAPE);
    ops_free(dev, &x);
    ops_free(dev, &y);
    ops_free(dev, &scale);
    ops_free(dev, &shift);
    ops_free(dev, &weight);
    ops_free(dev, &bias);
}

static void conditioned_group_norms(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < 20; i++) conditioned_case(ops_device(d), types[t]);
}

static void group_norms(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < 12; i++) {
                group_norm_case(ops_device(d), types[t], ops_int(1, 30), ops_int(1, 30), 0);
                group_norm_case(ops_device(d), types[t], ops_int(4, 30), ops_int(4, 30), 50 * ops_normal());
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms),
        cmocka_unit_test(residuals),
        cmocka_unit_test(heads),
        cmocka_unit_test(heads_of_no_tokens),
        cmocka_unit_test(heads_together),
        cmocka_unit_test(group_norms),
        cmocka_unit_test(conditioned_group_norms),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
