/* What the cache costs: nothing where it is off, and memory as planned where it is on. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "cached_machine.h"
#include "pipeline/plan.h"

enum { TOKENS = 64, WIDTH = 128, STEPS = 4 }; /* of a picture of 128 × 128, of the transformer */

/* Latents alone: the VAE would take more memory than the loop. */
static para_request request_of(int pictures, bool cfg) {
    para_request r = small_request(STEPS, cfg);
    r.num_images = pictures;
    r.latents_only = true;
    return r;
}

/* ---- Off */

/* Every stage in its order, with its values. */
typedef struct stages {
    int count;
    uint64_t digest; /* FNV-1a */
} stages;

static para_status take_stage(void *user, const char *name, const para_tensor *t) {
    stages *s = user;
    if (!para_tensor_contiguous(t)) return PARA_OK; /* views of what comes as a whole, too */
    size_t bytes = (size_t)para_tensor_count(t) * para_dtype_size(t->dtype);
    const unsigned char *value = t->data;
    s->count++;
    for (; *name; name++) s->digest = (s->digest ^ (unsigned char)*name) * UINT64_C(1099511628211);
    for (size_t i = 0; i < bytes; i++) s->digest = (s->digest ^ value[i]) * UINT64_C(1099511628211);
    return PARA_OK;
}

static stages stages_of(const machine *m, const para_request *r) {
    stages s = {0, UINT64_C(14695981039346656037)};
    const para_trace trace = {take_stage, &s};
    para_result *result;
    m->pipe->trace = &trace;
    OK(para_generate(m->pipe, r, &result));
    m->pipe->trace = NULL;
    para_result_close(&result);
    return s;
}

/* Every op that the request takes, its operations and its bytes. */
static para_dry_result ops_of(const machine *m, const para_request *r) {
    para_plan_subject s;
    para_dry_result dry;
    OK(para_plan_subject_open(m->pipe, r, &s));
    OK(para_dry_run(m->pipe, r, &s.geometry, &s.mesh, (para_dry_rank){.size = 1, .like = s.like}, &dry));
    return dry;
}

static void threshold_0_takes_the_same_ops(void **state) {
    (void)state;
    for (int cfg = 0; cfg < 2; cfg++) {
        para_request r = request_of(2, cfg);
        para_cache_options off = cache_of(0), on = cache_of(1e-6f);
        machine m = open_machine(1, NULL);
        stages without = stages_of(&m, &r);
        para_dry_result ops = ops_of(&m, &r);
        OK(para_apply_first_block_cache(m.pipe, &off));
        stages with = stages_of(&m, &r);
        para_dry_result ops_off = ops_of(&m, &r);
        print_message("  %d stages, %lld ops in the loop\n", without.count,
                      (long long)ops.stage[PARA_STAGE_DENOISE].ops);
        assert_true(without.count > 20 && with.count == without.count && with.digest == without.digest);
        for (int i = 0; i < PARA_STAGES; i++) {
            const para_counts *a = &ops.stage[i], *b = &ops_off.stage[i];
            assert_true(a->ops == b->ops && a->bytes == b->bytes && a->matmul_flops == b->matmul_flops &&
                        a->attention_flops == b->attention_flops);
        }
        assert_int_equal(ops.arena_bytes, ops_off.arena_bytes);
        /* It would show: a cache that never hits takes more ops, for the same values. */
        OK(para_apply_first_block_cache(m.pipe, &on));
        assert_true(ops_of(&m, &r).stage[PARA_STAGE_DENOISE].ops > ops.stage[PARA_STAGE_DENOISE].ops);
        close_machine(&m);
    }
}

/* ---- On */

/* As measured, which is as planned. */
static int64_t memory_of(const machine *m, const para_request *r, const para_cache_options *c) {
    para_plan plan;
    para_result *result;
    OK(para_apply_first_block_cache(m->pipe, c));
    OK(para_pipeline_plan(m->pipe, r, &plan));
    OK(para_generate(m->pipe, r, &result));
    assert_int_equal(plan.arena_bytes, result->arena_bytes);
    para_result_close(&result);
    return plan.arena_bytes;
}

static void an_item_keeps_two_residuals_and_derivatives(void **state) {
    (void)state;
    const int64_t residual = TOKENS * WIDTH * (int64_t)sizeof(float);
    machine m = open_machine(1, NULL);
    for (int pictures = 1; pictures <= 3; pictures += 2) {
        for (int cfg = 0; cfg < 2; cfg++) {
            para_request r = request_of(pictures, cfg);
            para_cache_options off = cache_of(0), c = cache_of(0.1f);
            int64_t items = pictures * (1 + cfg), none = memory_of(&m, &r, &off), plain = memory_of(&m, &r, &c);
            /* All items share two buffers of the work, and two sums. */
            assert_int_equal(plain - none, (2 * items + 2) * residual + PARA_ARENA_ALIGN);
            for (int n = 1; n <= 2; n++) {
                c.taylorseer_derivatives = n;
                assert_int_equal(memory_of(&m, &r, &c) - plain, n * items * residual);
            }
            c.taylorseer_derivatives = 0;
            c.downsample_factor = 4; /* the first residual, and the one to compare with it */
            assert_int_equal(plain - memory_of(&m, &r, &c), (items + 1) * residual * 3 / 4);
        }
    }
    close_machine(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threshold_0_takes_the_same_ops),
        cmocka_unit_test(an_item_keeps_two_residuals_and_derivatives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
