/* What makes the program `para_failing` out of para: a rank that fails, stalls, is late, is killed, stopped or interrupted, at a point that the environment names.
 * SPDX-License-Identifier: Apache-2.0
 *
 * PARA_FAILURE=ACTION:rank:R:N    at the N-th check of rank R of the world
 * PARA_FAILURE=ACTION:process:P:T T milliseconds after the start of process P; only the signals
 * ACTION: none, fail, stall (the thread sleeps for ever), delay (the thread sleeps 300 ms), and signals to the process: kill, crash (SIGSEGV), stop,
 * interrupt (as Ctrl-C).
 * PARA_GATHER=1: the first process takes over the ranks of all, as the program would have it with GPUs.
 * PARA_FAILURE_LOG names a file: "TIME ACTION" is added to it when it happens, "checks N" at the end of a run without failure.
 *
 * A process is not stopped while MPI starts, where mpirun 4.1 itself may hang although all processes end, nor once its world closes: its work is done, and
 * what started it would wait for it for ever.
 *
 * The program is linked with --wrap for para_group_check, para_mpi_open, para_world_open and para_world_close, so that the library itself knows nothing of this. */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <paraattn/world.h>

#include "comm/group.h"
#include "comm/mpi_link.h"
#include "core/error.h"

static struct {
    char action[16];
    int rank, process; /* -1: not that one */
    long when;
    atomic_long checks; /* of that rank */
} failure = {.rank = -1, .process = -1};

/* One write each, so that several processes may add to it. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
    char line[128];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    FILE *f = fopen(getenv("PARA_FAILURE_LOG"), "a");
    if (!f) return;
    fputs(line, f);
    fclose(f);
}

static bool is(const char *action) {
    return strcmp(failure.action, action) == 0;
}

static void nap(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
}

static para_status happen(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    say("%ld.%03ld %s\n", (long)now.tv_sec, now.tv_nsec / 1000000, failure.action);
    if (is("kill")) kill(getpid(), SIGKILL);
    if (is("crash")) kill(getpid(), SIGSEGV);
    if (is("stop")) kill(getpid(), SIGSTOP);
    if (is("interrupt")) kill(getpid(), SIGINT);
    while (is("stall")) nap(60);
    if (is("delay")) nap(0.3);
    return is("fail") ? para_fail(PARA_ERR_DEVICE, "this failure was asked for") : PARA_OK;
}

static atomic_bool mpi_starts, world_ends;

static void *alarm_clock(void *unused) {
    (void)unused;
    nap(1e-3 * (double)failure.when);
    while (is("stop") && atomic_load(&mpi_starts)) nap(1e-3);
    if (!is("stop") || !atomic_load(&world_ends)) happen();
    return NULL;
}

static void report(void) {
    if (is("none")) say("checks %ld\n", atomic_load(&failure.checks));
}

__attribute__((constructor)) static void set_up(void) {
    char kind[16];
    int which;
    const char *text = getenv("PARA_FAILURE"), *own = getenv("OMPI_COMM_WORLD_RANK") ? getenv("OMPI_COMM_WORLD_RANK") : getenv("RANK");
    if (!text || sscanf(text, "%15[a-z]:%15[a-z]:%d:%ld", failure.action, kind, &which, &failure.when) != 4) return;
    if (strcmp(kind, "rank") == 0) {
        failure.rank = which;
        atexit(report);
        return;
    }
    pthread_t thread;
    if (which == (own ? atoi(own) : 0) && pthread_create(&thread, NULL, alarm_clock, NULL) == 0) pthread_detach(thread);
}

para_status __real_para_mpi_open(para_mpi **out, double timeout);
para_status __wrap_para_mpi_open(para_mpi **out, double timeout);
para_status __real_para_world_open(para_world **out, const para_world_options *options);
para_status __wrap_para_world_open(para_world **out, const para_world_options *options);
void __real_para_world_close(para_world **world);
void __wrap_para_world_close(para_world **world);
para_status __real_para_group_check(para_group *g, int local);
para_status __wrap_para_group_check(para_group *g, int local);

para_status __wrap_para_mpi_open(para_mpi **out, double timeout) {
    atomic_store(&mpi_starts, true);
    para_status status = __real_para_mpi_open(out, timeout);
    atomic_store(&mpi_starts, false);
    return status;
}

para_status __wrap_para_world_open(para_world **out, const para_world_options *options) {
    para_world_options o = *options;
    o.gather |= getenv("PARA_GATHER") != NULL;
    return __real_para_world_open(out, &o);
}

void __wrap_para_world_close(para_world **world) {
    atomic_store(&world_ends, true);
    __real_para_world_close(world);
}

para_status __wrap_para_group_check(para_group *g, int local) {
    /* The main thread may stand for any rank, where it plans: that is not the rank itself. */
    bool itself = local == 0 || gettid() != getpid();
    if (itself && para_group_first(g) + local == failure.rank &&
        atomic_fetch_add(&failure.checks, 1) + 1 == failure.when)
        PARA_TRY(happen());
    return __real_para_group_check(g, local);
}
