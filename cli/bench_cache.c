/* para bench cache: what the First Block Cache saves, and what it costs in quality. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "benchmarks.h"
#include "cache_figures.h"
#include "complain.h"
#include "prompt_file.h"
#include "session.h"
#include "svg_plot.h"

#define NAME "bench cache"

enum { SHEET_PROMPTS = 3 };

typedef struct cache_bench {
    request_options request;
    cache_arguments rules; /* threshold and derivatives change from arm to arm */
    const char *prompts_path, *folder;
    number_list thresholds, seeds, derivatives;
    bool quiet, made_folder;
    prompt_list prompts;
    cache_study study;
    cache_sheet sheet; /* of the first seed */
    int done, total;   /* runs */
    double start;      /* seconds */
} cache_bench;

static progress_view view;

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void count_run(cache_bench *b, para_status status) {
    if (status == PARA_OK)
        progress_show(&view, &(para_progress){"draw", ++b->done, b->total, seconds_now() - b->start});
}

static para_status draw(cache_bench *b, const session *s, float threshold, int derivatives, para_result **out) {
    cache_arguments c = b->rules;
    if (threshold == 0) { /* what skips layers does so without a cache, too */
        c = (cache_arguments)CACHE_ARGUMENTS_INIT;
        c.skip_layers = b->rules.skip_layers;
        c.skip_range = b->rules.skip_range;
    }
    c.options.residual_diff_threshold = threshold;
    c.options.taylorseer_derivatives = derivatives;
    para_status status = cache_arguments_set(&c, s->pipe);
    return status == PARA_OK ? para_generate(s->pipe, &b->request.request, out) : status;
}

/* A picture of an arm; or, -1, the uncached one, with which it is not compared. */
static para_status take_in(cache_bench *b, int prompt, int arm, const para_result *picture,
                           const para_result *uncached) {
    const para_request *r = &b->request.request;
    if (arm >= 0) {
        para_status status = cache_study_add(&b->study, &b->study.arm[arm], prompt + 1, r->seed, picture, uncached);
        if (status != PARA_OK) return status;
    }
    bool first_seed = r->seed == (uint64_t)b->seeds.value[0];
    return first_seed ? cache_sheet_put(&b->sheet, &b->study, prompt, arm, picture) : PARA_OK;
}

/* One picture without and with every cache. */
static para_status draw_all(cache_bench *b, const session *s, int prompt, uint64_t seed) {
    b->request.request.prompt = b->prompts.text[prompt];
    b->request.request.seed = seed;
    para_result *uncached = NULL;
    para_status status = draw(b, s, 0, 0, &uncached);
    if (status == PARA_OK && s->first) status = take_in(b, prompt, -1, uncached, uncached);
    count_run(b, status);
    for (int i = 0; i < b->study.arms && status == PARA_OK; i++) {
        const cache_arm *arm = &b->study.arm[i];
        para_result *cached = NULL;
        status = draw(b, s, arm->threshold, arm->derivatives, &cached);
        if (status == PARA_OK && s->first) status = take_in(b, prompt, i, cached, uncached);
        para_result_close(&cached);
        count_run(b, status);
    }
    para_result_close(&uncached);
    return status;
}

static para_status study(cache_bench *b, session *s) {
    static progress_view silent = {.quiet = true};
    para_result *first = NULL;
    b->request.request.prompt = b->prompts.text[0];
    para_status status = draw(b, s, 0, 0, &first); /* loads, and does not count */
    para_result_close(&first);
    s->view = &silent; /* the table says what each run would warn of */
    b->total = b->prompts.count * b->seeds.count * (1 + b->study.arms);
    b->start = seconds_now();
    for (int i = 0; i < b->prompts.count; i++)
        for (int k = 0; k < b->seeds.count && status == PARA_OK; k++)
            status = draw_all(b, s, i, (uint64_t)b->seeds.value[k]);
    return status;
}

static para_status save(cache_bench *b) {
    session_hold_signals(true);
    char plot[4096], sheet[4096];
    snprintf(plot, sizeof plot, "%s/cache.svg", b->folder);
    snprintf(sheet, sizeof sheet, "%s/cache.png", b->folder);
    para_status status = cache_study_save(&b->study, b->folder);
    if (status == PARA_OK) status = cache_plot_save(&b->study, plot);
    if (status == PARA_OK) status = cache_sheet_save(&b->sheet, sheet);
    session_hold_signals(false);
    return status;
}

/* Every cache has pictures: those until Ctrl-C, then. */
static bool worth_saving(const cache_bench *b, para_status status) {
    return status == PARA_OK || (status == PARA_ERR_CANCELLED && b->study.arm[b->study.arms - 1].pictures > 0);
}

static int run(cache_bench *b, const char *model) {
    session s;
    para_status status = session_open(&s, NAME, &b->request, model, &view);
    if (status == PARA_OK) status = study(b, &s);
    progress_break(&view);
    if (s.first && worth_saving(b, status)) {
        para_status saved = save(b);
        if (status == PARA_OK) status = saved;
    }
    if (status != PARA_OK && b->made_folder) rmdir(b->folder); /* where nothing was saved */
    if (status == PARA_OK && s.first) cache_study_print(&b->study);
    return session_close(&s, status);
}

static bool whole_numbers(const number_list *list, double most) {
    for (int i = 0; i < list->count; i++)
        if (!(list->value[i] >= 0 && list->value[i] <= most && list->value[i] == trunc(list->value[i]))) return false;
    return true;
}

static bool above_0(const number_list *list) {
    for (int i = 0; i < list->count; i++)
        if (!((float)list->value[i] > 0 && isfinite((float)list->value[i]))) return false;
    return true;
}

/* Gives a list that was left out its default. */
static bool fill(number_list *list, int count, const double *value) {
    if (list->count) return true;
    if (!(list->value = calloc((size_t)count, sizeof *list->value))) return false;
    memcpy(list->value, value, (size_t)count * sizeof *value);
    list->count = count;
    return true;
}

static bool fill_lists(cache_bench *b) {
    static const double thresholds[] = {0.05, 0.08, 0.12, 0.16, 0.2}, zero[] = {0};
    return fill(&b->thresholds, 5, thresholds) && fill(&b->seeds, 1, zero) && fill(&b->derivatives, 1, zero);
}

static const char *bad_argument(const cache_bench *b) {
    if (!b->prompts_path) return "which prompts shall it draw? Give --prompts FILE, with one a line";
    if (!b->folder) return "where shall the results go? Give -o FOLDER";
    if (!above_0(&b->thresholds)) return "--thresholds: give numbers above 0; it draws without a cache anyway";
    if (!whole_numbers(&b->seeds, 0x1p53)) return "--seeds: give whole numbers of 0 to 2^53";
    if (!whole_numbers(&b->derivatives, 8) || b->derivatives.count > PLOT_MAX_SERIES)
        return "--taylorseer: give whole numbers of 0 to 8, eight of them at most";
    return NULL;
}

static int prepare(cache_bench *b) {
    const char *bad = bad_argument(b);
    if (bad) {
        complain(NAME, "%s", bad);
        return EXIT_USAGE;
    }
    if (!prompt_file_read(&b->prompts, b->prompts_path, NAME)) return EXIT_FAILED;
    b->made_folder = process_number() == 0 && mkdir(b->folder, 0777) == 0;
    if (process_number() == 0 && !b->made_folder && errno != EEXIST) {
        complain(NAME, "the folder '%s' cannot be made: %s", b->folder, strerror(errno));
        return EXIT_FAILED;
    }
    b->sheet.prompts = b->prompts.count < SHEET_PROMPTS ? b->prompts.count : SHEET_PROMPTS;
    if (fill_lists(b) && cache_study_open(&b->study, &b->derivatives, &b->thresholds)) return EXIT_DONE;
    complain(NAME, "out of memory");
    return EXIT_FAILED;
}

int bench_cache(int argc, char **argv) {
    static cache_bench b = {.request = REQUEST_OPTIONS_INIT, .rules = CACHE_ARGUMENTS_INIT};
    static const option options[] = {
        {"-o", OPTION_TEXT, &b.folder, "FOLDER", NULL, "where results go: cache.csv, runs.csv, cache.svg, cache.png"},
        {"--prompts", OPTION_TEXT, &b.prompts_path, "FILE", NULL,
         "prompts, one a line; lines that begin with # do not count"},
        {"--thresholds", OPTION_NUMBERS, &b.thresholds, "D,D,...", NULL, "of the cache (0.05,0.08,0.12,0.16,0.2)"},
        {"--taylorseer", OPTION_NUMBERS, &b.derivatives, "N,N,...", NULL,
         "derivatives to extrapolate cached steps with, each with every threshold (0)"},
        {"--seeds", OPTION_NUMBERS, &b.seeds, "N,N,...", NULL, "of the initial noise, each with every prompt (0)"},
        SETTING_OPTIONS(b.request),
        CACHE_RULES(b.rules),
        RANK_OPTIONS(b.request),
        {"--quiet", OPTION_FLAG, &b.quiet, NULL, NULL, "no progress, no warnings"},
        {0},
    };
    static const command c = {
        .name = NAME,
        .operand = "MODEL",
        .operand_required = true,
        .summary = "Draws every prompt without and with the First Block Cache: speed-up of the denoising loop against "
                   "PSNR and SSIM to the\nuncached picture.",
        .details = "\nCtrl-C ends it, and what was drawn until then is kept.\n"
                   "\ncache.csv has a line for each cache, runs.csv one for each picture. PSNR is that of the mean "
                   "squared difference over\n"
                   "all pictures; the worst picture is the one with the lowest. cache.svg shows quality over speed-up, "
                   "cache.png the first\n"
                   "pictures: without a cache, then with each threshold; T1: with one derivative.\n"
                   "\nExamples:\n"
                   "  para bench cache models/tiny-flux --prompts prompts.txt --steps 8 --width 128 --thresholds "
                   "0.1,0.2 -o cache\n",
        .options = options,
    };
    const char *model;
    bool help;
    int code = parse_options(&c, argc, argv, &model, &help);
    if (code == EXIT_DONE && !help) {
        request_options_finish(&b.request);
        progress_open(&view, b.quiet || process_number() > 0);
        session_catch_signals();
        code = prepare(&b);
        if (code == EXIT_DONE) code = run(&b, model);
    }
    cache_study_close(&b.study);
    cache_sheet_close(&b.sheet);
    prompt_list_free(&b.prompts);
    free(b.thresholds.value);
    free(b.seeds.value);
    free(b.derivatives.value);
    cache_arguments_free(&b.rules);
    request_options_free(&b.request);
    return code;
}
