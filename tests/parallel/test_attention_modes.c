/* The grid of attention modes: modes × ranks × tokens × heads × causal × masks × types, against one rank and PyTorch. SPDX-License-Identifier: Apache-2.0
 *
 * Usage: test_attention_modes                 a sample in which every two values of different axes meet, on threads
 *        PARA_FULL=1 test_attention_modes     the whole grid, with a line for each problem: each mode's worst error on 1 to 8 ranks, of what is allowed
 *        mpirun -n N test_attention_modes [RANKS]   a sample on the ranks of N processes, RANKS (1) of each */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <paraattn/paraattn.h>

#include "attention_case.h"
#include "io/safetensors.h"
#include "sampling.h"
#include "worlds.h"

/* ---- the grid */

enum { AXIS_MODE, AXIS_RANKS, AXIS_TOKENS, AXIS_HEADS, AXIS_CAUSAL, AXIS_MASK, AXIS_TYPE, AXES };
enum { TOKENS = 4, GRID = MODE_KINDS * MOST_RANKS * TOKENS * 3 * 2 * MASK_KINDS * 2, CHECKED = 280 };

static const int axis_size[AXES] = {MODE_KINDS, MOST_RANKS, TOKENS, 3, 2, MASK_KINDS, 2};
static const int64_t tokens_of[TOKENS][2] = {{4096, 4096}, {4096, 1024}, {1241, 1241}, {7, 5}};
static const int64_t heads_of[] = {24, 30, 5};

/* A point, as an index along each axis. Neighbours share a problem, so that one rank's answer serves many. */
typedef struct point {
    int at[AXES];
} point;

static point point_of(int number) {
    static const int order[AXES] = {AXIS_RANKS, AXIS_MODE, AXIS_TYPE, AXIS_MASK, AXIS_CAUSAL, AXIS_HEADS, AXIS_TOKENS};
    point x;
    for (int i = 0; i < AXES; i++) {
        x.at[order[i]] = number % axis_size[order[i]];
        number /= axis_size[order[i]];
    }
    return x;
}

static problem problem_of(const point *x) {
    int tokens = x->at[AXIS_TOKENS];
    problem p = {.h = heads_of[x->at[AXIS_HEADS]], .sq = tokens_of[tokens][0], .skv = tokens_of[tokens][1]};
    p.hkv = p.h;
    p.in_batch = x->at[AXIS_MODE] == MODE_IN_BATCH;
    p.b = p.in_batch || p.sq < 4096 ? 2 : 1;
    p.d = p.dv = p.sq > 1000 ? 16 : 64;
    p.causal = x->at[AXIS_CAUSAL];
    p.mask = (mask_kind)x->at[AXIS_MASK];
    if (p.mask == MASK_SEGMENTS) p.text_q = p.sq / 4 + 1, p.text_kv = p.skv / 4 + 1;
    p.dtype = p.inputs = x->at[AXIS_TYPE] ? PARA_BF16 : PARA_F32;
    return p;
}

/* What in-batch attention does not take. */
static bool is_refused(const point *x) {
    problem p = problem_of(x);
    return p.in_batch && (p.causal || mask_has_rows(&p));
}

/* The mesh of `ranks` that the point has in modes on both axes: each in its turn. */
static spread spread_of(const point *x, int number, int ranks) {
    spread s = {.mode = (mode_kind)x->at[AXIS_MODE],
                .ring = ranks,
                .ulysses = ranks,
                .head_groups = 1 + number % 3,
                .call = (call_kind)(number % CALL_KINDS),
                .exchange = (para_exchange_way)(number / CALL_KINDS % (PARA_EXCHANGE_DIRECT + 1))};
    if (s.mode == MODE_RING) s.ulysses = 1;
    else if (s.mode == MODE_ULYSSES) s.ring = 1;
    else {
        int divisors[MOST_RANKS], n = 0;
        for (int r = 1; r <= ranks; r++)
            if (ranks % r == 0) divisors[n++] = r;
        s.ring = divisors[(number / 7) % n];
        s.ulysses = ranks / s.ring;
    }
    return s;
}

/* ---- PyTorch's answers: for some rows of every problem LSE, then out, in F32 of float64 */

static para_safetensors *vectors;

enum { VECTOR_ROWS = 12 };

static void vector_name(const problem *p, char *text, size_t size) {
    snprintf(text, size, "%lldx%lld.h%lld.%s%s%s", (long long)p->sq, (long long)p->skv, (long long)p->h,
             mask_names[p->mask], p->causal ? ".causal" : "",
             p->in_batch      ? ".in-batch"
             : p->h != p->hkv ? ".gqa"
                              : "");
}

/* Relative L2 error of an answer in the rows that are known and there; infinities must agree. */
static double vector_error(const problem *p, const answer *got) {
    char name[96];
    vector_name(p, name, sizeof name);
    int64_t at = para_safetensors_find(vectors, name);
    if (at < 0) return NAN;
    para_tensor t = para_safetensors_tensor(vectors, at); /* [VECTOR_ROWS, 1 + Dv] */
    double off = 0, size = 0;
    for (int k = 0; k < VECTOR_ROWS; k++) {
        int64_t row = (int64_t)(scramble(1000 + (uint64_t)k) % (uint64_t)answer_rows(p));
        float want[1 + 64];
        memcpy(want, (char *)t.data + (size_t)k * (size_t)(1 + p->dv) * 4, (size_t)(1 + p->dv) * 4);
        if (!got->there[row % p->sq]) continue;
        for (int64_t i = 0; i <= p->dv; i++) {
            float g = i ? got->out[row * p->dv + i - 1] : got->lse[row];
            if (g == want[i]) g = want[i] = isfinite(g) ? g : 0; /* infinities agree */
            double x = (double)g - want[i];
            off += isnan(x) ? INFINITY : x * x;
            size += (double)want[i] * want[i];
        }
    }
    return off > 0 ? sqrt(off / size) : 0;
}

/* ---- running a point */


/* One rank's answers to the problem at hand: in F32, and in its own type. */
static struct {
    problem p;
    bool known;
    answer exact, own;
} reference;

static para_status solve_alone(problem p, answer *out) {
    one_rank o = {&p, answer_open(&p)};
    *out = o.answer;
    return para_world_run(worlds[1], one_rank_body, &o);
}

static para_status set_reference(const problem *p) {
    if (reference.known && memcmp(&reference.p, p, sizeof *p) == 0) return PARA_OK;
    answer_close(&reference.exact);
    answer_close(&reference.own);
    reference.known = true;
    memcpy(&reference.p, p, sizeof *p);
    problem exact = *p;
    exact.dtype = PARA_F32;
    PARA_TRY(solve_alone(exact, &reference.exact));
    if (p->dtype == PARA_F32) {
        double error = vector_error(p, &reference.exact);
        char name[96];
        vector_name(p, name, sizeof name);
        if (!(error <= 2e-6)) return para_fail(PARA_ERR_FORMAT, "%s: one rank is %.3g from PyTorch", name, error);
        return PARA_OK;
    }
    return solve_alone(*p, &reference.own);
}

/* What the type costs one rank in the rows that an answer has. */
static double own_error(const problem *p, const answer *rows) {
    answer own = reference.own;
    double lse;
    own.there = rows->there;
    return answer_error(p, &own, &reference.exact, &lse);
}

typedef struct tally {
    int cases, refused;
    double worst, worst_lse, worst_vector, worst_bf16; /* bf16: of one rank's error */
    double of_mode[MODE_KINDS];                        /* the problem's worst error, of what is allowed; -1: refused */
} tally;

/* Runs a point on a world; PARA_ERR_FORMAT where the answer is wrong. */
static para_status run_point(para_world *world, int number, tally *t) {
    point x = point_of(number);
    attention_case c = {.p = problem_of(&x), .s = spread_of(&x, number, para_world_size(world))};
    char name[256];
    case_name(&c, name, sizeof name);
    t->cases++;
    if (is_refused(&x)) {
        para_status status = run_case(world, &c);
        answer_close(&c.answer);
        t->refused++;
        t->of_mode[MODE_IN_BATCH] = -1;
        /* Where each of a ring's ranks has one query, a row for each looks like key padding; and means the same. */
        bool one_row_each = !c.p.causal && c.p.sq <= c.s.ring && status == PARA_OK;
        if (status == PARA_ERR_ARGUMENT || status == PARA_ERR_SHAPE || one_row_each) return PARA_OK;
        return para_fail(PARA_ERR_FORMAT, "%s: not refused: %s", name, para_status_name(status));
    }
    PARA_TRY(set_reference(&c.p));
    para_status status = run_case(world, &c);
    if (status != PARA_OK) {
        answer_close(&c.answer);
        char sentence[512];
        snprintf(sentence, sizeof sentence, "%s", para_last_error());
        return para_fail(status, "%s: %s", name, sentence);
    }
    bool exact = c.p.dtype == PARA_F32;
    double lse, error = answer_error(&c.p, &c.answer, &reference.exact, &lse),
                vector = exact ? vector_error(&c.p, &c.answer) : 0, alone = exact ? 0 : own_error(&c.p, &c.answer);
    answer_close(&c.answer);
    double bound = exact ? 2e-6 : 1.1 * alone;
    if (exact) t->worst = fmax(t->worst, error);
    else if (alone > 0) t->worst_bf16 = fmax(t->worst_bf16, error / alone);
    t->worst_lse = fmax(t->worst_lse, lse);
    t->worst_vector = fmax(t->worst_vector, vector);
    t->of_mode[c.s.mode] = fmax(t->of_mode[c.s.mode], bound > 0 ? error / bound : 0);
    if (!(error <= bound) || !(lse <= 2e-6) || !(vector <= 2e-6))
        return para_fail(PARA_ERR_FORMAT,
                         "%s: relative L2 error %.3g (allowed %.3g), of the LSE %.3g, from PyTorch %.3g (2e-6)", name,
                         error, bound, lse, vector);
    return PARA_OK;
}

static void report(const tally *t) {
    printf(
        "%d cases, %d of them refused as they should be; worst relative L2: F32 %.2e (2e-06), LSE %.2e (2e-06), from "
        "PyTorch %.2e (2e-06), BF16 %.3f of one rank's (1.1)\n",
        t->cases, t->refused, t->worst, t->worst_lse, t->worst_vector, t->worst_bf16);
}

/* A problem's line: the worst of all rank counts in each mode. */
static void log_problem(const point *x, tally *t) {
    problem p = problem_of(x);
    printf("S %lld/%lld, H %lld%s, mask %s, %s:", (long long)p.sq, (long long)p.skv, (long long)p.h,
           p.causal ? ", causal" : "", mask_names[p.mask], para_dtype_name(p.dtype));
    for (int m = 0; m < MODE_KINDS; m++) {
        if (t->of_mode[m] < 0) printf("%s %s refused", m ? "," : "", mode_names[m]);
        else printf("%s %s %.2f", m ? "," : "", mode_names[m], t->of_mode[m]);
        t->of_mode[m] = 0;
    }
    printf("\n");
}

/* ---- samples */

/* Number of pairs of values of different axes that a point adds to those met. */
static int new_pairs(const point *x, bool met[AXES][8][AXES][8], bool meet) {
    int n = 0;
    for (int i = 0; i < AXES; i++)
        for (int j = i + 1; j < AXES; j++) {
            bool *pair = &met[i][x->at[i]][j][x->at[j]];
            n += !*pair;
            if (meet) *pair = true;
        }
    return n;
}

static bool is_left_out(const point *x) {
    return SANITIZED && (x->at[AXIS_TOKENS] < 2 || (x->at[AXIS_TOKENS] == 2 && x->at[AXIS_HEADS] < 2));
}

/* Marks points until all pairs that can meet have met, the best first; then small ones up to `wanted`. */
static int choose_sample(bool chosen[GRID], int wanted) {
    static bool met[AXES][8][AXES][8];
    int count = 0;
    memset(met, 0, sizeof met);
    for (;;) {
        int best = -1, most = 0;
        for (int i = 0; i < GRID; i++) {
            int number = (int)((uint64_t)i * 7919 % GRID); /* not all of the first mode */
            point x = point_of(number);
            if (is_refused(&x) || is_left_out(&x)) continue;
            int pairs = new_pairs(&x, met, false);
            if (pairs > most) best = number, most = pairs;
        }
        if (best < 0) break;
        point x = point_of(best);
        new_pairs(&x, met, true);
        chosen[best] = true;
        count++;
    }
    for (int i = 0; i < GRID && count < wanted; i++) {
        int number = (int)((uint64_t)i * 4409 % GRID);
        point x = point_of(number);
        if (x.at[AXIS_TOKENS] < 3 || chosen[number]) continue;
        chosen[number] = true;
        count++;
    }
    return count;
}

static void grid(void **state) {
    (void)state;
    static bool chosen[GRID];
    tally t = {0};
    bool all = getenv("PARA_FULL") != NULL;
    if (all) memset(chosen, true, sizeof chosen);
    else assert_true(choose_sample(chosen, SANITIZED ? CHECKED / 2 : CHECKED) <= 300);
    for (int i = 0; i < GRID; i++) {
        point x = point_of(i);
        if (chosen[i] && run_point(worlds[x.at[AXIS_RANKS] + 1], i, &t) != PARA_OK) fail_msg("%s", para_last_error());
        if (all && x.at[AXIS_RANKS] == MOST_RANKS - 1 && x.at[AXIS_MODE] == MODE_KINDS - 1) log_problem(&x, &t);
    }
    report(&t);
}

/* Grouped keys, as PyTorch's enable_gqa: the one problem that the grid lacks. */
static void grouped_heads(void **state) {
    (void)state;
    problem p = {
        .b = 2, .h = 24, .hkv = 8, .sq = 7, .skv = 5, .d = 64, .dv = 64, .dtype = PARA_F32, .inputs = PARA_F32};
    answer a;
    assert_int_equal(solve_alone(p, &a), PARA_OK);
    assert_true(vector_error(&p, &a) <= 2e-6);
    answer_close(&a);
}

static para_status open_vectors(void) {
    return para_safetensors_open(&vectors, PARA_SOURCE_DIR "/tests/parallel/attention.safetensors");
}

static int open_all(void **state) {
    (void)state;
    if (open_vectors() != PARA_OK) return -1;
    return open_worlds(SANITIZED ? 1 : 0); /* ThreadSanitizer does not know OpenMP's own threads */
}

static void close_reference(void) {
    answer_close(&reference.exact);
    answer_close(&reference.own);
    para_safetensors_close(&vectors);
}

static int close_all(void **state) {
    (void)state;
    close_reference();
    close_worlds();
    return 0;
}

/* ---- several processes */

static para_status run_processes(para_world *world) {
    static bool chosen[GRID];
    tally t = {0};
    int ranks = para_world_size(world);
    choose_sample(chosen, SANITIZED ? CHECKED / 2 : CHECKED);
    for (int i = 0; i < GRID; i++) {
        point x = point_of(i);
        if (!chosen[i] || x.at[AXIS_TOKENS] < 2 || x.at[AXIS_RANKS] % 4 > 1) continue;
        PARA_TRY(run_point(world, i, &t)); /* on all ranks there are */
    }
    if (para_world_process(world) == 0) {
        printf("%d ranks of %d processes: ", ranks, para_world_processes(world));
        report(&t);
    }
    return PARA_OK;
}

static int run_under_mpi(int ranks) {
    para_world_options o = PARA_WORLD_OPTIONS_INIT, alone = PARA_WORLD_OPTIONS_INIT;
    para_world *world = NULL;
    o.mpi = true;
    o.ranks = ranks;
    o.threads = ranks;
    alone.threads = 1;
    para_status status = para_world_open(&world, &o);
    if (status == PARA_OK) status = para_world_open(&worlds[1], &alone);
    if (status == PARA_OK) status = open_vectors();
    if (status == PARA_OK) status = run_processes(world);
    if (status != PARA_OK) fprintf(stderr, "%s: %s\n", para_status_name(status), para_last_error());
    close_reference();
    para_world_close(&worlds[1]);
    para_world_close(&world);
    return status != PARA_OK;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grid),
        cmocka_unit_test(grouped_heads),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (para_started_by_mpi()) return run_under_mpi(argc > 1 ? atoi(argv[1]) : 1);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
