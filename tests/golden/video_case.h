/* Runs the transformer of a golden video case, on any mesh, and compares every stage with diffusers'. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_VIDEO_CASE_H
#define PARA_TESTS_VIDEO_CASE_H

#include "golden.h"
#include "model/cogvideox.h"
#include "model/hunyuan_video.h"
#include "model/mochi.h"
#include "model/patches.h"
#include "test_device.h"

enum { VIDEO_MOST_CASES = 4 /* of a kind */, VIDEO_MOST_RUNS = 4 };

/* A model's class, the sizes of its patches and its cases. */
typedef struct video_kind {
    const char *class_name;
    void (*patch)(const para_transformer *t, int64_t *patch_size_t, int64_t *patch_size);
    const char *cases[VIDEO_MOST_CASES]; /* then NULL */
} video_kind;

static inline int video_cases(const video_kind *kind) {
    int n = 0;
    while (n < VIDEO_MOST_CASES && kind->cases[n]) n++;
    return n;
}

static const video_kind hunyuan_kind = {"HunyuanVideoTransformer3DModel",
                                        para_hunyuan_video_patch,
                                        {"hunyuan-guided", "hunyuan-odd", "hunyuan-text"}};

static inline void video_mochi_patch(const para_transformer *t, int64_t *patch_size_t, int64_t *patch_size) {
    *patch_size_t = 1;
    *patch_size = para_mochi_patch(t);
}
static const video_kind mochi_kind = {
    "MochiTransformer3DModel", video_mochi_patch, {"mochi-wide", "mochi-odd", "mochi-text"}};

static const video_kind cogvideox_kind = {"CogVideoXTransformer3DModel",
                                          para_cogvideox_patch,
                                          {"cogvideox-2b", "cogvideox-5b", "cogvideox-1.5", "cogvideox-learned"}};

/* A run is a prompt of so many valid tokens, of those that the case has with padding (of all, where it tells no lengths), at one of its timesteps. */
typedef struct video_case {
    /* The caller's: */
    const video_kind *kind;
    para_dtype dtype;         /* of the activations; 0: F32 */
    int ring, ulysses;        /* the mesh; 0: 1 */
    const para_ops *ops;      /* what the device computes with; NULL: as it is */
    bool print, stop;         /* as in golden_run */
    bool untraced;            /* nothing is compared */
    /* What came out: */
    golden_run g;             /* errors by stage; in F32 they count */
    int runs;
    float *head[VIDEO_MOST_RUNS];       /* predictions [tokens, values]; freed by video_case_close */
    double head_error[VIDEO_MOST_RUNS]; /* relative L2 to diffusers' in float32 */
    int64_t head_count;
    /* On the way: */
    int64_t lengths[VIDEO_MOST_RUNS], steps[VIDEO_MOST_RUNS], frames, height, width, patch_t, patch;
    int num_timesteps;
    float timesteps[VIDEO_MOST_RUNS];
    para_mesh *mesh;
    para_component component;
    int run; /* the one that is traced */
} video_case;

static inline para_tensor video_input(const video_case *c, const char *name) {
    int64_t i = para_safetensors_find(c->g.reference, name);
    assert_true(i >= 0);
    return para_safetensors_tensor(c->g.reference, i);
}

/* The whole prediction: kept, and put together to a video, "sample". */
static inline void video_on_head(video_case *c, const para_tensor *head) {
    para_device *dev = c->g.device;
    int64_t n = c->head_count = para_tensor_count(head), channels = head->dim[1] / (c->patch_t * c->patch * c->patch);
    char name[64];
    para_tensor packed, sample, tokens = *head;
    tokens.rank = 3;
    for (int i = 2; i > 0; i--) {
        tokens.dim[i] = head->dim[i - 1];
        tokens.stride[i] = head->stride[i - 1];
    }
    tokens.dim[0] = 1;
    c->head[c->run] = malloc((size_t)n * sizeof(float));
    size_t mark = para_arena_mark(&dev->arena);
    assert_int_equal(para_new(dev, &packed, PARA_F32, 2, head->dim), PARA_OK);
    assert_int_equal(dev->ops->copy(dev, packed, *head), PARA_OK);
    assert_int_equal(dev->ops->download(dev, c->head[c->run], &packed), PARA_OK);
    snprintf(name, sizeof name, "%d.head", c->run);
    c->head_error[c->run] = golden_relative_l2(c->head[c->run], video_input(c, name).data, n);
    assert_int_equal(PARA_NEW(dev, &sample, head->dtype, 1, channels, c->frames, c->height, c->width), PARA_OK);
    assert_int_equal(para_unpatchify(dev, tokens, c->patch_t, c->patch, sample), PARA_OK);
    snprintf(name, sizeof name, "%d.sample", c->run);
    (void)golden_on_stage(&c->g, name, &sample); /* its failure is counted */
    para_arena_release(&dev->arena, mark);
}

static inline para_status video_on_stage(void *user, const char *stage, const para_tensor *t) {
    video_case *c = user;
    char name[64];
    if (para_tensor_count(t) == 0) return PARA_OK; /* of no text */
    if (strcmp(stage, "head") == 0) video_on_head(c, t);
    snprintf(name, sizeof name, "%d.%.50s", c->run, stage);
    return golden_on_stage(&c->g, name, t);
}

static inline para_status video_on_nothing(void *user, const char *stage, const para_tensor *t) {
    (void)user;
    (void)stage;
    (void)t;
    return PARA_OK;
}

/* Host F32 values on the device, in another type. */
static inline para_status video_upload(para_device *dev, para_tensor out, const void *values) {
    para_tensor whole;
    PARA_TRY(para_new(dev, &whole, PARA_F32, out.rank, out.dim));
    PARA_TRY(dev->ops->upload(dev, whole, values));
    return dev->ops->copy(dev, out, whole);
}

static inline para_status video_inputs(const video_case *c, para_rank *rank, const para_shard *shard, int run,
                                         para_conditioning_inputs *in) {
    para_tensor text = video_input(c, "in.encoder_hidden_states");
    *in = (para_conditioning_inputs){.guidance_scale = golden_number(&c->g, "guidance_scale"),
                                     .steps = c->num_timesteps,
                                     .timesteps = c->timesteps,
                                     .frames = c->frames / c->patch_t,
                                     .height = c->height / c->patch,
                                     .width = c->width / c->patch,
                                     .shard = *shard,
                                     .dtype = c->dtype};
    PARA_TRY(PARA_NEW(rank->device, &in->encoder_hidden_states, c->dtype, c->lengths[run], text.dim[1]));
    PARA_TRY(video_upload(rank->device, in->encoder_hidden_states, text.data));
    if (para_safetensors_find(c->g.reference, "in.pooled_projections") < 0) return PARA_OK;
    para_tensor pooled = video_input(c, "in.pooled_projections");
    PARA_TRY(PARA_NEW(rank->device, &in->pooled_projections, c->dtype, 1, pooled.dim[0]));
    return video_upload(rank->device, in->pooled_projections, pooled.data);
}

static inline para_status video_run(const video_case *c, para_transformer *t, para_rank *rank,
                                      const para_shard *shard, int run) {
    para_device *dev = rank->device;
    para_tensor video = video_input(c, "in.latents"), latents, tokens, out;
    para_conditioning_inputs in;
    para_conditioning conditioning;
    para_item item;
    PARA_TRY(PARA_NEW(dev, &latents, PARA_F32, 1, video.dim[0], c->frames, c->height, c->width));
    PARA_TRY(PARA_NEW(dev, &tokens, c->dtype, 1, shard->total[PARA_IMAGE], t->in_channels));
    PARA_TRY(PARA_NEW(dev, &out, c->dtype, shard->tokens[PARA_IMAGE], t->out_channels));
    PARA_TRY(dev->ops->upload(dev, latents, video.data));
    PARA_TRY(para_patchify(dev, latents, c->patch_t, c->patch, tokens));
    para_tensor whole = PARA_RESHAPE(tokens, tokens.dim[1], tokens.dim[2]);
    PARA_TRY(video_inputs(c, rank, shard, run, &in));
    PARA_TRY(t->table->prepare(t, rank, &in, &conditioning));
    PARA_TRY(para_item_open(rank, t, &conditioning, NULL, &item));
    PARA_TRY(para_item_go_to(rank, &item, (int)c->steps[run]));
    return para_transformer_forward(t, rank, &item, para_rows(whole, shard->first[PARA_IMAGE], shard->tokens[PARA_IMAGE]),
                                    out);
}

static inline para_status video_runs(video_case *c, para_transformer *t, para_rank *rank) {
    int index = para_mesh_comm(rank, c->mesh, PARA_AXIS_TOKENS).index;
    const para_trace trace = {index == 0 ? video_on_stage : video_on_nothing, c};
    para_status status = PARA_OK;
    for (int run = 0; run < c->runs && status == PARA_OK; run++) {
        size_t mark = para_arena_mark(&rank->device->arena);
        para_layout *layout;
        para_layout_options o = PARA_LAYOUT_OPTIONS_INIT;
        o.tokens[PARA_IMAGE] = c->frames / c->patch_t * (c->height / c->patch) * (c->width / c->patch);
        o.tokens[PARA_TEXT] = c->lengths[run];
        PARA_TRY(para_layout_open(&layout, c->mesh, &o));
        para_shard shard = para_shard_of(c->mesh, layout, index);
        if (index == 0) c->run = run;
        rank->device->trace = c->untraced ? NULL : &trace;
        status = video_run(c, t, rank, &shard, run);
        rank->device->trace = NULL;
        para_layout_close(&layout);
        para_arena_release(&rank->device->arena, mark);
    }
    return status;
}

/* Every rank has weights of its own. */
static inline para_status video_body(para_rank *rank, void *user) {
    video_case *c = user;
    const para_ops *as_it_is = rank->device->ops;
    const para_pipeline_options options = PARA_PIPELINE_OPTIONS_INIT;
    para_instance instance;
    if (c->ops) rank->device->ops = c->ops;
    para_status status = para_instance_open(&instance, &c->component, rank->device, &options, (para_placing){0});
    if (status == PARA_OK) status = video_runs(c, instance.model, rank);
    para_instance_close(&instance);
    rank->device->ops = as_it_is;
    return status;
}

static inline void video_settings(video_case *c) {
    int steps = 0;
    c->frames = golden_int(&c->g, "frames");
    c->height = golden_int(&c->g, "height");
    c->width = golden_int(&c->g, "width");
    assert_int_equal(para_config_ints(&c->g.settings, "lengths", c->lengths, VIDEO_MOST_RUNS, &c->runs), PARA_OK);
    assert_int_equal(para_config_ints(&c->g.settings, "steps", c->steps, VIDEO_MOST_RUNS, &steps), PARA_OK);
    for (; c->runs < steps && !para_config_has(&c->g.settings, "lengths"); c->runs++)
        c->lengths[c->runs] = video_input(c, "in.encoder_hidden_states").dim[0];
    assert_int_equal(steps, c->runs);
    const json_t *timesteps = json_object_get(c->g.settings.root, "timesteps");
    c->num_timesteps = (int)json_array_size(timesteps);
    for (int i = 0; i < c->num_timesteps; i++)
        c->timesteps[i] = (float)json_number_value(json_array_get(timesteps, (size_t)i));
}

static inline void video_expect_all_reached(video_case *c) {
    for (int64_t i = 0; i < para_safetensors_count(c->g.reference); i++) {
        para_tensor t = para_safetensors_tensor(c->g.reference, i);
        const char *name = para_safetensors_name(c->g.reference, i);
        if (strncmp(name, "in.", 3) == 0 || c->g.visited[i] == para_tensor_count(&t)) continue;
        c->g.failures++;
        if (c->print) print_error("    %-34s was not reached\n", name);
    }
}

/* The case's runs on the weights of `model`/transformer, in a world of its own. */
static inline para_status video_compute(video_case *c, const char *model) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_mesh_options m = PARA_MESH_OPTIONS_INIT;
    para_world *world = NULL;
    void *t = NULL;
    w.ranks = c->ring * c->ulysses;
    w.threads = w.ranks > 1 ? w.ranks : 2;
    m.ring = c->ring;
    m.ulysses = c->ulysses;
    test_choose_device(&w);
    para_status status = para_world_open(&world, &w);
    if (status == PARA_OK) status = para_mesh_open(&c->mesh, world, &m);
    if (status == PARA_OK)
        status = para_component_open(&c->component, model, "transformer", c->kind->class_name);
    if (status == PARA_OK) status = c->component.kind->open(&t, &c->component.config);
    if (status == PARA_OK) {
        c->kind->patch(t, &c->patch_t, &c->patch);
        c->component.kind->close(&t);
        c->g.device = world->worker[0].rank.device;
        status = para_world_run(world, video_body, c);
    }
    para_component_close(&c->component);
    para_mesh_close(&c->mesh);
    para_world_close(&world);
    return status;
}

/* Reads the case `name` and what it is run with. */
static inline void video_case_open(video_case *c, const char *name) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, name);
    golden_open(&c->g, folder, c->print);
    c->g.stop = c->stop;
    if (!c->dtype) c->dtype = PARA_F32;
    if (!c->ring) c->ring = 1;
    if (!c->ulysses) c->ulysses = 1;
    video_settings(c);
}

/* Runs the case `name` on the weights of `model`/transformer (NULL: its own) and compares. A run that ends in an error counts as a failure. */
static inline void video_case_run(video_case *c, const char *name, const char *model) {
    char own[512];
    snprintf(own, sizeof own, "%s/tests/golden/%s", PARA_SOURCE_DIR, name);
    video_case_open(c, name);
    if (video_compute(c, model ? model : own) == PARA_OK) {
        video_expect_all_reached(c);
    } else {
        if (c->print) print_error("%s\n", para_last_error());
        c->g.failures++;
    }
    golden_close(&c->g);
}

static inline void video_case_close(video_case *c) {
    for (int i = 0; i < VIDEO_MOST_RUNS; i++) free(c->head[i]);
    memset(c->head, 0, sizeof c->head);
}

#endif
