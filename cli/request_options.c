/* The options of a request. SPDX-License-Identifier: Apache-2.0 */
#include "request_options.h"

const char *const rng_choices[] = {"cpu", "cuda", NULL};
const char *const dtype_choices[] = {"f32", "bf16", NULL};
const char *const device_choices[] = {"cpu", NULL};

void request_options_finish(request_options *o) {
    o->request.rng = o->rng == 1 ? PARA_SEED_CUDA : PARA_SEED_CPU;
    o->request.vae_tiling = o->vae_tiling;
    if (o->sigmas.value) {
        o->request.sigmas = o->sigmas.value;
        o->request.num_inference_steps = o->sigmas.count;
    }
}

int exit_status(para_status status) {
    return status == PARA_ERR_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

int request_options_open(const request_options *o, const char *name, const char *model,
                         para_world_options world_options, para_world **world, para_pipeline **pipe) {
    para_pipeline_options pipeline_options = PARA_PIPELINE_OPTIONS_INIT;
    pipeline_options.dtype = o->dtype == 1 ? PARA_BF16 : PARA_F32;
    world_options.threads = o->threads;
    *world = NULL;
    *pipe = NULL;
    para_status status = para_world_open(world, &world_options);
    if (status == PARA_OK) status = para_pipeline_open(pipe, *world, model, &pipeline_options);
    if (status == PARA_OK) return EXIT_DONE;
    complain(name, "%s", para_last_error());
    para_world_close(world);
    return exit_status(status);
}
