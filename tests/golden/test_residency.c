/* Components that take turns on a device with little memory, and blocks that do: on the CPU, disguised as such a device. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/paraattn.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "core/error.h"
#include "pipeline/residency.h"

enum { BLOCKS = 64 };

/* What was given out. */
typedef struct given {
    void *p[BLOCKS];
    int64_t bytes[BLOCKS], taken, most;
} given;

/* Memory of all ranks together, and how much the devices may give out. */
static struct {
    given device, pinned;
    int64_t limit;
    int64_t told;               /* that a device says it has, or 0 */
    int copies;                 /* from the host, */
    const para_device *copied;  /* the last one to this device, */
    const para_device *refused; /* and none to this one */
} memory;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const para_ops *cpu;
static char logged[1024], stages[4096];

static para_status give(para_device *dev, given *g, size_t bytes, void **out) {
    PARA_TRY(cpu->alloc(dev, bytes, out));
    pthread_mutex_lock(&lock);
    int i = 0;
    while (g->p[i]) i++;
    g->p[i] = *out;
    g->bytes[i] = (int64_t)bytes;
    g->taken += (int64_t)bytes;
    if (g->taken > g->most) g->most = g->taken;
    pthread_mutex_unlock(&lock);
    return PARA_OK;
}

static void take_back(para_device *dev, given *g, void *p) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BLOCKS && p; i++) {
        if (g->p[i] != p) continue;
        g->taken -= g->bytes[i];
        g->p[i] = NULL;
    }
    pthread_mutex_unlock(&lock);
    cpu->free(dev, p);
}

static para_status near_alloc(para_device *dev, size_t bytes, void **out) {
    pthread_mutex_lock(&lock);
    bool full = memory.device.taken + (int64_t)bytes > memory.limit;
    pthread_mutex_unlock(&lock);
    return full ? para_fail(PARA_ERR_MEMORY, "the device is out of memory") : give(dev, &memory.device, bytes, out);
}

static void near_free(para_device *dev, void *p) {
    take_back(dev, &memory.device, p);
}

static para_status near_memory(para_device *dev, para_device_memory *out) {
    (void)dev;
    pthread_mutex_lock(&lock);
    int64_t left = memory.limit - memory.device.taken;
    *out = memory.told ? (para_device_memory){memory.told, 0, memory.told} : (para_device_memory){memory.limit, memory.device.taken, left > 0 ? left : 0};
    pthread_mutex_unlock(&lock);
    return PARA_OK;
}

static para_status pin(para_device *dev, size_t bytes, void **out) {
    return give(dev, &memory.pinned, bytes, out);
}

static para_status begin(para_device *dev, int slot, void *dst, const void *pinned, size_t bytes) {
    (void)slot;
    pthread_mutex_lock(&lock);
    memory.copies++;
    memory.copied = dev;
    pthread_mutex_unlock(&lock);
    if (dev == memory.refused) return para_fail(PARA_ERR_DEVICE, "this copy was refused");
    memcpy(dst, pinned, bytes);
    return PARA_OK;
}

static para_status nothing(para_device *dev, int slot) {
    (void)dev;
    (void)slot;
    return PARA_OK;
}

static void unpin(para_device *dev, void *p) {
    take_back(dev, &memory.pinned, p);
}

static const para_copies copies = {pin, unpin, begin, nothing, nothing, nothing};

static void on_log(void *user, para_log_level level, const char *message) {
    (void)user;
    (void)level;
    snprintf(logged, sizeof logged, "%s", message);
}

static void on_progress(void *user, const para_progress *p) {
    (void)user;
    size_t n = strlen(stages);
    if (p->done == p->total) snprintf(stages + n, sizeof stages - n, "%s ", p->stage);
}

/* A pipeline on a device with so much memory. */
typedef struct fixture {
    para_world *world;
    para_pipeline *pipe;
    para_ops ops;
} fixture;

static void open_ranks(fixture *f, int ranks) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.log = on_log;
    w.ranks = ranks;
    memset(&memory, 0, sizeof memory);
    memory.limit = INT64_MAX / 2;
    assert_int_equal(para_world_open(&f->world, &w), PARA_OK);
    cpu = f->world->worker[0].rank.device->ops;
    f->ops = *cpu;
    f->ops.name = "near";
    f->ops.alloc = near_alloc, f->ops.free = near_free, f->ops.memory = near_memory, f->ops.copies = &copies;
    for (int i = 0; i < ranks; i++) f->world->worker[i].rank.device->ops = &f->ops;
    if (ranks > 1) f->world->options.device = PARA_CUDA; /* each has a memory of its own */
    assert_int_equal(para_pipeline_open(&f->pipe, f->world, PARA_SOURCE_DIR "/models/tiny-flux", NULL), PARA_OK);
    f->world->options.device = PARA_CPU;
    f->pipe->compiled = f->pipe->tuned = false;
}

static void open_fixture(fixture *f) {
    open_ranks(f, 1);
}

static void close_fixture(fixture *f) {
    para_pipeline_close(&f->pipe);
    for (int i = 0; i < f->world->options.ranks; i++) para_device_drop_arena(f->world->worker[i].rank.device);
    assert_int_equal(memory.device.taken, 0);
    assert_int_equal(memory.pinned.taken, 0);
    para_world_close(&f->world);
}

static para_request request_of(void) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart on a blue background";
    r.num_inference_steps = 2;
    r.width = r.height = 128;
    r.max_sequence_length = 32;
    r.on_progress = on_progress;
    return r;
}

/* The sum of a picture's bits; 0 and the sentence stays where it failed. */
static uint64_t draw(fixture *f, para_status wanted) {
    para_request r = request_of();
    para_result *result;
    uint64_t sum = 0;
    stages[0] = logged[0] = '\0';
    para_status status = para_generate(f->pipe, &r, &result);
    if (status != wanted) fail_msg("%d: %s", (int)status, para_last_error());
    if (status != PARA_OK) return 0;
    const uint32_t *bits = result->images.data;
    for (int64_t i = 0; i < para_tensor_count(&result->images); i++) sum = sum * 31 + bits[i];
    assert_true(result->load_seconds >= 0);
    para_result_close(&result);
    return sum;
}

static void in_turn(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    uint64_t picture = draw(&f, PARA_OK);
    int64_t all = memory.device.most;
    assert_string_equal(stages, "load text denoise decode ");
    assert_string_equal(logged, "");
    assert_int_equal(draw(&f, PARA_OK), picture);
    assert_string_equal(stages, "text denoise decode "); /* all is there still */

    const para_dry_result *need = f.pipe->work.need;
    int64_t turns = para_need_in_turn(f.pipe, need);
    assert_int_equal(para_need_resident(f.pipe, need), all);
    assert_true(turns < all);
    para_pipeline_unload(f.pipe, f.pipe->holder);
    memory.limit = turns, memory.device.most = 0; /* to the byte */
    assert_int_equal(draw(&f, PARA_OK), picture);
    assert_non_null(strstr(logged, "take turns"));
    assert_non_null(strstr(stages, "text load denoise"));
    assert_true(memory.device.most <= turns);
    for (int i = 0; i < 2; i++) assert_int_equal(draw(&f, PARA_OK), picture);

    memory.limit = turns - 1;
    draw(&f, PARA_ERR_MEMORY);
    assert_non_null(strstr(para_last_error(), "too little GPU memory"));
    assert_non_null(strstr(para_last_error(), "would do"));
    assert_string_equal(stages, ""); /* it was said before anything was loaded */
    memory.limit = all;
    assert_int_equal(draw(&f, PARA_OK), picture);
    close_fixture(&f);
}

static void offloaded(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    uint64_t picture = draw(&f, PARA_OK);
    int64_t all = memory.device.most;
    para_offload_options o = PARA_OFFLOAD_OPTIONS_INIT;
    o.slots = 2;
    assert_int_equal(para_offload(f.pipe, &o), PARA_OK);
    memory.limit = all, memory.device.most = 0; /* blocks stay as far as there is room */
    assert_int_equal(draw(&f, PARA_OK), picture);
    int64_t least = para_need_in_turn(f.pipe, f.pipe->work.need);
    assert_true(least < all);
    para_pipeline_unload(f.pipe, f.pipe->holder);
    para_device_drop_arena(f.world->worker[0].rank.device);
    memory.limit = least, memory.device.most = memory.copies = 0;
    for (int i = 0; i < 2; i++) assert_int_equal(draw(&f, PARA_OK), picture);
    assert_true(memory.device.most <= least);
    assert_true(memory.copies > 2 * f.pipe->work.need->blocks); /* at every step */
    o.off = true;
    assert_int_equal(para_offload(f.pipe, &o), PARA_OK);
    memory.limit = all;
    assert_int_equal(draw(&f, PARA_OK), picture);
    o.off = false, o.slots = 1;
    assert_int_equal(para_offload(f.pipe, &o), PARA_ERR_ARGUMENT);
    close_fixture(&f);
}

static para_status others_take_it(void *user, const char *name, const para_tensor *tensor) {
    (void)user;
    (void)tensor;
    if (strcmp(name, "text.t5") == 0) memory.limit = 0;
    return PARA_OK;
}

/* Somebody else takes the memory while the request runs: an error, and the next request works. */
static void out_of_memory_in_mid_run(void **state) {
    (void)state;
    fixture f;
    const para_trace trace = {others_take_it, NULL};
    open_fixture(&f);
    uint64_t picture = draw(&f, PARA_OK);
    int64_t turns = para_need_in_turn(f.pipe, f.pipe->work.need);
    para_pipeline_unload(f.pipe, f.pipe->holder);
    memory.limit = turns;
    f.pipe->trace = &trace;
    draw(&f, PARA_ERR_MEMORY);
    f.pipe->trace = NULL;
    memory.limit = INT64_MAX / 2;
    assert_int_equal(draw(&f, PARA_OK), picture);
    close_fixture(&f);
}

/* Whether ranks 1, 2, … have the weights of the transformer, of the VAE where they decode, too, and of nothing else. */
static void check_others(const fixture *f, bool decode) {
    const para_family *family = f->pipe->family;
    for (int k = 1; k < f->world->options.ranks; k++)
        for (int i = 0; i < f->pipe->num_components; i++) {
            bool has = f->pipe->holder[k].instance[i].weights, wanted = i == family->transformer || (decode && family->components[i].stage == PARA_STAGE_DECODE);
            if (has != wanted) fail_msg("rank %d has %s the weights of %s", k, has ? "" : "not", family->components[i].name);
        }
}

/* Of ranks with a memory each the first reads what others need, too, and they take it from there. */
static void read_once(void **state) {
    (void)state;
    enum { RANKS = 3 };
    fixture f;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.ranks = RANKS;
    assert_int_equal(para_world_open(&f.world, &w), PARA_OK);
    assert_int_equal(para_pipeline_open(&f.pipe, f.world, PARA_SOURCE_DIR "/models/tiny-flux", NULL), PARA_OK);
    assert_int_equal(para_parallelize(f.pipe, NULL), PARA_OK);
    uint64_t picture = draw(&f, PARA_OK); /* from files that are mapped for all */
    para_pipeline_close(&f.pipe);
    para_world_close(&f.world);

    open_ranks(&f, 1);
    draw(&f, PARA_OK);
    int of_one = memory.copies;
    close_fixture(&f);

    open_ranks(&f, RANKS);
    const para_device *first = f.world->worker[0].rank.device, *last = f.world->worker[RANKS - 1].rank.device;
    assert_int_equal(para_parallelize(f.pipe, NULL), PARA_OK);
    memory.refused = first; /* the others wait for it meanwhile */
    draw(&f, PARA_ERR_DEVICE);
    assert_non_null(strstr(para_last_error(), "rank 0: this copy was refused"));
    memory.refused = NULL, memory.copies = 0;
    assert_int_equal(draw(&f, PARA_OK), picture);
    assert_int_equal(memory.copies, of_one);
    assert_ptr_equal(memory.copied, first);
    check_others(&f, false);
    f.pipe->parallel_vae = true; /* the first has its own already; of the others one reads it */
    draw(&f, PARA_OK);
    assert_ptr_equal(memory.copied, f.world->worker[1].rank.device);
    check_others(&f, true);
    f.pipe->parallel_vae = false;

    /* One that lacks what the others have reads it itself. */
    int transformer = f.pipe->family->transformer;
    para_instance_close(&f.pipe->holder[RANKS - 1].instance[transformer]);
    memory.copies = 0;
    assert_int_equal(draw(&f, PARA_OK), picture);
    assert_true(memory.copies > 0 && memory.copies < of_one);
    assert_ptr_equal(memory.copied, last);
    close_fixture(&f);
}

/* Nothing of the rank is loaded any more, and its device is empty. */
static void empty(fixture *f, int rank) {
    para_device *dev = f->world->worker[rank].rank.device;
    para_pipeline_unload(f->pipe, &f->pipe->holder[rank]);
    para_device_drop_arena(dev);
    dev->arena.peak = 0; /* else it is there again before anything is loaded */
}

static void empty_all(fixture *f) {
    for (int i = 0; i < f->world->options.ranks; i++) empty(f, i);
}

/* A pipeline of so many ranks with a memory each, which has no room for any block but in turn; or for components, either. */
static void open_crowded(fixture *f, int ranks, bool components) {
    open_ranks(f, ranks);
    if (ranks > 1) assert_int_equal(para_parallelize(f->pipe, NULL), PARA_OK);
    assert_int_equal(para_offload(f->pipe, NULL), PARA_OK);
    draw(f, PARA_OK);
    memory.told = (components ? para_need_in_turn : para_need_resident)(f->pipe, f->pipe->work.need);
    empty_all(f);
}

/* Draws twice; the copies that loading took. */
static int copies_of_load(fixture *f, bool components, uint64_t picture) {
    empty_all(f);
    memory.copies = 0;
    assert_int_equal(draw(f, PARA_OK), picture);
    assert_int_equal(strstr(stages, "text load denoise") != NULL, components);
    int first = memory.copies;
    memory.copies = 0;
    assert_int_equal(draw(f, PARA_OK), picture);
    assert_true(memory.copies >= f->world->options.ranks * 2 * f->pipe->work.need->blocks); /* at both steps */
    return first - memory.copies;
}

static void pinned_by_ranks(bool components) {
    fixture f;
    open_crowded(&f, 1, components);
    uint64_t alone = draw(&f, PARA_OK);
    int of_one = copies_of_load(&f, components, alone);
    int64_t bytes = memory.pinned.taken;
    assert_int_equal(bytes, f.pipe->work.need->pinned_bytes);
    close_fixture(&f);

    open_ranks(&f, 3);
    assert_int_equal(para_parallelize(f.pipe, NULL), PARA_OK);
    uint64_t picture = draw(&f, PARA_OK);
    f.pipe->parallel_vae = true;
    uint64_t tiled = draw(&f, PARA_OK);
    close_fixture(&f);
    open_crowded(&f, 3, components);
    memory.refused = f.world->worker[0].rank.device;
    draw(&f, PARA_ERR_DEVICE);
    assert_int_equal(memory.pinned.taken, 0);
    memory.refused = NULL;
    assert_int_equal(copies_of_load(&f, components, picture), of_one + 2 * 3); /* read by one for all; each has the first blocks by itself */
    assert_int_equal(memory.pinned.taken, bytes);
    empty(&f, 0); /* the others have them still */
    assert_int_equal(memory.pinned.taken, bytes);
    assert_int_equal(draw(&f, PARA_OK), picture);
    /* The first has them at once, of its own, or where it has room for them after the text encoders only, the others anew with it. */
    assert_int_equal(memory.pinned.taken, components ? bytes : 2 * bytes);
    f.pipe->parallel_vae = true; /* all decode: the VAE comes to all, too */
    empty_all(&f);
    for (int i = 0; i < 2; i++) assert_int_equal(draw(&f, PARA_OK), tiled);
    check_others(&f, true);
    assert_int_equal(memory.pinned.taken, bytes);
    close_fixture(&f);
}

/* Blocks that take turns lie in the host's memory once, from which all ranks copy; whoever closes last frees them. */
static void pinned_once(void **state) {
    (void)state;
    pinned_by_ranks(false);
    pinned_by_ranks(true);
}

/* On a CPU the limit is the predicted peak's. */
static void limit_of_a_cpu(void **state) {
    (void)state;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_world *world;
    para_pipeline *pipe;
    para_result *result;
    para_request r = request_of();
    para_plan plan;
    w.memory_limit = -1;
    assert_int_equal(para_world_open(&world, &w), PARA_ERR_ARGUMENT);
    w.memory_limit = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(para_world_open(&world, &w), PARA_OK);
        assert_int_equal(para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/models/tiny-flux", NULL), PARA_OK);
        assert_int_equal(para_offload(pipe, NULL), PARA_ERR_ARGUMENT);
        assert_int_equal(para_pipeline_plan(pipe, &r, &plan), PARA_OK);
        assert_true(plan.gpu_bytes == 0 && plan.gpu_offload_bytes <= plan.gpu_in_turn_bytes && plan.gpu_in_turn_bytes < plan.gpu_resident_bytes);
        assert_int_equal(para_generate(pipe, &r, &result), i < 2 ? PARA_OK : PARA_ERR_MEMORY);
        if (i == 2) assert_non_null(strstr(para_last_error(), "more than the limit (--memory-limit)"));
        para_result_close(&result);
        para_pipeline_close(&pipe);
        para_world_close(&world);
        w.memory_limit = plan.peak_bytes - (i == 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_turn),
        cmocka_unit_test(offloaded),
        cmocka_unit_test(out_of_memory_in_mid_run),
        cmocka_unit_test(read_once),
        cmocka_unit_test(pinned_once),
        cmocka_unit_test(limit_of_a_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
