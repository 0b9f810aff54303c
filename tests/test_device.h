/* What tests compute on: the CPU, or what the environment variable PARA_TEST_DEVICE names. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_TEST_DEVICE_H
#define PARA_TESTS_TEST_DEVICE_H

#include <paraattn/world.h>

#include "backend/backend.h"

#include <stdlib.h>
#include <string.h>

/* "cuda:0,1": ranks 0, 1, 2, … take GPUs 0, 1, 0, … w->ranks must be set. */
static inline void test_choose_device(para_world_options *w) {
    static int index[256];
    const char *text = getenv("PARA_TEST_DEVICE");
    int named = 0;
    if (!text || strncmp(text, "cuda", 4) != 0) return;
    for (const char *p = text + 4; *p && named < 256; named++) {
        char *end;
        index[named] = (int)strtol(p + 1, &end, 10);
        p = end;
    }
    if (named == 0) index[named++] = 0;
    for (int i = named; i < w->ranks; i++) index[i] = index[i % named];
    w->device = PARA_CUDA;
    w->device_index = index[0];
    w->device_indices = index;
    w->num_device_indices = w->ranks;
}

static inline para_device_kind test_device_kind(void) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.ranks = 1;
    test_choose_device(&w);
    return w.device;
}

/* The device itself, for what all ranks read: the CPU with one thread, or the first GPU. */
static inline para_status test_open_device(para_device **out) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.ranks = 1;
    test_choose_device(&w);
    return para_device_open(w.device, w.device_index, 1, out);
}

#endif
