/* Machine files. SPDX-License-Identifier: Apache-2.0 */
#include "io/machine_file.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"
#include "io/cache_folder.h"
#include "io/config.h"
#include "io/file_read.h"

enum { MAX_SETS = 64, MAX_ROWS = 4096, MAX_COUNT = 1 << 20, MAX_BYTES = 16 << 20 };

static const struct {
    const char *name;
    int columns;
} rates[PARA_RATES] = {
    [PARA_RATE_LINEAR] = {"linear", 4},   [PARA_RATE_ATTENTION] = {"attention", 5},
    [PARA_RATE_COPY] = {"copy", 2},       [PARA_RATE_NORM] = {"norm", 2},
    [PARA_RATE_HEAD] = {"head", 2},       [PARA_RATE_ACTIVATION] = {"activation", 2},
    [PARA_RATE_MERGE] = {"merge", 2},     [PARA_RATE_EPILOGUE] = {"epilogue", 2},
    [PARA_RATE_PROCESS] = {"process", 3}, [PARA_RATE_HOST] = {"host", 3},
    [PARA_RATE_HOSTS] = {"hosts", 3},
};

const char *para_rate_name(para_rate rate) {
    return rates[rate].name;
}

int para_rate_columns(para_rate rate) {
    return rates[rate].columns;
}

/* ---- In memory */

para_status para_rate_add(para_rate_set *set, para_rate rate, const double *row) {
    para_rate_table *t = &set->table[rate];
    double(*larger)[PARA_RATE_COLUMNS] = para_realloc(t->row, (size_t)t->rows + 1, sizeof *larger);
    if (!larger) return PARA_ERR_MEMORY;
    t->row = larger;
    memset(t->row[t->rows], 0, sizeof *larger);
    memcpy(t->row[t->rows++], row, (size_t)rates[rate].columns * sizeof *row);
    return PARA_OK;
}

void para_rate_set_free(para_rate_set *set) {
    for (int i = 0; i < PARA_RATES; i++) para_free(set->table[i].row);
    *set = (para_rate_set){0};
}

void para_machine_close(para_machine_file *m) {
    for (int i = 0; i < m->sets; i++) para_rate_set_free(&m->set[i]);
    para_free(m->set);
    *m = (para_machine_file){0};
}

static bool same_kind(const para_rate_set *a, const para_rate_set *b) {
    return strcmp(a->device, b->device) == 0 && a->dtype == b->dtype && a->threads == b->threads &&
           a->ranks == b->ranks;
}

para_status para_machine_take(para_machine_file *m, para_rate_set *set) {
    int at = 0;
    while (at < m->sets && !same_kind(&m->set[at], set)) at++;
    if (at == m->sets) {
        para_rate_set *larger = para_realloc(m->set, (size_t)m->sets + 1, sizeof *larger);
        if (!larger) return PARA_ERR_MEMORY;
        m->set = larger;
        m->set[m->sets++] = (para_rate_set){0};
    }
    para_rate_set_free(&m->set[at]);
    m->set[at] = *set;
    *set = (para_rate_set){0};
    return PARA_OK;
}

static int away(int a, int b) {
    return abs(a - b);
}

const para_rate_set *para_machine_find(const para_machine_file *m, const char *device, para_dtype dtype, int threads,
                                       int ranks) {
    const para_rate_set *best = NULL;
    for (int i = 0; i < m->sets; i++) {
        const para_rate_set *s = &m->set[i];
        if (s->dtype != dtype || (device && strcmp(device, s->device) != 0)) continue;
        int nearer = best ? away(best->threads, threads) - away(s->threads, threads) : 1;
        if (nearer > 0 || (nearer == 0 && away(best->ranks, ranks) > away(s->ranks, ranks))) best = s;
    }
    return best;
}

para_status para_machine_default(char **out) {
    char *folder;
    *out = NULL;
    PARA_TRY(para_cache_folder(&folder));
    if (!folder) return PARA_OK;
    *out = para_path_join(folder, "machine.json", "");
    para_free(folder);
    return *out ? PARA_OK : PARA_ERR_MEMORY;
}

/* ---- Reading */

static para_status bad(const char *path, const char *what, const char *wanted) {
    return para_fail(PARA_ERR_CONFIG, "'%s': %s must be %s; write the file anew with para bench machine -o", path, what,
                     wanted);
}

static bool number_in(const json_t *value, double least, double most, double *out) {
    *out = json_number_value(value);
    return json_is_number(value) && *out >= least && *out <= most;
}

static para_status read_row(para_rate_set *set, para_rate rate, const json_t *value, const char *path) {
    double row[PARA_RATE_COLUMNS] = {0};
    int columns = rates[rate].columns;
    bool good = json_array_size(value) == (size_t)columns;
    for (int i = 0; good && i < columns; i++) {
        bool seconds = i == columns - 1;
        good = number_in(json_array_get(value, (size_t)i), seconds ? 1e-9 : 1, seconds ? 1e6 : 1e15, &row[i]);
    }
    if (!good) return bad(path, rates[rate].name, "rows of sizes from 1 to 1e15, then seconds from 1e-9 to 1e6");
    return para_rate_add(set, rate, row);
}

static para_status read_table(para_rate_set *set, para_rate rate, const json_t *value, const char *path) {
    if (!value) return PARA_OK;
    if (!json_is_array(value) || json_array_size(value) > MAX_ROWS)
        return bad(path, rates[rate].name, "a list of at most 4096 rows");
    for (size_t i = 0; i < json_array_size(value); i++) PARA_TRY(read_row(set, rate, json_array_get(value, i), path));
    return PARA_OK;
}

static para_status read_exchange(para_rate_set *set, const json_t *value, const char *path) {
    if (!value) return PARA_OK;
    if (!json_is_object(value)) return bad(path, "exchange", "an object");
    for (para_rate r = PARA_RATE_PROCESS; r < PARA_RATES; r++) {
        const json_t *link = json_object_get(value, rates[r].name);
        if (!link) continue;
        if (!json_is_object(link)) return bad(path, rates[r].name, "an object");
        if (!number_in(json_object_get(link, "overlap"), 0, 1, &set->overlap[r - PARA_RATE_PROCESS]))
            return bad(path, "overlap", "a number from 0 to 1");
        PARA_TRY(read_table(set, r, json_object_get(link, "points"), path));
    }
    return PARA_OK;
}

static const para_dtype types[] = {PARA_F32, PARA_BF16, PARA_F16};
static const char *const type_names[] = {"f32", "bf16", "f16"};
enum { TYPES = sizeof types / sizeof *types };

static para_status read_set(para_rate_set *set, const json_t *value, const char *path) {
    const char *device = json_string_value(json_object_get(value, "device")),
               *dtype = json_string_value(json_object_get(value, "dtype"));
    double threads, ranks;
    if (!device || !*device || strlen(device) >= sizeof set->device)
        return bad(path, "device", "a name of 1 to 63 bytes");
    strcpy(set->device, device);
    set->gpu = json_is_true(json_object_get(value, "gpu"));
    for (int i = 0; i < TYPES; i++)
        if (dtype && strcmp(dtype, type_names[i]) == 0) set->dtype = types[i];
    if (set->dtype == PARA_DTYPE_NONE) return bad(path, "dtype", "f32, bf16 or f16");
    if (!number_in(json_object_get(value, "threads"), 1, MAX_COUNT, &threads) ||
        !number_in(json_object_get(value, "ranks"), 1, MAX_COUNT, &ranks))
        return bad(path, "threads and ranks", "numbers from 1");
    set->threads = (int)threads;
    set->ranks = (int)ranks;
    if (!number_in(json_object_get(value, "launch"), 0, 1, &set->launch))
        return bad(path, "launch", "seconds from 0 to 1");
    for (para_rate r = 0; r < PARA_RATE_PROCESS; r++) {
        PARA_TRY(read_table(set, r, json_object_get(value, rates[r].name), path));
        if (set->table[r].rows == 0) return bad(path, rates[r].name, "a list of one row or more");
    }
    return read_exchange(set, json_object_get(value, "exchange"), path);
}

static para_status read_sets(para_machine_file *out, const para_config *c) {
    int64_t version;
    const json_t *sets = json_object_get(c->root, "sets");
    PARA_TRY(para_config_int(c, "paraattn_machine", 0, &version));
    if (version != 1) return bad(c->path, "paraattn_machine", "1, as in a machine file of this version");
    if (!json_is_array(sets) || json_array_size(sets) > MAX_SETS)
        return bad(c->path, "sets", "a list of at most 64 sets");
    for (size_t i = 0; i < json_array_size(sets); i++) {
        para_rate_set set = {0};
        para_status status = read_set(&set, json_array_get(sets, i), c->path);
        if (status == PARA_OK) status = para_machine_take(out, &set);
        para_rate_set_free(&set);
        PARA_TRY(status);
    }
    return PARA_OK;
}

para_status para_machine_parse(para_machine_file *out, const char *text, size_t n, const char *path) {
    para_config c;
    *out = (para_machine_file){0};
    PARA_TRY(para_config_parse(&c, text, n, path));
    para_status status = read_sets(out, &c);
    para_config_close(&c);
    if (status != PARA_OK) para_machine_close(out);
    return status;
}

para_status para_machine_read(para_machine_file *out, const char *path) {
    char *text;
    size_t n;
    *out = (para_machine_file){0};
    PARA_TRY(para_file_read(path, MAX_BYTES, &text, &n));
    para_status status = para_machine_parse(out, text, n, path);
    para_free(text);
    return status;
}
