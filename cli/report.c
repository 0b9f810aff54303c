/* The report of a generate run. SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cache_report.h"

long long peak_memory(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (long long)usage.ru_maxrss * 1024;
}

json_t *report_text(const char *text) {
    json_t *value = text ? json_string(text) : json_null();
    if (value) return value;
    char *copy = strdup(text);
    for (char *c = copy; c && *c; c++)
        if ((unsigned char)*c > 127) *c = '?';
    value = copy ? json_string(copy) : NULL;
    free(copy);
    return value;
}

static json_t *settings(const char *model, const request_options *o, const para_result *result) {
    const para_request *r = &o->request;
    const char *device = o->device.text ? o->device.text : "cpu";
    char seed[24]; /* a string: JSON readers round whole numbers of 64 bits */
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    return json_pack("{s:o, s:o, s:o, s:o, s:f, s:i, s:i, s:i, s:i, s:f, s:i, s:s, s:s, s:i, s:b, s:b, s:s, s:s, s:i}", "model",
                     report_text(model), "prompt", report_text(r->prompt), "prompt_2", report_text(r->prompt_2),
                     "negative_prompt", report_text(r->negative_prompt), "true_cfg_scale", (double)r->true_cfg_scale,
                     "width", result->width, "height", result->height, "num_frames", result->num_frames, "num_inference_steps",
                     r->num_inference_steps, "guidance_scale", (double)r->guidance_scale, "num_images", r->num_images,
                     "seed", seed, "rng", rng_choices[o->rng], "max_sequence_length", r->max_sequence_length,
                     "vae_tiling", r->vae_tiling, "use_dynamic_cfg", r->use_dynamic_cfg, "dtype", dtype_choices[o->dtype], "device", device,
                     "threads", o->threads);
}

/* {"linear": {"calls": 12, "seconds": 0.1}, …}; null where nothing was timed. */
static json_t *step_ops(const para_result *result) {
    json_t *ops = result->num_step_ops ? json_object() : json_null();
    for (int i = 0; i < result->num_step_ops; i++) {
        const para_op_time *o = &result->step_ops[i];
        json_object_set_new(ops, o->name, json_pack("{s:i, s:f}", "calls", o->calls, "seconds", o->seconds));
    }
    return ops;
}

para_status report_save(const char *path, json_t *report) {
    char *text = report ? json_dumps(report, JSON_INDENT(2)) : NULL;
    json_decref(report);
    if (!text) return PARA_ERR_MEMORY;
    para_status status = para_save_bytes(path, text, strlen(text));
    free(text);
    return status;
}

para_status report_write(const char *path, const char *model, const request_options *o, const para_result *result) {
    double step = result->denoise_seconds / o->request.num_inference_steps;
    json_t *report = json_pack(
        "{s:s, s:s, s:o, s:{s:f, s:f, s:f, s:f, s:f, s:f}, s:{s:I, s:I, s:I, s:I, s:I}, s:i, s:{s:i, s:i, s:i}, s:o, s:o}", "version",
        para_version(), "build", para_build_info(), "settings", settings(model, o, result), "seconds", "load",
        result->load_seconds, "text", result->text_seconds, "denoise", result->denoise_seconds, "step", step, "decode",
        result->decode_seconds, "exchange_wait", result->exchange_wait_seconds, "bytes", "peak_memory", (json_int_t)peak_memory(), "activations",
        (json_int_t)result->arena_bytes, "weights", (json_int_t)result->weight_bytes, "exchanged",
        (json_int_t)result->exchanged_bytes, "between_hosts", (json_int_t)result->between_hosts_bytes, "ranks", result->ranks, "mesh", "batch", result->batch, "ring",
        result->ring, "ulysses", result->ulysses, "cache", cache_report(&o->cache, result), "step_ops", step_ops(result));
    return report_save(path, report);
}
