/* CogVideoXPipeline of diffusers: T5 text, DDIM or DPM, AutoencoderKLCogVideoX. SPDX-License-Identifier: Apache-2.0 */
#include "core/alloc.h"
#include "core/error.h"
#include "model/cogvideox.h"
#include "pipeline/family.h"
#include "pipeline/prompt.h"
#include "scheduler/cogvideox_scheduler.h"
#include "text/t5_encoder.h"
#include "vae/autoencoder_kl_cogvideox.h"

enum { TEXT_ENCODER, TRANSFORMER, VAE };
enum { SIZE_UNIT = 8 }; /* diffusers refuses sizes that 8 does not divide */

typedef struct cogvideox_state {
    para_cogvideox_scheduler scheduler;
    para_tokenizer *tokenizer;
    para_cogvideox_config transformer;
    int64_t scale, scale_t, latent_channels; /* of the VAE */
} cogvideox_state;

static void cogvideox_close(para_pipeline *pipe) {
    cogvideox_state *s = pipe->family_state;
    if (!s) return;
    para_cogvideox_scheduler_close(&s->scheduler);
    para_tokenizer_close(&s->tokenizer);
    para_free(s);
    pipe->family_state = NULL;
}

/* What text encoder, transformer and VAE say of each other. */
static para_status look(const para_pipeline *pipe, void *const *model, void *user) {
    cogvideox_state *s = user;
    const char *transformer = pipe->component[TRANSFORMER].config.path, *vae = pipe->component[VAE].config.path;
    const para_autoencoder_kl_cogvideox_config *v = para_autoencoder_kl_cogvideox_settings(model[VAE]);
    int64_t t5 = para_t5_encoder_hidden_size(model[TEXT_ENCODER]);
    s->transformer = *para_cogvideox_config_of(model[TRANSFORMER]);
    s->scale = para_autoencoder_kl_cogvideox_scale(model[VAE]);
    s->scale_t = v->temporal_compression_ratio;
    s->latent_channels = v->latent_channels;
    if (s->transformer.in_channels != s->latent_channels)
        return para_fail(
            PARA_ERR_CONFIG,
            "%s: in_channels %lld is not the VAE's latent_channels %lld; transformer and VAE do not belong "
            "together",
            transformer, (long long)s->transformer.in_channels, (long long)s->latent_channels);
    if (v->out_channels != 3)
        return para_fail(PARA_ERR_CONFIG, "%s: out_channels is %lld; videos need 3", vae, (long long)v->out_channels);
    if (s->transformer.text_embed_dim != t5)
        return para_fail(PARA_ERR_CONFIG, "%s: text_embed_dim %lld is not the text encoder's d_model %lld", transformer,
                         (long long)s->transformer.text_embed_dim, (long long)t5);
    return PARA_OK;
}

/* The scheduler is of either class; its config says which, or model_index.json where it names none. */
static para_status read_scheduler(para_pipeline *pipe, para_cogvideox_scheduler *out) {
    para_config config = {0};
    const char *named = "";
    bool dpm = false;
    para_status status = para_family_scheduler(pipe, NULL, &config);
    if (status == PARA_OK) status = para_config_string(&config, "_class_name", "CogVideoXDDIMScheduler", &named);
    if (status == PARA_OK && !para_cogvideox_scheduler_named(named, &dpm))
        status = para_fail(PARA_ERR_CONFIG,
                           "'%s': _class_name is \"%s\", which is not supported; it must be CogVideoXDDIMScheduler or "
                           "CogVideoXDPMScheduler",
                           config.path, named);
    if (status == PARA_OK) status = para_cogvideox_scheduler_read(out, &config, dpm);
    para_config_close(&config);
    return status;
}

static para_status cogvideox_open(para_pipeline *pipe) {
    cogvideox_state *s = pipe->family_state = para_alloc(1, sizeof *s);
    if (!s) return PARA_ERR_MEMORY;
    PARA_TRY(read_scheduler(pipe, &s->scheduler));
    return para_family_inspect(pipe, look, s);
}

static para_status cogvideox_load(para_pipeline *pipe) {
    cogvideox_state *s = pipe->family_state;
    if (!para_prompt_needs_tokenizers(pipe, TEXT_ENCODER)) return PARA_OK;
    return para_prompt_tokenizer(pipe, "tokenizer", para_t5_tokenizer_open, &s->tokenizer);
}

static void cogvideox_own_size(const para_pipeline *pipe, int *height, int *width, int *num_frames) {
    const cogvideox_state *s = pipe->family_state;
    *height = (int)(s->transformer.sample_height * s->scale);
    *width = (int)(s->transformer.sample_width * s->scale);
    *num_frames = (int)s->transformer.sample_frames;
}

static para_status edge(const para_pipeline *pipe, const char *name, int asked, int64_t scale, int *out) {
    if (asked % SIZE_UNIT)
        return para_fail(PARA_ERR_ARGUMENT, "%s (--%s) is %d; a %s needs a multiple of %d, such as %d", name, name,
                         asked, pipe->family->class_name, (int)SIZE_UNIT, (asked / SIZE_UNIT + 1) * SIZE_UNIT);
    return para_family_round_edge(pipe, name, asked, (int)scale, out);
}

/* Frames of latents that so many of pixels are made from. */
static int64_t latent_frames(const cogvideox_state *s, int num_frames) {
    return (num_frames - 1) / s->scale_t + 1;
}

/* And so many frames come out: the VAE makes one of the first latents only where their number is odd. */
static int decoded_frames(const cogvideox_state *s, int64_t frames) {
    return (int)(frames % 2 ? (frames - 1) * s->scale_t + 1 : frames * s->scale_t);
}

static para_status frames(const para_pipeline *pipe, const para_request *r, para_geometry *g) {
    const cogvideox_state *s = pipe->family_state;
    if (r->num_frames < 1)
        return para_fail(PARA_ERR_ARGUMENT, "num_frames (--frames) is %d; give 1 or more", r->num_frames);
    g->patch_t = para_cogvideox_patch_frames(&s->transformer);
    g->latent_frames = latent_frames(s, r->num_frames);
    g->num_frames = decoded_frames(s, g->latent_frames);
    if (g->num_frames != r->num_frames)
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "num_frames %d is not 1 more than a multiple of %lld: the video gets %d frames",
                          r->num_frames, (long long)(2 * s->scale_t), g->num_frames);
    /* More of them, which are not decoded, make whole patches. */
    g->latent_frames = (g->latent_frames + g->patch_t - 1) / g->patch_t * g->patch_t;
    return PARA_OK;
}

static para_status cogvideox_geometry(const para_pipeline *pipe, const para_request *r, para_geometry *g) {
    const cogvideox_state *s = pipe->family_state;
    PARA_TRY(edge(pipe, "height", r->height, s->scale, &g->height));
    PARA_TRY(edge(pipe, "width", r->width, s->scale, &g->width));
    PARA_TRY(frames(pipe, r, g));
    g->patch = s->transformer.patch_size;
    g->size_unit = (int)(s->scale * g->patch % SIZE_UNIT ? s->scale * g->patch * SIZE_UNIT : s->scale * g->patch);
    g->frames_unit = (int)(2 * s->scale_t);
    g->latent_channels = s->latent_channels;
    g->latent_height = g->height / s->scale;
    g->latent_width = g->width / s->scale;
    PARA_TRY(para_family_count_tokens(pipe, g));
    PARA_TRY(para_request_check_embeds(pipe, r, s->transformer.text_embed_dim, 0));
    g->text_tokens = para_request_text_tokens(r);
    g->heads = s->transformer.num_attention_heads;
    return para_cogvideox_check_size(&s->transformer, (int64_t[]){g->frames, g->grid_h, g->grid_w}, g->text_tokens);
}

static para_status cogvideox_schedule(const para_pipeline *pipe, const para_request *r, const para_geometry *g,
                                      para_schedule *out) {
    const cogvideox_state *s = pipe->family_state;
    (void)g;
    if (r->sigmas)
        return para_fail(PARA_ERR_ARGUMENT, "sigmas (--sigmas) are given, but a %s has none; give the number of steps",
                         pipe->family->class_name);
    return para_cogvideox_schedule(&s->scheduler, r->num_inference_steps, out);
}

static para_status cogvideox_encode(para_run *run, const char *prompt, const char *prompt_2, const char *half,
                                    para_conditioning_inputs *out) {
    const cogvideox_state *s = run->pipe->family_state;
    (void)prompt_2;
    return para_prompt_t5(run, TEXT_ENCODER, &s->tokenizer, prompt, half, &out->encoder_hidden_states);
}

/* Latents that only made patches whole are the first ones. */
static para_status cogvideox_decode(para_run *run, const para_comm *comm, para_tensor latents, const para_vae_sink *sink) {
    const cogvideox_state *s = run->pipe->family_state;
    para_device *dev = run->rank->device;
    const para_autoencoder_kl_cogvideox *vae = run->instance[VAE].model;
    const int64_t *dim = latents.dim;
    int64_t wanted = latent_frames(s, run->request->num_frames);
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor input, last = para_slice(latents, 2, dim[2] - wanted, wanted);
    PARA_TRY(
        para_run_affine(run, latents, (float)(1.0 / para_autoencoder_kl_cogvideox_settings(vae)->scaling_factor), 0));
    PARA_TRY(para_trace_stage(dev, &last, "vae.decode.in"));
    PARA_TRY(PARA_NEW(dev, &input, run->pipe->options.dtype, dim[0], wanted, dim[3], dim[4], dim[1]));
    PARA_TRY(dev->ops->copy(dev, input, PARA_PERMUTE(last, 0, 2, 3, 4, 1)));
    PARA_TRY(para_autoencoder_kl_cogvideox_decode_frames(vae, dev, comm, input, run->request->vae_tiling || comm, sink));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

const para_family para_cogvideox_family = {
    .class_name = "CogVideoXPipeline",
    .components =
        {
            [TEXT_ENCODER] = {"text_encoder", "T5EncoderModel", PARA_STAGE_TEXT},
            [TRANSFORMER] = {"transformer", "CogVideoXTransformer3DModel", PARA_STAGE_DENOISE},
            [VAE] = {"vae", "AutoencoderKLCogVideoX", PARA_STAGE_DECODE},
        },
    .transformer = TRANSFORMER,
    .parts =
        {
            {"scheduler", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"},
            {"tokenizer", "T5Tokenizer", "T5TokenizerFast"},
        },
    .makes_videos = true,
    .one_prompt = true,
    .latents = PARA_LATENTS_FRAMES_FIRST,
    .defaults = {.num_inference_steps = 50,
                 .guidance_scale = 6.0f,
                 .max_sequence_length = 226,
                 .most_sequence_length = 512},
    .guidance = &para_dynamic_cfg,
    .open = cogvideox_open,
    .load = cogvideox_load,
    .close = cogvideox_close,
    .own_size = cogvideox_own_size,
    .geometry = cogvideox_geometry,
    .schedule = cogvideox_schedule,
    .encode = cogvideox_encode,
    .decode = cogvideox_decode,
};
