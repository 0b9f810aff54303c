/* Parts of a step in which ranks of one process exchange, recorded as one and played as one. SPDX-License-Identifier: Apache-2.0
 *
 * The ranks' devices fill a single recording, which the first rank begins, ends, keeps and plays; the marks that devices wait for each other by are what orders it inside:
 *
 *   come together      each says what it is about to run, and what it has of it; all take the same way: op by op, record, or play
 *   record  all        carry their ops out, as op by op; what follows happens while the devices are at work
 *           the first  begins and makes a mark; the others' devices go on after it, and so take part
 *           all        issue their ops, one op at a time; come together, each with a mark that the first rank's device goes on after
 *           the first  ends it; come together: all have it, or, where there was no memory for it, do without
 *   play    the first  goes on after a mark of each, plays, makes a mark; come together; the others go on after it; come together, and the mark is closed
 *
 * A rank that fails comes with its failure, which takes the others out of their waits, and a recording ends when nobody issues anything any more; so they come together behind a
 * failure, too. */
#ifndef PARA_STEP_RECORDED_RANKS_H
#define PARA_STEP_RECORDED_RANKS_H

#include "step/recorded.h"

/* As para_recorded_run, collective over the ranks that exchange in ops. keeps: this rank's ops may be recorded at all; where those of one may not, nobody's are.
 * r: NULL on all ranks or on none. Where the ranks cannot come together, ops are carried out always. */
para_status para_recorded_run_ranks(para_recorded *r, para_comm comm, bool keeps, para_part_key key,
                                    para_status (*ops)(void *args), void *args);

/* Sets it to NULL; takes NULL in it. */
void para_joint_let_go(para_joint **joint);

#endif
