/* Parts of pictures or videos, tiles most of all: computed by several ranks, joined by the first of them. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_VAE_SHARE_H
#define PARA_VAE_VAE_SHARE_H

#include <paraattn/comm.h>

#include "backend/backend.h"

/* What is shared out, the same on every rank. Any rank can compute any part. */
typedef struct para_vae_parts {
    int count;
    void *user;
    /* Type, the same of all, and sizes of part i, contiguous. With data, the first rank wants it there; else it gets room in the arena. */
    para_tensor (*room)(const void *user, int i);
    para_status (*compute)(void *user, int i, para_tensor y);
    /* On the first rank only, in the order of i: y may be changed, and is lost at return. */
    para_status (*join)(void *user, int i, para_tensor y);
    /* Both, on a rank that is alone: in what pieces it likes. */
    para_status (*alone)(void *user, int i);
} para_vae_parts;

/* Which rank computes each part: the largest first, each to the rank with the least to do; of equals the last rank, as the first joins besides.
 * cost, rank: [parts]. */
para_status para_vae_share(int parts, const int64_t *cost, int ranks, int *rank);

/* Computes all parts on the ranks of `comm` (NULL: this one alone, part by part; and so does the first rank with a single part). A part travels while the next
 * is computed, and is joined as soon as those before it are. Collective; the arena is as before at return. The first rank has room for some parts for each
 * rank, another for two. */
para_status para_vae_parts_run(const para_vae_parts *parts, para_device *dev, const para_comm *comm);

#endif
