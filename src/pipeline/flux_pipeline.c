/* FluxPipeline of diffusers: CLIP and T5 text, packed latents, flow matching, AutoencoderKL. SPDX-License-Identifier: Apache-2.0 */
#include "core/alloc.h"
#include "core/error.h"
#include "pipeline/family.h"
#include "pipeline/prompt.h"
#include "text/clip_text.h"
#include "text/t5_encoder.h"
#include "vae/autoencoder_kl.h"

enum { TEXT_ENCODER, TEXT_ENCODER_2, TRANSFORMER, VAE };
enum { PACK = 2 }; /* latents are packed in 2 × 2 patches */

typedef struct flux_state {
    para_flow_match_euler scheduler;
    para_tokenizer *tokenizer, *tokenizer_2;
    /* Read from the configs once, so that geometry needs no instance. */
    int64_t vae_scale, vae_sample_size, latent_channels, heads, joint_attention_dim, pooled_projection_dim;
} flux_state;

static void flux_close(para_pipeline *pipe) {
    flux_state *s = pipe->family_state;
    if (!s) return;
    para_tokenizer_close(&s->tokenizer);
    para_tokenizer_close(&s->tokenizer_2);
    para_free(s);
    pipe->family_state = NULL;
}

/* The configs that must agree with each other. */
static para_status look(const para_pipeline *pipe, void *const *model, void *user) {
    flux_state *s = user;
    const para_component *c = pipe->component;
    const para_transformer *t = model[TRANSFORMER];
    const para_autoencoder_kl_config *v = para_autoencoder_kl_settings(model[VAE]);
    int64_t clip = para_clip_text_hidden_size(model[TEXT_ENCODER]),
            t5 = para_t5_encoder_hidden_size(model[TEXT_ENCODER_2]);
    s->vae_scale = para_autoencoder_kl_scale(model[VAE]);
    s->vae_sample_size = v->sample_size;
    s->latent_channels = v->latent_channels;
    s->heads = t->heads;
    s->joint_attention_dim = t->joint_attention_dim;
    s->pooled_projection_dim = t->pooled_projection_dim;
    if (t->in_channels != v->latent_channels * PACK * PACK)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: in_channels %lld is not 4 x the VAE's latent_channels %lld; transformer and VAE do not "
                         "belong together",
                         c[TRANSFORMER].config.path, (long long)t->in_channels, (long long)v->latent_channels);
    if (v->out_channels != 3)
        return para_fail(PARA_ERR_CONFIG, "%s: out_channels is %lld; pictures need 3", c[VAE].config.path,
                         (long long)v->out_channels);
    if (t->pooled_projection_dim != clip)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: pooled_projection_dim %lld is not the first text encoder's hidden_size %lld",
                         c[TRANSFORMER].config.path, (long long)t->pooled_projection_dim, (long long)clip);
    if (t->joint_attention_dim != t5)
        return para_fail(PARA_ERR_CONFIG, "%s: joint_attention_dim %lld is not the second text encoder's d_model %lld",
                         c[TRANSFORMER].config.path, (long long)t->joint_attention_dim, (long long)t5);
    return PARA_OK;
}

static para_status flux_open(para_pipeline *pipe) {
    flux_state *s = pipe->family_state = para_alloc(1, sizeof *s);
    if (!s) return PARA_ERR_MEMORY;
    PARA_TRY(para_family_flow_match(pipe, &s->scheduler));
    return para_family_inspect(pipe, look, s);
}

static para_status flux_load(para_pipeline *pipe) {
    flux_state *s = pipe->family_state;
    if (!para_prompt_needs_tokenizers(pipe, TEXT_ENCODER)) return PARA_OK;
    PARA_TRY(para_prompt_tokenizer(pipe, "tokenizer", para_clip_tokenizer_open, &s->tokenizer));
    PARA_TRY(para_prompt_tokenizer(pipe, "tokenizer_2", para_t5_tokenizer_open, &s->tokenizer_2));
    return para_prompt_check_clip(pipe, TEXT_ENCODER, para_tokenizer_max_length(s->tokenizer));
}

static void flux_own_size(const para_pipeline *pipe, int *height, int *width, int *num_frames) {
    const flux_state *s = pipe->family_state;
    *height = *width = (int)s->vae_sample_size;
    *num_frames = 1;
}

static para_status flux_geometry(const para_pipeline *pipe, const para_request *r, para_geometry *g) {
    const flux_state *s = pipe->family_state;
    g->size_unit = (int)(s->vae_scale * PACK);
    PARA_TRY(para_family_round_edge(pipe, "height", r->height, g->size_unit, &g->height));
    PARA_TRY(para_family_round_edge(pipe, "width", r->width, g->size_unit, &g->width));
    g->num_frames = 1;
    g->latent_channels = s->latent_channels;
    g->latent_frames = 1;
    g->latent_height = g->height / s->vae_scale;
    g->latent_width = g->width / s->vae_scale;
    g->patch_t = 1;
    g->patch = PACK;
    PARA_TRY(para_family_count_tokens(pipe, g));
    PARA_TRY(para_request_check_embeds(pipe, r, s->joint_attention_dim, s->pooled_projection_dim));
    g->text_tokens = para_request_text_tokens(r);
    g->heads = s->heads;
    return PARA_OK;
}

static para_status flux_schedule(const para_pipeline *pipe, const para_request *r, const para_geometry *g,
                                 para_schedule *out) {
    const flux_state *s = pipe->family_state;
    double mu = para_flow_match_euler_mu(&s->scheduler, para_geometry_tokens(g));
    if (s->scheduler.use_flow_sigmas)
        return para_flow_match_euler_schedule(&s->scheduler, r->num_inference_steps, NULL, mu, out);
    return para_family_flow_schedule(&s->scheduler, r, 1.0 / r->num_inference_steps, r->num_inference_steps, mu, out);
}

static para_status flux_encode(para_run *run, const char *prompt, const char *prompt_2, const char *half,
                               para_conditioning_inputs *out) {
    const flux_state *s = run->pipe->family_state;
    PARA_TRY(para_prompt_clip(run, TEXT_ENCODER, &s->tokenizer, prompt, 0, half, &out->pooled_projections));
    return para_prompt_t5(run, TEXT_ENCODER_2, &s->tokenizer_2, prompt_2, half, &out->encoder_hidden_states);
}

static para_status flux_decode(para_run *run, const para_comm *comm, para_tensor latents, const para_vae_sink *sink) {
    para_device *dev = run->rank->device;
    const para_autoencoder_kl *vae = run->instance[VAE].model;
    const para_autoencoder_kl_config *v = para_autoencoder_kl_settings(vae);
    const int64_t *dim = latents.dim;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor input;
    PARA_TRY(para_run_affine(run, latents, (float)(1.0 / v->scaling_factor), (float)v->shift_factor));
    para_tensor nchw = PARA_RESHAPE(latents, dim[0], dim[1], dim[3], dim[4]);
    PARA_TRY(para_trace_stage(dev, &nchw, "vae.decode.in"));
    PARA_TRY(PARA_NEW(dev, &input, run->pipe->options.dtype, dim[0], dim[3], dim[4], dim[1]));
    PARA_TRY(dev->ops->copy(dev, input, PARA_PERMUTE(nchw, 0, 2, 3, 1)));
    PARA_TRY(para_autoencoder_kl_decode_frames(vae, dev, comm, input, run->request->vae_tiling || comm, sink));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

const para_family para_flux_family = {
    .class_name = "FluxPipeline",
    .components =
        {
            [TEXT_ENCODER] = {"text_encoder", "CLIPTextModel", PARA_STAGE_TEXT},
            [TEXT_ENCODER_2] = {"text_encoder_2", "T5EncoderModel", PARA_STAGE_TEXT},
            [TRANSFORMER] = {"transformer", "FluxTransformer2DModel", PARA_STAGE_DENOISE},
            [VAE] = {"vae", "AutoencoderKL", PARA_STAGE_DECODE},
        },
    .transformer = TRANSFORMER,
    .parts =
        {
            {"scheduler", "FlowMatchEulerDiscreteScheduler", NULL},
            {"tokenizer", "CLIPTokenizer", "CLIPTokenizerFast"},
            {"tokenizer_2", "T5TokenizerFast", "T5Tokenizer"},
        },
    .latents = PARA_LATENTS_PACKED,
    .defaults = {.num_inference_steps = 28,
                 .guidance_scale = 3.5f,
                 .max_sequence_length = 512,
                 .most_sequence_length = 512},
    .guidance = &para_true_cfg,
    .open = flux_open,
    .load = flux_load,
    .close = flux_close,
    .own_size = flux_own_size,
    .geometry = flux_geometry,
    .schedule = flux_schedule,
    .encode = flux_encode,
    .decode = flux_decode,
};
