/* The components of a diffusers folder. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/component.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"
#include "model/cogvideox.h"
#include "model/flux.h"
#include "model/hunyuan_video.h"
#include "model/mochi.h"
#include "text/clip_text.h"
#include "text/hunyuan_prompt.h"
#include "text/llama_model.h"
#include "text/t5_encoder.h"
#include "vae/autoencoder_kl.h"
#include "vae/autoencoder_kl_cogvideox.h"
#include "vae/autoencoder_kl_hunyuan_video.h"
#include "vae/autoencoder_kl_mochi.h"

static para_status clip_open(void **model, const para_config *config) {
    return para_clip_text_open((para_clip_text **)model, config);
}
static void clip_close(void **model) {
    para_clip_text_close((para_clip_text **)model);
}
static void clip_weights(void *model, para_weights *list, const para_checkpoint *checkpoint) {
    para_clip_text_weights(model, list, checkpoint);
}

static para_status t5_open(void **model, const para_config *config) {
    return para_t5_encoder_open((para_t5_encoder **)model, config);
}
static void t5_close(void **model) {
    para_t5_encoder_close((para_t5_encoder **)model);
}
static void t5_weights(void *model, para_weights *list, const para_checkpoint *checkpoint) {
    para_t5_encoder_weights(model, list, checkpoint);
}

static para_status llama_open(void **model, const para_config *config) {
    return para_llama_model_open((para_llama_model **)model, config, PARA_HUNYUAN_LAYERS_TO_SKIP);
}
static void llama_close(void **model) {
    para_llama_model_close((para_llama_model **)model);
}
static void llama_weights(void *model, para_weights *list, const para_checkpoint *checkpoint) {
    para_llama_model_weights(model, list, checkpoint);
}

static para_status flux_open(void **model, const para_config *config) {
    return para_flux_open((para_transformer **)model, config);
}
static para_status hunyuan_video_open(void **model, const para_config *config) {
    return para_hunyuan_video_open((para_transformer **)model, config);
}
static para_status mochi_open(void **model, const para_config *config) {
    return para_mochi_open((para_transformer **)model, config);
}
static para_status cogvideox_open(void **model, const para_config *config) {
    return para_cogvideox_open((para_transformer **)model, config);
}
static void transformer_close(void **model) {
    para_transformer *t = *model;
    if (t) t->table->close(t);
    *model = NULL;
}
static void transformer_weights(void *model, para_weights *list, const para_checkpoint *checkpoint) {
    (void)checkpoint;
    ((para_transformer *)model)->table->weights(model, list);
}

static para_status vae_open(void **model, const para_config *config) {
    return para_autoencoder_kl_open((para_autoencoder_kl **)model, config);
}
static void vae_close(void **model) {
    para_autoencoder_kl_close((para_autoencoder_kl **)model);
}
static void vae_weights(void *model, para_weights *list, const para_checkpoint *checkpoint) {
    para_autoencoder_kl_weights(model, list, checkpoint, PARA_VAE_DECODER);
}

static para_status hunyuan_video_vae_open(void **model, const para_config *config) {
    return para_autoencoder_kl_hunyuan_video_open((para_autoencoder_kl_hunyuan_video **)model, config);
}
static void hunyuan_video_vae_close(void **model) {
    para_autoencoder_kl_hunyuan_video_close((para_autoencoder_kl_hunyuan_video **)model);
}
static void hunyuan_video_vae_weights(void *model, para_weights *list, const para_checkpoint *checkpoint) {
    para_autoencoder_kl_hunyuan_video_weights(model, list, checkpoint, PARA_VAE_DECODER);
}

static para_status mochi_vae_open(void **model, const para_config *config) {
    return para_autoencoder_kl_mochi_open((para_autoencoder_kl_mochi **)model, config);
}
static void mochi_vae_close(void **model) {
    para_autoencoder_kl_mochi_close((para_autoencoder_kl_mochi **)model);
}
static void mochi_vae_weights(void *model, para_weights *list, const para_checkpoint *checkpoint) {
    (void)checkpoint;
    para_autoencoder_kl_mochi_weights(model, list, PARA_VAE_DECODER);
}

static para_status cogvideox_vae_open(void **model, const para_config *config) {
    return para_autoencoder_kl_cogvideox_open((para_autoencoder_kl_cogvideox **)model, config);
}
static void cogvideox_vae_close(void **model) {
    para_autoencoder_kl_cogvideox_close((para_autoencoder_kl_cogvideox **)model);
}
static void cogvideox_vae_weights(void *model, para_weights *list, const para_checkpoint *checkpoint) {
    (void)checkpoint;
    para_autoencoder_kl_cogvideox_weights(model, list, PARA_VAE_DECODER);
}

static const para_component_class classes[] = {
    {"CLIPTextModel", clip_open, clip_close, clip_weights},
    {"T5EncoderModel", t5_open, t5_close, t5_weights},
    {"LlamaModel", llama_open, llama_close, llama_weights},
    {"FluxTransformer2DModel", flux_open, transformer_close, transformer_weights},
    {"HunyuanVideoTransformer3DModel", hunyuan_video_open, transformer_close, transformer_weights},
    {"MochiTransformer3DModel", mochi_open, transformer_close, transformer_weights},
    {"CogVideoXTransformer3DModel", cogvideox_open, transformer_close, transformer_weights},
    {"AutoencoderKL", vae_open, vae_close, vae_weights},
    {"AutoencoderKLHunyuanVideo", hunyuan_video_vae_open, hunyuan_video_vae_close, hunyuan_video_vae_weights},
    {"AutoencoderKLMochi", mochi_vae_open, mochi_vae_close, mochi_vae_weights},
    {"AutoencoderKLCogVideoX", cogvideox_vae_open, cogvideox_vae_close, cogvideox_vae_weights},
};

const para_component_class *para_component_class_find(const char *class_name) {
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].class_name, class_name) == 0) return &classes[i];
    return NULL;
}

/* A diffusers config names its class in _class_name, one of transformers in architectures; model_index.json decides where neither does. */
static para_status check_class(const para_component *c, const char *class_name) {
    const char *named;
    PARA_TRY(para_config_string(&c->config, "_class_name", class_name, &named));
    if (strcmp(named, class_name) != 0)
        return para_fail(PARA_ERR_CONFIG, "%s: _class_name is \"%s\"; the %s of this pipeline must be a %s",
                         c->config.path, named, c->name, class_name);
    return PARA_OK;
}

para_status para_component_open(para_component *out, const char *root, const char *name, const char *class_name) {
    *out = (para_component){.name = name, .kind = para_component_class_find(class_name)};
    char *path = NULL;
    para_status status = PARA_OK;
    if (!(out->folder = para_path_join(root, name, "")) || !(path = para_path_join(out->folder, "config.json", "")))
        status = PARA_ERR_MEMORY;
    if (status == PARA_OK) status = para_config_read(&out->config, path);
    if (status == PARA_OK) status = check_class(out, class_name);
    para_free(path);
    if (status != PARA_OK) para_component_close(out);
    return status;
}

void para_component_close(para_component *c) {
    para_config_close(&c->config);
    para_free(c->folder);
    *c = (para_component){0};
}

para_status para_instance_open(para_instance *out, const para_component *component, para_device *dev,
                               const para_pipeline_options *options, para_placing placing) {
    *out = (para_instance){.component = component};
    if (placing.none) return component->kind->open(&out->model, &component->config);
    bool dry = strcmp(dev->ops->name, "dry") == 0, random = options->random_weights;
    para_status status = random ? PARA_OK : para_checkpoint_open(&out->checkpoint, component->folder);
    if (status == PARA_ERR_NOT_FOUND && dry) status = PARA_OK; /* the configs alone make a plan */
    if (status == PARA_OK) status = component->kind->open(&out->model, &component->config);
    if (status == PARA_OK) status = para_weights_open(&out->weights);
    if (status == PARA_OK) {
        component->kind->weights(out->model, out->weights, out->checkpoint);
        if (placing.slots) { /* a transformer's */
            para_weights_offload(out->weights, placing.kept, placing.slots);
            ((para_transformer *)out->model)->offloaded = out->weights;
        }
        para_weights_share(out->weights, placing.sharing);
        status = random && !dry ? para_weights_load_random(out->weights, dev, options->dtype)
                                : para_weights_load(out->weights, dev, out->checkpoint, options->dtype);
    }
    if (status != PARA_OK) para_instance_close(out);
    return status;
}

void para_instance_close(para_instance *i) {
    para_weights_close(&i->weights);
    if (i->model) i->component->kind->close(&i->model);
    para_checkpoint_close(&i->checkpoint);
    *i = (para_instance){0};
}
