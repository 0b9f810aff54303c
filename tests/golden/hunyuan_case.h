/* The golden HunyuanVideo transformers. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_HUNYUAN_CASE_H
#define PARA_TESTS_HUNYUAN_CASE_H

#include "model/hunyuan_video.h"
#include "transformer_case.h"

static const char *const hunyuan_cases[] = {"hunyuan-guided", "hunyuan-odd", "hunyuan-text"};

static const transformer_kind hunyuan_kind = {
    .class_name = "HunyuanVideoTransformer3DModel",
    .patch = para_hunyuan_video_patch,
    .cases = hunyuan_cases,
    .count = sizeof hunyuan_cases / sizeof *hunyuan_cases,
};

#endif
