/* What was found on a machine, in the user's cache folder: kept, shared by processes, and nobody's error. SPDX-License-Identifier: Apache-2.0 */
#include "backend/choices.h"

#include <stdlib.h>
#include <sys/wait.h>

#include "io_checks.h"

static char heard[4096]; /* notes */

static void hear(void *user, para_log_level level, const char *line) {
    (void)user;
    (void)level;
    strncat(heard, line, sizeof heard - strlen(heard) - 1);
}

static const para_device device = {.note = hear};

/* $XDG_CACHE_HOME is a new folder in the scratch folder. */
static int setup(void **state) {
    char path[4096];
    static int count;
    (void)state;
    snprintf(path, sizeof path, "%s/%s/cache-%d", getcwd((char[2048]){0}, 2048), temp_folder, count++);
    heard[0] = 0;
    return setenv("XDG_CACHE_HOME", path, 1);
}

static para_choices *open_for(const char *machine) {
    para_choices *c;
    assert_ok(para_choices_open(&c, &device, machine));
    return c;
}

static void add(para_choices *c, int key, int value) {
    assert_ok(para_choices_add(c, "product", &key, sizeof key, &value, sizeof value));
}

/* -1: none */
static int find(const para_choices *c, int key) {
    size_t bytes = 0;
    const void *value = para_choices_find(c, "product", &key, sizeof key, &bytes);
    if (!value) return -1;
    assert_int_equal(bytes, sizeof(int));
    return *(const int *)value;
}

/* The file of the folder, of one machine. */
static const char *file_of(void) {
    static char path[4096];
    char folder[2048];
    snprintf(folder, sizeof folder, "%s/paraattn", getenv("XDG_CACHE_HOME"));
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    path[0] = 0;
    for (const struct dirent *d; (d = readdir(dir));)
        if (strncmp(d->d_name, "choices-", 8) == 0 && !strstr(d->d_name, ".lock")) snprintf(path, sizeof path, "%.2000s/%s", folder, d->d_name);
    closedir(dir);
    assert_true(path[0]);
    return path;
}

static void write_file(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void are_kept(void **state) {
    (void)state;
    para_choices *c = open_for("a GPU");
    assert_int_equal(find(c, 1), -1);
    for (int i = 0; i < 100; i++) add(c, i, 10 * i);
    assert_ok(para_choices_add(c, "conv2d", "", 0, "", 0));
    para_choices_close(&c);
    assert_null(c);
    para_choices_close(&c);
    c = open_for("a GPU");
    size_t bytes = 1;
    for (int i = 0; i < 100; i++) assert_int_equal(find(c, i), 10 * i);
    assert_non_null(para_choices_find(c, "conv2d", "", 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_null(para_choices_find(c, "conv", "2d", 2, &bytes));
    assert_int_equal(find(c, 100), -1);
    para_choices_close(&c);
    assert_string_equal(heard, "");
}

static void machines_have_their_own(void **state) {
    (void)state;
    para_choices *a = open_for("a GPU"), *b = open_for("another");
    add(a, 1, 2);
    assert_int_equal(find(b, 1), -1);
    para_choices_close(&b);
    b = open_for("another");
    assert_int_equal(find(b, 1), -1);
    add(b, 1, 3);
    para_choices_close(&a);
    para_choices_close(&b);
    a = open_for("a GPU");
    assert_int_equal(find(a, 1), 2);
    para_choices_close(&a);
}

/* Two that are open at once: what the first has found, the second takes. */
static void the_first_one_holds(void **state) {
    (void)state;
    para_choices *a = open_for("a GPU"), *b = open_for("a GPU");
    add(a, 1, 10);
    add(b, 2, 20);
    add(b, 1, 11);
    assert_int_equal(find(b, 1), 10);
    add(a, 3, 30);
    assert_int_equal(find(a, 2), 20);
    para_choices_close(&a);
    para_choices_close(&b);
    a = open_for("a GPU");
    for (int i = 1; i <= 3; i++) assert_int_equal(find(a, i), 10 * i);
    para_choices_close(&a);
}

static void processes_share_them(void **state) {
    (void)state;
    enum { PROCESSES = 4, EACH = 12 };
    for (int p = 0; p < PROCESSES; p++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child > 0) continue;
        para_choices *c;
        bool good = para_choices_open(&c, &device, "a GPU") == PARA_OK;
        for (int i = 0; good && i < EACH; i++) {
            int key = EACH * p + i, common = 1000 + i;
            good = para_choices_add(c, "product", &key, sizeof key, &p, sizeof p) == PARA_OK &&
                   para_choices_add(c, "product", &common, sizeof common, &p, sizeof p) == PARA_OK;
        }
        _exit(good ? 0 : 1);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    para_choices *c = open_for("a GPU");
    for (int i = 0; i < PROCESSES * EACH; i++) assert_int_equal(find(c, i), i / EACH);
    for (int i = 0; i < EACH; i++) assert_in_range(find(c, 1000 + i), 0, PROCESSES - 1);
    para_choices_close(&c);
    assert_string_equal(heard, "");
}

/* Every way to cut the file short, and every byte of it changed: what is read is what was written, or nothing; and it is written anew. */
static void damaged_files_are_left_aside(void **state) {
    (void)state;
    para_choices *c = open_for("a GPU");
    add(c, 1, 10);
    add(c, 2, 20);
    para_choices_close(&c);
    size_t n;
    char path[4096];
    strcpy(path, file_of());
    char *bytes = slurp(path, &n);
    for (size_t i = 0; i < 2 * n; i++) {
        char *bad = malloc(n);
        memcpy(bad, bytes, n);
        if (i >= n) bad[i - n] ^= 4;
        write_file(path, bad, i < n ? i : n);
        free(bad);
        heard[0] = 0;
        c = open_for("a GPU");
        int one = find(c, 1), two = find(c, 2);
        assert_true((one == 10 || one == -1) && (two == 20 || two == -1));
        bool whole_lines = i < n && i > 0 && bytes[i - 1] == '\n' && strncmp(heard, "", 1) == 0;
        if (!whole_lines) assert_non_null(strstr(heard, "is damaged or of another program"));
        if (i % 37 == 0) {
            add(c, 2, 20);
            para_choices_close(&c);
            heard[0] = 0;
            c = open_for("a GPU");
            assert_int_equal(find(c, 2), 20);
            assert_string_equal(heard, "");
        }
        para_choices_close(&c);
    }
    free(bytes);
}

/* A file in the folder's place, which not even root can write into; and no folder at all. */
static void nowhere_to_write_is_no_error(void **state) {
    (void)state;
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    for (int i = 0; i < 2; i++) {
        heard[0] = 0;
        para_choices *c = open_for("a GPU");
        add(c, 1, 10);
        assert_non_null(strstr(heard, "is not kept for the next time"));
        heard[0] = 0;
        add(c, 2, 20);
        assert_string_equal(heard, "");
        assert_int_equal(find(c, 1), 10);
        para_choices_close(&c);
        char home[1024];
        snprintf(home, sizeof home, "%s", getenv("HOME") ? getenv("HOME") : "");
        unsetenv("XDG_CACHE_HOME");
        if (i == 0) unsetenv("HOME");
    }
}

static para_status all_of_it(void) {
    para_choices *c;
    int key = 1, value = 10;
    PARA_TRY(para_choices_open(&c, &device, "a GPU"));
    para_status status = para_choices_add(c, "product", &key, sizeof key, &value, sizeof value);
    para_choices_close(&c);
    return status;
}

static void memory_runs_out(void **state) {
    (void)state;
    assert_survives_alloc_failure(10, all_of_it());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(are_kept, setup),
        cmocka_unit_test_setup(machines_have_their_own, setup),
        cmocka_unit_test_setup(the_first_one_holds, setup),
        cmocka_unit_test_setup(processes_share_them, setup),
        cmocka_unit_test_setup(damaged_files_are_left_aside, setup),
        cmocka_unit_test_setup(memory_runs_out, setup),
        cmocka_unit_test_setup(nowhere_to_write_is_no_error, setup),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
