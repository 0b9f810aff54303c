/* Runs a golden case and compares every stage with the reference's. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_GOLDEN_H
#define PARA_TESTS_GOLDEN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "test_device.h"
#include "core/error.h"
#include "core/float.h"
#include "io/config.h"
#include "io/safetensors.h"
#include "pipeline/pipeline_state.h"

enum { GOLDEN_MAX_STAGES = 128 };

/* Every stage is within max(1e-5, 4 x the reference's own float32 spread); pixels are within 1e-3. */
static const double golden_bound = 1e-5, golden_spread_factor = 4, golden_pixel_bound = 1e-3;

typedef struct golden_run {
    para_safetensors *reference;
    para_config settings; /* case.json */
    para_config spread;   /* its member "spread", borrowed */
    int64_t visited[GOLDEN_MAX_STAGES]; /* elements compared of the i-th reference tensor */
    int failures;
    double worst; /* largest relative L2 over bound */
    char worst_stage[64];
    bool print;
    bool stop; /* at the first failure */
    int ranks; /* of the world, with as many threads as ranks; 0: one rank with 2 threads */
    para_parallel_options parallel; /* with ranks */
    bool parallel_vae;
    para_device *device; /* what is traced lies there */
    para_result *result; /* the caller's, where wanted: */
    bool keep_result;
} golden_run;

static inline double golden_relative_l2(const float *a, const float *b, int64_t n) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        difference += d * d;
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / (norm > 0 ? norm : 1));
}

/* Compares n values with the next n of the reference's stage `name`; a stage that the reference lacks counts for nothing. */
static inline void golden_compare(golden_run *g, const char *name, const float *values, int64_t n) {
    int64_t i = para_safetensors_find(g->reference, name);
    if (i < 0) return;
    para_tensor wanted = para_safetensors_tensor(g->reference, i);
    int64_t first = g->visited[i];
    g->visited[i] += n;
    if (g->visited[i] > para_tensor_count(&wanted)) {
        g->failures++;
        if (g->print) print_error("%-32s has %lld values, the reference %lld\n", name, (long long)g->visited[i], (long long)para_tensor_count(&wanted));
        return;
    }
    double spread = 0;
    if (g->spread.root) assert_int_equal(para_config_number(&g->spread, name, 0, &spread), PARA_OK);
    double bound = fmax(golden_bound, golden_spread_factor * spread);
    double error = golden_relative_l2(values, (const float *)wanted.data + first, n);
    bool good = error <= bound; /* false for NaN */
    if (strcmp(name, "images") == 0) {
        double largest = 0;
        for (int64_t k = 0; k < n; k++) largest = fmax(largest, fabs((double)values[k] - (double)((const float *)wanted.data)[first + k]));
        if (g->print) print_message("    %-34s max difference %.2e (bound %.0e)\n", name, largest, golden_pixel_bound);
        good = good && largest <= golden_pixel_bound;
    }
    if (g->print) print_message("    %-34s %.2e (bound %.1e, reference's spread %.1e)%s\n", name, error, bound, spread, good ? "" : "  FAILED");
    if (!good) g->failures++;
    if (!(error / bound <= g->worst)) {
        g->worst = error / bound;
        snprintf(g->worst_stage, sizeof g->worst_stage, "%s", name);
    }
}

/* The trace: any strides, F32 or BF16. */
static inline para_status golden_on_stage(void *user, const char *name, const para_tensor *t) {
    golden_run *g = user;
    const para_ops *ops = g->device->ops;
    int64_t n = para_tensor_count(t);
    float *values = malloc((size_t)n * sizeof *values);
    para_tensor packed = para_tensor_make(NULL, PARA_F32, t->rank, t->dim);
    assert_int_equal(ops->alloc(g->device, (size_t)n * sizeof *values, &packed.data), PARA_OK);
    assert_int_equal(ops->copy(g->device, packed, *t), PARA_OK);
    assert_int_equal(ops->download(g->device, values, &packed), PARA_OK);
    ops->free(g->device, packed.data);
    golden_compare(g, name, values, n);
    free(values);
    return g->stop && g->failures ? para_fail(PARA_ERR_STATE, "%s differs", name) : PARA_OK;
}

/* The case's files; what the caller chose (print, stop, ranks, …) stays. */
static inline void golden_read(golden_run *g, const char *folder) {
    char path[1024];
    memset(g->visited, 0, sizeof g->visited);
    g->failures = 0;
    g->worst = 0;
    g->result = NULL;
    snprintf(path, sizeof path, "%s/reference.safetensors", folder);
    assert_int_equal(para_safetensors_open(&g->reference, path), PARA_OK);
    assert_true(para_safetensors_count(g->reference) <= GOLDEN_MAX_STAGES);
    snprintf(path, sizeof path, "%s/case.json", folder);
    assert_int_equal(para_config_read(&g->settings, path), PARA_OK);
    g->spread = (para_config){.root = json_object_get(g->settings.root, "spread"), .path = g->settings.path};
}

static inline void golden_open(golden_run *g, const char *folder, bool print) {
    *g = (golden_run){.print = print};
    golden_read(g, folder);
}

static inline void golden_close(golden_run *g) {
    para_config_close(&g->settings);
    para_safetensors_close(&g->reference);
}

static inline int golden_int(const golden_run *g, const char *key) {
    int64_t v;
    assert_int_equal(para_config_int(&g->settings, key, -1, &v), PARA_OK);
    return (int)v;
}

static inline float golden_number(const golden_run *g, const char *key) {
    double v;
    assert_int_equal(para_config_number(&g->settings, key, 0, &v), PARA_OK);
    return (float)v;
}

static inline const char *golden_text(const golden_run *g, const char *key) {
    const char *v;
    assert_int_equal(para_config_string(&g->settings, key, NULL, &v), PARA_OK);
    return v;
}

static inline para_request golden_request(const golden_run *g) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = golden_text(g, "prompt");
    r.prompt_2 = golden_text(g, "prompt_2");
    r.negative_prompt = golden_text(g, "negative_prompt");
    r.true_cfg_scale = golden_number(g, "true_cfg_scale");
    r.height = golden_int(g, "height");
    r.width = golden_int(g, "width");
    int64_t num_frames;
    assert_int_equal(para_config_int(&g->settings, "num_frames", 0, &num_frames), PARA_OK);
    r.num_frames = (int)num_frames;
    r.num_inference_steps = golden_int(g, "num_inference_steps");
    r.guidance_scale = golden_number(g, "guidance_scale");
    r.seed = (uint64_t)golden_int(g, "seed");
    r.num_images = golden_int(g, "num_images");
    r.max_sequence_length = golden_int(g, "max_sequence_length");
    assert_int_equal(para_config_bool(&g->settings, "vae_tiling", false, &r.vae_tiling), PARA_OK);
    assert_int_equal(para_config_bool(&g->settings, "use_dynamic_cfg", false, &r.use_dynamic_cfg), PARA_OK);
    return r;
}

/* Runs the case of `folder` on the model in `model` (the folder itself, or a changed copy of it). A run that ends in an error counts as a failure. */
static inline void golden_run_chosen(golden_run *g, const char *folder, const char *model) {
    golden_read(g, folder);
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = g->ranks ? g->ranks : 2;
    w.ranks = g->ranks ? g->ranks : 1;
    para_world *world;
    para_pipeline *pipe = NULL;
    para_result *result = NULL;
    para_trace trace = {golden_on_stage, g};
    para_request request = golden_request(g);
    test_choose_device(&w);
    assert_int_equal(para_world_open(&world, &w), PARA_OK);
    g->device = world->worker[0].rank.device;
    para_status status = para_pipeline_open(&pipe, world, model, NULL);
    if (status == PARA_OK && g->ranks) status = para_parallelize(pipe, &g->parallel);
    if (status == PARA_OK && g->parallel_vae) status = para_parallelize_vae(pipe, NULL);
    if (status == PARA_OK) {
        pipe->trace = &trace;
        status = para_generate(pipe, &request, &result);
    }
    if (status == PARA_OK) {
        golden_compare(g, "images", result->images.data, para_tensor_count(&result->images));
        for (int64_t i = 0; i < para_safetensors_count(g->reference); i++) {
            para_tensor t = para_safetensors_tensor(g->reference, i);
            const char *name = para_safetensors_name(g->reference, i);
            if (strncmp(name, "vae.encode", 10) == 0 || g->visited[i] == para_tensor_count(&t)) continue;
            g->failures++;
            if (g->print) print_error("    %-34s was not reached\n", name);
        }
    } else {
        if (g->print) print_error("%s\n", para_last_error());
        g->failures++;
    }
    if (g->keep_result) g->result = result;
    else para_result_close(&result);
    para_pipeline_close(&pipe);
    para_world_close(&world);
    golden_close(g);
}

static inline void golden_run_model(golden_run *g, const char *folder, const char *model, bool print, bool stop) {
    *g = (golden_run){.print = print, .stop = stop};
    golden_run_chosen(g, folder, model);
}

static inline void golden_run_case(golden_run *g, const char *folder, const char *model, bool print) {
    golden_run_model(g, folder, model, print, false);
}

#endif
