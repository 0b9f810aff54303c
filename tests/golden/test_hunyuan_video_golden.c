/* Small HunyuanVideo transformers with redrawn weights, on text without its padding: every stage against diffusers, which masks it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "hunyuan_case.h"
#include "transformer_checks.h"

static void stages_are_those_of_diffusers(void **state) {
    (void)state;
    check_stages(&hunyuan_kind);
}

/* Of diffusers' error, with time and guidance exact. Measured: 0.518. */
static void bfloat16_errs_no_more_than_diffusers(void **state) {
    (void)state;
    check_bf16(&hunyuan_kind, 0.2, 0.6);
}

/* ---- eps: too small to be seen in values of ordinary size */

static const para_ops *as_it_is;
static int norms;

static void expect_eps(float eps) {
    if (eps != 1e-6f) fail_msg("eps is %g, not 1e-6", (double)eps);
    norms++;
}
static para_status norm(para_device *dev, const para_norm_args *a) {
    expect_eps(a->eps);
    return as_it_is->norm(dev, a);
}
static para_status residual(para_device *dev, const para_residual_args *a) {
    if (a->norm) expect_eps(a->norm->eps);
    return as_it_is->residual(dev, a);
}
static para_status head(para_device *dev, const para_head_args *a) {
    if (a->weight.data) expect_eps(a->eps);
    return as_it_is->head(dev, a);
}

static void norms_get_their_eps(void **state) {
    (void)state;
    para_device *cpu;
    assert_int_equal(para_cpu_open(&cpu, 1), PARA_OK);
    as_it_is = cpu->ops;
    para_ops spy = *as_it_is;
    spy.norm = norm;
    spy.residual = residual;
    spy.head = head;
    transformer_case c = {.kind = &hunyuan_kind, .ops = &spy};
    transformer_case_run(&c, "hunyuan-text", NULL);
    assert_int_equal(c.g.failures, 0);
    /* Two runs of the refiner's 2 x 2, the dual block's 2 x 2 and its 2 x 2 of heads, the single block's 1 (which the dual block's streams
     * end with) and 2, and the head's. */
    assert_int_equal(norms, 2 * (4 + 4 + 4 + 4 + 1));
    transformer_case_close(&c);
    para_device_close(&cpu);
}

static void a_dry_run_tells_the_memory(void **state) {
    (void)state;
    check_dry_memory(&hunyuan_kind);
}

static void each_allocation_fails_cleanly(void **state) {
    (void)state;
    transformer_case c = {.kind = &hunyuan_kind, .untraced = true};
    transformer_case_open(&c, "hunyuan-text");
    assert_survives_alloc_failure(150, transformer_compute(&c, PARA_SOURCE_DIR "/tests/golden/hunyuan-text"));
    golden_close(&c.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_are_those_of_diffusers),
        cmocka_unit_test(bfloat16_errs_no_more_than_diffusers),
        cmocka_unit_test(norms_get_their_eps),
        cmocka_unit_test(a_dry_run_tells_the_memory),
        cmocka_unit_test(each_allocation_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
