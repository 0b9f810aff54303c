/* Declaring which measured rates a pipeline is planned by. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/bench.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "comm/links.h"
#include "core/alloc.h"
#include "core/error.h"
#include "parallel/world_state.h"
#include "pipeline/plan.h"

/* What process 0 has found; the rows of all tables follow where it is sent to the others, so that all choose the same meshes. */
typedef struct finding {
    para_status status;
    char sentence[1024];
    char path[1024];
    bool found;
    para_rate_set set;
} finding;

static para_status no_set(const para_pipeline *pipe, const char *path, const para_machine_file *m) {
    char has[256] = "";
    for (int i = 0; i < m->sets; i++) {
        size_t n = strlen(has);
        snprintf(has + n, sizeof has - n, "%s%s of %s", n ? ", " : "", para_dtype_name(m->set[i].dtype),
                 m->set[i].device);
    }
    return para_fail(PARA_ERR_CONFIG, "'%s' has no rates for %s%s%s; measure them with para bench machine --dtype",
                     path, para_dtype_name(pipe->options.dtype), *has ? ", only for " : "", has);
}

/* Takes the rates out of the file. Those of another device only where the file was asked for by name. */
static para_status choose(const para_pipeline *pipe, para_machine_file *m, bool any_device, finding *f) {
    const para_world *world = pipe->world;
    const int threads = world->worker[0].rank.threads, ranks = para_group_ranks_together(world->group);
    const para_rate_set *set = para_machine_find(m, para_world_device_name(world), pipe->options.dtype, threads, ranks);
    if (!set && any_device) set = para_machine_find(m, NULL, pipe->options.dtype, threads, ranks);
    if (!set) return any_device ? no_set(pipe, f->path, m) : PARA_OK;
    para_rate_set *taken = &m->set[set - m->set];
    f->set = *taken;
    f->found = true;
    *taken = (para_rate_set){0};
    return PARA_OK;
}

/* The user's own file, if it is there. Damaged, it is left aside with a word. */
static para_status read_default(const para_pipeline *pipe, finding *f, para_machine_file *m) {
    char *path;
    PARA_TRY(para_machine_default(&path));
    if (!path) return PARA_OK;
    para_status status = PARA_OK;
    if (access(path, F_OK) == 0) {
        snprintf(f->path, sizeof f->path, "%s", path);
        status = para_machine_read(m, path);
    }
    para_free(path);
    if (status == PARA_OK || status == PARA_ERR_MEMORY) return status;
    para_pipeline_log(pipe, PARA_LOG_WARNING, "%s; until then times are not predicted by what was measured",
                      para_last_error());
    para_clear_error();
    return PARA_OK;
}

static para_status look(const para_pipeline *pipe, const char *file, finding *f) {
    para_machine_file m = {0};
    if (file) snprintf(f->path, sizeof f->path, "%s", file);
    para_status status = file ? para_machine_read(&m, file) : read_default(pipe, f, &m);
    if (status == PARA_OK) status = choose(pipe, &m, file != NULL, f);
    para_machine_close(&m);
    return status;
}

/* ---- Between processes */

static size_t row_bytes(const para_rate_table *t) {
    return (size_t)t->rows * sizeof *t->row;
}

static para_status pack(const finding *f, char **out, size_t *n) {
    *n = sizeof *f;
    for (int i = 0; i < PARA_RATES; i++) *n += row_bytes(&f->set.table[i]);
    char *at = *out = para_alloc(*n, 1);
    if (!at) return PARA_ERR_MEMORY;
    memcpy(at, f, sizeof *f);
    at += sizeof *f;
    for (int i = 0; i < PARA_RATES; i++) {
        if (!row_bytes(&f->set.table[i])) continue;
        memcpy(at, f->set.table[i].row, row_bytes(&f->set.table[i]));
        at += row_bytes(&f->set.table[i]);
    }
    return PARA_OK;
}

static para_status unpack(finding *f, const char *at) {
    para_status status = PARA_OK;
    memcpy(f, at, sizeof *f);
    at += sizeof *f;
    for (int i = 0; i < PARA_RATES; i++) {
        para_rate_table *t = &f->set.table[i];
        t->row = t->rows ? para_alloc((size_t)t->rows, sizeof *t->row) : NULL;
        if (t->row) memcpy(t->row, at, row_bytes(t));
        else if (t->rows) status = PARA_ERR_MEMORY;
        at += row_bytes(t);
        if (!t->row) t->rows = 0;
    }
    return status;
}

/* Collective. What failed on process 0 fails on all. */
static para_status share(para_pipeline *pipe, finding *f) {
    char *packed = NULL;
    size_t n = 0;
    bool leads = para_world_process(pipe->world) == 0;
    para_status packing = leads ? pack(f, &packed, &n) : PARA_OK;
    void *message =
        packing == PARA_OK && leads ? (void *)packed : (void *)f; /* without memory the finding alone, which says so */
    if (packing != PARA_OK) {
        para_rate_set_free(&f->set);
        f->status = packing;
        n = sizeof *f;
    }
    PARA_TRY(para_world_take(pipe->world, NULL));
    para_status status = para_world_broadcast(pipe->world, &message, &n);
    para_world_release(pipe->world);
    para_free(packed);
    if (status != PARA_OK || leads) return status;
    status = unpack(f, message);
    para_free(message);
    return status;
}

/* ---- The calls */

static bool exchanges_known(const para_rate_set *set) {
    return set->table[PARA_RATE_PROCESS].rows || set->table[PARA_RATE_HOST].rows || set->table[PARA_RATE_HOSTS].rows;
}

para_status para_use_machine(para_pipeline *pipe, const char *file) {
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_use_machine: the pipeline is NULL");
    finding *f = para_alloc(1, sizeof *f);
    if (!f) return PARA_ERR_MEMORY;
    if (para_world_process(pipe->world) == 0) {
        f->status = look(pipe, file, f);
        if (f->status != PARA_OK) snprintf(f->sentence, sizeof f->sentence, "%s", para_last_error());
    }
    para_status status = para_world_processes(pipe->world) > 1 ? share(pipe, f) : PARA_OK;
    if (status == PARA_OK && f->status != PARA_OK) status = para_fail(f->status, "%s", f->sentence);
    char *path = status == PARA_OK && f->found ? para_strdup(f->path) : NULL;
    if (status == PARA_OK && f->found && !path) status = PARA_ERR_MEMORY;
    if (status == PARA_OK) {
        para_pipeline_forget_machine(pipe);
        pipe->machine_path = path;
        pipe->rates = f->set;
        if (path && para_world_size(pipe->world) > 1 && !exchanges_known(&pipe->rates))
            para_pipeline_log(
                pipe, PARA_LOG_INFO,
                "'%s' has no exchange rates, for it was measured on one rank: 5 GB/s and 10 us a message are assumed",
                path);
    } else {
        para_rate_set_free(&f->set);
    }
    para_free(f);
    return status;
}

const char *para_machine_in_use(const para_pipeline *pipe) {
    return pipe ? pipe->machine_path : NULL;
}

void para_pipeline_forget_machine(para_pipeline *pipe) {
    pipe->foreseen = false;
    para_rate_set_free(&pipe->rates);
    para_free(pipe->machine_path);
    pipe->machine_path = NULL;
}

para_rates para_pipeline_rates(const para_pipeline *pipe) {
    static const para_machine plain = PARA_MACHINE_INIT;
    para_rates rates = {.set = pipe->machine_path ? &pipe->rates : NULL};
    if (rates.set && !exchanges_known(rates.set)) rates.bandwidth = plain.bandwidth, rates.latency = plain.latency;
    return rates;
}
