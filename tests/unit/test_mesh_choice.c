/* Which mesh a request gets: a table of what the rule says. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/mesh_choice.h"

#include "parallel/mesh_hosts.h"
#include "unit/io_checks.h"

enum { DEV_TOKENS = 4096 + 512, DEV_HEADS = 24 };

static void gets(int ranks, int64_t items, int64_t heads, para_mesh wish, int batch, int ring, int ulysses) {
    para_mesh m;
    para_mesh_needs n = {.ranks = ranks, .items = items, .heads = heads, .tokens = DEV_TOKENS};
    assert_ok(para_mesh_choose(&m, wish, &n));
    if (m.batch != batch || m.ring != ring || m.ulysses != ulysses)
        fail_msg("%d ranks, %lld items, %lld heads: got %d x %d x %d", ranks, (long long)items, (long long)heads,
                 m.batch, m.ring, m.ulysses);
}

static void chosen(void **state) {
    (void)state;
    para_mesh any = {0};
    gets(1, 1, DEV_HEADS, any, 1, 1, 1);
    gets(4, 1, DEV_HEADS, any, 1, 1, 4);
    gets(8, 1, DEV_HEADS, any, 1, 1, 8);
    gets(8, 2, DEV_HEADS, any, 2, 1, 4); /* CFG */
    gets(3, 2, DEV_HEADS, any, 1, 1, 3);
    gets(6, 3, DEV_HEADS, any, 3, 1, 2); /* pictures */
    gets(4, 3, DEV_HEADS, any, 1, 1, 4); /* two of three waves would be half empty */
    gets(4, 7, DEV_HEADS, any, 1, 1, 4);
    gets(4, 11, DEV_HEADS, any, 4, 1, 1); /* one place of twelve is empty */
    gets(16, 1, DEV_HEADS, any, 1, 2, 8); /* 24 heads on 16 ranks: some would have twice as many as others */
    gets(5, 1, DEV_HEADS, any, 1, 1, 5);
    gets(7, 1, DEV_HEADS, any, 1, 7, 1);
    gets(8, 1, 30, any, 1, 1, 8);
    gets(8, 1, 2, any, 1, 4, 2);
    gets(8, 1, 1, any, 1, 8, 1);
    gets(256, 1, DEV_HEADS, any, 1, 32, 8);
}

static void wished(void **state) {
    (void)state;
    gets(8, 2, DEV_HEADS, (para_mesh){1, 0, 0}, 1, 1, 8);
    gets(8, 2, DEV_HEADS, (para_mesh){0, 2, 0}, 2, 2, 2);
    gets(8, 1, 1, (para_mesh){0, 0, 8}, 1, 1, 8);
    gets(8, 2, DEV_HEADS, (para_mesh){0, 4, 1}, 2, 4, 1);
    gets(8, 5, DEV_HEADS, (para_mesh){4, 0, 0}, 4, 1, 2); /* the last wave is short */
}

/* ---- several hosts */

enum { MOST_RANKS = 64 };

/* Ranks on each host, ended by 0. */
static para_mesh_needs on_hosts(const int *of, int64_t items, int64_t heads, int host[MOST_RANKS]) {
    int ranks = 0;
    for (int h = 0; of[h]; h++)
        for (int i = 0; i < of[h]; i++) host[ranks++] = h;
    return (para_mesh_needs){.ranks = ranks, .items = items, .heads = heads, .tokens = DEV_TOKENS, .host = host};
}

static void gets_on(const int *of, int64_t items, int64_t heads, para_mesh wish, int batch, int ring, int ulysses, const char *why) {
    para_mesh m;
    int host[MOST_RANKS];
    char text[320];
    para_mesh_needs n = on_hosts(of, items, heads, host);
    assert_ok(para_mesh_choose(&m, wish, &n));
    para_mesh_explain(text, sizeof text, m, wish, &n);
    if (m.batch != batch || m.ring != ring || m.ulysses != ulysses || strcmp(text, why) != 0)
        fail_msg("%d + %d ranks: got %d x %d x %d: \"%s\"", of[0], of[1], m.batch, m.ring, m.ulysses, text);
}

#define INSIDE "tokens are exchanged for heads within a host; "
#define RING "between hosts keys and values go round while ranks compute"

static void hosts(void **state) {
    (void)state;
    para_mesh any = {0};
    gets_on((int[]){8, 0}, 1, DEV_HEADS, any, 1, 1, 8, "");
    gets_on((int[]){8, 8, 0}, 1, DEV_HEADS, any, 1, 2, 8, "2 hosts of 8 ranks, hence batch 1 x ring 2 x ulysses 8: " INSIDE RING);
    gets_on((int[]){2, 2, 0}, 1, DEV_HEADS, any, 1, 2, 2, "2 hosts of 2 ranks, hence batch 1 x ring 2 x ulysses 2: " INSIDE RING);
    gets_on((int[]){16, 16, 0}, 1, 4, any, 1, 8, 4, "2 hosts of 16 ranks, hence batch 1 x ring 8 x ulysses 4: " INSIDE RING);
    gets_on((int[]){1, 1, 0}, 1, DEV_HEADS, any, 1, 2, 1, "2 hosts of 1 rank, hence batch 1 x ring 2 x ulysses 1: " RING);
    /* CFG between hosts; and where there are more hosts than items, a ring, too. */
    gets_on((int[]){4, 4, 0}, 2, DEV_HEADS, any, 2, 1, 4,
            "2 hosts of 4 ranks, hence batch 2 x ring 1 x ulysses 4: " INSIDE "between hosts go predictions only");
    gets_on((int[]){8, 8, 8, 8, 0}, 2, DEV_HEADS, any, 2, 2, 8, "4 hosts of 8 ranks, hence batch 2 x ring 2 x ulysses 8: " INSIDE RING);
    /* What divides the ranks of each host, and nothing else. */
    gets_on((int[]){3, 5, 0}, 1, DEV_HEADS, any, 1, 8, 1,
            "2 hosts of 3 and 5 ranks, hence batch 1 x ring 8 x ulysses 1: ulysses groups of one size do not fill the hosts; " RING);
    gets_on((int[]){2, 6, 0}, 1, DEV_HEADS, any, 1, 4, 2, "2 hosts of 2 and 6 ranks, hence batch 1 x ring 4 x ulysses 2: " INSIDE RING);
    gets_on((int[]){8, 4, 0}, 1, DEV_HEADS, any, 1, 3, 4, "2 hosts of 8 and 4 ranks, hence batch 1 x ring 3 x ulysses 4: " INSIDE RING);
    gets_on((int[]){4, 8, 4, 4, 4, 0}, 1, DEV_HEADS, any, 1, 6, 4, "5 hosts of 4 to 8 ranks, hence batch 1 x ring 6 x ulysses 4: " INSIDE RING);
    /* What is given holds. */
    gets_on((int[]){4, 4, 0}, 2, DEV_HEADS, (para_mesh){1, 0, 0}, 1, 2, 4, "2 hosts of 4 ranks, hence batch 1 x ring 2 x ulysses 4: " INSIDE RING);
    gets_on((int[]){4, 4, 0}, 1, DEV_HEADS, (para_mesh){0, 0, 8}, 1, 1, 8,
            "2 hosts of 4 ranks, hence batch 1 x ring 1 x ulysses 8: ranks of several hosts exchange tokens for heads before and after each "
            "attention; without --ulysses none would");
    gets_on((int[]){3, 3, 0}, 1, DEV_HEADS, (para_mesh){1, 1, 0}, 1, 1, 6,
            "2 hosts of 3 ranks, and as given batch 1 x ring 1 x ulysses 6: ranks of several hosts exchange tokens for heads before and after each "
            "attention; --batch and --ring leave no other mesh");
    char small[16];
    int host[MOST_RANKS];
    para_mesh_needs n = on_hosts((int[]){4, 4, 0}, 1, DEV_HEADS, host);
    para_mesh_explain(small, sizeof small, (para_mesh){1, 2, 4}, any, &n);
    assert_string_equal(small, "2 hosts of 4 ra");
}

static void impossible(void **state) {
    (void)state;
    para_mesh m;
    para_mesh_needs n = {.ranks = 4, .items = 1, .heads = DEV_HEADS, .tokens = DEV_TOKENS};
    assert_fails(PARA_ERR_ARGUMENT, "does not fill 4 ranks", para_mesh_choose(&m, (para_mesh){0, 3, 0}, &n));
    assert_fails(PARA_ERR_ARGUMENT, "does not fill 4 ranks", para_mesh_check((para_mesh){1, 1, 1}, 4));
    assert_fails(PARA_ERR_ARGUMENT, "does not fill 4 ranks", para_mesh_check((para_mesh){-2, -2, 1}, 4));
    assert_fails(PARA_ERR_ARGUMENT, "more than the 1 item of this request",
                 para_mesh_choose(&m, (para_mesh){0, 1, 1}, &n));
    assert_fails(PARA_ERR_ARGUMENT, "does not fill 1 rank;", para_mesh_check((para_mesh){2, 0, 0}, 1));
}

/* Predicted seconds by the axes: user [3], each axis' own. */
static para_status by_axes(void *user, para_mesh m, double *out) {
    const double *each = user;
    *out = each[0] * m.batch + each[1] * m.ring + each[2] * m.ulysses;
    return each[0] < 0 ? para_fail(PARA_ERR_IO, "cannot be predicted") : PARA_OK;
}

static void by_time(double batch, double ring, double ulysses, para_mesh wish, int b, int r, int u) {
    para_mesh m;
    double each[] = {batch, ring, ulysses};
    para_mesh_needs n = {.ranks = 8, .items = 2, .heads = DEV_HEADS, .tokens = DEV_TOKENS, .seconds = by_axes, .user = each};
    assert_ok(para_mesh_choose(&m, wish, &n));
    if (m.batch != b || m.ring != r || m.ulysses != u) fail_msg("%g %g %g: got %d x %d x %d", batch, ring, ulysses, m.batch, m.ring, m.ulysses);
}

/* Where times are predicted, these decide; those within 1 % are as good, and then the order is that of the rule. */
static void predicted(void **state) {
    (void)state;
    para_mesh any = {0};
    by_time(0, 1, 3, any, 2, 4, 1);
    by_time(9, 1, 3, any, 1, 4, 2);
    by_time(9, 1, 3, (para_mesh){0, 2, 0}, 1, 2, 4);
    by_time(1e-9, 1e-9, 1e-9, (para_mesh){2, 0, 0}, 2, 2, 2);
    by_time(0, 1000, 1000.5, (para_mesh){1, 0, 0}, 1, 2, 4); /* 1 x 2 x 4 and 1 x 4 x 2 are nearly equal */
    para_mesh m;
    double failing[] = {-1, 0, 0};
    para_mesh_needs n = {.ranks = 8, .items = 2, .heads = DEV_HEADS, .tokens = DEV_TOKENS, .seconds = by_axes, .user = failing};
    assert_fails(PARA_ERR_IO, "cannot be predicted", para_mesh_choose(&m, any, &n));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(chosen), cmocka_unit_test(wished), cmocka_unit_test(hosts),
                                       cmocka_unit_test(impossible), cmocka_unit_test(predicted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
