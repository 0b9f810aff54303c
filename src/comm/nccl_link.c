/* The library's side of the NCCL module. SPDX-License-Identifier: Apache-2.0 */
#include "comm/nccl_link.h"

#include <paraattn/world.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/module.h"

#define NCCL_NEEDS "NCCL (libnccl-dev to build, libnccl2 to run)"

/* A rank's communicator and its lock; NULL once it was given up. */
typedef struct rank_link {
    pthread_mutex_t lock;
    para_nccl_comm *comm;
} rank_link;

struct para_nccl {
    const para_nccl_module *module;
    double timeout;
    int local;
    rank_link link[]; /* [local] */
};

static para_status lost(void) {
    return para_fail(PARA_ERR_LOST, "the exchange between GPUs was given up");
}

static para_status checked(const para_nccl_module *module, int result, const char *doing) {
    if (result == 0) return PARA_OK;
    if (result == PARA_NCCL_NO_MEMORY) return PARA_ERR_MEMORY; /* the allocation said so */
    char text[PARA_NCCL_TEXT_MAX];
    module->error_text(result, text);
    return para_fail(PARA_ERR_LIBRARY, "NCCL failed to %s: %s; NCCL_DEBUG=WARN says more", doing, text);
}

para_status para_nccl_load(const para_nccl_module **out) {
    void *function = NULL;
    PARA_TRY(para_module_load("paraattn-nccl.so", PARA_NCCL_TABLE_NAME, NCCL_NEEDS, &function));
    para_nccl_table_function table;
    memcpy(&table, &function, sizeof table);
    *out = table();
    if ((*out)->abi != PARA_NCCL_ABI || (*out)->size != sizeof **out)
        return para_fail(PARA_ERR_LIBRARY, "the module paraattn-nccl.so is of another version of this library; install both from one build");
    return PARA_OK;
}

const char *para_nccl_info(void) {
    static _Thread_local char text[PARA_NCCL_TEXT_MAX];
    const para_nccl_module *module;
    if (para_nccl_load(&module) != PARA_OK) return NULL;
    module->version(text);
    return text;
}

para_status para_nccl_new_id(const para_nccl_module *module, unsigned char id[PARA_NCCL_ID]) {
    return checked(module, module->new_id(id), "begin");
}

enum { LOOKS = 2000 }; /* without a nap between them, which would take longer than starting an exchange does */

/* Until it is ready, `until` on the clock, or `check` (or NULL) fails. */
static para_status wait_for(para_nccl *n, rank_link *l, double until, const char *doing, para_status (*check)(void *user), void *user) {
    bool done = false;
    for (int look = 0; !done; look++) {
        pthread_mutex_lock(&l->lock);
        int result = l->comm ? n->module->ready(l->comm, &done) : 0;
        para_status status = l->comm ? checked(n->module, result, doing) : lost();
        pthread_mutex_unlock(&l->lock);
        PARA_TRY(status);
        if (!done && check) PARA_TRY(check(user));
        if (!done && para_seconds() > until)
            return para_fail(PARA_ERR_LOST, "GPUs of other processes did not answer within %g seconds (timeout, --timeout)", n->timeout);
        if (!done && look < LOOKS) sched_yield();
        else if (!done) nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    return PARA_OK;
}

para_status para_nccl_open(para_nccl **out, const para_nccl_module *module, const unsigned char id[PARA_NCCL_ID], int all, int first, int local,
                           const int *gpu, double timeout) {
    static const para_nccl_host host = {para_alloc, para_free};
    *out = NULL;
    para_nccl *n = para_alloc(1, sizeof *n + (size_t)local * sizeof *n->link);
    para_nccl_comm **comm = para_alloc((size_t)local, sizeof(para_nccl_comm *));
    para_status status = n && comm ? PARA_OK : PARA_ERR_MEMORY;
    if (status == PARA_OK) status = checked(module, module->open(&host, id, all, first, local, gpu, comm), "join the GPUs");
    if (status != PARA_OK) {
        para_free(n);
        para_free(comm);
        return status;
    }
    n->module = module;
    n->timeout = timeout;
    n->local = local;
    for (int i = 0; i < local; i++) {
        pthread_mutex_init(&n->link[i].lock, NULL);
        n->link[i].comm = comm[i];
    }
    para_free(comm);
    double until = para_seconds() + timeout;
    for (int i = 0; i < local && status == PARA_OK; i++) status = wait_for(n, &n->link[i], until, "join the GPUs", NULL, NULL);
    if (status == PARA_OK) *out = n;
    else para_nccl_close(&n);
    return status;
}

void para_nccl_give_up(para_nccl *n) {
    for (int i = 0; i < n->local; i++) {
        rank_link *l = &n->link[i];
        pthread_mutex_lock(&l->lock);
        if (l->comm) n->module->end(l->comm);
        l->comm = NULL;
        pthread_mutex_unlock(&l->lock);
    }
}

void para_nccl_close(para_nccl **nccl) {
    if (!*nccl) return;
    para_nccl *n = *nccl;
    *nccl = NULL;
    para_nccl_give_up(n);
    for (int i = 0; i < n->local; i++) pthread_mutex_destroy(&n->link[i].lock);
    para_free(n);
}

para_status para_nccl_exchange(para_nccl *n, int local, void *stream, int sends, const para_nccl_piece *send, int receives,
                               const para_nccl_piece *receive, para_status (*check)(void *user), void *user) {
    rank_link *l = &n->link[local];
    pthread_mutex_lock(&l->lock);
    int result = l->comm ? n->module->exchange(l->comm, stream, sends, send, receives, receive) : 0;
    para_status status = l->comm ? checked(n->module, result, "exchange data between GPUs") : lost();
    pthread_mutex_unlock(&l->lock);
    PARA_TRY(status);
    return wait_for(n, l, para_seconds() + n->timeout, "exchange data between GPUs", check, user);
}
