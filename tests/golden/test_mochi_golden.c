/* Small Mochi transformers with redrawn weights, on text without its padding, and on none: every stage against diffusers, which masks it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "video_checks.h"

static void stages_are_those_of_diffusers(void **state) {
    (void)state;
    video_stages_are_those_of_diffusers(&mochi_kind);
}

/* With time and frequencies exact. Measured: 0.614. */
static void bfloat16_errs_no_more_than_diffusers(void **state) {
    (void)state;
    video_bfloat16_errs_between(&mochi_kind, 0.2, 0.7);
}

static void norms_get_their_eps(void **state) {
    (void)state;
    /* Three runs of the block's first norm of either stream, its 2 x 2 of heads, the three of the video after that (gated, before the MLP,
     * gated), and the head's. */
    video_norms_get_their_eps(&mochi_kind, 1e-6f, 1e-5f, 3 * (2 + 4 + 3 + 1));
}

static void a_dry_run_tells_the_memory(void **state) {
    (void)state;
    video_dry_run_tells_the_memory(&mochi_kind);
}

static void each_allocation_fails_cleanly(void **state) {
    (void)state;
    video_each_allocation_fails_cleanly(&mochi_kind, 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_are_those_of_diffusers), cmocka_unit_test(bfloat16_errs_no_more_than_diffusers),
        cmocka_unit_test(norms_get_their_eps),           cmocka_unit_test(a_dry_run_tells_the_memory),
        cmocka_unit_test(each_allocation_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
