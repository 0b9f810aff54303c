/* Requests on their way to other processes. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/request_message.h"

#include <string.h>

#include "core/alloc.h"

/* What its pointers point to follows; a pointer is the distance from the start, NULL stays NULL. */
typedef struct packed_request {
    para_request request;
    para_tensor latents, prompt_embeds, pooled_prompt_embeds, negative_prompt_embeds, negative_pooled_prompt_embeds;
} packed_request;

/* Fills a message, or without `base` only finds its size. */
typedef struct packer {
    char *base;
    size_t size;
} packer;

static const void *put(packer *p, const void *from, size_t bytes) {
    if (!from) return NULL;
    size_t at = p->size;
    if (p->base) memcpy(p->base + at, from, bytes);
    p->size += (bytes + 7) / 8 * 8; /* whatever follows is aligned */
    return (const void *)(uintptr_t)at;
}

static void put_tensor(packer *p, para_tensor *to, const para_tensor *t) {
    if (!t) return;
    to->dtype = t->dtype;
    to->rank = t->rank;
    for (int i = 0; i < t->rank; i++) to->dim[i] = t->dim[i], to->stride[i] = t->stride[i];
    to->data = (void *)(uintptr_t)put(p, t->data, (size_t)para_tensor_count(t) * para_dtype_size(t->dtype));
}

static const char *put_text(packer *p, const char *text) {
    return put(p, text, text ? strlen(text) + 1 : 0);
}

/* Every field, and what it points to. */
static void put_all(packer *p, const para_request *r) {
    packed_request none = {0}, *m = p->base ? (packed_request *)(void *)p->base : &none;
    p->size = sizeof *m;
    para_request *to = &m->request;
    to->size = r->size;
    to->true_cfg_scale = r->true_cfg_scale;
    to->height = r->height;
    to->width = r->width;
    to->num_frames = r->num_frames;
    to->num_inference_steps = r->num_inference_steps;
    to->guidance_scale = r->guidance_scale;
    to->num_images = r->num_images;
    to->seed = r->seed;
    to->rng = r->rng;
    to->max_sequence_length = r->max_sequence_length;
    to->vae_tiling = r->vae_tiling;
    to->latents_only = r->latents_only;
    to->use_dynamic_cfg = r->use_dynamic_cfg;
    to->profile = r->profile;
    to->sigmas = put(p, r->sigmas, (size_t)r->num_inference_steps * sizeof *r->sigmas);
    put_tensor(p, &m->latents, r->latents);
    put_tensor(p, &m->prompt_embeds, r->prompt_embeds);
    put_tensor(p, &m->pooled_prompt_embeds, r->pooled_prompt_embeds);
    put_tensor(p, &m->negative_prompt_embeds, r->negative_prompt_embeds);
    put_tensor(p, &m->negative_pooled_prompt_embeds, r->negative_pooled_prompt_embeds);
    to->prompt = put_text(p, r->prompt);
    to->prompt_2 = put_text(p, r->prompt_2);
    to->negative_prompt = put_text(p, r->negative_prompt);
    to->negative_prompt_2 = put_text(p, r->negative_prompt_2);
}

para_status para_request_pack(const para_request *request, void **bytes, size_t *size) {
    packer p = {0};
    put_all(&p, request);
    if (!(*bytes = p.base = para_alloc(p.size, 1))) return PARA_ERR_MEMORY;
    put_all(&p, request);
    *size = p.size;
    return PARA_OK;
}

static void *found(char *base, const void *distance) {
    return distance ? base + (uintptr_t)distance : NULL;
}

static const para_tensor *found_tensor(char *base, para_tensor *t) {
    t->data = found(base, t->data);
    return t->data ? t : NULL;
}

const para_request *para_request_unpack(void *bytes) {
    packed_request *m = bytes;
    para_request *r = &m->request;
    r->sigmas = found(bytes, r->sigmas);
    r->latents = found_tensor(bytes, &m->latents);
    r->prompt_embeds = found_tensor(bytes, &m->prompt_embeds);
    r->pooled_prompt_embeds = found_tensor(bytes, &m->pooled_prompt_embeds);
    r->negative_prompt_embeds = found_tensor(bytes, &m->negative_prompt_embeds);
    r->negative_pooled_prompt_embeds = found_tensor(bytes, &m->negative_pooled_prompt_embeds);
    r->prompt = found(bytes, r->prompt);
    r->prompt_2 = found(bytes, r->prompt_2);
    r->negative_prompt = found(bytes, r->negative_prompt);
    r->negative_prompt_2 = found(bytes, r->negative_prompt_2);
    return r;
}
