/* The First Block Cache of a denoising loop. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/loop_cache.h"

#include <math.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"

static bool is_own(const para_loop_cache *c, int64_t index) {
    return index % c->batch.size == c->batch.index;
}

static para_status open_arrays(para_loop_cache *c) {
    size_t items = (size_t)c->items, steps = (size_t)c->run->request->num_inference_steps;
    c->slot = para_alloc(items, sizeof *c->slot);
    c->item = para_alloc(items, sizeof *c->item);
    c->recorded = para_alloc(items, sizeof *c->recorded);
    c->host = para_alloc(items, 2 * sizeof *c->host);
    c->record = para_alloc(items * steps, sizeof *c->record);
    return c->slot && c->item && c->recorded && c->host && c->record ? PARA_OK : PARA_ERR_MEMORY;
}

static para_status open_items(para_loop_cache *c, const para_conditioning *conditioning) {
    const para_transformer *t = para_run_transformer(c->run);
    for (int64_t i = 0; i < c->items; i++) {
        const para_conditioning *own = &conditioning[i % c->halves];
        if (!is_own(c, i)) continue;
        PARA_TRY(para_cache_slot_open(&c->cache, own, i % c->halves == PARA_UNCOND, &c->slot[i]));
        para_recorded *recorded = para_pipeline_records(c->run->pipe, &own->shard) ? &c->recorded[i] : NULL;
        if (c->joint) PARA_TRY(para_item_open(c->run->rank, t, own, recorded, &c->item[i]));
    }
    return c->joint ? PARA_NEW(c->run->rank->device, &c->sums, PARA_F32, c->items, 2) : PARA_OK;
}

para_status para_loop_cache_open(para_loop_cache *out, para_run *run, para_comm batch,
                                 const para_conditioning *conditioning) {
    const para_cache_options *o = &run->pipe->cache;
    *out = (para_loop_cache){.on = para_cache_is_on(o), .run = run, .batch = batch};
    if (!out->on) return PARA_OK;
    out->halves = para_request_halves(run->pipe, run->request);
    out->items = para_request_items(run->pipe, run->request);
    out->joint = o->joint && out->halves > 1 && o->residual_diff_threshold > 0;
    const para_conditioning *own = &conditioning[batch.index % out->halves];
    PARA_TRY(
        para_cache_open(&out->cache, o, run->rank, para_run_transformer(run), run->request->num_inference_steps, own));
    if (run->assume_hits) out->cache.assumed = 0;
    PARA_TRY(open_arrays(out));
    return open_items(out, conditioning);
}

void para_loop_cache_close(para_loop_cache *c) {
    for (int64_t i = 0; c->recorded && i < c->items; i++) para_recorded_close(&c->recorded[i], c->run->rank->device);
    para_cache_close(&c->cache);
    para_free(c->slot);
    para_free(c->item);
    para_free(c->recorded);
    para_free(c->host);
    para_free(c->record);
    *c = (para_loop_cache){0};
}

static para_loop_record *record_of(const para_loop_cache *c, int step, int64_t index) {
    return &c->record[step * c->items + index];
}

/* Every half of a picture gets the sums of all its halves. */
static void join_halves(para_loop_cache *c) {
    for (int64_t first = 0; first < c->items; first += c->halves) {
        float *sums = &c->host[2 * first];
        for (int i = 1; i < c->halves; i++) sums[0] += sums[2 * i], sums[1] += sums[2 * i + 1];
        for (int i = 1; i < c->halves; i++) sums[2 * i] = sums[0], sums[2 * i + 1] = sums[1];
    }
}

/* The first block of an item; its sums go to row `index` of all. */
static para_status begin_item(para_loop_cache *c, int step, int64_t index, para_tensor latents,
                              para_tensor model_input) {
    para_device *dev = c->run->rank->device;
    double start = para_seconds();
    para_tensor picture = PARA_RESHAPE(para_rows(latents, index / c->halves, 1), latents.dim[1], latents.dim[2]);
    PARA_TRY(dev->ops->copy(dev, model_input, picture));
    PARA_TRY(para_item_go_to(c->run->rank, &c->item[index], step));
    PARA_TRY(para_cache_begin(&c->cache, &c->slot[index], &c->item[index], model_input, para_rows(c->sums, index, 1)));
    record_of(c, step, index)->seconds = para_seconds() - start;
    return PARA_OK;
}

para_status para_loop_cache_begin_step(para_loop_cache *c, int step, para_tensor latents, para_tensor model_input) {
    if (!c->joint) return PARA_OK;
    para_device *dev = c->run->rank->device;
    bool measures = para_cache_measures(&c->cache, step);
    for (int64_t i = 0; i < 2 * c->items; i++) c->host[i] = 0; /* of items of other groups */
    PARA_TRY(dev->ops->upload(dev, c->sums, c->host));
    const para_trace *trace = dev->trace;
    for (int64_t i = 0; i < c->items; i++) {
        if (!is_own(c, i)) continue;
        dev->trace = step == 0 && i == 0 ? trace : NULL;
        para_status status = begin_item(c, step, i, latents, model_input);
        dev->trace = trace;
        PARA_TRY(status);
    }
    if (measures) {
        const para_mesh *m = &c->run->mesh;
        para_comm all = {c->run->rank, 0, 1, m->batch * m->ring * m->ulysses, c->run->rank->index};
        PARA_TRY(para_cache_sum_up(&c->cache, all, c->sums, c->host));
        join_halves(c);
    }
    for (int64_t i = 0; i < c->items; i++)
        if (is_own(c, i))
            record_of(c, step, i)->decision =
                para_cache_decide(&c->cache, &c->slot[i], measures ? &c->host[2 * i] : NULL);
    return PARA_OK;
}

para_status para_loop_cache_forward(para_loop_cache *c, int64_t index, para_item *item, para_tensor model_input,
                                    para_tensor output) {
    para_loop_record *r = record_of(c, item->step, index);
    double start = para_seconds();
    if (c->joint) PARA_TRY(para_cache_end(&c->cache, &c->slot[index], &c->item[index], r->decision.hit, output));
    else PARA_TRY(para_cache_forward(&c->cache, &c->slot[index], item, model_input, output, &r->decision));
    r->seconds += para_seconds() - start;
    return PARA_OK;
}

enum { DIFFERENCE, HIT, SECONDS, FIELDS };

/* Zero where another group fills in; a sum then has every group's. */
static para_status gather_records(para_loop_cache *c, float *host, int64_t n) {
    para_device *dev = c->run->rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor all;
    for (int64_t i = 0; i < n; i++) {
        const para_loop_record *r = &c->record[i];
        if (!is_own(c, i % c->items)) continue;
        host[i * FIELDS + DIFFERENCE] = r->decision.difference;
        host[i * FIELDS + HIT] = r->decision.hit;
        host[i * FIELDS + SECONDS] = (float)r->seconds;
    }
    PARA_TRY(PARA_NEW(dev, &all, PARA_F32, n, FIELDS));
    PARA_TRY(dev->ops->upload(dev, all, host));
    PARA_TRY(para_comm_all_reduce(c->batch, all));
    PARA_TRY(dev->ops->download(dev, host, &all));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static void fill_result(const para_loop_cache *c, const float *host, para_cache_step *steps, int n) {
    para_result *result = c->run->result;
    for (int i = 0; i < n; i++) {
        const float *r = &host[i * FIELDS];
        int item = (int)(i % c->items);
        steps[i] = (para_cache_step){.step = (int)(i / c->items),
                                     .picture = item / c->halves,
                                     .negative = item % c->halves == PARA_UNCOND,
                                     .difference = r[DIFFERENCE],
                                     .hit = r[HIT] > 0,
                                     .seconds = (double)r[SECONDS]};
        result->cache_hits += steps[i].hit;
    }
    result->cache_steps = steps;
    result->num_cache_steps = n;
}

/* A cache that does nothing must not do so silently. */
static void warn(const para_loop_cache *c) {
    const para_result *r = c->run->result;
    const para_cache_step *nearest = NULL, *odd = NULL;
    if (c->run->pipe->cache.residual_diff_threshold == 0) return;
    for (int i = 0; i < r->num_cache_steps; i++) {
        const para_cache_step *s = &r->cache_steps[i];
        if (!para_cache_measures(&c->cache, s->step)) continue;
        if (!isfinite(s->difference)) odd = s;
        else if (!nearest || s->difference < nearest->difference) nearest = s;
    }
    if (odd)
        para_pipeline_log(c->run->pipe, PARA_LOG_WARNING,
                          "the first block's residual was zero or not a number before step %d: there is nothing to "
                          "compare with, and no hit",
                          odd->step + 1);
    if (r->cache_hits == 0 && nearest)
        para_pipeline_log(
            c->run->pipe, PARA_LOG_WARNING,
            "the cache never hit: the smallest difference was %.4g, at step %d; a residual_diff_threshold "
            "(--cache) above that would have",
            (double)nearest->difference, nearest->step + 1);
}

para_status para_loop_cache_report(para_loop_cache *c) {
    if (!c->on) return PARA_OK;
    int64_t n = c->items * c->run->request->num_inference_steps;
    float *host = para_alloc((size_t)n, FIELDS * sizeof *host);
    para_status status = host ? gather_records(c, host, n) : PARA_ERR_MEMORY;
    para_cache_step *steps = NULL;
    if (status == PARA_OK && c->run->result && !(steps = para_alloc((size_t)n, sizeof *steps)))
        status = PARA_ERR_MEMORY;
    if (steps) {
        fill_result(c, host, steps, (int)n);
        warn(c);
    }
    para_free(host);
    return status;
}
