/* Calls that processes make together. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/call.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "pipeline/request_message.h"

/* A status with its sentence, which belongs to the thread that failed. */
typedef struct outcome {
    para_status status;
    char sentence[1024];
} outcome;

static outcome outcome_of(para_status status) {
    outcome o = {.status = status};
    if (status != PARA_OK) snprintf(o.sentence, sizeof o.sentence, "%s", para_last_error());
    return o;
}

static para_status come_out(const outcome *o) {
    return o->status == PARA_OK ? PARA_OK : para_fail(o->status, "%s", o->sentence);
}

/* What process 0 says. */
typedef struct announcement {
    para_call_kind kind;
    bool traced;
    outcome so_far;
} announcement;

/* What every process declared for itself. */
typedef struct declarations {
    int64_t dtype, random_weights, offload_slots, parallel, batch, ring, ulysses, head_groups, exchange, parallel_vae;
    uint64_t cache;
} declarations;

static para_status same_pipeline(para_pipeline *pipe) {
    declarations d = {pipe->options.dtype, pipe->options.random_weights, pipe->offload_slots, pipe->parallel,    pipe->wish.batch,   pipe->wish.ring,
                      pipe->wish.ulysses,  pipe->head_groups, pipe->exchange, pipe->parallel_vae, para_cache_digest(&pipe->cache)};
    PARA_TRY(para_world_same(pipe->world, &pipe->digest, sizeof pipe->digest, "model"));
    return para_world_same(pipe->world, &d, sizeof d, "dtype, mesh, cache or parallel VAE");
}

/* Process 0 has packed its request, the others get that and compare their own, where they have one. */
static para_status share_request(para_pipeline *pipe, para_call *call, size_t size) {
    bool leads = para_world_process(pipe->world) == 0;
    PARA_TRY(para_world_broadcast(pipe->world, &call->bytes, &size));
    void *own = NULL;
    size_t own_size = 0;
    bool compare = !leads && call->request;
    para_request taken;
    if (compare && para_request_take(pipe, call->request, &taken) == PARA_OK)
        para_request_pack(&taken, &own, &own_size); /* what cannot be packed is not the same */
    para_status status =
        para_world_same(pipe->world, compare ? own : call->bytes, compare ? own_size : size, "request");
    para_free(own);
    if (status == PARA_OK && !leads) call->request = para_request_unpack(call->bytes);
    return status;
}

para_status para_call_begin(para_pipeline *pipe, para_call *call, para_status status) {
    if (para_world_processes(pipe->world) == 1) return status;
    announcement said;
    void *message = NULL;
    size_t bytes = sizeof said, size = 0;
    if (para_world_process(pipe->world) == 0) {
        if (status == PARA_OK && call->kind == PARA_CALL_GENERATE)
            status = para_request_pack(call->request, &call->bytes, &size);
        memset(&said, 0, sizeof said);
        said = (announcement){call->kind, call->traced, outcome_of(status)};
        message = &said;
        PARA_TRY(para_world_broadcast(pipe->world, &message, &bytes));
    } else {
        PARA_TRY(para_world_broadcast(pipe->world, &message, &bytes));
        memcpy(&said, message, sizeof said);
        para_free(message);
        call->kind = said.kind;
        call->traced = said.traced;
    }
    call->heard = true;
    PARA_TRY(come_out(&said.so_far));
    if (call->kind == PARA_CALL_CLOSE) return PARA_OK;
    PARA_TRY(same_pipeline(pipe));
    return call->kind == PARA_CALL_GENERATE ? share_request(pipe, call, size) : PARA_OK;
}

void para_call_end(para_call *call) {
    para_free(call->bytes);
    *call = (para_call){0};
}

static para_status fail_together(para_rank *rank, void *user) {
    (void)rank;
    return come_out(user);
}

para_status para_call_agree(para_pipeline *pipe, para_status status) {
    if (para_world_processes(pipe->world) == 1) return status;
    outcome own = outcome_of(status);
    PARA_TRY(para_world_take(pipe->world, NULL));
    status = para_world_run_internal(pipe->world, fail_together, &own);
    para_world_release(pipe->world);
    return status;
}
