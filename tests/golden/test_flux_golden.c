/* Small FLUX models with redrawn weights: every stage against diffusers. SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

static void check(const char *name) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, name);
    golden_run g;
    print_message("%s, relative L2 of each stage:\n", name);
    golden_run_case(&g, folder, folder, true);
    print_message("%s: worst stage %s at %.2f of its bound\n", name, g.worst_stage, g.worst);
    assert_int_equal(g.failures, 0);
}

static void dev(void **state) {
    (void)state;
    check("flux-dev");
}
static void schnell(void **state) {
    (void)state;
    check("flux-schnell");
}
static void odd(void **state) {
    (void)state;
    check("flux-odd");
}
static void long_prompt(void **state) {
    (void)state;
    check("flux-long");
}
static void true_cfg(void **state) {
    (void)state;
    check("flux-cfg");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dev),         cmocka_unit_test(schnell),  cmocka_unit_test(odd),
        cmocka_unit_test(long_prompt), cmocka_unit_test(true_cfg),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
