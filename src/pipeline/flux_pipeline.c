/* FluxPipeline of diffusers: CLIP and T5 text, packed latents, flow matching, AutoencoderKL. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/float.h"
#include "core/path.h"
#include "core/rng.h"
#include "model/patches.h"
#include "pipeline/pipeline_state.h"
#include "scheduler/flow_match_euler.h"
#include "text/clip_text.h"
#include "text/t5_encoder.h"
#include "text/tokenizer.h"
#include "vae/autoencoder_kl.h"

enum { TEXT_ENCODER, TEXT_ENCODER_2, TRANSFORMER, VAE };
enum { PACK = 2 }; /* latents are packed in 2 × 2 patches */

typedef struct flux_state {
    para_flow_match_euler scheduler;
    para_tokenizer *tokenizer, *tokenizer_2;
    /* Read from the configs once, so that geometry needs no instance. */
    int64_t vae_scale, vae_sample_size, latent_channels, in_channels, heads, joint_attention_dim, pooled_projection_dim;
} flux_state;

static void flux_close(para_pipeline *pipe) {
    flux_state *s = pipe->family_state;
    if (!s) return;
    para_tokenizer_close(&s->tokenizer);
    para_tokenizer_close(&s->tokenizer_2);
    para_free(s);
    pipe->family_state = NULL;
}

/* Opens a folder of the pipeline with `open_folder`. */
static para_status open_tokenizer(const para_pipeline *pipe, const char *name,
                                  para_status (*open_folder)(para_tokenizer **, const char *), para_tokenizer **out) {
    char *folder = para_path_join(pipe->folder, name, "");
    if (!folder) return PARA_ERR_MEMORY;
    para_status status = open_folder(out, folder);
    para_free(folder);
    return status;
}

static para_status check_scheduler_class(const para_config *config) {
    static const char wanted[] = "FlowMatchEulerDiscreteScheduler";
    const char *named;
    PARA_TRY(para_config_string(config, "_class_name", wanted, &named));
    if (strcmp(named, wanted) == 0) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "'%s': _class_name is \"%s\", which is not supported; it must be %s",
                     config->path, named, wanted);
}

static para_status read_scheduler(para_pipeline *pipe, para_flow_match_euler *out) {
    para_config config = {0};
    char *path = para_path_join(pipe->folder, "scheduler/scheduler_config.json", "");
    if (!path) return PARA_ERR_MEMORY;
    para_status status = para_config_read(&config, path);
    if (status == PARA_OK) status = check_scheduler_class(&config);
    if (status == PARA_OK) status = para_flow_match_euler_read(out, &config);
    if (status == PARA_OK) status = para_pipeline_digest(pipe, &config);
    para_config_close(&config);
    para_free(path);
    if (status == PARA_OK && out->stochastic_sampling)
        return para_fail(PARA_ERR_CONFIG, "%s/scheduler: stochastic_sampling is not supported; set it to false",
                         pipe->folder);
    return status;
}

/* The configs that must agree with each other. */
static para_status read_geometry(const para_pipeline *pipe, flux_state *s) {
    void *vae = NULL, *transformer = NULL, *clip = NULL, *t5 = NULL;
    const para_component *c = pipe->component;
    para_status status = c[VAE].kind->open(&vae, &c[VAE].config);
    if (status == PARA_OK) status = c[TRANSFORMER].kind->open(&transformer, &c[TRANSFORMER].config);
    if (status == PARA_OK) status = c[TEXT_ENCODER].kind->open(&clip, &c[TEXT_ENCODER].config);
    if (status == PARA_OK) status = c[TEXT_ENCODER_2].kind->open(&t5, &c[TEXT_ENCODER_2].config);
    if (status == PARA_OK) {
        const para_autoencoder_kl_config *v = para_autoencoder_kl_settings(vae);
        const para_transformer *t = transformer;
        s->vae_scale = para_autoencoder_kl_scale(vae);
        s->vae_sample_size = v->sample_size;
        s->latent_channels = v->latent_channels;
        s->in_channels = t->in_channels;
        s->heads = t->heads;
        s->joint_attention_dim = t->joint_attention_dim;
        s->pooled_projection_dim = t->pooled_projection_dim;
        if (t->in_channels != v->latent_channels * PACK * PACK)
            status = para_fail(PARA_ERR_CONFIG,
                               "%s: in_channels %lld is not 4 x the VAE's latent_channels %lld; transformer and VAE do "
                               "not belong together",
                               c[TRANSFORMER].config.path, (long long)t->in_channels, (long long)v->latent_channels);
        else if (v->out_channels != 3)
            status = para_fail(PARA_ERR_CONFIG, "%s: out_channels is %lld; pictures need 3", c[VAE].config.path,
                               (long long)v->out_channels);
        else if (t->pooled_projection_dim != para_clip_text_hidden_size(clip))
            status = para_fail(PARA_ERR_CONFIG,
                               "%s: pooled_projection_dim %lld is not the first text encoder's hidden_size %lld",
                               c[TRANSFORMER].config.path, (long long)t->pooled_projection_dim,
                               (long long)para_clip_text_hidden_size(clip));
        else if (t->joint_attention_dim != para_t5_encoder_hidden_size(t5))
            status =
                para_fail(PARA_ERR_CONFIG, "%s: joint_attention_dim %lld is not the second text encoder's d_model %lld",
                          c[TRANSFORMER].config.path, (long long)t->joint_attention_dim,
                          (long long)para_t5_encoder_hidden_size(t5));
    }
    if (vae) c[VAE].kind->close(&vae);
    if (transformer) c[TRANSFORMER].kind->close(&transformer);
    if (clip) c[TEXT_ENCODER].kind->close(&clip);
    if (t5) c[TEXT_ENCODER_2].kind->close(&t5);
    return status;
}

static para_status flux_open(para_pipeline *pipe) {
    flux_state *s = pipe->family_state = para_alloc(1, sizeof *s);
    if (!s) return PARA_ERR_MEMORY;
    PARA_TRY(read_scheduler(pipe, &s->scheduler));
    return read_geometry(pipe, s);
}

static para_status flux_load(para_pipeline *pipe) {
    flux_state *s = pipe->family_state;
    if (!pipe->holder->instance[TEXT_ENCODER].model || pipe->options.random_weights) return PARA_OK;
    if (!s->tokenizer) PARA_TRY(open_tokenizer(pipe, "tokenizer", para_clip_tokenizer_open, &s->tokenizer));
    if (!s->tokenizer_2) PARA_TRY(open_tokenizer(pipe, "tokenizer_2", para_t5_tokenizer_open, &s->tokenizer_2));
    int64_t room = para_clip_text_max_tokens(pipe->holder[0].instance[TEXT_ENCODER].model);
    if (para_tokenizer_max_length(s->tokenizer) > room)
        return para_fail(
            PARA_ERR_CONFIG, "%s: max_position_embeddings %lld is less than the tokenizer's model_max_length %d",
            pipe->component[TEXT_ENCODER].config.path, (long long)room, para_tokenizer_max_length(s->tokenizer));
    return PARA_OK;
}

/* Rounds down to whole packed latents, as diffusers does, and says so. */
static para_status round_edge(const para_pipeline *pipe, const char *name, int asked, int fallback, int unit,
                              int *out) {
    int wanted = asked ? asked : fallback;
    *out = wanted / unit * unit;
    if (*out == 0)
        return para_fail(PARA_ERR_ARGUMENT, "%s (--%s) %d is too small; this model needs at least %d pixels", name,
                         name, wanted, unit);
    if (*out != wanted)
        para_pipeline_log(pipe, PARA_LOG_WARNING, "%s %d is not a multiple of %d: the picture gets %d", name, wanted,
                          unit, *out);
    return PARA_OK;
}

/* A tensor of the request: contiguous, of these sizes and a type that is converted; `what` names it, `of` says which sizes. */
static para_status check_given(const para_tensor *t, int rank, const int64_t *dim, const char *what, const char *of) {
    bool same = t->rank == rank && t->data && para_tensor_contiguous(t);
    char sizes[96] = "";
    for (int i = 0; i < rank; i++) {
        same = same && t->dim[i] == dim[i];
        snprintf(sizes + strlen(sizes), sizeof sizes - strlen(sizes), i ? ", %lld" : "%lld", (long long)dim[i]);
    }
    if (!same) return para_fail(PARA_ERR_SHAPE, "%s must be contiguous [%s] %s", what, sizes, of);
    if (t->dtype != PARA_F32 && t->dtype != PARA_F16 && t->dtype != PARA_BF16)
        return para_fail(PARA_ERR_SHAPE, "%s are %s; give F32, F16 or BF16", what, para_dtype_name(t->dtype));
    return PARA_OK;
}

static para_status check_embeds(const flux_state *s, const para_request *r) {
    const para_tensor *embeds = r->prompt_embeds, *pooled = r->pooled_prompt_embeds;
    if (!embeds) return PARA_OK;
    if (!pooled) return para_fail(PARA_ERR_ARGUMENT, "prompt_embeds need pooled_prompt_embeds beside them");
    int64_t tokens = embeds->rank > 0 && embeds->dim[0] > 0 ? embeds->dim[0] : 1;
    PARA_TRY(check_given(embeds, 2, (int64_t[]){tokens, s->joint_attention_dim}, "prompt_embeds", "as the transformer takes"));
    return check_given(pooled, 2, (int64_t[]){1, s->pooled_projection_dim}, "pooled_prompt_embeds", "as the transformer takes");
}

static para_status flux_geometry(const para_pipeline *pipe, const para_request *r, para_geometry *g) {
    const flux_state *s = pipe->family_state;
    int unit = (int)(s->vae_scale * PACK), fallback = (int)s->vae_sample_size;
    PARA_TRY(round_edge(pipe, "height", r->height, fallback, unit, &g->height));
    PARA_TRY(round_edge(pipe, "width", r->width, fallback, unit, &g->width));
    g->frames = 1;
    g->grid_h = g->height / unit;
    g->grid_w = g->width / unit;
    g->channels = s->in_channels;
    PARA_TRY(check_embeds(s, r));
    g->text_tokens = r->prompt_embeds ? r->prompt_embeds->dim[0] : r->max_sequence_length;
    g->heads = s->heads;
    if (r->latents) {
        char pixels[64];
        snprintf(pixels, sizeof pixels, "for %d x %d pixels", g->width, g->height);
        PARA_TRY(check_given(r->latents, 3, (int64_t[]){r->num_images, g->grid_h * g->grid_w, g->channels},
                             "latents (--latents)", pixels));
    }
    return PARA_OK;
}

static para_status flux_schedule(const para_pipeline *pipe, const para_request *r, const para_geometry *g,
                                 float *sigmas, float *timesteps) {
    const flux_state *s = pipe->family_state;
    int steps = r->num_inference_steps;
    double *own = NULL;
    if (!r->sigmas && !s->scheduler.use_flow_sigmas) { /* numpy.linspace(1, 1 / steps, steps) */
        if (!(own = para_alloc((size_t)steps, sizeof *own))) return PARA_ERR_MEMORY;
        double step = steps > 1 ? (1.0 / steps - 1.0) / (steps - 1) : 0;
        for (int i = 0; i < steps; i++) own[i] = i * step + 1.0;
        if (steps > 1) own[steps - 1] = 1.0 / steps;
    }
    double mu = para_flow_match_euler_mu(&s->scheduler, g->grid_h * g->grid_w);
    const double *given = s->scheduler.use_flow_sigmas ? NULL : own ? own : r->sigmas;
    para_status status = para_flow_match_euler_sigmas(&s->scheduler, steps, given, mu, sigmas, timesteps);
    para_free(own);
    return status;
}

/* As good as random: all over the vocabulary. */
static void scatter_ids(int64_t vocab_size, int length, int32_t *ids) {
    for (int i = 0; i < length; i++) ids[i] = (int32_t)(((int64_t)i + 1) * 7919 % vocab_size);
}

/* Ids of a prompt for one text encoder, host [length]; a dry run takes `length` tokens whatever the prompt. */
static para_status tokenize(para_run *run, const para_tokenizer *t, const char *prompt, int length, const char *half,
                            const char *which, int32_t *ids) {
    if (run->dry) return PARA_OK;
    int used, dropped;
    PARA_TRY(para_tokenize(t, prompt, strlen(prompt), length, ids, &used, &dropped));
    if (dropped > 0)
        para_world_log(run->pipe->world, PARA_LOG_WARNING,
                       "the %sprompt is too long for the %s text encoder: its last %d tokens were cut (limit %d)",
                       *half ? "negative " : "", which, dropped, length);
    return PARA_OK;
}

static para_status encode_clip(para_run *run, const char *prompt, const char *half, para_tensor *pooled) {
    const flux_state *s = run->pipe->family_state;
    para_clip_text *m = run->instance[TEXT_ENCODER].model;
    bool random = run->pipe->options.random_weights;
    int length = run->dry || random ? (int)para_clip_text_max_tokens(m) : para_tokenizer_max_length(s->tokenizer);
    PARA_TRY(PARA_NEW(run->rank->device, pooled, run->pipe->options.dtype, 1, para_clip_text_hidden_size(m)));
    if (!para_run_leads(run)) return PARA_OK;
    int32_t *ids = para_alloc((size_t)length, sizeof *ids);
    if (!ids) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    if (random) scatter_ids(para_clip_text_vocab_size(m), length, ids);
    else status = tokenize(run, s->tokenizer, prompt, length, half, "CLIP", ids);
    if (status == PARA_OK) status = para_clip_text_encode(m, run->rank, ids, length, *pooled);
    para_free(ids);
    PARA_TRY(status);
    PARA_TRY(para_run_check_finite(run, *pooled, "the CLIP text encoder"));
    return para_trace_stage(run->rank->device, pooled, "text.clip%s", half);
}

static para_status encode_t5(para_run *run, const char *prompt, const char *half, para_tensor *hidden) {
    const flux_state *s = run->pipe->family_state;
    para_t5_encoder *m = run->instance[TEXT_ENCODER_2].model;
    int length = run->request->max_sequence_length;
    PARA_TRY(PARA_NEW(run->rank->device, hidden, run->pipe->options.dtype, length, para_t5_encoder_hidden_size(m)));
    if (!para_run_leads(run)) return PARA_OK;
    int32_t *ids = para_alloc((size_t)length, sizeof *ids);
    if (!ids) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    if (run->pipe->options.random_weights) scatter_ids(para_t5_encoder_vocab_size(m), length, ids);
    else status = tokenize(run, s->tokenizer_2, prompt, length, half, "T5", ids);
    if (status == PARA_OK) status = para_t5_encoder_encode(m, run->rank, ids, length, *hidden);
    para_free(ids);
    PARA_TRY(status);
    PARA_TRY(para_run_check_finite(run, *hidden, "the T5 text encoder"));
    return para_trace_stage(run->rank->device, hidden, "text.t5%s", half);
}

static para_status flux_encode(para_run *run, const char *prompt, const char *prompt_2, const char *half,
                               para_conditioning_inputs *out) {
    PARA_TRY(encode_clip(run, prompt, half, &out->pooled_projections));
    return encode_t5(run, prompt_2, half, &out->encoder_hidden_states);
}

/* Noise [n, C, 2h, 2w] from the seed, in the type of the activations, as diffusers draws it; then packed. */
static para_status seeded_noise(para_run *run, para_tensor latents) {
    const para_request *r = run->request;
    para_device *dev = run->rank->device;
    const para_geometry *g = &run->geometry;
    int64_t channels = g->channels / (PACK * PACK);
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor noise;
    PARA_TRY(PARA_NEW(dev, &noise, run->pipe->options.dtype, latents.dim[0], channels, 1, PACK * g->grid_h,
                      PACK * g->grid_w));
    if (!run->dry) {
        para_rng *rng = para_alloc(1, sizeof *rng);
        void *host = para_alloc((size_t)para_tensor_count(&noise), para_dtype_size(noise.dtype));
        para_status status = rng && host ? PARA_OK : PARA_ERR_MEMORY;
        if (status == PARA_OK) {
            para_rng_seed(rng, r->rng == PARA_SEED_CUDA ? PARA_RNG_CUDA : PARA_RNG_CPU, r->seed);
            para_rng_normal(rng, host, noise.dtype, para_tensor_count(&noise));
            status = dev->ops->upload(dev, noise, host);
        }
        para_free(rng);
        para_free(host);
        PARA_TRY(status);
    }
    PARA_TRY(para_patchify(dev, noise, 1, PACK, latents));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_status flux_noise(para_run *run, para_tensor latents) {
    const para_tensor *given = run->request->latents;
    if (!given) return seeded_noise(run, latents);
    return para_run_upload(run, latents, given, "reading the given latents");
}

/* y += c, F32 contiguous, through the op table. */
static para_status add_constant(para_run *run, para_tensor y, float scale, float c) {
    para_device *dev = run->rank->device;
    int64_t n = para_tensor_count(&y);
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor constant;
    PARA_TRY(para_new(dev, &constant, PARA_F32, y.rank, y.dim));
    if (!run->dry) {
        float *host = para_alloc((size_t)n, sizeof *host);
        if (!host) return PARA_ERR_MEMORY;
        for (int64_t i = 0; i < n; i++) host[i] = 1.0f;
        para_status status = dev->ops->upload(dev, constant, host);
        para_free(host);
        PARA_TRY(status);
    }
    PARA_TRY(dev->ops->combine(dev, y, 2, (para_tensor[]){y, constant}, (float[]){scale, c}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_status flux_decode(para_run *run, const para_comm *comm, para_tensor latents, para_tensor images) {
    para_device *dev = run->rank->device;
    const para_geometry *g = &run->geometry;
    const para_autoencoder_kl *vae = run->instance[VAE].model;
    const para_autoencoder_kl_config *v = para_autoencoder_kl_settings(vae);
    para_dtype dtype = run->pipe->options.dtype;
    int64_t n = latents.dim[0], h = g->grid_h * PACK, w = g->grid_w * PACK;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor z, input, pixels;
    PARA_TRY(PARA_NEW(dev, &z, PARA_F32, n, v->latent_channels, 1, h, w));
    PARA_TRY(para_unpatchify(dev, latents, 1, PACK, z));
    PARA_TRY(add_constant(run, z, (float)(1.0 / v->scaling_factor), (float)v->shift_factor));
    para_tensor nchw = PARA_RESHAPE(z, n, v->latent_channels, h, w);
    PARA_TRY(para_trace_stage(dev, &nchw, "vae.decode.in"));
    PARA_TRY(PARA_NEW(dev, &input, dtype, n, h, w, v->latent_channels));
    PARA_TRY(dev->ops->copy(dev, input, PARA_PERMUTE(nchw, 0, 2, 3, 1)));
    pixels = para_tensor_make(NULL, dtype, 4, (int64_t[]){n, g->height, g->width, 3});
    if (para_run_leads(run)) PARA_TRY(para_new(dev, &pixels, dtype, 4, pixels.dim));
    PARA_TRY(para_autoencoder_kl_decode(vae, dev, comm, input, run->request->vae_tiling || comm, pixels));
    if (para_run_leads(run)) {
        PARA_TRY(dev->ops->copy(dev, images, PARA_PERMUTE(pixels, 0, 3, 1, 2)));
        PARA_TRY(add_constant(run, images, 0.5f, 0.5f)); /* -1..1 to 0..1 */
    }
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
    .open = flux_open,
    .load = flux_load,
    .close = flux_close,
    .geometry = flux_geometry,
    .schedule = flux_schedule,
    .encode = flux_encode,
    .noise = flux_noise,
    .decode = flux_decode,
};
