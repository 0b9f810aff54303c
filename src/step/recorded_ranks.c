/* Recording and playing a part of a step on several ranks at once. SPDX-License-Identifier: Apache-2.0 */
#include "step/recorded_ranks.h"

#include <pthread.h>

#include "backend/turns.h"
#include "comm/rendezvous.h"
#include "core/alloc.h"
#include "core/error.h"

enum { MOST_RANKS = 256 };

/* What is one for all that recorded together; the last to let go frees it. */
struct para_joint {
    atomic_int holders;
    pthread_mutex_t lock; /* of who tells a device something while they record */
};

/* Way of a part. The least of all ranks' is that of all. */
typedef enum way { OP_BY_OP, RECORD, PLAY } way;

/* What a rank brings when they come together. */
typedef struct note {
    way wish;
    int first, last; /* blocks */
    bool skips;
    para_joint *joint;     /* what it has; of the first rank: what is new; NULL: nothing */
    const para_mark *mark; /* where its device stands; or NULL */
} note;

/* One call. */
typedef struct call {
    para_comm comm;
    para_device *dev;
    para_recorded_part *part;
    note *all; /* [ranks]: what they brought last */
    para_status (*ops)(void *args);
    void *args;
} call;

static bool is_first(const call *c) {
    return c->comm.index == 0;
}

static para_status come_together(const call *c, para_status own, note mine) {
    return para_comm_rendezvous(c->comm, own, &mine, sizeof mine, c->all);
}

/* ---- what ranks hold in common */

static para_joint *joint_new(int ranks) {
    para_joint *j = para_alloc(1, sizeof *j);
    if (!j) return NULL;
    atomic_init(&j->holders, ranks);
    pthread_mutex_init(&j->lock, NULL);
    return j;
}

static void joint_free(para_joint *j) {
    pthread_mutex_destroy(&j->lock);
    para_free(j);
}

void para_joint_let_go(para_joint **joint) {
    para_joint *j = *joint;
    *joint = NULL;
    if (j && atomic_fetch_sub(&j->holders, 1) == 1) joint_free(j);
}

/* ---- which way */

static way own_way(const call *c, bool keeps) {
    const para_recorded_part *part = c->part;
    if (!keeps || !para_recorded_can(c->dev) || !c->dev->ops->mark || part->refused || part->runs == 0) return OP_BY_OP;
    return part->joint ? PLAY : RECORD;
}

static way common_way(const call *c) {
    const note *first = &c->all[0];
    way least = PLAY;
    for (int i = 0; i < c->comm.size; i++) {
        const note *its = &c->all[i];
        if (its->first != first->first || its->last != first->last || its->skips != first->skips) return OP_BY_OP;
        if (its->wish < least) least = its->wish;
    }
    for (int i = 0; i < c->comm.size && least == PLAY; i++)
        if (c->all[i].joint != first->joint) least = RECORD;
    return least;
}

/* *mark: where the device stands, if the way is PLAY; the caller's, also on failure. */
static para_status agree(const call *c, bool keeps, way *out, para_mark **mark) {
    const para_part_key *key = &c->part->key;
    way own = own_way(c, keeps);
    para_status status = own == PLAY ? c->dev->ops->mark(c->dev, mark) : PARA_OK;
    note mine = {.wish = own,
                 .first = key->first,
                 .last = key->last,
                 .skips = key->skip != NULL,
                 .joint = c->part->joint,
                 .mark = *mark};
    PARA_TRY(come_together(c, status, mine));
    *out = common_way(c);
    return PARA_OK;
}

/* The first rank's device goes on after the marks that the others brought. */
static para_status after_all(const call *c) {
    for (int i = 1; i < c->comm.size; i++) PARA_TRY(c->dev->ops->after(c->dev, c->all[i].mark));
    return PARA_OK;
}

/* ---- recording */

/* The first rank's: from here on its device records. On failure, or without memory (*joint NULL), it does not. */
static para_status begin(const call *c, para_joint **joint, para_mark **mark) {
    if (!is_first(c)) return PARA_OK;
    *joint = joint_new(c->comm.size);
    para_status status = *joint ? c->dev->ops->record(c->dev, true) : PARA_ERR_MEMORY;
    if (status == PARA_OK) {
        status = c->dev->ops->mark(c->dev, mark);
        if (status != PARA_OK) c->dev->ops->record_end(c->dev, NULL);
    }
    if (status != PARA_OK && *joint) {
        joint_free(*joint);
        *joint = NULL;
    }
    return para_recorded_refused(c->part, c->dev, status) ? PARA_OK : status;
}

/* Every rank's ops. *mark: behind them. */
static para_status issue(const call *c, const para_mark *begun, para_mark **mark) {
    para_device *dev = c->dev;
    para_endpoint *e = c->comm.rank->endpoint;
    para_traffic before = para_endpoint_traffic(e);
    para_status status = is_first(c) ? PARA_OK : dev->ops->after(dev, begun);
    if (status == PARA_OK) status = c->ops(c->args);
    if (status == PARA_OK && !is_first(c)) status = dev->ops->mark(dev, mark);
    /* Nothing has been sent yet. */
    para_traffic now = para_endpoint_traffic(e);
    c->part->sent =
        (para_traffic){now.bytes_sent - before.bytes_sent, now.bytes_between_hosts - before.bytes_between_hosts,
                       now.messages - before.messages};
    para_endpoint_count_again(e, &c->part->sent, -1);
    return status;
}

/* The first rank's, when nobody issues any more. */
static para_status end(const call *c, para_status status) {
    if (!is_first(c)) return status;
    if (status == PARA_OK) status = after_all(c);
    if (status != PARA_OK) {
        c->dev->ops->record_end(c->dev, NULL);
        return status;
    }
    status = c->dev->ops->record_end(c->dev, &c->part->recording);
    return para_recorded_refused(c->part, c->dev, status) ? PARA_OK : status;
}

/* The others learn whether the first rank has a recording. Without memory there is none, which fails nobody. */
static para_status tell(const call *c, para_status status, para_joint *joint, const para_mark *mark) {
    PARA_TRY(come_together(c, status, (note){.joint = c->part->refused ? NULL : joint, .mark = mark}));
    c->part->refused = !c->all[0].joint;
    return PARA_OK;
}

static para_status record_from(const call *c, para_joint *joint, const para_mark *begun) {
    para_mark *ended = NULL;
    para_turns turns;
    para_turns_begin(c->dev, &turns, &joint->lock);
    para_status status = issue(c, begun, &ended);
    status = come_together(c, status, (note){.mark = ended}); /* one that fails may have to let others go, in turn */
    para_turns_end(c->dev);
    status = tell(c, end(c, status), joint, NULL); /* nobody touches its marks before the end */
    if (ended) c->dev->ops->mark_close(c->dev, &ended);
    if (status == PARA_OK && !c->part->refused) c->part->joint = joint;
    else para_joint_let_go(&joint);
    return status;
}

/* Carries the ops out, and while the devices are at work all have the part recorded, or go on without. */
static para_status record(const call *c) {
    para_joint *joint = NULL;
    para_mark *begun = NULL;
    para_recorded_forget(c->part, c->dev);
    PARA_TRY(c->ops(c->args));
    para_status status = begin(c, &joint, &begun);
    bool records = joint != NULL;
    status = tell(c, status, joint, begun);
    if (status == PARA_OK && !c->part->refused) status = record_from(c, c->all[0].joint, c->all[0].mark);
    else if (records) {
        c->dev->ops->record_end(c->dev, NULL); /* nobody else takes part */
        joint_free(joint);
    }
    if (begun) c->dev->ops->mark_close(c->dev, &begun);
    return status;
}

/* ---- playing */

static para_status play_first(const call *c, para_mark **mark) {
    if (!is_first(c)) return PARA_OK;
    PARA_TRY(after_all(c));
    PARA_TRY(c->dev->ops->play(c->dev, c->part->recording));
    return c->dev->ops->mark(c->dev, mark);
}

static para_status play(const call *c) {
    para_mark *played = NULL;
    para_status status = play_first(c, &played);
    status = come_together(c, status, (note){.mark = played});
    if (status == PARA_OK) {
        if (!is_first(c)) status = c->dev->ops->after(c->dev, c->all[0].mark);
        status = come_together(c, status, (note){0});
    }
    if (played) c->dev->ops->mark_close(c->dev, &played);
    if (status == PARA_OK) para_endpoint_count_again(c->comm.rank->endpoint, &c->part->sent, 1);
    return status;
}

/* ---- one run */

static para_status run(const call *c, bool keeps) {
    way now = OP_BY_OP;
    para_mark *here = NULL;
    para_status status = agree(c, keeps, &now, &here);
    if (status == PARA_OK && now == PLAY) status = play(c);
    if (here) c->dev->ops->mark_close(c->dev, &here);
    if (status != PARA_OK || now == PLAY) return status;
    return now == RECORD ? record(c) : c->ops(c->args);
}

para_status para_recorded_run_ranks(para_recorded *r, para_comm comm, bool keeps, para_part_key key,
                                    para_status (*ops)(void *args), void *args) {
    note all[MOST_RANKS];
    if (!r || !para_comm_meets(comm) || comm.size > MOST_RANKS) return ops(args);
    para_device *dev = comm.rank->device;
    call c = {
        .comm = comm, .dev = dev, .part = para_recorded_entry(r, dev, &key), .all = all, .ops = ops, .args = args};
    para_status status = run(&c, keeps);
    c.part->runs++;
    return status;
}
