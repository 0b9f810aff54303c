/* Mochi's transformer on 1 to 8 ranks and every mesh of them: each stage as diffusers has it, the prediction that of one rank.
 * SPDX-License-Identifier: Apache-2.0 */
#include "video_ranks.h"

/* 45 tokens of video and 9, 14 or none of text; two heads. */
static void wide(void **state) {
    (void)state;
    video_on_all_meshes(&mochi_kind, "mochi-wide");
}
/* 70 and 1, 11 or 7; three heads. */
static void odd(void **state) {
    (void)state;
    video_on_all_meshes(&mochi_kind, "mochi-odd");
}
/* 6 and 67, none or 3; one head: some ranks have no token of the video, or none at all. */
static void text(void **state) {
    (void)state;
    video_on_all_meshes(&mochi_kind, "mochi-text");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(wide), cmocka_unit_test(odd), cmocka_unit_test(text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
