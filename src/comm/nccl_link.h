/* NCCL behind plain types, from a module that is loaded when GPUs of several processes are to meet. SPDX-License-Identifier: Apache-2.0
 *
 * Any thread may give a link up; then its calls end soon with PARA_ERR_LOST, and what is under way on its streams ends, too. */
#ifndef PARA_COMM_NCCL_LINK_H
#define PARA_COMM_NCCL_LINK_H

#include <paraattn/status.h>

#include "comm/nccl/nccl_module.h"

typedef struct para_nccl para_nccl;

/* Loads the module. PARA_ERR_LIBRARY with what to install. */
para_status para_nccl_load(const para_nccl_module **out);
/* What all ranks that are to meet must share. */
para_status para_nccl_new_id(const para_nccl_module *module, unsigned char id[PARA_NCCL_ID]);
/* Communicators of `local` ranks from the `first` of `all`, on GPUs gpu[i]. Collective, waits: `timeout` seconds, then PARA_ERR_LOST. */
para_status para_nccl_open(para_nccl **out, const para_nccl_module *module, const unsigned char id[PARA_NCCL_ID], int all, int first, int local,
                           const int *gpu, double timeout);
void para_nccl_give_up(para_nccl *n);
/* Gives up what is under way. Sets NULL, takes NULL. */
void para_nccl_close(para_nccl **n);

/* On the stream of the local-th rank's GPU, all of them as one. Waits for other ranks only where NCCL connects first; `check` is asked meanwhile. */
para_status para_nccl_exchange(para_nccl *n, int local, void *stream, int sends, const para_nccl_piece *send, int receives,
                               const para_nccl_piece *receive, para_status (*check)(void *user), void *user);

#endif
