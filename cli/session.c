/* A world with a pipeline, as a command's options say. SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "complain.h"

static para_pipeline *volatile running; /* for the signal handler */
static volatile sig_atomic_t interrupted, held;

static void on_signal(int number) {
    if (held) return;
    if (interrupted) _Exit(128 + number); /* a second Ctrl-C does not wait for the step */
    interrupted = 1;
    para_cancel(running);
}

/* A signal that whoever started us made to be ignored, as nohup does, stays so. */
static void catch_signal(int number) {
    struct sigaction old, action = {.sa_handler = on_signal};
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN) sigaction(number, &action, NULL);
}

void session_catch_signals(void) {
    catch_signal(SIGINT);
    catch_signal(SIGTERM);
}

void session_hold_signals(bool hold) {
    held = hold;
}

/* Whether the options ask for more than one rank alone. */
static bool wants_ranks(const session *s, const request_options *o) {
    return o->batch || o->ring || o->ulysses || para_world_size(s->world) > 1;
}

static para_status parallelize(const session *s, const request_options *o) {
    para_parallel_options p = PARA_PARALLEL_OPTIONS_INIT;
    p.batch = o->batch;
    p.ring = o->ring;
    p.ulysses = o->ulysses;
    p.head_groups = o->head_groups;
    p.exchange = (para_exchange_way)o->exchange;
    para_status status = wants_ranks(s, o) ? para_parallelize(s->pipe, &p) : PARA_OK;
    if (status == PARA_OK && (wants_ranks(s, o) || o->machine)) status = para_use_machine(s->pipe, o->machine);
    if (status == PARA_OK && o->parallel_vae) status = para_parallelize_vae(s->pipe, NULL);
    return status;
}

static void on_log(void *user, para_log_level level, const char *message) {
    const session *s = user;
    progress_break(s->view);
    if (!s->view->quiet)
        fprintf(stderr, "para %s: %s%s\n", s->name, level == PARA_LOG_WARNING ? "warning: " : "", message);
}

static para_status compile(const session *s, const request_options *o) {
    para_compile_options c = PARA_COMPILE_OPTIONS_INIT;
    c.off = o->compile == COMPILE_OFF;
    c.no_tuning = o->compile == COMPILE_UNTUNED;
    c.no_recording = o->compile == COMPILE_UNRECORDED;
    return o->compile == COMPILE_AUTO ? PARA_OK : para_compile(s->pipe, &c);
}

para_status session_open_world(session *s, const char *name, const request_options *o, progress_view *view) {
    *s = (session){.name = name, .first = process_number() == 0, .view = view};
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.device = o->device.gpu ? PARA_CUDA : PARA_CPU;
    w.device_index = o->device.index[0];
    if (o->device.count > 1 || (o->device.count == 1 && o->ranks == 1)) w.device_indices = o->device.index, w.num_device_indices = o->device.count;
    w.ranks = o->ranks;
    w.threads = o->threads;
    w.mpi = para_started_by_mpi() || para_started_by_launcher();
    w.timeout = o->timeout;
    w.num_hosts = o->hosts;
    w.host_ranks = o->host_ranks[0] ? o->host_ranks : NULL;
    w.memory_limit = o->memory_limit;
    w.log = s->first && view ? on_log : NULL;
    w.log_user = s;
    w.gather = o->device.gpu;
    para_status status = para_world_open(&s->world, &w);
    if (status == PARA_OK && para_world_handed_over(s->world)) status = PARA_ERR_STATE; /* session_close waits for process 0 */
    return status;
}

para_status session_open(session *s, const char *name, request_options *o, const char *model,
                         progress_view *view) {
    para_pipeline_options p = PARA_PIPELINE_OPTIONS_INIT;
    p.dtype = o->dtype == 1 ? PARA_BF16 : PARA_F32;
    p.attention = (para_attention_kernel)o->attention;
    p.random_weights = o->random_weights;
    para_status status = session_open_world(s, name, o, view);
    if (status == PARA_OK) status = para_pipeline_open(&s->pipe, s->world, model, &p);
    if (status == PARA_OK) status = para_pipeline_fill_in(s->pipe, &o->request, &o->request);
    if (view) view->videos = para_pipeline_makes_videos(s->pipe);
    if (status == PARA_OK) status = parallelize(s, o);
    if (status == PARA_OK) status = compile(s, o);
    if (status == PARA_OK && o->offload) status = para_offload(s->pipe, NULL);
    if (status == PARA_OK) status = cache_arguments_apply(&o->cache, s->pipe);
    running = s->pipe;
    if (interrupted) para_cancel(s->pipe);
    return status;
}

static void close_all(session *s) {
    running = NULL;
    para_pipeline_close(&s->pipe);
    para_world_close(&s->world);
}

/* Closing waits for the other processes, where they are all there: process 0 has spoken by then, the others have closed before they speak. */
int session_close(session *s, para_status status) {
    if (s->world && para_world_handed_over(s->world)) status = para_world_await(s->world);
    if (!s->first) close_all(s);
    if (status != PARA_OK) complain(s->name, "%s", *para_last_error() ? para_last_error() : para_status_text(status));
    if (s->first) close_all(s);
    return session_exit_status(status);
}

int session_exit_status(para_status status) {
    if (status == PARA_OK) return EXIT_DONE;
    return status == PARA_ERR_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}
