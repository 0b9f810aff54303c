/* Tables of ops that wait for their turn. SPDX-License-Identifier: Apache-2.0 */
#include "backend/turns.h"

#include "backend/op_list.h"
#include "core/error.h"

/* What ranks tell their devices of one another. */
#define EXCHANGING_OPS(X)                                                                                              \
    X(fetch, (para_device * dev, const para_fetch_args *a), (dev, a))                                                  \
    X(mark, (para_device * dev, para_mark * *out), (dev, out))                                                         \
    X(after, (para_device * dev, const para_mark *mark), (dev, mark))

#define WRAPPER(name, parameters, arguments)                                                                           \
    static para_status in_turn_##name parameters {                                                                     \
        const para_turns *turns = dev->turns;                                                                          \
        pthread_mutex_lock(turns->lock);                                                                               \
        para_status status = turns->own->name arguments;                                                               \
        pthread_mutex_unlock(turns->lock);                                                                             \
        return status;                                                                                                 \
    }
PARA_COMPUTING_OPS(WRAPPER)
EXCHANGING_OPS(WRAPPER)

static void in_turn_mark_close(para_device *dev, para_mark **mark) {
    const para_turns *turns = dev->turns;
    pthread_mutex_lock(turns->lock);
    turns->own->mark_close(dev, mark);
    pthread_mutex_unlock(turns->lock);
}

/* What the host waits for, or the device would do only once: name, parameters, and those but the device. */
#define REFUSED_OPS(X)                                                                                                 \
    X(all_finite, (para_device * dev, para_tensor x, bool *out), ((void)x, (void)out))                                 \
    X(mask_columns, (para_device * dev, para_tensor mask, uint8_t * out), ((void)mask, (void)out))                     \
    X(alloc, (para_device * dev, size_t bytes, void **out), ((void)bytes, (void)out))                                  \
    X(upload, (para_device * dev, para_tensor dst, const void *src), ((void)dst, (void)src))                           \
    X(download, (para_device * dev, void *dst, const para_tensor *src), ((void)dst, (void)src))                        \
    X(constant, (para_device * dev, para_tensor vector), (void)vector)

#define REFUSED(name, parameters, unused)                                                                              \
    static para_status refused_##name parameters {                                                                     \
        (void)dev;                                                                                                     \
        unused;                                                                                                        \
        return para_fail(PARA_ERR_STATE,                                                                               \
                         "the op '%s' cannot be part of a step that GPUs record together; run its ops one by one "     \
                         "(--compile unrecorded)",                                                                     \
                         #name);                                                                                       \
    }
REFUSED_OPS(REFUSED)

void para_turns_begin(para_device *dev, para_turns *turns, pthread_mutex_t *lock) {
    *turns = (para_turns){.own = dev->ops, .table = *dev->ops, .lock = lock};
#define REPLACE(name, parameters, arguments)                                                                           \
    if (turns->own->name) turns->table.name = in_turn_##name;
    PARA_COMPUTING_OPS(REPLACE)
    EXCHANGING_OPS(REPLACE)
#define REFUSE(name, parameters, unused)                                                                               \
    if (turns->own->name) turns->table.name = refused_##name;
    REFUSED_OPS(REFUSE)
    if (turns->own->mark_close) turns->table.mark_close = in_turn_mark_close;
    dev->turns = turns;
    dev->ops = &turns->table;
}

void para_turns_end(para_device *dev) {
    dev->ops = dev->turns->own;
    dev->turns = NULL;
}
