/* Opening and closing a world. SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/alloc.h"
#include "core/error.h"
#include "parallel/world_state.h"

enum { MAX_THREADS = 4096 };

/* Processors that this process may use. */
static int usable_threads(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

para_status para_world_open(para_world **out, const para_world_options *options) {
    if (!out) return para_fail(PARA_ERR_ARGUMENT, "para_world_open: out is NULL");
    *out = NULL;
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    if (options) {
        if (options->size != sizeof o)
            return para_fail(PARA_ERR_ARGUMENT,
                             "para_world_open: options.size is %zu, not %zu; start from PARA_WORLD_OPTIONS_INIT and "
                             "build against the installed header",
                             options->size, sizeof o);
        o = *options;
    }
    if (o.device != PARA_CPU)
        return para_fail(PARA_ERR_DEVICE, "device %d is not built in; use PARA_CPU", (int)o.device);
    if (o.threads < 0 || o.threads > MAX_THREADS)
        return para_fail(PARA_ERR_ARGUMENT, "threads (--threads) is %d; give 0 (all) to %d", o.threads,
                         (int)MAX_THREADS);
    para_world *world = para_alloc(1, sizeof *world);
    if (!world) return PARA_ERR_MEMORY;
    world->options = o;
    atomic_flag_clear(&world->busy);
    para_device *device;
    para_status status = para_cpu_open(&device, o.threads ? o.threads : usable_threads());
    if (status == PARA_OK) {
        status = para_rank_open(&world->rank, device, NULL);
        if (status != PARA_OK) para_device_close(&device);
    }
    if (status != PARA_OK) {
        para_free(world);
        return status;
    }
    *out = world;
    return PARA_OK;
}

void para_world_close(para_world **world) {
    if (!world || !*world) return;
    para_rank_close(&(*world)->rank);
    para_free(*world);
    *world = NULL;
}

void para_world_log(const para_world *world, para_log_level level, const char *format, ...) {
    if (!world->options.log) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    world->options.log(world->options.log_user, level, line);
}

int para_world_size(const para_world *world) {
    return world->rank.size;
}
