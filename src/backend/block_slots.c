/* Blocks of weights that take turns on a device. SPDX-License-Identifier: Apache-2.0 */
#include "backend/block_slots.h"

#include "core/alloc.h"
#include "core/error.h"

enum { NOTHING = -1 };

struct para_block_slots {
    para_device *dev;
    int blocks, slots;
    size_t *bytes;    /* [blocks] */
    int turns;        /* blocks that have any */
    int *turn;        /* [blocks]: place among those */
    int *block;       /* [turns]: which they are */
    para_host_blocks *host;
    char *device;     /* [slots][slot_bytes] */
    size_t slot_bytes;
    int holds[PARA_COPY_SLOTS]; /* whose turn it is in the slot, or will be when it has come */
};

para_status para_block_slots_open(para_block_slots **out, para_device *dev, int blocks, const size_t *bytes, int slots, para_host_blocks *host) {
    *out = NULL;
    para_block_slots *s = para_alloc(1, sizeof *s);
    if (!s) {
        para_host_blocks_drop(&host, dev);
        return PARA_ERR_MEMORY;
    }
    *s = (para_block_slots){.dev = dev, .blocks = blocks, .slots = slots, .host = host};
    for (int i = 0; i < PARA_COPY_SLOTS; i++) s->holds[i] = NOTHING;
    s->bytes = para_alloc((size_t)blocks, sizeof *s->bytes);
    s->turn = para_alloc((size_t)blocks, sizeof *s->turn);
    s->block = para_alloc((size_t)blocks, sizeof *s->block);
    para_status status = s->bytes && s->turn && s->block ? PARA_OK : PARA_ERR_MEMORY;
    for (int i = 0; i < blocks && status == PARA_OK; i++) {
        s->bytes[i] = bytes[i];
        s->turn[i] = s->turns;
        if (bytes[i]) s->block[s->turns++] = i;
        if (bytes[i] > s->slot_bytes) s->slot_bytes = bytes[i];
    }
    if (s->slots > s->turns) s->slots = s->turns;
    void *device = NULL;
    if (status == PARA_OK) status = dev->ops->alloc(dev, s->slot_bytes * (size_t)s->slots, &device);
    s->device = device;
    if (status == PARA_OK && !host) status = para_host_blocks_open(&s->host, dev, blocks, bytes);
    if (status == PARA_OK) *out = s;
    else para_block_slots_close(&s);
    return status;
}

void para_block_slots_close(para_block_slots **slots) {
    para_block_slots *s = *slots;
    if (!s) return;
    for (int i = 0; i < s->slots; i++) (void)s->dev->ops->copies->done(s->dev, i); /* another holder may free what is copied from */
    para_host_blocks_drop(&s->host, s->dev);
    if (s->device) s->dev->ops->free(s->dev, s->device);
    para_free(s->block);
    para_free(s->turn);
    para_free(s->host);
    para_free(s->bytes);
    para_free(s);
    *slots = NULL;
}

para_host_blocks *para_block_slots_host(const para_block_slots *s) {
    return s->host;
}

char *para_block_slots_device(const para_block_slots *s, int block) {
    return s->device + (size_t)(s->turn[block] % s->slots) * s->slot_bytes;
}

static para_status send_for(para_block_slots *s, int turn) {
    int slot = turn % s->slots, block = s->block[turn];
    if (s->holds[slot] == turn) return PARA_OK;
    s->holds[slot] = NOTHING;
    PARA_TRY(s->dev->ops->copies->begin(s->dev, slot, para_block_slots_device(s, block), para_host_blocks_at(s->host, block), s->bytes[block]));
    s->holds[slot] = turn;
    return PARA_OK;
}

para_status para_block_slots_enter(para_block_slots *s, int block) {
    int turn = s->turn[block];
    if (!s->bytes[block]) return PARA_OK;
    PARA_TRY(send_for(s, turn));
    for (int next = turn + 1; next < turn + s->slots && next < s->turns; next++)
        if (s->holds[next % s->slots] == NOTHING) PARA_TRY(send_for(s, next));
    return s->dev->ops->copies->arrived(s->dev, turn % s->slots);
}

para_status para_block_slots_leave(para_block_slots *s, int block) {
    int turn = s->turn[block], next = turn + s->slots < s->turns ? turn + s->slots : turn % s->slots;
    if (!s->bytes[block]) return PARA_OK;
    PARA_TRY(s->dev->ops->copies->used(s->dev, turn % s->slots));
    return send_for(s, next);
}
