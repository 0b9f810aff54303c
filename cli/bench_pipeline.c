/* para bench pipeline: a whole picture. SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_result.h"
#include "benchmarks.h"
#include "complain.h"
#include "session.h"

enum { TEXT, LOOP, DECODE, PICTURE, STAGES };
static const char *const stage_names[STAGES] = {"text", "loop", "decode", "picture"};

typedef struct pipeline_options {
    request_options request;
    bench_csv csv;
    const char *latents, *save_outputs;
    int repeats;
    bool wait, quiet;
} pipeline_options;

static progress_view view;

/* Milliseconds of each stage, and of all. */
static para_status measure(const session *s, const para_request *r, double *ms) {
    para_result *result = NULL;
    para_status status = para_generate(s->pipe, r, &result);
    if (result) {
        ms[TEXT] = 1e3 * result->text_seconds;
        ms[LOOP] = 1e3 * result->denoise_seconds;
        ms[DECODE] = 1e3 * result->decode_seconds;
        ms[PICTURE] = ms[TEXT] + ms[LOOP] + ms[DECODE];
    }
    para_result_close(&result);
    return status;
}

/* Says that it is ready; then for each line of standard input the milliseconds of a picture's stages. */
static para_status measure_on_demand(const session *s, const para_request *r) {
    char line[64];
    double ms[STAGES] = {0};
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        para_status status = measure(s, r, ms);
        if (status != PARA_OK) return status;
        printf("%.5f %.5f %.5f %.5f\n", ms[TEXT], ms[LOOP], ms[DECODE], ms[PICTURE]);
        fflush(stdout);
    }
    return PARA_OK;
}

static para_status show_stage(const session *s, const pipeline_options *o, const char *name, int stage, double *ms) {
    char row[160];
    double median = bench_median(ms, o->repeats);
    printf("%-13s %.3f ms, median of %d (%.3f to %.3f)\n", stage_names[stage], median, o->repeats, ms[0],
           ms[o->repeats - 1]);
    snprintf(row, sizeof row, "%s-%s", name, stage_names[stage]);
    return !o->csv.file || bench_csv_add(&o->csv, s->world, row, median) ? PARA_OK : PARA_ERR_IO;
}

static para_status measure_all(const session *s, const pipeline_options *o, const char *model, const para_plan *p) {
    const para_request *r = &o->request.request;
    double one[STAGES] = {0}, *ms = calloc((size_t)o->repeats * STAGES, sizeof *ms);
    para_status status = ms ? measure(s, r, one) : PARA_ERR_MEMORY;
    if (status == PARA_OK && o->wait) {
        free(ms);
        return measure_on_demand(s, r);
    }
    for (int i = 0; i < o->repeats && status == PARA_OK; i++) {
        status = measure(s, r, one);
        for (int k = 0; k < STAGES; k++) ms[k * o->repeats + i] = one[k];
    }
    progress_break(&view);
    if (status == PARA_OK && s->first) {
        char name[128];
        bench_case(name, sizeof name, model, p);
        printf("case          %s: %d steps, %s on %s\n", name, r->num_inference_steps, dtype_choices[o->request.dtype],
               para_world_device_name(s->world));
        for (int k = 0; k < STAGES && status == PARA_OK; k++) status = show_stage(s, o, name, k, &ms[k * o->repeats]);
    }
    free(ms);
    return status;
}

/* What the text encoders and the VAE give, to a file: nothing is timed. */
static para_status save_outputs(const session *s, const pipeline_options *o) {
    static const char *const name[] = {"prompt_embeds", "images", "pooled_prompt_embeds"};
    para_bench_outputs out;
    para_status status = para_bench_text_and_vae(s->pipe, &o->request.request, &out);
    progress_break(&view);
    if (status == PARA_OK && s->first) {
        const para_tensor tensors[] = {out.prompt_embeds, out.images, out.pooled_prompt_embeds};
        status = para_save_tensors(out.pooled_prompt_embeds.data ? 3 : 2, tensors, name, o->save_outputs);
    }
    para_bench_outputs_free(&out);
    return status;
}

static int run(pipeline_options *o, const char *name) {
    session s;
    para_tensor latents = {0};
    char path[PATH_MAX];
    const char *model = bench_model(name, path);
    para_plan plan = {0};
    para_request *r = &o->request.request;
    r->on_progress = progress_show;
    r->user = &view;
    para_status status = session_open(&s, "bench", &o->request, model, &view);
    if (status == PARA_OK && o->latents) status = para_load_tensor(&latents, "latents", o->latents);
    if (o->latents) r->latents = &latents;
    if (status == PARA_OK && o->save_outputs) status = save_outputs(&s, o);
    else if (status == PARA_OK) status = para_pipeline_plan(s.pipe, r, &plan);
    if (status == PARA_OK && !o->save_outputs) status = measure_all(&s, o, model, &plan);
    progress_break(&view);
    para_tensor_free(&latents);
    return session_close(&s, status);
}

int bench_pipeline(int argc, char **argv) {
    static pipeline_options o = {.request = REQUEST_OPTIONS_INIT, .repeats = 5};
    static const option options[] = {
        {"--random-weights", OPTION_FLAG, &o.request.random_weights, NULL, NULL,
         "read no weights; the folder needs no more than its configs"},
        REQUEST_OPTIONS(o.request),
        {"--repeats", OPTION_INT, &o.repeats, "N", NULL, "pictures that are timed, after one that is not (5)"},
        {"--wait", OPTION_FLAG, &o.wait, NULL, NULL,
         "time one picture for each line of standard input instead, and print its milliseconds"},
        {"--latents", OPTION_TEXT, &o.latents, "FILE", NULL,
         "initial noise from tensor `latents` of a safetensors file"},
        {"--save-outputs", OPTION_TEXT, &o.save_outputs, "FILE", NULL,
         "time nothing, compute no step: write prompt_embeds and pooled_prompt_embeds of the prompt, and images, "
         "decoded from --latents, as safetensors"},
        CSV_OPTIONS(o.csv),
        {"--quiet", OPTION_FLAG, &o.quiet, NULL, NULL, "no progress, no warnings"},
        RANK_OPTIONS(o.request),
        CACHE_ARGUMENTS(o.request.cache),
        {0},
    };
    static const command c = {
        .name = "bench pipeline",
        .operand = "CONFIG",
        .operand_required = true,
        .summary = "Times whole pictures: the text encoders, the denoising loop, the VAE.",
        .details = "\n" BENCH_CONFIGS
                   "\nExamples:\n"
                   "  para bench pipeline models/tiny-flux --steps 2 --repeats 2\n"
                   "  para bench pipeline models/tiny-flux --random-weights --steps 2 --repeats 1\n",
        .options = options,
    };
    const char *model;
    bool help;
    int code = parse_options(&c, argc, argv, &model, &help);
    if (code == EXIT_DONE && !help) {
        if (!o.request.request.prompt) o.request.request.prompt = "a red heart on a blue background";
        code = bench_begin(&o.request, o.repeats, &o.csv, &view, o.quiet);
        if (code == EXIT_DONE) code = bench_check_wait(o.wait, o.csv.file ? "--csv" : NULL);
        if (code == EXIT_DONE && o.save_outputs && !o.latents) {
            complain("bench", "--save-outputs decodes given latents; give --latents FILE, too");
            code = EXIT_USAGE;
        }
        if (code == EXIT_DONE) code = run(&o, model);
    }
    request_options_free(&o.request);
    return code;
}
