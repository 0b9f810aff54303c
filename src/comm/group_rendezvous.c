/* Ranks that come together on the host: the group's part of comm/rendezvous.h. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "comm/group_parcels.h"
#include "core/error.h"

static para_member *one_of(const para_member *m, const para_gathering *a, int i) {
    return &m->group->member[a->first + i * a->stride - m->group->first];
}

/* With the lock held: how many have come to the number-th, and whether those that have not are back. */
static int count_those(const para_member *m, const para_gathering *a, int64_t number, bool *others_are_back) {
    int come = 0;
    *others_are_back = true;
    for (int i = 0; i < a->size; i++) {
        const para_member *one = one_of(m, a, i);
        if (one->met >= number) come++;
        else if (one->state != PARA_MEMBER_BACK && one->met >= 0) *others_are_back = false;
    }
    return come;
}

/* With the lock held. Until all are there; false: the run has failed, and nobody else will come, or not in time. */
static bool wait_for_all(para_member *m, const para_gathering *a, int64_t number) {
    para_group *g = m->group;
    for (;;) {
        bool back;
        if (count_those(m, a, number, &back) == a->size) return true;
        if (!atomic_load(&g->failed)) {
            pthread_cond_wait(&m->wake, &g->lock);
            continue;
        }
        int64_t until = para_group_patience(g);
        if (back || para_now() >= until) {
            m->met = -1; /* whoever comes now is told the same */
            return false;
        }
        para_wait_until(g, &m->wake, until);
    }
}

/* With the lock held: tells the others of the process that a rank has come, or comes no more. */
static void wake_others(const para_member *m) {
    for (int i = 0; i < m->group->local; i++)
        if (i != m->local) pthread_cond_signal(&m->group->member[i].wake);
}

/* With the lock held: what they brought. Whether all is well. */
static bool take_notes(const para_member *m, const para_gathering *a, int64_t number, char *notes) {
    bool well = true;
    for (int i = 0; i < a->size; i++) {
        const para_brought *its = &one_of(m, a, i)->brought[number & 1];
        well &= its->status == PARA_OK;
        if (a->bytes) memcpy(notes + (size_t)i * a->bytes, its->note, a->bytes);
    }
    return well;
}

/* With the lock held: comes, waits for the others. */
static bool come(para_member *m, const para_gathering *a, para_status own, char *notes) {
    para_group *g = m->group;
    if (m->met < 0) return false;
    int64_t number = ++m->met;
    para_brought *mine = &m->brought[number & 1];
    mine->status = own;
    if (a->bytes) memcpy(mine->note, a->note, a->bytes);
    m->state = PARA_MEMBER_WAITS;
    wake_others(m);
    bool there = wait_for_all(m, a, number);
    if (there) g->progress++;
    else wake_others(m);
    atomic_store_explicit(&m->sign, para_now(), memory_order_relaxed);
    m->state = PARA_MEMBER_COMPUTES;
    return there && take_notes(m, a, number, notes);
}

para_status para_group_rendezvous(para_endpoint *e, const para_gathering *a, para_status own, void *notes) {
    para_member *m = para_member_of(e);
    para_group *g = m->group;
    if (own == PARA_OK) own = para_group_check(g, m->local);
    if (own != PARA_OK) {
        pthread_mutex_lock(&g->lock);
        para_group_fail(g, own, e->index, "%s", *para_last_error() ? para_last_error() : para_status_text(own));
        pthread_mutex_unlock(&g->lock);
        para_landing_let_go(m); /* those who wait for it cannot come here */
    }
    pthread_mutex_lock(&g->lock);
    bool well = come(m, a, own, notes);
    pthread_mutex_unlock(&g->lock);
    if (well) return PARA_OK;
    return own == PARA_OK ? para_group_failure(g) : own;
}
