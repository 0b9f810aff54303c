/* Classifier-free guidance: whether a request has a negative half, and how far it leads away from it. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/pipeline_state.h"

/* FluxPipeline, HunyuanVideoPipeline */
static bool true_has_negative(const para_request *r) {
    return r->true_cfg_scale > 1 && (r->negative_prompt || r->negative_prompt_embeds);
}
static float true_scale(const para_request *r, float timestep) {
    (void)timestep;
    return r->true_cfg_scale;
}
const para_guidance para_true_cfg = {true_has_negative, true_scale};

/* MochiPipeline, CogVideoXPipeline */
static bool plain_has_negative(const para_request *r) {
    return r->guidance_scale > 1;
}
static float plain_scale(const para_request *r, float timestep) {
    (void)timestep;
    return r->guidance_scale;
}
const para_guidance para_plain_cfg = {plain_has_negative, plain_scale};
