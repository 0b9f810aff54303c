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

/* Two runs of two blocks: two norms of two segments, and of queries and keys; and the head's two. norm_eps is 1e-4 there. */
static void norms_get_their_eps(void **state) {
    (void)state;
    check_eps(
        &cogvideox_kind, "cogvideox-5b",
        (eps_spy){.eps = 1e-4f, .norms = 2 * (2 * 2 * 2 + 2), .head_eps = 1e-6f, .head_norms = 2 * 2 * 2});
}

static void a_dry_run_tells_the_memory(void **state) {
    (void)state;
    check_dry_memory(&cogvideox_kind);
}

static void each_allocation_fails_cleanly(void **state) {
    (void)state;
    check_allocations(&cogvideox_kind, 60);
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
