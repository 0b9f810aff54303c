/* A prompt and what it is not, to a video: the two halves of guidance on ranks of their own, their tokens shared out inside. SPDX-License-Identifier: Apache-2.0
 *
 *     run_mochi MODEL PROMPT NEGATIVE VIDEO.mp4 [RANKS [FRAMES WIDTH HEIGHT [STEPS]]]
 *     mpirun -n 2 run_mochi MODEL PROMPT NEGATIVE VIDEO.mp4 2          two processes of two ranks each
 */
#include <paraattn/paraattn.h>

#include <stdio.h>
#include <stdlib.h>

static void show_progress(void *user, const para_progress *p) {
    (void)user;
    fprintf(stderr, "\r%s %d/%d %s", p->stage, p->done, p->total, p->done == p->total ? "\n" : "");
}

static para_status write_frame(void *user, int image, int frame, const para_tensor *pixels) {
    (void)frame;
    return para_video_writer_put(user, image, pixels);
}

/* Halves need no exchange while they are computed: they go first, and the ranks that are left share out the tokens of one. */
static para_status split(para_pipeline *pipe, int ranks) {
    para_parallel_options parallel = PARA_PARALLEL_OPTIONS_INIT;
    if (ranks % 2 == 0) parallel.batch = 2;
    para_status status = para_parallelize(pipe, &parallel);
    return status == PARA_OK ? para_parallelize_vae(pipe, NULL) : status;
}

static para_status film(para_world *world, para_request *request, const char *model, const char *path) {
    para_pipeline *pipe = NULL;
    para_result *result = NULL;
    para_video_writer *writer = NULL;
    bool first = para_world_process(world) == 0;

    /* Load: configs are read now, weights when they are needed. */
    para_status status = para_pipeline_open(&pipe, world, model, NULL);
    if (status == PARA_OK) status = split(pipe, para_world_size(world));

    /* Skip steps that would change little. Each half decides for itself; with `joint` they decide together, as ParaAttention lets them. */
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    cache.residual_diff_threshold = 0.06f;
    cache.joint = true;
    if (status == PARA_OK) status = para_apply_first_block_cache(pipe, &cache);

    /* Write: of several processes the first one gets the frames, in order. The file appears at the end, or not at all. */
    para_video_options options = PARA_VIDEO_OPTIONS_INIT;
    options.fps = 30;
    if (status == PARA_OK && first) status = para_video_writer_open(&writer, path, 1, &options);
    request->on_frame = write_frame;
    request->user = writer;
    request->on_progress = first ? show_progress : NULL;

    /* Generate. */
    if (status == PARA_OK) status = para_generate(pipe, request, &result);
    if (status == PARA_OK && first) status = para_video_writer_finish(&writer);
    if (status == PARA_OK && first)
        printf("%s: %d frames of %d x %d, %d ranks, %.2f s of denoising, %d evaluations from the cache\n", path,
               result->num_frames, result->width, result->height, para_world_size(world), result->denoise_seconds,
               result->cache_hits);

    para_video_writer_abort(&writer); /* of a run that failed */
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
    para_request request = PARA_REQUEST_INIT;
    request.prompt = argv[2];
    request.negative_prompt = argv[3]; /* "" for none */
    request.seed = 7;                  /* as torch.Generator("cpu").manual_seed(7) */
    request.num_frames = argc > 8 ? atoi(argv[6]) : 85;
    request.width = argc > 8 ? atoi(argv[7]) : 848;
    request.height = argc > 8 ? atoi(argv[8]) : 480;
    if (argc > 9) request.num_inference_steps = atoi(argv[9]);
    para_status status = para_world_open(&world, &options);
    if (status == PARA_OK) status = film(world, &request, argv[1], argv[4]);
    if (status != PARA_OK) fprintf(stderr, "%s\n", para_last_error()); /* what was wrong, where, and what to do */
    para_world_close(&world);
    return status == PARA_OK ? 0 : 1;
}
