/* A prompt to a picture, split over ranks. SPDX-License-Identifier: Apache-2.0
 *
 *     run_flux MODEL PROMPT PICTURE.png [RANKS [STEPS]]
 *     mpirun -n 2 run_flux MODEL PROMPT PICTURE.png 2          two processes of two ranks each
 */
#include <paraattn/paraattn.h>

#include <stdio.h>
#include <stdlib.h>

static void show_progress(void *user, const para_progress *p) {
    (void)user;
    fprintf(stderr, "\r%s %d/%d %s", p->stage, p->done, p->total, p->done == p->total ? "\n" : "");
}

static para_status draw(para_world *world, char **argv, int steps) {
    para_pipeline *pipe = NULL;
    para_result *result = NULL;
    bool first = para_world_process(world) == 0;

    /* Load: configs are read now, weights when they are needed. */
    para_status status = para_pipeline_open(&pipe, world, argv[1], NULL);

    /* Split: one call. Without options the mesh is chosen for the model and the number of ranks. */
    if (status == PARA_OK) status = para_parallelize(pipe, NULL);

    /* Generate. */
    para_request request = PARA_REQUEST_INIT;
    request.prompt = argv[2];
    request.num_inference_steps = steps;
    request.seed = 7; /* as torch.Generator("cpu").manual_seed(7) */
    request.on_progress = first ? show_progress : NULL;
    if (status == PARA_OK) status = para_generate(pipe, &request, &result);

    /* Save: of several processes the first one has the result. */
    if (status == PARA_OK && first) status = para_save_images(result, argv[3], NULL);
    if (status == PARA_OK && first)
        printf("%s: %d ranks, %.2f s a step\n", argv[3], para_world_size(world), result->denoise_seconds / steps);

    para_result_close(&result);
    para_pipeline_close(&pipe);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "Usage: %s MODEL PROMPT PICTURE.png [RANKS [STEPS]]\n", argv[0]);
        return 2;
    }
    para_world *world = NULL;
    para_world_options options = PARA_WORLD_OPTIONS_INIT;
    options.ranks = argc > 4 ? atoi(argv[4]) : 1;
    options.mpi = para_started_by_mpi();
    para_status status = para_world_open(&world, &options);
    if (status == PARA_OK) status = draw(world, argv, argc > 5 ? atoi(argv[5]) : 28);
    if (status != PARA_OK) fprintf(stderr, "%s\n", para_last_error()); /* what was wrong, where, and what to do */
    para_world_close(&world);
    return status == PARA_OK ? 0 : 1;
}
