/* Which parts of a step are carried out, recorded and played, on a device that only counts. SPDX-License-Identifier: Apache-2.0 */
#include "step/recorded.h"

#include "core/alloc.h"
#include "core/error.h"
#include "io_checks.h"

struct para_recording {
    int ops;
};

/* Counts ops where it does not record them. */
typedef struct counter {
    para_device dev;
    para_rank rank;
    bool recording, fails, full;
    int recorded, carried_out, played, open;
} counter;

static para_status record(para_device *dev, bool joined) {
    counter *c = dev->impl;
    assert_false(joined);
    assert_false(c->recording);
    c->recording = true;
    c->recorded = 0;
    return PARA_OK;
}

static para_status record_end(para_device *dev, para_recording **out) {
    counter *c = dev->impl;
    assert_true(c->recording);
    c->recording = false;
    if (!out) return PARA_OK;
    if (c->full) return para_fail(PARA_ERR_MEMORY, "the device is full");
    *out = para_alloc(1, sizeof **out);
    if (!*out) return PARA_ERR_MEMORY;
    (*out)->ops = c->recorded;
    c->open++;
    return PARA_OK;
}

static para_status play(para_device *dev, const para_recording *recording) {
    ((counter *)dev->impl)->played += recording->ops;
    return PARA_OK;
}

static void recording_close(para_device *dev, para_recording **recording) {
    ((counter *)dev->impl)->open--;
    para_free(*recording);
    *recording = NULL;
}

static const para_ops counting = {
    .name = "counter", .record = record, .record_end = record_end, .play = play, .recording_close = recording_close};
static const para_ops plain = {.name = "plain"};

static counter *open_counter(counter *c, const para_ops *ops) {
    *c = (counter){.dev.ops = ops};
    c->dev.impl = c;
    c->rank.device = &c->dev;
    return c;
}

static para_status three_ops(void *args) {
    counter *c = args;
    *(c->recording ? &c->recorded : &c->carried_out) += 3;
    return c->fails && c->recording ? para_fail(PARA_ERR_DEVICE, "the third op failed") : PARA_OK;
}

static para_status run(para_recorded *r, counter *c, int first) {
    return para_recorded_run(r, &c->rank, (para_part_key){.first = first, .last = first + 1}, three_ops, c);
}

static void first_out_then_recorded_then_played(void **state) {
    (void)state;
    counter c;
    para_recorded r = {0};
    open_counter(&c, &counting);
    for (int i = 0; i < 5; i++) assert_ok(run(&r, &c, 0));
    assert_int_equal(c.carried_out, 6);
    assert_int_equal(c.played, 9);
    assert_ok(run(&r, &c, 1)); /* another part begins anew */
    assert_int_equal(c.carried_out, 9);
    assert_ok(run(&r, &c, 0));
    assert_int_equal(c.played, 12);
    assert_int_equal(c.open, 1);
    para_recorded_close(&r, &c.dev);
    assert_int_equal(c.open, 0);
}

/* More parts than there are entries: the oldest go, none is kept twice. */
static void many_parts(void **state) {
    (void)state;
    counter c;
    para_recorded r = {0};
    open_counter(&c, &counting);
    for (int first = 0; first <= PARA_RECORDED_PARTS; first++)
        for (int i = 0; i < 2; i++) assert_ok(run(&r, &c, first));
    assert_int_equal(c.open, PARA_RECORDED_PARTS);
    assert_int_equal(c.carried_out, 6 * (PARA_RECORDED_PARTS + 1));
    assert_ok(run(&r, &c, 0)); /* was forgotten */
    assert_int_equal(c.carried_out, 6 * (PARA_RECORDED_PARTS + 1) + 3);
    para_recorded_close(&r, &c.dev);
    assert_int_equal(c.open, 0);
}

static para_status trace_nothing(void *user, const char *name, const para_tensor *t) {
    (void)user;
    (void)name;
    (void)t;
    return PARA_OK;
}

/* Where nothing may or can be recorded, ops are carried out each time. */
static void never_recorded(void **state) {
    (void)state;
    counter c;
    para_recorded r = {0};
    const para_trace trace = {trace_nothing, NULL};
    for (int i = 0; i < 4; i++) assert_ok(run(&r, open_counter(&c, &plain), 0));
    open_counter(&c, &counting);
    c.dev.trace = &trace;
    for (int i = 0; i < 3; i++) assert_ok(run(&r, &c, 0));
    assert_int_equal(c.carried_out, 9);
    c.dev.trace = NULL;
    for (int i = 0; i < 3; i++) assert_ok(run(NULL, &c, 0));
    assert_int_equal(c.carried_out, 18);
    assert_int_equal(c.played, 0);
}

/* A failure ends the recording, and the next run records again. */
static void failure_while_recording(void **state) {
    (void)state;
    counter c;
    para_recorded r = {0};
    open_counter(&c, &counting);
    assert_ok(run(&r, &c, 0));
    c.fails = true;
    assert_fails(PARA_ERR_DEVICE, "the third op failed", run(&r, &c, 0));
    assert_false(c.recording);
    c.fails = false;
    for (int i = 0; i < 2; i++) assert_ok(run(&r, &c, 0));
    assert_int_equal(c.played, 3);
    para_recorded_close(&r, &c.dev);
    assert_int_equal(c.open, 0);
}

static void on_note(void *notes, para_log_level level, const char *line) {
    assert_int_equal(level, PARA_LOG_WARNING);
    assert_string_equal(line, "blocks 7 to 7 of a step are not played from a recording: the device is full");
    ++*(int *)notes;
}

/* Where a recording finds no memory, the part goes on without, which the log says once. */
static void no_memory_for_a_recording(void **state) {
    (void)state;
    counter c;
    para_recorded r = {0};
    int notes = 0;
    open_counter(&c, &counting);
    c.dev.note = on_note;
    c.dev.note_user = &notes;
    c.full = true;
    for (int i = 0; i < 4; i++) assert_ok(run(&r, &c, 7));
    assert_int_equal(c.carried_out, 12);
    assert_int_equal(c.played, 0);
    assert_int_equal(notes, 1);
    c.full = false;
    for (int i = 0; i < 3; i++) assert_ok(run(&r, &c, 0)); /* another part is recorded */
    assert_int_equal(c.played, 3);
    para_recorded_close(&r, &c.dev);
    assert_int_equal(c.open, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_out_then_recorded_then_played),
        cmocka_unit_test(many_parts),
        cmocka_unit_test(never_recorded),
        cmocka_unit_test(failure_while_recording),
        cmocka_unit_test(no_memory_for_a_recording),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
