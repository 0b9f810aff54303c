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

#endif
