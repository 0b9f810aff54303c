/* Opening and closing pipelines. SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/path.h"
#include "pipeline/call.h"
#include "pipeline/plan.h"

static const para_family *const families[] = {&para_flux_family, &para_hunyuan_video_family, &para_mochi_family, &para_cogvideox_family};

static para_status find_family(const para_config *index, const para_family **out) {
    const char *name;
    PARA_TRY(para_config_string(index, "_class_name", "", &name));
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strcmp(name, families[i]->class_name) == 0) {
            *out = families[i];
            return PARA_OK;
        }
    }
    char known[256] = "";
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), i ? ", %s" : "%s", families[i]->class_name);
    return para_fail(PARA_ERR_CONFIG, "%s: _class_name \"%s\" is not supported; this version runs %s", index->path,
                     name, known);
}

void para_pipeline_log(const para_pipeline *pipe, para_log_level level, const char *format, ...) {
    if (para_world_process(pipe->world) != 0 || pipe->muted) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    para_world_log(pipe->world, level, "%s", line);
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

para_status para_pipeline_digest(para_pipeline *pipe, const para_config *config) {
    char *text = json_dumps(config->root, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) return para_fail(PARA_ERR_MEMORY, "out of memory while %s was read", config->path);
    pipe->digest = para_hash(pipe->digest, text, strlen(text));
    free(text);
    return PARA_OK;
}

static para_status open_components(para_pipeline *pipe, const para_config *index) {
    PARA_TRY(find_family(index, &pipe->family));
    for (int i = 0; i < PARA_MAX_COMPONENTS && pipe->family->components[i].name; i++) {
        const char *name = pipe->family->components[i].name, *class_name = pipe->family->components[i].class_name;
        PARA_TRY(check_entry(index, name, class_name, NULL));
        PARA_TRY(para_component_open(&pipe->component[i], pipe->folder, name, class_name));
        pipe->num_components++;
        PARA_TRY(para_pipeline_digest(pipe, &pipe->component[i].config));
    }
    for (int i = 0; i < PARA_MAX_PARTS && pipe->family->parts[i].name; i++)
        PARA_TRY(check_entry(index, pipe->family->parts[i].name, pipe->family->parts[i].class_name,
                             pipe->family->parts[i].also));
    return pipe->family->open(pipe);
}

static para_status check_attention(const para_pipeline_options *o, const para_world *world) {
    if (o->attention != PARA_ATTENTION_AUTO && o->attention != PARA_ATTENTION_PARA &&
        o->attention != PARA_ATTENTION_CUDNN)
        return para_fail(PARA_ERR_ARGUMENT, "there is no attention kernel %d; use PARA_ATTENTION_AUTO, _PARA or _CUDNN",
                         (int)o->attention);
    if (o->attention != PARA_ATTENTION_CUDNN) return PARA_OK;
    if (world->options.device != PARA_CUDA)
        return para_fail(PARA_ERR_ARGUMENT, "attention (--attention) cudnn is NVIDIA's, and the pipeline's device is "
                                            "the CPU; leave it out, or open the "
                                            "world on PARA_CUDA (--device cuda)");
    if (o->dtype != PARA_BF16)
        return para_fail(PARA_ERR_ARGUMENT,
                         "attention (--attention) cudnn is not for %s; use bf16 (--dtype bf16), or leave it out",
                         para_dtype_name(o->dtype));
    return PARA_OK;
}

static para_status check_options(const para_pipeline_options *o) {
    PARA_TRY(para_check_size(o->size, sizeof *o, "para_pipeline_open: options", "PARA_PIPELINE_OPTIONS_INIT"));
    if (o->dtype != PARA_F32 && o->dtype != PARA_BF16)
        return para_fail(PARA_ERR_ARGUMENT, "dtype (--dtype) %s is not supported for activations; use f32 or bf16",
                         para_dtype_name(o->dtype));
    return PARA_OK;
}

void para_pipeline_unload(const para_pipeline *pipe, para_holder *holder) {
    for (int i = 0; i < pipe->num_components; i++) para_instance_close(&holder->instance[i]);
}

static void close_here(para_pipeline **out) {
    para_pipeline *pipe = *out;
    *out = NULL;
    if (pipe->world->lost) return; /* a rank that did not come back may still read it */
    for (int i = 0; i < pipe->holders; i++) para_pipeline_unload(pipe, &pipe->holder[i]);
    para_free(pipe->holder);
    if (pipe->family) pipe->family->close(pipe);
    for (int i = 0; i < PARA_MAX_COMPONENTS; i++) para_component_close(&pipe->component[i]);
    para_free(pipe->folder);
    para_free(pipe->work.need);
    para_free((void *)pipe->cache.skip_layers);
    para_pipeline_forget_machine(pipe);
    para_free(pipe);
}

para_status para_pipeline_open(para_pipeline **out, para_world *world, const char *folder,
                               const para_pipeline_options *options) {
    if (!out || !world || !folder)
        return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_open: out, world and folder must not be NULL");
    *out = NULL;
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    if (options) o = *options;
    PARA_TRY(para_world_works(world));
    PARA_TRY(check_options(&o));
    PARA_TRY(check_attention(&o, world));
    para_pipeline *pipe = para_alloc(1, sizeof *pipe);
    if (!pipe) return PARA_ERR_MEMORY;
    pipe->world = world;
    pipe->options = o;
    pipe->holders = world->options.device == PARA_CPU ? 1 : world->options.ranks;
    pipe->compiled = pipe->tuned = world->options.device == PARA_CUDA;
    pipe->digest = PARA_HASH_START;
    para_config index = {0};
    char *path = NULL;
    para_status status = PARA_OK;
    if (!(pipe->holder = para_alloc((size_t)pipe->holders, sizeof *pipe->holder))) {
        para_free(pipe);
        return PARA_ERR_MEMORY;
    }
    if (!(pipe->work.need = para_alloc((size_t)world->options.ranks, sizeof *pipe->work.need)) || !(pipe->folder = para_strdup(folder)) ||
        !(path = para_path_join(folder, "model_index.json", "")))
        status = PARA_ERR_MEMORY;
    if (status == PARA_OK) status = para_config_read(&index, path);
    if (status == PARA_OK) status = open_components(pipe, &index);
    para_config_close(&index);
    para_free(path);
    status = para_call_agree(pipe, status);
    if (status == PARA_OK) *out = pipe;
    else close_here(&pipe);
    return status;
}

void para_pipeline_close(para_pipeline **out) {
    if (!out || !*out) return;
    para_pipeline_say_goodbye(*out);
    close_here(out);
}

void para_cancel(para_pipeline *pipe) {
    if (pipe) atomic_store(&pipe->cancel, true);
}

bool para_pipeline_makes_videos(const para_pipeline *pipe) {
    return pipe && pipe->family->makes_videos;
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
    para_status status = para_instance_open(&instance, &pipe->component[i], dry, &pipe->options, (para_placing){0});
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
