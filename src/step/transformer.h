/* The transformer table: what every diffusion transformer implements, and all that cache, compile and
 * parallelism know of it. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_STEP_TRANSFORMER_H
#define PARA_STEP_TRANSFORMER_H

#include "backend/weights.h"
#include "io/config.h"
#include "parallel/layout.h"
#include "step/recorded.h"

typedef struct para_transformer para_transformer;
typedef struct para_conditioning para_conditioning;

/* What a prompt and the settings of a request give a transformer; the same at every step. */
typedef struct para_conditioning_inputs {
    para_tensor encoder_hidden_states; /* [S_txt, joint_attention_dim] those that take part */
    para_tensor pooled_projections;    /* [1, pooled_projection_dim], or none */
    float guidance_scale;              /* embedded where the model has a guidance embedding */
    int steps;                         /* denoising steps */
    const float *timesteps;            /* host [steps], as the scheduler gives them (0..1000) */
    int64_t frames, height, width;     /* token grid of the picture or video */
    para_shard shard;                  /* what of its tokens, and of the text's, this rank holds */
    para_dtype dtype;                  /* of the activations */
} para_conditioning_inputs;

/* Prepared from the inputs for this rank's tokens, shared by all items of one prompt: modulation of every step, position tables, embedded text. */
struct para_conditioning {
    para_shard shard;
    para_dtype dtype;
    para_tensor modulation;       /* F32 [steps, model's own length] */
    para_tensor cos, sin;         /* F32 [S, head dim], image then text tokens of the shard; or none */
    para_tensor rope_positions;   /* F32 [S_img, 3], by which heads turn that have frequencies of their own; or none */
    para_tensor positions;        /* [S_img, D] of the dtype, added to the tokens of the latents; or none */
    para_tensor text_hidden_states; /* [S_txt, D], or [steps, S_txt, D] where it changes with the step, or [S_txt, text_dim]; tokens of the shard */
};

/* One picture or video, or one CFG half of it, on its way through a step. */
typedef struct para_item {
    const para_conditioning *conditioning;
    int step;             /* index of the step: para_item_go_to */
    para_tensor residual_stream; /* [S, D]: hidden_states (image rows), then encoder_hidden_states (text rows); or [S_img, D] */
    para_tensor text_stream;     /* [S_txt, text_dim]: the text's rows, where they have a width of their own; else none */
    para_tensor modulation;      /* F32 [model's own length], of the step */
    para_recorded *recorded;     /* where the step is compiled; or NULL */
    para_tensor normed;          /* as residual_stream: what a block left for the next one, where the transformer's blocks do so; else none */
    para_tensor text_normed;     /* and as text_stream */
    int normed_for;              /* which one that is; -1: none */
} para_item;

typedef struct para_transformer_table {
    const char *class_name; /* as in the config's _class_name */
    void (*close)(para_transformer *t);
    /* Declares every weight. */
    void (*weights)(para_transformer *t, para_weights *list);
    /* Computes what does not depend on the latents, into the rank's arena. */
    para_status (*prepare)(para_transformer *t, para_rank *rank, const para_conditioning_inputs *in, para_conditioning *out);
    /* latents [S_img of the shard, in_channels] → residual stream. */
    para_status (*embed)(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents);
    int (*num_blocks)(const para_transformer *t);
    para_status (*block)(para_transformer *t, para_rank *rank, para_item *item, int i);
    /* residual stream → prediction [S_img of the shard, out_channels]. */
    para_status (*head)(para_transformer *t, para_rank *rank, para_item *item, para_tensor out);
} para_transformer_table;

/* Every transformer starts with this. */
struct para_transformer {
    const para_transformer_table *table;
    int64_t in_channels;           /* of a token of the latents */
    int64_t out_channels;          /* of a token of the prediction */
    int64_t inner_dim;             /* D of the residual stream */
    int64_t text_dim;              /* of the text's rows, where they lie apart for their width; 0: they follow the image's, D wide */
    int64_t heads;                 /* of its attention, or of the self-attention that most time goes to */
    int64_t joint_attention_dim;   /* of encoder_hidden_states as it comes in */
    int64_t pooled_projection_dim; /* 0: none */
    bool guidance_embeds;
    bool norms_ahead;              /* blocks end with the norm that the next one begins with: item->normed */
    para_weights *offloaded;       /* its list, where its blocks' weights take turns on the device; or NULL */
};

/* Room for an item's residual stream, in the arena. recorded: the caller's, or NULL. */
para_status para_item_open(para_rank *rank, const para_transformer *t, const para_conditioning *conditioning, para_recorded *recorded, para_item *out);
/* To a step: with its modulation, which lies where that of the step before lay if the item is compiled. */
para_status para_item_go_to(para_rank *rank, para_item *item, int step);

/* One evaluation: embed, all blocks, head. latents [S_img, in_channels], out [S_img, out_channels], both of the conditioning's type. Attention goes
 * over the ranks that hold the conditioning's shards. Traces whole tensors. Collective over these ranks. */
para_status para_transformer_forward(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents, para_tensor out);

/* The same in parts. Blocks: first to last - 1, without those that skip [num_blocks] (or NULL) names. */
para_status para_transformer_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents);
para_status para_transformer_blocks(para_transformer *t, para_rank *rank, para_item *item, int first, int last, const bool *skip);
para_status para_transformer_head(para_transformer *t, para_rank *rank, para_item *item, para_tensor out);

static inline para_tensor para_item_hidden_states(const para_item *item) {
    return para_rows(item->residual_stream, 0, item->conditioning->shard.tokens[PARA_IMAGE]);
}
static inline para_tensor para_item_encoder_hidden_states(const para_item *item) {
    const para_shard *s = &item->conditioning->shard;
    if (item->text_stream.data) return item->text_stream;
    return para_rows(item->residual_stream, s->tokens[PARA_IMAGE], s->tokens[PARA_TEXT]);
}

#endif
