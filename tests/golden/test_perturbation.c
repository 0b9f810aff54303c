/* The golden cases see every weight: a model with one tensor 10 % off fails a stage. SPDX-License-Identifier: Apache-2.0 */
#include "video_case.h"

#include "io/checkpoint.h"
#include "model_copy.h"
#include "sampling.h"
#include "vae/autoencoder_kl.h"

/* All tensors of the first case and of the video transformers', every few of the others; all of all with PARA_FULL=1. */
static const char *const cases[] = {"flux-dev", "flux-schnell", "flux-odd", "flux-long", "flux-cfg"};
static const char *const components[] = {"text_encoder", "text_encoder_2", "transformer", "vae"};
enum { EVERY_OF_FIRST = SANITIZED ? 40 : 1, EVERY = SANITIZED ? 40 : 8 }; /* the sanitizers make a run slow, and have nothing to say about numbers */
enum { CASES = 5, COMPONENTS = 4 };

static void scale(float *values, int64_t n, void *user) {
    (void)user;
    for (int64_t i = 0; i < n; i++) values[i] *= i % 2 ? 0.9f : 1.1f; /* one factor for all is what a norm takes away */
}

/* What the pipeline does not load. */
static bool of_encoder(const char *component, const char *tensor) {
    return strcmp(component, "vae") == 0 &&
           (strncmp(tensor, "encoder.", 8) == 0 || strncmp(tensor, "quant_conv.", 11) == 0);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A key's bias adds one number to all scores of a query, which softmax takes away: no result can tell, but where keys are normed or turned after it. */
static bool is_blind(const char *name, const char *component, const char *tensor) {
    return (strcmp(name, "cogvideox-2b") == 0 && ends_with(tensor, "attn1.norm_k.bias")) ||
           (strcmp(component, "text_encoder") == 0 && ends_with(tensor, "k_proj.bias")) ||
           (strncmp(tensor, "context_embedder.", 17) == 0 && ends_with(tensor, "attn.to_k.bias")) ||
           (strcmp(component, "vae") == 0 && ends_with(tensor, "attentions.0.to_k.bias"));
}

/* ---- the VAE's encoder: vae.encode.in to vae.encode.mean and vae.encode.logvar */

/* Channels last and back: out[(a · p + i) · c + b] = in[(a · c + b) · p + i]. */
static void channels_last(float *out, const float *in, int64_t n, int64_t c, int64_t p) {
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < c; b++)
            for (int64_t i = 0; i < p; i++) out[(a * p + i) * c + b] = in[(a * c + b) * p + i];
}

static para_status encode_on(para_autoencoder_kl *vae, para_device *dev, const para_checkpoint *checkpoint, bool tiling,
                             const float *pixels, const int64_t *in, const int64_t *out, float *moments) {
    para_weights *weights;
    para_tensor x, y;
    PARA_TRY(para_weights_open(&weights));
    para_autoencoder_kl_weights(vae, weights, checkpoint, PARA_VAE_ENCODER);
    para_status status = para_weights_load(weights, dev, checkpoint, PARA_F32);
    if (status == PARA_OK) status = para_new(dev, &x, PARA_F32, 4, in);
    if (status == PARA_OK) status = para_new(dev, &y, PARA_F32, 4, out);
    if (status == PARA_OK) status = dev->ops->upload(dev, x, pixels);
    if (status == PARA_OK) status = para_autoencoder_kl_encode(vae, dev, NULL, x, tiling, y);
    if (status == PARA_OK && moments) status = dev->ops->download(dev, moments, &y);
    para_weights_close(&weights);
    return status;
}

static void golden_encode(golden_run *g, const char *folder, const char *model) {
    golden_open(g, folder, false);
    char path[1024];
    para_config config;
    para_checkpoint *checkpoint;
    para_autoencoder_kl *vae;
    para_device *dry, *cpu;
    bool tiling;
    snprintf(path, sizeof path, "%s/vae/config.json", model);
    assert_int_equal(para_config_read(&config, path), PARA_OK);
    snprintf(path, sizeof path, "%s/vae", model);
    assert_int_equal(para_checkpoint_open(&checkpoint, path), PARA_OK);
    assert_int_equal(para_autoencoder_kl_open(&vae, &config), PARA_OK);
    assert_int_equal(para_config_bool(&g->settings, "vae_tiling", false, &tiling), PARA_OK);
    para_tensor image = para_safetensors_tensor(g->reference, para_safetensors_find(g->reference, "vae.encode.in"));
    para_tensor mean = para_safetensors_tensor(g->reference, para_safetensors_find(g->reference, "vae.encode.mean"));
    int64_t n = image.dim[0], c = mean.dim[1], p = mean.dim[2] * mean.dim[3], count = n * c * p;
    int64_t in[] = {n, image.dim[2], image.dim[3], image.dim[1]}, out[] = {n, mean.dim[2], mean.dim[3], 2 * c};
    float *pixels = malloc((size_t)para_tensor_count(&image) * sizeof *pixels),
          *buffer = malloc((size_t)count * 5 * sizeof *buffer);
    float *moments = buffer, *got = buffer + 2 * count, *planes = buffer + 4 * count;
    channels_last(pixels, image.data, n, image.dim[1], image.dim[2] * image.dim[3]);
    assert_int_equal(para_dry_open(&dry), PARA_OK);
    assert_int_equal(para_cpu_open(&cpu, 2), PARA_OK);
    dry->threads = 2;
    para_status status = encode_on(vae, dry, checkpoint, tiling, pixels, in, out, NULL);
    if (status == PARA_OK) status = para_device_reserve(cpu, dry->arena.peak);
    if (status == PARA_OK) status = encode_on(vae, cpu, checkpoint, tiling, pixels, in, out, moments);
    assert_int_equal(status, PARA_OK);
    para_diagonal_gaussian(moments, n * p, c, got, got + count);
    for (int i = 0; i < 2; i++) { /* [n, p, c] to [n, c, p]: the same move with the two exchanged */
        channels_last(planes, got + i * count, n, p, c);
        golden_compare(g, i ? "vae.encode.logvar" : "vae.encode.mean", planes, count);
    }
    free(buffer);
    free(pixels);
    para_device_close(&cpu);
    para_device_close(&dry);
    para_autoencoder_kl_close(&vae);
    para_checkpoint_close(&checkpoint);
    para_config_close(&config);
    golden_close(g);
}

/* ---- the sweep */

typedef struct sweep {
    const char *name;
    char folder[512];
    const video_kind *video; /* a transformer alone; or NULL */
    int every, seen, tried, blind, unseen;
    double smallest; /* ratio of error to bound where the run failed */
    char smallest_tensor[256];
} sweep;

static void run_video(golden_run *g, const video_kind *kind, const char *name, const char *model) {
    video_case c = {.kind = kind, .stop = true};
    video_case_run(&c, name, model);
    *g = c.g;
    video_case_close(&c);
}

/* What asks for the text in Mochi's last block, whose text nobody reads. */
static bool asks_in_vain(const sweep *s, const char *tensor) {
    char path[1024], of_q[64], of_norm[64];
    para_config config;
    int64_t layers;
    if (s->video != &mochi_kind) return false;
    snprintf(path, sizeof path, "%s/transformer/config.json", s->folder);
    assert_int_equal(para_config_read(&config, path), PARA_OK);
    assert_int_equal(para_config_int(&config, "num_layers", 0, &layers), PARA_OK);
    para_config_close(&config);
    snprintf(of_q, sizeof of_q, "transformer_blocks.%d.attn1.add_q_proj.weight", (int)layers - 1);
    snprintf(of_norm, sizeof of_norm, "transformer_blocks.%d.attn1.norm_added_q.weight", (int)layers - 1);
    return strcmp(tensor, of_q) == 0 || strcmp(tensor, of_norm) == 0;
}

static void perturb(sweep *s, const char *component, const char *file, const char *tensor) {
    if (s->seen++ % s->every != 0) return;
    model_copy m;
    golden_run g;
    model_copy_open(&m, s->folder, "model");
    model_copy_tensor(&m, file, tensor, scale, NULL);
    if (s->video) run_video(&g, s->video, s->name, m.folder);
    else if (of_encoder(component, tensor)) golden_encode(&g, s->folder, m.folder);
    else golden_run_model(&g, s->folder, m.folder, false, true);
    model_copy_close(&m);
    s->tried++;
    if (is_blind(s->name, component, tensor) || asks_in_vain(s, tensor)) {
        s->blind++;
        if (g.failures)
            fail_msg("%s: %s is expected to change nothing, yet %s differs", s->name, tensor, g.worst_stage);
        return;
    }
    if (!g.failures) {
        s->unseen++;
        print_error("%s: %s of %s may be 10 %% off and nothing fails (%.2f of the bound at %s)\n", s->name, tensor,
                    component, g.worst, g.worst_stage);
    }
    if (g.worst < s->smallest) {
        s->smallest = g.worst;
        snprintf(s->smallest_tensor, sizeof s->smallest_tensor, "%s/%s at %s", component, tensor, g.worst_stage);
    }
}

static void sweep_file(sweep *s, const char *component, const char *file) {
    char path[1024], inside[512];
    snprintf(inside, sizeof inside, "%s/%s", component, file);
    snprintf(path, sizeof path, "%s/%s", s->folder, inside);
    para_safetensors *f;
    assert_int_equal(para_safetensors_open(&f, path), PARA_OK);
    for (int64_t i = 0; i < para_safetensors_count(f); i++) perturb(s, component, inside, para_safetensors_name(f, i));
    para_safetensors_close(&f);
}

static void sweep_component(sweep *s, const char *component) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", s->folder, component);
    struct dirent **list;
    int n = scandir(path, &list, NULL, alphasort);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        if (ends_with(list[i]->d_name, ".safetensors")) sweep_file(s, component, list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

static int weights_unseen(const char *name, const video_kind *video, int every) {
    sweep s = {.name = name, .video = video, .every = getenv("PARA_FULL") ? 1 : every, .smallest = INFINITY};
    snprintf(s.folder, sizeof s.folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, name);
    if (video) sweep_component(&s, "transformer");
    else
        for (int k = 0; k < COMPONENTS; k++) sweep_component(&s, components[k]);
    print_message("  %s: %d of %d tensors 10 %% off: %d fail a stage, %d cannot matter; smallest error over bound "
                  "%.1f (%s)\n",
                  s.name, s.tried, s.seen, s.tried - s.blind - s.unseen, s.blind, s.smallest, s.smallest_tensor);
    return s.unseen;
}

static void every_weight_is_seen(void **state) {
    (void)state;
    int unseen = 0;
    for (int i = 0; i < CASES; i++) unseen += weights_unseen(cases[i], NULL, i == 0 ? EVERY_OF_FIRST : EVERY);
    assert_int_equal(unseen, 0);
}

static void every_weight_of_videos_is_seen(void **state) {
    (void)state;
    const video_kind *const kinds[] = {&hunyuan_kind, &mochi_kind, &cogvideox_kind};
    int unseen = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int i = 0; i < video_cases(kinds[k]); i++) unseen += weights_unseen(kinds[k]->cases[i], kinds[k], EVERY_OF_FIRST);
    assert_int_equal(unseen, 0);
}

/* Without a perturbation the same comparison passes. */
static void untouched_copies_pass(void **state) {
    (void)state;
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/golden/flux-dev", PARA_SOURCE_DIR);
    model_copy m;
    golden_run g;
    model_copy_open(&m, folder, "model");
    golden_run_model(&g, folder, m.folder, false, true);
    assert_int_equal(g.failures, 0);
    golden_encode(&g, folder, m.folder);
    assert_int_equal(g.failures, 0);
    assert_true(g.worst > 0);
    model_copy_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(untouched_copies_pass), cmocka_unit_test(every_weight_is_seen),
                                       cmocka_unit_test(every_weight_of_videos_is_seen)};
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
