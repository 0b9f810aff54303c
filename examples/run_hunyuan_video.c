/* A prompt to a video, split over ranks, decoded by all of them, and written frame by frame. SPDX-License-Identifier: Apache-2.0
 *
 *     run_hunyuan_video MODEL PROMPT VIDEO.mp4 [RANKS [FRAMES WIDTH HEIGHT [STEPS]]]
 *     mpirun -n 2 run_hunyuan_video MODEL PROMPT VIDEO.mp4 2          two processes of two ranks each
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

static para_status film(para_world *world, para_request *request, const char *model, const char *path) {
    para_pipeline *pipe = NULL;
    para_result *result = NULL;
    para_video_writer *writer = NULL;
    bool first = para_world_process(world) == 0;

    /* Load: configs are read now, weights when they are needed. */
    para_status status = para_pipeline_open(&pipe, world, model, NULL);

    /* Split the transformer's tokens and heads: one call. Share out the tiles of the VAE: another. Skip steps that would change little: a third. */
    if (status == PARA_OK) status = para_parallelize(pipe, NULL);
    if (status == PARA_OK) status = para_parallelize_vae(pipe, NULL);
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    cache.residual_diff_threshold = 0.06f;
    if (status == PARA_OK) status = para_apply_first_block_cache(pipe, &cache);

    /* Write: of several processes the first one gets the frames, in order. The file appears at the end, or not at all. */
    para_video_options options = PARA_VIDEO_OPTIONS_INIT;
    options.fps = 15;
    if (status == PARA_OK && first) status = para_video_writer_open(&writer, path, 1, &options);
    request->on_frame = write_frame;
    request->user = writer;
    request->on_progress = first ? show_progress : NULL;

    /* Generate. */
    if (status == PARA_OK) status = para_generate(pipe, request, &result);
    if (status == PARA_OK && first) status = para_video_writer_finish(&writer);
    if (status == PARA_OK && first)
        printf("%s: %d frames of %d x %d, %d ranks, %.2f s of denoising, %d steps from the cache\n", path,
               result->num_frames, result->width, result->height, para_world_size(world), result->denoise_seconds,
               result->cache_hits);

    para_video_writer_abort(&writer); /* of a run that failed */
    para_result_close(&result);
    para_pipeline_close(&pipe);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc == 6 || argc == 7) {
        fprintf(stderr, "Usage: %s MODEL PROMPT VIDEO.mp4 [RANKS [FRAMES WIDTH HEIGHT [STEPS]]]\n", argv[0]);
        return 2;
    }
    para_world *world = NULL;
    para_world_options options = PARA_WORLD_OPTIONS_INIT;
    options.ranks = argc > 4 ? atoi(argv[4]) : 1;
    options.mpi = para_started_by_mpi();
    para_request request = PARA_REQUEST_INIT;
    request.prompt = argv[2];
    request.seed = 7; /* as torch.Generator("cpu").manual_seed(7) */
    request.num_frames = argc > 7 ? atoi(argv[5]) : 61;
    request.width = argc > 7 ? atoi(argv[6]) : 960;
    request.height = argc > 7 ? atoi(argv[7]) : 544;
    if (argc > 8) request.num_inference_steps = atoi(argv[8]);
    para_status status = para_world_open(&world, &options);
    if (status == PARA_OK) status = film(world, &request, argv[1], argv[3]);
    if (status != PARA_OK) fprintf(stderr, "%s\n", para_last_error()); /* what was wrong, where, and what to do */
    para_world_close(&world);
    return status == PARA_OK ? 0 : 1;
}
