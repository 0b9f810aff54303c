/* Opening, loading, running and closing pipelines. SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/path.h"
#include "pipeline/pipeline_state.h"
#include "pipeline/plan.h"

static const para_family *const families[] = {&para_flux_family};

static para_status find_family(const para_config *index, const para_family **out) {
    const char *name;
    PARA_TRY(para_config_string(index, "_class_name", "", &name));
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strcmp(name, families[i]->class_name) == 0) {
            *out = families[i];
            return PARA_OK;
        }
    }
    return para_fail(PARA_ERR_CONFIG, "%s: _class_name \"%s\" is not supported; this version runs FluxPipeline",
                     index->path, name);
}

/* model_index.json names each component's library and class: ["diffusers", "AutoencoderKL"]. `also` is another name of the class, or NULL. */
static para_status check_entry(const para_config *index, const char *name, const char *class_name, const char *also) {
    const json_t *entry = json_object_get(index->root, name);
    const char *named = json_string_value(json_array_get(entry, 1));
    if (!named)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: there is no component \"%s\" (a list of library and class); download the whole folder",
                         index->path, name);
    if (strcmp(named, class_name) != 0 && !(also && strcmp(named, also) == 0))
        return para_fail(PARA_ERR_CONFIG, "%s: the class of \"%s\" is %s, which is not supported; it must be %s",
                         index->path, name, named, class_name);
    return PARA_OK;
}

static para_status open_components(para_pipeline *pipe, const para_config *index) {
    PARA_TRY(find_family(index, &pipe->family));
    for (int i = 0; i < PARA_MAX_COMPONENTS && pipe->family->components[i].name; i++) {
        const char *name = pipe->family->components[i].name, *class_name = pipe->family->components[i].class_name;
        PARA_TRY(check_entry(index, name, class_name, NULL));
        PARA_TRY(para_component_open(&pipe->component[i], pipe->folder, name, class_name));
        pipe->num_components++;
    }
    for (int i = 0; i < PARA_MAX_PARTS && pipe->family->parts[i].name; i++)
        PARA_TRY(check_entry(index, pipe->family->parts[i].name, pipe->family->parts[i].class_name,
                             pipe->family->parts[i].also));
    return pipe->family->open(pipe);
}

static para_status check_options(const para_pipeline_options *o) {
    if (o->size != sizeof *o)
        return para_fail(PARA_ERR_ARGUMENT,
                         "para_pipeline_open: options.size is %zu, not %zu; start from PARA_PIPELINE_OPTIONS_INIT and "
                         "build against the installed header",
                         o->size, sizeof *o);
    if (o->dtype != PARA_F32 && o->dtype != PARA_BF16)
        return para_fail(PARA_ERR_ARGUMENT, "dtype (--dtype) %s is not supported for activations; use f32 or bf16",
                         para_dtype_name(o->dtype));
    return PARA_OK;
}

para_status para_pipeline_open(para_pipeline **out, para_world *world, const char *folder,
                               const para_pipeline_options *options) {
    if (!out || !world || !folder)
        return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_open: out, world and folder must not be NULL");
    *out = NULL;
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    if (options) o = *options;
    PARA_TRY(check_options(&o));
    para_pipeline *pipe = para_alloc(1, sizeof *pipe);
    if (!pipe) return PARA_ERR_MEMORY;
    pipe->world = world;
    pipe->options = o;
    para_config index = {0};
    char *path = NULL;
    para_status status = PARA_OK;
    if (!(pipe->folder = para_strdup(folder)) || !(path = para_path_join(folder, "model_index.json", "")))
        status = PARA_ERR_MEMORY;
    if (status == PARA_OK) status = para_config_read(&index, path);
    if (status == PARA_OK) status = open_components(pipe, &index);
    para_config_close(&index);
    para_free(path);
    if (status != PARA_OK) {
        para_pipeline_close(&pipe);
        return status;
    }
    *out = pipe;
    return PARA_OK;
}

static void unload(para_pipeline *pipe) {
    for (int i = 0; i < pipe->num_components; i++) para_instance_close(&pipe->loaded[i]);
    pipe->is_loaded = false;
}

void para_pipeline_close(para_pipeline **out) {
    if (!out || !*out) return;
    para_pipeline *pipe = *out;
    unload(pipe);
    if (pipe->family) pipe->family->close(pipe);
    for (int i = 0; i < PARA_MAX_COMPONENTS; i++) para_component_close(&pipe->component[i]);
    para_free(pipe->folder);
    para_free(pipe);
    *out = NULL;
}

/* Between ops: whether the request is to end. */
static para_status check_cancel(void *pipe) {
    if (atomic_load_explicit(&((para_pipeline *)pipe)->cancel, memory_order_relaxed))
        return para_fail(PARA_ERR_CANCELLED, "cancelled");
    return PARA_OK;
}

/* Takes the world for a request or a load; release_world gives it back. A cancel that came before ends this one. */
static para_status take_world(para_pipeline *pipe) {
    if (atomic_flag_test_and_set(&pipe->world->busy))
        return para_fail(PARA_ERR_BUSY, "the world is busy with another request; wait for it or open a second world");
    pipe->world->rank.device->check = check_cancel;
    pipe->world->rank.device->check_user = pipe;
    return PARA_OK;
}

static void release_world(para_pipeline *pipe) {
    pipe->world->rank.device->check = NULL;
    atomic_store(&pipe->cancel, false);
    atomic_flag_clear(&pipe->world->busy);
}

static para_status load(para_pipeline *pipe) {
    if (pipe->is_loaded) return para_rank_check(&pipe->world->rank);
    for (int i = 0; i < pipe->num_components; i++) {
        para_status status = para_rank_check(&pipe->world->rank);
        if (status == PARA_OK)
            status = para_instance_open(&pipe->loaded[i], &pipe->component[i], pipe->world->rank.device,
                                        pipe->options.dtype);
        if (status != PARA_OK) {
            unload(pipe);
            return status;
        }
    }
    para_status status = pipe->family->load(pipe);
    if (status != PARA_OK) unload(pipe);
    pipe->is_loaded = status == PARA_OK;
    return status;
}

para_status para_pipeline_load(para_pipeline *pipe) {
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_load: the pipeline is NULL");
    PARA_TRY(take_world(pipe));
    para_status status = load(pipe);
    release_world(pipe);
    return status;
}

static void record_seconds(para_run *run, para_stage stage) {
    para_result *r = run->result;
    double *slot[PARA_STAGES] = {&r->load_seconds, &r->text_seconds, &r->denoise_seconds, &r->decode_seconds};
    *slot[stage] = para_seconds() - run->stage_start;
}

/* The plan's dry run checks the request and sizes the arena; then the same code runs for real. */
static para_status generate(para_pipeline *pipe, const para_request *request, para_result *result) {
    para_rank *rank = &pipe->world->rank;
    PARA_TRY(para_request_check(pipe, request));
    para_request_warn(pipe, request);
    para_run run = {.pipe = pipe,
                    .request = request,
                    .rank = rank,
                    .instance = pipe->loaded,
                    .result = result,
                    .stage_done = record_seconds};
    run.stage_start = para_seconds();
    para_run_progress(&run, PARA_STAGE_LOAD, 0, 1);
    para_dry_result dry;
    PARA_TRY(para_dry_run(pipe, request, &dry));
    run.geometry = dry.geometry;
    PARA_TRY(load(pipe));
    PARA_TRY(para_device_reserve(rank->device, (size_t)dry.arena_bytes));
    record_seconds(&run, PARA_STAGE_LOAD);
    para_run_progress(&run, PARA_STAGE_LOAD, 1, 1);
    rank->device->trace = pipe->trace;
    para_status status = para_run_all(&run);
    rank->device->trace = NULL;
    result->arena_bytes = rank->device->arena.peak;
    result->weight_bytes = (size_t)dry.weight_bytes;
    return status;
}

para_status para_generate(para_pipeline *pipe, const para_request *request, para_result **out) {
    if (!pipe || !out) return para_fail(PARA_ERR_ARGUMENT, "para_generate: the pipeline and out must not be NULL");
    *out = NULL;
    PARA_TRY(take_world(pipe));
    para_result *result = para_alloc(1, sizeof *result);
    para_status status = result ? generate(pipe, request, result) : PARA_ERR_MEMORY;
    release_world(pipe);
    if (status != PARA_OK) {
        para_result_close(&result);
        return status;
    }
    *out = result;
    return PARA_OK;
}

void para_result_close(para_result **result) {
    if (!result || !*result) return;
    para_free((*result)->images.data);
    para_free((*result)->latents.data);
    para_free(*result);
    *result = NULL;
}

void para_cancel(para_pipeline *pipe) {
    if (pipe) atomic_store(&pipe->cancel, true);
}

int para_pipeline_components(const para_pipeline *pipe) {
    return pipe ? pipe->num_components : 0;
}

para_status para_pipeline_component(para_pipeline *pipe, int i, para_component_info *out) {
    if (!pipe || !out || i < 0 || i >= pipe->num_components)
        return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_component: %d is not a component of the pipeline", i);
    para_device *dry;
    para_instance instance;
    PARA_TRY(para_dry_open(&dry));
    para_status status = para_instance_open(&instance, &pipe->component[i], dry, pipe->options.dtype);
    if (status == PARA_OK) {
        *out = (para_component_info){
            .name = pipe->component[i].name,
            .class_name = pipe->component[i].kind->class_name,
            .parameters = para_weights_parameters(instance.weights),
            .bytes = para_weights_bytes(instance.weights),
            .dtype = para_weights_dtype(instance.weights),
            .has_files = instance.checkpoint != NULL,
        };
        para_instance_close(&instance);
    }
    para_device_close(&dry);
    return status;
}
