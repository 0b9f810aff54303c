/* Recording and playing the parts of a step. SPDX-License-Identifier: Apache-2.0 */
#include "step/recorded.h"

#include "core/error.h"

static bool same(const para_part_key *a, const para_part_key *b) {
    return a->first == b->first && a->last == b->last && a->skip == b->skip && a->arena == b->arena;
}

/* The part's entry; where it has none, the one that was taken longest ago. */
static para_recorded_part *entry_of(para_recorded *r, para_device *dev, const para_part_key *key) {
    for (int i = 0; i < PARA_RECORDED_PARTS; i++)
        if (r->part[i].runs > 0 && same(&r->part[i].key, key)) return &r->part[i];
    para_recorded_part *part = &r->part[r->next];
    r->next = (r->next + 1) % PARA_RECORDED_PARTS;
    if (part->recording) dev->ops->recording_close(dev, &part->recording);
    *part = (para_recorded_part){.key = *key};
    return part;
}

static para_status record(para_recorded_part *part, para_device *dev, para_status (*ops)(void *args), void *args) {
    PARA_TRY(dev->ops->record(dev));
    para_status status = ops(args);
    if (status == PARA_OK) return dev->ops->record_end(dev, &part->recording);
    dev->ops->record_end(dev, NULL);
    return status;
}

para_status para_recorded_run(para_recorded *r, para_rank *rank, para_part_key key, para_status (*ops)(void *args),
                              void *args) {
    para_device *dev = rank->device;
    /* A trace reads what the ops gave; memory that comes and goes lies elsewhere each time. */
    if (!r || !dev->ops->record || dev->trace || dev->arena.more.take) return ops(args);
    para_recorded_part *part = entry_of(r, dev, &key);
    if (part->runs++ == 0) return ops(args);
    if (!part->recording) PARA_TRY(record(part, dev, ops, args));
    return dev->ops->play(dev, part->recording);
}

void para_recorded_close(para_recorded *r, para_device *dev) {
    for (int i = 0; i < PARA_RECORDED_PARTS; i++)
        if (r->part[i].recording) dev->ops->recording_close(dev, &r->part[i].recording);
    *r = (para_recorded){0};
}
