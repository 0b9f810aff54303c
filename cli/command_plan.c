/* para plan: what a request would cost. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "complain.h"
#include "plan_hosts.h"
#include "plan_report.h"
#include "session.h"

enum { MAX_MESHES = 1024 };

typedef struct plan_options {
    request_options request;
    float rate, link;
    number_list hosts;
    const char *report;
} plan_options;

/* What it is given, all ranks beside each other. */
typedef struct cost {
    para_plan plan;
    para_rank_plan *rank; /* [plan.ranks] */
    para_mesh_plan *mesh; /* [meshes], the fastest first */
    int meshes;           /* 0: nothing to predict times by */
    const char *machine;  /* file of the rates in use, or NULL */
    bool videos;
} cost;

static void show_time(double seconds) {
    if (seconds < 1) printf("%.1f ms", 1e3 * seconds);
    else if (seconds < 120) printf("%.1f s", seconds);
    else printf("%.1f min", seconds / 60);
}

/* Never called: it stands for what writes frames as they come. */
static para_status take_frame(void *user, int image, int frame, const para_tensor *pixels) {
    (void)user, (void)image, (void)frame, (void)pixels;
    return PARA_OK;
}

/* What a tensor keeps that files of videos do not: all frames but one. */
static double kept_bytes(const plan_options *o, const para_plan *p) {
    return ((double)o->request.request.num_images * p->num_frames - 1) * 3 * p->height * p->width * sizeof(float);
}

static void show_request(const plan_options *o, const cost *c) {
    const para_plan *p = &c->plan;
    char frames[32] = "";
    if (o->request.request.num_frames > 1) snprintf(frames, sizeof frames, ", %d frames", p->num_frames);
    printf("size          %d x %d pixels%s, %lld image tokens + %lld text tokens\n", p->width, p->height, frames,
           (long long)p->image_tokens, (long long)p->text_tokens);
    printf("work          %d steps of %d %s\n", o->request.request.num_inference_steps, p->items,
           p->items == 1 ? "item" : "items");
    printf("a step        %.3f TFLOP (attention %.3f)\n", p->step_flops / 1e12, p->step_attention_flops / 1e12);
    if (p->hit_step_flops > 0)
        printf("a cached one  %.3f TFLOP, %.1f times less; which steps these are, the run decides\n", p->hit_step_flops / 1e12,
               p->step_flops / p->hit_step_flops);
    printf("text          %.3f TFLOP\n", p->text_flops / 1e12);
    printf("decode        %.3f TFLOP\n", p->decode_flops / 1e12);
    printf("in all        %.3f TFLOP\n", p->total_flops / 1e12);
    printf("weights       %.1f MB, mapped%s\n", (double)p->weight_bytes / 1e6, p->ranks > 1 ? " once per process" : "");
    printf("activations   %.1f MB%s\n", (double)p->arena_bytes / 1e6, p->ranks > 1 ? " in all ranks of a process" : "");
    printf("peak memory   %.1f MB%s\n", (double)p->peak_bytes / 1e6, p->ranks > 1 ? " in a process" : "");
    if (c->videos)
        printf("              frames are written as they are decoded (FFmpeg takes memory of its own);\n"
               "              x.safetensors keeps all of them: %.1f MB more\n",
               kept_bytes(o, p) / 1e6);
}

static bool equal_ranks(const para_rank_plan *a, const para_rank_plan *b) {
    return a->image_tokens == b->image_tokens && a->text_tokens == b->text_tokens && a->step_flops == b->step_flops &&
           a->step_bytes == b->step_bytes && a->arena_bytes == b->arena_bytes &&
           a->weight_bytes == b->weight_bytes;
}

/* What a GPU needs, and what of it the one at hand has. */
static void show_gpu(const para_plan *p) {
    printf("GPU memory    %.1f GB for everything, %.1f GB with components in turn,\n"
           "              %.1f GB with --offload (and %.1f GB of pinned host memory)\n",
           (double)p->gpu_resident_bytes / 1e9, (double)p->gpu_in_turn_bytes / 1e9, (double)p->gpu_offload_bytes / 1e9,
           (double)p->pinned_bytes / 1e9);
    if (p->gpu_bytes == 0) return;
    const char *fits = p->gpu_resident_bytes <= p->gpu_bytes  ? "everything stays on it"
                       : p->gpu_in_turn_bytes <= p->gpu_bytes ? "text encoders, transformer and VAE take turns"
                       : p->gpu_offload_bytes <= p->gpu_bytes ? "too little without --offload"
                                                              : "too little; take --vae-tiling or a smaller size";
    printf("this GPU      %.1f GB: %s\n", (double)p->gpu_bytes / 1e9, fits);
}

/* Ranks beside each other that have the same to do share a line. */
static void show_ranks(const cost *c) {
    printf("\n%-9s %12s %12s %13s %13s %13s %13s\n", "ranks", "image tokens", "text tokens", "weights", "activations", "TFLOP a step", "sends a step");
    for (int i = 0, end; i < c->plan.ranks; i = end) {
        const para_rank_plan *r = &c->rank[i];
        char name[32];
        for (end = i + 1; end < c->plan.ranks && equal_ranks(r, &c->rank[end]);) end++;
        if (end == i + 1) snprintf(name, sizeof name, "%d", i);
        else snprintf(name, sizeof name, "%d to %d", i, end - 1);
        printf("%-9s %12lld %12lld %10.1f MB %10.1f MB %13.3f %10.1f MB\n", name, (long long)r->image_tokens, (long long)r->text_tokens,
               (double)r->weight_bytes / 1e6, (double)r->arena_bytes / 1e6, r->step_flops / 1e12, (double)r->step_bytes / 1e6);
    }
}

/* Why this mesh, in the order in which axes are chosen. */
static void show_reasons(const plan_options *o, const para_plan *p, bool measured) {
    const request_options *r = &o->request;
    bool given = r->batch || r->ring || r->ulysses, all_given = r->batch && r->ring && r->ulysses;
    printf("chosen        batch %d x ring %d x ulysses %d%s\n", p->batch, p->ring, p->ulysses,
           all_given ? ", as given"
           : given   ? ", within what is given"
                     : "");
    if (all_given) return;
    if (measured) {
        printf("              predicted to be the fastest, or within 1 %% of it\n");
        return;
    }
    if (p->batch > 1)
        printf("              batch: %d groups of ranks share out the %d items, and send each other predictions only\n",
               p->batch, p->items);
    if (p->ulysses > 1)
        printf("              ulysses: %d ranks share out the %lld heads, and send less than in a ring\n", p->ulysses,
               (long long)p->heads);
    if (p->ring > 1 && p->heads % (p->ring * p->ulysses))
        printf(
            "              ring: %d ranks pass keys and values round, for %lld heads do not share out evenly over %d\n",
            p->ring, (long long)p->heads, p->ring * p->ulysses);
}

/* What the times rest on: measured rates, given ones, or one of each. */
static void show_rates(const cost *c, const para_machine *m) {
    const bool many = c->plan.ranks > 1;
    char rate[64], link[96];
    snprintf(rate, sizeof rate, "%g TFLOP/s (--rate)", m->flops / 1e12);
    snprintf(link, sizeof link, "%g GB/s (--link) a rank, %g us a message", m->bandwidth / 1e9, 1e6 * m->latency);
    if (m->flops <= 0) printf("predicted by  the rates in %s\n", c->machine);
    if (m->flops <= 0 && many && m->bandwidth > 0) printf("              but exchanges at %s", link);
    else if (m->flops > 0 && many && m->bandwidth > 0) printf("predicted at  %s and %s", rate, link);
    else if (m->flops > 0) printf("predicted at  %s", rate);
    if (m->flops > 0 && many && m->bandwidth <= 0) printf(", but exchanges by the rates in %s", c->machine);
    if (many && m->bandwidth > 0) printf(";\n              no exchange hidden behind computing");
    if (m->flops > 0 || (many && m->bandwidth > 0)) printf("\n");
    if (!c->machine) printf("              no rates were measured for this device and type: para bench machine does\n");
}

static void show_meshes(const plan_options *o, const cost *c) {
    printf("\n%-5s %4s %7s %12s %12s %12s %12s %17s\n", "batch", "ring", "ulysses", "s a step", "computing", "waiting", "overhead",
           "sends at most");
    for (int i = 0; i < c->meshes; i++) {
        const para_mesh_plan *p = &c->mesh[i];
        printf("%5d %4d %7d %12.4g %12.4g %12.4g %12.4g %14.1f MB%s\n", p->batch, p->ring, p->ulysses, p->step_seconds,
               p->compute_seconds, p->exchange_seconds, p->overhead_seconds, (double)p->most.step_bytes / 1e6, p->chosen ? "  chosen" : "");
    }
    show_reasons(o, &c->plan, c->machine != NULL);
}

/* Text and decoding are rank 0's, with all threads of its process, at the rate of a step. */
static void show_times(const plan_options *o, const cost *c) {
    const para_plan *p = &c->plan;
    const para_mesh_plan *mesh = NULL;
    for (int i = 0; i < c->meshes; i++)
        if (c->mesh[i].chosen) mesh = &c->mesh[i];
    if (!mesh) {
        printf("time          give --rate TFLOPS for times, or measure with para bench machine\n");
        return;
    }
    int steps = o->request.request.num_inference_steps;
    double rate = mesh->most.step_flops / mesh->step_seconds, rest = (p->text_flops + p->decode_flops) / rate / o->request.ranks;
    printf("time          ");
    show_time(mesh->step_seconds);
    printf(" a step, ");
    show_time(mesh->prepare_seconds);
    printf(" before the first, ");
    show_time(mesh->prepare_seconds + steps * mesh->step_seconds + rest);
    printf(" in all\n");
}

static void show(const plan_options *o, const cost *c, const para_machine *m) {
    show_request(o, c);
    show_gpu(&c->plan);
    if (c->plan.ranks > 1) {
        show_ranks(c);
        show_meshes(o, c);
        plan_show_hosts(&c->plan, c->mesh, c->meshes);
    }
    show_times(o, c);
    if (c->meshes) show_rates(c, m);
}

static para_status find_cost(para_pipeline *pipe, const para_request *request, const para_machine *m, cost *c) {
    para_request r = *request;
    c->videos = para_pipeline_makes_videos(pipe);
    if (c->videos) r.on_frame = take_frame;
    para_status status = para_pipeline_plan(pipe, &r, &c->plan);
    c->machine = para_machine_in_use(pipe);
    if (status != PARA_OK || (c->plan.ranks == 1 && m->flops <= 0 && !c->machine)) return status;
    r.width = c->plan.width; /* rounded, and warned of, already */
    r.height = c->plan.height;
    r.num_frames = c->plan.num_frames;
    c->rank = calloc((size_t)c->plan.ranks, sizeof *c->rank);
    c->mesh = calloc(MAX_MESHES, sizeof *c->mesh);
    if (!c->rank || !c->mesh) return PARA_ERR_MEMORY;
    status = para_pipeline_plan_ranks(pipe, &r, c->rank);
    return status == PARA_OK ? para_pipeline_plan_meshes(pipe, &r, m, MAX_MESHES, c->mesh, &c->meshes) : status;
}

static int run(plan_options *o, const char *model) {
    session s;
    progress_view view = {0};
    cost c = {0};
    para_machine m = PARA_MACHINE_INIT;
    para_status status = session_open(&s, "plan", &o->request, model, &view);
    if (status == PARA_OK && !para_machine_in_use(s.pipe)) status = para_use_machine(s.pipe, o->request.machine);
    if (status == PARA_OK) {
        /* What was measured holds where it is not said otherwise; among many ranks there is a default of both. */
        bool measured = para_machine_in_use(s.pipe) != NULL;
        if (o->rate > 0) m.flops = 1e12 * (double)o->rate;
        else if (measured || para_world_size(s.world) == 1) m.flops = 0;
        if (o->link > 0) m.bandwidth = 1e9 * (double)o->link;
        else if (measured) m.bandwidth = 0;
        status = find_cost(s.pipe, &o->request.request, &m, &c);
    }
    if (status == PARA_OK && s.first) show(o, &c, &m);
    if (status == PARA_OK && s.first && o->report) status = plan_report_write(o->report, model, &c.plan, c.mesh, c.meshes, c.machine);
    free(c.rank);
    free(c.mesh);
    return session_close(&s, status);
}

static int check_rates(const plan_options *o) {
    const struct {
        const char *name;
        float value;
    } rate[] = {{"--rate", o->rate}, {"--link", o->link}};
    for (int i = 0; i < 2; i++) {
        if (rate[i].value >= 0 && isfinite(rate[i].value)) continue;
        complain("plan", "%s '%g': give a rate above 0", rate[i].name, (double)rate[i].value);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

int command_plan(int argc, char **argv) {
    static plan_options o = {.request = REQUEST_OPTIONS_INIT};
    static const option options[] = {
        REQUEST_OPTIONS(o.request),
        RANK_OPTIONS(o.request),
        CACHE_ARGUMENTS(o.request.cache),
        {"--hosts", OPTION_NUMBERS, &o.hosts, "N|R,R,...", NULL, "count the ranks as being on N hosts, or on hosts with R ranks each (where they are)"},
        {"--rate", OPTION_FLOAT, &o.rate, "TFLOPS", NULL, "10^12 operations a second of one rank, for times"},
        {"--link", OPTION_FLOAT, &o.link, "GB/S", NULL, "10^9 bytes a second that one rank sends (5)"},
        {"--report", OPTION_TEXT, &o.report, "FILE", NULL, "write the request's sizes and what every mesh would cost as JSON"},
        {0},
    };
    static const command c = {
        .name = "plan",
        .operand = "MODEL",
        .operand_required = true,
        .summary =
            "Shows what a request would cost: tokens, floating-point operations, memory and, by measured or given rates, time.",
        .details = "\nComputes nothing and reads no weights: the configs alone suffice. With ranks, also what each of "
                   "them holds and\n"
                   "sends, and the predicted time of a step on every mesh, the fastest first: computing, waiting for exchanges, and the\n"
                   "overhead of many small operations; with several hosts what passes between them. Times rest on what para bench\n"
                   "machine has measured; --rate and --link replace it, and without either they rest on 0.1 TFLOP/s and 5 GB/s.\n"
                   "\nExamples:\n"
                   "  para plan models/tiny-flux\n"
                   "  para plan models/tiny-flux --width 512 --height 384 --steps 20 --rate 0.1\n"
                   "  para plan models/tiny-flux --ranks 4 --link 1\n"
                   "  para plan models/tiny-flux --ranks 16 --hosts 2\n"
                   "  para bench machine --quick --ranks 2 -o machine.json && para plan models/tiny-flux --ranks 2 --machine machine.json\n",
        .options = options,
    };
    const char *model;
    bool help;
    int code = parse_options(&c, argc, argv, &model, &help);
    if (code == EXIT_DONE && !help) code = check_rates(&o);
    if (code == EXIT_DONE && !help) code = plan_check_hosts(&o.hosts, &o.request);
    if (code == EXIT_DONE && !help) code = cache_arguments_finish(&o.request.cache, c.name, false);
    if (code == EXIT_DONE && !help) {
        request_options_finish(&o.request);
        if (!o.request.request.prompt) o.request.request.prompt = "";
        code = run(&o, model);
    }
    request_options_free(&o.request);
    free(o.hosts.value);
    return code;
}
