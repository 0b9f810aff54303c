/* The golden Mochi transformers. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_MOCHI_CASE_H
#define PARA_TESTS_MOCHI_CASE_H

#include "model/mochi.h"
#include "transformer_case.h"

static const char *const mochi_cases[] = {"mochi-wide", "mochi-odd", "mochi-text"};

static inline void mochi_patch(const para_transformer *t, int64_t *patch_size_t, int64_t *patch_size) {
    *patch_size_t = 1;
    *patch_size = para_mochi_patch(t);
}

static const transformer_kind mochi_kind = {
    .class_name = "MochiTransformer3DModel",
    .patch = mochi_patch,
    .cases = mochi_cases,
    .count = sizeof mochi_cases / sizeof *mochi_cases,
};

#endif
