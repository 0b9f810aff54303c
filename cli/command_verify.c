/* para verify: whether many ranks draw what one rank draws. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "complain.h"
#include "session.h"

typedef struct verify_options {
    request_options request;
    bool quiet;
} verify_options;

/* The table's lines wait for the end of the progress. */
typedef struct stage_list {
    para_verify_stage *stage;
    int count;
    bool failed; /* no memory for another one */
} stage_list;

static progress_view view;

/* Loading begins twice: for the run on all ranks and for the run on one. */
static void on_progress(void *user, const para_progress *p) {
    static int runs;
    if (p->done == 0 && p->stage[0] == 'l' && !view.quiet)
        fprintf(stderr, runs++ == 0 ? "the request on all ranks\n" : "the same on one rank\n");
    progress_show(user, p);
}

/* "4.8e-07", or 0 */
static void show_number(double x) {
    if (x == 0) printf("  %11s", "0");
    else printf("  %11.1e", x);
}

static void on_stage(void *user, const para_verify_stage *s) {
    stage_list *list = user;
    para_verify_stage *grown = realloc(list->stage, ((size_t)list->count + 1) * sizeof *grown);
    char *name = strdup(s->name);
    list->failed = list->failed || !grown || !name;
    if (grown) list->stage = grown;
    if (list->failed) {
        free(name);
        return;
    }
    list->stage[list->count] = *s;
    list->stage[list->count++].name = name;
}

static void show_stage(const para_verify_stage *s) {
    printf("%-34s %11lld", s->name, (long long)s->values);
    show_number(s->max_difference);
    show_number(s->relative_l2);
    show_number(s->bound);
    if (isinf(s->psnr)) printf("  PSNR: equal");
    else if (!isnan(s->psnr)) printf("  PSNR %.1f dB", s->psnr);
    printf("%s\n", s->within ? "" : "  BEYOND");
}

static void show_stages(const stage_list *list) {
    printf("%-34s %11s  %11s  %11s  %11s\n", "stage", "values", "max diff.", "relative L2", "bound");
    for (int i = 0; i < list->count; i++) show_stage(&list->stage[i]);
}

static int show_verdict(const para_verify_report *r) {
    printf("\n%d ranks as batch %d x ring %d x ulysses %d: %.2f s, %.1f MB exchanged; one rank: %.2f s\n", r->ranks,
           r->batch, r->ring, r->ulysses, r->mesh_seconds, (double)r->exchanged_bytes / 1e6, r->one_rank_seconds);
    if (r->beyond > 0)
        printf("NOT EQUAL: %d of %d stages differ by more than rounding, the worst, %s, by %.2g times its bound\n",
               r->beyond, r->stages, r->worst, r->worst_ratio);
    else if (r->worst_ratio > 0)
        printf("equal to rounding: %d stages, the worst, %s, at %.2g of its bound\n", r->stages, r->worst,
               r->worst_ratio);
    else printf("equal bit for bit: %d stages\n", r->stages);
    return r->beyond > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int run(verify_options *o, const char *model) {
    session s;
    para_verify_report report;
    para_verify_options options = PARA_VERIFY_OPTIONS_INIT;
    o->request.request.on_progress = on_progress;
    o->request.request.user = &view;
    para_status status = session_open(&s, "verify", &o->request, model, &view);
    if (status == PARA_OK && para_world_size(s.world) == 1) {
        complain("verify", "one rank alone has nothing to compare; give --ranks 2 or more, or start it with mpirun");
        session_close(&s, PARA_OK);
        return EXIT_USAGE;
    }
    stage_list list = {0};
    options.on_stage = on_stage;
    options.user = &list;
    if (status == PARA_OK) status = para_verify(s.pipe, &o->request.request, &options, &report);
    progress_break(&view);
    int verdict = EXIT_DONE;
    if (status == PARA_OK && list.failed) status = PARA_ERR_MEMORY;
    if (status == PARA_OK && s.first) {
        show_stages(&list);
        verdict = show_verdict(&report);
    }
    for (int i = 0; i < list.count; i++) free((char *)(uintptr_t)list.stage[i].name);
    free(list.stage);
    int code = session_close(&s, status);
    return code == EXIT_DONE ? verdict : code;
}

int command_verify(int argc, char **argv) {
    static verify_options o = {.request = REQUEST_OPTIONS_INIT};
    static const option options[] = {
        REQUEST_OPTIONS(o.request),
        {"--seed", OPTION_UINT64, &o.request.request.seed, "N", NULL, "of the initial noise (0)"},
        {"--quiet", OPTION_FLAG, &o.quiet, NULL, NULL, "no progress, no warnings"},
        RANK_OPTIONS(o.request),
        CACHE_ARGUMENTS(o.request.cache),
        {0},
    };
    static const command c = {
        .name = "verify",
        .operand = "MODEL",
        .operand_required = true,
        .summary = "Draws one picture on many ranks and again on one, and compares every stage.",
        .details =
            "\nThe first run's results are kept in memory: the text, every block of the first step, the latents after "
            "each\n"
            "step, the pixels. A line for each shows the largest difference, the relative L2 difference, and what "
            "rounding\n"
            "explains; the exit status is 1 where a stage is beyond that.\n"
            "\nExamples:\n"
            "  para verify models/tiny-flux --prompt \"a red heart\" --ranks 2 --steps 2\n"
            "  para verify models/tiny-flux --prompt \"two yellow stars\" --ranks 4 --ring 2 --steps 2 --width 208\n",
        .options = options,
    };
    const char *model;
    bool help;
    int code = parse_options(&c, argc, argv, &model, &help);
    if (code == EXIT_DONE && !help) code = cache_arguments_finish(&o.request.cache, c.name, false);
    if (code == EXIT_DONE && !help) {
        request_options_finish(&o.request);
        if (!o.request.request.prompt) o.request.request.prompt = "a red heart on a blue background";
        progress_open(&view, o.quiet || process_number() > 0);
        session_catch_signals();
        code = run(&o, model);
    }
    request_options_free(&o.request);
    return code;
}
