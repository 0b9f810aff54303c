/* Classifier-free guidance: whether a request has a negative half, and how far it leads away from it. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

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

/* MochiPipeline */
static bool plain_has_negative(const para_request *r) {
    return r->guidance_scale > 1;
}
static float plain_scale(const para_request *r, float timestep) {
    (void)timestep;
    return r->guidance_scale;
}
const para_guidance para_plain_cfg = {plain_has_negative, plain_scale};

/* CogVideoXPipeline. Its use_dynamic_cfg takes the timestep for the number of the step, which is as it is in diffusers. */
static float dynamic_scale(const para_request *r, float timestep) {
    double steps = r->num_inference_steps, left = (steps - (double)timestep) / steps;
    if (!r->use_dynamic_cfg) return r->guidance_scale;
    return (float)(1 + (double)r->guidance_scale * ((1 - cos(M_PI * pow(left, 5))) / 2));
}
const para_guidance para_dynamic_cfg = {plain_has_negative, dynamic_scale};
