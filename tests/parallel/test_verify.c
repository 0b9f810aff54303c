/* para_verify: every mesh of the golden configs is equal to one rank within half the bounds; faults of attention are beyond them.
 * PARA_FULL=1: every config on every mesh of 2 to 8 ranks, else some. SPDX-License-Identifier: Apache-2.0 */
#include "golden/golden.h"

#include <paraattn/verify.h>

#include "core/alloc.h"

typedef struct verify_case {
    const char *config;
    para_dtype dtype;
    int ranks, batch, ring, ulysses;
} verify_case;

/* An error put into one rank's device. */
typedef para_status (*faulty_attention)(para_device *dev, const para_attention_args *args);

static const para_ops *sound;

/* Heads in reverse order: their queries meet other heads' keys. */
static para_status heads_swapped(para_device *dev, const para_attention_args *args) {
    para_attention_args a = *args;
    a.q.data = (char *)a.q.data + (a.q.dim[1] - 1) * a.q.stride[1] * (int64_t)para_dtype_size(a.q.dtype);
    a.q.stride[1] = -a.q.stride[1];
    return sound->attention(dev, &a);
}

/* The last tenth of the keys is not seen. */
static para_status keys_dropped(para_device *dev, const para_attention_args *args) {
    para_attention_args a = *args;
    a.k.dim[2] -= (a.k.dim[2] + 9) / 10;
    a.v.dim[2] = a.k.dim[2];
    return sound->attention(dev, &a);
}

static para_verify_report verify(const verify_case *c, faulty_attention fault) {
    golden_run g;
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, c->config);
    golden_open(&g, folder, false);
    para_request request = golden_request(&g);
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 2;
    w.ranks = c->ranks;
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    o.dtype = c->dtype;
    para_parallel_options p = PARA_PARALLEL_OPTIONS_INIT;
    p.batch = c->batch;
    p.ring = c->ring;
    p.ulysses = c->ulysses;
    para_world *world;
    para_pipeline *pipe;
    para_verify_report report;
    assert_int_equal(para_world_open(&world, &w), PARA_OK);
    para_ops ops = *world->worker[c->ranks - 1].rank.device->ops;
    sound = world->worker[c->ranks - 1].rank.device->ops;
    if (fault) {
        ops.attention = fault;
        world->worker[c->ranks - 1].rank.device->ops = &ops;
    }
    assert_int_equal(para_pipeline_open(&pipe, world, folder, &o), PARA_OK);
    assert_int_equal(para_parallelize(pipe, &p), PARA_OK);
    if (para_verify(pipe, &request, NULL, &report) != PARA_OK) fail_msg("%s", para_last_error());
    print_message("  %-12s %-4s %d x %d x %d: %2d stages, %d beyond, worst %.3f of its bound (%s)\n", c->config,
                  para_dtype_name(c->dtype), report.batch, report.ring, report.ulysses, report.stages, report.beyond,
                  report.worst_ratio, report.worst);
    world->worker[c->ranks - 1].rank.device->ops = sound;
    para_pipeline_close(&pipe);
    para_world_close(&world);
    golden_close(&g);
    return report;
}

enum { CONFIGS = 5 };
static const char *const configs[CONFIGS] = {"flux-odd", "flux-cfg", "flux-dev", "flux-long", "flux-schnell"};

static bool full(void) {
    return getenv("PARA_FULL") != NULL;
}

static void some_meshes(verify_case c) {
    static const int few[][3] = {{1, 2, 1}, {1, 2, 2}, {1, 1, 5}};
    for (size_t k = 0; k < sizeof few / sizeof *few; k++) {
        c.batch = few[k][0], c.ring = few[k][1], c.ulysses = few[k][2];
        c.ranks = c.batch * c.ring * c.ulysses;
        assert_true(verify(&c, NULL).worst_ratio <= 0.5);
    }
}

static void all_meshes(verify_case c) {
    for (c.ranks = 2; c.ranks <= 8; c.ranks++)
        for (c.batch = 1; c.batch <= 2; c.batch++)
            for (c.ring = 1; c.ring <= c.ranks; c.ring++) {
                bool one_item = strcmp(c.config, "flux-cfg") != 0;
                if (c.ranks % (c.batch * c.ring) || (c.batch == 2 && one_item)) continue;
                c.ulysses = c.ranks / (c.batch * c.ring);
                assert_true(verify(&c, NULL).worst_ratio <= 0.5);
            }
}

static void meshes_are_equal(void **state) {
    (void)state;
    static const para_dtype dtypes[] = {PARA_F32, PARA_BF16};
    for (int i = 0; i < (full() ? CONFIGS : 2); i++)
        for (int k = 0; k < 2; k++) {
            verify_case c = {.config = configs[i], .dtype = dtypes[k]};
            if (full()) all_meshes(c);
            else some_meshes(c);
        }
}

static void faults_are_beyond(void **state) {
    (void)state;
    static const faulty_attention faults[] = {heads_swapped, keys_dropped};
    for (int i = 0; i < (full() ? CONFIGS - 1 : 2); i++) /* the last has one head, which cannot be swapped */
        for (int k = 0; k < 4; k++) {
            verify_case c = {configs[i], k < 2 ? PARA_F32 : PARA_BF16, 2, 1, 2, 1};
            para_verify_report report = verify(&c, faults[k % 2]);
            assert_true(report.beyond > 0 && report.worst_ratio >= 1.5);
        }
}

static para_status plan_and_verify(para_pipeline *pipe, const para_request *request) {
    para_mesh_plan mesh[4];
    para_verify_report report;
    int count;
    para_status status = para_pipeline_plan_meshes(pipe, request, NULL, 4, mesh, &count);
    return status == PARA_OK ? para_verify(pipe, request, NULL, &report) : status;
}

/* Memory that runs out is said, and nothing leaks. On one rank, where the count of allocations is always the same. */
static void allocations_fail(void **state) {
    (void)state;
    golden_run g;
    golden_open(&g, PARA_SOURCE_DIR "/tests/golden/flux-odd", false);
    para_request request = golden_request(&g);
    request.num_inference_steps = 1;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 1;
    para_world *world;
    para_pipeline *pipe;
    assert_int_equal(para_world_open(&world, &w), PARA_OK);
    assert_int_equal(para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/tests/golden/flux-odd", NULL), PARA_OK);
    assert_int_equal(para_parallelize(pipe, NULL), PARA_OK);
    assert_int_equal(plan_and_verify(pipe, &request), PARA_OK);
    para_alloc_fail_after(0);
    assert_int_equal(plan_and_verify(pipe, &request), PARA_OK);
    long count = para_alloc_count(), step = full() ? 1 : 1 + count / 25;
    for (long n = 1; n <= count; n += step) {
        para_alloc_fail_after(n);
        if (plan_and_verify(pipe, &request) != PARA_ERR_MEMORY)
            fail_msg("allocation %ld of %ld: %s", n, count, para_last_error());
    }
    para_alloc_fail_after(0);
    assert_int_equal(plan_and_verify(pipe, &request), PARA_OK);
    print_message("  every %ld. of %ld allocations failed cleanly\n", step, count);
    para_pipeline_close(&pipe);
    para_world_close(&world);
    golden_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(meshes_are_equal), cmocka_unit_test(faults_are_beyond),
                                       cmocka_unit_test(allocations_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
