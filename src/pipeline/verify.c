/* Many ranks against one. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/verify.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/float.h"
#include "pipeline/plan.h"

enum { CHUNK = 4096 };

/* A result of the first run. Names come again, picture by picture: the n-th of one run belongs to the n-th of the other. */
typedef struct kept_stage {
    char name[64];
    para_dtype dtype;
    int64_t values;
    void *data; /* NULL once it was compared */
} kept_stage;

typedef struct verification {
    para_pipeline *pipe;
    const para_verify_options *options;
    para_verify_report *report;
    kept_stage *kept;
    int count, room;
} verification;

/* ---- The first run: keep */

/* A stage's values on the host, contiguous; the caller's (para_free). */
static para_status fetch(para_device *dev, const para_tensor *t, void **out) {
    size_t bytes = (size_t)para_tensor_count(t) * para_dtype_size(t->dtype);
    para_tensor packed = para_tensor_make(t->data, t->dtype, t->rank, t->dim);
    bool copy = !para_tensor_contiguous(t);
    *out = para_alloc(bytes ? bytes : 1, 1);
    if (!*out) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    if (copy) status = dev->ops->alloc(dev, bytes, &packed.data);
    if (copy && status == PARA_OK) status = dev->ops->copy(dev, packed, *t);
    if (status == PARA_OK) status = dev->ops->download(dev, *out, &packed);
    if (copy && packed.data) dev->ops->free(dev, packed.data);
    if (status == PARA_OK) return PARA_OK;
    para_free(*out);
    *out = NULL;
    return status;
}

static para_status keep_values(verification *v, const char *name, para_dtype dtype, int64_t n, void *data) {
    if (v->count == v->room) {
        int room = v->room ? 2 * v->room : 64;
        kept_stage *grown = para_realloc(v->kept, (size_t)room, sizeof *grown);
        if (!grown) {
            para_free(data);
            return PARA_ERR_MEMORY;
        }
        v->kept = grown;
        v->room = room;
    }
    kept_stage *k = &v->kept[v->count++];
    *k = (kept_stage){.dtype = dtype, .values = n, .data = data};
    snprintf(k->name, sizeof k->name, "%s", name);
    v->report->stored_bytes += n * (int64_t)para_dtype_size(dtype);
    return PARA_OK;
}

static para_device *leading_device(const verification *v) {
    return v->pipe->world->worker[0].rank.device;
}

static para_status keep(void *user, const char *name, const para_tensor *t) {
    verification *v = user;
    void *data;
    PARA_TRY(fetch(leading_device(v), t, &data));
    return keep_values(v, name, t->dtype, para_tensor_count(t), data);
}

/* ---- The second run: compare */

/* Largest relative L2 that rounding explains: some four times the largest that was measured, over the golden configs on every mesh of 2 to 8 ranks
 * (tests/parallel/test_verify.c, PARA_FULL=1: F32 6.2e-7, BF16 4.8e-3) and tiny-flux with 28 steps (3.9e-6, 5.4e-3). Heads that are swapped or a
 * tenth of the keys that is missing give 3e-2 and more. */
static double bound_of(para_dtype activations) {
    return activations == PARA_F32 ? 2e-5 : 2e-2;
}

static void measure(const kept_stage *k, para_dtype dtype, const void *values, para_verify_stage *out) {
    float a[CHUNK], b[CHUNK];
    double difference = 0, norm = 0, largest = 0;
    for (int64_t at = 0; at < k->values; at += CHUNK) {
        int64_t n = k->values - at < CHUNK ? k->values - at : CHUNK;
        para_floats_to_f32(a, (const char *)k->data + at * (int64_t)para_dtype_size(k->dtype), k->dtype, n);
        para_floats_to_f32(b, (const char *)values + at * (int64_t)para_dtype_size(dtype), dtype, n);
        for (int64_t i = 0; i < n; i++) {
            double d = fabs((double)a[i] - (double)b[i]);
            difference += d * d;
            norm += (double)b[i] * (double)b[i];
            if (!(d <= largest)) largest = d;
        }
    }
    out->values = k->values;
    out->max_difference = largest;
    out->relative_l2 = difference == 0 ? 0 : sqrt(difference / norm);
    out->psnr = -10 * log10(difference / (double)k->values);
}

static para_status differ(const char *name, const char *what) {
    return para_fail(PARA_ERR_STATE, "the run on one rank has %s '%s'; the two runs cannot be compared", what, name);
}

static para_status compare_values(verification *v, const char *name, para_dtype dtype, int64_t n, const void *values) {
    kept_stage *k = NULL;
    for (int i = 0; i < v->count && !k; i++)
        if (v->kept[i].data && strcmp(v->kept[i].name, name) == 0) k = &v->kept[i];
    if (!k) return differ(name, "one more stage");
    if (k->values != n) return differ(name, "another size of stage");
    para_verify_stage s = {.name = k->name, .bound = bound_of(v->pipe->options.dtype)};
    measure(k, dtype, values, &s);
    if (strcmp(name, "images") != 0) s.psnr = NAN;
    s.within = s.relative_l2 <= s.bound;
    para_free(k->data);
    k->data = NULL;
    para_verify_report *r = v->report;
    r->stages++;
    r->beyond += !s.within;
    if (!(s.relative_l2 / s.bound <= r->worst_ratio)) {
        r->worst_ratio = s.relative_l2 / s.bound;
        snprintf(r->worst, sizeof r->worst, "%s", s.name);
    }
    if (v->options->on_stage) v->options->on_stage(v->options->user, &s);
    return PARA_OK;
}

static para_status compare(void *user, const char *name, const para_tensor *t) {
    verification *v = user;
    void *data;
    PARA_TRY(fetch(leading_device(v), t, &data));
    para_status status = compare_values(v, name, t->dtype, para_tensor_count(t), data);
    para_free(data);
    return status;
}

/* ---- Both */

/* One run with its stages given to `fn` and, on process 0, its pictures as the last. */
static para_status run(verification *v, const para_request *request,
                       para_status (*fn)(void *user, const char *name, const para_tensor *t), para_result **out) {
    para_trace trace = {fn, v};
    const para_trace *before = v->pipe->trace;
    v->pipe->trace = &trace;
    para_status status = para_generate(v->pipe, request, out);
    v->pipe->trace = before;
    return status;
}

/* The stages of a run on one rank are those of any. */
static para_status say_memory(const verification *v, const para_request *request) {
    para_plan_subject s;
    para_dry_result dry;
    if (para_world_process(v->pipe->world) != 0) return PARA_OK;
    PARA_TRY(para_plan_subject_open(v->pipe, request, &s));
    const para_dry_rank alone = {.size = 1, .like = s.like};
    PARA_TRY(para_dry_run(v->pipe, &s.request, &s.geometry, &(para_mesh){1, 1, 1}, alone, &dry));
    int64_t pixels = (int64_t)s.request.num_images * s.geometry.num_frames * 3 * s.geometry.height * s.geometry.width;
    para_pipeline_log(v->pipe, PARA_LOG_INFO, "%.1f MB of memory keep the results of the first run for the comparison",
                      (double)(dry.stage_bytes + pixels * (int64_t)sizeof(float)) / 1e6);
    return PARA_OK;
}

static para_status on_mesh(verification *v, const para_request *request) {
    para_result *result;
    PARA_TRY(run(v, request, keep, &result));
    if (!result) return PARA_OK;
    para_verify_report *r = v->report;
    r->ranks = result->ranks;
    r->batch = result->batch;
    r->ring = result->ring;
    r->ulysses = result->ulysses;
    r->mesh_seconds = result->denoise_seconds;
    r->exchanged_bytes = result->exchanged_bytes;
    para_tensor images = result->images;
    result->images.data = NULL; /* it is kept */
    para_result_close(&result);
    return keep_values(v, "images", images.dtype, para_tensor_count(&images), images.data);
}

/* As if the pipeline had never been parallelized; tiles, which parallel decoding turns on, stay. */
static para_status on_one_rank(verification *v, const para_request *request) {
    para_pipeline *pipe = v->pipe;
    para_request alone = *request;
    para_result *result;
    bool parallel = pipe->parallel, parallel_vae = pipe->parallel_vae, told = pipe->told_alone;
    alone.vae_tiling = request->vae_tiling || parallel_vae;
    pipe->parallel = pipe->parallel_vae = false;
    pipe->told_alone = true;
    para_status status = run(v, &alone, compare, &result);
    pipe->parallel = parallel;
    pipe->parallel_vae = parallel_vae;
    pipe->told_alone = told;
    if (status != PARA_OK || !result) return status;
    v->report->one_rank_seconds = result->denoise_seconds;
    status = compare_values(v, "images", result->images.dtype, para_tensor_count(&result->images), result->images.data);
    para_result_close(&result);
    return status;
}

static para_status check_all_compared(const verification *v) {
    for (int i = 0; i < v->count; i++)
        if (v->kept[i].data) return differ(v->kept[i].name, "no stage");
    return PARA_OK;
}

para_status para_verify(para_pipeline *pipe, const para_request *request, const para_verify_options *options,
                        para_verify_report *report) {
    para_verify_options o = PARA_VERIFY_OPTIONS_INIT;
    if (options) o = *options;
    if (!pipe || !report || o.size != sizeof o)
        return para_fail(PARA_ERR_ARGUMENT, "para_verify: a pipeline and a report are needed, and options that start "
                                            "from PARA_VERIFY_OPTIONS_INIT");
    *report = (para_verify_report){0};
    if (!request) return para_fail(PARA_ERR_ARGUMENT, "para_verify: the request is NULL");
    verification v = {.pipe = pipe, .options = &o, .report = report};
    para_request kept = *request;
    kept.on_frame = NULL; /* frames are compared, not handed out */
    para_status status = say_memory(&v, &kept);
    if (status == PARA_OK) status = on_mesh(&v, &kept);
    if (status == PARA_OK) status = on_one_rank(&v, &kept);
    if (status == PARA_OK) status = check_all_compared(&v);
    for (int i = 0; i < v.count; i++) para_free(v.kept[i].data);
    para_free(v.kept);
    return status;
}
