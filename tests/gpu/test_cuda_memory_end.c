/* The GPU's memory ends while a request runs: a clean error, and once there is room again the next request is as the first.
 * SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/paraattn.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test_device.h"

#define OK(call) check_ok((call), #call)

static void check_ok(para_status status, const char *call) {
    if (status != PARA_OK) fail_msg("%s: %s", call, para_last_error());
}

enum { MOST = 4096, SMALLEST = 1 << 20 };

/* Another user of the same GPU, who takes all that is left when a stage begins. */
typedef struct neighbour {
    para_device *dev;
    const char *stage;
    void *taken[MOST];
    int n;
} neighbour;

static void take_all(neighbour *other) {
    for (size_t bytes = (size_t)8 << 30; bytes >= SMALLEST && other->n < MOST;) {
        if (other->dev->ops->alloc(other->dev, bytes, &other->taken[other->n]) == PARA_OK) other->n++;
        else bytes /= 2;
    }
}

static void give_back(neighbour *other) {
    while (other->n) other->dev->ops->free(other->dev, other->taken[--other->n]);
}

static void on_progress(void *user, const para_progress *p) {
    neighbour *other = user;
    if (other->stage && strcmp(p->stage, other->stage) == 0 && other->n == 0) take_all(other);
}

static void the_next_request_works(void **state) {
    (void)state;
    static const char *const stages[] = {"load", "text", "denoise", "decode"};
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_request r = PARA_REQUEST_INIT;
    para_world *world;
    para_result *first, *again;
    neighbour other = {0};
    int failed = 0;
    test_choose_device(&w);
    OK(para_world_open(&world, &w));
    OK(test_open_device(&other.dev));
    r.prompt = "a red heart on a blue background";
    r.num_inference_steps = 4;
    r.on_progress = on_progress;
    r.user = &other;
    for (int i = 0; i < 4; i++) {
        para_pipeline *pipe;
        OK(para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/models/tiny-flux", NULL));
        other.stage = stages[i];
        para_status status = para_generate(pipe, &r, &again);
        give_back(&other);
        other.stage = NULL;
        print_message("  memory ends at %s: %s\n", stages[i], status == PARA_OK ? "enough was reserved" : para_last_error());
        if (status == PARA_OK) para_result_close(&again);
        else assert_int_equal(status, PARA_ERR_MEMORY);
        failed += status != PARA_OK;
        OK(para_generate(pipe, &r, &first));
        OK(para_generate(pipe, &r, &again));
        assert_memory_equal(first->images.data, again->images.data, (size_t)para_tensor_count(&first->images) * sizeof(float));
        para_result_close(&first);
        para_result_close(&again);
        para_pipeline_close(&pipe);
    }
    assert_true(failed > 0);
    para_device_close(&other.dev);
    para_world_close(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_next_request_works)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
