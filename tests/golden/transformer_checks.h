/* What every golden transformer of videos has to show. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_TRANSFORMER_CHECKS_H
#define PARA_TESTS_TRANSFORMER_CHECKS_H

#include "parallel/mesh.h"
#include "transformer_case.h"
#include "unit/io_checks.h"

/* Every stage of every case is diffusers'. */
static inline void check_stages(const transformer_kind *kind) {
    for (int i = 0; i < kind->count; i++) {
        transformer_case c = {.kind = kind, .print = true};
        print_message("%s, relative L2 of each stage:\n", kind->cases[i]);
        transformer_case_run(&c, kind->cases[i], NULL);
        print_message("%s: worst stage %s at %.2f of its bound\n", kind->cases[i], c.g.worst_stage, c.g.worst);
        assert_int_equal(c.g.failures, 0);
        transformer_case_close(&c);
    }
}

/* diffusers' own errors of its prediction in bfloat16, one a run. */
static inline void read_bf16_errors(const char *name, double *errors) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s/case.json", PARA_SOURCE_DIR, name);
    json_t *root = json_load_file(path, 0, NULL);
    const json_t *list = json_object_get(root, "bf16");
    for (size_t k = 0; k < json_array_size(list); k++) errors[k] = json_number_value(json_array_get(list, k));
    json_decref(root);
}

/* Our error in bfloat16 over diffusers', both pooled over the runs of all cases. Far below the bounds, the run would not be in bfloat16. */
static inline void check_bf16(const transformer_kind *kind, double least, double most) {
    double ours = 0, theirs = 0;
    for (int i = 0; i < kind->count; i++) {
        transformer_case c = {.kind = kind, .dtype = PARA_BF16};
        double errors[TRANSFORMER_MOST_RUNS] = {0};
        transformer_case_run(&c, kind->cases[i], NULL);
        read_bf16_errors(kind->cases[i], errors);
        for (int k = 0; k < c.runs; k++) {
            assert_non_null(c.head[k]);
            print_message("    %-17s %d: %.5f, diffusers %.5f\n", kind->cases[i], k, c.head_error[k], errors[k]);
            ours += c.head_error[k] * c.head_error[k];
            theirs += errors[k] * errors[k];
        }
        transformer_case_close(&c);
    }
    double ratio = sqrt(ours / theirs);
    print_message("    pooled: %.3f of diffusers' error\n", ratio);
    assert_true(ratio >= least && ratio <= most);
}

/* ---- eps: too small to be seen in values of ordinary size */

/* Norms of rows and of heads: the eps that each has to get, and how many there were. */
typedef struct eps_spy {
    float eps, head_eps;
    int norms, head_norms;
} eps_spy;
static const para_ops *as_it_is;
static eps_spy spied;

static inline void expect_eps(float eps, float wanted, int *count) {
    if (eps != wanted) fail_msg("eps is %g, not %g", (double)eps, (double)wanted);
    (*count)++;
}
static inline para_status spy_norm(para_device *dev, const para_norm_args *a) {
    expect_eps(a->eps, spied.eps, &spied.norms);
    return as_it_is->norm(dev, a);
}
static inline para_status spy_residual(para_device *dev, const para_residual_args *a) {
    if (a->norm) expect_eps(a->norm->eps, spied.eps, &spied.norms);
    return as_it_is->residual(dev, a);
}
static inline para_status spy_head(para_device *dev, const para_head_args *a) {
    if (a->weight.data) expect_eps(a->eps, spied.head_eps, &spied.head_norms);
    return as_it_is->head(dev, a);
}

/* The runs of a case have so many norms, each with its eps. */
static inline void check_eps(const transformer_kind *kind, const char *name, eps_spy wanted) {
    para_device *cpu;
    assert_ok(para_cpu_open(&cpu, 1));
    as_it_is = cpu->ops;
    spied = (eps_spy){.eps = wanted.eps, .head_eps = wanted.head_eps};
    para_ops spy = *as_it_is;
    spy.norm = spy_norm;
    spy.residual = spy_residual;
    spy.head = spy_head;
    transformer_case c = {.kind = kind, .ops = &spy};
    transformer_case_run(&c, name, NULL);
    assert_int_equal(c.g.failures, 0);
    assert_int_equal(spied.norms, wanted.norms);
    assert_int_equal(spied.head_norms, wanted.head_norms);
    transformer_case_close(&c);
    para_device_close(&cpu);
}

/* ---- memory */

/* The case's runs on a device with the arena that it has: the most of it that was used. */
static inline size_t run_on(transformer_case *c, para_device *dev) {
    const para_pipeline_options options = PARA_PIPELINE_OPTIONS_INIT;
    para_rank rank = {.device = dev, .size = 1};
    para_instance instance;
    assert_ok(para_instance_open(&instance, &c->component, dev, &options, (para_offloading){0}));
    c->kind->patch(instance.model, &c->patch_t, &c->patch);
    assert_ok(transformer_runs(c, instance.model, &rank));
    para_instance_close(&instance);
    return dev->arena.peak;
}

/* A dry run takes as much of the arena as a real one. */
static inline void check_dry_memory(const transformer_kind *kind) {
    for (int i = 0; i < kind->count; i++) {
        transformer_case c = {.kind = kind, .dtype = i % 2 ? PARA_BF16 : PARA_F32, .untraced = true};
        para_mesh mesh = {1, 1, 1};
        para_device *dry, *cpu;
        char folder[512];
        snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, kind->cases[i]);
        transformer_case_open(&c, kind->cases[i]);
        c.mesh = &mesh;
        assert_ok(para_component_open(&c.component, folder, "transformer", kind->class_name));
        assert_ok(para_dry_open(&dry));
        assert_ok(para_cpu_open(&cpu, 2));
        dry->threads = 2;
        size_t peak = run_on(&c, dry);
        assert_ok(para_device_reserve(cpu, peak));
        assert_int_equal(run_on(&c, cpu), peak);
        para_device_close(&cpu);
        para_device_close(&dry);
        para_component_close(&c.component);
        golden_close(&c.g);
    }
}

/* The runs of the last case, `least` allocations or more. */
static inline void check_allocations(const transformer_kind *kind, int least) {
    const char *name = kind->cases[kind->count - 1];
    transformer_case c = {.kind = kind, .untraced = true};
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, name);
    transformer_case_open(&c, name);
    assert_survives_alloc_failure(least, transformer_compute(&c, folder));
    golden_close(&c.g);
}

#endif
