/* Small CogVideoX transformers with redrawn weights: every stage against diffusers. SPDX-License-Identifier: Apache-2.0 */
#include "cogvideox_case.h"
#include "transformer_checks.h"

static void stages_are_those_of_diffusers(void **state) {
    (void)state;
    check_stages(&cogvideox_kind);
}

/* Of diffusers' error. Measured: 0.561. */
static void bfloat16_errs_no_more_than_diffusers(void **state) {
    (void)state;
    check_bf16(&cogvideox_kind, 0.2, 0.65);
}

/* ---- eps: too small to be seen in values of ordinary size */

static const para_ops *as_it_is;
static int norms, head_norms;

static void expect_eps(float eps, float wanted, int *count) {
    if (eps != wanted) fail_msg("eps is %g, not %g", (double)eps, (double)wanted);
    (*count)++;
}
static para_status norm(para_device *dev, const para_norm_args *a) {
    expect_eps(a->eps, 1e-4f, &norms);
    return as_it_is->norm(dev, a);
}
static para_status residual(para_device *dev, const para_residual_args *a) {
    if (a->norm) expect_eps(a->norm->eps, 1e-4f, &norms);
    return as_it_is->residual(dev, a);
}
static para_status head(para_device *dev, const para_head_args *a) {
    if (a->weight.data) expect_eps(a->eps, 1e-6f, &head_norms);
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
    transformer_case c = {.kind = &cogvideox_kind, .ops = &spy};
    transformer_case_run(&c, "cogvideox-5b", NULL); /* norm_eps is 1e-4 there */
    assert_int_equal(c.g.failures, 0);
    /* Two runs of two blocks: two norms of two segments, and of queries and keys; and the head's two. */
    assert_int_equal(norms, 2 * (2 * 2 * 2 + 2));
    assert_int_equal(head_norms, 2 * 2 * 2);
    transformer_case_close(&c);
    para_device_close(&cpu);
}

static void a_dry_run_tells_the_memory(void **state) {
    (void)state;
    check_dry_memory(&cogvideox_kind);
}

static void each_allocation_fails_cleanly(void **state) {
    (void)state;
    transformer_case c = {.kind = &cogvideox_kind, .untraced = true};
    transformer_case_open(&c, "cogvideox-learned");
    assert_survives_alloc_failure(60, transformer_compute(&c, PARA_SOURCE_DIR "/tests/golden/cogvideox-learned"));
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
