/* Weights that are not numbers, at every stage: the stage is named and no file appears. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <math.h>

typedef struct bad_weight {
    const char *file, *tensor, *stage;
} bad_weight;

static const bad_weight bad_weights[] = {
    {"text_encoder/model.safetensors", "text_model.embeddings.position_embedding.weight", "the CLIP text encoder"},
    {"text_encoder/model.safetensors", "text_model.final_layer_norm.bias", "the CLIP text encoder"},
    {"text_encoder_2/model.safetensors", "encoder.block.0.layer.0.SelfAttention.q.weight", "the T5 text encoder"},
    {"text_encoder_2/model.safetensors", "encoder.final_layer_norm.weight", "the T5 text encoder"},
    {"transformer/diffusion_pytorch_model.safetensors", "time_text_embed.timestep_embedder.linear_1.weight",
     "denoising step 1 of 1"},
    {"transformer/diffusion_pytorch_model.safetensors", "context_embedder.bias", "denoising step 1 of 1"},
    {"transformer/diffusion_pytorch_model.safetensors", "single_transformer_blocks.1.attn.norm_k.weight",
     "denoising step 1 of 1"},
    {"transformer/diffusion_pytorch_model.safetensors", "proj_out.weight", "denoising step 1 of 1"},
    {"vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.weight", "decoding picture 1"},
    {"vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias", "decoding picture 1"},
};

static program p;

static void fill(float *values, int64_t n, void *user) {
    for (int64_t i = 0; i < n; i++) values[i] = *(float *)user;
}

static void check(float value, const char *dtype) {
    for (size_t i = 0; i < sizeof bad_weights / sizeof *bad_weights; i++) {
        const bad_weight *b = &bad_weights[i];
        model_copy m;
        model_copy_open(&m, GOLDEN("flux-dev"), "model");
        model_copy_tensor(&m, b->file, b->tensor, fill, &value);
        program_run(&p, NULL, "generate", m.folder, QUICK, "--dtype", dtype, "-o", output_path("x.png"), "--report",
                    output_path("x.json"), "--save-latents", output_path("l.safetensors"));
        print_message("  %s: %s\n", b->tensor, b->stage);
        program_expect(&p, 1, "not-a-number or infinity after", b->stage, m.folder);
        expect_nothing_left();
        model_copy_close(&m);
    }
}

static void nan_weights(void **state) {
    (void)state;
    check(NAN, "f32");
}

static void infinite_weights(void **state) {
    (void)state;
    check(INFINITY, "f32");
}

static void nan_weights_in_bf16(void **state) {
    (void)state;
    check(NAN, "bf16");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nan_weights), cmocka_unit_test(infinite_weights),
                                       cmocka_unit_test(nan_weights_in_bf16)};
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
