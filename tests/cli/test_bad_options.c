/* Wrong words on the command line, wrong noise, wrong prompts. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <math.h>

#define MODEL    GOLDEN("flux-dev")
#define GENERATE "generate", MODEL, QUICK, "-o", output_path("x.png")

static program p;

static void usage(void **state) {
    (void)state;
    output_path("");
    program_run(&p, NULL, NULL);
    program_expect(&p, 2, "Usage: para COMMAND", "generate");
    program_run(&p, NULL, "paint");
    program_expect(&p, 2, "no command 'paint'", "para --help");
    program_run(&p, NULL, "generate");
    program_expect(&p, 2, "which model?", "models/tiny-flux");
    program_run(&p, NULL, "generate", MODEL);
    program_expect(&p, 2, "--prompt");
    program_run(&p, NULL, "generate", MODEL, "--prompt", "x");
    program_expect(&p, 2, "-o picture.png");
    program_run(&p, NULL, GENERATE, "--stepps", "3");
    program_expect(&p, 2, "no option '--stepps'", "para generate --help");
    program_run(&p, NULL, GENERATE, "another");
    program_expect(&p, 2, "'another'", "one word too many");
    program_run(&p, NULL, GENERATE, "--steps");
    program_expect(&p, 2, "--steps needs an argument", "N");
    program_run(&p, NULL, GENERATE, "--quiet=yes");
    program_expect(&p, 2, "--quiet", "no argument");
    program_run(&p, NULL, "info", MODEL, MODEL);
    program_expect(&p, 2, "one word too many");
    program_run(&p, NULL, "info", "--verbose");
    program_expect(&p, 2, "no option '--verbose'");
    program_run(&p, NULL, "plan");
    program_expect(&p, 2, "which model?");
    program_run(&p, NULL, "plan", MODEL, "--rate", "fast");
    program_expect(&p, 2, "--rate 'fast'", "a number");
    program_run(&p, NULL, "plan", MODEL, "--rate", "-1");
    program_expect(&p, 2, "--rate", "above 0");
    static const char *const hosts[] = {"0", "1.5", "3,0", "3,-1", "257"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        program_run(&p, NULL, "plan", MODEL, "--hosts", hosts[i]);
        program_expect(&p, 2, "--hosts", "the ranks of each, such as 3,5");
    }
    program_run(&p, NULL, "plan", MODEL, "--hosts", "3,");
    program_expect(&p, 2, "--hosts '3,'", "numbers separated by commas");
    program_run(&p, NULL, "plan", MODEL, "--ranks", "4", "--hosts", "3,5");
    program_expect(&p, 2, "the hosts (--hosts) have 8 ranks", "there are 4");
    program_run(&p, NULL, "plan", MODEL, "--ranks", "2", "--hosts", "3");
    program_expect(&p, 2, "3 hosts (--hosts) for 2 ranks", NULL);
    program_run(&p, NULL, "plan", MODEL, "--rate", "nan");
    program_expect(&p, 2, "--rate", "above 0");
    expect_nothing_left();
}

/* Each is an option and its argument, then what standard error must hold besides the option. */
static void bad_numbers(void **state) {
    (void)state;
    static const struct {
        const char *option, *argument, *words;
    } cases[] = {
        {"--steps", "0", "1 to"},
        {"--steps", "-3", "1 to"},
        {"--steps", "ten", "a whole number"},
        {"--steps", "3.5", "a whole number"},
        {"--steps", "99999999999999999999", "a whole number"},
        {"--steps", "", "a whole number"},
        {"--seed", "red", "0 to 18446744073709551615"},
        {"--seed", "-1", "0 to 18446744073709551615"},
        {"--seed", "1.5", "0 to 18446744073709551615"},
        {"--seed", "18446744073709551616", "0 to 18446744073709551615"},
        {"--width", "wide", "a whole number"},
        {"--width", "-64", "pixels"},
        {"--width", "7", "too small"},
        {"--height", "1000000", "pixels"},
        {"--num-images", "0", "1 to"},
        {"--max-sequence-length", "0", "1 to 512"},
        {"--max-sequence-length", "513", "1 to 512"},
        {"--guidance", "strong", "a number"},
        {"--guidance", "nan", "finite"},
        {"--true-cfg", "inf", "finite"},
        {"--threads", "-1", "give 0"},
        {"--dtype", "f64", "give f32 or bf16"},
        {"--rng", "mt", "give cpu or cuda"},
        {"--attention", "flash", "give auto, para or cudnn"},
        {"--exchange", "fast", "give auto, copy or direct"},
        {"--attention", "cudnn", "the pipeline's device is the CPU"},
        {"--device", "tpu", "give cpu"},
        {"--sigmas", "", "numbers separated by commas"},
        {"--sigmas", "1,,0.5", "numbers separated by commas"},
        {"--sigmas", "1,0.5,", "numbers separated by commas"},
        {"--sigmas", "1;0.5", "numbers separated by commas"},
        {"--sigmas", "0.5,1", "sigmas[1]"},
        {"--sigmas", "1,0", "sigmas[1]"},
        {"--sigmas", "2,1", "sigmas[0]"},
        {"--sigmas", "nan", "sigmas[0]"},
        {"-o", "x.jpg", ".png or .safetensors"},
        {"-o", ".png", ".png or .safetensors"},
        {"-o", "", ".png or .safetensors"},
        {"--report", "", "name a file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        program_run(&p, NULL, GENERATE, cases[i].option, cases[i].argument);
        print_message("  %s %s: %.*s", cases[i].option, cases[i].argument, (int)p.length, p.said);
        bool named = strcmp(cases[i].option, "-o") != 0 &&
                     strcmp(cases[i].option, "--report") != 0; /* the file is named there */
        program_expect(&p, 2, cases[i].words, named ? cases[i].option : "");
        expect_nothing_left();
    }
}

static void sizes_round_down(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "--width", "47", "--height", "40");
    program_expect(&p, 0, "warning: width 47 is not a multiple of 16: the picture gets 32", "warning: height 40",
                   "gets 32");
    program_run(&p, NULL, GENERATE, "--width", "47", "--quiet");
    program_expect(&p, 0, "");
    assert_string_equal(p.said, "");
    assert_int_equal(unlink(output_path("x.png")), 0);
    expect_nothing_left();
}

static void pictures_too_large(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "--width", "60000", "--height", "60000");
    program_expect(&p, 1, "infinite or not a number", "a smaller picture");
#ifndef __SANITIZE_ADDRESS__ /* which takes terabytes of addresses for itself */
    static const program_options small_machine = {.memory_limit = 1L << 30};
    program_run(&p, &small_machine, GENERATE, "--width", "6000", "--height", "6000", "--num-images", "8");
    program_expect(&p, 1, "out of memory", "use a smaller size");
    assert_null(strstr(p.said, "text 1/1")); /* known before the work */
#endif
    expect_nothing_left();
}

static void long_prompts_are_cut(void **state) {
    (void)state;
    char prompt[4096] = "";
    while (strlen(prompt) < 3000) strcat(prompt, "a red heart, ");
    program_run(&p, NULL, GENERATE, "--prompt", prompt);
    program_expect(&p, 0, "warning: the prompt is too long for the CLIP text encoder: its last ",
                   "tokens were cut (limit 77)", "T5", "(limit 8)");
    int clip = 0, t5 = 0;
    sscanf(strstr(p.said, "CLIP text encoder: its last "), "CLIP text encoder: its last %d", &clip);
    sscanf(strstr(p.said, "T5 text encoder: its last "), "T5 text encoder: its last %d", &t5);
    assert_true(clip > 100 && t5 > 100);
    program_run(&p, NULL, GENERATE, "--negative-prompt", prompt, "--true-cfg", "2");
    program_expect(&p, 0, "warning: the negative prompt is too long for the CLIP");
    assert_null(strstr(p.said, "warning: the prompt is"));
    assert_int_equal(unlink(output_path("x.png")), 0);
}

static void odd_prompts(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "--prompt", "\xc3\x28 bad");
    program_expect(&p, 2, "not UTF-8", "byte 0");
    program_run(&p, NULL, GENERATE, "--prompt", "fine", "--prompt-2", "\xff");
    program_expect(&p, 2, "not UTF-8");
    program_run(&p, NULL, GENERATE, "--negative-prompt", "ab\xe2\x82", "--true-cfg", "2");
    program_expect(&p, 2, "not UTF-8", "byte 2");
    expect_nothing_left();
    program_run(&p, NULL, GENERATE, "--prompt", "", "--report", output_path("x.json"));
    program_expect(&p, 0, "x.png");
    program_run(&p, NULL, GENERATE, "--negative-prompt", "blurred");
    program_expect(&p, 0, "warning: the negative prompt has no effect", "--true-cfg");
    program_run(&p, NULL, GENERATE, "--true-cfg", "3");
    program_expect(&p, 0, "warning: true_cfg_scale 3 has no effect", "--negative-prompt");
    assert_int_equal(unlink(output_path("x.png")), 0);
    assert_int_equal(unlink(output_path("x.json")), 0);
    expect_nothing_left();
}

static const char *write_latents(const char *file, const char *name, para_dtype dtype, int64_t tokens, float value) {
    static float zeros[4 * 16 * 2];
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++) zeros[i] = value;
    para_tensor t = para_tensor_make(zeros, dtype, 3, (int64_t[]){1, tokens, 16});
    assert_int_equal(para_safetensors_write(temp_path(file), 1, &name, &t, NULL), PARA_OK);
    return temp_path(file);
}

static void given_noise(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "--latents", "no/such.safetensors");
    program_expect(&p, 1, "no/such.safetensors", "does not exist", "check the path");
    program_run(&p, NULL, GENERATE, "--latents", write_latents("l.safetensors", "noise", PARA_F32, 4, 0));
    program_expect(&p, 1, "l.safetensors", "no tensor 'latents'");
    program_run(&p, NULL, GENERATE, "--latents", write_latents("l.safetensors", "latents", PARA_F32, 5, 0));
    program_expect(&p, 1, "--latents", "[1, 4, 16]", "32 x 32 pixels");
    program_run(&p, NULL, GENERATE, "--latents", write_latents("l.safetensors", "latents", PARA_I32, 4, 0));
    program_expect(&p, 1, "l.safetensors", "latents", "F32, F16 or BF16");
    program_run(&p, NULL, GENERATE, "--latents", write_latents("l.safetensors", "latents", PARA_F32, 4, INFINITY));
    program_expect(&p, 1, "not-a-number or infinity", "given latents");
    temp_write("l.safetensors", "not at all", 10);
    program_run(&p, NULL, GENERATE, "--latents", temp_path("l.safetensors"));
    program_expect(&p, 1, "l.safetensors", "not a safetensors file");
    expect_nothing_left();
    program_run(&p, NULL, GENERATE, "--latents", write_latents("l.safetensors", "latents", PARA_F32, 4, 0.5f));
    program_expect(&p, 0, "x.png");
    assert_int_equal(unlink(output_path("x.png")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage),
        cmocka_unit_test(bad_numbers),
        cmocka_unit_test(sizes_round_down),
        cmocka_unit_test(pictures_too_large),
        cmocka_unit_test(long_prompts_are_cut),
        cmocka_unit_test(odd_prompts),
        cmocka_unit_test(given_noise),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
