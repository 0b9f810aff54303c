/* Measures a machine: the grid of sizes between which para_use_machine interpolates. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/bench.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "comm/links.h"
#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"
#include "io/atomic_file.h"
#include "io/cache_folder.h"
#include "parallel/world_state.h"

typedef struct machine_bench {
    para_world *world;
    para_bench_machine_options o;
    bool gpu;
    para_rate_set set;
} machine_bench;

static para_status add(machine_bench *m, para_rate rate, const double *row) {
    const int columns = para_rate_columns(rate);
    if (row[columns - 1] <= 0) return PARA_OK; /* another process's */
    PARA_TRY(para_rate_add(&m->set, rate, row));
    if (m->o.on_point) m->o.on_point(m->o.user, para_rate_name(rate), row, columns);
    return PARA_OK;
}

/* Seconds of an op on all ranks at once. */
static para_status time_this(const machine_bench *m, para_bench_op op, para_bench_rate *out) {
    op.dtype = m->o.dtype;
    op.everywhere = true;
    op.quick = m->o.quick;
    return para_bench_run_op(m->world, &op, out);
}

/* The same by its sizes, with the bytes that it moves where memory limits it. */
static para_status time_op(const machine_bench *m, para_bench_kind kind, const int64_t *size, int sizes,
                           double *seconds, double *bytes) {
    para_bench_op op = {.kind = kind};
    para_bench_rate r;
    memcpy(op.size, size, (size_t)sizes * sizeof *size);
    PARA_TRY(time_this(m, op, &r));
    *seconds = 1e-3 * r.ms;
    *bytes = r.bytes;
    return PARA_OK;
}

/* Sizes that rise by a factor. */
typedef struct range {
    int64_t first, last, factor;
} range;

static bool next(const range *r, int64_t *at) {
    *at = *at ? *at * r->factor : r->first;
    return *at <= r->last;
}

/* ---- Ops. What one call of a CPU rank computes is bounded, or the large ones would take all of the time. */

static bool too_much(const machine_bench *m, double flops) {
    return flops > (m->gpu ? 1e14 : m->o.quick ? 1e8 : 4e10);
}

static para_status linear_rates(machine_bench *m) {
    const range rows = m->gpu       ? (range){1, 1 << 16, m->o.quick ? 256 : 4}
                       : m->o.quick ? (range){1, 256, 16}
                                    : (range){1, 4096, 4},
                columns = m->gpu       ? (range){768, 12288, m->o.quick ? 16 : 4}
                          : m->o.quick ? (range){64, 1024, 16}
                                       : (range){64, 4096, 4};
    double unused;
    for (int64_t k = 0; next(&columns, &k);)
        for (int64_t n = 0; next(&columns, &n);)
            for (int64_t i = 0; next(&rows, &i);) {
                double row[4] = {(double)i, (double)n, (double)k, 0};
                if (too_much(m, 2 * row[0] * row[1] * row[2])) continue;
                PARA_TRY(time_op(m, PARA_BENCH_LINEAR, (int64_t[]){i, n, k}, 3, &row[3], &unused));
                PARA_TRY(add(m, PARA_RATE_LINEAR, row));
            }
    return PARA_OK;
}

/* Heads of `rows` queries over `keys`: as many heads as make each see about as many queries as keys. */
static para_status attention_rates(machine_bench *m) {
    const range rows = m->gpu       ? (range){1 << 12, 1 << 20, m->o.quick ? 256 : 4}
                       : m->o.quick ? (range){64, 1024, 16}
                                    : (range){64, 1 << 16, 4},
                keys = m->gpu       ? (range){128, 1 << 17, m->o.quick ? 1024 : 4}
                       : m->o.quick ? (range){64, 1024, 16}
                                    : (range){16, 4096, 4},
                dims = m->gpu ? (range){64, 128, 2} : (range){16, 128, m->o.quick ? 8 : 2};
    double unused;
    for (int64_t d = 0; next(&dims, &d);)
        for (int64_t k = 0; next(&keys, &k);)
            for (int64_t r = 0; next(&rows, &r);) {
                int64_t heads = r > k ? r / k : 1, most = m->gpu ? 96 : 16;
                if (heads > most) heads = most;
                double row[5] = {(double)heads, (double)(r / heads), (double)k, (double)d, 0};
                if (too_much(m, 4 * (double)r * (double)k * (double)d)) continue;
                PARA_TRY(time_op(m, PARA_BENCH_ATTENTION, (int64_t[]){1, heads, r / heads, k, d}, 5, &row[4], &unused));
                PARA_TRY(add(m, PARA_RATE_ATTENTION, row));
            }
    return PARA_OK;
}

/* Ops that memory limits, with so many elements in and out. */
static para_status memory_rates(machine_bench *m) {
    const range elements = {1 << 10, m->gpu ? 1 << 28 : m->o.quick ? 1 << 18 : 1 << 24, m->o.quick ? 256 : 8};
    const int64_t width = 128, type = (int64_t)para_dtype_size(m->o.dtype);
    static const struct {
        para_bench_kind kind;
        para_rate rate;
    } ops[] = {{PARA_BENCH_COPY, PARA_RATE_COPY},
               {PARA_BENCH_NORM, PARA_RATE_NORM},
               {PARA_BENCH_HEAD, PARA_RATE_HEAD},
               {PARA_BENCH_ACTIVATION, PARA_RATE_ACTIVATION},
               {PARA_BENCH_MERGE, PARA_RATE_MERGE}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (int64_t n = 0; next(&elements, &n);) {
            const int64_t wide = n < 1 << 16 ? width
                                 : m->gpu    ? 3072
                                             : 1024,
                          dim = 64,
                          sizes[][3] = {[PARA_BENCH_COPY] = {n * type},
                                        [PARA_BENCH_NORM] = {(n - 1) / wide + 1, wide},
                                        [PARA_BENCH_HEAD] = {(n - 1) / (4 * dim) + 1, 4, dim},
                                        [PARA_BENCH_ACTIVATION] = {(n - 1) / wide + 1, wide},
                                        [PARA_BENCH_MERGE] = {4, (n - 1) / (4 * dim) + 1, dim}};
            static const int count[] = {[PARA_BENCH_COPY] = 1,
                                        [PARA_BENCH_NORM] = 2,
                                        [PARA_BENCH_HEAD] = 3,
                                        [PARA_BENCH_ACTIVATION] = 2,
                                        [PARA_BENCH_MERGE] = 3};
            double row[2];
            PARA_TRY(time_op(m, ops[i].kind, sizes[ops[i].kind], count[ops[i].kind], &row[1], &row[0]));
            PARA_TRY(add(m, ops[i].rate, row));
        }
    double bytes;
    return time_op(m, PARA_BENCH_COPY, (int64_t[]){256}, 1, &m->set.launch, &bytes);
}

/* What the activation of a product takes beside the product: the difference of both, which is small. */
static para_status epilogue_rates(machine_bench *m) {
    const int64_t depth = m->gpu ? 3072 : 128, width = m->gpu ? 12288 : 512,
                  type = (int64_t)para_dtype_size(m->o.dtype);
    const range rows = {m->gpu ? 128 : 16, m->gpu ? 16384 : m->o.quick ? 128 : 2048, m->o.quick ? 8 : 4};
    for (int64_t i = 0; next(&rows, &i);) {
        para_bench_op op = {.kind = PARA_BENCH_LINEAR, .size = {i, width, depth}};
        para_bench_rate plain, with;
        PARA_TRY(time_this(m, op, &plain));
        op.gelu = true;
        PARA_TRY(time_this(m, op, &with));
        double row[] = {2.0 * (double)(i * width * type), 1e-3 * (with.ms - plain.ms)};
        if (with.ms > 0 && row[1] < 1e-8) row[1] = 1e-8; /* within the noise */
        PARA_TRY(add(m, PARA_RATE_EPILOGUE, row));
    }
    return PARA_OK;
}

/* ---- Exchanges */

static bool all_apart(const machine_bench *m, para_rate link, int stride, int group) {
    for (int i = 0; i < group; i++)
        for (int k = 0; k < i; k++)
            if (para_group_link(m->world->group, i * stride, k * stride) != link) return false;
    return true;
}

static para_status exchange_rates(machine_bench *m, para_rate link, int stride, bool ring, int group) {
    const range bytes = {1 << 12, m->o.quick ? 1 << 18 : m->gpu ? 1 << 28 : 1 << 24, m->o.quick ? 64 : 8};
    for (int64_t n = 0; next(&bytes, &n);) {
        const int targets = ring ? 1 : group - 1;
        para_bench_exchange x = {.ring = ring,
                                 .group = group,
                                 .stride = stride,
                                 .bytes = n / targets / 4 * 4 * targets,
                                 .quick = m->o.quick};
        para_bench_exchanged out;
        PARA_TRY(para_bench_run_exchange(m->world, &x, &out));
        double row[3] = {targets, (double)x.bytes, 1e-3 * out.ms};
        PARA_TRY(add(m, link, row));
        m->set.overlap[link - PARA_RATE_PROCESS] = out.overlap; /* in the end, that of many bytes */
    }
    return PARA_OK;
}

/* A link between ranks that are no nearer to each other: groups of 2, 4, … of them, all to all, and all of them as a ring. */
static para_status link_rates(machine_bench *m, para_rate link) {
    const int ranks = para_world_size(m->world);
    int stride = 1, most = 1;
    while (stride < ranks && para_group_link(m->world->group, 0, stride) != link) stride++;
    while ((most + 1) * stride <= ranks && all_apart(m, link, stride, most + 1)) most++;
    for (int group = 2; group < most; group *= 2) PARA_TRY(exchange_rates(m, link, stride, false, group));
    if (most < 2) return PARA_OK;
    PARA_TRY(exchange_rates(m, link, stride, false, most));
    return most > 2 ? exchange_rates(m, link, stride, true, most) : PARA_OK;
}

static para_status measure(machine_bench *m) {
    PARA_TRY(linear_rates(m));
    PARA_TRY(attention_rates(m));
    PARA_TRY(memory_rates(m));
    PARA_TRY(epilogue_rates(m));
    for (para_rate link = PARA_RATE_PROCESS; link < PARA_RATES; link++) PARA_TRY(link_rates(m, link));
    return PARA_OK;
}

/* ---- The file */

/* Before minutes are spent: whether the file can be written, and what is there is one. */
static para_status check_target(const char *path) {
    para_machine_file file = {0};
    para_atomic_file target;
    PARA_TRY(access(path, F_OK) == 0 ? para_machine_read(&file, path) : PARA_OK);
    para_machine_close(&file);
    PARA_TRY(para_atomic_open(&target, path));
    para_atomic_abort(&target);
    return PARA_OK;
}

static para_status write_set(machine_bench *m, const char *path) {
    para_machine_file file = {0};
    para_status status = access(path, F_OK) == 0 ? para_machine_read(&file, path) : PARA_OK;
    if (status == PARA_OK) status = para_machine_take(&file, &m->set);
    if (status == PARA_OK) status = para_machine_write(&file, path);
    para_machine_close(&file);
    return status;
}

/* The user's own, in its folder. */
static para_status own_path(char **out) {
    char *folder;
    PARA_TRY(para_machine_default(out));
    if (!*out)
        return para_fail(PARA_ERR_IO, "neither XDG_CACHE_HOME nor HOME names a folder for the rates; name a file (-o)");
    PARA_TRY(para_cache_folder(&folder));
    if (folder) para_make_folder(folder);
    para_free(folder);
    return PARA_OK;
}

para_status para_bench_machine(para_world *world, const para_bench_machine_options *options, const char *file) {
    machine_bench m = {.world = world, .o = PARA_BENCH_MACHINE_OPTIONS_INIT};
    char *own = NULL;
    if (!world) return para_fail(PARA_ERR_ARGUMENT, "para_bench_machine: the world is NULL");
    if (options) m.o = *options;
    PARA_TRY(para_check_size(m.o.size, sizeof m.o, "para_bench_machine: options", "PARA_BENCH_MACHINE_OPTIONS_INIT"));
    PARA_TRY(para_world_works(world));
    if (!file) {
        para_status found = own_path(&own);
        if (found != PARA_OK) {
            para_free(own);
            return found;
        }
    }
    m.gpu = world->options.device == PARA_CUDA;
    m.set = (para_rate_set){.gpu = m.gpu,
                            .dtype = m.o.dtype,
                            .threads = world->worker[0].rank.threads,
                            .ranks = para_group_ranks_together(world->group)};
    snprintf(m.set.device, sizeof m.set.device, "%s", para_world_device_name(world));
    para_status status = para_world_process(world) == 0 ? check_target(file ? file : own) : PARA_OK;
    if (status == PARA_OK) status = measure(&m);
    if (status == PARA_OK && para_world_process(world) == 0) status = write_set(&m, file ? file : own);
    para_rate_set_free(&m.set);
    para_free(own);
    return status;
}
