/* Runs para as a user would and looks at what it says and leaves. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_PROGRAM_H
#define PARA_TESTS_PROGRAM_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "model_copy.h"

#define PARA         PARA_BINARY_DIR "/para"
#define GOLDEN(name) PARA_SOURCE_DIR "/tests/golden/" name
/* Small and quick; what the cases change comes after and wins. */
#define QUICK                                                                                                          \
    "--prompt", "a red heart", "--width", "32", "--height", "32", "--steps", "1", "--max-sequence-length", "8",        \
        "--threads", "1"

enum { PROGRAM_TEXT = 1 << 16, PROGRAM_ARGUMENTS = 48, PROGRAM_PATIENCE_MS = 120000 };

typedef struct program {
    pid_t pid;
    int err;                 /* reads the program's standard error; a terminal's master side where it has one */
    char said[PROGRAM_TEXT]; /* standard error so far */
    size_t length;
    char out[PROGRAM_TEXT]; /* standard output, after the end */
    int code;               /* exit status, or 128 + signal */
} program;

typedef struct program_options {
    bool terminal;        /* standard error is a terminal */
    long file_size_limit; /* bytes that a file may have; 0: any */
    long memory_limit;    /* bytes of address space; 0: any */
    const char *output;   /* file for standard output instead of program.out */
    const char *input;    /* file for standard input */
    const char *directory;
} program_options;

static inline double program_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void program_child(const program_options *o, const char *out, int err, const char *const *argv) {
    int to = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int from = o->input ? open(o->input, O_RDONLY) : STDIN_FILENO;
    if (from < 0 || dup2(from, STDIN_FILENO) < 0) _exit(99);
    if (to < 0 || dup2(to, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0) _exit(99);
    if (o->file_size_limit) {
        struct rlimit limit = {(rlim_t)o->file_size_limit, (rlim_t)o->file_size_limit};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (o->memory_limit) {
        struct rlimit limit = {(rlim_t)o->memory_limit, (rlim_t)o->memory_limit};
        setrlimit(RLIMIT_AS, &limit);
    }
    if (o->directory && chdir(o->directory) != 0) _exit(99);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(98);
}

/* A new terminal's two ends. False where the system gives none: a chroot without /dev/pts. */
static inline bool program_terminal(int ends[2]) {
    ends[1] = -1;
    ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (ends[0] < 0) return false;
    const char *name = grantpt(ends[0]) == 0 && unlockpt(ends[0]) == 0 ? ptsname(ends[0]) : NULL;
    ends[1] = name ? open(name, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
    if (ends[1] < 0) close(ends[0]);
    return ends[1] >= 0;
}

/* Skips the test where the system gives no terminal; tests/expected-skips lists those that call it. */
static inline void program_needs_terminal(void) {
    int ends[2];
    if (!program_terminal(ends)) skip();
    close(ends[0]);
    close(ends[1]);
}

/* Starts argv, NULL-terminated. */
static inline void program_start(program *p, const program_options *o, const char *const *argv) {
    static const program_options plain;
    if (!o) o = &plain;
    memset(p, 0, sizeof *p);
    int ends[2];
    if (o->terminal) {
        assert_true(program_terminal(ends));
    } else {
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    }
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) program_child(o, o->output ? o->output : temp_path("stdout"), ends[1], argv);
    close(ends[1]);
    p->err = ends[0];
}

/* Reads standard error until it holds `text` or ends. False at the end, or after too long. */
static inline bool program_wait_for(program *p, const char *text) {
    double start = program_seconds();
    for (;;) {
        if (text && strstr(p->said, text)) return true;
        struct pollfd fd = {p->err, POLLIN, 0};
        int left = PROGRAM_PATIENCE_MS - (int)(1e3 * (program_seconds() - start));
        if (left <= 0 || poll(&fd, 1, left) <= 0) return false;
        char bytes[4096];
        ssize_t n = read(p->err, bytes, sizeof bytes);
        if (n <= 0) return false; /* a terminal's master reads EIO when the other side is closed */
        if (p->length + (size_t)n >= sizeof p->said) p->length = 0;
        memcpy(p->said + p->length, bytes, (size_t)n);
        p->length += (size_t)n;
        p->said[p->length] = '\0';
    }
}

static inline void program_finish(program *p, const program_options *o) {
    program_wait_for(p, NULL);
    int status;
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    close(p->err);
    p->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (o && o->output) return;
    p->out[0] = '\0';
    if (access(temp_path("stdout"), R_OK) != 0) return; /* a signal ended the child before it opened its output */
    size_t n;
    char *text = slurp(temp_path("stdout"), &n);
    snprintf(p->out, sizeof p->out, "%s", text);
    free(text);
}

#define PROGRAM_ARGV(...) ((const char *const[]){PARA, __VA_ARGS__, NULL})
#define program_run(p, o, ...)                                                                                         \
    do {                                                                                                               \
        program_start(p, o, PROGRAM_ARGV(__VA_ARGS__));                                                                \
        program_finish(p, o);                                                                                          \
    } while (0)

/* The exit status, and each of the words (up to NULL) on standard error. */
static inline void program_expect_words(const program *p, int code, const char *const *words) {
    if (p->code != code) fail_msg("exit status %d, wanted %d; it said: %s", p->code, code, p->said);
    for (; *words; words++)
        if (!strstr(p->said, *words)) fail_msg("it does not say \"%s\", but: %s", *words, p->said);
    if (code != 0 && (p->length == 0 || p->said[p->length - 1] != '\n')) fail_msg("no sentence, but: \"%s\"", p->said);
}
#define program_expect(p, code, ...) program_expect_words(p, code, (const char *const[]){__VA_ARGS__, NULL})

/* Outputs go to a folder of their own, so that whatever stays can be seen. */
static inline const char *output_path(const char *name) {
    mkdir(temp_path("out"), 0777);
    char file[256];
    snprintf(file, sizeof file, "out/%s", name);
    return temp_path(file);
}

static inline void expect_nothing_left(void) {
    DIR *dir = opendir(temp_path("out"));
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0) fail_msg("'%s' was left behind", d->d_name);
    closedir(dir);
}

#endif
