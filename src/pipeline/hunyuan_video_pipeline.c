/* HunyuanVideoPipeline of diffusers: Llama and CLIP text, flow matching, AutoencoderKLHunyuanVideo. SPDX-License-Identifier: Apache-2.0 */
#include "core/alloc.h"
#include "core/error.h"
#include "model/hunyuan_video.h"
#include "pipeline/family.h"
#include "pipeline/prompt.h"
#include "text/clip_text.h"
#include "text/hunyuan_prompt.h"
#include "text/llama_model.h"
#include "vae/autoencoder_kl_hunyuan_video.h"

enum { TEXT_ENCODER, TEXT_ENCODER_2, TRANSFORMER, VAE };
enum { SIZE_UNIT = 16, CLIP_TOKENS = 77 }; /* diffusers refuses sizes that 16 does not divide */

typedef struct hunyuan_state {
    para_flow_match_euler scheduler;
    para_tokenizer *tokenizer, *tokenizer_2;
    /* Read from the configs once, so that geometry needs no instance. */
    int64_t scale, scale_t, latent_channels, patch, patch_t, heads, joint_attention_dim, pooled_projection_dim;
    int64_t sample_height, sample_width, sample_frames; /* pixels; of a request that names none */
} hunyuan_state;

static void hunyuan_close(para_pipeline *pipe) {
    hunyuan_state *s = pipe->family_state;
    if (!s) return;
    para_tokenizer_close(&s->tokenizer);
    para_tokenizer_close(&s->tokenizer_2);
    para_free(s);
    pipe->family_state = NULL;
}

/* What text encoders, transformer and VAE say of each other. */
static para_status check_agreement(const para_pipeline *pipe, const hunyuan_state *s, int64_t in_channels,
                                   int64_t llama, int64_t clip, int64_t out_channels) {
    const char *transformer = pipe->component[TRANSFORMER].config.path, *vae = pipe->component[VAE].config.path;
    int64_t latents = in_channels / (s->patch_t * s->patch * s->patch);
    if (latents != s->latent_channels)
        return para_fail(
            PARA_ERR_CONFIG,
            "%s: in_channels %lld is not the VAE's latent_channels %lld; transformer and VAE do not belong "
            "together",
            transformer, (long long)latents, (long long)s->latent_channels);
    if (out_channels != 3)
        return para_fail(PARA_ERR_CONFIG, "%s: out_channels is %lld; videos need 3", vae, (long long)out_channels);
    if (s->joint_attention_dim != llama)
        return para_fail(PARA_ERR_CONFIG, "%s: text_embed_dim %lld is not the first text encoder's hidden_size %lld",
                         transformer, (long long)s->joint_attention_dim, (long long)llama);
    if (s->pooled_projection_dim != clip)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: pooled_projection_dim %lld is not the second text encoder's hidden_size %lld",
                         transformer, (long long)s->pooled_projection_dim, (long long)clip);
    return PARA_OK;
}

/* diffusers' pipeline has the large model's size. A model of another one may say so in its VAE's config, under names that diffusers skips. */
static para_status read_own_size(const para_pipeline *pipe, hunyuan_state *s) {
    const para_config *vae = &pipe->component[VAE].config;
    PARA_TRY(para_config_int_in(vae, "_sample_height", 720, 1, INT16_MAX, &s->sample_height));
    PARA_TRY(para_config_int_in(vae, "_sample_width", 1280, 1, INT16_MAX, &s->sample_width));
    return para_config_int_in(vae, "_sample_frames", 129, 1, INT16_MAX, &s->sample_frames);
}

static para_status look(const para_pipeline *pipe, void *const *model, void *user) {
    hunyuan_state *s = user;
    const para_transformer *t = model[TRANSFORMER];
    const para_autoencoder_kl_hunyuan_video_config *v = para_autoencoder_kl_hunyuan_video_settings(model[VAE]);
    s->scale = v->spatial_compression_ratio;
    s->scale_t = v->temporal_compression_ratio;
    s->latent_channels = v->latent_channels;
    para_hunyuan_video_patch(t, &s->patch_t, &s->patch);
    s->heads = t->heads;
    s->joint_attention_dim = t->joint_attention_dim;
    s->pooled_projection_dim = t->pooled_projection_dim;
    PARA_TRY(read_own_size(pipe, s));
    return check_agreement(pipe, s, t->in_channels, para_llama_model_hidden_size(model[TEXT_ENCODER]),
                           para_clip_text_hidden_size(model[TEXT_ENCODER_2]), v->out_channels);
}

static para_status hunyuan_open(para_pipeline *pipe) {
    hunyuan_state *s = pipe->family_state = para_alloc(1, sizeof *s);
    if (!s) return PARA_ERR_MEMORY;
    PARA_TRY(para_family_flow_match(pipe, &s->scheduler));
    if (s->scheduler.use_dynamic_shifting) /* diffusers' pipeline gives it no mu, and fails */
        return para_fail(PARA_ERR_CONFIG, "%s/scheduler: use_dynamic_shifting is true; a %s needs false", pipe->folder,
                         pipe->family->class_name);
    return para_family_inspect(pipe, look, s);
}

static para_status hunyuan_load(para_pipeline *pipe) {
    hunyuan_state *s = pipe->family_state;
    if (!para_prompt_needs_tokenizers(pipe, TEXT_ENCODER)) return PARA_OK;
    PARA_TRY(para_prompt_tokenizer(pipe, "tokenizer", para_llama_tokenizer_open, &s->tokenizer));
    PARA_TRY(para_prompt_tokenizer(pipe, "tokenizer_2", para_clip_tokenizer_open, &s->tokenizer_2));
    return para_prompt_check_clip(pipe, TEXT_ENCODER_2, CLIP_TOKENS);
}

static void hunyuan_own_size(const para_pipeline *pipe, int *height, int *width, int *num_frames) {
    const hunyuan_state *s = pipe->family_state;
    *height = (int)s->sample_height;
    *width = (int)s->sample_width;
    *num_frames = (int)s->sample_frames;
}

static para_status edge(const para_pipeline *pipe, const char *name, int asked, int scale, int *out) {
    if (asked % SIZE_UNIT)
        return para_fail(PARA_ERR_ARGUMENT, "%s (--%s) is %d; a %s needs a multiple of %d, such as %d", name, name,
                         asked, pipe->family->class_name, (int)SIZE_UNIT, (asked / SIZE_UNIT + 1) * SIZE_UNIT);
    return para_family_round_edge(pipe, name, asked, scale, out);
}

static int64_t least_common_multiple(int64_t a, int64_t b) {
    int64_t x = a, y = b;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

static para_status hunyuan_geometry(const para_pipeline *pipe, const para_request *r, para_geometry *g) {
    const hunyuan_state *s = pipe->family_state;
    PARA_TRY(edge(pipe, "height", r->height, (int)s->scale, &g->height));
    PARA_TRY(edge(pipe, "width", r->width, (int)s->scale, &g->width));
    PARA_TRY(para_family_round_frames(pipe, r->num_frames, (int)s->scale_t, &g->num_frames));
    g->size_unit = (int)least_common_multiple(SIZE_UNIT, s->scale * s->patch);
    g->frames_unit = (int)(s->scale_t * s->patch_t);
    g->latent_channels = s->latent_channels;
    g->latent_frames = (g->num_frames - 1) / s->scale_t + 1;
    g->latent_height = g->height / s->scale;
    g->latent_width = g->width / s->scale;
    g->patch_t = s->patch_t;
    g->patch = s->patch;
    PARA_TRY(para_family_count_tokens(pipe, g));
    PARA_TRY(para_request_check_embeds(pipe, r, s->joint_attention_dim, s->pooled_projection_dim));
    g->text_tokens = para_request_text_tokens(r);
    g->heads = s->heads;
    return PARA_OK;
}

static para_status hunyuan_schedule(const para_pipeline *pipe, const para_request *r, const para_geometry *g,
                                    para_schedule *out) {
    const hunyuan_state *s = pipe->family_state;
    (void)g;
    return para_family_flow_schedule(&s->scheduler, r, 0, r->num_inference_steps + 1, 0, out);
}

/* What Llama reads; a dry run, and random tokens, are as long as may be. */
static para_status tokenize(const para_run *run, const char *prompt, const char *half, para_prompt_tokens *out) {
    const hunyuan_state *s = run->pipe->family_state;
    int most = run->request->max_sequence_length, crop = para_hunyuan_template.crop_start;
    if (!run->dry && !run->pipe->options.random_weights) {
        PARA_TRY(para_hunyuan_tokenize(s->tokenizer, &para_hunyuan_template, prompt, most, out));
        para_prompt_warn_cut(run, half, "Llama", out->dropped, most);
        return PARA_OK;
    }
    *out = (para_prompt_tokens){.used = crop + most, .crop_start = crop};
    return (out->ids = para_alloc((size_t)out->used, sizeof *out->ids)) ? PARA_OK : PARA_ERR_MEMORY;
}

static para_status encode_tokens(para_run *run, const para_prompt_tokens *tokens, const char *half,
                                 para_tensor hidden) {
    para_llama_model *m = run->instance[TEXT_ENCODER].model;
    if (run->pipe->options.random_weights)
        para_prompt_scatter_ids(para_llama_model_vocab_size(m), tokens->used, tokens->ids);
    PARA_TRY(para_llama_model_encode(m, run->rank, tokens->ids, tokens->used, tokens->crop_start, hidden));
    PARA_TRY(para_run_check_finite(run, hidden, "the Llama text encoder"));
    return para_trace_stage(run->rank->device, &hidden, "text.llama%s", half);
}

/* Llama's hidden states of the prompt behind the template, without padding: [S, hidden_size]. How many that are, the leading rank says. */
static para_status encode_llama(para_run *run, const char *prompt, const char *half, para_tensor *hidden) {
    const para_llama_model *m = run->instance[TEXT_ENCODER].model;
    para_prompt_tokens tokens = {0};
    para_status status = PARA_OK;
    if (para_run_leads(run)) status = tokenize(run, prompt, half, &tokens);
    int length = para_run_leads(run) || !run->dry ? tokens.used - tokens.crop_start : run->request->max_sequence_length;
    if (status == PARA_OK) status = para_run_share_length(run, &length);
    if (status == PARA_OK)
        status = PARA_NEW(run->rank->device, hidden, run->pipe->options.dtype, length, para_llama_model_hidden_size(m));
    if (status == PARA_OK && para_run_leads(run)) status = encode_tokens(run, &tokens, half, *hidden);
    para_free(tokens.ids);
    return status;
}

/* diffusers gives both text encoders the first prompt. */
static para_status hunyuan_encode(para_run *run, const char *prompt, const char *prompt_2, const char *half,
                                  para_conditioning_inputs *out) {
    const hunyuan_state *s = run->pipe->family_state;
    (void)prompt_2;
    PARA_TRY(encode_llama(run, prompt, half, &out->encoder_hidden_states));
    return para_prompt_clip(run, TEXT_ENCODER_2, &s->tokenizer_2, prompt, CLIP_TOKENS, half, &out->pooled_projections);
}

static para_status hunyuan_decode(para_run *run, const para_comm *comm, para_tensor latents, const para_vae_sink *sink) {
    para_device *dev = run->rank->device;
    const para_autoencoder_kl_hunyuan_video *vae = run->instance[VAE].model;
    const int64_t *dim = latents.dim;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor input;
    PARA_TRY(para_run_affine(run, latents,
                             (float)(1.0 / para_autoencoder_kl_hunyuan_video_settings(vae)->scaling_factor), 0));
    PARA_TRY(para_trace_stage(dev, &latents, "vae.decode.in"));
    PARA_TRY(PARA_NEW(dev, &input, run->pipe->options.dtype, dim[0], dim[2], dim[3], dim[4], dim[1]));
    PARA_TRY(dev->ops->copy(dev, input, PARA_PERMUTE(latents, 0, 2, 3, 4, 1)));
    PARA_TRY(para_autoencoder_kl_hunyuan_video_decode_frames(vae, dev, comm, input, run->request->vae_tiling || comm, sink));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

const para_family para_hunyuan_video_family = {
    .class_name = "HunyuanVideoPipeline",
    .components =
        {
            [TEXT_ENCODER] = {"text_encoder", "LlamaModel", PARA_STAGE_TEXT},
            [TEXT_ENCODER_2] = {"text_encoder_2", "CLIPTextModel", PARA_STAGE_TEXT},
            [TRANSFORMER] = {"transformer", "HunyuanVideoTransformer3DModel", PARA_STAGE_DENOISE},
            [VAE] = {"vae", "AutoencoderKLHunyuanVideo", PARA_STAGE_DECODE},
        },
    .transformer = TRANSFORMER,
    .parts =
        {
            {"scheduler", "FlowMatchEulerDiscreteScheduler", NULL},
            {"tokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"},
            {"tokenizer_2", "CLIPTokenizer", "CLIPTokenizerFast"},
        },
    .makes_videos = true,
    .one_prompt = true,
    .noise_is_f32 = true,
    .latents = PARA_LATENTS_CHANNELS_FIRST,
    .defaults = {.num_inference_steps = 50,
                 .guidance_scale = 6.0f,
                 .max_sequence_length = 256,
                 .most_sequence_length = 1024},
    .guidance = &para_true_cfg,
    .open = hunyuan_open,
    .load = hunyuan_load,
    .close = hunyuan_close,
    .own_size = hunyuan_own_size,
    .geometry = hunyuan_geometry,
    .schedule = hunyuan_schedule,
    .encode = hunyuan_encode,
    .decode = hunyuan_decode,
};
