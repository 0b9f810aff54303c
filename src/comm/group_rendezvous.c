/* Ranks that come together on the host: the group's part of comm/rendezvous.h. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "comm/group_parcels.h"
#include "core/error.h"

/* A rank that waits for the others. */
struct para_visit {
    const para_gathering *gathering;
    para_status brought;
    char *notes; /* [size][bytes], of all */
    bool over, well;
};

static para_member *one_of(const para_member *m, const para_gathering *a, int i) {
    return &m->group->member[a->first + i * a->stride - m->group->first];
}

static bool is_at(const para_member *m, const para_gathering *a) {
    const para_gathering *at = m->visit ? m->visit->gathering : NULL;
    return at && at->first == a->first && at->stride == a->stride && at->size == a->size && at->bytes == a->bytes;
}

/* With the lock held: whether all have come; and whether those that have not never will. */
static bool all_are_there(const para_member *m, const para_gathering *a, bool *others_are_back) {
    bool all = true;
    *others_are_back = true;
    for (int i = 0; i < a->size; i++) {
        const para_member *one = one_of(m, a, i);
        if (is_at(one, a)) continue;
        all = false;
        if (one->state != PARA_MEMBER_BACK && !one->comes_no_more) *others_are_back = false;
    }
    return all;
}

/* With the lock held, all being there: each gets what they brought, and goes on. */
static void conclude(const para_member *m, const para_gathering *a) {
    bool well = true;
    for (int i = 0; i < a->size; i++) well &= one_of(m, a, i)->visit->brought == PARA_OK;
    for (int i = 0; i < a->size; i++) {
        para_visit *its = one_of(m, a, i)->visit;
        for (int k = 0; a->bytes && k < a->size; k++) memcpy(its->notes + (size_t)k * a->bytes, one_of(m, a, k)->visit->gathering->note, a->bytes);
    }
    for (int i = 0; i < a->size; i++) {
        para_member *one = one_of(m, a, i);
        one->visit->well = well;
        one->visit->over = true;
        one->visit = NULL;
        pthread_cond_signal(&one->wake);
    }
    m->group->progress++;
}

/* With the lock held. Until it is over, or the run has failed and nobody else will come, or not in time. */
static void wait_for_all(para_member *m, const para_visit *v) {
    para_group *g = m->group;
    while (!v->over) {
        bool back;
        if (!atomic_load(&g->failed)) {
            pthread_cond_wait(&m->wake, &g->lock);
            continue;
        }
        int64_t until = para_group_patience(g);
        all_are_there(m, v->gathering, &back);
        if (back || para_now() >= until) return;
        para_wait_until(g, &m->wake, until);
    }
}

/* With the lock held: comes, waits for the others. Whether all came, and all is well. */
static bool come(para_member *m, const para_gathering *a, para_status own, char *notes) {
    bool back;
    if (m->comes_no_more) return false;
    para_visit v = {.gathering = a, .brought = own, .notes = notes};
    m->visit = &v;
    m->state = PARA_MEMBER_WAITS;
    if (all_are_there(m, a, &back)) conclude(m, a);
    wait_for_all(m, &v);
    if (!v.over) { /* whoever comes now is told the same */
        m->visit = NULL;
        m->comes_no_more = true;
        for (int i = 0; i < m->group->local; i++) pthread_cond_signal(&m->group->member[i].wake);
    }
    atomic_store_explicit(&m->sign, para_now(), memory_order_relaxed);
    m->state = PARA_MEMBER_COMPUTES;
    return v.over && v.well;
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
