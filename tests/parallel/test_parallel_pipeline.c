/* A pipeline on many ranks: what is declared, chosen and refused; bytes; cancel and failures. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include <paraattn/paraattn.h>

#include "pipeline/plan.h"
#include "pipeline/request_message.h"
#include "unit/io_checks.h"
#include "test_device.h"

#define DEV  PARA_SOURCE_DIR "/tests/golden/flux-dev"
#define CFG  PARA_SOURCE_DIR "/tests/golden/flux-cfg"
#define TINY PARA_SOURCE_DIR "/models/tiny-flux"

static const double pixel_bound = 1e-4; /* measured: 1.1e-6 */

typedef struct listener {
    int alone, tiles, steps;
    int cancel_at; /* step; 0: never */
    para_pipeline *pipe;
} listener;

static void on_log(void *user, para_log_level level, const char *message) {
    listener *l = user;
    if (level == PARA_LOG_INFO && strstr(message, "computes alone")) l->alone++;
    if (level == PARA_LOG_INFO && strstr(message, "decodes in tiles")) l->tiles++;
}

static void on_progress(void *user, const para_progress *p) {
    listener *l = user;
    if (strcmp(p->stage, "denoise") == 0 && p->done == l->cancel_at && l->cancel_at) para_cancel(l->pipe);
    if (strcmp(p->stage, "denoise") == 0) l->steps++;
}

static listener heard;
static para_world *world;
static para_pipeline *flux;

static void open_on(int ranks, const char *model) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.ranks = w.threads = ranks;
    test_choose_device(&w);
    w.log = on_log;
    w.log_user = &heard;
    heard = (listener){0};
    assert_ok(para_world_open(&world, &w));
    assert_ok(para_pipeline_open(&flux, world, model, NULL));
    heard.pipe = flux;
}

static void close_all(void) {
    para_pipeline_close(&flux);
    para_world_close(&world);
}

static para_request request(void) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart on a blue background";
    r.height = 64;
    r.width = 96;
    r.num_inference_steps = 2;
    r.max_sequence_length = 8;
    r.on_progress = on_progress;
    r.user = &heard;
    return r;
}

static void mesh_is(const para_request *r, int batch, int ring, int ulysses) {
    para_result *result;
    assert_ok(para_generate(flux, r, &result));
    if (result->batch != batch || result->ring != ring || result->ulysses != ulysses ||
        result->ranks != batch * ring * ulysses)
        fail_msg("the mesh is %d x %d x %d of %d", result->batch, result->ring, result->ulysses, result->ranks);
    assert_true((result->exchanged_bytes > 0) == (result->ranks > 1));
    para_result_close(&result);
}

static void declare(int batch, int ring, int ulysses) {
    para_parallel_options o = PARA_PARALLEL_OPTIONS_INIT;
    o.batch = batch, o.ring = ring, o.ulysses = ulysses;
    assert_ok(para_parallelize(flux, &o));
}

/* The last declaration holds; without one rank 0 computes alone, and says so once. flux-dev has 2 heads. */
static void declarations(void **state) {
    (void)state;
    open_on(4, DEV);
    para_request r = request(), cfg = r;
    cfg.negative_prompt = "blurred";
    cfg.true_cfg_scale = 2;
    mesh_is(&r, 1, 1, 1);
    mesh_is(&r, 1, 1, 1);
    assert_int_equal(heard.alone, 1);
    assert_ok(para_parallelize(flux, NULL));
    mesh_is(&r, 1, 2, 2);
    mesh_is(&cfg, 2, 1, 2);
    r.num_images = 4;
    mesh_is(&r, 4, 1, 1);
    r.num_images = 1;
    declare(1, 4, 0);
    mesh_is(&r, 1, 4, 1);
    declare(0, 1, 0);
    mesh_is(&cfg, 2, 1, 2);
    declare(0, 0, 4);
    mesh_is(&cfg, 1, 1, 4);
    para_parallel_options off = PARA_PARALLEL_OPTIONS_INIT;
    off.off = true;
    assert_ok(para_parallelize(flux, &off));
    mesh_is(&r, 1, 1, 1);
    assert_int_equal(heard.alone, 1);
    close_all();
}

static void refused(void **state) {
    (void)state;
    open_on(4, DEV);
    para_request r = request();
    para_result *result;
    para_plan plan;
    para_parallel_options o = PARA_PARALLEL_OPTIONS_INIT;
    o.ulysses = 3;
    assert_fails(
        PARA_ERR_ARGUMENT,
        "a mesh of ulysses 3 (--batch, --ring, --ulysses) does not fill 4 ranks; possible are 1 x 1 x 4, 1 x 2 x "
        "2, 1 x 4 x 1, 2 x 1 x 2, 2 x 2 x 1, 4 x 1 x 1",
        para_parallelize(flux, &o));
    o.batch = o.ring = o.ulysses = 2;
    assert_fails(PARA_ERR_ARGUMENT, "batch 2 x ring 2 x ulysses 2", para_parallelize(flux, &o));
    o.ring = -1;
    assert_fails(PARA_ERR_ARGUMENT, "ring -1", para_parallelize(flux, &o));
    o = (para_parallel_options)PARA_PARALLEL_OPTIONS_INIT;
    o.head_groups = -1;
    assert_fails(PARA_ERR_ARGUMENT, "head_groups", para_parallelize(flux, &o));
    o.size++;
    assert_fails(PARA_ERR_ARGUMENT, "PARA_PARALLEL_OPTIONS_INIT", para_parallelize(flux, &o));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_parallelize(NULL, NULL));
    para_parallel_vae_options v = {.size = 3};
    assert_fails(PARA_ERR_ARGUMENT, "PARA_PARALLEL_VAE_OPTIONS_INIT", para_parallelize_vae(flux, &v));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_parallelize_vae(NULL, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "process 0 leads", para_pipeline_follow(flux));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_pipeline_follow(NULL));
    mesh_is(&r, 1, 1, 1); /* nothing of this was taken */
    declare(2, 0, 0);
    static const char sentence[] = "needs more than the 1 item of this request, pictures times halves of CFG; possible "
                                   "are 1 x 1 x 4, 1 x 2 x 2, 1 x 4 x 1 (";
    assert_fails(PARA_ERR_ARGUMENT, sentence, para_generate(flux, &r, &result));
    assert_fails(PARA_ERR_ARGUMENT, sentence, para_pipeline_plan(flux, &r, &plan));
    r.num_images = 2;
    mesh_is(&r, 2, 1, 2);
    close_all();
}

/* ---- bytes */

typedef struct sent {
    int64_t of[8];
} sent;

/* What each rank has sent in a whole request. */
static sent transports(const para_request *r, para_result **result) {
    sent s;
    for (int i = 0; i < world->options.ranks; i++) s.of[i] = -para_rank_bytes_sent(&world->worker[i].rank);
    assert_ok(para_generate(flux, r, result));
    for (int i = 0; i < world->options.ranks; i++) s.of[i] += para_rank_bytes_sent(&world->worker[i].rank);
    return s;
}

/* Of the denoising loop, as dry runs foresee it. */
static int64_t dry(const para_request *request, int rank) {
    para_request filled, *r = &filled;
    para_geometry g;
    para_mesh mesh;
    para_dry_result out;
    int ranks = world->options.ranks;
    assert_ok(para_request_take(flux, request, r));
    assert_ok(para_request_geometry(flux, r, &g));
    assert_ok(para_request_mesh(flux, r, &g, &mesh));
    assert_ok(para_dry_run(flux, r, &g, &mesh, (para_dry_rank){.index = rank, .size = ranks, .like = &world->worker[rank].rank}, &out));
    return out.exchanged_bytes;
}

/* tiny-flux: 14 blocks of 4 heads of 32; 240 image tokens of 64 channels and 32 text tokens, in float32. */
static void bytes_on(int batch, int ring, int ulysses) {
    enum { BLOCKS = 14, INNER = 128, IMAGE = 240, TOKENS = 240 + 32, CHANNELS = 64 };
    int ranks = batch * ring * ulysses;
    open_on(ranks, TINY);
    declare(batch, ring, ulysses);
    para_request r = request();
    r.height = 256;
    r.width = 240;
    r.max_sequence_length = 32;
    r.negative_prompt = batch == 2 ? "blurred" : NULL;
    r.true_cfg_scale = 2;
    para_result *result[2];
    sent s[2];
    int64_t all = 0;
    assert_ok(para_pipeline_load(flux));
    for (int i = 0; i < 2; i++) {
        r.num_inference_steps = i + 1;
        s[i] = transports(&r, &result[i]);
    }
    /* Ulysses sends of Q, K, V and the result what other ranks of its axis compute or hold; Ring passes on all K and V that it has by then. */
    int64_t local = TOKENS / (ring * ulysses), inner = INNER * (int64_t)sizeof(float),
            block = 4 * local * inner * (ulysses - 1) / ulysses + 2 * local * inner * (ring - 1),
            formula = BLOCKS * block + (batch - 1) * (IMAGE / (ring * ulysses)) * CHANNELS * (int64_t)sizeof(float);
    for (int i = 0; i < ranks; i++) {
        assert_int_equal(s[1].of[i] - s[0].of[i], formula);
        assert_int_equal(dry(&r, i), 2 * formula);
        all += dry(&r, i);
    }
    assert_int_equal(result[1]->exchanged_bytes, all);
    print_message("%d x %d x %d: %lld bytes per rank and step\n", batch, ring, ulysses, (long long)formula);
    para_result_close(&result[0]);
    para_result_close(&result[1]);
    close_all();
}

static void bytes(void **state) {
    (void)state;
    bytes_on(1, 1, 2);
    bytes_on(1, 1, 4);
    bytes_on(1, 2, 1);
    bytes_on(1, 4, 1);
    bytes_on(1, 2, 2);
    bytes_on(2, 1, 1);
    bytes_on(2, 2, 1);
    bytes_on(2, 2, 2);
}

/* Uneven shards: what was sent is still what was foreseen. */
static void bytes_of_uneven_shards(void **state) {
    (void)state;
    open_on(3, DEV);
    para_request r = request();
    para_result *result;
    r.num_images = 2;
    for (int ring = 1; ring <= 3; ring += 2) {
        int64_t all = 0;
        declare(1, ring, 3 / ring);
        assert_ok(para_generate(flux, &r, &result));
        for (int i = 0; i < 3; i++) all += dry(&r, i);
        assert_int_equal(result->exchanged_bytes, all);
        para_result_close(&result);
    }
    close_all();
}

/* ---- the VAE */

static double largest_difference(const para_result *a, const para_result *b) {
    double largest = 0;
    const float *x = a->images.data, *y = b->images.data;
    assert_true(para_tensor_count(&a->images) == para_tensor_count(&b->images));
    for (int64_t i = 0; i < para_tensor_count(&a->images); i++)
        if (!(fabs((double)x[i] - (double)y[i]) <= largest)) largest = fabs((double)x[i] - (double)y[i]);
    return largest;
}

/* Tiles on all ranks, whether these denoise or rank 0 alone does. */
static void parallel_vae(void **state) {
    (void)state;
    para_request r = request();
    para_result *alone, *result;
    r.vae_tiling = true;
    r.num_images = 2;
    open_on(1, CFG);
    assert_ok(para_generate(flux, &r, &alone));
    close_all();
    r.vae_tiling = false;
    open_on(4, CFG);
    assert_ok(para_parallelize_vae(flux, NULL));
    assert_ok(para_parallelize_vae(flux, NULL));
    assert_int_equal(heard.tiles, 1);
    for (int all = 0; all < 2; all++) {
        if (all) assert_ok(para_parallelize(flux, NULL));
        assert_ok(para_generate(flux, &r, &result));
        double d = largest_difference(result, alone);
        print_message("tiles of %d ranks' latents: pixels within %.1e\n", result->ranks, d);
        assert_true(d <= pixel_bound);
        para_result_close(&result);
    }
    para_parallel_vae_options off = PARA_PARALLEL_VAE_OPTIONS_INIT;
    off.off = true;
    assert_ok(para_parallelize_vae(flux, &off));
    assert_ok(para_generate(flux, &r, &result));
    assert_true(largest_difference(result, alone) > 1e-3); /* without tiles */
    para_result_close(&result);
    para_result_close(&alone);
    close_all();
}

/* ---- ends before the end */

static void cancelled(void **state) {
    (void)state;
    open_on(4, DEV);
    declare(1, 2, 2);
    para_request r = request();
    para_result *result;
    r.num_inference_steps = 6;
    heard.cancel_at = 3;
    assert_fails(PARA_ERR_CANCELLED, "cancelled", para_generate(flux, &r, &result));
    assert_int_equal(heard.steps, 4); /* only rank 0 tells */
    heard.cancel_at = 0;
    mesh_is(&r, 1, 2, 2);
    close_all();
}

static void not_a_number(void **state) {
    (void)state;
    enum { TOKENS = 24, CHANNELS = 16 };
    float noise[TOKENS * CHANNELS] = {[TOKENS * CHANNELS - 1] = NAN};
    para_tensor given = para_tensor_make(noise, PARA_F32, 3, (int64_t[]){1, TOKENS, CHANNELS});
    para_request r = request();
    para_result *result;
    open_on(4, DEV);
    declare(1, 2, 2);
    r.latents = &given;
    assert_fails(PARA_ERR_NAN, "reading the given latents", para_generate(flux, &r, &result));
    r.latents = NULL;
    mesh_is(&r, 1, 2, 2);
    close_all();
}

/* Any rank's allocation may fail: a clean error, and the next request works. */
static void allocations_fail(void **state) {
    (void)state;
    open_on(4, DEV);
    declare(0, 0, 0);
    para_request r = request();
    para_result *result;
    r.negative_prompt = "blurred";
    r.true_cfg_scale = 2;
    assert_ok(para_parallelize_vae(flux, NULL));
    mesh_is(&r, 2, 1, 2); /* loads, and leaves caches */
    para_alloc_fail_after(0);
    mesh_is(&r, 2, 1, 2);
    long count = para_alloc_count(), tried = 0, step = getenv("PARA_FULL") ? 1 : count / 40 + 1;
    for (long n = 1; n <= count; n += step, tried++) {
        para_alloc_fail_after(n);
        para_status status = para_generate(flux, &r, &result);
        bool reached = para_alloc_count() >= n; /* whether ranks wait for each other decides about some */
        para_alloc_fail_after(0);
        if (!reached) para_result_close(&result);
        else if (status != PARA_ERR_MEMORY || !strstr(para_last_error(), "memory"))
            fail_msg("allocation %ld of %ld: %s \"%s\"", n, count, para_status_name(status), para_last_error());
        mesh_is(&r, 2, 1, 2);
    }
    print_message("%ld of %ld allocations failed, each with a clean error\n", tried, count);
    close_all();
}

/* ---- requests on their way to other processes */

static void packed_requests(void **state) {
    (void)state;
    uint16_t half[2 * 3] = {1, 2, 3, 4, 5, 6};
    double sigmas[] = {0.75, 0.5};
    para_tensor given = para_tensor_make(half, PARA_BF16, 3, (int64_t[]){1, 2, 3});
    para_request r = request();
    r.prompt_2 = "";
    r.negative_prompt = "n";
    r.sigmas = sigmas;
    r.latents = &given;
    r.negative_prompt_embeds = r.negative_pooled_prompt_embeds = &given;
    r.num_frames = 5;
    r.seed = 1ull << 63;
    void *bytes[2];
    size_t size[2];
    assert_ok(para_request_pack(&r, &bytes[0], &size[0]));
    para_request again = r;
    again.on_progress = NULL;
    assert_ok(para_request_pack(&again, &bytes[1], &size[1]));
    assert_true(size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0);
    half[0] = 7;
    sigmas[0] = 0.8;
    const para_request *got = para_request_unpack(bytes[0]);
    assert_string_equal(got->prompt, r.prompt);
    assert_string_equal(got->prompt_2, "");
    assert_string_equal(got->negative_prompt, "n");
    assert_null(got->negative_prompt_2);
    assert_true(got->sigmas[0] == 0.75 && got->sigmas[1] == 0.5);
    assert_true(got->latents->dtype == PARA_BF16 && got->latents->rank == 3 && para_tensor_contiguous(got->latents));
    assert_true(got->num_frames == 5 && got->negative_prompt_embeds->dim[2] == 3 && got->negative_pooled_prompt_embeds->dim[2] == 3);
    assert_true(got->negative_prompt_embeds->data != got->latents->data && !got->prompt_embeds);
    assert_true(((const uint16_t *)got->latents->data)[0] == 1 && ((const uint16_t *)got->latents->data)[5] == 6);
    assert_true(got->seed == r.seed && got->height == 64 && got->width == 96 && !got->on_progress && !got->user);
    para_free(bytes[0]);
    para_free(bytes[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declarations),           cmocka_unit_test(refused),          cmocka_unit_test(bytes),
        cmocka_unit_test(bytes_of_uneven_shards), cmocka_unit_test(parallel_vae),     cmocka_unit_test(cancelled),
        cmocka_unit_test(not_a_number),           cmocka_unit_test(allocations_fail), cmocka_unit_test(packed_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
