/* HunyuanVideo's transformer on 1 to 8 ranks and every mesh of them: each stage as diffusers has it, the prediction that of one rank
 * within 3.3e-6, measured. SPDX-License-Identifier: Apache-2.0 */
#include "video_ranks.h"

/* 45 tokens of video and 9, 14 or 1 of text; two heads. */
static void guided(void **state) {
    (void)state;
    video_on_all_meshes(&hunyuan_kind, "hunyuan-guided");
}
/* 105 and 7 or 13; three heads. */
static void odd(void **state) {
    (void)state;
    video_on_all_meshes(&hunyuan_kind, "hunyuan-odd");
}
/* 18 and 67 or 3; one head: where there are two or more for heads, all but one have none. */
static void text(void **state) {
    (void)state;
    video_on_all_meshes(&hunyuan_kind, "hunyuan-text");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(guided), cmocka_unit_test(odd), cmocka_unit_test(text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
