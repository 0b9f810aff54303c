/* Communicators: what ranks send each other. Part of libparaattn; SPDX-License-Identifier: Apache-2.0
 *
 * Every call is collective over the communicator's ranks, in the same order on each. Tensors may have any strides; both sides of a transfer have the
 * same type and sizes, and an empty one (a size of 0) moves nothing. Calls that take an exchange only start: sources may not change and
 * destinations may not be read before para_comm_wait, in any order. All of them fail with the first error of any rank; a body that ends on it leaves
 * its exchanges to the world, and memory of para_rank_tensor lasts as long as these.
 */
#ifndef PARAATTN_COMM_H
#define PARAATTN_COMM_H

#include "world.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The ranks first, first + stride, … of the world, as one of them sees them. A value: nothing to open or close. */
typedef struct para_comm {
    para_rank *rank; /* whose view it is */
    int first, stride;
    int size;        /* number of ranks */
    int index;       /* place of `rank` among them, 0 to size - 1 */
} para_comm;

/* Transfers under way; the caller's memory, unchanged until para_comm_wait. */
typedef struct para_exchange {
    void *pending; /* NULL: nothing is under way */
} para_exchange;

/* All ranks of the world. */
PARA_API para_comm para_world_comm(para_rank *rank);

/* Sends send[i] to rank i and receives receive[i] from it; [size] views each, of any sizes. */
PARA_API para_status para_comm_all_to_all(para_comm comm, const para_tensor *send, const para_tensor *receive, para_exchange *x);
/* The same of `count` tensors to each rank at once: send[t * size + i] is the t-th to rank i. Fewer waits than as many calls. */
PARA_API para_status para_comm_all_to_all_of(para_comm comm, int count, const para_tensor *send, const para_tensor *receive, para_exchange *x);
/* Sends `send` to every rank and receives receive[i] from rank i; [size] views. receive[index] may be `send` itself. */
PARA_API para_status para_comm_all_gather(para_comm comm, para_tensor send, const para_tensor *receive, para_exchange *x);
/* Sends `count` tensors to the next rank of the ring and receives as many from the one before. */
PARA_API para_status para_comm_shift(para_comm comm, int count, const para_tensor *send, const para_tensor *receive, para_exchange *x);
/* Sends send to rank `to` where to ≥ 0, receives `receive` from rank `from` where from ≥ 0. Both sides must call it. */
PARA_API para_status para_comm_send_receive(para_comm comm, int to, para_tensor send, int from, para_tensor receive, para_exchange *x);
/* Waits for what an exchange started, and empties it; takes an empty one. */
PARA_API para_status para_comm_wait(para_exchange *x);

/* Those that wait: x of `root` to all; the sum over the ranks, added up in their order, so that every rank has the same bits (F32, contiguous). */
PARA_API para_status para_comm_broadcast(para_comm comm, int root, para_tensor x);
PARA_API para_status para_comm_all_reduce(para_comm comm, para_tensor x);
PARA_API para_status para_comm_barrier(para_comm comm);

/* Bytes that this rank has sent to others since the world was opened (or planned). */
PARA_API int64_t para_rank_bytes_sent(const para_rank *rank);
/* Of them, to ranks on other hosts. */
PARA_API int64_t para_rank_bytes_between_hosts(const para_rank *rank);

#ifdef __cplusplus
}
#endif
#endif
