/* The options of a request. SPDX-License-Identifier: Apache-2.0 */
#include "request_options.h"

#include <stdlib.h>

const char *const rng_choices[] = {"cpu", "cuda", NULL};
const char *const dtype_choices[] = {"f32", "bf16", NULL};
const char *const attention_choices[] = {"auto", "para", "cudnn", NULL};
const char *const exchange_choices[] = {"auto", "copy", "direct", NULL};
const char *const compile_choices[] = {"auto", "on", "untuned", "unrecorded", "off", NULL};

void request_options_finish(request_options *o) {
    if (o->device.count > 1 && o->ranks == 1) o->ranks = o->device.count;
    o->request.rng = o->rng == 1 ? PARA_SEED_CUDA : PARA_SEED_CPU;
    o->request.vae_tiling = o->vae_tiling || o->parallel_vae;
    o->request.use_dynamic_cfg = o->dynamic_cfg;
    if (o->sigmas.value) {
        o->request.sigmas = o->sigmas.value;
        o->request.num_inference_steps = o->sigmas.count;
    }
}

void request_options_free(request_options *o) {
    free(o->sigmas.value);
    cache_arguments_free(&o->cache);
}
