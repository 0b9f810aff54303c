/* A golden video VAE: its weights, what it is run on, and the comparison with diffusers. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_VIDEO_VAE_CASE_H
#define PARA_TESTS_VIDEO_VAE_CASE_H

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
#include "vae/autoencoder_kl_cogvideox.h"
#include "vae/autoencoder_kl_hunyuan_video.h"
#include "vae/autoencoder_kl_mochi.h"

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)

/* A class of VAEs behind one table; `vae` is its handle. */
typedef struct video_vae_class {
    const char *name; /* as diffusers has it */
    para_status (*open)(void **vae, const para_config *config);
    void (*close)(void **vae);
    void (*set_tiles)(void *vae, const json_t *tiles); /* NULL: diffusers' own */
    void (*weights)(void *vae, para_weights *list, const para_checkpoint *checkpoint, unsigned parts);
    para_status (*size)(const void *vae, bool decode, const int64_t in[3], bool tiling, int64_t out[3]);
    para_status (*run)(const void *vae, bool decode, para_device *dev, const para_comm *comm, para_tensor x,
                       bool tiling, para_tensor y);
    int64_t (*channels)(const void *vae, bool decode, bool in);
    para_status (*decode_frames)(const void *vae, para_device *dev, const para_comm *comm, para_tensor x, bool tiling,
                                 const para_vae_sink *sink);
} video_vae_class;

static inline int64_t tile_int(const json_t *tiles, const char *key, int64_t otherwise) {
    const json_t *v = json_object_get(tiles, key);
    return v ? json_integer_value(v) : otherwise;
}

static inline para_status hunyuan_open(void **vae, const para_config *config) {
    return para_autoencoder_kl_hunyuan_video_open((para_autoencoder_kl_hunyuan_video **)vae, config);
}
static inline void hunyuan_close(void **vae) {
    para_autoencoder_kl_hunyuan_video_close((para_autoencoder_kl_hunyuan_video **)vae);
}
static inline void hunyuan_tiles(void *vae, const json_t *t) {
    *para_autoencoder_kl_hunyuan_video_tiles(vae) = (para_video_tiles){
        tile_int(t, "tile_sample_min_height", 256),    tile_int(t, "tile_sample_min_width", 256),
        tile_int(t, "tile_sample_min_num_frames", 16), tile_int(t, "tile_sample_stride_height", 192),
        tile_int(t, "tile_sample_stride_width", 192),  tile_int(t, "tile_sample_stride_num_frames", 12)};
}
static inline void hunyuan_weights(void *vae, para_weights *list, const para_checkpoint *checkpoint, unsigned parts) {
    para_autoencoder_kl_hunyuan_video_weights(vae, list, checkpoint, parts);
}
static inline para_status hunyuan_size(const void *vae, bool decode, const int64_t in[3], bool tiling, int64_t out[3]) {
    return decode ? para_autoencoder_kl_hunyuan_video_decoded_size(vae, in, tiling, out)
                  : para_autoencoder_kl_hunyuan_video_encoded_size(vae, in, tiling, out);
}
static inline para_status hunyuan_run(const void *vae, bool decode, para_device *dev, const para_comm *comm,
                                      para_tensor x, bool tiling, para_tensor y) {
    return decode ? para_autoencoder_kl_hunyuan_video_decode(vae, dev, comm, x, tiling, y)
                  : para_autoencoder_kl_hunyuan_video_encode(vae, dev, comm, x, tiling, y);
}
static inline para_status hunyuan_frames(const void *vae, para_device *dev, const para_comm *comm, para_tensor x,
                                         bool tiling, const para_vae_sink *sink) {
    return para_autoencoder_kl_hunyuan_video_decode_frames(vae, dev, comm, x, tiling, sink);
}
static inline int64_t hunyuan_channels(const void *vae, bool decode, bool in) {
    const para_autoencoder_kl_hunyuan_video_config *c = para_autoencoder_kl_hunyuan_video_settings(vae);
    return decode ? (in ? c->latent_channels : c->out_channels) : in ? c->in_channels : 2 * c->latent_channels;
}

static inline para_status mochi_open(void **vae, const para_config *config) {
    return para_autoencoder_kl_mochi_open((para_autoencoder_kl_mochi **)vae, config);
}
static inline void mochi_close(void **vae) {
    para_autoencoder_kl_mochi_close((para_autoencoder_kl_mochi **)vae);
}
static inline void mochi_tiles(void *vae, const json_t *t) {
    *para_autoencoder_kl_mochi_tiles(vae) =
        (para_mochi_tiles){tile_int(t, "tile_sample_min_height", 256), tile_int(t, "tile_sample_min_width", 256),
                           tile_int(t, "tile_sample_stride_height", 192), tile_int(t, "tile_sample_stride_width", 192)};
}
static inline void mochi_weights(void *vae, para_weights *list, const para_checkpoint *checkpoint, unsigned parts) {
    (void)checkpoint;
    para_autoencoder_kl_mochi_weights(vae, list, parts);
}
static inline para_status mochi_size(const void *vae, bool decode, const int64_t in[3], bool tiling, int64_t out[3]) {
    return decode ? para_autoencoder_kl_mochi_decoded_size(vae, in, tiling, out)
                  : para_autoencoder_kl_mochi_encoded_size(vae, in, tiling, out);
}
static inline para_status mochi_run(const void *vae, bool decode, para_device *dev, const para_comm *comm,
                                    para_tensor x, bool tiling, para_tensor y) {
    return decode ? para_autoencoder_kl_mochi_decode(vae, dev, comm, x, tiling, y)
                  : para_autoencoder_kl_mochi_encode(vae, dev, comm, x, tiling, y);
}
static inline para_status mochi_frames(const void *vae, para_device *dev, const para_comm *comm, para_tensor x,
                                         bool tiling, const para_vae_sink *sink) {
    return para_autoencoder_kl_mochi_decode_frames(vae, dev, comm, x, tiling, sink);
}
static inline int64_t mochi_channels(const void *vae, bool decode, bool in) {
    const para_autoencoder_kl_mochi_config *c = para_autoencoder_kl_mochi_settings(vae);
    return decode ? (in ? c->latent_channels : c->out_channels) : in ? c->in_channels / 5 : 2 * c->latent_channels;
}

static inline para_status cogvideox_open(void **vae, const para_config *config) {
    return para_autoencoder_kl_cogvideox_open((para_autoencoder_kl_cogvideox **)vae, config);
}
static inline void cogvideox_close(void **vae) {
    para_autoencoder_kl_cogvideox_close((para_autoencoder_kl_cogvideox **)vae);
}
static inline void cogvideox_tiles(void *vae, const json_t *t) {
    const para_autoencoder_kl_cogvideox_config *c = para_autoencoder_kl_cogvideox_settings(vae);
    para_cogvideox_tiles *tiles = para_autoencoder_kl_cogvideox_tiles(vae);
    if (!t) assert_true(tiles->min_height == c->sample_height / 2 && tiles->min_width == c->sample_width / 2);
    else
        *tiles =
            (para_cogvideox_tiles){tile_int(t, "tile_sample_min_height", 0), tile_int(t, "tile_sample_min_width", 0),
                                   json_number_value(json_object_get(t, "tile_overlap_factor_height")),
                                   json_number_value(json_object_get(t, "tile_overlap_factor_width"))};
}
static inline void cogvideox_weights(void *vae, para_weights *list, const para_checkpoint *checkpoint, unsigned parts) {
    (void)checkpoint;
    para_autoencoder_kl_cogvideox_weights(vae, list, parts);
}
static inline para_status cogvideox_size(const void *vae, bool decode, const int64_t in[3], bool tiling,
                                         int64_t out[3]) {
    return decode ? para_autoencoder_kl_cogvideox_decoded_size(vae, in, tiling, out)
                  : para_autoencoder_kl_cogvideox_encoded_size(vae, in, tiling, out);
}
static inline para_status cogvideox_run(const void *vae, bool decode, para_device *dev, const para_comm *comm,
                                        para_tensor x, bool tiling, para_tensor y) {
    return decode ? para_autoencoder_kl_cogvideox_decode(vae, dev, comm, x, tiling, y)
                  : para_autoencoder_kl_cogvideox_encode(vae, dev, comm, x, tiling, y);
}
static inline para_status cogvideox_frames(const void *vae, para_device *dev, const para_comm *comm, para_tensor x,
                                         bool tiling, const para_vae_sink *sink) {
    return para_autoencoder_kl_cogvideox_decode_frames(vae, dev, comm, x, tiling, sink);
}
static inline int64_t cogvideox_channels(const void *vae, bool decode, bool in) {
    const para_autoencoder_kl_cogvideox_config *c = para_autoencoder_kl_cogvideox_settings(vae);
    return decode ? (in ? c->latent_channels : c->out_channels) : in ? c->in_channels : 2 * c->latent_channels;
}

static const video_vae_class video_vae_classes[] = {
    {"AutoencoderKLHunyuanVideo", hunyuan_open, hunyuan_close, hunyuan_tiles, hunyuan_weights, hunyuan_size,
     hunyuan_run, hunyuan_channels, hunyuan_frames},
    {"AutoencoderKLCogVideoX", cogvideox_open, cogvideox_close, cogvideox_tiles, cogvideox_weights, cogvideox_size,
     cogvideox_run, cogvideox_channels, cogvideox_frames},
    {"AutoencoderKLMochi", mochi_open, mochi_close, mochi_tiles, mochi_weights, mochi_size, mochi_run, mochi_channels,
     mochi_frames},
};

/* A folder of tests/golden. */
typedef struct video_vae_case {
    const video_vae_class *class;
    para_config config, about; /* vae/config.json, case.json */
    para_checkpoint *checkpoint;
    para_safetensors *reference;
    void *vae;
} video_vae_case;

static inline void video_vae_open(video_vae_case *g, const char *name) {
    char path[512];
    const char *class;
    *g = (video_vae_case){0};
    snprintf(path, sizeof path, PARA_SOURCE_DIR "/tests/golden/%s/vae/config.json", name);
    OK(para_config_read(&g->config, path));
    snprintf(path, sizeof path, PARA_SOURCE_DIR "/tests/golden/%s/case.json", name);
    OK(para_config_read(&g->about, path));
    snprintf(path, sizeof path, PARA_SOURCE_DIR "/tests/golden/%s/vae", name);
    OK(para_checkpoint_open(&g->checkpoint, path));
    snprintf(path, sizeof path, PARA_SOURCE_DIR "/tests/golden/%s/reference.safetensors", name);
    OK(para_safetensors_open(&g->reference, path));
    OK(para_config_string(&g->about, "class", NULL, &class));
    for (size_t i = 0; i < sizeof video_vae_classes / sizeof *video_vae_classes; i++)
        if (strcmp(class, video_vae_classes[i].name) == 0) g->class = &video_vae_classes[i];
    assert_non_null(g->class);
    OK(g->class->open(&g->vae, &g->config));
}

static inline void video_vae_close(video_vae_case *g) {
    g->class->close(&g->vae);
    para_safetensors_close(&g->reference);
    para_checkpoint_close(&g->checkpoint);
    para_config_close(&g->about);
    para_config_close(&g->config);
}

static inline size_t video_count(const int64_t dim[5]) {
    return (size_t)(dim[0] * dim[1] * dim[2] * dim[3] * dim[4]);
}

/* The first `cut` frames, rows and columns (NULL: all) of the stage [n, C, F, H, W], channels last, in malloc memory; dim becomes [n, F, H, W, C]. */
static inline float *video_stage(const video_vae_case *g, const char *name, const int64_t *cut, int64_t dim[5]) {
    int64_t i = para_safetensors_find(g->reference, name);
    if (i < 0) fail_msg("no stage %s", name);
    para_tensor t = para_safetensors_tensor(g->reference, i);
    assert_true(t.dtype == PARA_F32 && t.rank == 5);
    t = PARA_PERMUTE(t, 0, 2, 3, 4, 1);
    for (int k = 0; cut && k < 3; k++) t = para_slice(t, 1 + k, 0, cut[k]);
    memcpy(dim, t.dim, 5 * sizeof *dim);
    float *out = malloc(video_count(dim) * sizeof *out);
    for (size_t at = 0; at < video_count(dim); at++) {
        int64_t from = 0, rest = (int64_t)at;
        for (int k = 4; k >= 0; rest /= dim[k--]) from += rest % dim[k] * t.stride[k];
        out[at] = ((const float *)t.data)[from];
    }
    return out;
}

/* Prepares one run: what goes in, in malloc memory, its size, and whether tiling is on. */
static inline float *video_vae_input(video_vae_case *g, bool decode, const char *name, const json_t *run, int64_t in[5],
                                     bool *tiling) {
    char stage[128];
    int64_t cut[3] = {0};
    for (size_t k = 0; k < 3; k++) cut[k] = json_integer_value(json_array_get(json_object_get(run, "cut"), k));
    snprintf(stage, sizeof stage, decode ? "latents.%s" : "decode.%s",
             decode ? name : json_string_value(json_object_get(run, "video")));
    g->class->set_tiles(g->vae, json_object_get(run, "tiles"));
    *tiling = json_is_true(json_object_get(run, "tiling"));
    return video_stage(g, stage, decode ? NULL : cut, in);
}

static inline double video_relative(const float *got, const float *want, size_t n) {
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - want[i];
        error += d * d, size += (double)want[i] * want[i];
    }
    return sqrt(error / size);
}

#endif
