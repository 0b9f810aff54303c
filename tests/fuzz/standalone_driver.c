/* Runs a fuzzer without libFuzzer: every file of the corpus folders, then seeded mutations of them. SPDX-License-Identifier: Apache-2.0
 * Usage: fuzz_X [-seconds=S] [-runs=N] [-seed=N] [-dict=FILE] FOLDER|FILE...
 * Mutates for S seconds (0: none) or N runs. An input that ends the process is kept as crash-<seed>-<run> in the working folder. */
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fuzz_target.h"

enum { MAX_INPUTS = 65536, MAX_TOKENS = 1024, MAX_BYTES = 4096, SECONDS_PER_INPUT = 20 };

typedef struct blob {
    uint8_t *bytes;
    size_t n;
} blob;

static blob inputs[MAX_INPUTS], tokens[MAX_TOKENS];
static size_t input_count, token_count;
static uint64_t seed = 1, state;
static long run;
static blob current; /* what the target works on, for the crash file */

/* splitmix64 */
static uint64_t next(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t below(size_t n) {
    return n ? (size_t)(next() % n) : 0;
}

static void keep_current(void) {
    char name[64];
    snprintf(name, sizeof name, "crash-%llu-%ld", (unsigned long long)seed, run);
    FILE *f = fopen(name, "wb");
    if (!f) return;
    fwrite(current.bytes, 1, current.n, f);
    fclose(f);
    fprintf(stderr, "the input was kept as %s\n", name);
}

static void on_signal(int number) {
    fprintf(stderr, "signal %d (%s)\n", number, number == SIGALRM ? "an input took too long" : "crash");
    keep_current();
    _exit(1);
}

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
static void watch(void) {
    __sanitizer_set_death_callback(keep_current);
    signal(SIGALRM, on_signal);
    signal(SIGABRT, on_signal);
}
#else
static void watch(void) {
    signal(SIGALRM, on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
}
#endif

/* On an exactly allocated copy, so that a step beyond it is seen. */
static void run_one(const uint8_t *bytes, size_t n) {
    current.bytes = malloc(n ? n : 1);
    current.n = n;
    if (!current.bytes) exit(2);
    memcpy(current.bytes, bytes, n);
    alarm(SECONDS_PER_INPUT);
    LLVMFuzzerTestOneInput(current.bytes, n);
    alarm(0);
    free(current.bytes);
    run++;
}

static void add_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || input_count == MAX_INPUTS) {
        fprintf(stderr, "cannot take %s\n", path);
        exit(2);
    }
    fseek(f, 0, SEEK_END);
    blob *b = &inputs[input_count++];
    b->n = (size_t)ftell(f);
    rewind(f);
    b->bytes = malloc(b->n ? b->n : 1);
    if (!b->bytes || fread(b->bytes, 1, b->n, f) != b->n) exit(2);
    fclose(f);
}

static int not_hidden(const struct dirent *d) {
    return d->d_name[0] != '.';
}

static void add_path(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        add_file(path);
        return;
    }
    struct dirent **entries;
    int n = scandir(path, &entries, not_hidden, alphasort); /* the same order everywhere */
    for (int i = 0; i < n; i++) {
        char name[1024];
        snprintf(name, sizeof name, "%.700s/%.255s", path, entries[i]->d_name);
        add_file(name);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
}

/* libFuzzer's format: lines of [name=]"text" with \\, \" and \xNN. */
static void add_token(const char *line) {
    const char *at = strchr(line, '"');
    if (!at || *line == '#' || token_count == MAX_TOKENS) return;
    uint8_t *out = malloc(strlen(line));
    if (!out) exit(2);
    size_t n = 0;
    for (at++; *at && *at != '"'; at++) {
        if (at[0] == '\\' && at[1] == 'x' && isxdigit((unsigned char)at[2]) && isxdigit((unsigned char)at[3])) {
            out[n++] = (uint8_t)strtoul((char[]){at[2], at[3], 0}, NULL, 16);
            at += 3;
        } else {
            if (at[0] == '\\' && at[1]) at++;
            out[n++] = (uint8_t)*at;
        }
    }
    tokens[token_count++] = (blob){out, n};
}

static void read_dictionary(const char *path) {
    FILE *f = fopen(path, "r");
    char line[1024];
    if (!f) exit(2);
    while (fgets(line, sizeof line, f)) add_token(line);
    fclose(f);
}

/* Replaces `drop` bytes at `at` with n others; the result stays below MAX_BYTES + the input's size. */
static size_t replace(uint8_t *bytes, size_t size, size_t at, size_t drop, const uint8_t *with, size_t n, size_t room) {
    if (drop > size - at) drop = size - at;
    if (size - drop + n > room) return size;
    uint8_t copy[MAX_BYTES];
    if (n > sizeof copy) n = sizeof copy;
    memcpy(copy, with, n); /* it may be a part of `bytes` */
    memmove(bytes + at + n, bytes + at + drop, size - at - drop);
    memcpy(bytes + at, copy, n);
    return size - drop + n;
}

static size_t mutate(uint8_t *bytes, size_t size, size_t room) {
    static const char digits[] = "0123456789-.eE";
    size_t at = below(size + 1), span = below(2) ? below(8) : below(MAX_BYTES);
    uint8_t random[4] = {(uint8_t)next(), (uint8_t)next(), (uint8_t)next(), (uint8_t)next()};
    const blob *other = &inputs[below(input_count)];
    const blob *token = token_count ? &tokens[below(token_count)] : other;
    switch (below(9)) {
    case 0:
        if (at < size) bytes[at] ^= (uint8_t)(1u << below(8));
        return size;
    case 1: return replace(bytes, size, at, 1, random, 1, room);
    case 2: return replace(bytes, size, at, 0, random, 1 + below(4), room);
    case 3: return replace(bytes, size, at, span, random, 0, room);
    case 4: return replace(bytes, size, at, below(2) ? token->n : 0, token->bytes, token->n, room);
    case 5: { /* a part of another input */
        size_t from = below(other->n + 1), n = other->n - from < span ? other->n - from : span;
        return replace(bytes, size, at, below(2) ? n : 0, other->bytes + from, n, room);
    }
    case 6: { /* a part of itself again */
        size_t from = below(size + 1), n = size - from < span ? size - from : span;
        return replace(bytes, size, at, 0, bytes + from, n, room);
    }
    case 7: { /* a digit */
        for (size_t k = 0; k < size; k++) {
            size_t i = (at + k) % size;
            if (!isdigit(bytes[i])) continue;
            bytes[i] = (uint8_t)digits[below(sizeof digits - 1)];
            break;
        }
        return size;
    }
    default: return at; /* cut */
    }
}

static void run_mutated(void) {
    const blob *base = &inputs[below(input_count)];
    size_t room = base->n + MAX_BYTES, size = base->n;
    uint8_t *bytes = malloc(room);
    if (!bytes) exit(2);
    memcpy(bytes, base->bytes, size);
    for (size_t n = (size_t)1 << below(4); n > 0; n--) size = mutate(bytes, size, room);
    run_one(bytes, size);
    free(bytes);
}

int main(int argc, char **argv) {
    double seconds = 0;
    long runs = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-seconds=", 9) == 0) seconds = atof(argv[i] + 9);
        else if (strncmp(argv[i], "-runs=", 6) == 0) runs = atol(argv[i] + 6);
        else if (strncmp(argv[i], "-seed=", 6) == 0) seed = strtoull(argv[i] + 6, NULL, 10);
        else if (strncmp(argv[i], "-dict=", 6) == 0) read_dictionary(argv[i] + 6);
        else add_path(argv[i]);
    }
    watch();
    state = seed;
    for (size_t i = 0; i < input_count; i++) run_one(inputs[i].bytes, inputs[i].n);
    if (input_count == 0) run_one((const uint8_t *)"", 0);
    size_t corpus = input_count;
    if (corpus == 0) add_token("\"\""), inputs[input_count++] = tokens[0];
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long i = 0; runs > 0 ? i < runs : seconds > 0; i++) {
        run_mutated();
        clock_gettime(CLOCK_MONOTONIC, &now);
        double spent = (double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec);
        if (runs == 0 && spent >= seconds) break;
    }
    printf("%zu inputs, %ld runs, seed %llu\n", corpus, run, (unsigned long long)seed);
    for (size_t i = 0; i < input_count; i++) free(inputs[i].bytes);
    for (size_t i = corpus == 0; i < token_count; i++) free(tokens[i].bytes);
    return 0;
}
