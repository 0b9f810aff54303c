/* MochiPipeline of diffusers: T5 text, flow matching with inverted sigmas, AutoencoderKLMochi. SPDX-License-Identifier: Apache-2.0 */
#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"
#include "model/mochi.h"
#include "pipeline/family.h"
#include "pipeline/prompt.h"
#include "scheduler/linear_quadratic.h"
#include "text/t5_encoder.h"
#include "vae/autoencoder_kl_mochi.h"

enum { TEXT_ENCODER, TRANSFORMER, VAE };
enum { SCALE = 8, SCALE_T = 6 }; /* of pixels to latents, whatever the VAE says: diffusers' pipeline asks no config */
static const double THRESHOLD_NOISE = 0.025;

typedef struct mochi_state {
    para_flow_match_euler scheduler;
    para_tokenizer *tokenizer;
    bool force_zeros_for_empty_prompt;
    /* Read from the configs once, so that geometry needs no instance. */
    int64_t latent_channels, patch, heads, joint_attention_dim;
} mochi_state;

static void mochi_close(para_pipeline *pipe) {
    mochi_state *s = pipe->family_state;
    if (!s) return;
    para_tokenizer_close(&s->tokenizer);
    para_free(s);
    pipe->family_state = NULL;
}

static para_status check_vae(const char *path, const para_autoencoder_kl_mochi_config *v) {
    int64_t scale = v->spatial_ratio, scale_t = v->temporal_ratio;
    if (v->out_channels != 3)
        return para_fail(PARA_ERR_CONFIG, "%s: out_channels is %lld; videos need 3", path, (long long)v->out_channels);
    if (scale == SCALE && scale_t == SCALE_T) return PARA_OK;
    return para_fail(
        PARA_ERR_CONFIG,
        "%s: spatial_expansions and temporal_expansions multiply to %lld and %lld; a MochiPipeline needs %d "
        "and %d",
        path, (long long)scale, (long long)scale_t, (int)SCALE, (int)SCALE_T);
}

/* What text encoder, transformer and VAE say of each other. */
static para_status look(const para_pipeline *pipe, void *const *model, void *user) {
    mochi_state *s = user;
    const char *path = pipe->component[TRANSFORMER].config.path;
    const para_transformer *t = model[TRANSFORMER];
    const para_autoencoder_kl_mochi_config *v = para_autoencoder_kl_mochi_settings(model[VAE]);
    int64_t t5 = para_t5_encoder_hidden_size(model[TEXT_ENCODER]), patch = para_mochi_patch(t),
            channels = t->in_channels / (patch * patch);
    s->latent_channels = channels;
    s->patch = patch;
    s->heads = t->heads;
    s->joint_attention_dim = t->joint_attention_dim;
    if (channels != v->latent_channels)
        return para_fail(
            PARA_ERR_CONFIG,
            "%s: in_channels %lld is not the VAE's latent_channels %lld; transformer and VAE do not belong "
            "together",
            path, (long long)channels, (long long)v->latent_channels);
    if (t->joint_attention_dim != t5)
        return para_fail(PARA_ERR_CONFIG, "%s: text_embed_dim %lld is not the text encoder's d_model %lld", path,
                         (long long)t->joint_attention_dim, (long long)t5);
    return check_vae(pipe->component[VAE].config.path, v);
}

/* A value of the pipeline's own, which model_index.json holds. */
static para_status read_index(para_pipeline *pipe, mochi_state *s) {
    para_config index = {0};
    char *path = para_path_join(pipe->folder, "model_index.json", "");
    if (!path) return PARA_ERR_MEMORY;
    para_status status = para_config_read(&index, path);
    if (status == PARA_OK)
        status = para_config_bool(&index, "force_zeros_for_empty_prompt", false, &s->force_zeros_for_empty_prompt);
    if (status == PARA_OK) status = para_pipeline_digest(pipe, &index);
    para_config_close(&index);
    para_free(path);
    return status;
}

static para_status mochi_open(para_pipeline *pipe) {
    mochi_state *s = pipe->family_state = para_alloc(1, sizeof *s);
    if (!s) return PARA_ERR_MEMORY;
    PARA_TRY(read_index(pipe, s));
    PARA_TRY(para_family_flow_match(pipe, &s->scheduler));
    if (s->scheduler.use_dynamic_shifting) /* diffusers' pipeline gives it no mu, and fails */
        return para_fail(PARA_ERR_CONFIG, "%s/scheduler: use_dynamic_shifting is true; a %s needs false", pipe->folder,
                         pipe->family->class_name);
    return para_family_inspect(pipe, look, s);
}

static para_status mochi_load(para_pipeline *pipe) {
    mochi_state *s = pipe->family_state;
    if (!para_prompt_needs_tokenizers(pipe, TEXT_ENCODER)) return PARA_OK;
    return para_prompt_tokenizer(pipe, "tokenizer", para_t5_tokenizer_open, &s->tokenizer);
}

static void mochi_own_size(const para_pipeline *pipe, int *height, int *width, int *num_frames) {
    (void)pipe;
    *height = 480;
    *width = 848;
    *num_frames = 19;
}

static para_status check_edge(const para_pipeline *pipe, const char *name, int asked, int64_t patch) {
    int64_t unit = SCALE * patch;
    if (asked % SCALE == 0) return PARA_OK;
    return para_fail(PARA_ERR_ARGUMENT, "%s (--%s) is %d; a %s needs a multiple of %d, such as %lld", name, name, asked,
                     pipe->family->class_name, (int)SCALE, (long long)((asked / unit + 1) * unit));
}

static para_status mochi_geometry(const para_pipeline *pipe, const para_request *r, para_geometry *g) {
    const mochi_state *s = pipe->family_state;
    PARA_TRY(check_edge(pipe, "height", r->height, s->patch));
    PARA_TRY(check_edge(pipe, "width", r->width, s->patch));
    PARA_TRY(para_family_round_edge(pipe, "height", r->height, SCALE, &g->height));
    PARA_TRY(para_family_round_edge(pipe, "width", r->width, SCALE, &g->width));
    PARA_TRY(para_family_round_frames(pipe, r->num_frames, SCALE_T, &g->num_frames));
    g->size_unit = (int)(SCALE * s->patch);
    g->frames_unit = SCALE_T;
    g->latent_channels = s->latent_channels;
    g->latent_frames = (g->num_frames - 1) / SCALE_T + 1;
    g->latent_height = g->height / SCALE;
    g->latent_width = g->width / SCALE;
    g->patch_t = 1;
    g->patch = s->patch;
    PARA_TRY(para_family_count_tokens(pipe, g));
    PARA_TRY(para_request_check_embeds(pipe, r, s->joint_attention_dim, 0));
    g->text_tokens = para_request_text_tokens(r);
    g->heads = s->heads;
    return PARA_OK;
}

static para_status mochi_schedule(const para_pipeline *pipe, const para_request *r, const para_geometry *g,
                                  para_schedule *out) {
    const mochi_state *s = pipe->family_state;
    double *own = NULL;
    (void)g;
    if (!r->sigmas) {
        if (!(own = para_alloc((size_t)r->num_inference_steps, sizeof *own))) return PARA_ERR_MEMORY;
        para_linear_quadratic_sigmas(r->num_inference_steps, THRESHOLD_NOISE, own);
    }
    para_status status =
        para_flow_match_euler_schedule(&s->scheduler, r->num_inference_steps, own ? own : r->sigmas, 0, out);
    para_free(own);
    return status;
}

static para_status mochi_encode(para_run *run, const char *prompt, const char *prompt_2, const char *half,
                                para_conditioning_inputs *out) {
    const mochi_state *s = run->pipe->family_state;
    (void)prompt_2;
    bool planned = run->dry && !*half; /* a plan knows no prompt: it is for any */
    if (s->force_zeros_for_empty_prompt && !*prompt && !planned) prompt = NULL; /* its mask is empty then */
    return para_prompt_t5_valid(run, TEXT_ENCODER, &s->tokenizer, prompt, half, &out->encoder_hidden_states);
}

/* latents [n, C, f, h, w] as the decoder takes them: · std / scaling_factor + mean, of each channel its own where the config has them. */
static para_status unscale(para_run *run, const para_autoencoder_kl_mochi_config *v, para_tensor latents) {
    const int64_t *dim = latents.dim;
    if (!v->latents) return para_run_affine(run, latents, (float)(1.0 / v->scaling_factor), 0);
    para_tensor planes = PARA_RESHAPE(latents, dim[0] * dim[1], dim[2], dim[3], dim[4]);
    for (int64_t i = 0; i < planes.dim[0]; i++) {
        int64_t c = i % dim[1];
        PARA_TRY(para_run_affine(run, para_rows(planes, i, 1), (float)(v->latents_std[c] / v->scaling_factor),
                                 (float)v->latents_mean[c]));
    }
    return PARA_OK;
}

static para_status mochi_decode(para_run *run, const para_comm *comm, para_tensor latents, const para_vae_sink *sink) {
    para_device *dev = run->rank->device;
    const para_autoencoder_kl_mochi *vae = run->instance[VAE].model;
    const int64_t *dim = latents.dim;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor input;
    PARA_TRY(unscale(run, para_autoencoder_kl_mochi_settings(vae), latents));
    PARA_TRY(para_trace_stage(dev, &latents, "vae.decode.in"));
    PARA_TRY(PARA_NEW(dev, &input, run->pipe->options.dtype, dim[0], dim[2], dim[3], dim[4], dim[1]));
    PARA_TRY(dev->ops->copy(dev, input, PARA_PERMUTE(latents, 0, 2, 3, 4, 1)));
    PARA_TRY(para_autoencoder_kl_mochi_decode_frames(vae, dev, comm, input, run->request->vae_tiling || comm, sink));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

const para_family para_mochi_family = {
    .class_name = "MochiPipeline",
    .components =
        {
            [TEXT_ENCODER] = {"text_encoder", "T5EncoderModel", PARA_STAGE_TEXT},
            [TRANSFORMER] = {"transformer", "MochiTransformer3DModel", PARA_STAGE_DENOISE},
            [VAE] = {"vae", "AutoencoderKLMochi", PARA_STAGE_DECODE},
        },
    .transformer = TRANSFORMER,
    .parts =
        {
            {"scheduler", "FlowMatchEulerDiscreteScheduler", NULL},
            {"tokenizer", "T5TokenizerFast", "T5Tokenizer"},
        },
    .makes_videos = true,
    .one_prompt = true,
    .no_text = true,
    .noise_is_f32 = true,
    .latents = PARA_LATENTS_CHANNELS_FIRST,
    .defaults = {.num_inference_steps = 64,
                 .guidance_scale = 4.5f,
                 .max_sequence_length = 256,
                 .most_sequence_length = 1024},
    .guidance = &para_plain_cfg,
    .open = mochi_open,
    .load = mochi_load,
    .close = mochi_close,
    .own_size = mochi_own_size,
    .geometry = mochi_geometry,
    .schedule = mochi_schedule,
    .encode = mochi_encode,
    .decode = mochi_decode,
};
