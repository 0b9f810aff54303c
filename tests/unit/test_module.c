/* Modules that are absent, damaged or of another version; calls that never return. SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <semaphore.h>
#include <time.h>

#include "core/errand.h"
#include "core/error.h"
#include "core/module.h"
#include "unit/temp_folder.h"

static void expect(const char *file, const char *function, const char *words) {
    void *found = NULL;
    assert_int_equal(para_module_load(file, function, "the package hexagon", &found), PARA_ERR_LIBRARY);
    if (!strstr(para_last_error(), words)) fail_msg("it does not say \"%s\", but: %s", words, para_last_error());
}

static void absent(void **state) {
    (void)state;
    unsetenv("PARAATTN_MODULES");
    expect("para-none.so", "table", "neither in ");
    expect("para-none.so", "table", "install the package hexagon");
    setenv("PARAATTN_MODULES", "/nowhere", 1);
    expect("para-none.so", "table", "PARAATTN_MODULES");
}

static void damaged(void **state) {
    (void)state;
    char folder[4096];
    assert_non_null(realpath(temp_folder, folder));
    setenv("PARAATTN_MODULES", folder, 1);
    temp_write("para-bad.so", "no module", 9);
    expect("para-bad.so", "table", "para-bad.so cannot be loaded: ");
    expect("para-bad.so", "table", "install the package hexagon");
}

/* The C library stands for a module of another version: it is surely there. */
static void other_version(void **state) {
    (void)state;
    Dl_info info;
    char path[4096];
    assert_true(dladdr((const void *)(uintptr_t)getpid, &info) && realpath(info.dli_fname, path));
    char *name = strrchr(path, '/');
    *name++ = '\0';
    setenv("PARAATTN_MODULES", path, 1);
    expect(name, "para_mpi_module_table", "has no function para_mpi_module_table");
    void *found = NULL;
    assert_int_equal(para_module_load(name, "getpid", "nothing", &found), PARA_OK);
    assert_non_null(found);
}

static void work(void *argument) {
    *(int *)argument += 1;
}

static sem_t gate, through;

static void wait_for_gate(void *argument) {
    (void)argument;
    sem_wait(&gate);
    sem_post(&through);
}

static void errands(void **state) {
    (void)state;
    int done = 0;
    bool returned;
    for (int i = 1; i <= 100; i++) {
        assert_int_equal(para_errand(work, &done, 60, &returned), PARA_OK);
        assert_true(returned);
        assert_int_equal(done, i);
    }
    sem_init(&gate, 0, 0);
    sem_init(&through, 0, 0);
    assert_int_equal(para_errand(wait_for_gate, NULL, 0.05, &returned), PARA_OK);
    assert_false(returned);
    sem_post(&gate); /* the thread that was left behind ends, and frees what is its own */
    sem_wait(&through);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(absent), cmocka_unit_test(damaged),
                                       cmocka_unit_test(other_version), cmocka_unit_test(errands)};
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
