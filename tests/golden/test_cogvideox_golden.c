/* Small CogVideoX transformers with redrawn weights, of each kind: every stage against diffusers. SPDX-License-Identifier: Apache-2.0 */
#include "video_checks.h"

static void stages_are_those_of_diffusers(void **state) {
    (void)state;
    video_stages_are_those_of_diffusers(&cogvideox_kind);
}

/* Measured: 0.594. */
static void bfloat16_errs_no_more_than_diffusers(void **state) {
    (void)state;
    video_bfloat16_errs_between(&cogvideox_kind, 0.2, 0.65);
}

static void norms_get_their_eps(void **state) {
    (void)state;
    /* One block's two norms of both segments, the head's two; of heads those of queries and of keys. */
    video_norms_get_their_eps(&cogvideox_kind, 1e-4f, 1e-6f, 2 * 2 + 2 + 2);
}

static void a_dry_run_tells_the_memory(void **state) {
    (void)state;
    video_dry_run_tells_the_memory(&cogvideox_kind);
}

static void each_allocation_fails_cleanly(void **state) {
    (void)state;
    video_each_allocation_fails_cleanly(&cogvideox_kind, 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_are_those_of_diffusers), cmocka_unit_test(bfloat16_errs_no_more_than_diffusers),
        cmocka_unit_test(norms_get_their_eps),           cmocka_unit_test(a_dry_run_tells_the_memory),
        cmocka_unit_test(each_allocation_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
