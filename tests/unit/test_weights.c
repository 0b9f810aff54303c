/* The weights table, on devices that only keep memory. SPDX-License-Identifier: Apache-2.0 */
#include "backend/weights.h"

#include <math.h>

#include "core/float.h"
#include "io_checks.h"

/* A device that counts its blocks; uploads copy to them. */
typedef struct memory_device {
    para_device dev;
    int blocks, uploads, fail_upload_at;
} memory_device;

static para_status device_alloc(para_device *dev, size_t bytes, void **out) {
    *out = para_alloc_aligned(bytes);
    if (!*out) return PARA_ERR_MEMORY;
    ((memory_device *)dev->impl)->blocks++;
    return PARA_OK;
}

static void device_free(para_device *dev, void *p) {
    ((memory_device *)dev->impl)->blocks--;
    para_free(p);
}

static para_status device_upload(para_device *dev, para_tensor dst, const void *src) {
    memory_device *d = dev->impl;
    if (++d->uploads == d->fail_upload_at) return para_fail(PARA_ERR_DEVICE, "upload failed");
    memcpy(dst.data, src, (size_t)para_tensor_count(&dst) * para_dtype_size(dst.dtype));
    return PARA_OK;
}

static const para_ops cpu_ops = {.name = "cpu", .alloc = device_alloc, .free = device_free, .upload = device_upload};
static const para_ops gpu_ops = {.name = "gpu", .alloc = device_alloc, .free = device_free, .upload = device_upload};
static const para_ops dry_ops = {.name = "dry"};

#define DEVICE(name, table)                                                                                            \
    memory_device name = {.dev.ops = &(table)};                                                                        \
    name.dev.impl = &name

enum { N = 300 }; /* elements of "scale": more than one step of the block's alignment */

static float f32[24];
static uint16_t bf16[24];
static uint8_t f8[N];

/* "<scratch>/ckpt": lin (BF16 [2, 3], bias BF16), conv (F32 [2, 3, 2, 2], bias F32), scale F8 [N], table F32 [3,
 * 4], ids I64. */
static int make_checkpoint(void **state) {
    if (temp_folder_setup(state) != 0) return -1;
    for (int i = 0; i < 24; i++) {
        f32[i] = (float)i * 0.5f - 3;
        bf16[i] = para_f32_to_bf16(f32[i]);
    }
    for (int i = 0; i < N; i++) f8[i] = (uint8_t)i;
    static int64_t ids[2] = {0, 1};
    static const char *const names[] = {"lin.weight", "lin.bias", "conv.weight", "conv.bias", "scale", "table", "ids"};
    const para_tensor t[] = {
        para_tensor_make(bf16, PARA_BF16, 2, (int64_t[]){2, 3}),
        para_tensor_make(bf16, PARA_BF16, 1, (int64_t[]){2}),
        para_tensor_make(f32, PARA_F32, 4, (int64_t[]){2, 3, 2, 2}),
        para_tensor_make(f32, PARA_F32, 1, (int64_t[]){2}),
        para_tensor_make(f8, PARA_F8_E4M3, 1, (int64_t[]){N}),
        para_tensor_make(f32, PARA_F32, 2, (int64_t[]){3, 4}),
        para_tensor_make(ids, PARA_I64, 1, (int64_t[]){2}),
    };
    mkdir(temp_path("ckpt"), 0700);
    return para_safetensors_write(temp_path("ckpt/model.safetensors"), 7, names, t, NULL) == PARA_OK ? 0 : -1;
}

typedef struct small_model {
    para_linear lin, conv;
    para_tensor scale, table;
} small_model;

static void want_all(para_weights *w, small_model *m) {
    para_weights_linear(w, &m->lin, 2, 3, true, "%s", "lin");
    para_weights_conv2d(w, &m->conv, 2, 3, 2, 2, "co%c%c", 'n', 'v');
    para_weights_vector(w, &m->scale, N, "scale");
    para_weights_matrix(w, &m->table, 3, 4, "table");
}

enum { ALL_PARAMETERS = 6 + 2 + 24 + 2 + N + 12, ALL_BYTES = 12 + 4 + 96 + 8 + N + 48 };

static void check_views(const small_model *m) {
    assert_int_equal(m->lin.weight.dtype, PARA_BF16);
    assert_int_equal(m->lin.weight.dim[1], 3);
    assert_int_equal(m->lin.bias.dtype, PARA_F32);
    assert_int_equal(m->lin.bias.dim[0], 2);
    assert_int_equal(m->conv.weight.rank, 4);
    assert_int_equal(m->conv.weight.dtype, PARA_F32);
    assert_int_equal(m->scale.dtype, PARA_F32);
    assert_int_equal(m->table.dim[1], 4);
}

static void check_values(const small_model *m) {
    check_views(m);
    assert_memory_equal(m->lin.weight.data, bf16, 12);
    assert_memory_equal(m->lin.bias.data, f32, 8); /* these values are exact in BF16 */
    assert_memory_equal(m->conv.weight.data, f32, 96);
    assert_memory_equal(m->conv.bias.data, f32, 8);
    float want[N];
    para_floats_to_f32(want, f8, PARA_F8_E4M3, N);
    assert_true(want[0x38] == 1 && want[0xb8] == -1);
    assert_memory_equal(m->scale.data, want, sizeof want);
    assert_memory_equal(m->table.data, f32, 48);
    assert_int_equal((uintptr_t)m->lin.bias.data % 4, 0);
    assert_int_equal((uintptr_t)m->scale.data % 4, 0);
}

static void load_cpu(void **state) {
    (void)state;
    DEVICE(d, cpu_ops);
    para_checkpoint *c;
    para_weights *w;
    small_model m;
    assert_ok(para_checkpoint_open(&c, temp_path("ckpt")));
    assert_ok(para_weights_open(&w));
    want_all(w, &m);
    assert_int_equal(para_weights_parameters(w), ALL_PARAMETERS);
    for (int twice = 0; twice < 2; twice++) {
        assert_ok(para_weights_load(w, &d.dev, c, PARA_F32));
        check_values(&m);
        assert_int_equal(d.blocks, 1);
        assert_int_equal(para_weights_bytes(w), ALL_BYTES);
    }
    assert_int_equal(d.uploads, 0);
    para_tensor t; /* matrices and F32 vectors lie in the mapped file */
    assert_true(para_checkpoint_find(c, "lin.weight", &t, NULL));
    assert_ptr_equal(t.data, m.lin.weight.data);
    assert_true(para_checkpoint_find(c, "conv.bias", &t, NULL));
    assert_ptr_equal(t.data, m.conv.bias.data);
    para_weights_close(&w);
    assert_null(w);
    para_weights_close(&w);
    assert_int_equal(d.blocks, 0);
    para_checkpoint_close(&c);
}

static void load_other_device(void **state) {
    (void)state;
    DEVICE(d, gpu_ops);
    para_checkpoint *c;
    para_weights *w;
    small_model m;
    assert_ok(para_checkpoint_open(&c, temp_path("ckpt")));
    assert_ok(para_weights_open(&w));
    want_all(w, &m);
    assert_ok(para_weights_load(w, &d.dev, c, PARA_F32));
    check_values(&m);
    assert_int_equal(d.blocks, 1);
    assert_int_equal(d.uploads, 6);
    assert_int_equal((uintptr_t)m.lin.weight.data % 64, 0);
    para_checkpoint_close(&c); /* all of it is on the device */
    check_values(&m);
    assert_ok(para_checkpoint_open(&c, temp_path("ckpt")));
    for (int i = 1; i <= 6; i++) {
        d.uploads = 0, d.fail_upload_at = i;
        assert_fails(PARA_ERR_DEVICE, "upload failed", para_weights_load(w, &d.dev, c, PARA_F32));
        assert_int_equal(d.blocks, 0);
    }
    para_weights_close(&w);
    para_checkpoint_close(&c);
}

/* Two layers of the same input: rows of `n` and of 2, elements F32 [n, 64] of a file made here. */
static void join_case(const para_ops *ops, bool joins, int64_t n, bool biases, bool expected) {
    static float values[128 * 64];
    const para_tensor t[] = {para_tensor_make(values, PARA_F32, 2, (int64_t[]){n, 64}),
                             para_tensor_make(values, PARA_F32, 1, &n),
                             para_tensor_make(values, PARA_F32, 2, (int64_t[]){2, 64}),
                             para_tensor_make(values, PARA_F32, 1, (int64_t[]){2})};
    static const char *const names[] = {"a.weight", "a.bias", "b.weight", "b.bias"};
    para_linear a, b, joined;
    para_checkpoint *c;
    para_weights *w;
    DEVICE(d, *ops);
    d.dev.joins = joins;
    for (int i = 0; i < 128 * 64; i++) values[i] = (float)i;
    mkdir(temp_path("join"), 0700);
    assert_ok(para_safetensors_write(temp_path("join/model.safetensors"), 4, names, t, NULL));
    assert_ok(para_checkpoint_open(&c, temp_path("join")));
    assert_ok(para_weights_open(&w));
    para_weights_linear(w, &a, n, 64, biases, "a");
    para_weights_linear(w, &b, 2, 64, biases, "b");
    para_weights_join(w, &joined, 2);
    assert_ok(para_weights_load(w, &d.dev, c, PARA_F32));
    assert_int_equal(joined.weight.data != NULL, expected);
    if (expected) {
        assert_int_equal(joined.weight.dim[0], n + 2);
        assert_int_equal(joined.bias.dim[0], biases ? n + 2 : 0);
        assert_int_equal(joined.weight.dim[1], 64);
        if (ops != &dry_ops) {
            assert_memory_equal((float *)joined.weight.data + n * 64, values, 2 * 64 * 4);
            if (biases) assert_memory_equal((float *)joined.bias.data + n, values, 2 * 4);
        }
    }
    if (ops != &dry_ops) {
        if (biases) assert_memory_equal(a.bias.data, values, (size_t)n * 4);
        assert_memory_equal(b.weight.data, values, 2 * 64 * 4);
    }
    para_weights_close(&w);
    para_checkpoint_close(&c);
}

/* Matrices alone: their rows end on the alignment. */
static void joined_without_biases(void **state) {
    (void)state;
    join_case(&gpu_ops, true, 100, false, true);
    join_case(&dry_ops, true, 100, false, true);
    join_case(&gpu_ops, false, 100, false, false);
}

/* Where the first bias ends on the block's alignment, both lie one after the other. */
static void joined_layers(void **state) {
    (void)state;
    join_case(&gpu_ops, true, 128, true, true);
    join_case(&dry_ops, true, 128, true, true);
    join_case(&gpu_ops, false, 128, true, false);
    join_case(&gpu_ops, true, 100, true, false);
    join_case(&dry_ops, true, 100, true, false);
    join_case(&cpu_ops, false, 128, true, false);
}

static void load_dry(void **state) {
    (void)state;
    DEVICE(d, dry_ops);
    para_checkpoint *c;
    para_weights *w;
    small_model m;
    assert_ok(para_checkpoint_open(&c, temp_path("ckpt")));
    assert_ok(para_weights_open(&w));
    want_all(w, &m);
    assert_ok(para_weights_load(w, &d.dev, c, PARA_F32));
    check_views(&m);
    assert_non_null(m.lin.bias.data);
    assert_int_equal(para_weights_bytes(w), ALL_BYTES);
    para_checkpoint_close(&c);
    assert_ok(para_weights_load(w, &d.dev, NULL, PARA_BF16));
    assert_int_equal(m.conv.weight.dtype, PARA_BF16);
    assert_int_equal(m.conv.bias.dtype, PARA_F32);
    assert_int_equal(para_weights_bytes(w), 2 * ALL_PARAMETERS);
    assert_int_equal(para_weights_parameters(w), ALL_PARAMETERS);
    DEVICE(real, cpu_ops);
    assert_fails(PARA_ERR_ARGUMENT, "only be assumed on a dry device", para_weights_load(w, &real.dev, NULL, PARA_F32));
    para_weights_close(&w);
}

/* A vector of the mapped file that is F32 but lies at an odd address. */
static void unaligned_vector(void **state) {
    (void)state;
    static const char header[] = "{\"pad\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                                 "\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}";
    char bytes[8 + sizeof header - 1 + 9] = {sizeof header - 1};
    memcpy(bytes + 8, header, sizeof header - 1);
    memcpy(bytes + sizeof bytes - 8, &f32[4], 8);
    mkdir(temp_path("odd"), 0700);
    temp_write("odd/model.safetensors", bytes, sizeof bytes);
    DEVICE(d, cpu_ops);
    para_checkpoint *c;
    para_weights *w;
    para_tensor v;
    assert_ok(para_checkpoint_open(&c, temp_path("odd")));
    assert_true(para_checkpoint_find(c, "v", &v, NULL));
    assert_int_not_equal((uintptr_t)v.data % 4, 0);
    assert_ok(para_weights_open(&w));
    para_weights_vector(w, &v, 2, "v");
    assert_ok(para_weights_load(w, &d.dev, c, PARA_F32));
    assert_int_equal((uintptr_t)v.data % 4, 0);
    assert_memory_equal(v.data, &f32[4], 8);
    para_weights_close(&w);
    para_checkpoint_close(&c);
}

/* Wants one thing and loads it. */
enum { NO_TENSOR, WRONG_SIZE, WRONG_RANK, LOWER_RANK, NO_FLOAT, NO_SIZE, TOO_LARGE, SUM_TOO_LARGE };

static para_status load_one(int kind) {
    DEVICE(d, cpu_ops);
    para_checkpoint *c = NULL;
    para_weights *w = NULL;
    para_linear lin;
    para_tensor t, t2;
    assert_ok(para_checkpoint_open(&c, temp_path("ckpt")));
    assert_ok(para_weights_open(&w));
    switch (kind) {
    case NO_TENSOR: para_weights_linear(w, &lin, 2, 3, true, "blocks.%d.lin", 3); break;
    case WRONG_SIZE: para_weights_linear(w, &lin, 3, 2, true, "lin"); break;
    case WRONG_RANK: para_weights_linear(w, &lin, 2, 12, true, "conv"); break;
    case LOWER_RANK: para_weights_vector(w, &t, 2, "lin.weight"); break;
    case NO_FLOAT: para_weights_vector(w, &t, 2, "ids"); break;
    case NO_SIZE: para_weights_matrix(w, &t, 2, 0, "table"); break;
    case TOO_LARGE: para_weights_matrix(w, &t, INT64_MAX / 2, 3, "table"); break;
    case SUM_TOO_LARGE:
        para_weights_vector(w, &t, INT64_MAX / 40, "a");
        para_weights_vector(w, &t2, INT64_MAX / 40, "b");
        break;
    }
    para_status status = para_weights_load(w, &d.dev, c, PARA_F32);
    assert_int_equal(d.blocks, 0);
    para_weights_close(&w);
    para_checkpoint_close(&c);
    return status;
}

static void mismatches(void **state) {
    (void)state;
    assert_fails(PARA_ERR_NOT_FOUND,
                 "ckpt' has no tensor 'blocks.3.lin.weight'; config.json and weights do not belong together",
                 load_one(NO_TENSOR));
    assert_fails(PARA_ERR_SHAPE,
                 "model.safetensors': tensor 'lin.weight' has shape [2, 3] where config.json asks for [3, "
                 "2]; config.json and weights do not",
                 load_one(WRONG_SIZE));
    assert_fails(PARA_ERR_SHAPE, "has shape [2, 3, 2, 2] where config.json asks for [2, 12]", load_one(WRONG_RANK));
    assert_fails(PARA_ERR_SHAPE, "has shape [2, 3] where config.json asks for [2]", load_one(LOWER_RANK));
    assert_fails(PARA_ERR_SHAPE, "tensor 'ids' has type I64; supported are F32", load_one(NO_FLOAT));
    assert_fails(PARA_ERR_CONFIG, "not positive, or too large to count ('table')", load_one(NO_SIZE));
    assert_fails(PARA_ERR_CONFIG, "('table')", load_one(TOO_LARGE));
    assert_fails(PARA_ERR_CONFIG, "('b')", load_one(SUM_TOO_LARGE));
}

static para_status whole_life(const para_checkpoint *c, const para_ops *ops) {
    memory_device d = {.dev.ops = ops};
    d.dev.impl = &d;
    para_weights *w = NULL;
    small_model m;
    para_linear more[40];
    para_status status = para_weights_open(&w);
    if (status == PARA_OK) {
        want_all(w, &m);
        for (int i = 0; i < 40; i++) para_weights_linear(w, &more[i], 2, 3, true, "lin"); /* the list grows once */
        status = para_weights_load(w, &d.dev, c, PARA_F32);
    }
    para_weights_close(&w);
    assert_int_equal(d.blocks, 0);
    return status;
}

enum { LARGE = 3000 };

/* The same at each call; matrices about 0 and scales of norms about 1; none is another's. */
static void load_random(void **state) {
    (void)state;
    DEVICE(cpu, cpu_ops);
    DEVICE(gpu, gpu_ops);
    para_weights *w, *again;
    para_linear lin[2], lin2[2];
    para_tensor norm, norm2;
    para_weights *both[2];
    for (int i = 0; i < 2; i++) {
        assert_ok(para_weights_open(&both[i]));
        para_linear *l = i ? lin2 : lin;
        para_weights_linear(both[i], &l[0], LARGE, 8, true, "a");
        para_weights_linear(both[i], &l[1], LARGE, 8, true, "b");
        para_weights_vector(both[i], i ? &norm2 : &norm, LARGE, "norm.weight");
    }
    w = both[0], again = both[1];
    assert_ok(para_weights_load_random(w, &cpu.dev, PARA_BF16));
    assert_ok(para_weights_load_random(again, &gpu.dev, PARA_BF16));
    assert_int_equal(para_weights_bytes(w), (2 * (LARGE * 8 + LARGE) + LARGE) * 2);
    assert_int_equal(para_weights_dtype(w), PARA_BF16);
    assert_int_equal(norm.dtype, PARA_F32);
    assert_int_equal((uintptr_t)lin[1].weight.data % 64, 0);
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(lin[i].weight.data, lin2[i].weight.data, LARGE * 8 * 2);
        assert_memory_equal(lin[i].bias.data, lin2[i].bias.data, LARGE * 4);
    }
    assert_memory_equal(norm.data, norm2.data, LARGE * 4);
    assert_memory_not_equal(lin[0].weight.data, lin[1].weight.data, LARGE * 8 * 2);
    double mean[2] = {0}, square[2] = {0};
    for (int i = 0; i < LARGE; i++) {
        double value[2] = {(double)((float *)lin[0].bias.data)[i], (double)((float *)norm.data)[i] - 1};
        for (int k = 0; k < 2; k++) mean[k] += value[k] / LARGE, square[k] += value[k] * value[k] / LARGE;
    }
    for (int k = 0; k < 2; k++) { /* five times the standard errors */
        assert_true(fabs(mean[k]) < 5 * 0.02 / sqrt(LARGE));
        assert_true(fabs(sqrt(square[k]) / 0.02 - 1) < 5 / sqrt(2.0 * LARGE));
    }
    para_weights_close(&w);
    para_weights_close(&again);
    assert_int_equal(cpu.blocks + gpu.blocks, 0);
}

static para_status random_life(const para_ops *ops) {
    memory_device d = {.dev.ops = ops};
    d.dev.impl = &d;
    para_weights *w = NULL;
    small_model m;
    para_status status = para_weights_open(&w);
    if (status == PARA_OK) {
        want_all(w, &m);
        status = para_weights_load_random(w, &d.dev, PARA_BF16);
    }
    para_weights_close(&w);
    assert_int_equal(d.blocks, 0);
    return status;
}

static void alloc_failure(void **state) {
    (void)state;
    para_checkpoint *c;
    assert_ok(para_checkpoint_open(&c, temp_path("ckpt")));
    assert_survives_alloc_failure(80, whole_life(c, &cpu_ops));
    assert_survives_alloc_failure(80, whole_life(c, &gpu_ops));
    assert_survives_alloc_failure(10, random_life(&cpu_ops));
    assert_survives_alloc_failure(10, random_life(&gpu_ops));
    para_checkpoint_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_cpu),      cmocka_unit_test(load_other_device),
        cmocka_unit_test(joined_layers), cmocka_unit_test(joined_without_biases),
        cmocka_unit_test(load_dry),      cmocka_unit_test(unaligned_vector),
        cmocka_unit_test(mismatches),    cmocka_unit_test(load_random),
        cmocka_unit_test(alloc_failure),
    };
    return cmocka_run_group_tests(tests, make_checkpoint, temp_folder_teardown);
}
