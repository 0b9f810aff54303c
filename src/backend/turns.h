/* Devices that are told something one after the other, while they record together. SPDX-License-Identifier: Apache-2.0
 *
 * Each rank tells its own device; a recording that several of them fill takes what it is told from one thread at a time. So the device's table is for that while one whose
 * ops wait for their turn. Those that the host would wait for are refused: what they give is not there before the recording is played. */
#ifndef PARA_BACKEND_TURNS_H
#define PARA_BACKEND_TURNS_H

#include <pthread.h>

#include "backend/backend.h"

/* The caller's, from begin to end. */
typedef struct para_turns {
    const para_ops *own;
    para_ops table;
    pthread_mutex_t *lock; /* the same for all of them */
} para_turns;

void para_turns_begin(para_device *dev, para_turns *turns, pthread_mutex_t *lock);
/* The device has its own table again. */
void para_turns_end(para_device *dev);

#endif
