/* The golden CogVideoX transformers. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_COGVIDEOX_CASE_H
#define PARA_TESTS_COGVIDEOX_CASE_H

#include "model/cogvideox.h"
#include "transformer_case.h"

static const char *const cogvideox_cases[] = {"cogvideox-2b", "cogvideox-5b", "cogvideox-1.5", "cogvideox-learned"};

static const transformer_kind cogvideox_kind = {
    .class_name = "CogVideoXTransformer3DModel",
    .patch = para_cogvideox_patch,
    .cases = cogvideox_cases,
    .count = sizeof cogvideox_cases / sizeof *cogvideox_cases,
};

#endif
