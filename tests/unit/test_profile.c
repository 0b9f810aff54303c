/* Profiles, on devices with and without a clock of their own. SPDX-License-Identifier: Apache-2.0 */
#include "backend/profile.h"

#include "io_checks.h"

/* A device whose ops take as many seconds as it is told; what its profiler shows. */
typedef struct slow_device {
    para_device dev;
    double now, at[64]; /* of stamps */
    double next;        /* that the next op takes */
    bool fails;
    char shown[256];
} slow_device;

static slow_device *of(para_device *dev) {
    return dev->impl;
}

static para_status work(para_device *dev) {
    of(dev)->now += of(dev)->next;
    return of(dev)->fails ? para_fail(PARA_ERR_DEVICE, "the op failed") : PARA_OK;
}
static para_status copy(para_device *dev, para_tensor dst, para_tensor src) {
    assert_ptr_equal(dst.data, dev);
    assert_null(src.data);
    return work(dev);
}
static para_status linear(para_device *dev, const para_linear_args *a) {
    assert_ptr_equal(a, dev);
    return work(dev);
}
static para_status stamp(para_device *dev, int i) {
    of(dev)->at[i] = of(dev)->now;
    return PARA_OK;
}
static para_status stamp_seconds(para_device *dev, int from, int to, double *out) {
    *out = of(dev)->at[to] - of(dev)->at[from];
    return PARA_OK;
}
static void range(para_device *dev, const char *name) {
    strcat(of(dev)->shown, name ? name : ".");
}
static para_status record(para_device *dev, bool joined) {
    (void)joined;
    return work(dev);
}

static const para_ops with_clock = {.name = "slow",
                                    .copy = copy,
                                    .linear = linear,
                                    .stamp = stamp,
                                    .stamp_seconds = stamp_seconds,
                                    .range = range,
                                    .record = record};
static const para_ops without = {.name = "slow", .copy = copy, .linear = linear};

static para_status run(slow_device *d, bool is_linear, double seconds) {
    const para_tensor none = {0}, self = {.data = &d->dev};
    d->next = seconds;
    if (is_linear) return d->dev.ops->linear(&d->dev, (const para_linear_args *)(void *)&d->dev);
    return d->dev.ops->copy(&d->dev, self, none);
}

#define DEVICE(name, table)                                                                                            \
    slow_device name = {.dev.ops = &(table)};                                                                          \
    name.dev.impl = &name

static void times_by_kind(void **state) {
    (void)state;
    DEVICE(d, with_clock);
    para_profile *p;
    para_op_time *ops;
    int count;
    assert_ok(run(&d, true, 100)); /* before */
    assert_ok(para_profile_open(&d.dev, &p));
    assert_null(d.dev.ops->record); /* what is profiled cannot be recorded */
    d.now += 50;                    /* between ops */
    assert_ok(run(&d, false, 1));
    assert_ok(run(&d, true, 5));
    d.now += 50;
    assert_ok(run(&d, false, 2));
    assert_ok(para_profile_close(&d.dev, &p, &ops, &count));
    assert_null(p);
    assert_ptr_equal(d.dev.ops, &with_clock);
    assert_null(d.dev.profile);
    assert_int_equal(count, 2);
    assert_string_equal(ops[0].name, "linear");
    assert_int_equal(ops[0].calls, 1);
    assert_true(ops[0].seconds == 5);
    assert_string_equal(ops[1].name, "copy");
    assert_int_equal(ops[1].calls, 2);
    assert_true(ops[1].seconds == 3);
    assert_string_equal(d.shown, "copy.linear.copy.");
    para_free(ops);
}

static void host_clock(void **state) {
    (void)state;
    DEVICE(d, without);
    para_profile *p;
    para_op_time *ops;
    int count;
    assert_ok(para_profile_open(&d.dev, &p));
    assert_ok(run(&d, true, 1000)); /* of its own time, which nobody asks for */
    assert_ok(para_profile_close(&d.dev, &p, &ops, &count));
    assert_int_equal(count, 1);
    assert_true(ops[0].seconds >= 0 && ops[0].seconds < 10);
    para_free(ops);
}

static void failing_op(void **state) {
    (void)state;
    DEVICE(d, with_clock);
    para_profile *p;
    assert_ok(para_profile_open(&d.dev, &p));
    d.fails = true;
    assert_fails(PARA_ERR_DEVICE, "the op failed", run(&d, true, 1));
    assert_ok(para_profile_close(&d.dev, &p, NULL, NULL));
    assert_ptr_equal(d.dev.ops, &with_clock);
    assert_string_equal(d.shown, "linear.");               /* the range has ended all the same */
    assert_ok(para_profile_close(&d.dev, &p, NULL, NULL)); /* once is enough */
}

static para_status whole_life(void) {
    DEVICE(d, with_clock);
    para_profile *p;
    para_op_time *ops = NULL;
    int count;
    PARA_TRY(para_profile_open(&d.dev, &p));
    para_status status = run(&d, true, 1);
    para_status closed = para_profile_close(&d.dev, &p, status == PARA_OK ? &ops : NULL, &count);
    assert_ptr_equal(d.dev.ops, &with_clock);
    para_free(ops);
    return status == PARA_OK ? closed : status;
}

static void alloc_failure(void **state) {
    (void)state;
    assert_survives_alloc_failure(3, whole_life());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_by_kind),
        cmocka_unit_test(host_clock),
        cmocka_unit_test(failing_op),
        cmocka_unit_test(alloc_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
