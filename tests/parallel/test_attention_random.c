/* Attention in every mode on random meshes, shapes, shares and masks: what one rank gives. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <paraattn/paraattn.h>

#include "attention_case.h"
#include "worlds.h"

static uint64_t state;

static int64_t draw(int64_t low, int64_t high) {
    state = scramble(state);
    return low + (int64_t)(state % (uint64_t)(high - low + 1));
}

static int open_all(void **unused) {
    const char *seed = getenv("PARA_SEED");
    (void)unused;
    state = seed ? strtoull(seed, NULL, 0) : 20240607;
    printf("seed %llu (set PARA_SEED to change it)\n", (unsigned long long)state);
    return open_worlds(1);
}

static int close_all(void **unused) {
    (void)unused;
    close_worlds();
    return 0;
}

/* Tokens of each rank, some of them none, adding up to the total. */
static const int64_t *draw_shares(int64_t *out, int ranks, int64_t total) {
    if (draw(0, 2) == 0) return NULL;
    for (int i = 0; i < ranks; i++) {
        out[i] = i == ranks - 1 ? total : draw(0, 2) == 0 ? 0 : draw(0, total);
        total -= out[i];
    }
    return out;
}

/* The most tokens that `places` neighbours of `ranks` hold. */
static int64_t most_held(const int64_t *const share[2], int ranks, int places, const int64_t total[2]) {
    int64_t most = 0;
    for (int i = 0; i < ranks; i += places) {
        int64_t tokens = 0;
        for (int j = i; j < i + places; j++)
            for (int s = 0; s < 2; s++) tokens += share[s] ? share[s][j] : total[s] / ranks + (j < total[s] % ranks);
        if (tokens > most) most = tokens;
    }
    return most;
}

static problem draw_problem(void) {
    static const para_dtype types[] = {PARA_F32, PARA_F32, PARA_BF16, PARA_F16};
    problem p = {.b = draw(1, 3), .hkv = draw(1, 7), .sq = draw(1, 90), .d = draw(1, 40)};
    p.h = p.hkv * draw(1, 3);
    p.skv = draw(0, 2) ? p.sq : draw(0, 90);
    p.dv = draw(0, 1) ? p.d : draw(1, 40);
    p.text_q = draw(0, 1) ? draw(0, p.sq) : 0;
    p.text_kv = p.skv == p.sq ? p.text_q : draw(0, p.skv);
    p.causal = draw(0, 2) == 0;
    p.causal_offset = p.causal && draw(0, 1) ? draw(-50, 50) : 0;
    p.mask = (mask_kind)draw(0, MASK_KINDS - 1);
    p.dtype = p.inputs = types[draw(0, 3)];
    return p;
}

static double allowed(const attention_case *c, double rounding) {
    return c->p.dtype == PARA_F32 || c->s.out_f32 ? 2e-6 : rounding;
}

/* The mode's result beside one rank's, whose operands and result are float32 (with the values of the short type). */
static void check(const attention_case *c, double *worst) {
    char name[256];
    problem exact = c->p;
    exact.dtype = PARA_F32;
    one_rank want = {&exact, answer_open(&exact)};
    attention_case mine = *c;
    case_name(&mine, name, sizeof name);
    if (para_world_run(worlds[1], one_rank_body, &want) != PARA_OK)
        fail_msg("one rank: %s: %s", name, para_last_error());
    para_status status = run_case(worlds[c->s.ring * c->s.ulysses], &mine);
    if (status != PARA_OK) fail_msg("%s: %s: %s", name, para_status_name(status), para_last_error());
    double lse, error = answer_error(&exact, &mine.answer, &want.answer, &lse);
    /* One rounding of the result: 2^-8 and 2^-11 at most. */
    double bound = allowed(c, c->p.dtype == PARA_BF16 ? 0x1p-8 : 0x1p-11);
    if (!(error <= bound) || !(lse <= 2e-6))
        fail_msg("%s: relative L2 error %.3g (allowed %.3g), of the LSE %.3g (2e-6)", name, error, bound, lse);
    if (error / bound > *worst) *worst = error / bound;
    answer_close(&mine.answer);
    answer_close(&want.answer);
}

/* Such that ranks store for each other. */
static void store_directly(attention_case *c) {
    c->p.b = 1;
    c->p.causal = false;
    c->p.mask = MASK_NONE;
    c->s.head_groups = (int)draw(1, 2);
    c->s.call = (call_kind)draw(CALL_PLACES, CALL_PLACES_TOGETHER);
    c->s.exchange = draw(0, 1) ? PARA_EXCHANGE_AUTO : PARA_EXCHANGE_DIRECT;
    c->s.stores = c->s.ulysses > 1;
}

static void random_cases(mode_kind mode, int cases, bool stores) {
    double worst = 0;
    for (int i = 0; i < cases; i++) {
        int64_t shares[4][MOST_RANKS];
        attention_case c = {.p = draw_problem()};
        problem *p = &c.p;
        c.s.mode = mode;
        c.s.ring = mode == MODE_ULYSSES ? 1 : (int)draw(1, mode == MODE_RING ? MOST_RANKS : 4);
        c.s.ulysses = mode == MODE_RING ? 1 : (int)draw(1, MOST_RANKS / c.s.ring);
        c.s.head_groups = (int)draw(1, 3);
        c.s.call = (call_kind)draw(0, CALL_KINDS - 1);
        c.s.exchange = (para_exchange_way)draw(0, PARA_EXCHANGE_DIRECT);
        c.s.out_f32 = draw(0, 3) == 0;
        if (stores) store_directly(&c);
        int ranks = c.s.ring * c.s.ulysses;
        p->in_batch = mode == MODE_IN_BATCH;
        if (p->in_batch) {
            p->causal = false;
            p->mask = (mask_kind[]){MASK_NONE, MASK_KEYS, MASK_SEGMENTS}[draw(0, 2)];
        }
        int64_t total[] = {p->sq - p->text_q, p->text_q, p->skv - p->text_kv, p->text_kv};
        for (int j = 0; j < 4; j++)
            (j < 2 ? c.s.share_q : c.s.share_kv)[j % 2] = draw_shares(shares[j], ranks, total[j]);
        c.s.all_columns = draw(0, 2) == 0;
        /* Where no rank has two queries, one row for all is one row for each. */
        if (p->in_batch && c.s.all_columns && most_held(c.s.share_q, ranks, 1, total) < 2) p->mask = MASK_NONE;
        check(&c, &worst);
    }
    printf("%s: %d cases, worst error %.2f of what is allowed\n", mode_names[mode], cases, worst);
}

static void ring(void **unused) {
    (void)unused;
    random_cases(MODE_RING, 60, false);
}

static void ulysses(void **unused) {
    (void)unused;
    random_cases(MODE_ULYSSES, 60, false);
}

static void unified(void **unused) {
    (void)unused;
    random_cases(MODE_UNIFIED, 80, false);
}

static void in_batch(void **unused) {
    (void)unused;
    random_cases(MODE_IN_BATCH, 50, false);
}

static void sparse_kv(void **unused) {
    (void)unused;
    random_cases(MODE_SPARSE_KV, 60, false);
}

static void stored(void **unused) {
    (void)unused;
    random_cases(MODE_ULYSSES, 60, true);
    random_cases(MODE_UNIFIED, 40, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring),     cmocka_unit_test(ulysses),   cmocka_unit_test(unified),
        cmocka_unit_test(in_batch), cmocka_unit_test(sparse_kv), cmocka_unit_test(stored),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
