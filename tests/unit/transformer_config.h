/* A transformer's config: what a model of it holds, what a step of it costs, what is refused. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_TRANSFORMER_CONFIG_H
#define PARA_TESTS_TRANSFORMER_CONFIG_H

#include "backend/counts.h"
#include "backend/weights.h"
#include "comm/rank.h"
#include "io_checks.h"
#include "parallel/mesh.h"
#include "step/transformer.h"

typedef para_status (*transformer_open)(para_transformer **out, const para_config *config);

static inline para_status open_text(transformer_open open, para_transformer **out, const char *text) {
    para_config config;
    assert_ok(para_config_parse(&config, text, strlen(text), "transformer/config.json"));
    para_status status = open(out, &config);
    para_config_close(&config);
    return status;
}

/* A model with weights that nobody reads. */
typedef struct dry_model {
    para_transformer *t;
    para_weights *weights;
    para_device *dry;
} dry_model;

/* parameters: as torch counts them. */
static inline void dry_model_open(dry_model *m, transformer_open open, const char *text, int64_t parameters) {
    assert_ok(open_text(open, &m->t, text));
    assert_ok(para_dry_open(&m->dry));
    assert_ok(para_weights_open(&m->weights));
    m->t->table->weights(m->t, m->weights);
    assert_ok(para_weights_load(m->weights, m->dry, NULL, PARA_BF16));
    assert_int_equal(para_weights_parameters(m->weights), parameters);
}

static inline void dry_model_close(dry_model *m) {
    para_weights_close(&m->weights);
    para_device_close(&m->dry);
    m->t->table->close(m->t);
}

/* What is prepared for a step of a grid of tokens and so many of text, and the step. */
static inline para_status count_step(const dry_model *m, const int64_t grid[3], int64_t text, para_counts *prepared,
                                     para_counts *step) {
    para_device *dry = m->dry;
    para_transformer *t = m->t;
    para_rank rank = {.device = dry, .size = 1};
    para_mesh mesh = {1, 1, 1};
    para_layout_options o = PARA_LAYOUT_OPTIONS_INIT;
    para_layout *layout;
    o.tokens[PARA_IMAGE] = grid[0] * grid[1] * grid[2];
    o.tokens[PARA_TEXT] = text;
    assert_ok(para_layout_open(&layout, &mesh, &o));
    para_conditioning_inputs in = {.guidance_scale = 6,
                                   .steps = 1,
                                   .timesteps = &(float){999},
                                   .frames = grid[0],
                                   .height = grid[1],
                                   .width = grid[2],
                                   .shard = para_shard_of(&mesh, layout, 0),
                                   .dtype = PARA_BF16};
    para_conditioning conditioning;
    para_item item;
    para_tensor latents, out;
    PARA_TRY(PARA_NEW(dry, &in.encoder_hidden_states, PARA_BF16, text, t->joint_attention_dim));
    if (t->pooled_projection_dim)
        PARA_TRY(PARA_NEW(dry, &in.pooled_projections, PARA_BF16, 1, t->pooled_projection_dim));
    PARA_TRY(PARA_NEW(dry, &latents, PARA_BF16, o.tokens[PARA_IMAGE], t->in_channels));
    PARA_TRY(PARA_NEW(dry, &out, PARA_BF16, o.tokens[PARA_IMAGE], t->out_channels));
    *para_dry_counts(dry) = (para_counts){0};
    PARA_TRY(t->table->prepare(t, &rank, &in, &conditioning));
    *prepared = *para_dry_counts(dry);
    PARA_TRY(para_item_open(&rank, t, &conditioning, NULL, &item));
    PARA_TRY(para_item_go_to(&rank, &item, 0));
    *para_dry_counts(dry) = (para_counts){0};
    PARA_TRY(para_transformer_forward(t, &rank, &item, latents, out));
    *step = *para_dry_counts(dry);
    para_layout_close(&layout);
    return PARA_OK;
}

/* A config that is refused, and what its sentence holds besides the file's name. */
typedef struct bad_config {
    const char *text, *says;
} bad_config;

static inline void refuse_all(transformer_open open, const bad_config *bad, size_t n) {
    for (size_t i = 0; i < n; i++) {
        para_transformer *t;
        assert_fails(PARA_ERR_CONFIG, bad[i].says, open_text(open, &t, bad[i].text));
        assert_non_null(strstr(para_last_error(), "transformer/config.json"));
    }
}

#endif
