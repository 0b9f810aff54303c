/* HunyuanVideo's transformer on 1 to 8 ranks and every mesh of them: each stage as diffusers has it, the prediction that of one rank.
 * SPDX-License-Identifier: Apache-2.0 */
#include "golden/hunyuan_case.h"
#include "mesh_list.h"

/* Predictions against those of one rank. Measured: 3.3e-6. */
static const double prediction_bound = 1e-4;

static double largest_difference(const float *a, const float *b, int64_t n) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= largest)) largest = fabs((double)a[i] - (double)b[i]);
    return largest;
}

static void on_all_meshes(const char *name) {
    para_parallel_options mesh[MOST_MESHES];
    int n = list_meshes(mesh, 1, 1);
    double worst = 0, worst_stage = 0, reach = 0;
    hunyuan_case alone = {.print = false};
    hunyuan_case_run(&alone, name, NULL);
    assert_int_equal(alone.g.failures, 0);
    for (int64_t k = 0; k < alone.head_count; k++) reach = fmax(reach, fabs((double)alone.head[0][k]));
    for (int i = 0; i < n; i++) {
        hunyuan_case c = {.ring = mesh[i].ring, .ulysses = mesh[i].ulysses};
        hunyuan_case_run(&c, name, NULL);
        if (c.g.failures)
            fail_msg("%s on %d x %d: %d stages differ, %s is at %.2f of its bound; %s", name, mesh[i].ring,
                     mesh[i].ulysses, c.g.failures, c.g.worst_stage, c.g.worst, para_last_error());
        for (int run = 0; run < c.runs; run++) {
            double d = largest_difference(c.head[run], alone.head[run], c.head_count);
            if (!(d <= prediction_bound))
                fail_msg("%s on %d x %d: the prediction differs by %.1e", name, mesh[i].ring, mesh[i].ulysses, d);
            worst = fmax(worst, d);
        }
        worst_stage = fmax(worst_stage, c.g.worst);
        hunyuan_case_close(&c);
    }
    hunyuan_case_close(&alone);
    print_message("%s on %d meshes: worst stage at %.2f of its bound, predictions (within ±%.1f) within %.1e of one rank\n",
                  name, n, worst_stage, reach, worst);
}

/* 45 tokens of video and 9, 14 or 1 of text; two heads. */
static void guided(void **state) {
    (void)state;
    on_all_meshes("hunyuan-guided");
}
/* 105 and 7 or 13; three heads. */
static void odd(void **state) {
    (void)state;
    on_all_meshes("hunyuan-odd");
}
/* 18 and 67 or 3; one head: where there are two or more for heads, all but one have none. */
static void text(void **state) {
    (void)state;
    on_all_meshes("hunyuan-text");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(guided), cmocka_unit_test(odd), cmocka_unit_test(text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
