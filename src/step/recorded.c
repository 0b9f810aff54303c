/* Recording and playing the parts of a step. SPDX-License-Identifier: Apache-2.0 */
#include "step/recorded.h"

#include "core/error.h"
#include "step/recorded_ranks.h"

static bool same(const para_part_key *a, const para_part_key *b) {
    return a->first == b->first && a->last == b->last && a->skip == b->skip && a->arena == b->arena;
}

/* A trace reads what the ops gave; memory that comes and goes lies elsewhere each time. */
bool para_recorded_can(const para_device *dev) {
    return dev->ops->record && !dev->trace && !dev->arena.more.take;
}

void para_recorded_forget(para_recorded_part *part, para_device *dev) {
    if (part->recording) dev->ops->recording_close(dev, &part->recording);
    para_joint_let_go(&part->joint);
}

para_recorded_part *para_recorded_entry(para_recorded *r, para_device *dev, const para_part_key *key) {
    for (int i = 0; i < PARA_RECORDED_PARTS; i++)
        if (r->part[i].runs > 0 && same(&r->part[i].key, key)) return &r->part[i];
    para_recorded_part *part = &r->part[r->next];
    r->next = (r->next + 1) % PARA_RECORDED_PARTS;
    para_recorded_forget(part, dev);
    *part = (para_recorded_part){.key = *key};
    return part;
}

bool para_recorded_refused(para_recorded_part *part, para_device *dev, para_status status) {
    if (status != PARA_ERR_MEMORY) return false;
    para_device_note(dev, PARA_LOG_WARNING, "blocks %d to %d of a step are not played from a recording: %s", part->key.first, part->key.last - 1,
                     para_last_error());
    para_clear_error();
    return part->refused = true;
}

static para_status record(para_recorded_part *part, para_device *dev, para_status (*ops)(void *args), void *args) {
    PARA_TRY(dev->ops->record(dev, false));
    para_status status = ops(args);
    if (status == PARA_OK) {
        status = dev->ops->record_end(dev, &part->recording);
        return para_recorded_refused(part, dev, status) ? PARA_OK : status;
    }
    dev->ops->record_end(dev, NULL);
    return status;
}

para_status para_recorded_run(para_recorded *r, para_rank *rank, para_part_key key, para_status (*ops)(void *args),
                              void *args) {
    para_device *dev = rank->device;
    if (!r || !para_recorded_can(dev)) return ops(args);
    para_recorded_part *part = para_recorded_entry(r, dev, &key);
    bool again = part->runs++ > 0;
    if (part->recording) return dev->ops->play(dev, part->recording);
    PARA_TRY(ops(args));
    return again && !part->refused ? record(part, dev, ops, args) : PARA_OK;
}

void para_recorded_close(para_recorded *r, para_device *dev) {
    for (int i = 0; i < PARA_RECORDED_PARTS; i++) para_recorded_forget(&r->part[i], dev);
    *r = (para_recorded){0};
}
