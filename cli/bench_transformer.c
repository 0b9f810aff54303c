/* para bench transformer: a denoising step. SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_result.h"
#include "benchmarks.h"
#include "complain.h"
#include "session.h"

typedef struct transformer_options {
    request_options request;
    bench_csv csv;
    const char *inputs, *save_output;
    int text_tokens, repeats;
    float ceiling;
    bool wait, profile, exposed_exchange, quiet;
} transformer_options;

static progress_view view;

/* A tensor of the file, without the dimensions of 1 before the last `rank`; no data where the file has none and need not. */
static para_status load_input(para_tensor *out, int rank, bool needed, const char *name, const char *path) {
    para_status status = para_load_tensor(out, name, path);
    if (status == PARA_ERR_NOT_FOUND && !needed) return PARA_OK;
    while (status == PARA_OK && out->rank > rank && out->dim[0] == 1)
        *out = para_tensor_make(out->data, out->dtype, out->rank - 1, out->dim + 1);
    return status;
}

static para_status open_inputs(const transformer_options *o, para_pipeline *pipe, para_bench_inputs *out) {
    if (!o->inputs) return para_bench_inputs_random(pipe, &o->request.request, o->text_tokens, 0, out);
    para_status status = load_input(&out->latents, para_pipeline_makes_videos(pipe) ? 5 : 3, true, "latents", o->inputs);
    if (status == PARA_OK) status = load_input(&out->prompt_embeds, 2, true, "encoder_hidden_states", o->inputs);
    if (status == PARA_OK) status = load_input(&out->pooled_prompt_embeds, 2, false, "pooled_projections", o->inputs);
    if (status == PARA_OK)
        status = load_input(&out->negative_prompt_embeds, 2, false, "negative_encoder_hidden_states", o->inputs);
    return status;
}

/* Milliseconds of a step: (preparation + all steps) / steps. */
static para_status measure(const session *s, const para_request *r, double *ms, int *hits) {
    para_result *result = NULL;
    para_status status = para_generate(s->pipe, r, &result);
    if (result) {
        *ms = 1e3 * result->denoise_seconds / r->num_inference_steps;
        *hits = result->cache_hits;
    }
    para_result_close(&result);
    return status;
}

static para_status save_prediction(const session *s, const transformer_options *o) {
    para_tensor prediction;
    para_status status = para_bench_prediction(s->pipe, &o->request.request, &prediction);
    if (status == PARA_OK && s->first) status = para_save_tensor(&prediction, "prediction", o->save_output);
    para_tensor_free(&prediction);
    return status;
}

/* Where the time of a step goes, in a run of its own: its last step is run op by op. */
static para_status show_profile(const session *s, const para_request *request) {
    para_request r = *request;
    para_result *result = NULL;
    double all = 0;
    r.profile = true;
    para_status status = para_generate(s->pipe, &r, &result);
    progress_break(&view);
    for (int i = 0; result && i < result->num_step_ops; i++) all += result->step_ops[i].seconds;
    if (result) printf("op by op      %.3f ms in %d kinds of ops\n", 1e3 * all, result->num_step_ops);
    for (int i = 0; result && i < result->num_step_ops; i++) {
        const para_op_time *o = &result->step_ops[i];
        printf("  %-15s %5d calls %10.3f ms %5.1f %%\n", o->name, o->calls, 1e3 * o->seconds, 100 * o->seconds / all);
    }
    para_result_close(&result);
    return status;
}

/* Runs with and without what the ranks exchange, in turn: what is between them is what nothing hides. */
static para_status show_exposed(const session *s, const transformer_options *o, const para_plan *p) {
    const para_request *r = &o->request.request;
    if (p->ranks == 1) {
        if (s->first) printf("exchange      none: one rank\n");
        return PARA_OK;
    }
    int n = o->repeats, hits;
    double *ms = calloc(2 * (size_t)n, sizeof *ms), warm;
    para_status status = ms ? PARA_OK : PARA_ERR_MEMORY;
    for (int i = -1; i < n && status == PARA_OK; i++)
        for (int without = 0; without < 2 && status == PARA_OK; without++) {
            para_bench_leave_out_exchange(s->pipe, without);
            status = measure(s, r, i < 0 ? &warm : &ms[without * n + i], &hits);
        }
    para_bench_leave_out_exchange(s->pipe, false);
    progress_break(&view);
    if (status == PARA_OK && s->first) {
        double with = bench_median(ms, n), without = bench_median(ms + n, n);
        printf("exchange      %.3f ms with, %.3f ms without: %.3f ms (%.1f %%) are not hidden\n", with, without, with - without, 100 * (with - without) / with);
    }
    free(ms);
    return status;
}

/* Says that it is ready, with the FLOPs of a step and attention's part; then for each line of standard input the milliseconds of a run. Of several processes each
 * gets the lines, and the first one speaks. */
static para_status measure_on_demand(const session *s, const para_request *r, const para_plan *p) {
    char line[64];
    int hits = 0;
    double ms = 0;
    if (s->first) printf("ready %.0f %.0f\n", p->step_flops, p->step_attention_flops);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        para_status status = measure(s, r, &ms, &hits);
        if (status != PARA_OK) return status;
        if (s->first) printf("%.5f\n", ms);
        fflush(stdout);
    }
    return PARA_OK;
}

static void show(const transformer_options *o, const para_plan *p, double *ms, int n, int hits) {
    double median = bench_median(ms, n), flops = p->step_flops;
    printf("step          %.3f ms, median of %d (%.3f to %.3f), of %d steps with their preparation\n", median, n, ms[0],
           ms[n - 1], o->request.request.num_inference_steps);
    printf("work          %.4g TFLOP a step, attention %.4g of it\n", flops / 1e12, p->step_attention_flops / 1e12);
    if (hits > 0) printf("cache         %d of %d steps hit\n", hits, o->request.request.num_inference_steps * p->items);
    else printf("rate          %.4g TFLOP/s\n", flops / median / 1e9);
    if (hits == 0 && o->ceiling > 0)
        printf("share         %.1f %% of %g TFLOP/s\n", flops / median / 1e7 / (double)o->ceiling, (double)o->ceiling);
}

static para_status measure_all(const session *s, const transformer_options *o, const char *model, const para_plan *p) {
    const para_request *r = &o->request.request;
    double warm = 0, *ms = calloc((size_t)o->repeats, sizeof *ms);
    int hits = 0;
    para_status status = ms ? measure(s, r, &warm, &hits) : PARA_ERR_MEMORY;
    if (status == PARA_OK && o->wait) {
        free(ms);
        return measure_on_demand(s, r, p);
    }
    for (int i = 0; i < o->repeats && status == PARA_OK; i++) status = measure(s, r, &ms[i], &hits);
    progress_break(&view);
    if (status == PARA_OK && s->first) {
        char name[128];
        bench_case(name, sizeof name, model, p);
        printf("case          %s: %lld image tokens + %lld text tokens, %s on %s\n", name, (long long)p->image_tokens,
               (long long)p->text_tokens, dtype_choices[o->request.dtype], para_world_device_name(s->world));
        show(o, p, ms, o->repeats, hits);
        if (o->csv.file && !bench_csv_add(&o->csv, s->world, name, bench_median(ms, o->repeats))) status = PARA_ERR_IO;
    }
    free(ms);
    if (status == PARA_OK && o->exposed_exchange) status = show_exposed(s, o, p);
    return status == PARA_OK && o->profile ? show_profile(s, r) : status;
}

/* What asks for more than the times of runs. */
static const char *more_than_times(const transformer_options *o) {
    return o->csv.file ? "--csv" : o->profile ? "--profile" : o->exposed_exchange ? "--exposed-exchange" : o->ceiling > 0 ? "--ceiling" : NULL;
}

static int run(transformer_options *o, const char *name) {
    session s;
    char path[PATH_MAX];
    const char *model = bench_model(name, path);
    para_bench_inputs inputs = {0};
    para_plan plan = {0};
    para_request *r = &o->request.request;
    r->latents_only = true;
    r->on_progress = progress_show;
    r->user = &view;
    para_status status = session_open(&s, "bench", &o->request, model, &view);
    if (status == PARA_OK) status = open_inputs(o, s.pipe, &inputs);
    r->latents = &inputs.latents;
    r->prompt_embeds = &inputs.prompt_embeds;
    r->pooled_prompt_embeds = inputs.pooled_prompt_embeds.data ? &inputs.pooled_prompt_embeds : NULL;
    r->negative_prompt_embeds = inputs.negative_prompt_embeds.data ? &inputs.negative_prompt_embeds : NULL;
    if (status == PARA_OK) status = para_pipeline_plan(s.pipe, r, &plan);
    if (status == PARA_OK && o->save_output) status = save_prediction(&s, o);
    if (status == PARA_OK) status = measure_all(&s, o, model, &plan);
    progress_break(&view);
    para_bench_inputs_free(&inputs);
    return session_close(&s, status);
}

int bench_transformer(int argc, char **argv) {
    static transformer_options o = {.request = REQUEST_OPTIONS_INIT, .text_tokens = 512, .repeats = 5};
    static const option options[] = {
        {"--random-weights", OPTION_FLAG, &o.request.random_weights, NULL, NULL,
         "read no weights; the folder needs no more than its configs"},
        STEP_OPTIONS(o.request),
        {"--text-tokens", OPTION_INT, &o.text_tokens, "N", NULL, "of the random text (512)"},
        {"--repeats", OPTION_INT, &o.repeats, "N", NULL, "runs of all steps that are timed, after one that is not (5)"},
        {"--wait", OPTION_FLAG, &o.wait, NULL, NULL,
         "time one run for each line of standard input instead, and print its milliseconds a step"},
        {"--inputs", OPTION_TEXT, &o.inputs, "FILE", NULL,
         "not random: latents, encoder_hidden_states and, if the model takes them, pooled_projections and "
         "negative_encoder_hidden_states of a safetensors file"},
        {"--save-output", OPTION_TEXT, &o.save_output, "FILE", NULL,
         "write the prediction at the first timestep as safetensors"},
        {"--profile", OPTION_FLAG, &o.profile, NULL, NULL,
         "show how long each kind of op takes, in one more run whose last step is not played from a recording"},
        {"--exposed-exchange", OPTION_FLAG, &o.exposed_exchange, NULL, NULL,
         "run the steps without what the ranks exchange, too, and show how much of it nothing hides"},
        {"--ceiling", OPTION_FLOAT, &o.ceiling, "TFLOPS", NULL, "what the machine can do: print the share of it"},
        CSV_OPTIONS(o.csv),
        {"--quiet", OPTION_FLAG, &o.quiet, NULL, NULL, "no progress, no warnings"},
        RANK_OPTIONS(o.request),
        CACHE_ARGUMENTS(o.request.cache),
        {0},
    };
    static const command c = {
        .name = "bench transformer",
        .operand = "CONFIG",
        .operand_required = true,
        .summary = "Times the denoising steps of a model on random latents and a random text.",
        .details = "\n" BENCH_CONFIGS
                   "A step is what one of N takes, with its share of what is prepared before the first.\n"
                   "\nExamples:\n"
                   "  para bench transformer models/tiny-flux --width 256 --height 256 --steps 4\n"
                   "  para bench transformer models/tiny-flux --random-weights --width 256 --height 256 --steps 4 "
                   "--dtype bf16\n",
        .options = options,
    };
    const char *model;
    bool help;
    int code = parse_options(&c, argc, argv, &model, &help);
    if (code == EXIT_DONE && !help) {
        code = bench_begin(&o.request, o.repeats, &o.csv, &view, o.quiet);
        if (code == EXIT_DONE && o.exposed_exchange && o.request.cache.options.residual_diff_threshold > 0) {
            complain("bench", "--exposed-exchange goes without --cache: what the ranks exchange decides which steps hit");
            code = EXIT_USAGE;
        }
        if (code == EXIT_DONE) code = bench_check_wait(o.wait, more_than_times(&o));
        if (code == EXIT_DONE) code = run(&o, model);
    }
    request_options_free(&o.request);
    return code;
}
