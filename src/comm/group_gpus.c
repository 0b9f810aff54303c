/* GPUs of several processes: how they meet, and part when a run fails. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "comm/group_state.h"
#include "core/alloc.h"
#include "core/error.h"

/* What a process brings: whether all is well with it; process 0 the id that all share. */
typedef struct invitation {
    int32_t status;
    unsigned char id[PARA_NCCL_ID];
} invitation;

/* All return the first status that is not the others' doing. */
static para_status agree(para_group *g, para_status own, invitation *mine, unsigned char id[PARA_NCCL_ID]) {
    invitation *all = g->room;
    mine->status = own;
    para_status status = para_meet(g, PARA_MEET_GPUS, mine, sizeof *mine, all);
    for (int p = 0; p < g->processes && status == PARA_OK && own == PARA_OK; p++)
        if (all[p].status != PARA_OK)
            status = para_fail((para_status)all[p].status, "process %d cannot let its GPUs meet those of the others: %s", p,
                               para_status_text((para_status)all[p].status));
    if (status == PARA_OK) memcpy(id, all[0].id, PARA_NCCL_ID);
    return own == PARA_OK ? status : own;
}

static para_status join(para_group *g, para_status status) {
    invitation mine = {0};
    unsigned char id[PARA_NCCL_ID];
    para_nccl *nccl = NULL;
    if (status == PARA_OK && g->process == 0) status = para_nccl_new_id(g->gpus_by, mine.id);
    PARA_TRY(agree(g, status, &mine, id));
    status = para_nccl_open(&nccl, g->gpus_by, id, g->size, g->first, g->local, g->gpu, g->timeout);
    status = agree(g, status, &mine, id);
    if (status != PARA_OK) {
        para_nccl_close(&nccl);
        return status;
    }
    pthread_mutex_lock(&g->nccl_lock);
    g->nccl = nccl;
    g->nccl_broken = false;
    pthread_mutex_unlock(&g->nccl_lock);
    return PARA_OK;
}

para_status para_group_join_gpus(para_group *g, const int *gpu) {
    if (g->processes == 1) return PARA_OK;
    para_status status = para_nccl_load(&g->gpus_by);
    g->gpu = para_alloc((size_t)g->local, sizeof *g->gpu);
    if (g->gpu) memcpy(g->gpu, gpu, (size_t)g->local * sizeof *gpu);
    else if (status == PARA_OK) status = PARA_ERR_MEMORY;
    return join(g, status);
}

para_status para_group_rejoin(para_group *g) {
    pthread_mutex_lock(&g->nccl_lock);
    bool broken = g->nccl_broken;
    if (broken) para_nccl_close(&g->nccl);
    pthread_mutex_unlock(&g->nccl_lock);
    return broken ? join(g, PARA_OK) : PARA_OK;
}

void para_group_release_gpus(para_group *g, int64_t run) {
    pthread_mutex_lock(&g->nccl_lock);
    pthread_mutex_lock(&g->lock);
    bool meant = run == 0 || (g->running && g->run == run); /* else they have joined anew in the meantime, or will */
    pthread_mutex_unlock(&g->lock);
    if (meant && g->nccl && !g->nccl_broken) {
        g->nccl_broken = true;
        para_nccl_give_up(g->nccl);
    }
    pthread_mutex_unlock(&g->nccl_lock);
}
