/* A step's ops, recorded once and played from then on: what "compiled" means. SPDX-License-Identifier: Apache-2.0
 *
 * Ops of a part are the same at every step where all that they read lies where it lay before. So a part runs op by op the first time, when products are
 * tuned and libraries load their kernels; the second time, too, and is recorded while the device is at work; and then it is played. Whatever would make the ops others
 * is the part's key.
 * Ranks that exchange in a part record it as one: recorded_ranks.c. */
#ifndef PARA_STEP_RECORDED_H
#define PARA_STEP_RECORDED_H

#include "comm/rank.h"

/* Tells the parts of an item's step apart. */
typedef struct para_part_key {
    int first, last;   /* blocks */
    const bool *skip;
    const char *arena; /* where the part's own memory begins */
} para_part_key;

enum { PARA_RECORDED_PARTS = 4 };

typedef struct para_joint para_joint; /* recorded_ranks.c */

typedef struct para_recorded_part {
    para_part_key key;
    int runs;                  /* 0: the entry is free */
    bool refused;              /* the device had no memory for a recording: ops are carried out always */
    para_recording *recording; /* NULL until the second run; of ranks that record as one the first has it */
    para_joint *joint;         /* and all of these hold what tells that it is the same one */
    para_traffic sent;         /* what a run of it counts as sent to other ranks */
} para_recorded_part;

/* Of one item. All zero: nothing is recorded yet. Closes with para_recorded_close. */
typedef struct para_recorded {
    para_recorded_part part[PARA_RECORDED_PARTS];
    int next; /* entry that the next unknown part takes */
} para_recorded;

/* Carries out ops(args), or plays what it did before. ops is called twice in a run that is recorded, and must tell the device the same both times. r: NULL to carry them out always, as where the device cannot record. */
para_status para_recorded_run(para_recorded *r, para_rank *rank, para_part_key key, para_status (*ops)(void *args), void *args);
void para_recorded_close(para_recorded *r, para_device *dev);

/* ---- for recorded_ranks.c */

/* Whether what the device is told now may be kept. */
bool para_recorded_can(const para_device *dev);
/* The part's entry; where it has none, the one that was taken longest ago. */
para_recorded_part *para_recorded_entry(para_recorded *r, para_device *dev, const para_part_key *key);
/* Forgets what the part has recorded. */
void para_recorded_forget(para_recorded_part *part, para_device *dev);
/* Whether a recording failed for want of memory: from then on the part does without, and the log says so. Takes the failure's sentence. */
bool para_recorded_refused(para_recorded_part *part, para_device *dev, para_status status);

#endif
