/* The VAEs of videos against diffusers: decode and encode, whole and tiled in space and time. SPDX-License-Identifier: Apache-2.0 */
#include "golden/video_vae_case.h"

#include "core/alloc.h"
#include "test_device.h"

static const char *const CASES[] = {"video-vae-hunyuan", "video-vae-hunyuan-plain", "video-vae-mochi",
                                    "video-vae-cogvideox", "video-vae-cogvideox-quant"};
enum { NUM_CASES = sizeof CASES / sizeof *CASES };

/* Relative L2 of 1e-5, or four times the reference's own spread. Measured: pixels 0.4e-6 to 4.5e-6, moments 0.3e-6 to 3.1e-6. */
static const double BOUND = 1e-5, SPREADS = 4;
/* Activations in bfloat16: this much of diffusers' own error in bfloat16, at most. Measured: 0.5 to 1.4 of it. */
static const double BF16_SHARE = 2;

/* Runs one direction on a device whose arena is as large as the dry run says; the result as F32 in malloc memory. */
static float *run(video_vae_case *g, bool decode, para_dtype dtype, const float *in, const int64_t in_dim[5],
                  bool tiling, const int64_t out_dim[5]) {
    para_device *devices[2];
    para_world_options chosen = PARA_WORLD_OPTIONS_INIT;
    chosen.ranks = 1;
    test_choose_device(&chosen);
    bool gpu = chosen.device == PARA_CUDA;
    OK(para_dry_open(&devices[0]));
    OK(para_device_open(chosen.device, chosen.device_index, 2, &devices[1]));
    devices[0]->threads = devices[1]->threads;
    if (gpu) para_dry_stand_for(devices[0], PARA_CUDA);
    size_t peak = 0, in_n = video_count(in_dim), out_n = video_count(out_dim);
    float *result = malloc(out_n * sizeof *result);
    void *host = malloc((in_n > out_n ? in_n : out_n) * sizeof(float));
    for (int d = 0; d < 2; d++) {
        para_device *dev = devices[d];
        para_weights *weights;
        para_tensor x, y;
        OK(para_weights_open(&weights));
        g->class->weights(g->vae, weights, g->checkpoint, decode ? PARA_VAE_DECODER : PARA_VAE_ENCODER);
        OK(para_weights_load(weights, dev, g->checkpoint, PARA_F32));
        if (d) OK(para_device_reserve(dev, peak));
        OK(para_new(dev, &x, dtype, 5, in_dim));
        OK(para_new(dev, &y, dtype, 5, out_dim));
        para_floats_from_f32(host, dtype, in, (int64_t)in_n);
        OK(dev->ops->upload(dev, x, host));
        size_t mark = para_arena_mark(&dev->arena);
        OK(g->class->run(g->vae, decode, dev, NULL, x, tiling, y));
        assert_int_equal(para_arena_mark(&dev->arena), mark);
        if (d)
            assert_true(gpu ? dev->arena.peak <= peak
                            : dev->arena.peak == peak); /* the dry run foresees every byte, of a GPU the most */
        peak = dev->arena.peak;
        if (d) {
            OK(dev->ops->download(dev, host, &y));
            para_floats_to_f32(result, host, dtype, (int64_t)out_n);
        }
        para_weights_close(&weights);
        para_device_close(&devices[d]);
    }
    free(host);
    return result;
}

static void compare(const video_vae_case *g, const char *folder, const char *stage, const float *got, const float *want,
                    size_t n, bool bf16) {
    double spread = json_number_value(json_object_get(json_object_get(g->about.root, "spread"), stage));
    double half = json_number_value(json_object_get(json_object_get(g->about.root, "bf16"), stage));
    double bound = bf16 ? BF16_SHARE * half : fmax(BOUND, SPREADS * spread), error = video_relative(got, want, n),
           worst = 0;
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)got[i] - want[i]));
    print_message("  %-24s %-24s %s relative L2 %.2e (bound %.1e, reference's spread %.1e), largest %.1e\n", folder,
                  stage, bf16 ? "BF16" : "F32 ", error, bound, spread, worst);
    assert_true(error <= bound);
}

static void decode_one(video_vae_case *g, const char *folder, const char *name, const json_t *settings,
                       para_dtype dtype) {
    int64_t in_dim[5], want_dim[5], size[3];
    bool tiling;
    char stage[128];
    float *in = video_vae_input(g, true, name, settings, in_dim, &tiling);
    snprintf(stage, sizeof stage, "decode.%s", name);
    float *want = video_stage(g, stage, NULL, want_dim);
    OK(g->class->size(g->vae, true, in_dim + 1, tiling, size));
    assert_memory_equal(size, want_dim + 1, sizeof size);
    float *got = run(g, true, dtype, in, in_dim, tiling, want_dim);
    compare(g, folder, stage, got, want, video_count(want_dim), dtype == PARA_BF16);
    free(got), free(want), free(in);
}

static void encode_one(video_vae_case *g, const char *folder, const char *name, const json_t *settings) {
    int64_t in_dim[5], dim[5], size[3];
    bool tiling;
    char stage[2][128];
    const char *const part[] = {"mean", "logvar"};
    float *in = video_vae_input(g, false, name, settings, in_dim, &tiling), *want[2];
    for (int i = 0; i < 2; i++) {
        snprintf(stage[i], sizeof stage[i], "encode.%s.%s", name, part[i]);
        want[i] = video_stage(g, stage[i], NULL, dim);
    }
    OK(g->class->size(g->vae, false, in_dim + 1, tiling, size));
    assert_memory_equal(size, dim + 1, sizeof size);
    int64_t c = dim[4], out_dim[5] = {dim[0], dim[1], dim[2], dim[3], 2 * c};
    size_t n = video_count(dim);
    float *moments = run(g, false, PARA_F32, in, in_dim, tiling, out_dim), *got = malloc(2 * n * sizeof *got);
    para_diagonal_gaussian(moments, (int64_t)n / c, c, got, got + n);
    for (int i = 0; i < 2; i++) compare(g, folder, stage[i], got + (size_t)i * n, want[i], n, false);
    free(got), free(moments), free(want[1]), free(want[0]), free(in);
}

static void for_each(bool decode, para_dtype dtype) {
    for (int i = 0; i < NUM_CASES; i++) {
        video_vae_case g;
        const char *name;
        json_t *settings;
        video_vae_open(&g, CASES[i]);
        json_object_foreach(json_object_get(g.about.root, decode ? "decode" : "encode"), name, settings) {
            if (decode) decode_one(&g, CASES[i], name, settings, dtype);
            else encode_one(&g, CASES[i], name, settings);
        }
        video_vae_close(&g);
    }
}

static void decode_gives_the_pixels_of_diffusers(void **state) {
    (void)state;
    for_each(true, PARA_F32);
}

static void decode_in_bfloat16_stays_near(void **state) {
    (void)state;
    for_each(true, PARA_BF16);
}

static void encode_gives_the_distribution_of_diffusers(void **state) {
    (void)state;
    for_each(false, PARA_F32);
}

/* A run of each class with each of the project's allocations failing in turn: PARA_ERR_MEMORY, then the right result. Two ranks' worth of tiles is
 * tests/parallel's. */
static void failed_allocations_end_cleanly(void **state) {
    (void)state;
    static const struct {
        const char *folder, *name;
        bool decode;
    } runs[] = {{"video-vae-hunyuan", "frames", true},
                {"video-vae-mochi", "one_frame", false},
                {"video-vae-cogvideox", "batches", false}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        video_vae_case g;
        para_device *dev;
        para_weights *weights;
        para_tensor x, y;
        int64_t in_dim[5], out_dim[5];
        bool tiling;
        video_vae_open(&g, runs[i].folder);
        const json_t *settings =
            json_object_get(json_object_get(g.about.root, runs[i].decode ? "decode" : "encode"), runs[i].name);
        float *in = video_vae_input(&g, runs[i].decode, runs[i].name, settings, in_dim, &tiling);
        out_dim[0] = in_dim[0];
        OK(g.class->size(g.vae, runs[i].decode, in_dim + 1, tiling, out_dim + 1));
        out_dim[4] = g.class->channels(g.vae, runs[i].decode, false);
        OK(para_cpu_open(&dev, 1));
        OK(para_weights_open(&weights));
        g.class->weights(g.vae, weights, g.checkpoint, PARA_VAE_DECODER | PARA_VAE_ENCODER);
        OK(para_weights_load(weights, dev, g.checkpoint, PARA_F32));
        OK(para_device_reserve(dev, (size_t)64 << 20));
        OK(para_new(dev, &x, PARA_F32, 5, in_dim));
        OK(para_new(dev, &y, PARA_F32, 5, out_dim));
        OK(dev->ops->upload(dev, x, in));
        size_t mark = para_arena_mark(&dev->arena);
        long n = 1;
        for (bool reached = true; reached; n++) {
            para_alloc_fail_after(n);
            para_status status = g.class->run(g.vae, runs[i].decode, dev, NULL, x, tiling, y);
            reached = para_alloc_count() >= n;
            para_alloc_fail_after(0);
            if (reached) assert_int_equal(status, PARA_ERR_MEMORY);
            else OK(status);
            para_arena_release(&dev->arena, mark);
        }
        print_message("  %-24s %s %s: %ld allocations\n", runs[i].folder, runs[i].decode ? "decode" : "encode",
                      runs[i].name, n - 2);
        assert_true(n > 3);
        free(in);
        para_weights_close(&weights);
        para_device_close(&dev);
        video_vae_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_gives_the_pixels_of_diffusers),
        cmocka_unit_test(decode_in_bfloat16_stays_near),
        cmocka_unit_test(encode_gives_the_distribution_of_diffusers),
        cmocka_unit_test(failed_allocations_end_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
