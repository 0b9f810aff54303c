/* Blocks of weights in pinned host memory. SPDX-License-Identifier: Apache-2.0 */
#include "backend/host_blocks.h"

#include <stdatomic.h>

#include "core/alloc.h"
#include "core/error.h"

struct para_host_blocks {
    atomic_int holders;
    int blocks;
    void *block[]; /* [blocks] */
};

para_status para_host_blocks_open(para_host_blocks **out, para_device *dev, int blocks, const size_t *bytes) {
    size_t all = 0;
    para_host_blocks *b = *out = para_alloc(1, sizeof *b + (size_t)blocks * sizeof *b->block);
    if (!b) return PARA_ERR_MEMORY;
    atomic_init(&b->holders, 1);
    b->blocks = blocks;
    for (int i = 0; i < blocks; i++) all += bytes[i];
    para_status status = PARA_OK;
    for (int i = 0; i < blocks && status == PARA_OK; i++) {
        status = para_device_check(dev); /* pinning some GB takes seconds */
        if (status != PARA_OK || !bytes[i]) continue;
        status = dev->ops->copies->pin(dev, bytes[i], &b->block[i]);
        if (status == PARA_ERR_MEMORY)
            status = para_fail(status,
                               "offloading (--offload) keeps %.2f GiB of weights in pinned host memory, and the system gives no "
                               "more after %d of %d blocks; free host memory, or raise the limit of locked memory (ulimit -l)",
                               (double)all / 0x1p30, i, blocks);
    }
    if (status != PARA_OK) para_host_blocks_drop(out, dev);
    return status;
}

void para_host_blocks_hold(para_host_blocks *b, int more) {
    atomic_fetch_add(&b->holders, more);
}

void para_host_blocks_drop(para_host_blocks **blocks, para_device *dev) {
    para_host_blocks *b = *blocks;
    *blocks = NULL;
    if (!b || atomic_fetch_sub(&b->holders, 1) > 1) return;
    for (int i = 0; i < b->blocks; i++) dev->ops->copies->unpin(dev, b->block[i]);
    para_free(b);
}

char *para_host_blocks_at(const para_host_blocks *b, int block) {
    return b->block[block];
}
