/* Every norm gets its epsilon. Values of ordinary size hide it: 1e-5 in place of 1e-6 moves them by less than any tolerance, so the
 * calls themselves are looked at. SPDX-License-Identifier: Apache-2.0 */
#include "model_copy.h"
#include "pipeline/pipeline_state.h"

static const double CLIP_EPS = 3e-4, T5_EPS = 5e-4; /* from the configs, changed so that each can be told */
static const float
    FLUX_EPS = 1e-6f,
    VAE_EPS = 1e-6f; /* fixed in diffusers: FluxTransformerBlock, RMSNorm of Attention; AutoencoderKL's resnet_eps */

static const para_ops *real;
static int clip_norms, t5_norms, flux_norms, head_norms, group_norms;

static void check(float eps, double wanted, int *count) {
    if (eps != (float)wanted) fail_msg("eps is %g, not %g", (double)eps, wanted);
    (*count)++;
}

static void look_at(const para_norm_args *a) {
    if (a->kind == PARA_NORM_RMS) check(a->eps, T5_EPS, &t5_norms);
    else if (a->weight.data) check(a->eps, CLIP_EPS, &clip_norms);
    else check(a->eps, FLUX_EPS, &flux_norms);
}

static para_status norm(para_device *dev, const para_norm_args *a) {
    look_at(a);
    return real->norm(dev, a);
}

static para_status residual(para_device *dev, const para_residual_args *a) {
    if (a->norm) look_at(a->norm);
    return real->residual(dev, a);
}

static para_status heads(para_device *dev, int n, const para_head_args *a) {
    for (int i = 0; i < n; i++)
        if (a[i].weight.data) check(a[i].eps, FLUX_EPS, &head_norms);
    return real->heads(dev, n, a);
}

static para_status group_norm(para_device *dev, const para_group_norm_args *a) {
    check(a->eps, VAE_EPS, &group_norms);
    return real->group_norm(dev, a);
}

static void norms_get_their_eps(void **state) {
    (void)state;
    model_copy m;
    para_world *world;
    para_pipeline *flux;
    para_result *result;
    model_copy_open(&m, PARA_SOURCE_DIR "/tests/golden/flux-dev", "model");
    model_copy_set(&m, "text_encoder/config.json", "layer_norm_eps", json_real(CLIP_EPS));
    model_copy_set(&m, "text_encoder_2/config.json", "layer_norm_epsilon", json_real(T5_EPS));
    assert_int_equal(para_world_open(&world, NULL), PARA_OK);
    assert_int_equal(para_pipeline_open(&flux, world, m.folder, NULL), PARA_OK);
    para_device *dev = world->worker[0].rank.device;
    real = dev->ops;
    para_ops spy = *real;
    spy.norm = norm;
    spy.residual = residual;
    spy.heads = heads;
    spy.group_norm = group_norm;
    dev->ops = &spy;
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart";
    r.height = r.width = 32;
    r.num_inference_steps = 1;
    r.max_sequence_length = 8;
    assert_int_equal(para_generate(flux, &r, &result), PARA_OK);
    dev->ops = real;
    /* 2 layers of each text encoder; 2 double and 2 single blocks, the first of which gets its norm from the double block's two
     * streams; the decoder's resnets, attention and last norm */
    assert_int_equal(clip_norms, 2 * 2 + 1);
    assert_int_equal(t5_norms, 2 * 2 + 1);
    assert_int_equal(flux_norms, 2 * 4 + 2 + 1 + 1);
    assert_int_equal(head_norms, 2 * 4 + 2 * 2);
    assert_true(group_norms > 10);
    para_result_close(&result);
    para_pipeline_close(&flux);
    para_world_close(&world);
    model_copy_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(norms_get_their_eps)};
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
