/* What the program says while it works, and what its report and its pictures hold. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <math.h>
#include <paraattn/version.h>
#include <png.h>

#define MODEL    GOLDEN("flux-dev")
#define GENERATE "generate", MODEL, QUICK, "--steps", "4"

static program p;

static void moving_line_on_a_terminal(void **state) {
    (void)state;
    program_needs_terminal();
    static const program_options terminal = {.terminal = true};
    program_run(&p, &terminal, GENERATE, "--width", "40", "-o", output_path("x.png"));
    program_expect(&p, 0, "\rload     [", "\rtext     [", "\rdenoise  [", "] 0/4", "] 1/4", "] 4/4", "\rdecode   [",
                   "ETA ", "step", "x.png: text");
    assert_non_null(strstr(p.said, "step") && (strstr(p.said, "steps/s") || strstr(p.said, "s/step")) ? p.said : NULL);
    /* A warning has a line of its own. */
    const char *warning = strstr(p.said, "para generate: warning: width 40");
    assert_true(warning && warning > p.said && warning[-1] == '\n');
}

static void plain_lines_elsewhere(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "-o", output_path("x.png"));
    program_expect(&p, 0, "load 1/1", "text 1/1", "denoise 1/4", "ETA", "denoise 4/4", "decode 1/1", "x.png: text");
    assert_null(strchr(p.said, '\r'));
    assert_string_equal(p.out, "");
    program_run(&p, NULL, GENERATE, "--steps", "40", "-o", output_path("x.png"));
    int lines = 0;
    for (const char *at = p.said; (at = strstr(at, "denoise ")); at++) lines++;
    assert_in_range(lines, 2, 10); /* every tenth */
}

static void quiet_is_silent(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "--width", "40", "--quiet", "-o", output_path("x.png"));
    program_expect(&p, 0, "");
    assert_string_equal(p.said, "");
    assert_string_equal(p.out, "");
    program_run(&p, NULL, GENERATE, "--quiet", "-o", "no/such/x.png");
    program_expect(&p, 1, "no/such"); /* but failures are told */
}

/* ---- the report */

static double number(const json_t *report, const char *group, const char *key) {
    const json_t *value = json_object_get(json_object_get(report, group), key);
    if (!json_is_number(value)) fail_msg("the report has no number %s.%s", group, key);
    return json_number_value(value);
}

static const char *text(const json_t *report, const char *key) {
    const char *value = json_string_value(json_object_get(json_object_get(report, "settings"), key));
    if (!value) fail_msg("the report has no text settings.%s", key);
    return value;
}

static void report_tells_all(void **state) {
    (void)state;
    double begun = program_seconds();
    program_run(&p, NULL, GENERATE, "--prompt", "a \"red\" h\xc3\xa9rt \xe2\x9d\xa4", "--prompt-2", "two", "--seed",
                "18446744073709551615", "--guidance", "2.5", "--num-images", "2", "--rng", "cuda", "--dtype", "bf16",
                "--vae-tiling", "-o", output_path("x.png"), "--report", output_path("x.json"));
    double took = program_seconds() - begun;
    program_expect(&p, 0, "x.png");
    json_t *r = json_load_file(output_path("x.json"), 0, NULL);
    assert_non_null(r);
    assert_string_equal(json_string_value(json_object_get(r, "version")), para_version());
    assert_non_null(strstr(json_string_value(json_object_get(r, "build")), "oneDNN"));
    assert_string_equal(text(r, "model"), MODEL);
    assert_string_equal(text(r, "prompt"), "a \"red\" h\xc3\xa9rt \xe2\x9d\xa4");
    assert_string_equal(text(r, "prompt_2"), "two");
    assert_true(json_is_null(json_object_get(json_object_get(r, "settings"), "negative_prompt")));
    assert_string_equal(text(r, "seed"), "18446744073709551615");
    assert_string_equal(text(r, "rng"), "cuda");
    assert_string_equal(text(r, "dtype"), "bf16");
    assert_string_equal(text(r, "device"), "cpu");
    assert_true(json_is_true(json_object_get(json_object_get(r, "settings"), "vae_tiling")));
    static const struct {
        const char *key;
        double value;
    } settings[] = {{"width", 32},         {"height", 32},    {"num_inference_steps", 4}, {"guidance_scale", 2.5},
                    {"true_cfg_scale", 1}, {"num_images", 2}, {"max_sequence_length", 8}, {"threads", 1}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        assert_float_equal(number(r, "settings", settings[i].key), settings[i].value, 0);
    static const char *const seconds[] = {"load", "text", "denoise", "decode"};
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        double s = number(r, "seconds", seconds[i]);
        assert_true(s > 0);
        sum += s;
    }
    assert_true(sum < took);
    assert_float_equal(number(r, "seconds", "step"), number(r, "seconds", "denoise") / 4, 1e-9);
    assert_true(number(r, "bytes", "peak_memory") > 1e6 && number(r, "bytes", "activations") > 0 &&
                number(r, "bytes", "weights") > 1e5);
    json_decref(r);
    unlink(output_path("x-1.png"));
    unlink(output_path("x-2.png"));
}

static void report_of_a_path_that_is_no_text(void **state) {
    (void)state;
    model_copy m;
    model_copy_open(&m, MODEL, "model-\xff");
    program_run(&p, NULL, "generate", m.folder, QUICK, "-o", output_path("x.png"), "--report", output_path("x.json"));
    program_expect(&p, 0, "x.png");
    json_t *r = json_load_file(output_path("x.json"), 0, NULL);
    assert_non_null(r);
    assert_non_null(strstr(text(r, "model"), "model-?"));
    json_decref(r);
    model_copy_close(&m);
}

/* ---- the pictures */

/* The text of a PNG's chunk, to be freed; the pixels [h, w, 3] into *rgb, to be freed. */
static char *read_png(const char *path, const char *key, uint8_t **rgb, int *w, int *h) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, f);
    png_read_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    *w = (int)png_get_image_width(png, info);
    *h = (int)png_get_image_height(png, info);
    assert_int_equal(png_get_color_type(png, info), PNG_COLOR_TYPE_RGB);
    *rgb = malloc((size_t)(*w * *h * 3));
    for (int y = 0; y < *h; y++) memcpy(*rgb + (size_t)(y * *w * 3), png_get_rows(png, info)[y], (size_t)*w * 3);
    png_textp chunks;
    int n = 0;
    char *found = NULL;
    png_get_text(png, info, &chunks, &n);
    for (int i = 0; i < n; i++)
        if (strcmp(chunks[i].key, key) == 0) found = strdup(chunks[i].text);
    png_destroy_read_struct(&png, &info, NULL);
    fclose(f);
    return found;
}

static void expect_chunk(const char *path, const char *key, const char *wanted) {
    uint8_t *rgb;
    int w, h;
    char *found = read_png(path, key, &rgb, &w, &h);
    if (!found || !strstr(found, wanted))
        fail_msg("%s: chunk %s is \"%s\", without \"%s\"", path, key, found ? found : "absent", wanted);
    free(found);
    free(rgb);
}

static void pictures_tell_how_they_were_made(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "--prompt", "h\xc3\xa9rt", "--negative-prompt", "blur", "--true-cfg", "2", "--seed",
                "18446744073709551615", "-o", output_path("x.png"));
    program_expect(&p, 0, "x.png");
    const char *path = output_path("x.png");
    expect_chunk(path, "prompt", "h\xc3\xa9rt");
    expect_chunk(path, "negative-prompt", "blur");
    expect_chunk(path, "seed", "18446744073709551615");
    expect_chunk(path, "model", MODEL);
    expect_chunk(path, "Software", para_version());
    static const char *const settings[] = {"steps 4", "guidance 3.5", "true-cfg 2",           "size 32x32",
                                           "rng cpu", "dtype f32",    "max-sequence-length 8"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) expect_chunk(path, "settings", settings[i]);
}

static para_tensor read_tensor(para_safetensors **file, const char *path, const char *name) {
    assert_int_equal(para_safetensors_open(file, path), PARA_OK);
    int64_t i = para_safetensors_find(*file, name);
    assert_true(i >= 0);
    return para_safetensors_tensor(*file, i);
}

/* PNG, float pixels and latents of one run and seed belong together. */
static void files_agree(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "--seed", "5", "--width", "48", "--num-images", "2", "-o", output_path("y.png"));
    program_expect(&p, 0, "y.png");
    program_run(&p, NULL, GENERATE, "--seed", "5", "--width", "48", "--num-images", "2", "-o",
                output_path("y.safetensors"), "--save-latents", output_path("l.safetensors"));
    program_expect(&p, 0, "y.safetensors");
    para_safetensors *images_file, *latents_file;
    para_tensor images = read_tensor(&images_file, output_path("y.safetensors"), "images"),
                latents = read_tensor(&latents_file, output_path("l.safetensors"), "latents");
    assert_true(images.rank == 4 && images.dim[0] == 2 && images.dim[1] == 3 && images.dim[2] == 32 &&
                images.dim[3] == 48 && images.dtype == PARA_F32);
    assert_true(latents.rank == 3 && latents.dim[0] == 2 && latents.dim[1] == 6 && latents.dim[2] == 16 &&
                latents.dtype == PARA_F32);
    assert_non_null(strstr(para_safetensors_metadata(images_file, "settings"), "steps 4"));
    for (int i = 0; i < 2; i++) {
        uint8_t *rgb;
        int w, h;
        free(read_png(output_path(i ? "y-2.png" : "y-1.png"), "prompt", &rgb, &w, &h));
        assert_true(w == 48 && h == 32);
        const float *planes = (const float *)images.data + (int64_t)i * 3 * 32 * 48;
        for (int k = 0; k < 32 * 48; k++)
            for (int c = 0; c < 3; c++)
                assert_int_equal(rgb[3 * k + c], lrintf(fminf(fmaxf(planes[c * 32 * 48 + k], 0), 1) * 255));
        free(rgb);
    }
    para_safetensors_close(&images_file);
    para_safetensors_close(&latents_file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moving_line_on_a_terminal),
        cmocka_unit_test(plain_lines_elsewhere),
        cmocka_unit_test(quiet_is_silent),
        cmocka_unit_test(report_tells_all),
        cmocka_unit_test(report_of_a_path_that_is_no_text),
        cmocka_unit_test(pictures_tell_how_they_were_made),
        cmocka_unit_test(files_agree),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
