/* F32, F16, BF16 and F8_E4M3 files in one and in three shards give the bits of torch's conversion. SPDX-License-Identifier: Apache-2.0
 * Data: tests/data/dtypes, from tools/reference/dtype_vectors.py. */
#include "core/float.h"
#include "io/checkpoint.h"
#include "io_checks.h"

#define DATA PARA_SOURCE_DIR "/tests/data/dtypes/"

/* Every tensor, converted, against `expected`: equal bits, NaN included. Returns how many values were compared. */
static int64_t compare(const para_checkpoint *c, const para_safetensors *expected) {
    int64_t compared = 0;
    assert_int_equal(para_checkpoint_count(c), para_safetensors_count(expected));
    for (int64_t i = 0; i < para_checkpoint_count(c); i++) {
        const char *name;
        para_tensor t;
        para_checkpoint_at(c, i, &name, &t);
        int64_t at = para_safetensors_find(expected, name), n = para_tensor_count(&t);
        assert_true(at >= 0);
        para_tensor want = para_safetensors_tensor(expected, at);
        assert_int_equal(want.dtype, PARA_F32);
        assert_int_equal(want.rank, t.rank);
        assert_memory_equal(want.dim, t.dim, (size_t)t.rank * sizeof t.dim[0]);
        float *got = malloc((size_t)n * 4 + 1);
        assert_non_null(got);
        para_floats_to_f32(got, t.data, t.dtype, n);
        for (int64_t k = 0; k < n; k++) {
            uint32_t a, b;
            memcpy(&a, got + k, 4);
            memcpy(&b, (const char *)want.data + 4 * k, 4);
            if (a != b)
                fail_msg("%s[%lld] (%s): %08x, torch has %08x", name, (long long)k, para_dtype_name(t.dtype), a, b);
        }
        free(got);
        compared += n;
    }
    return compared;
}

static void both_layouts(void **state) {
    (void)state;
    static const char *const folders[] = {DATA "one", DATA "three"};
    para_safetensors *expected;
    assert_ok(para_safetensors_open(&expected, DATA "expected.safetensors"));
    for (int i = 0; i < 2; i++) {
        para_checkpoint *c;
        assert_ok(para_checkpoint_open(&c, folders[i]));
        assert_true(compare(c, expected) >= 2000);
        /* Each type is there, and as many files as the folder's name says. */
        bool seen[16] = {false};
        int files = 0;
        char last[1024] = "";
        for (int64_t k = 0; k < para_checkpoint_count(c); k++) {
            const char *name, *path;
            para_tensor t;
            para_checkpoint_at(c, k, &name, &t);
            seen[t.dtype] = true;
            assert_true(para_checkpoint_find(c, name, &t, &path));
            if (!strstr(last, path)) files++, snprintf(last + strlen(last), sizeof last - strlen(last), "%s ", path);
        }
        assert_true(seen[PARA_F32] && seen[PARA_F16] && seen[PARA_BF16] && seen[PARA_F8_E4M3]);
        assert_int_equal(files, i == 0 ? 1 : 3);
        para_checkpoint_close(&c);
    }
    para_safetensors_close(&expected);
}

static void rounding(void **state) {
    (void)state;
    para_safetensors *f;
    assert_ok(para_safetensors_open(&f, DATA "rounding.safetensors"));
    para_tensor in = para_safetensors_tensor(f, para_safetensors_find(f, "float32"));
    int64_t n = para_tensor_count(&in);
    assert_true(n >= 500);
    static const struct {
        const char *name;
        para_dtype dtype;
    } types[] = {{"bfloat16", PARA_BF16}, {"float16", PARA_F16}};
    float *aligned = malloc((size_t)n * 4);
    uint16_t *got = malloc((size_t)n * 2);
    assert_true(aligned && got);
    memcpy(aligned, in.data, (size_t)n * 4);
    for (int i = 0; i < 2; i++) {
        para_tensor want = para_safetensors_tensor(f, para_safetensors_find(f, types[i].name));
        assert_int_equal(want.dtype, types[i].dtype);
        assert_int_equal(para_tensor_count(&want), n);
        para_floats_from_f32(got, types[i].dtype, aligned, n);
        for (int64_t k = 0; k < n; k++) {
            uint16_t b;
            memcpy(&b, (const char *)want.data + 2 * k, 2);
            if (got[k] != b) fail_msg("%a to %s: %04x, torch has %04x", (double)aligned[k], types[i].name, got[k], b);
        }
    }
    free(aligned);
    free(got);
    para_safetensors_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_layouts), cmocka_unit_test(rounding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
