/* A prompt to a video by CogVideoX, with guidance and what the video is not: halves and tokens on all ranks, the VAE's tiles, too. SPDX-License-Identifier: Apache-2.0
 *
 *     run_cogvideox MODEL PROMPT NEGATIVE VIDEO.mp4 [RANKS [FRAMES WIDTH HEIGHT [STEPS]]]
 *     mpirun -n 2 run_cogvideox MODEL PROMPT NEGATIVE VIDEO.mp4 2          two processes of two ranks each
 */
#include <paraattn/paraattn.h>

#include <stdio.h>
#include <stdlib.h>

static void show_progress(void *user, const para_progress *p) {
    (void)user;
    fprintf(stderr, "\r%s %d/%d %s", p->stage, p->done, p->total, p->done == p->total ? "\n" : "");
}

/* What the request costs on this mesh, before a weight is read. */
static para_status tell_plan(para_pipeline *pipe, const para_request *request) {
    para_plan plan;
    para_status status = para_pipeline_plan(pipe, request, &plan);
    if (status == PARA_OK)
        fprintf(stderr, "%lld tokens of video and %lld of text, %lld heads on %d x %d x %d ranks (batch x ring x ulysses)\n",
                (long long)plan.image_tokens, (long long)plan.text_tokens, (long long)plan.heads, plan.batch, plan.ring,
                plan.ulysses);
    return status;
}

static para_status film(para_world *world, para_request *request, const char *model, const char *path) {
    para_pipeline *pipe = NULL;
    para_result *result = NULL;
    bool first = para_world_process(world) == 0;

    /* Load: configs are read now, weights when they are needed. The scheduler, DDIM or DPM, is the folder's. */
    para_status status = para_pipeline_open(&pipe, world, model, NULL);

    /* Split: without options the mesh is chosen. Heads need not be divisible by ranks: CogVideoX-2b has 30. */
    if (status == PARA_OK) status = para_parallelize(pipe, NULL);
    if (status == PARA_OK) status = para_parallelize_vae(pipe, NULL);

    /* Skip steps that would change little; each half of the guidance decides for itself. */
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    cache.residual_diff_threshold = 0.06f;
    if (status == PARA_OK) status = para_apply_first_block_cache(pipe, &cache);
    if (status == PARA_OK && first) status = tell_plan(pipe, request);

    /* Generate, and save: of several processes the first one has the result. */
    request->on_progress = first ? show_progress : NULL;
    if (status == PARA_OK) status = para_generate(pipe, request, &result);
    para_video_options options = PARA_VIDEO_OPTIONS_INIT;
    options.fps = 8;
    if (status == PARA_OK && first) status = para_save_videos(result, path, &options);
    if (status == PARA_OK && first)
        printf("%s: %d frames of %d x %d, %d ranks, %.2f s of denoising, %d evaluations from the cache\n", path,
               result->num_frames, result->width, result->height, para_world_size(world), result->denoise_seconds,
               result->cache_hits);
    para_result_close(&result);
    para_pipeline_close(&pipe);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 5 || argc == 7 || argc == 8) {
        fprintf(stderr, "Usage: %s MODEL PROMPT NEGATIVE VIDEO.mp4 [RANKS [FRAMES WIDTH HEIGHT [STEPS]]]\n", argv[0]);
        return 2;
    }
    para_world *world = NULL;
    para_world_options options = PARA_WORLD_OPTIONS_INIT;
    options.ranks = argc > 5 ? atoi(argv[5]) : 1;
    options.mpi = para_started_by_mpi();
    para_request request = PARA_REQUEST_INIT; /* steps and guidance stay the model's own, 50 and 6 */
    request.prompt = argv[2];
    request.negative_prompt = argv[3];
    request.seed = 7; /* as torch.Generator("cpu").manual_seed(7) */
    if (argc > 8) {
        request.num_frames = atoi(argv[6]);
        request.width = atoi(argv[7]);
        request.height = atoi(argv[8]);
    }
    if (argc > 9) request.num_inference_steps = atoi(argv[9]);
    para_status status = para_world_open(&world, &options);
    if (status == PARA_OK) status = film(world, &request, argv[1], argv[4]);
    if (status != PARA_OK) fprintf(stderr, "%s\n", para_last_error()); /* what was wrong, where, and what to do */
    para_world_close(&world);
    return status == PARA_OK ? 0 : 1;
}
