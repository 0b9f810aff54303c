/* What ranks and meshes cannot be: one sentence, exit status 2, before anything is loaded. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

static program p;
static model_copy model; /* has no weights: whoever loads them fails */

static int open_model(void **state) {
    temp_folder_setup(state);
    model_copy_open(&model, GOLDEN("flux-dev"), "model");
    model_copy_remove(&model, "transformer/diffusion_pytorch_model.safetensors");
    output_path("");
    return 0;
}

static int close_model(void **state) {
    model_copy_close(&model);
    return temp_folder_teardown(state);
}

enum { OPTIONS = 8 };

/* What standard error must hold, and the options. */
typedef struct bad_case {
    const char *words[2], *options[OPTIONS];
} bad_case;

static void expect_refused(const char *command, const bad_case *c) {
    const char *argv[PROGRAM_ARGUMENTS] = {PARA, command, model.folder, QUICK};
    int n = 0;
    while (argv[n]) n++;
    for (int i = 0; i < OPTIONS && c->options[i]; i++) argv[n++] = c->options[i];
    if (strcmp(command, "generate") == 0) argv[n++] = "-o", argv[n++] = output_path("x.png");
    program_start(&p, NULL, argv);
    program_finish(&p, NULL);
    print_message("  %.*s", (int)p.length, p.said);
    program_expect(&p, 2, c->words[0], c->words[1]);
    assert_ptr_equal(strchr(p.said, '\n'), p.said + p.length - 1); /* one sentence */
    expect_nothing_left();
}

static void cannot_be(void **state) {
    (void)state;
    static const bad_case cases[] = {
        {{"--ranks", "1 to 256"}, {"--ranks", "0"}},
        {{"--ranks", "1 to 256"}, {"--ranks", "257"}},
        {{"--ranks", "1 to 256"}, {"--ranks", "-1"}},
        {{"--ranks 'two'", "a whole number"}, {"--ranks", "two"}},
        {{"--timeout", "above 0"}, {"--timeout", "0"}},
        {{"--timeout", "above 0"}, {"--timeout", "-3"}},
        {{"--timeout", "above 0"}, {"--timeout", "nan"}},
        {{"--timeout 'soon'", "a number"}, {"--timeout", "soon"}},
        {{"does not fill 4 ranks", "1 x 2 x 2"}, {"--ranks", "4", "--ulysses", "3"}},
        {{"the 1 item of this request", "1 x 2 x 2"}, {"--ranks", "4", "--ulysses", "2", "--ring", "1"}},
        {{"does not fill 1 rank;", "1 x 1 x 1"}, {"--ulysses", "2"}},
        {{"ring -1 (--batch", "1 x 2 x 1"}, {"--ranks", "2", "--ring", "-1"}},
        {{"--head-groups", "-1"}, {"--ranks", "2", "--head-groups", "-1"}},
        {{"--batch", "the 1 item of this request"}, {"--ranks", "2", "--batch", "2"}},
        {{"--batch", "the 2 items"}, {"--ranks", "4", "--batch", "4", "--num-images", "2"}},
        {{"--device 'cuda:'", "give cpu"}, {"--ranks", "2", "--device", "cuda:"}},
    };
    static const char *const commands[] = {"generate", "plan", "verify"};
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_refused(commands[k], &cases[i]);
}

static void expect_shown(const char *const *words) {
    for (; *words; words++)
        if (!strstr(p.out, *words)) fail_msg("it does not show \"%s\", but:\n%s", *words, p.out);
}
#define shown(...) expect_shown((const char *const[]){__VA_ARGS__, NULL})

static void verify_compares(void **state) {
    (void)state;
    program_run(&p, NULL, "verify", GOLDEN("flux-odd"), QUICK);
    program_expect(&p, 2, "one rank alone has nothing to compare", "--ranks 2", "mpirun");
    program_run(&p, NULL, "verify", GOLDEN("flux-odd"), QUICK, "--ranks", "4", "--ring", "2");
    program_expect(&p, 0, "of memory keep the results of the first run", "the request on all ranks",
                   "the same on one rank");
    shown("relative L2", "text.clip ", "block.0.hidden_states ", "images ", "  PSNR ",
          "batch 1 x ring 2 x ulysses 2: ", "equal to rounding: ");
    assert_null(strstr(p.out, "BEYOND"));
    program_run(&p, NULL, "verify", GOLDEN("flux-odd"), QUICK, "--ranks", "2", "--dtype", "bf16", "--quiet");
    program_expect(&p, 0, "");
    assert_string_equal(p.said, "");
    shown("2.0e-02", "equal ");
    program_run(&p, NULL, "verify", model.folder, QUICK, "--ranks", "2");
    program_expect(&p, 1, "diffusion_pytorch_model");
}

static void plan_knows_ranks(void **state) {
    (void)state;
    program_run(&p, NULL, "plan", GOLDEN("flux-odd"), QUICK, "--ranks", "5");
    program_expect(&p, 0, "");
    shown("once per process", "sends a step", "\n    1    5       1 ", "\n    1    1       5 ", "  chosen\n",
          "3 heads do not share out evenly over 5", "0.1 TFLOP/s (--rate) and 5 GB/s (--link)", " in all\n");
    program_run(&p, NULL, "plan", model.folder, QUICK, "--ranks", "4", "--ulysses", "2", "--rate", "2", "--link",
                "0.5");
    program_expect(&p, 0, "");
    shown("ring 2 x ulysses 2, within what is given", "2 TFLOP/s (--rate) and 0.5 GB/s (--link)");
    program_run(&p, NULL, "plan", GOLDEN("flux-odd"), QUICK, "--link", "-1");
    program_expect(&p, 2, "--link '-1'", "above 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cannot_be), cmocka_unit_test(verify_compares),
                                       cmocka_unit_test(plan_knows_ranks)};
    return cmocka_run_group_tests(tests, open_model, close_model);
}
