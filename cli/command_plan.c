/* para plan: what a request would cost. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "complain.h"
#include "session.h"

typedef struct plan_options {
    request_options request;
    float rate;
} plan_options;

static void show_time(double seconds) {
    if (seconds < 1) printf("%.1f ms", 1e3 * seconds);
    else if (seconds < 120) printf("%.1f s", seconds);
    else printf("%.1f min", seconds / 60);
}

static void show(const plan_options *o, const para_plan *p) {
    int steps = o->request.request.num_inference_steps;
    printf("size          %d x %d pixels, %lld image tokens + %lld text tokens\n", p->width, p->height,
           (long long)p->image_tokens, (long long)p->text_tokens);
    printf("work          %d steps of %d %s\n", steps, p->items, p->items == 1 ? "item" : "items");
    printf("a step        %.3f TFLOP (attention %.3f)\n", p->step_flops / 1e12, p->step_attention_flops / 1e12);
    printf("text          %.3f TFLOP\n", p->text_flops / 1e12);
    printf("decode        %.3f TFLOP\n", p->decode_flops / 1e12);
    printf("in all        %.3f TFLOP\n", p->total_flops / 1e12);
    printf("weights       %.1f MB, mapped\n", (double)p->weight_bytes / 1e6);
    printf("activations   %.1f MB\n", (double)p->arena_bytes / 1e6);
    printf("peak memory   %.1f MB\n", (double)p->peak_bytes / 1e6);
    if (o->rate > 0) {
        printf("at %g TFLOP/s  ", (double)o->rate);
        show_time(p->step_flops / 1e12 / (double)o->rate);
        printf(" a step, ");
        show_time(p->total_flops / 1e12 / (double)o->rate);
        printf(" in all\n");
    } else {
        printf("time          give --rate TFLOPS for times\n");
    }
}

static int run(const plan_options *o, const char *model) {
    session s;
    progress_view view = {0};
    para_plan plan;
    para_status status = session_open(&s, "plan", &o->request, model, &view);
    if (status == PARA_OK) status = para_pipeline_plan(s.pipe, &o->request.request, &plan);
    if (status == PARA_OK && s.first) show(o, &plan);
    return session_close(&s, status);
}

int command_plan(int argc, char **argv) {
    static plan_options o = {.request = REQUEST_OPTIONS_INIT};
    static const option options[] = {
        REQUEST_OPTIONS(o.request),
        RANK_OPTIONS(o.request),
        {"--rate", OPTION_FLOAT, &o.rate, "TFLOPS", NULL, "what the machine computes, for times"},
        {0},
    };
    static const command c = {
        .name = "plan",
        .operand = "MODEL",
        .operand_required = true,
        .summary =
            "Shows what a request would cost: tokens, floating-point operations, memory and, at a given rate, time.",
        .details = "\nComputes nothing and reads no weights: the configs alone suffice.\n"
                   "\nExamples:\n"
                   "  para plan models/tiny-flux\n"
                   "  para plan models/tiny-flux --width 512 --height 384 --steps 20 --rate 0.1\n",
        .options = options,
    };
    const char *model;
    bool help;
    int code = parse_options(&c, argc, argv, &model, &help);
    if (code == EXIT_DONE && !help && !(o.rate >= 0 && isfinite(o.rate))) {
        complain("plan", "--rate '%g': give a rate above 0", (double)o.rate);
        code = EXIT_USAGE;
    }
    if (code == EXIT_DONE && !help) {
        request_options_finish(&o.request);
        if (!o.request.request.prompt) o.request.request.prompt = "";
        code = run(&o, model);
    }
    free(o.request.sigmas.value);
    return code;
}
