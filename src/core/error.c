/* Last-error sentence of each thread, status names. SPDX-License-Identifier: Apache-2.0 */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>

enum { SENTENCE_MAX = 1024 };

static _Thread_local char sentence[SENTENCE_MAX];

para_status para_fail(para_status code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return code;
}

para_status para_check_size(size_t size, size_t known, const char *what, const char *init) {
    if (size == known) return PARA_OK;
    return para_fail(PARA_ERR_ARGUMENT, "%s.size is %zu, not %zu; start from %s and build against the installed header",
                     what, size, known, init);
}

void para_clear_error(void) {
    sentence[0] = '\0';
}

const char *para_last_error(void) {
    return sentence;
}

const char *para_status_name(para_status status) {
    switch (status) {
#define NAME_CASE(name, value, text)                                                                                   \
    case name: return #name;
        PARA_STATUS_MAP(NAME_CASE)
#undef NAME_CASE
    }
    return "PARA_ERR_UNKNOWN";
}

const char *para_status_text(para_status status) {
    switch (status) {
#define TEXT_CASE(name, value, text)                                                                                   \
    case name: return text;
        PARA_STATUS_MAP(TEXT_CASE)
#undef TEXT_CASE
    }
    return "unknown status";
}
