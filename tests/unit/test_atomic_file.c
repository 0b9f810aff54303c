/* Output files that appear whole or not at all; what ends up in safetensors and PNG files is tested there. SPDX-License-Identifier: Apache-2.0 */
#include "io/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "io_checks.h"

static void appears_at_commit(void **state) {
    (void)state;
    const char *path = temp_path("out");
    para_atomic_file f;
    assert_ok(para_atomic_open(&f, path));
    assert_ok(para_atomic_write(&f, "ab", 2));
    assert_ok(para_atomic_write(&f, "cd", 2));
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(folder_entries(temp_folder), 1);
    assert_ok(para_atomic_commit(&f));
    assert_int_equal(folder_entries(temp_folder), 1);
    size_t n;
    char *bytes = slurp(path, &n);
    assert_string_equal(bytes, "abcd");
    free(bytes);
}

static void abort_leaves_the_old(void **state) {
    (void)state;
    const char *path = temp_write("old", "old", 3);
    int before = folder_entries(temp_folder);
    para_atomic_file f, g;
    assert_ok(para_atomic_open(&f, path));
    assert_ok(para_atomic_open(&g, path)); /* two writers of one path do not meet */
    assert_ok(para_atomic_write(&f, "new", 3));
    assert_ok(para_atomic_write(&g, "newer", 5));
    para_atomic_abort(&f);
    size_t n;
    char *bytes = slurp(path, &n);
    assert_string_equal(bytes, "old");
    free(bytes);
    assert_ok(para_atomic_commit(&g));
    bytes = slurp(path, &n);
    assert_string_equal(bytes, "newer");
    free(bytes);
    assert_int_equal(folder_entries(temp_folder), before);
}

/* The rename fails when a folder has taken the place meanwhile. */
static void commit_fails(void **state) {
    (void)state;
    const char *path = temp_path("taken");
    para_atomic_file f;
    assert_ok(para_atomic_open(&f, path));
    assert_int_equal(mkdir(path, 0700), 0);
    int before = folder_entries(temp_folder);
    assert_fails(PARA_ERR_IO, "taken' cannot be written: Is a directory", para_atomic_commit(&f));
    assert_int_equal(folder_entries(temp_folder), before - 1); /* the temporary file is gone */
}

static void without_a_folder(void **state) {
    (void)state;
    assert_int_equal(chdir(temp_folder), 0);
    para_atomic_file f;
    para_status status = para_atomic_open(&f, "plain");
    if (status == PARA_OK) status = para_atomic_commit(&f);
    int there = access("plain", F_OK);
    assert_int_equal(chdir(".."), 0);
    assert_int_equal(status, PARA_OK);
    assert_int_equal(there, 0);
}

enum { PIPE_BYTES = 1 << 20 };

static unsigned char pattern(size_t i) {
    return (unsigned char)(i * 2654435761u >> 13);
}

/* Reads the pipe in small sips; returns 0 when every byte is right. */
static int read_slowly(const char *path) {
    int fd = open(path, O_RDONLY);
    unsigned char bytes[5000];
    size_t at = 0;
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) {
        for (ssize_t i = 0; i < n; i++, at++)
            if (bytes[i] != pattern(at)) return 1;
        usleep(200);
    }
    return at == PIPE_BYTES ? 0 : 2;
}

static void on_alarm(int number) {
    (void)number;
}

/* Signals cut writes to a slow pipe in the middle: what was not written is written again, no more and no less. */
static void interrupted_writes(void **state) {
    (void)state;
    const char *path = temp_path("pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    pid_t reader = fork();
    assert_true(reader >= 0);
    if (reader == 0) _exit(read_slowly(path));
    unsigned char *bytes = malloc(PIPE_BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < PIPE_BYTES; i++) bytes[i] = pattern(i);
    para_atomic_file f;
    assert_ok(para_atomic_open(&f, path));
    signal(SIGPIPE, SIG_IGN); /* a reader that found a wrong byte is gone */
    struct sigaction action = {.sa_handler = on_alarm}, old;
    const struct itimerval often = {{0, 3000}, {0, 3000}}, never = {0};
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    para_status status = para_atomic_write(&f, bytes, PIPE_BYTES);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(status, PARA_OK);
    assert_ok(para_atomic_commit(&f));
    int result;
    assert_int_equal(waitpid(reader, &result, 0), reader);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appears_at_commit), cmocka_unit_test(abort_leaves_the_old), cmocka_unit_test(commit_fails),
        cmocka_unit_test(without_a_folder),  cmocka_unit_test(interrupted_writes),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
