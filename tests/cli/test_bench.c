/* para bench transformer, pipeline, attention, linear, machine: what they print, write and refuse. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <math.h>

#include <paraattn/paraattn.h>

#include "model_copy.h"

#define MODEL GOLDEN("flux-dev")
#define SMALL "--width", "32", "--height", "48", "--steps", "2", "--threads", "1", "--quiet"

static program p;

static void expect_out(const char *text) {
    if (!strstr(p.out, text)) fail_msg("it does not print \"%s\", but:\n%s", text, p.out);
}

/* Rows of a CSV, without its header; each column of a row is not empty. */
static int rows_of(const char *path) {
    size_t n;
    int rows = 0;
    char *text = slurp(path, &n), *rest = text, *line = strsep(&rest, "\n");
    assert_string_equal(line, "run,gpu,gpus,case,system,variant,ms");
    for (; (line = strsep(&rest, "\n")) && *line; rows++) {
        int columns = 0;
        for (char *column; (column = strsep(&line, ",")); columns++) assert_true(*column != '\0');
        assert_int_equal(columns, 7);
    }
    free(text);
    return rows;
}

static void transformer(void **state) {
    (void)state;
    const char *csv = temp_path("t.csv");
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "3", "--text-tokens", "7", "--csv", csv,
                "--run", "first", "--ceiling", "1000");
    program_expect(&p, 0, "");
    expect_out("case          flux-dev-32x48-t7: 6 image tokens + 7 text tokens, f32 on CPU");
    expect_out("ms, median of 3 (");
    expect_out("% of 1000 TFLOP/s");
    assert_null(strstr(p.out, "op by op"));
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "1", "--random-weights", "--dtype", "bf16",
                "--csv", csv, "--profile");
    program_expect(&p, 0, "");
    expect_out("512 text tokens, bf16");
    expect_out("\nop by op ");
    expect_out("\n  attention           4 calls "); /* of 2 + 2 blocks */
    assert_int_equal(rows_of(csv), 2);
    size_t n;
    char *text = slurp(csv, &n);
    assert_non_null(strstr(text, "\nfirst,CPU,1,flux-dev-32x48-t7,para,f32,"));
    assert_non_null(strstr(text, ",CPU,1,flux-dev-32x48,para,bf16,"));
    free(text);
}

static void exposed_exchange(void **state) {
    (void)state;
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "2", "--text-tokens", "8", "--ranks", "2", "--exposed-exchange");
    program_expect(&p, 0, "");
    expect_out("\nexchange      ");
    expect_out(" %) are not hidden\n");
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "1", "--exposed-exchange");
    program_expect(&p, 0, "");
    expect_out("\nexchange      none: one rank\n");
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--ranks", "2", "--exposed-exchange", "--cache", "0.1");
    program_expect(&p, 2, "--exposed-exchange goes without --cache");
}

/* With a cache that takes whatever it may, hits are said instead of a rate. */
static void cached(void **state) {
    (void)state;
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "1", "--text-tokens", "7", "--cache",
                "100");
    program_expect(&p, 0, "");
    expect_out("cache         1 of 2 steps hit");
    assert_null(strstr(p.out, "rate"));
}

static float *prediction(const char *path, int64_t *n) {
    para_tensor t;
    assert_int_equal(para_load_tensor(&t, "prediction", path), PARA_OK);
    *n = para_tensor_count(&t);
    assert_int_equal(t.dtype, PARA_F32);
    return t.data;
}

/* What the files of a transformer's inputs hold: 6 tokens of 16 channels, 9 of text. */
static void save_inputs(const char *path, int text_width, int tensors) {
    static float latents[6 * 16], text[9 * 32], pooled[32];
    static const char *const names[] = {"latents", "encoder_hidden_states", "pooled_projections"};
    for (int i = 0; i < 6 * 16; i++) latents[i] = (float)(i % 7) - 3;
    for (int i = 0; i < 9 * 32; i++) text[i] = (float)(i % 5) - 2;
    for (int i = 0; i < 32; i++) pooled[i] = (float)(i % 3) - 1;
    const para_tensor t[] = {
        para_tensor_make(latents, PARA_F32, 3, (int64_t[]){1, 6, 16}),
        para_tensor_make(text, PARA_F32, 3, (int64_t[]){1, 9 * 32 / text_width, text_width}),
        para_tensor_make(pooled, PARA_F32, 2, (int64_t[]){1, 32}),
    };
    assert_int_equal(para_safetensors_write(path, tensors, names, t, NULL), PARA_OK);
}

static void inputs_from_a_file(void **state) {
    (void)state;
    char out[2][512];
    int64_t n[2];
    float *got[2];
    const char *in = temp_path("in.safetensors");
    save_inputs(in, 32, 3);
    for (int i = 0; i < 2; i++) {
        snprintf(out[i], sizeof out[i], "%s%d", temp_path("out.safetensors"), i);
        if (i == 0)
            program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "1", "--inputs", in,
                        "--save-output", out[i]);
        else
            program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "1", "--text-tokens", "9",
                        "--save-output", out[i]);
        program_expect(&p, 0, "");
        expect_out("6 image tokens + 9 text tokens");
        got[i] = prediction(out[i], &n[i]);
        assert_int_equal(n[i], 6 * 16);
    }
    assert_memory_not_equal(got[0], got[1], 6 * 16 * sizeof(float)); /* random inputs give another */
    free(got[0]);
    free(got[1]);
    save_inputs(in, 16, 3);
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--inputs", in);
    program_expect(&p, 1, "prompt_embeds must be contiguous [18, 32]");
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--inputs", temp_path("nothing.safetensors"));
    program_expect(&p, 1, "nothing.safetensors");
}

/* Mochi takes no pooled text, and the negative half that guidance needs; a file without what is needed is refused. */
static void halves_from_a_file(void **state) {
    (void)state;
    static float latents[12 * 2 * 4 * 6], text[9 * 24];
    static const char *const names[] = {"latents", "encoder_hidden_states", "negative_encoder_hidden_states"};
    const para_tensor t[] = {
        para_tensor_make(latents, PARA_F32, 5, (int64_t[]){1, 12, 2, 4, 6}),
        para_tensor_make(text, PARA_F32, 2, (int64_t[]){9, 24}),
        para_tensor_make(text, PARA_F32, 2, (int64_t[]){9, 24}),
    };
    const char *in = temp_path("halves.safetensors");
    for (int i = 0; i < 9 * 24; i++) text[i] = (float)(i % 5) - 2;
    for (int given = 3; given >= 2; given--) {
        assert_int_equal(para_safetensors_write(in, given, names, t, NULL), PARA_OK);
        program_run(&p, NULL, "bench", "transformer", GOLDEN("mochi-video"), "--width", "48", "--height", "32", "--frames", "7", "--steps", "2", "--threads",
                    "1", "--quiet", "--repeats", "1", "--inputs", in);
        program_expect(&p, given == 3 ? 0 : 2, given == 3 ? "" : "prompt_embeds come without a negative half");
    }
    save_inputs(in, 32, 2);
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--inputs", in);
    program_expect(&p, 2, "prompt_embeds need pooled_prompt_embeds beside them");
}

/* Lines of standard input, each answered with `columns` numbers. */
static void expect_answers(const char *benchmark, int columns) {
    temp_write("lines", "a\nb\n", 4);
    const program_options o = {.input = temp_path("lines")};
    program_run(&p, &o, "bench", benchmark, MODEL, SMALL, "--random-weights", "--wait");
    program_expect(&p, 0, "");
    char *rest = p.out, *line = strsep(&rest, "\n");
    assert_true(strncmp(line, "ready", 5) == 0);
    for (int i = 0; i < 2; i++) {
        line = strsep(&rest, "\n");
        for (int k = 0; k < columns; k++) {
            char *end;
            assert_true(strtod(line, &end) > 0 && end > line);
            line = end;
        }
        assert_string_equal(line, "");
    }
    assert_string_equal(rest, "");
}

static void a_run_for_each_line(void **state) {
    (void)state;
    expect_answers("transformer", 1);
    expect_answers("pipeline", 4);
    static const char *const more[] = {"--profile", "--exposed-exchange", "--ceiling", "--csv"}; /* than the times */
    for (int i = 0; i < 4; i++) {
        char sentence[64];
        snprintf(sentence, sizeof sentence, "--wait goes without %s", more[i]);
        program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--wait", more[i], i < 2 ? NULL : "1");
        program_expect(&p, 2, sentence);
    }
    program_run(&p, NULL, "bench", "pipeline", MODEL, SMALL, "--wait", "--csv", "1");
    program_expect(&p, 2, "--wait goes without --csv");
}

static void pipeline(void **state) {
    (void)state;
    const char *csv = temp_path("p.csv");
    program_run(&p, NULL, "bench", "pipeline", MODEL, SMALL, "--max-sequence-length", "8", "--repeats", "2", "--csv",
                csv);
    program_expect(&p, 0, "");
    static const char *const stages[] = {"\ntext ", "\nloop ", "\ndecode ", "\npicture "};
    for (int i = 0; i < 4; i++) expect_out(stages[i]);
    assert_int_equal(rows_of(csv), 4);
}

/* Relative L2 distance of two tensors' values. */
static double distance(const char *path, const char *name, const char *wanted_name) {
    para_tensor got, wanted;
    double d = 0, n = 0;
    assert_int_equal(para_load_tensor(&got, name, path), PARA_OK);
    assert_int_equal(para_load_tensor(&wanted, wanted_name, MODEL "/reference.safetensors"), PARA_OK);
    assert_int_equal(got.dtype, PARA_F32);
    assert_int_equal(para_tensor_count(&got), para_tensor_count(&wanted));
    const float *a = got.data, *b = wanted.data;
    for (int64_t i = 0; i < para_tensor_count(&got); i++) d += pow((double)a[i] - (double)b[i], 2), n += pow((double)b[i], 2);
    para_tensor_free(&got);
    para_tensor_free(&wanted);
    return sqrt(d / n);
}

/* What diffusers' text encoders and VAE give of the same prompts and latents, without a transformer's weights. Measured: 3.8e-7 at most. */
static void outputs_of_text_and_vae(void **state) {
    (void)state;
    model_copy m;
    para_tensor t;
    char in[512], out[512], here[512];
    snprintf(in, sizeof in, "%s", temp_path("latents.safetensors"));
    snprintf(out, sizeof out, "%s", temp_path("outputs.safetensors"));
    model_copy_open(&m, MODEL, "no-transformer");
    model_copy_remove(&m, "transformer/diffusion_pytorch_model.safetensors");
    assert_int_equal(para_load_tensor(&t, "step.2.latents", MODEL "/reference.safetensors"), PARA_OK);
    assert_int_equal(para_save_tensor(&t, "latents", in), PARA_OK);
    para_tensor_free(&t);
#define OUTPUTS                                                                                                        \
    "bench", "pipeline", m.folder, "--prompt", "a red heart on a blue background, it's bright!", "--prompt-2",         \
        "two small golden stars, top left", "--width", "96", "--height", "64", "--max-sequence-length", "24",          \
        "--threads", "1", "--quiet", "--save-outputs", out
    program_run(&p, NULL, OUTPUTS, "--latents", in);
    program_expect(&p, 0, "");
    assert_string_equal(p.out, "");
    static const char *const names[][2] = {{"prompt_embeds", "text.t5"}, {"pooled_prompt_embeds", "text.clip"}, {"images", "images"}};
    for (int i = 0; i < 3; i++) {
        double d = distance(out, names[i][0], names[i][1]);
        print_message("  %s: %.2e\n", names[i][0], d);
        if (!(d < 2e-6)) fail_msg("%s differs by %g", names[i][0], d);
    }
    program_run(&p, NULL, OUTPUTS, "--latents", in, "--dtype", "bf16");
    program_expect(&p, 0, "");
    assert_int_equal(para_load_tensor(&t, "prompt_embeds", out), PARA_OK);
    assert_int_equal(t.dtype, PARA_BF16);
    para_tensor_free(&t);
    program_run(&p, NULL, OUTPUTS);
    program_expect(&p, 2, "--save-outputs decodes given latents; give --latents FILE");
    snprintf(here, sizeof here, "%s", temp_path("nothing.safetensors"));
    program_run(&p, NULL, OUTPUTS, "--latents", here);
    program_expect(&p, 1, "nothing.safetensors");
    program_run(&p, NULL, OUTPUTS, "--latents", in, "--width", "48");
    program_expect(&p, 1, "latents (--latents) must be contiguous [1, 12, 16] for 48 x 64 pixels");
    model_copy_close(&m);
}

/* A config of the real model that comes with the project, by its name; planned, not run. */
static void config_by_name(void **state) {
    (void)state;
    const program_options o = {.directory = PARA_SOURCE_DIR};
    program_run(&p, &o, "bench", "transformer", "flux.1-schnell", "--width", "8");
    program_expect(&p, 2, "width (--width) 8 is too small");
    program_run(&p, &o, "bench", "transformer", "flux.1-nothing");
    program_expect(&p, 1, "flux.1-nothing/model_index.json");
}

static void ops(void **state) {
    (void)state;
    const char *csv = temp_path("o.csv");
    program_run(&p, NULL, "bench", "attention", "--shapes", "1,2,16,16,8,1,1,8,24,16", "--causal", "--csv", csv,
                "--threads", "1");
    program_expect(&p, 0, "");
    expect_out("\nattention-B1-H2-S16-D8-causal ");
    expect_out("\nattention-B1-H1-S8x24-D16-causal ");
    expect_out("% of the ceiling");
    program_run(&p, NULL, "bench", "linear", "--shapes", "16,24,8", "--dtype", "bf16", "--csv", csv, "--threads", "1");
    program_expect(&p, 0, "");
    expect_out("\nlinear-M16-N24-K8 ");
    assert_int_equal(rows_of(csv), 3 + 2); /* with two ceilings */
    program_run(&p, NULL, "bench", "linear", "--shapes", "16,24");
    program_expect(&p, 2, "--shapes has 2 numbers; give 3 for each shape");
    program_run(&p, NULL, "bench", "attention", "--shapes", "1,2,16,0,8", "--threads", "1");
    program_expect(&p, 2, "sizes of 1 or more");
    program_run(&p, NULL, "bench", "linear", "--shapes", "16000000,16000000,16000000", "--threads", "1");
    program_expect(&p, 2, "which no device has");
}

/* What bench machine writes, plan predicts by, here and where it is kept; and what is not such a file is refused. */
static void machine(void **state) {
    (void)state;
    char file[512], report[512], *text;
    size_t n;
    snprintf(file, sizeof file, "%s", temp_path("machine.json"));
    snprintf(report, sizeof report, "%s", temp_path("plan.json"));
    program_run(&p, NULL, "bench", "machine", "--quick", "--ranks", "2", "--threads", "2", "-o", file);
    program_expect(&p, 0, "");
    expect_out("\nlinear              1         64         64 ");
    expect_out("\nattention ");
    expect_out("\nprocess             1 ");
    expect_out("written to ");
    program_run(&p, NULL, "plan", MODEL, "--width", "32", "--height", "48", "--ranks", "2", "--threads", "2", "--machine", file, "--report", report);
    program_expect(&p, 0, "");
    expect_out("predicted to be the fastest");
    expect_out("predicted by  the rates in ");
    expect_out("machine.json");
    text = slurp(report, &n);
    assert_non_null(strstr(text, "\"chosen\": true"));
    assert_non_null(strstr(text, "\"prepare\": "));
    free(text);
    program_run(&p, NULL, "plan", MODEL, "--width", "32", "--height", "48", "--machine", file);
    program_expect(&p, 0, "");
    expect_out(" a step, ");
    program_run(&p, NULL, "plan", MODEL, "--machine", file, "--dtype", "bf16");
    program_expect(&p, 1, "has no rates for BF16, only for F32 of CPU");
    program_run(&p, NULL, "plan", MODEL, "--machine", report);
    program_expect(&p, 1, "paraattn_machine must be 1");
    program_run(&p, NULL, "bench", "machine", "--quick", "-o", report); /* is not overwritten */
    program_expect(&p, 1, "paraattn_machine must be 1");
    program_run(&p, NULL, "generate", MODEL, "--prompt", "x", "--width", "32", "--height", "48", "--steps", "1", "--ranks", "2", "--threads", "2", "--machine",
                file, "--quiet", "-o", temp_path("x.png"));
    program_expect(&p, 0, "");
    program_run(&p, NULL, "generate", MODEL, "--prompt", "x", "--ranks", "2", "--machine", temp_path("none.json"), "-o", temp_path("y.png"));
    program_expect(&p, 1, "none.json");
}

static void bad_options(void **state) {
    (void)state;
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "0");
    program_expect(&p, 2, "--repeats 0: give 1 to");
    program_run(&p, NULL, "bench", "pipeline", MODEL, SMALL, "--repeats", "100000");
    program_expect(&p, 2, "--repeats 100000");
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--text-tokens", "0");
    program_expect(&p, 2, "--text-tokens");
    program_run(&p, NULL, "bench", "transformer", MODEL, SMALL, "--repeats", "1", "--text-tokens", "3", "--csv",
                temp_path("no/x.csv"));
    program_expect(&p, 1, "x.csv' cannot be written");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transformer),
        cmocka_unit_test(exposed_exchange), cmocka_unit_test(cached),
        cmocka_unit_test(inputs_from_a_file),
        cmocka_unit_test(halves_from_a_file),
        cmocka_unit_test(a_run_for_each_line),
        cmocka_unit_test(pipeline),
        cmocka_unit_test(outputs_of_text_and_vae),
        cmocka_unit_test(config_by_name),
        cmocka_unit_test(ops),
        cmocka_unit_test(machine),
        cmocka_unit_test(bad_options),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
