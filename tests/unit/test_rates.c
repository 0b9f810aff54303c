/* Times by measured rates: between the points, beyond them, and where exchanges hide. SPDX-License-Identifier: Apache-2.0 */
#include "backend/rates.h"

#include <math.h>

#include "comm/timeline.h"
#include "unit/io_checks.h"

static void near(double got, double wanted, double tolerance, const char *what) {
    if (!(fabs(got - wanted) <= tolerance * wanted))
        fail_msg("%s: %.9g, not %.9g (%.2g apart)", what, got, wanted, fabs(got / wanted - 1));
}

/* A machine of formulas: an overhead, and what grows to a peak with the sizes. */
static double linear_seconds(double m, double n, double k) {
    return 2e-6 + 2 * m * n * k / (5e13 * m / (m + 100)) + 2 * n * k / 3e12;
}

static double attention_seconds(double rows, double keys, double d) {
    return 4e-6 + 4 * rows * keys * d / (4e13 * keys / (keys + 200) * rows / (rows + 2000) * d / (d + 32));
}

static double exchange_seconds(double targets, double bytes) {
    return 1e-5 * targets + bytes / 2e11;
}

static void open_set(para_rate_set *set) {
    *set = (para_rate_set){.device = "formulas", .dtype = PARA_BF16, .threads = 1, .ranks = 1, .launch = 2e-6};
    for (double n = 768; n <= 12288; n *= 4)
        for (double k = 768; k <= 12288; k *= 4)
            for (double m = 1; m <= 65536; m *= 4)
                assert_ok(para_rate_add(set, PARA_RATE_LINEAR, (double[]){m, n, k, linear_seconds(m, n, k)}));
    for (double d = 64; d <= 128; d *= 2)
        for (double keys = 128; keys <= 1 << 17; keys *= 4)
            for (double rows = 4096; rows <= 1 << 20; rows *= 4)
                assert_ok(para_rate_add(set, PARA_RATE_ATTENTION,
                                        (double[]){4, rows / 4, keys, d, attention_seconds(rows, keys, d)}));
    for (para_rate r = PARA_RATE_COPY; r < PARA_RATE_PROCESS; r++)
        for (double bytes = 1 << 12; bytes <= 1 << 30; bytes *= 8)
            assert_ok(para_rate_add(set, r, (double[]){bytes, 2e-6 + bytes / (r * 1e12)}));
    for (double targets = 1; targets <= 7; targets = 2 * targets + 1)
        for (double bytes = 1 << 12; bytes <= 1 << 28; bytes *= 8)
            assert_ok(para_rate_add(set, PARA_RATE_HOST, (double[]){targets, bytes, exchange_seconds(targets, bytes)}));
    set->overlap[PARA_RATE_HOST - PARA_RATE_PROCESS] = 0.5;
}

static double linear_of(const para_rate_set *set, double m, double n, double k) {
    return para_rate_seconds(&set->table[PARA_RATE_LINEAR], PARA_RATE_LINEAR, (double[]){m, n, k});
}

static void through_the_points(void **state) {
    (void)state;
    para_rate_set set;
    open_set(&set);
    for (para_rate r = 0; r < PARA_RATES; r++)
        for (int i = 0; i < set.table[r].rows; i++) {
            const double *row = set.table[r].row[i];
            near(para_rate_seconds(&set.table[r], r, row), row[para_rate_columns(r) - 1], 1e-4, para_rate_name(r));
        }
    para_rate_set_free(&set);
}

/* Sizes that no point has: those of FLUX, and of half and double. Measured: 2.4 % of a product, 0.1 % of attention, 2.5 % of a norm, 2.0 % of an exchange. */
static void between_the_points(void **state) {
    (void)state;
    para_rate_set set;
    double worst[4] = {0};
    open_set(&set);
    for (double m = 24; m < 20000; m *= 1.7)
        for (int i = 0; i < 5; i++) {
            const double n = (double[]){9216, 3072, 6144, 1920, 5000}[i],
                         k = (double[]){3072, 12288, 1920, 5120, 1100}[i];
            worst[0] = fmax(worst[0], fabs(linear_of(&set, m, n, k) / linear_seconds(m, n, k) - 1));
        }
    for (double s = 300; s < 40000; s *= 1.9)
        for (int h = 3; h <= 24; h *= 2) {
            if (h * s < 4096) continue;
            double got =
                para_rate_seconds(&set.table[PARA_RATE_ATTENTION], PARA_RATE_ATTENTION, (double[]){h, s, s, 96});
            worst[1] = fmax(worst[1], fabs(got / attention_seconds(h * s, s, 96) - 1));
        }
    for (double bytes = 5000; bytes < 1e9; bytes *= 1.9)
        worst[2] = fmax(worst[2], fabs(para_rate_seconds(&set.table[PARA_RATE_NORM], PARA_RATE_NORM, &bytes) /
                                           (2e-6 + bytes / (PARA_RATE_NORM * 1e12)) -
                                       1));
    for (double targets = 1; targets <= 7; targets++)
        for (double bytes = 5000; bytes < 2e8; bytes *= 1.9) {
            double got = para_rate_seconds(&set.table[PARA_RATE_HOST], PARA_RATE_HOST, (double[]){targets, bytes});
            worst[3] = fmax(worst[3], fabs(got / exchange_seconds(targets, bytes) - 1));
        }
    print_message("  worst: products %.3f, attention %.3f, norm %.3f, exchange %.3f\n", worst[0], worst[1], worst[2],
                  worst[3]);
    assert_true(worst[0] < 0.04);
    assert_true(worst[1] < 0.01);
    assert_true(worst[2] < 0.04);
    assert_true(worst[3] < 0.04);
    para_rate_set_free(&set);
}

/* Larger ones go on at the edge's rate; smaller ones take what the edge takes; nothing takes nothing. */
static void beyond_the_points(void **state) {
    (void)state;
    para_rate_set set;
    open_set(&set);
    near(linear_of(&set, 65536, 21504, 12288), 21504.0 / 12288 * linear_seconds(65536, 12288, 12288), 1e-4, "wide");
    near(linear_of(&set, 131072, 24576, 12288), 4 * linear_seconds(65536, 12288, 12288), 1e-4, "large");
    near(linear_of(&set, 1, 64, 64), linear_seconds(1, 768, 768), 1e-4, "small");
    assert_true(linear_of(&set, 0, 768, 768) == 0);
    double attention =
        para_rate_seconds(&set.table[PARA_RATE_ATTENTION], PARA_RATE_ATTENTION, (double[]){8, 512, 128, 64});
    near(attention, attention_seconds(4096, 128, 64), 1e-4, "as many rows by other heads");
    near(para_rate_seconds(&set.table[PARA_RATE_NORM], PARA_RATE_NORM, (double[]){1 << 10}),
         (2e-6 + (1 << 12) / (PARA_RATE_NORM * 1e12)) / 4, 1e-4, "few bytes");
    para_rate_table none = {0};
    assert_true(para_rate_seconds(&none, PARA_RATE_COPY, (double[]){5}) == 0);
    para_rate_set_free(&set);
}

/* Points that lie on a line, or two of the same sizes. */
static void few_points(void **state) {
    (void)state;
    para_rate_set set = {0};
    assert_ok(para_rate_add(&set, PARA_RATE_LINEAR, (double[]){512, 1024, 1024, 1e-3}));
    near(linear_of(&set, 512, 1024, 1024), 1e-3, 1e-6, "one");
    near(linear_of(&set, 2048, 1024, 2048), 8e-3, 1e-6, "one, larger");
    assert_ok(para_rate_add(&set, PARA_RATE_LINEAR, (double[]){512, 1024, 1024, 4e-3}));
    double both = linear_of(&set, 512, 1024, 1024);
    assert_true(both > 1e-3 && both < 4e-3);
    assert_ok(para_rate_add(&set, PARA_RATE_LINEAR, (double[]){2048, 1024, 1024, 8e-3}));
    double middle = linear_of(&set, 1024, 1024, 1024);
    assert_true(middle > both && middle < 8e-3);
    para_rate_set_free(&set);
}

static void ops_and_exchanges(void **state) {
    (void)state;
    para_rate_set set;
    open_set(&set);
    para_rates measured = {.set = &set}, constant = {.flops = 1e12, .bandwidth = 1e9, .latency = 1e-5},
               mixed = {.set = &set, .bandwidth = 1e9};
    para_counted_op op = {
        .rate = PARA_RATE_LINEAR, .size = {1024, 3072, 3072}, .flops = 2.0 * 1024 * 3072 * 3072, .bytes = 1};
    near(para_rates_op(&measured, &op), linear_seconds(1024, 3072, 3072), 1e-4, "a product");
    op.activation = 1 << 15;
    near(para_rates_op(&measured, &op),
         linear_seconds(1024, 3072, 3072) + 2e-6 + (1 << 15) / (PARA_RATE_EPILOGUE * 1e12), 1e-4,
         "with its activation");
    near(para_rates_op(&constant, &op), op.flops / 1e12, 1e-12, "at a constant rate");
    assert_true(para_rates_launch(&measured, &op) == 2e-6 && para_rates_launch(&constant, &op) == 0);
    double overlap;
    para_counted_exchange x = {PARA_RATE_PROCESS, 3, 6, 1 << 24};
    near(para_rates_exchange(&measured, &x, &overlap), exchange_seconds(3, x.bytes), 0.01,
         "by the only link that was measured");
    assert_true(overlap == 0.5);
    near(para_rates_exchange(&mixed, &x, &overlap), x.bytes / 1e9, 1e-12, "at a constant rate");
    assert_true(overlap == 0);
    near(para_rates_exchange(&constant, &x, &overlap), x.bytes / 1e9 + 6e-5, 1e-12, "with messages");
    assert_int_equal(para_rates_link(&measured, PARA_RATE_HOSTS), PARA_RATE_HOST);
    assert_int_equal(para_rates_link(&constant, PARA_RATE_HOSTS), PARA_RATES);
    para_rate_set_free(&set);
}

/* ---- Timelines, with a link of 1 ms a megabyte and ops of 1 ms a megaflop */

static para_rate host_link(const void *user, int rank) {
    (void)user;
    return rank < 2 ? PARA_RATE_PROCESS : PARA_RATE_HOST;
}

typedef struct line {
    para_rate_set set;
    para_rates rates;
    para_device *dev;
    para_endpoint *endpoint;
    para_timeline *timeline;
} line;

static void open_line(line *l, double overlap) {
    *l = (line){.set = {.dtype = PARA_F32, .overlap = {overlap, overlap, overlap}}};
    for (para_rate r = 0; r < PARA_RATES; r++) {
        double row[PARA_RATE_COLUMNS] = {100, 100, 50, 1, 1e-3}; /* 10^6 operations */
        if (r >= PARA_RATE_COPY) row[0] = 1e6;
        if (r >= PARA_RATE_PROCESS) row[0] = 1, row[1] = 1e6;
        row[para_rate_columns(r) - 1] = 1e-3;
        assert_ok(para_rate_add(&l->set, r, row));
    }
    l->rates.set = &l->set;
    assert_ok(para_dry_open(&l->dev));
    assert_ok(para_dry_endpoint_open(&l->endpoint, 0, 3));
    assert_ok(para_timeline_open(&l->timeline, &l->rates, host_link, NULL));
    para_timeline_watch(l->timeline, l->dev, l->endpoint);
}

static void close_line(line *l) {
    para_device_close(&l->dev);
    l->endpoint->transport->close(l->endpoint);
    para_timeline_close(&l->timeline);
    para_rate_set_free(&l->set);
}

static void compute(const line *l, int64_t rows) {
    static char memory;
    para_linear w = {.weight = para_tensor_make(&memory, PARA_F32, 2, (int64_t[]){100, 50})};
    para_linear_args a = {.x = para_tensor_make(&memory, PARA_F32, 2, (int64_t[]){rows, 50}),
                          .w = &w,
                          .y = para_tensor_make(&memory, PARA_F32, 2, (int64_t[]){rows, 100})};
    assert_ok(l->dev->ops->linear(l->dev, &a));
}

/* Starts an exchange of so many megabytes with a rank. */
static para_pending *start(const line *l, int rank, int64_t megabytes) {
    para_transfer t = {rank, para_tensor_make(NULL, PARA_U8, 1, (int64_t[]){megabytes * 1000000})};
    para_pending *pending;
    assert_ok(l->endpoint->transport->start(l->endpoint, l->dev, 1, &t, 1, &t, &pending));
    return pending;
}

/* Offers room for so many megabytes, and asks for as much. */
static para_pending *offer(const line *l, int rank, int64_t megabytes) {
    para_transfer t = {rank, para_tensor_make(NULL, PARA_U8, 1, (int64_t[]){megabytes * 1000000})};
    para_pending *pending;
    assert_ok(l->endpoint->transport->offer(l->endpoint, l->dev, 1, &t, 1, &t, &pending));
    return pending;
}

static void reach(const line *l, para_pending *pending) {
    assert_ok(l->endpoint->transport->reach(pending));
}

static void finish(const line *l, para_pending *pending) {
    assert_ok(l->endpoint->transport->finish(pending));
}

static void expect(const line *l, double compute_ms, double exposed_ms, double exchange_ms) {
    para_times t = para_timeline_take(l->timeline);
    assert_ok(para_timeline_status(l->timeline));
    near(1e3 * t.compute, compute_ms, 1e-3, "computing");
    assert_true(fabs(1e3 * t.exposed - exposed_ms) < 1e-3);
    near(1e3 * t.exchange, exchange_ms, 1e-3, "exchanging");
}

static void overlaps(void **state) {
    (void)state;
    line l;
    open_line(&l, 1); /* all hides: 4 ms beside 3 */
    para_pending *a = start(&l, 1, 4), *b;
    compute(&l, 300);
    finish(&l, a);
    compute(&l, 100);
    expect(&l, 4, 1, 4);
    a = start(&l, 1, 2); /* on one link one after the other: 2 and 3 ms beside 4 */
    b = start(&l, 1, 3);
    compute(&l, 400);
    finish(&l, a);
    finish(&l, b);
    expect(&l, 4, 1, 5);
    a = start(&l, 1, 2); /* on two links at once */
    b = start(&l, 2, 3);
    compute(&l, 100);
    finish(&l, a);
    finish(&l, b);
    expect(&l, 1, 2, 5);
    a = start(&l, 1, 2); /* waited for out of order: the first of a link goes first */
    b = start(&l, 1, 3);
    compute(&l, 100);
    finish(&l, b);
    finish(&l, a);
    expect(&l, 1, 4, 5);
    close_line(&l);
    open_line(&l, 0); /* nothing hides */
    a = start(&l, 1, 2);
    compute(&l, 300);
    finish(&l, a);
    expect(&l, 3, 2, 2);
    close_line(&l);
    open_line(&l, 0.5); /* half of it does: 1.5 of 2 ms beside 3 */
    a = start(&l, 1, 2);
    compute(&l, 300);
    finish(&l, a);
    expect(&l, 3, 0.5, 2);
    a = start(&l, 1, 1);
    compute(&l, 300);
    finish(&l, a);
    expect(&l, 3, 0, 1);
    (void)start(&l, 1, 1); /* left behind by a run that failed */
    close_line(&l);
}

/* What is stored at others is on its way from the first op that stores, and holds up nothing before. */
static void stores(void **state) {
    (void)state;
    line l;
    for (int i = 0; i < 2; i++) {
        open_line(&l, i); /* copies hide or not; stores are part of ops */
        para_pending *stored = offer(&l, 1, 3), *copied = start(&l, 1, 2);
        compute(&l, 100);
        finish(&l, copied);
        expect(&l, 1, i ? 1 : 2, 2);
        reach(&l, stored);
        compute(&l, 200);
        reach(&l, stored);
        assert_ok(l.endpoint->transport->leave(stored, true));
        finish(&l, stored);
        expect(&l, 2, 1, 3);
        assert_int_equal(l.endpoint->bytes_sent, 5000000);
        stored = offer(&l, 1, 1); /* nobody stored anything before it was waited for */
        compute(&l, 200);
        finish(&l, stored);
        expect(&l, 2, 1, 1);
        (void)offer(&l, 1, 1);
        close_line(&l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(through_the_points), cmocka_unit_test(between_the_points), cmocka_unit_test(beyond_the_points),
        cmocka_unit_test(few_points),         cmocka_unit_test(ops_and_exchanges),  cmocka_unit_test(overlaps),
        cmocka_unit_test(stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
