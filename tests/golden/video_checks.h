/* What every video transformer's golden test does. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_VIDEO_CHECKS_H
#define PARA_TESTS_VIDEO_CHECKS_H

#include "parallel/mesh.h"
#include "unit/io_checks.h"
#include "video_case.h"

static inline void video_stages_are_those_of_diffusers(const video_kind *kind) {
    for (int i = 0; i < video_cases(kind); i++) {
        video_case c = {.kind = kind, .print = true};
        print_message("%s, relative L2 of each stage:\n", kind->cases[i]);
        video_case_run(&c, kind->cases[i], NULL);
        print_message("%s: worst stage %s at %.2f of its bound\n", kind->cases[i], c.g.worst_stage, c.g.worst);
        assert_int_equal(c.g.failures, 0);
        video_case_close(&c);
    }
}

/* diffusers' own errors of its prediction in bfloat16, one a run. */
static inline void video_read_errors(const char *name, double *errors) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s/case.json", PARA_SOURCE_DIR, name);
    json_t *root = json_load_file(path, 0, NULL);
    const json_t *list = json_object_get(root, "bf16");
    for (size_t k = 0; k < json_array_size(list); k++) errors[k] = json_number_value(json_array_get(list, k));
    json_decref(root);
}

/* Our error over diffusers', both pooled over the runs of all cases. Far below, the run would not be in bfloat16. */
static inline void video_bfloat16_errs_between(const video_kind *kind, double least, double bound) {
    double ours = 0, theirs = 0;
    for (int i = 0; i < video_cases(kind); i++) {
        video_case c = {.kind = kind, .dtype = PARA_BF16};
        double errors[VIDEO_MOST_RUNS] = {0};
        video_case_run(&c, kind->cases[i], NULL);
        video_read_errors(kind->cases[i], errors);
        for (int k = 0; k < c.runs; k++) {
            assert_non_null(c.head[k]);
            print_message("    %-17s %d: %.5f, diffusers %.5f\n", kind->cases[i], k, c.head_error[k], errors[k]);
            ours += c.head_error[k] * c.head_error[k];
            theirs += errors[k] * errors[k];
        }
        video_case_close(&c);
    }
    double ratio = sqrt(ours / theirs);
    print_message("    pooled: %.3f of diffusers' error\n", ratio);
    assert_true(ratio >= least && ratio <= bound);
}

/* ---- eps: too small to be seen in values of ordinary size */

static const para_ops *video_as_it_is;
static float video_eps, video_head_eps;
static int video_norms;

static inline void video_expect_eps(float eps, float wanted) {
    if (eps != wanted) fail_msg("eps is %g, not %g", (double)eps, (double)wanted);
    video_norms++;
}
static inline para_status video_spy_norm(para_device *dev, const para_norm_args *a) {
    video_expect_eps(a->eps, video_eps);
    return video_as_it_is->norm(dev, a);
}
static inline para_status video_spy_residual(para_device *dev, const para_residual_args *a) {
    if (a->rms_norm) video_expect_eps(a->eps, video_eps);
    if (a->norm) video_expect_eps(a->norm->eps, video_eps);
    return video_as_it_is->residual(dev, a);
}
static inline para_status video_spy_heads(para_device *dev, int n, const para_head_args *a) {
    for (int i = 0; i < n; i++)
        if (a[i].weight.data) video_expect_eps(a[i].eps, video_head_eps);
    return video_as_it_is->heads(dev, n, a);
}

/* Norms of the last case's runs: so many, each with its eps; those of heads have one of their own. */
static inline void video_norms_get_their_eps(const video_kind *kind, float eps, float head_eps, int norms) {
    para_device *cpu;
    if (getenv("PARA_TEST_DEVICE")) skip(); /* what a model asks for is the same on every device */
    assert_int_equal(para_cpu_open(&cpu, 1), PARA_OK);
    video_as_it_is = cpu->ops;
    video_eps = eps;
    video_head_eps = head_eps;
    video_norms = 0;
    para_ops spy = *video_as_it_is;
    spy.norm = video_spy_norm;
    spy.residual = video_spy_residual;
    spy.heads = video_spy_heads;
    video_case c = {.kind = kind, .ops = &spy};
    video_case_run(&c, kind->cases[video_cases(kind) - 1], NULL);
    assert_int_equal(c.g.failures, 0);
    assert_int_equal(video_norms, norms);
    video_case_close(&c);
    para_device_close(&cpu);
}

/* ---- memory */

/* The case's runs on a device with the arena that it has: the most of it that was used. */
static inline size_t video_run_on(video_case *c, para_device *dev) {
    const para_pipeline_options options = PARA_PIPELINE_OPTIONS_INIT;
    para_rank rank = {.device = dev, .size = 1};
    para_instance instance;
    assert_ok(para_instance_open(&instance, &c->component, dev, &options, (para_placing){0}));
    c->kind->patch(instance.model, &c->patch_t, &c->patch);
    assert_ok(video_runs(c, instance.model, &rank));
    para_instance_close(&instance);
    return dev->arena.peak;
}

static inline void video_dry_run_tells_the_memory(const video_kind *kind) {
    for (int i = 0; i < video_cases(kind); i++) {
        video_case c = {.kind = kind, .dtype = i % 2 ? PARA_BF16 : PARA_F32, .untraced = true};
        para_mesh mesh = {1, 1, 1};
        para_device *dry, *cpu;
        char folder[512];
        snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, kind->cases[i]);
        video_case_open(&c, kind->cases[i]);
        c.mesh = &mesh;
        assert_ok(para_component_open(&c.component, folder, "transformer", kind->class_name));
        assert_ok(para_dry_open(&dry));
        assert_ok(para_cpu_open(&cpu, 2));
        dry->threads = 2;
        size_t peak = video_run_on(&c, dry);
        assert_ok(para_device_reserve(cpu, peak));
        assert_int_equal(video_run_on(&c, cpu), peak);
        para_device_close(&cpu);
        para_device_close(&dry);
        para_component_close(&c.component);
        golden_close(&c.g);
    }
}

/* The last case's runs, `least` allocations or more. */
static inline void video_each_allocation_fails_cleanly(const video_kind *kind, int least) {
    video_case c = {.kind = kind, .untraced = true};
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, kind->cases[video_cases(kind) - 1]);
    video_case_open(&c, kind->cases[video_cases(kind) - 1]);
    assert_survives_alloc_failure(least, video_compute(&c, folder));
    golden_close(&c.g);
}

#endif
