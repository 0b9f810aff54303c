/* Ways of exchanging tokens for heads: who stores where, that all of them give the same and count the same bytes, and how they end when a rank fails meanwhile.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
#include <paraattn/paraattn.h>

#include "attention_case.h"
#include "comm/rank.h"
#include "worlds.h"

enum { NOBODY = -1 };

static int open_all(void **unused) {
    (void)unused;
    return open_worlds(1);
}

static int close_all(void **unused) {
    (void)unused;
    close_worlds();
    return 0;
}

/* A case on ranks whose devices are watched. */
typedef struct watched {
    attention_case c;
    bool copies_beside;     /* the devices pretend so */
    int fails, sleeps;      /* in attention: a rank, or NOBODY */
    atomic_int wholes, parts; /* attentions with one result, and with one for each rank that holds tokens */
    atomic_llong bytes;     /* sent by all ranks */
} watched;

static _Thread_local struct {
    const para_ops *ops;
    watched *w;
    int rank;
} own;

static para_status attend(para_device *dev, const para_attention_args *a) {
    atomic_fetch_add(&own.w->wholes, 1);
    return own.ops->attention(dev, a);
}

static para_status attend_parts(para_device *dev, int parts, const para_attention_args *a) {
    atomic_fetch_add(&own.w->parts, 1);
    if (own.rank == own.w->sleeps) usleep(60000);
    para_status status = own.ops->attention_parts(dev, parts, a);
    return own.rank == own.w->fails ? para_fail(PARA_ERR_DEVICE, "a failure in attention") : status;
}

static para_status watched_body(para_rank *rank, void *user) {
    watched *w = user;
    para_device *dev = rank->device;
    para_ops ops = *dev->ops;
    int64_t before = rank->endpoint ? rank->endpoint->bytes_sent : 0;
    own.ops = dev->ops, own.w = w, own.rank = rank->index;
    ops.attention = attend;
    ops.attention_parts = attend_parts;
    dev->ops = &ops;
    dev->copies_beside = w->copies_beside;
    para_status status = case_body(rank, &w->c);
    dev->ops = own.ops;
    dev->copies_beside = false;
    if (rank->endpoint) atomic_fetch_add(&w->bytes, rank->endpoint->bytes_sent - before);
    return status;
}

/* What a rank's key heads make at most. */
static int groups_of(const spread *s, int64_t key_heads) {
    int most = (int)((key_heads + s->ulysses - 1) / s->ulysses);
    return s->head_groups < most ? s->head_groups : most;
}

/* What is to happen, from what attention.h says. */
static void expect(watched *w, bool *direct_out) {
    spread *s = &w->c.s;
    bool stores = s->exchange != PARA_EXCHANGE_COPY && s->ulysses > 1;
    bool places = s->call >= CALL_PLACES && w->c.p.b == 1 && s->ulysses * groups_of(s, w->c.p.hkv) <= PARA_MOST_PLACES;
    bool left_to_copies = s->beside && w->copies_beside;
    s->stores = stores && places && !left_to_copies;
    s->copies = !s->stores && s->ulysses > 1;
    *direct_out = stores && s->ring == 1 && s->call != CALL_AT_ONCE;
}

/* Runs it and says its error beside `want`. */
static void run_way(watched *w, const answer *want, double *worst) {
    char name[256];
    bool direct_out;
    int ranks = w->c.s.ring * w->c.s.ulysses, groups = groups_of(&w->c.s, w->c.p.hkv);
    w->fails = w->sleeps = NOBODY;
    expect(w, &direct_out);
    case_name(&w->c, name, sizeof name);
    if (run_case_as(worlds[ranks], &w->c, watched_body, w) != PARA_OK) fail_msg("%s, way %d, beside %d: %s", name, (int)w->c.s.exchange, w->c.s.beside, para_last_error());
    double lse, error = answer_error(&w->c.p, &w->c.answer, want, &lse);
    if (!(error <= 2e-6) || !(lse <= 2e-6)) fail_msg("%s, way %d: relative L2 error %.3g, of the LSE %.3g (2e-6)", name, (int)w->c.s.exchange, error, lse);
    *worst = error > *worst ? error : *worst;
    int parts = atomic_load(&w->parts), wholes = atomic_load(&w->wholes);
    if (parts != (direct_out ? ranks * groups : 0) || (direct_out && wholes > 0))
        fail_msg("%s, way %d: %d attentions with one result, %d with several, of %d ranks and %d groups", name, (int)w->c.s.exchange, wholes, parts, ranks, groups);
    answer_close(&w->c.answer);
}

/* All ways of a problem on a mesh. */
static int ways(attention_case c, double *worst) {
    problem exact = c.p;
    one_rank want = {&exact, answer_open(&exact)};
    int count = 0;
    assert_int_equal(para_world_run(worlds[1], one_rank_body, &want), PARA_OK);
    for (int call = CALL_AT_ONCE; call < CALL_KINDS; call++) {
        long long bytes = -1;
        for (int way = PARA_EXCHANGE_AUTO; way <= PARA_EXCHANGE_DIRECT; way++)
            for (int beside = 0; beside < 2; beside++)
                for (int gpu = 0; gpu < 2; gpu++, count++) {
                    watched w = {.c = c, .copies_beside = gpu};
                    w.c.s.call = (call_kind)call, w.c.s.exchange = (para_exchange_way)way, w.c.s.beside = beside;
                    run_way(&w, &want.answer, worst);
                    if (bytes < 0) bytes = atomic_load(&w.bytes);
                    if (bytes != atomic_load(&w.bytes))
                        fail_msg("%s: way %d sent %lld bytes, another %lld", call_names[call], way, (long long)atomic_load(&w.bytes), bytes);
                }
    }
    answer_close(&want.answer);
    return count;
}

static attention_case case_of(int ring, int ulysses, int64_t heads, int64_t key_heads, int64_t tokens, int64_t text, int64_t batch) {
    return (attention_case){.p = {.b = batch, .h = heads, .hkv = key_heads, .sq = tokens, .skv = tokens, .d = 16, .dv = 16, .text_q = text, .text_kv = text, .dtype = PARA_F32, .inputs = PARA_F32},
                            .s = {.mode = ring > 1 ? MODE_UNIFIED : MODE_ULYSSES, .ring = ring, .ulysses = ulysses, .head_groups = 1}};
}

/* 1 to 8 ranks; heads and tokens that do not share out evenly, fewer heads than ranks among them; heads in groups. */
static void even_and_uneven(void **unused) {
    (void)unused;
    double worst = 0;
    int count = 0;
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
        count += ways(case_of(1, ranks, 8, 8, 64, 16, 1), &worst);
        attention_case c = case_of(1, ranks, 10, 5, 53, 9, 1 + ranks % 2);
        c.s.head_groups = 1 + ranks % 3;
        count += ways(c, &worst);
    }
    printf("%d runs, worst error %.2g\n", count, worst);
}

/* Ranks without a token, or with one. */
static void odd_shares(void **unused) {
    (void)unused;
    static const int64_t image[] = {0, 30, 1, 9}, text[] = {0, 0, 4, 1};
    double worst = 0;
    attention_case c = case_of(1, 4, 6, 6, 45, 5, 1);
    c.s.share_q[0] = c.s.share_kv[0] = image;
    c.s.share_q[1] = c.s.share_kv[1] = text;
    int count = ways(c, &worst);
    c.s.head_groups = 2;
    count += ways(c, &worst);
    printf("%d runs, worst error %.2g\n", count, worst);
}

/* A ring inside merges partial results: those are copied back. */
static void ring_inside(void **unused) {
    (void)unused;
    double worst = 0;
    int count = ways(case_of(2, 2, 6, 3, 50, 7, 1), &worst);
    count += ways(case_of(2, 4, 7, 7, 61, 0, 1), &worst);
    count += ways(case_of(4, 2, 4, 4, 40, 8, 2), &worst);
    printf("%d runs, worst error %.2g\n", count, worst);
}

/* A rank fails in the attention that stores at others, while another still stores at it; the world works as before. */
static void failures(void **unused) {
    (void)unused;
    for (int ranks = 2; ranks <= 4; ranks++)
        for (int fails = 0; fails < ranks; fails++)
            for (int mixed = 0; mixed < 2; mixed++) {
                watched w = {.c = case_of(1, ranks, 8, 8, 64, 16, 1), .copies_beside = true, .fails = fails, .sleeps = (fails + 1) % ranks};
                char sentence[64];
                w.c.s.call = CALL_PLACES, w.c.s.exchange = PARA_EXCHANGE_DIRECT, w.c.s.beside = mixed, w.c.s.head_groups = 2;
                assert_int_equal(run_case_as(worlds[ranks], &w.c, watched_body, &w), PARA_ERR_DEVICE);
                snprintf(sentence, sizeof sentence, "rank %d: a failure in attention", fails);
                assert_string_equal(para_last_error(), sentence);
                answer_close(&w.c.answer);
                double worst = 0;
                attention_case again = case_of(1, ranks, 8, 8, 64, 16, 1);
                one_rank want = {&again.p, answer_open(&again.p)};
                watched healthy = {.c = again, .copies_beside = true};
                healthy.c.s.call = CALL_PLACES, healthy.c.s.exchange = PARA_EXCHANGE_DIRECT;
                assert_int_equal(para_world_run(worlds[1], one_rank_body, &want), PARA_OK);
                run_way(&healthy, &want.answer, &worst);
                answer_close(&want.answer);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_and_uneven),
        cmocka_unit_test(odd_shares),
        cmocka_unit_test(ring_inside),
        cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
