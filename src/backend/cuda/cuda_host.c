/* The library's functions that the module's code calls by their names, by way of the table. SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "backend/cuda/cuda.h"
#include "core/alloc.h"
#include "core/error.h"

enum { SENTENCE_MAX = 1024 };

static const para_cuda_host *library; /* the same for every device */

void para_cuda_use_host(const para_cuda_host *host) {
    library = host;
}

para_status para_fail(para_status code, const char *format, ...) {
    char sentence[SENTENCE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return library->fail(code, "%s", sentence);
}

void para_device_note(const para_device *dev, para_log_level level, const char *format, ...) {
    char line[SENTENCE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    library->note(dev, level, "%s", line);
}

void *para_alloc(size_t count, size_t size) {
    return library->alloc(count, size);
}

void *para_realloc(void *p, size_t count, size_t size) {
    return library->realloc(p, count, size);
}

void para_free(void *p) {
    library->free(p);
}

para_status para_arena_take(para_arena *arena, size_t bytes, void **out) {
    return library->arena_take(arena, bytes, out);
}

void para_arena_release(para_arena *arena, size_t mark) {
    library->arena_release(arena, mark);
}

para_status para_choices_open(para_choices **out, const para_device *dev, const char *machine) {
    return library->choices_open(out, dev, machine);
}

void para_choices_close(para_choices **choices) {
    library->choices_close(choices);
}

const void *para_choices_find(const para_choices *choices, const char *kind, const void *key, size_t key_bytes, size_t *value_bytes) {
    return library->choices_find(choices, kind, key, key_bytes, value_bytes);
}

para_status para_choices_add(para_choices *choices, const char *kind, const void *key, size_t key_bytes, const void *value, size_t value_bytes) {
    return library->choices_add(choices, kind, key, key_bytes, value, value_bytes);
}
