/* Small HunyuanVideo transformers with redrawn weights, on text without its padding: every stage against diffusers, which masks it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "video_checks.h"

static void stages_are_those_of_diffusers(void **state) {
    (void)state;
    video_stages_are_those_of_diffusers(&hunyuan_kind);
}

/* With time and guidance exact. Measured: 0.518. */
static void bfloat16_errs_no_more_than_diffusers(void **state) {
    (void)state;
    video_bfloat16_errs_between(&hunyuan_kind, 0.2, 0.6);
}

static void norms_get_their_eps(void **state) {
    (void)state;
    /* Two runs of the refiner's 2 x 2, the dual block's 2 x 2 and its 2 x 2 of heads, the single block's 1 (which the dual block's streams
     * end with) and 2, and the head's. */
    video_norms_get_their_eps(&hunyuan_kind, 1e-6f, 1e-6f, 2 * (4 + 4 + 4 + 4 + 1));
}

static void a_dry_run_tells_the_memory(void **state) {
    (void)state;
    video_dry_run_tells_the_memory(&hunyuan_kind);
}

static void each_allocation_fails_cleanly(void **state) {
    (void)state;
    video_each_allocation_fails_cleanly(&hunyuan_kind, 150);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_are_those_of_diffusers), cmocka_unit_test(bfloat16_errs_no_more_than_diffusers),
        cmocka_unit_test(norms_get_their_eps),           cmocka_unit_test(a_dry_run_tells_the_memory),
        cmocka_unit_test(each_allocation_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
