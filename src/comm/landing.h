/* Ranks that address each other's memory: what is made for another rank is stored where it wants it, in place of being sent. SPDX-License-Identifier: Apache-2.0
 *
 * Collective over the communicator's ranks, in the same order on each, as the calls of <paraattn/comm.h>; they count the bytes that a transfer would. */
#ifndef PARA_COMM_LANDING_H
#define PARA_COMM_LANDING_H

#include "comm/rank.h"

/* Whether they do; the same for all of them. */
bool para_comm_addressable(para_comm c);

/* Offers room for `count` tensors of each rank: room[t * size + i], which rank i fills. place[t * size + i]: sizes and type of what is stored at rank i. Entries of
 * the own rank move nothing; a place with data keeps it where there is nobody to store at. Both [count * size] and the caller's until para_comm_wait, which says
 * that all of the own room is filled. */
para_status para_comm_offer(para_comm c, int count, const para_tensor *room, const para_tensor *place, para_exchange *x);
/* Waits until there is room and sets the places' data and strides: what ops write there from here on is stored at the ranks in question. Again: nothing. */
para_status para_comm_reach(para_comm c, int count, para_tensor *place, const para_exchange *x);
/* The ops told so far have written. done: all that is to be stored; else there is more to come, after another reach. An owner that fails between reach and leave waits for
 * leave: between them ops may run, but nothing that waits for other ranks or asks them for signs of life. */
para_status para_comm_leave(const para_exchange *x, bool done);

#endif
