/* para generate: a prompt to pictures. SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_report.h"
#include "commands.h"
#include "complain.h"
#include "report.h"
#include "session.h"

typedef struct generate_options {
    request_options request;
    const char *latents, *report, *save_latents, *output;
    float fps;
    int crf;
    bool quiet;
} generate_options;

/* Where frames go as they come. */
typedef struct frame_sink {
    para_video_writer *writer;
    char settings[512], seed[24], software[32];
    const char *text[20]; /* metadata: key, value, …, NULL */
} frame_sink;

static progress_view view;
static frame_sink sink;

/* What a failed run wrote goes again, but for devices. */
static void remove_output(const char *path) {
    struct stat at;
    if (path && lstat(path, &at) == 0 && S_ISREG(at.st_mode)) unlink(path);
}

/* What it takes to draw the picture or video again, as it will be rounded. */
static para_status describe(const generate_options *g, const char *model, para_pipeline *pipe) {
    const para_request *r = &g->request.request;
    int height, width, num_frames;
    para_status status = para_pipeline_size(pipe, r, &height, &width, &num_frames);
    if (status != PARA_OK) return status;
    char cache[32], frames[48];
    snprintf(sink.seed, sizeof sink.seed, "%" PRIu64, r->seed);
    snprintf(cache, sizeof cache, ", cache %g", (double)g->request.cache.options.residual_diff_threshold);
    snprintf(frames, sizeof frames, ", frames %d, fps %g", num_frames, (double)g->fps);
    snprintf(sink.settings, sizeof sink.settings,
             "steps %d, guidance %g%s, true-cfg %g, size %dx%d%s, rng %s, dtype %s, max-sequence-length %d%s%s%s",
             r->num_inference_steps, (double)r->guidance_scale, r->use_dynamic_cfg ? " dynamic" : "",
             (double)r->true_cfg_scale, width, height,
             para_pipeline_makes_videos(pipe) ? frames : "", rng_choices[g->request.rng],
             dtype_choices[g->request.dtype], r->max_sequence_length, r->vae_tiling ? ", vae-tiling" : "",
             g->latents ? ", latents from a file" : "", cache_arguments_given(&g->request.cache) ? cache : "");
    snprintf(sink.software, sizeof sink.software, "paraattn %s", para_version());
    const char *text[20] = {"prompt", r->prompt, "seed", sink.seed, "settings", sink.settings, "model", model};
    int n = 8;
    if (r->prompt_2) text[n++] = "prompt-2", text[n++] = r->prompt_2;
    if (r->negative_prompt) text[n++] = "negative-prompt", text[n++] = r->negative_prompt;
    text[n++] = "Software", text[n++] = sink.software;
    memcpy(sink.text, text, sizeof text);
    return PARA_OK;
}

static void on_progress(void *user, const para_progress *p) {
    (void)user;
    progress_show(&view, p);
}

static para_status on_frame(void *user, int image, int frame, const para_tensor *pixels) {
    (void)frame;
    return para_video_writer_put(((frame_sink *)user)->writer, image, pixels);
}

/* The output, before anything is loaded: videos but for tensors are written as their frames come. */
static para_status open_output(const generate_options *g, const char *model, const session *s, para_request *r) {
    para_status status = describe(g, model, s->pipe);
    if (status == PARA_OK && s->first) status = para_save_check_for(s->pipe, g->output);
    if (status != PARA_OK || !para_pipeline_makes_videos(s->pipe) || !para_path_is_video(g->output)) return status;
    para_video_options o = PARA_VIDEO_OPTIONS_INIT;
    o.fps = (double)g->fps;
    o.crf = g->crf;
    o.text = sink.text;
    if (s->first) status = para_video_writer_open(&sink.writer, g->output, r->num_images, &o);
    r->on_frame = on_frame;
    return status;
}

static para_status finish_output(const generate_options *g, const para_result *result) {
    return sink.writer ? para_video_writer_finish(&sink.writer) : para_save_images(result, g->output, sink.text);
}

/* All files or none. */
static para_status save(const generate_options *g, const char *model, const para_result *result) {
    const char *written[2] = {NULL, NULL};
    para_status status = PARA_OK;
    if (g->report) {
        status = report_write(g->report, model, &g->request, result);
        if (status == PARA_OK) written[0] = g->report;
    }
    if (status == PARA_OK && g->save_latents) {
        status = para_save_tensor(&result->latents, "latents", g->save_latents);
        if (status == PARA_OK) written[1] = g->save_latents;
    }
    if (status == PARA_OK) status = finish_output(g, result);
    for (int i = 0; i < 2 && status != PARA_OK; i++) remove_output(written[i]);
    return status;
}

static void show_cache(const para_result *result) {
    const cache_summary c = cache_summary_make(result);
    if (result->num_cache_steps == 0) return;
    fprintf(stderr, "cache: %d of %d hit, %.0f %% of the transformer's operations saved", result->cache_hits,
            result->num_cache_steps, 100 * c.flops_saved / c.flops);
    if (c.speed_up > 0) fprintf(stderr, ", denoising %.2f times as fast", c.speed_up);
    fprintf(stderr, "\n");
}

/* Process 0 has the result and writes it. */
static para_status save_result(const generate_options *g, const char *model, const session *s,
                               const para_result *result) {
    if (!s->first) return PARA_OK;
    session_hold_signals(true);
    para_status status = save(g, model, result);
    session_hold_signals(false);
    if (status == PARA_OK && !view.quiet)
        fprintf(stderr, "%s: text %.2f s, %d steps %.2f s, decode %.2f s, peak memory %.0f MB\n", g->output,
                result->text_seconds, g->request.request.num_inference_steps, result->denoise_seconds,
                result->decode_seconds, (double)peak_memory() / 1e6);
    if (status == PARA_OK && !view.quiet) show_cache(result);
    return status;
}

static int run(generate_options *g, const char *model) {
    para_request *r = &g->request.request;
    session s;
    para_tensor latents = {0};
    para_result *result = NULL;
    para_status status = session_open(&s, "generate", &g->request, model, &view);
    if (status == PARA_OK && g->latents) status = para_load_tensor(&latents, "latents", g->latents);
    if (g->latents) r->latents = &latents;
    r->profile = g->report != NULL;
    r->on_progress = on_progress;
    r->user = &sink;
    if (status == PARA_OK) status = open_output(g, model, &s, r);
    if (status == PARA_OK) status = cache_arguments_calibrate(&g->request.cache, s.pipe, r);
    if (status == PARA_OK) status = para_generate(s.pipe, r, &result);
    if (status == PARA_OK) status = save_result(g, model, &s, result);
    if (status != PARA_OK) progress_break(&view);
    para_video_writer_abort(&sink.writer);
    para_result_close(&result);
    para_tensor_free(&latents);
    return session_close(&s, status);
}

static int check_outputs(const generate_options *g) {
    if (!g->request.request.prompt) {
        complain("generate", "what shall it draw? Give --prompt \"a red heart on a blue background\"");
        return EXIT_USAGE;
    }
    if (!g->output) {
        complain("generate", "where shall it go? Give -o picture.png, or -o video.mp4 with a model that makes videos");
        return EXIT_USAGE;
    }
    const char *files[] = {g->output, g->save_latents, g->report};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < i; k++)
            if (files[i] && files[k] && strcmp(files[i], files[k]) == 0) {
                complain("generate", "'%s' is named for two outputs; give each a file of its own", files[i]);
                return EXIT_USAGE;
            }
    if (process_number() > 0) return EXIT_DONE; /* its host may have no such folder */
    para_status status = para_save_check(g->output);
    for (int i = 1; i < 3; i++)
        if (status == PARA_OK && files[i]) status = para_save_check_folder(files[i]);
    if (status == PARA_OK) return EXIT_DONE;
    complain("generate", "%s", para_last_error());
    return session_exit_status(status);
}

int command_generate(int argc, char **argv) {
    static generate_options g = {.request = REQUEST_OPTIONS_INIT, .fps = 24, .crf = 18};
    static const option options[] = {
        {"-o", OPTION_TEXT, &g.output, "FILE", NULL,
         "x.png: 8-bit picture with prompt and settings inside; a video to x.mp4, x.webp or frames-%04d.png; "
         "x.safetensors: float pixels"},
        {"--fps", OPTION_FLOAT, &g.fps, "N", NULL, "frames a second of a video (24)"},
        {"--crf", OPTION_INT, &g.crf, "N", NULL, "quality of an MP4, 0 (exact) to 51 (18)"},
        REQUEST_OPTIONS(g.request),
        {"--seed", OPTION_UINT64, &g.request.request.seed, "N", NULL, "of the initial noise (0)"},
        {"--rng", OPTION_CHOICE, &g.request.rng, NULL, rng_choices,
         "whose noise: PyTorch's CPU or CUDA generator (cpu)"},
        {"--latents", OPTION_TEXT, &g.latents, "FILE", NULL,
         "initial noise from tensor `latents` of a safetensors file"},
        {"--save-latents", OPTION_TEXT, &g.save_latents, "FILE", NULL, "write the final latents as safetensors"},
        {"--report", OPTION_TEXT, &g.report, "FILE", NULL,
         "write versions, settings, times, memory, mesh and exchanged bytes as JSON"},
        {"--quiet", OPTION_FLAG, &g.quiet, NULL, NULL, "no progress, no warnings"},
        RANK_OPTIONS(g.request),
        CACHE_ARGUMENTS(g.request.cache),
        {"--cache-psnr", OPTION_NUMBERS, &g.request.cache.psnr, "DB", NULL,
         "with --cache auto: how near cached pictures shall be to uncached ones (32)"},
        {0},
    };
    static const command c = {
        .name = "generate",
        .operand = "MODEL",
        .operand_required = true,
        .summary = "Draws pictures or videos from a prompt. MODEL is a diffusers folder as it comes from the hub.",
        .details =
            "\nSame seed, same picture as diffusers with torch.Generator(\"cpu\").manual_seed(N).\n"
            "\nExamples:\n"
            "  para generate models/tiny-flux --prompt \"a red heart on a blue background\" -o heart.png\n"
            "  para generate models/tiny-flux --prompt \"two yellow stars\" --seed 7 --steps 20 --num-images 2 -o "
            "stars.png\n"
            "  para generate models/tiny-flux --prompt \"a green tree\" --dtype bf16 --report tree.json -o tree.png\n"
            "  para generate models/tiny-flux --prompt \"two snowmen\" --cache 0.1 --cache-taylorseer 1 -o "
            "snowmen.png\n"
            "  para generate models/tiny-flux --prompt \"a snowman\" --steps 8 --width 128 --cache auto "
            "--cache-psnr 30 -o "
            "snowman.png\n"
            "  para generate models/tiny-flux --prompt \"a blue umbrella\" --ranks 2 --steps 6 -o umbrella.png\n",
        .options = options,
    };
    const char *model;
    bool help;
    int code = parse_options(&c, argc, argv, &model, &help);
    if (code == EXIT_DONE && !help) {
        request_options_finish(&g.request);
        code = cache_arguments_finish(&g.request.cache, c.name, true);
        if (code == EXIT_DONE) code = check_outputs(&g);
        progress_open(&view, g.quiet || process_number() > 0);
        session_catch_signals();
        if (code == EXIT_DONE) code = run(&g, model);
    }
    request_options_free(&g.request);
    return code;
}
