/* Machine files: what is written comes back, and what is wrong with one is said. SPDX-License-Identifier: Apache-2.0 */
#include "io/machine_file.h"
#include "unit/io_checks.h"

/* A set with a row or two of each. */
static para_status make_set(para_rate_set *set, const char *device, int threads, int ranks) {
    *set = (para_rate_set){.dtype = PARA_BF16,
                           .gpu = true,
                           .threads = threads,
                           .ranks = ranks,
                           .launch = 2.5e-6,
                           .overlap = {0.25, 0.5, 1}};
    strcpy(set->device, device);
    for (para_rate r = 0; r < PARA_RATES; r++)
        for (int i = 1; i <= 2; i++) {
            double row[PARA_RATE_COLUMNS] = {16.0 * i, 32.0 * i, 48.0 * i, 64.0 * i, 1e-3 * i};
            row[para_rate_columns(r) - 1] = 1.25e-4 * i;
            PARA_TRY(para_rate_add(set, r, row));
        }
    return PARA_OK;
}

static para_status add_set(para_machine_file *m, const char *device, int threads, int ranks) {
    para_rate_set set;
    para_status status = make_set(&set, device, threads, ranks);
    if (status == PARA_OK) status = para_machine_take(m, &set);
    para_rate_set_free(&set);
    return status;
}

static void same_set(const para_rate_set *a, const para_rate_set *b) {
    assert_string_equal(a->device, b->device);
    assert_int_equal(a->gpu, b->gpu);
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->threads, b->threads);
    assert_int_equal(a->ranks, b->ranks);
    assert_true(a->launch == b->launch);
    for (int i = 0; i < PARA_LINKS; i++) assert_true(a->overlap[i] == b->overlap[i]);
    for (para_rate r = 0; r < PARA_RATES; r++) {
        assert_int_equal(a->table[r].rows, b->table[r].rows);
        assert_memory_equal(a->table[r].row, b->table[r].row, (size_t)a->table[r].rows * sizeof *a->table[r].row);
    }
}

static void comes_back(void **state) {
    (void)state;
    para_machine_file m = {0}, back;
    const char *path = temp_path("machine.json");
    assert_ok(add_set(&m, "A \"device\"], of [one]", 1, 2));
    assert_ok(add_set(&m, "CPU", 4, 1));
    assert_ok(para_machine_write(&m, path));
    assert_ok(para_machine_read(&back, path));
    assert_int_equal(back.sets, 2);
    for (int i = 0; i < 2; i++) same_set(&m.set[i], &back.set[i]);
    para_machine_close(&back);
    para_machine_close(&m);
}

/* A set takes the place of its like; the nearest in threads, then in ranks is found. */
static void sets(void **state) {
    (void)state;
    para_machine_file m = {0};
    assert_ok(add_set(&m, "CPU", 1, 2));
    assert_ok(add_set(&m, "CPU", 2, 1));
    assert_ok(add_set(&m, "CPU", 1, 4));
    assert_ok(add_set(&m, "NVIDIA H200", 1, 8));
    m.set[1].launch = 1;
    assert_ok(add_set(&m, "CPU", 2, 1));
    assert_int_equal(m.sets, 4);
    assert_true(m.set[1].launch == 2.5e-6);
    assert_ptr_equal(para_machine_find(&m, "CPU", PARA_BF16, 1, 2), &m.set[0]);
    assert_ptr_equal(para_machine_find(&m, "CPU", PARA_BF16, 1, 7), &m.set[2]);
    assert_ptr_equal(para_machine_find(&m, "CPU", PARA_BF16, 3, 4), &m.set[1]);
    assert_ptr_equal(para_machine_find(&m, NULL, PARA_BF16, 1, 8), &m.set[3]);
    assert_null(para_machine_find(&m, "CPU", PARA_F32, 1, 2));
    assert_null(para_machine_find(&m, "NVIDIA A100", PARA_BF16, 1, 2));
    para_machine_close(&m);
}

#define SET(device, dtype, more)                                                                                       \
    "{\"paraattn_machine\":1,\"sets\":[{\"device\":" device ",\"dtype\":" dtype                                        \
    ",\"threads\":1,\"ranks\":1,\"launch\":0" more "}]}"
#define TABLES                                                                                                         \
    ",\"linear\":[[1,1,1,1]],\"attention\":[[1,1,1,1,1]],\"copy\":[[1,1]],\"norm\":[[1,1]],\"head\":[[1,1]],"          \
    "\"activation\":[[1,1]],\"merge\":[[1,1]],\"epilogue\":[[1,1]]"

static void bad_files(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        para_status status;
    } cases[] = {
        {"", "not valid JSON", PARA_ERR_FORMAT},
        {"[]", "array", PARA_ERR_FORMAT},
        {"{}", "paraattn_machine must be 1", PARA_ERR_CONFIG},
        {"{\"paraattn_machine\":2,\"sets\":[]}", "paraattn_machine must be 1", PARA_ERR_CONFIG},
        {"{\"paraattn_machine\":1,\"sets\":{}}", "sets must be a list", PARA_ERR_CONFIG},
        {"{\"paraattn_machine\":1,\"sets\":[7]}", "device must be a name", PARA_ERR_CONFIG},
        {SET("\"\"", "\"f32\"", TABLES), "device must be a name", PARA_ERR_CONFIG},
        {SET("\"0123456789012345678901234567890123456789012345678901234567890123\"", "\"f32\"", TABLES),
         "device must be", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f64\"", TABLES), "dtype must be f32, bf16 or f16", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "1", TABLES), "dtype must be", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", ""), "linear must be a list of one row or more", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", ",\"linear\":[[1,1,1]]"), "linear must be rows of sizes", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", ",\"linear\":[[1,0,1,1]]"), "linear must be rows", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", ",\"linear\":[[1,1,1,0]]"), "linear must be rows", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", ",\"linear\":[[1,1,1,-1e400]]"), "", PARA_ERR_FORMAT},
        {SET("\"CPU\"", "\"f32\"", ",\"linear\":[[1e16,1,1,1]]"), "linear must be rows", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", ",\"linear\":[\"1\"]"), "linear must be rows", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", ",\"linear\":1"), "linear must be a list", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", TABLES ",\"exchange\":[]"), "exchange must be an object", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", TABLES ",\"exchange\":{\"host\":1}"), "host must be an object", PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", TABLES ",\"exchange\":{\"host\":{\"overlap\":1.1}}"), "overlap must be",
         PARA_ERR_CONFIG},
        {SET("\"CPU\"", "\"f32\"", TABLES ",\"exchange\":{\"host\":{\"overlap\":1,\"points\":[[1,1,1,1]]}}"),
         "host must be rows", PARA_ERR_CONFIG},
    };
    para_machine_file m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(cases[i].status, cases[i].says,
                     para_machine_parse(&m, cases[i].text, strlen(cases[i].text), "m.json"));
        assert_non_null(strstr(para_last_error(), "m.json"));
        assert_int_equal(m.sets, 0);
        assert_null(m.set);
    }
    static const char good[] = SET(
        "\"CPU\"", "\"f32\"", TABLES ",\"exchange\":{\"host\":{\"overlap\":1,\"points\":[[1,1,1]]}},\"unknown\":{}");
    assert_ok(para_machine_parse(&m, good, strlen(good), "m.json"));
    para_machine_close(&m);
    assert_fails(PARA_ERR_NOT_FOUND, "nothing.json", para_machine_read(&m, temp_path("nothing.json")));
    assert_fails(PARA_ERR_NOT_FOUND, "no/such", para_machine_write(&m, temp_path("no/such.json")));
}

/* Makes a file and reads it. */
static para_status round_trip(const char *path) {
    para_machine_file m = {0}, back = {0};
    para_status status = add_set(&m, "CPU", 1, 1);
    if (status == PARA_OK) status = add_set(&m, "CPU", 2, 1);
    if (status == PARA_OK) status = para_machine_write(&m, path);
    if (status == PARA_OK) status = para_machine_read(&back, path);
    para_machine_close(&back);
    para_machine_close(&m);
    return status;
}

static void allocations(void **state) {
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s", temp_path("again.json"));
    assert_survives_alloc_failure(40, round_trip(path));
}

/* The user's own is machine.json in the cache folder. */
static void own_path(void **state) {
    (void)state;
    char *path;
    setenv("XDG_CACHE_HOME", "/some/where", 1);
    assert_ok(para_machine_default(&path));
    assert_string_equal(path, "/some/where/paraattn/machine.json");
    para_free(path);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/home/one", 1);
    assert_ok(para_machine_default(&path));
    assert_string_equal(path, "/home/one/.cache/paraattn/machine.json");
    para_free(path);
    unsetenv("HOME");
    assert_ok(para_machine_default(&path));
    assert_null(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back),  cmocka_unit_test(sets),     cmocka_unit_test(bad_files),
        cmocka_unit_test(allocations), cmocka_unit_test(own_path),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
