/* Random numbers in the place of a checkpoint. SPDX-License-Identifier: Apache-2.0 */
#include "backend/random_weights.h"

#include <string.h>

#include "core/alloc.h"
#include "core/float.h"
#include "core/rng.h"

enum {
    MAX_PERIOD = 32 << 20, /* drawn in less than a second; a GPU's power does not tell it from more */
    UNIT = 128,            /* elements that places are multiples of: any back end's vector loads */
    CHUNK = 4096,
};

static const float deviation = 0.02f; /* as in checkpoints: a layer of some thousand inputs keeps its values' size */

static void draw(void *out, para_dtype type, int64_t n, float mean, para_rng *rng) {
    float chunk[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t count = n - at < CHUNK ? n - at : CHUNK;
        para_rng_normal(rng, chunk, PARA_F32, count);
        for (int64_t i = 0; i < count; i++) chunk[i] = mean + deviation * chunk[i];
        para_floats_from_f32((char *)out + at * (int64_t)para_dtype_size(type), type, chunk, count);
    }
}

static para_status draw_stretch(para_random_stretch *out, para_dtype type, int64_t total, int64_t largest, float mean,
                                para_rng *rng) {
    out->period = total < MAX_PERIOD ? (total + UNIT - 1) / UNIT * UNIT : MAX_PERIOD;
    size_t size = para_dtype_size(type), period = (size_t)out->period * size, bytes = period + (size_t)largest * size;
    char *values = out->values = para_alloc_aligned(bytes);
    if (!values) return PARA_ERR_MEMORY;
    draw(values, type, out->period, mean, rng);
    for (size_t at = period; at < bytes; at += period)
        memcpy(values + at, values, bytes - at < period ? bytes - at : period);
    return PARA_OK;
}

para_status para_random_weights_open(para_random_weights *out, para_dtype type, int64_t total, int64_t largest,
                                     int64_t largest_scale) {
    *out = (para_random_weights){.type = type};
    para_rng *rng = para_alloc(1, sizeof *rng);
    para_status status = rng ? PARA_OK : PARA_ERR_MEMORY;
    if (rng) para_rng_seed(rng, PARA_RNG_CPU, 0);
    if (status == PARA_OK) status = draw_stretch(&out->other, type, total, largest, 0, rng);
    if (status == PARA_OK) status = draw_stretch(&out->scales, type, 4 * largest_scale + UNIT, largest_scale, 1, rng);
    para_free(rng);
    if (status != PARA_OK) para_random_weights_close(out);
    return status;
}

void para_random_weights_close(para_random_weights *r) {
    para_free(r->other.values);
    para_free(r->scales.values);
    *r = (para_random_weights){0};
}

void *para_random_weights_at(const para_random_weights *r, size_t i, bool scale) {
    const para_random_stretch *s = scale ? &r->scales : &r->other;
    uint64_t scattered = (uint64_t)i * UINT64_C(11400714819323198485) >> 8;
    return (char *)s->values + scattered % (uint64_t)(s->period / UNIT) * UNIT * para_dtype_size(r->type);
}
