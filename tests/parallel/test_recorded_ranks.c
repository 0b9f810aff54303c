/* Parts that ranks record as one: what they agree on, what they send, and every point at which one of them can fail. SPDX-License-Identifier: Apache-2.0 */
#include "step/recorded_ranks.h"

#include <stdio.h>
#include <time.h>

#include "core/clock.h"
#include "parallel/world_state.h"
#include "rank_checks.h"
#include "recording_device.h"

enum { N = 24, ROUNDS = 5, RANKS = 4 };

/* A rank's program: ROUNDS times a part, op by op where it is not compiled. */
typedef struct program {
    bool compiled;
    int groups;       /* of ranks, each with exchanges of its own */
    int odd, odd_one; /* in this round (-1: none) one rank */
    enum {
        TRACES,
        OTHER_BLOCKS,
        KEEPS_NOTHING,
        PROFILED,
        OTHER_ARENA,
        FORGETS,
        SWAPS,
        READS,
        HANGS,
        STAYS_AWAY
    } what;            /* does this */
    float x[RANKS][N]; /* results */
    int64_t bytes[RANKS], messages[RANKS];
} program;

typedef struct state {
    para_comm comm;
    para_tensor x, got, sum; /* [N] */
    bool reads, hangs;
} state;

/* Each sends its neighbour what it has, and all of it once round. */
static para_status part(void *args) {
    state *s = args;
    para_device *dev = s->comm.rank->device;
    para_exchange exchange;
    bool finite;
    para_tensor all[RANKS];
    for (int hop = 0; hop < 2; hop++) {
        PARA_TRY(para_comm_shift(s->comm, 1, &s->x, &s->got, &exchange));
        PARA_TRY(para_comm_wait(&exchange));
        PARA_TRY(dev->ops->combine(dev, s->x, 2, (para_tensor[]){s->x, s->got},
                                   (float[]){0.5f, 0.25f + 0.125f * (float)hop}));
    }
    for (int i = 0; i < s->comm.size; i++)
        all[i] = para_rows(s->sum, i, 1), all[i].rank = 1, all[i].dim[0] = N, all[i].stride[0] = 1;
    PARA_TRY(para_comm_all_gather(s->comm, s->x, all, &exchange));
    PARA_TRY(para_comm_wait(&exchange));
    if (s->hangs && dev->turns) nanosleep(&(struct timespec){1, 400 * 1000 * 1000}, NULL);
    if (s->reads) PARA_TRY(dev->ops->all_finite(dev, s->x, &finite));
    return dev->ops->combine(dev, s->x, 2, (para_tensor[]){s->x, all[(s->comm.index + 1) % s->comm.size]},
                             (float[]){0.75f, 0.5f});
}

static para_status trace_nothing(void *user, const char *name, const para_tensor *t) {
    (void)user;
    (void)name;
    (void)t;
    return PARA_OK;
}

static para_status one_round(const program *p, state *s, para_recorded *r, int round) {
    static const para_trace trace = {trace_nothing, NULL};
    para_device *dev = s->comm.rank->device;
    bool odd = p->odd == round && p->odd_one == s->comm.rank->index, keeps = true;
    para_part_key key = {.first = 0, .last = 3, .arena = dev->arena.base};
    para_ops table = *dev->ops;
    const para_ops *own = dev->ops;
    if (p->what == SWAPS) r += round % 2 != odd; /* two items take turns */
    s->reads = odd && p->what == READS;
    s->hangs = odd && p->what == HANGS;
    if (odd && p->what == FORGETS) para_recorded_close(r, dev);
    if (odd && p->what == TRACES) dev->trace = &trace;
    if (odd && p->what == OTHER_BLOCKS) key.last = 2;
    if (odd && p->what == OTHER_ARENA) key.arena++;
    if (odd && p->what == KEEPS_NOTHING) keeps = false;
    if (odd && p->what == PROFILED) table.record = NULL, dev->ops = &table;
    para_status status = para_recorded_run_ranks(p->compiled ? r : NULL, s->comm, keeps, key, part, s);
    dev->trace = NULL;
    dev->ops = own;
    return status;
}

static para_status rounds(program *p, para_rank *rank, para_recorded *r) {
    para_device *dev = rank->device;
    int size = rank->size / p->groups;
    state s = {.comm = {rank, rank->index / size * size, 1, size, rank->index % size}};
    float first[N];
    for (int i = 0; i < N; i++) first[i] = (float)(i + 1) / (float)(rank->index + 1);
    PARA_TRY(PARA_NEW(dev, &s.x, PARA_F32, N));
    PARA_TRY(PARA_NEW(dev, &s.got, PARA_F32, N));
    PARA_TRY(PARA_NEW(dev, &s.sum, PARA_F32, RANKS, N));
    PARA_TRY(dev->ops->upload(dev, s.x, first));
    for (int round = 0; round < ROUNDS; round++) {
        if (p->odd == round && p->odd_one == rank->index && p->what == STAYS_AWAY) return PARA_OK;
        PARA_TRY(one_round(p, &s, r, round));
        PARA_TRY(dev->ops->combine(dev, s.x, 1, &s.x, &(float){1.0f + (float)round})); /* between parts */
    }
    return dev->ops->download(dev, p->x[rank->index], &s.x);
}

static para_status body(para_rank *rank, void *user) {
    program *p = user;
    para_recorded r[2] = {0}; /* of two items */
    para_traffic before = para_endpoint_traffic(rank->endpoint);
    para_status status = rounds(p, rank, r);
    for (int i = 0; i < 2; i++) para_recorded_close(&r[i], rank->device);
    p->bytes[rank->index] = rank->endpoint->bytes_sent - before.bytes_sent;
    p->messages[rank->index] = rank->endpoint->messages - before.messages;
    return status;
}

static para_world *world;
static atomic_bool cancel;
static atomic_int warnings;

static void on_note(void *user, para_log_level level, const char *line) {
    (void)user;
    if (level == PARA_LOG_WARNING && strstr(line, "blocks 0 to 2 of a step are not played from a recording: "))
        warnings++;
}

static void open_recorders(int ranks, double timeout) {
    para_device *dev[RANKS];
    world = open_world(ranks, timeout);
    for (int i = 0; i < ranks; i++) {
        dev[i] = world->worker[i].rank.device;
        dev[i]->note = on_note;
        assert_int_equal(para_device_reserve(dev[i], 1 << 20), PARA_OK);
    }
    recorders_begin(ranks, dev);
}

static void close_recorders(void) {
    recorders_end();
    para_world_close(&world);
}

static para_status run(program *p) {
    atomic_store(&cancel, false);
    PARA_TRY(para_world_take(world, &cancel));
    para_status status = para_world_run_internal(world, body, p);
    para_world_release(world);
    return status;
}

static void runs(program *p) {
    para_status status = run(p);
    if (status != PARA_OK) fail_msg("%s: %s", para_status_name(status), para_last_error());
    recorders_check();
}

static void same(const program *a, const program *b, int ranks) {
    for (int i = 0; i < ranks; i++) {
        if (memcmp(a->x[i], b->x[i], sizeof a->x[i]) != 0) fail_msg("rank %d of %d has other results", i, ranks);
        if (a->bytes[i] != b->bytes[i] || a->messages[i] != b->messages[i] || a->bytes[i] == 0)
            fail_msg("rank %d of %d sent %lld bytes in %lld messages, not %lld in %lld", i, ranks,
                     (long long)b->bytes[i], (long long)b->messages[i], (long long)a->bytes[i],
                     (long long)a->messages[i]);
    }
}

/* Twice op by op, the second time recorded, then played; results and what was sent are those of ops one by one. */
static void as_op_by_op(void **unused) {
    (void)unused;
    for (int ranks = 2; ranks <= RANKS; ranks++)
        for (int groups = 1; groups <= ranks / 2; groups++) {
            program plain = {.groups = groups, .odd = -1}, compiled = {.groups = groups, .compiled = true, .odd = -1};
            if (ranks % groups) continue;
            open_recorders(ranks, 10);
            runs(&plain);
            int ops = recorders.carried_out;
            assert_int_equal(recorders.recorded + recorders.played, 0);
            runs(&compiled);
            same(&plain, &compiled, ranks);
            assert_int_equal(recorders.played, groups * (ROUNDS - 2));
            int between = ranks * ROUNDS; /* op of rank 0 to n */
            int fetches =
                ranks * (2 + ranks / groups - 1); /* are kept, but not counted as ops where they are carried out */
            assert_int_equal(recorders.recorded, (ops - between) / ROUNDS + fetches);
            close_recorders();
        }
}

/* Where one rank does otherwise, nobody records or plays; then they go on together. */
static void one_differs(void **unused) {
    (void)unused;
    static const int cases[] = {TRACES, OTHER_BLOCKS, KEEPS_NOTHING, PROFILED, OTHER_ARENA, FORGETS};
    program plain = {.groups = 1, .odd = -1};
    open_recorders(3, 10);
    runs(&plain);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int round = 0; round < ROUNDS; round++)
            for (int who = 0; who < 3; who++) {
                program p = {.groups = 1, .compiled = true, .odd = round, .odd_one = who};
                p.what = cases[i];
                recorders.played = 0;
                runs(&p);
                same(&plain, &p, 3);
                bool other_part =
                    p.what == OTHER_BLOCKS || p.what == OTHER_ARENA; /* whose run is not one of the part */
                static const int when_forgotten[ROUNDS] = {3, 2, 1, 1, 2};
                int wanted = p.what == FORGETS ? when_forgotten[round] : ROUNDS - 2 - (round > 0 || other_part);
                if (recorders.played != wanted)
                    fail_msg("case %zu in round %d of rank %d: %d were played", i, round, who, (int)recorders.played);
            }
    close_recorders();
}

/* Ranks that have recorded the same part of different items play neither. */
static void of_two_items(void **unused) {
    (void)unused;
    program plain = {.groups = 1, .odd = -1}, p = {.groups = 1, .compiled = true, .odd = -1};
    open_recorders(2, 10);
    runs(&plain);
    runs(&p);
    int ops = recorders.recorded;
    p = (program){.groups = 1, .compiled = true, .odd = ROUNDS - 1, .odd_one = 1, .what = SWAPS};
    recorders.played = recorders.recorded = 0;
    runs(&p);
    same(&plain, &p, 2);
    assert_int_equal(recorders.played, 0);
    assert_int_equal(recorders.recorded, 3 * ops); /* each item's, and that of both */
    close_recorders();
}

/* What the host would wait for cannot be part of a recording; what runs is. */
static void reading_ops(void **unused) {
    (void)unused;
    program p = {.groups = 1, .compiled = true, .odd = 0, .odd_one = 1, .what = READS};
    open_recorders(2, 10);
    runs(&p);
    p.odd = 1;
    assert_int_equal(run(&p), PARA_ERR_STATE);
    if (!strstr(para_last_error(), "rank 1: the op 'all_finite' cannot be part of a step that GPUs record together"))
        fail_msg("%s", para_last_error());
    recorders_check();
    p.odd = -1;
    runs(&p);
    close_recorders();
}

/* A rank that does not come: the others learn it when all wait. */
static void stays_away(void **unused) {
    (void)unused;
    for (int round = 0; round < 3; round++) {
        program p = {.groups = 1, .compiled = true, .odd = round, .odd_one = 1, .what = STAYS_AWAY};
        open_recorders(3, 0.3);
        assert_int_equal(run(&p), PARA_ERR_STATE);
        if (!strstr(para_last_error(), "all ranks wait for each other")) fail_msg("%s", para_last_error());
        recorders_check();
        p.odd = -1;
        runs(&p);
        close_recorders();
    }
}

/* Until those that are away have come back. */
static void wait_for_all(void) {
    for (int away = 1; away > 0;) {
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
        pthread_mutex_lock(&world->lock);
        away = 0;
        for (int i = 1; i < world->options.ranks; i++) away += world->worker[i].working;
        pthread_mutex_unlock(&world->lock);
    }
}

/* A rank that hangs while they record is lost; the others go on without it in time, and what they leave is good for it when it comes back. */
static void hangs(void **unused) {
    (void)unused;
    for (int who = 0; who < 2; who++) {
        program p = {.groups = 1, .compiled = true, .odd = 1, .odd_one = who, .what = HANGS};
        open_recorders(3, 0.2);
        double start = para_seconds();
        assert_int_equal(run(&p), PARA_ERR_LOST);
        double most = who == 0 ? 3 : 1.3; /* rank 0's thread is this one */
        if (para_seconds() - start > most) fail_msg("the others waited %g s", para_seconds() - start);
        if (!strstr(para_last_error(), "gave no sign of life")) fail_msg("%s", para_last_error());
        wait_for_all();
        if (who == 0)
            recorders.crowded = false; /* nobody was there who could end the recording before the others left */
        recorders_check();
        close_recorders();
    }
}

/* Something happens to a rank the n-th time that its device is told something, for every n; then the next run is as ever. */
static int at_every_point(int ranks, int who, moment at, para_status fails, bool cancels, const program *plain) {
    int n = 0;
    for (bool happened = true; happened; n++) {
        program p = {.groups = 1, .compiled = true, .odd = -1}, again = p;
        char sentence[64];
        recorders.at = at, recorders.who = who, recorders.fails = fails, recorders.cancels = cancels ? &cancel : NULL;
        recorders.happened = -n;
        recorders.played = warnings = 0;
        para_status status = run(&p);
        happened = recorders.happened > 0;
        recorders.at = NEVER;
        recorders_check();
        assert_int_equal(warnings, happened && fails == PARA_ERR_MEMORY && at != AT_OP);
        bool survives = fails == PARA_ERR_MEMORY && (at == AT_RECORD || at == AT_END);
        snprintf(sentence, sizeof sentence, "rank %d: the %s failed", who, moment_names[at]);
        if (!happened || survives || (cancels && status == PARA_OK)) {
            if (status != PARA_OK)
                fail_msg("rank %d of %d, %s %d: %s", who, ranks, moment_names[at], n, para_last_error());
            same(plain, &p, ranks);
            assert_int_equal(recorders.played, happened && survives ? 0 : ROUNDS - 2);
        } else if (status != (cancels ? PARA_ERR_CANCELLED : fails) ||
                   !strstr(para_last_error(), cancels ? "cancelled" : sentence))
            fail_msg("rank %d of %d, %s %d: %s: %s", who, ranks, moment_names[at], n, para_status_name(status),
                     para_last_error());
        runs(&again);
        same(plain, &again, ranks);
    }
    return n - 1;
}

static void every_failure(void **unused) {
    (void)unused;
    for (int ranks = 2; ranks <= 3; ranks++) {
        program plain = {.groups = 1, .odd = -1};
        int points = 0, cancelled = 0, full = 0;
        open_recorders(ranks, 10);
        runs(&plain);
        for (int who = 0; who < ranks; who++)
            for (moment at = AT_RECORD; at < MOMENTS; at++) {
                points += at_every_point(ranks, who, at, PARA_ERR_DEVICE, false, &plain);
                cancelled += at_every_point(ranks, who, at, PARA_OK, true, &plain);
            }
        full += at_every_point(ranks, 0, AT_RECORD, PARA_ERR_MEMORY, false, &plain);
        full += at_every_point(ranks, 0, AT_END, PARA_ERR_MEMORY, false, &plain);
        for (int who = 0; who < 2; who++) points += at_every_point(ranks, who, AT_OP, PARA_ERR_MEMORY, false, &plain);
        print_message("%d ranks: failed at %d points, cancelled at %d, without memory at %d\n", ranks, points,
                      cancelled, full);
        assert_true(points > 50 && cancelled > 50 && full == 2);
        close_recorders();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_op_by_op),   cmocka_unit_test(one_differs), cmocka_unit_test(of_two_items),
        cmocka_unit_test(reading_ops),   cmocka_unit_test(hangs),       cmocka_unit_test(stays_away),
        cmocka_unit_test(every_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
