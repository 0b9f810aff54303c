/* The stack of attention modes: a mode of the user's own, scopes, what is refused, bytes, memory that gives out. SPDX-License-Identifier: Apache-2.0 */
#include "attention_case.h"
#include "backend/counts.h"
#include "comm/rank.h"
#include "core/alloc.h"
#include "rank_checks.h"

enum { RANKS = 4 };

static const problem small = {.b = 2,
                              .h = 6,
                              .hkv = 3,
                              .sq = 41,
                              .skv = 41,
                              .d = 8,
                              .dv = 8,
                              .text_q = 9,
                              .text_kv = 9,
                              .mask = MASK_KEYS,
                              .dtype = PARA_F32,
                              .inputs = PARA_F32};

static answer solve_alone(const problem *p) {
    one_rank o = {p, answer_open(p)};
    para_world *world = open_world(1, 60);
    run_ok(world, one_rank_body, &o);
    para_world_close(&world);
    return o.answer;
}

static void check_answer(const problem *p, const answer *got, const answer *want) {
    double lse, error = answer_error(p, got, want, &lse);
    if (!(error <= 2e-6) || !(lse <= 2e-6)) fail_msg("relative L2 error %.3g, of the LSE %.3g", error, lse);
}

/* ---- a mode of the user's own: counts, and has the mode below do the work */

typedef struct counts {
    int begun[RANKS], put[RANKS], computed[RANKS], ended[RANKS];
} counts;

static counts *counts_of(const para_attention_job *job) {
    return (counts *)job->mode->user;
}

static para_status counting_begin(para_rank *rank, para_attention_job *job) {
    void *inner;
    counts_of(job)->begun[para_rank_index(rank)]++;
    PARA_TRY(para_rank_scratch(rank, sizeof(para_attention_job), &inner));
    job->state = inner;
    PARA_TRY(para_attention_begin_below(rank, job, &job->args, inner));
    job->args = ((para_attention_job *)inner)->args; /* operands lie where the mode below wants them */
    return PARA_OK;
}

static para_status counting_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    counts_of(job)->put[para_rank_index(rank)]++;
    return para_attention_put(rank, job->state, operand);
}

static para_status counting_compute(para_rank *rank, para_attention_job *job) {
    counts_of(job)->computed[para_rank_index(rank)]++;
    return para_attention_compute(rank, job->state);
}

static para_status counting_end(para_rank *rank, para_attention_job *job) {
    counts_of(job)->ended[para_rank_index(rank)]++;
    return para_attention_end(rank, job->state);
}

static para_attention_mode counting_mode(counts *c) {
    return (para_attention_mode){.name = "counting",
                                 .begin = counting_begin,
                                 .put = counting_put,
                                 .compute = counting_compute,
                                 .end = counting_end,
                                 .user = c};
}

/* Below and above the modes of a case. */
typedef struct stacked {
    attention_case c;
    counts above, below;
    bool has_below;
} stacked;

static para_status stacked_body(para_rank *rank, void *user) {
    stacked *s = user;
    const problem *p = &s->c.p;
    int index = para_mesh_comm(rank, s->c.mesh, PARA_AXIS_TOKENS).index;
    held queries = held_by(s->c.layout, index), keys = held_by(s->c.kv_layout, index);
    para_attention_args a = PARA_ATTENTION_ARGS_INIT;
    PARA_TRY(prepare(rank, &s->c, &queries, &keys, &a));
    if (s->has_below) PARA_TRY(para_attention_push(rank, counting_mode(&s->below)));
    PARA_TRY(push_modes(rank, &s->c));
    PARA_TRY(para_attention_push(rank, counting_mode(&s->above)));
    PARA_TRY(in_phases(rank, p, &queries, &keys, &a));
    PARA_TRY(para_attention_pop(rank));
    PARA_TRY(pop_modes(rank, &s->c));
    if (s->has_below) PARA_TRY(para_attention_pop(rank));
    answer_write(p, &s->c.answer, &queries, a.out, a.lse);
    return PARA_OK;
}

/* Under every mode a counting one sees what is computed on the rank: one attention for each head group, or for each part of the ring. */
static void own_mode(void **state) {
    (void)state;
    answer want = solve_alone(&small);
    para_world *world = open_world(RANKS, 60);
    for (mode_kind mode = MODE_RING; mode < MODE_KINDS; mode++) {
        stacked s = {.c = {.p = small, .s = {.mode = mode, .ring = RANKS, .ulysses = 1, .head_groups = 1}},
                     .has_below = true};
        if (mode == MODE_IN_BATCH) continue;
        if (mode != MODE_RING) s.c.s.ring = 1, s.c.s.ulysses = RANKS;
        s.c.p.mask = mode == MODE_SPARSE_KV ? MASK_KEYS : MASK_NONE;
        answer exact = mode == MODE_SPARSE_KV ? want : solve_alone(&s.c.p);
        if (run_case_as(world, &s.c, stacked_body, &s) != PARA_OK) fail_msg("%s", para_last_error());
        check_answer(&s.c.p, &s.c.answer, &exact);
        for (int r = 0; r < RANKS; r++) {
            int below = mode == MODE_RING        ? RANKS
                        : mode == MODE_SPARSE_KV ? (int)small.b
                                                 : 1; /* entries have masks of their own */
            assert_int_equal(s.above.begun[r], 1);
            assert_int_equal(s.above.put[r], PARA_OPERANDS);
            assert_int_equal(s.above.computed[r], 1);
            assert_int_equal(s.above.ended[r], 1);
            assert_int_equal(s.below.begun[r], below);
            assert_int_equal(s.below.put[r], PARA_OPERANDS * below);
            assert_int_equal(s.below.ended[r], below);
        }
        answer_close(&s.c.answer);
        if (mode != MODE_SPARSE_KV) answer_close(&exact);
    }
    para_world_close(&world);
    answer_close(&want);
}

/* In-batch and sparse-KV under Ulysses in a ring, all at once. */
static para_status all_modes_body(para_rank *rank, void *user) {
    attention_case *c = user;
    PARA_TRY(para_attention_push(rank, para_sparse_kv_mode(rank)));
    PARA_TRY(case_body(rank, c)); /* in-batch, then unified */
    return para_attention_pop(rank);
}

static void stacked_modes(void **state) {
    (void)state;
    attention_case c = {.p = small, .s = {.mode = MODE_IN_BATCH, .ring = 2, .ulysses = 2, .head_groups = 2}};
    para_world *world = open_world(RANKS, 60);
    c.p.in_batch = true;
    answer want = solve_alone(&c.p);
    if (run_case_as(world, &c, all_modes_body, &c) != PARA_OK) fail_msg("%s", para_last_error());
    check_answer(&c.p, &c.answer, &want);
    answer_close(&c.answer);
    answer_close(&want);
    para_world_close(&world);
}

/* ---- scopes without exchange */

typedef struct scope {
    attention_case c;
    bool small_kv; /* else plain */
    int64_t keys;  /* that every rank holds */
    int64_t bytes; /* sent by all */
} scope;

/* Every rank holds the same keys; its queries are a part of all. */
static para_status scope_body(para_rank *rank, void *user) {
    scope *s = user;
    const problem *p = &s->c.p;
    held queries = held_by(s->c.layout, para_rank_index(rank)), keys = held_all(p->skv);
    para_attention_args a = PARA_ATTENTION_ARGS_INIT;
    int64_t before = para_rank_bytes_sent(rank);
    PARA_TRY(prepare(rank, &s->c, &queries, &keys, &a));
    PARA_TRY(push_modes(rank, &s->c));
    PARA_TRY(para_attention_push(rank, s->small_kv ? para_skip_small_kv_mode(rank) : para_plain_mode(rank)));
    PARA_TRY(para_attention(rank, &a));
    PARA_TRY(para_attention_pop(rank));
    PARA_TRY(pop_modes(rank, &s->c));
    EXPECT(para_rank_bytes_sent(rank) == before, "something was sent");
    answer_write(p, &s->c.answer, &queries, a.out, a.lse);
    return PARA_OK;
}

static void scopes(void **state) {
    (void)state;
    para_world *world = open_world(RANKS, 60);
    for (int small_kv = 0; small_kv < 2; small_kv++) {
        scope s = {.c = {.p = small, .s = {.mode = MODE_UNIFIED, .ring = 2, .ulysses = 2}}, .small_kv = small_kv};
        s.c.p.skv = small_kv ? 5 : 60;
        s.c.p.text_kv = 0;
        s.c.p.mask = MASK_NONE;
        answer want = solve_alone(&s.c.p);
        if (run_case_as(world, &s.c, scope_body, &s) != PARA_OK) fail_msg("%s", para_last_error());
        check_answer(&s.c.p, &s.c.answer, &want);
        answer_close(&s.c.answer);
        answer_close(&want);
    }
    /* With as many keys as queries it stands aside. */
    attention_case c = {.p = small, .s = {.mode = MODE_UNIFIED, .ring = 2, .ulysses = 2, .skip_small_kv = true}};
    answer want = solve_alone(&c.p);
    if (run_case(world, &c) != PARA_OK) fail_msg("%s", para_last_error());
    check_answer(&c.p, &c.answer, &want);
    answer_close(&c.answer);
    answer_close(&want);
    para_world_close(&world);
}

/* ---- what is refused */

typedef struct refusal {
    attention_case c;
    int64_t more_queries, more_keys, more_columns; /* than the layout gives the rank */
    bool sparse_on_top;
} refusal;

static para_status refusal_body(para_rank *rank, void *user) {
    refusal *r = user;
    int index = para_mesh_comm(rank, r->c.mesh, PARA_AXIS_TOKENS).index;
    held queries = held_by(r->c.layout, index), keys = held_by(r->c.kv_layout, index);
    para_attention_args a = PARA_ATTENTION_ARGS_INIT;
    PARA_TRY(prepare(rank, &r->c, &queries, &keys, &a));
    a.q.dim[2] += r->more_queries;
    a.out.dim[2] += r->more_queries;
    a.k.dim[2] += r->more_keys;
    a.v.dim[2] += r->more_keys;
    a.mask.dim[3] += r->more_columns;
    PARA_TRY(push_modes(rank, &r->c));
    if (r->sparse_on_top) PARA_TRY(para_attention_push(rank, para_sparse_kv_mode(rank)));
    return para_attention(rank, &a); /* fails; the stack ends with the run */
}

static void refused(para_world *world, refusal r, para_status status, const char *part) {
    para_status got = run_case_as(world, &r.c, refusal_body, &r);
    if (got != status || !strstr(para_last_error(), part))
        fail_msg("expected %s with \"%s\", but got %s: %s", para_status_name(status), part, para_status_name(got),
                 para_last_error());
    answer_close(&r.c.answer);
}

static void refusals(void **state) {
    (void)state;
    para_world *world = open_world(RANKS, 60);
    refusal unified = {.c = {.p = small, .s = {.mode = MODE_UNIFIED, .ring = 2, .ulysses = 2}}}, r;
    unified.c.p.sq = unified.c.p.skv = 40; /* the same on each rank */
    unified.c.p.text_q = unified.c.p.text_kv = 8;
    r = unified;
    r.more_queries = -1;
    refused(world, r, PARA_ERR_SHAPE, "has 9 queries, but the layout gives it 10 (8 of the image, 2 of the text)");
    r = unified;
    r.more_keys = -2;
    refused(world, r, PARA_ERR_SHAPE, "has 8 keys, but the layout gives it 10 (8 of the image, 2 of the text)");
    r = unified;
    r.more_columns = -1;
    refused(world, r, PARA_ERR_SHAPE, "columns; it needs a column for each of all 40 keys");
    r = unified;
    r.sparse_on_top = true;
    refused(world, r, PARA_ERR_STATE, "the mode sparse-kv is above unified");
    r = unified;
    r.c.s.mode = MODE_RING;
    refused(world, r, PARA_ERR_ARGUMENT, "use para_unified_mode");
    r = unified;
    r.c.s.mode = MODE_ULYSSES;
    refused(world, r, PARA_ERR_ARGUMENT, "use para_unified_mode");
    r = unified;
    r.c.s.mode = MODE_IN_BATCH;
    r.c.p.causal = true;
    refused(world, r, PARA_ERR_ARGUMENT, "in-batch attention cannot be causal");
    r.c.p.causal = false;
    r.c.p.mask = MASK_BOOL;
    refused(world, r, PARA_ERR_SHAPE, "in-batch attention takes key padding only");
    para_world_close(&world);
}

static para_status stack_limits_body(para_rank *rank, void *user) {
    (void)user;
    EXPECT(para_attention_pop(rank) == PARA_ERR_STATE, "popped from an empty stack");
    for (int i = 0; i < PARA_MAX_MODES; i++) PARA_TRY(para_attention_push(rank, para_plain_mode(rank)));
    EXPECT(para_attention_push(rank, para_plain_mode(rank)) == PARA_ERR_STATE, "17 modes fit");
    for (int i = 0; i < PARA_MAX_MODES; i++) PARA_TRY(para_attention_pop(rank));
    return PARA_OK;
}

static void stack_limits(void **state) {
    (void)state;
    para_world *world = open_world(1, 60);
    run_ok(world, stack_limits_body, NULL);
    para_world_close(&world);
}

/* ---- bytes: threads and dry against the formulas, for even shards */

typedef struct traffic {
    const para_mesh *mesh;
    const para_layout *layout;
    mode_kind mode;
    para_attention_args args;
    int64_t bytes[RANKS];
} traffic;

static para_status traffic_body(para_rank *rank, void *user) {
    traffic *t = user;
    para_attention_job job;
    int64_t before = para_rank_bytes_sent(rank);
    PARA_TRY(para_attention_push(rank, t->mode == MODE_RING      ? para_ring_mode(rank, t->mesh, t->layout)
                                       : t->mode == MODE_ULYSSES ? para_ulysses_mode(rank, t->mesh, t->layout)
                                                                 : para_unified_mode(rank, t->mesh, t->layout)));
    PARA_TRY(para_attention_begin(rank, &t->args, &job));
    for (int o = 0; o < PARA_OPERANDS; o++) PARA_TRY(para_attention_put(rank, &job, (para_operand)o));
    PARA_TRY(para_attention_compute(rank, &job));
    PARA_TRY(para_attention_end(rank, &job));
    PARA_TRY(para_attention_pop(rank));
    t->bytes[para_rank_index(rank)] = para_rank_bytes_sent(rank) - before;
    return PARA_OK;
}

static para_status dry_traffic(traffic *t, int index, int64_t *bytes, size_t *peak) {
    para_device *device;
    para_endpoint *endpoint;
    para_rank rank;
    PARA_TRY(para_dry_open(&device));
    PARA_TRY(para_dry_endpoint_open(&endpoint, index, RANKS));
    PARA_TRY(para_rank_open(&rank, device, endpoint));
    PARA_TRY(traffic_body(&rank, t));
    *bytes = t->bytes[index];
    *peak = device->arena.peak;
    endpoint->transport->close(endpoint);
    para_rank_close(&rank);
    return PARA_OK;
}

static void bytes_sent(void **state) {
    (void)state;
    para_world *world = open_world(RANKS, 60);
    const int64_t b = 2, h = 8, s = 64, d = 16, size = 2;
    for (mode_kind mode = MODE_RING; mode <= MODE_UNIFIED; mode++) {
        int64_t ring = mode == MODE_ULYSSES ? 1 : mode == MODE_RING ? RANKS : 2, ulysses = RANKS / ring;
        int64_t dim[] = {b, h, s / RANKS, d};
        traffic t = {.mode = mode, .args = PARA_ATTENTION_ARGS_INIT};
        t.args.q = t.args.k = t.args.v = t.args.out = para_tensor_make(NULL, PARA_BF16, 4, dim);
        para_mesh_options m = PARA_MESH_OPTIONS_INIT;
        para_layout_options l = PARA_LAYOUT_OPTIONS_INIT;
        para_mesh *mesh;
        para_layout *layout;
        m.ring = (int)ring;
        l.tokens[PARA_IMAGE] = s * 3 / 4;
        l.tokens[PARA_TEXT] = s / 4;
        assert_int_equal(para_mesh_open(&mesh, world, &m), PARA_OK);
        assert_int_equal(para_layout_open(&layout, mesh, &l), PARA_OK);
        t.mesh = mesh;
        t.layout = layout;
        run_ok(world, traffic_body, &t);
        /* Ulysses: Q, K, V and the result, but what stays; Ring: K and V of its heads once to each other place. */
        int64_t operand = b * h * s * d * size / RANKS;
        int64_t want = 4 * operand * (ulysses - 1) / ulysses + 2 * operand * (ring - 1);
        for (int r = 0; r < RANKS; r++) {
            int64_t dry;
            size_t peak;
            assert_int_equal(t.bytes[r], want);
            assert_int_equal(dry_traffic(&t, r, &dry, &peak), PARA_OK);
            assert_int_equal(dry, want);
            assert_true(peak > 0);
        }
        para_layout_close(&layout);
        para_mesh_close(&mesh);
    }
    para_world_close(&world);
}

/* ---- each allocation fails once */

static void allocation_failures(void **state) {
    (void)state;
    answer want = solve_alone(&small);
    para_world *world = open_world(RANKS, 60);
    for (mode_kind mode = MODE_UNIFIED; mode <= MODE_SPARSE_KV; mode += 2) {
        bool failed = true;
        int n = 0;
        while (failed) {
            attention_case c = {.p = small, .s = {.mode = mode, .ring = 2, .ulysses = 2, .call = (call_kind)(n % CALL_KINDS)}};
            para_alloc_fail_after(++n);
            para_status status = run_case(world, &c);
            failed = para_alloc_count() >= n;
            para_alloc_fail_after(0);
            if (failed && status != PARA_ERR_MEMORY)
                fail_msg("allocation %d failed, but the run gave %s", n, para_status_name(status));
            if (!failed && status != PARA_OK) fail_msg("%s", para_last_error());
            if (!failed) check_answer(&small, &c.answer, &want);
            answer_close(&c.answer);
        }
        printf("%s: each of %d allocations failed once\n", mode_names[mode], n - 1);
        assert_true(n > 10);
    }
    para_world_close(&world);
    answer_close(&want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_mode),
        cmocka_unit_test(stacked_modes),
        cmocka_unit_test(scopes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(stack_limits),
        cmocka_unit_test(bytes_sent),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
