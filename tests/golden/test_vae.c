/* AutoencoderKL against diffusers: decode and encode of every golden folder, whole and tiled.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/float.h"
#include "io/safetensors.h"
#include "vae/autoencoder_kl.h"

#define FOLDER PARA_SOURCE_DIR "/tests/golden/"

static const char *const CASES[] = {"flux-dev", "flux-schnell", "flux-odd", "flux-long", "flux-cfg"};
enum { NUM_CASES = sizeof CASES / sizeof *CASES };

/* Relative L2 of 1e-5, or four times the reference's own spread. Measured: pixels 1.7e-7 to 3.5e-7, moments 0.8e-6
 * to 1.6e-6, of which 0.7e-6 to 1.5e-6 are the reference's own, against float64. */
static const double BOUND = 1e-5, SPREADS = 4;
/* Largest error of a pixel in 0..1. Measured: 1.2e-6. */
static const double PIXEL_BOUND = 1e-3;

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)

typedef struct golden {
    para_config config, about;
    para_checkpoint *checkpoint;
    para_safetensors *reference;
    para_autoencoder_kl *vae;
    bool tiling;
} golden;

static void golden_open(golden *g, const char *name) {
    char path[512];
    snprintf(path, sizeof path, FOLDER "%s/vae/config.json", name);
    OK(para_config_read(&g->config, path));
    snprintf(path, sizeof path, FOLDER "%s/case.json", name);
    OK(para_config_read(&g->about, path));
    snprintf(path, sizeof path, FOLDER "%s/vae", name);
    OK(para_checkpoint_open(&g->checkpoint, path));
    snprintf(path, sizeof path, FOLDER "%s/reference.safetensors", name);
    OK(para_safetensors_open(&g->reference, path));
    OK(para_autoencoder_kl_open(&g->vae, &g->config));
    OK(para_config_bool(&g->about, "vae_tiling", false, &g->tiling));
}

static void golden_close(golden *g) {
    para_autoencoder_kl_close(&g->vae);
    para_safetensors_close(&g->reference);
    para_checkpoint_close(&g->checkpoint);
    para_config_close(&g->about);
    para_config_close(&g->config);
}

static double bound_of(const golden *g, const char *stage) {
    double spread = json_number_value(json_object_get(json_object_get(g->about.root, "spread"), stage));
    return fmax(BOUND, SPREADS * spread);
}

/* The stage [n, C, h, w] channels last, in malloc memory; dim becomes [n, h, w, C]. */
static float *stage_of(const golden *g, const char *name, int64_t dim[4]) {
    int64_t i = para_safetensors_find(g->reference, name);
    assert_true(i >= 0);
    para_tensor t = para_safetensors_tensor(g->reference, i);
    assert_true(t.dtype == PARA_F32 && t.rank == 4);
    const float *x = t.data;
    int64_t n = t.dim[0], c = t.dim[1], h = t.dim[2], w = t.dim[3];
    float *out = malloc((size_t)(n * c * h * w) * sizeof *out);
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < c; b++)
            for (int64_t p = 0; p < h * w; p++) out[(a * h * w + p) * c + b] = x[(a * c + b) * h * w + p];
    memcpy(dim, (int64_t[]){n, h, w, c}, 4 * sizeof *dim);
    return out;
}

/* Runs one half on a device whose arena is as large as the dry run says, in `dtype`; the result as F32 in
 * malloc memory. */
static float *run(golden *g, bool decode, para_dtype dtype, const float *in, const int64_t *in_dim,
                  const int64_t *out_dim) {
    para_device *devices[2];
    OK(para_dry_open(&devices[0]));
    OK(para_cpu_open(&devices[1], 2));
    devices[0]->threads = devices[1]->threads;
    size_t peak = 0, in_n = (size_t)(in_dim[0] * in_dim[1] * in_dim[2] * in_dim[3]),
           out_n = (size_t)(out_dim[0] * out_dim[1] * out_dim[2] * out_dim[3]);
    float *result = malloc(out_n * sizeof *result);
    void *host = malloc((in_n > out_n ? in_n : out_n) * sizeof(float));
    for (int d = 0; d < 2; d++) {
        para_device *dev = devices[d];
        para_weights *weights;
        para_tensor x, y;
        OK(para_weights_open(&weights));
        para_autoencoder_kl_weights(g->vae, weights, g->checkpoint, decode ? PARA_VAE_DECODER : PARA_VAE_ENCODER);
        OK(para_weights_load(weights, dev, g->checkpoint, PARA_F32));
        if (d) OK(para_device_reserve(dev, peak));
        OK(para_new(dev, &x, dtype, 4, in_dim));
        OK(para_new(dev, &y, dtype, 4, out_dim));
        para_floats_from_f32(host, dtype, in, (int64_t)in_n);
        OK(dev->ops->upload(dev, x, host));
        size_t mark = para_arena_mark(&dev->arena);
        OK((decode ? para_autoencoder_kl_decode : para_autoencoder_kl_encode)(g->vae, dev, NULL, x, g->tiling, y));
        assert_int_equal(para_arena_mark(&dev->arena), mark);
        if (d) assert_int_equal(dev->arena.peak, peak); /* the dry run foresees every byte */
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

static double relative(const float *got, const float *want, int64_t n, double *worst) {
    double error = 0, size = 0;
    *worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)got[i] - want[i];
        error += d * d, size += (double)want[i] * want[i];
        *worst = fmax(*worst, fabs(d));
    }
    return sqrt(error / size);
}

static void check(const golden *g, const char *name, const char *stage, const float *got, const float *want, int64_t n,
                  double scale) {
    double worst, error = relative(got, want, n, &worst), bound = scale * bound_of(g, stage);
    print_message("  %-14s %-18s relative L2 %.2e (bound %.2e), largest %.2e\n", name, stage, error, bound, worst);
    assert_true(error <= bound);
}

/* images = decoded · 0.5 + 0.5 */
static float *decoded_images(golden *g, para_dtype dtype, float **want, int64_t *count) {
    int64_t z_dim[4], image_dim[4], h, w;
    float *z = stage_of(g, "vae.decode.in", z_dim);
    *want = stage_of(g, "images", image_dim);
    OK(para_autoencoder_kl_decoded_size(g->vae, z_dim[1], z_dim[2], g->tiling, &h, &w));
    assert_true(h == image_dim[1] && w == image_dim[2]);
    *count = image_dim[0] * image_dim[1] * image_dim[2] * image_dim[3];
    float *got = run(g, true, dtype, z, z_dim, image_dim);
    for (int64_t i = 0; i < *count; i++) got[i] = got[i] * 0.5f + 0.5f;
    free(z);
    return got;
}

static void decode_gives_the_pixels_of_diffusers(void **state) {
    (void)state;
    for (int i = 0; i < NUM_CASES; i++) {
        golden g = {0};
        golden_open(&g, CASES[i]);
        float *want;
        int64_t count;
        double worst;
        float *got = decoded_images(&g, PARA_F32, &want, &count);
        check(&g, CASES[i], "images", got, want, count, 1);
        relative(got, want, count, &worst);
        assert_true(worst <= PIXEL_BOUND);
        free(got), free(want);
        golden_close(&g);
    }
}

/* Activations in bfloat16, accumulated in float32: measured 0.19 % to 0.40 % of the pixels' norm. */
static void decode_in_bfloat16_stays_near(void **state) {
    (void)state;
    for (int i = 0; i < NUM_CASES; i++) {
        golden g = {0};
        golden_open(&g, CASES[i]);
        float *want;
        int64_t count;
        double worst;
        float *got = decoded_images(&g, PARA_BF16, &want, &count);
        double error = relative(got, want, count, &worst);
        print_message("  %-14s images in BF16: relative L2 %.2e, largest %.2e\n", CASES[i], error, worst);
        assert_true(error <= 1e-2);
        free(got), free(want);
        golden_close(&g);
    }
}

static void encode_gives_the_distribution_of_diffusers(void **state) {
    (void)state;
    for (int i = 0; i < NUM_CASES; i++) {
        golden g = {0};
        golden_open(&g, CASES[i]);
        int64_t image_dim[4], z_dim[4], h, w;
        float *image = stage_of(&g, "vae.encode.in", image_dim);
        float *mean = stage_of(&g, "vae.encode.mean", z_dim), *logvar = stage_of(&g, "vae.encode.logvar", z_dim);
        OK(para_autoencoder_kl_encoded_size(g.vae, image_dim[1], image_dim[2], g.tiling, &h, &w));
        assert_true(h == z_dim[1] && w == z_dim[2]);
        int64_t pixels = z_dim[0] * h * w, c = z_dim[3], count = pixels * c;
        float *moments = run(&g, false, PARA_F32, image, image_dim, (int64_t[]){z_dim[0], h, w, 2 * c});
        float *got = malloc((size_t)(2 * count) * sizeof *got);
        para_diagonal_gaussian(moments, pixels, c, got, got + count);
        check(&g, CASES[i], "vae.encode.mean", got, mean, count, 1);
        check(&g, CASES[i], "vae.encode.logvar", got + count, logvar, count, 1);
        free(got), free(moments), free(logvar), free(mean), free(image);
        golden_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_gives_the_pixels_of_diffusers),
        cmocka_unit_test(decode_in_bfloat16_stays_near),
        cmocka_unit_test(encode_gives_the_distribution_of_diffusers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
