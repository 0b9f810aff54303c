/* Help, and every example of help, man page and README as a user would paste it. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include "sampling.h"

static program p;

static const char *const commands[][2] = {{"generate"}, {"info"}, {"plan"}, {"verify"}, {"bench", "cache"}, {"bench", "transformer"},
                                           {"bench", "pipeline"}, {"bench", "attention"}, {"bench", "linear"}, {"bench", "machine"}};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void show_help(const char *const command[2], const char *word) {
    if (command[1]) program_run(&p, NULL, command[0], command[1], word);
    else program_run(&p, NULL, command[0], word);
    program_expect(&p, 0, "");
    assert_string_equal(p.said, "");
}

static void help_exits_0(void **state) {
    (void)state;
    for (int i = 0; i < COMMANDS; i++) {
        show_help(commands[i], "--help");
        assert_non_null(strstr(p.out, "Usage: para "));
        assert_non_null(strstr(p.out, "\n  para ")); /* an example */
        show_help(commands[i], "-h");
    }
    static const char *const words[] = {"--help", "-h", "help", NULL};
    for (int i = 0; words[i]; i++) {
        program_run(&p, NULL, words[i]);
        assert_int_equal(p.code, 0);
        assert_non_null(strstr(p.out, "generate"));
    }
    program_run(&p, NULL, "bench");
    program_expect(&p, 0, "");
    assert_non_null(strstr(p.out, "\n  cache "));
    program_run(&p, NULL, "bench", "nothing");
    program_expect(&p, 2, "no benchmark 'nothing'");
    program_run(&p, NULL, "--version");
    assert_int_equal(p.code, 0);
    assert_non_null(strstr(p.out, "oneDNN"));
}

/* ---- examples */

static const bool draws = !SANITIZED; /* minutes, and test_progress draws the same */

/* A folder in which the models that ship and the checkpoints of the README are models, and prompts.txt has a prompt. */
static void open_place(char *folder, size_t room) {
    char path[600];
    const char *model = PARA_SOURCE_DIR "/models/tiny-flux";
    snprintf(path, sizeof path, "%s/model_index.json", model);
    if (access(path, R_OK) != 0) model = GOLDEN("flux-dev");
    snprintf(folder, room, "%s", temp_path("place"));
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/models", folder);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/models/tiny-flux", folder);
    assert_int_equal(symlink(model, path), 0);
    static const char *const models[][2] = {{"models/tiny-hunyuan-video", PARA_SOURCE_DIR "/models/tiny-hunyuan-video"},
                                            {"FLUX.1-dev", GOLDEN("flux-dev")},
                                            {"HunyuanVideo", GOLDEN("hunyuan-video")},
                                            {"mochi-1-preview", GOLDEN("mochi-video")}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, models[i][0]);
        assert_int_equal(symlink(models[i][1], path), 0);
    }
    snprintf(path, sizeof path, "%s/prompts.txt", folder);
    FILE *prompts = fopen(path, "w");
    assert_non_null(prompts);
    fprintf(prompts, "# what to draw\n\ntwo red hearts\n");
    assert_int_equal(fclose(prompts), 0);
}

/* A line that ran already, in help and man page alike, does not run again. */
static bool seen(const char *line) {
    static char lines[64][256];
    static int n;
    for (int i = 0; i < n; i++)
        if (strcmp(lines[i], line) == 0) return true;
    assert_true(n < 64);
    snprintf(lines[n++], sizeof lines[0], "%s", line);
    return false;
}

static int run_example(const char *folder, const char *line) {
    char command[2048];
    if (seen(line) ||
        (!draws && (strstr(line, "para generate") || strstr(line, "para verify") || strstr(line, "para bench"))))
        return 0;
    /* What asks for a GPU gets none: its options are right, and it ends with a failure, not with a usage error. */
    bool on_gpu = strstr(line, "--device cuda") != NULL;
    snprintf(command, sizeof command, "cd '%s' && PATH='%s':\"$PATH\" && %s%s >>log 2>&1", folder, PARA_BINARY_DIR,
             on_gpu ? "export CUDA_VISIBLE_DEVICES= && " : "", line);
    double begun = program_seconds();
    int status = system(command);
    print_message("  %.1f s: %s\n", program_seconds() - begun, line);
    if (!on_gpu) return status;
    return WIFEXITED(status) && WEXITSTATUS(status) == 1 ? 0 : 1;
}

/* Runs the lines that begin with `mark` and "para "; returns how many there were. */
static int run_examples(const char *folder, char *text, const char *mark) {
    int n = 0;
    size_t skip = strlen(mark);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (strncmp(line, mark, skip) != 0 || strncmp(line + skip, "para ", 5) != 0 || strstr(line, "COMMAND"))
            continue;
        if (strstr(line, "--help   ") || strstr(line, "--version   ")) continue; /* the list of commands */
        n++;
        char *comment = strstr(line, "  #");
        if (comment) *comment = '\0';
        if (run_example(folder, line + skip) != 0) {
            size_t bytes;
            char log[640];
            snprintf(log, sizeof log, "%s/log", folder);
            fail_msg("%s\n%s", line, slurp(log, &bytes));
        }
    }
    return n;
}

static void unescape_dashes(char *text) {
    char *to = text;
    for (; *text; text++)
        if (!(text[0] == '\\' && text[1] == '-')) *to++ = *text;
    *to = '\0';
}

static void examples_run(void **state) {
    (void)state;
    char folder[512];
    open_place(folder, sizeof folder);
    int n = 0;
    for (int i = -1; i < COMMANDS; i++) {
        if (i >= 0) show_help(commands[i], "--help");
        else program_run(&p, NULL, "--help");
        int found = run_examples(folder, p.out, "  ");
        assert_true(found > 0);
        n += found;
    }
    size_t bytes;
    char *page = slurp(PARA_SOURCE_DIR "/docs/para.1", &bytes);
    unescape_dashes(page);
    char *examples = strstr(page, ".SH EXAMPLES");
    assert_non_null(examples);
    int in_page = run_examples(folder, examples, "");
    free(page);
    assert_true(in_page >= 4);
    char *readme = slurp(PARA_SOURCE_DIR "/README.md", &bytes);
    int in_readme = run_examples(folder, readme, "$"); /* $para info … */
    free(readme);
    print_message("  %d examples in the help, %d in the man page, %d in the README\n", n, in_page, in_readme);
    char path[600];
    snprintf(path, sizeof path, "%s/heart.png", folder);
    if (draws) assert_int_equal(access(path, R_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(help_exits_0), cmocka_unit_test(examples_run)};
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
