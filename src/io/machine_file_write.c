/* Writing machine files. SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/machine_file.h"

/* Whole sizes as whole numbers. */
static json_t *number(double x) {
    json_int_t whole = (json_int_t)x;
    return (double)whole == x ? json_integer(whole) : json_real(x);
}

static json_t *rows_of(const para_rate_set *s, para_rate rate) {
    json_t *rows = json_array();
    for (int i = 0; i < s->table[rate].rows; i++) {
        json_t *row = json_array();
        for (int k = 0; k < para_rate_columns(rate); k++) json_array_append_new(row, number(s->table[rate].row[i][k]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *set_of(const para_rate_set *s) {
    const char *type = s->dtype == PARA_F32 ? "f32" : s->dtype == PARA_BF16 ? "bf16" : "f16";
    json_t *set = json_pack("{s:s, s:b, s:s, s:i, s:i, s:f}", "device", s->device, "gpu", s->gpu, "dtype", type,
                            "threads", s->threads, "ranks", s->ranks, "launch", s->launch),
           *exchange = json_object();
    for (para_rate r = 0; r < PARA_RATE_PROCESS; r++) json_object_set_new(set, para_rate_name(r), rows_of(s, r));
    for (para_rate r = PARA_RATE_PROCESS; r < PARA_RATES; r++)
        if (s->table[r].rows)
            json_object_set_new(
                exchange, para_rate_name(r),
                json_pack("{s:f, s:o}", "overlap", s->overlap[r - PARA_RATE_PROCESS], "points", rows_of(s, r)));
    json_object_set_new(set, "exchange", exchange);
    return set;
}

/* A line for each row, which ends with "],"; device names hold no such thing outside quotes. */
static para_status write_lines(para_atomic_file *file, const char *text) {
    bool quoted = false;
    const char *from = text, *at = text;
    for (; *at; at++) {
        if (*at == '"' && (at == text || at[-1] != '\\')) quoted = !quoted;
        if (quoted || at[0] != ']' || at[1] != ',') continue;
        PARA_TRY(para_atomic_write(file, from, (size_t)(at + 2 - from)));
        PARA_TRY(para_atomic_write(file, "\n", 1));
        from = at + 2;
    }
    PARA_TRY(para_atomic_write(file, from, (size_t)(at - from)));
    return para_atomic_write(file, "\n", 1);
}

para_status para_machine_write(const para_machine_file *m, const char *path) {
    json_t *sets = json_array();
    for (int i = 0; i < m->sets; i++) json_array_append_new(sets, set_of(&m->set[i]));
    json_t *root = json_pack("{s:i, s:o}", "paraattn_machine", 1, "sets", sets);
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(root);
    if (!text) return para_fail(PARA_ERR_MEMORY, "out of memory while writing '%s'", path);
    para_atomic_file file;
    para_status status = para_atomic_open(&file, path);
    if (status == PARA_OK) {
        status = write_lines(&file, text);
        if (status == PARA_OK) status = para_atomic_commit(&file);
        else para_atomic_abort(&file);
    }
    free(text);
    return status;
}
