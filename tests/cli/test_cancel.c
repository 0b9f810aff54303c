/* Ctrl-C and SIGTERM at every stage: "cancelled", exit status 1, within 2 seconds, nothing left. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include "sampling.h"

#define MODEL GOLDEN("flux-dev")

static const double patience = SANITIZED ? 20 : 2; /* seconds */

static program p;
static const program_options terminal = {.terminal = true};

/* ---- models whose stages last long enough to be interrupted */

/* What replicate() copies: blocks 0 and 1 to 2 … count - 1. */
static struct {
    const char *prefix; /* "encoder.block." */
    int count;
    int64_t added; /* bytes after the file's own */
} copies;

static int64_t end_of_data(json_t *header) {
    const char *name;
    json_t *value;
    int64_t end = 0;
    json_object_foreach(header, name, value) {
        int64_t e = json_integer_value(json_array_get(json_object_get(value, "data_offsets"), 1));
        if (e > end) end = e;
    }
    return end;
}

static void add_blocks(json_t *header) {
    char first[128], name[256];
    int64_t begin = end_of_data(header), at = begin;
    json_t *own = json_deep_copy(header), *value;
    const char *key;
    int length = snprintf(first, sizeof first, "%s1.", copies.prefix);
    for (int i = 2; i < copies.count; i++) {
        json_object_foreach(own, key, value) {
            if (strncmp(key, first, (size_t)length) != 0) continue;
            json_t *copy = json_deep_copy(value), *offsets = json_object_get(copy, "data_offsets");
            int64_t bytes =
                json_integer_value(json_array_get(offsets, 1)) - json_integer_value(json_array_get(offsets, 0));
            json_array_set_new(offsets, 0, json_integer(at));
            json_array_set_new(offsets, 1, json_integer(at += bytes));
            snprintf(name, sizeof name, "%s%d.%s", copies.prefix, i, key + length);
            json_object_set_new(header, name, copy);
        }
    }
    copies.added = at - begin;
    json_decref(own);
}

/* Gives the model `count` blocks; the new ones are holes in the file, that is zeros. */
static void replicate(const model_copy *m, const char *file, const char *prefix, const char *config, const char *key,
                      int count) {
    copies.prefix = prefix;
    copies.count = count;
    model_copy_header(m, file, add_blocks);
    struct stat at;
    assert_int_equal(stat(model_path(m, file), &at), 0);
    assert_int_equal(truncate(model_path(m, file), at.st_size + copies.added), 0);
    model_copy_set(m, config, key, json_integer(count));
}

/* ---- the cases */

typedef struct stage {
    const char *name;  /* as the progress names it */
    const char *later; /* the next stage, which must not come */
    const char *words[6];
} stage;

static const stage stages[] = {
    {"load", "\rtext", {"--steps", "1"}},
    {"text", "\rdenoise", {"--steps", "1", "--max-sequence-length", "512"}},
    {"denoise", "\rdecode", {"--steps", "10000"}},
    {"decode", "out/x", {"--steps", "1", "--width", "1024", "--height", "1024"}},
};
enum { LOAD, TEXT, DENOISE, DECODE, STAGES };

static void start(const program_options *o, const char *model, const stage *s) {
    const char *argv[32] = {PARA,
                            "generate",
                            model,
                            "--prompt",
                            "a red heart",
                            "--width",
                            "32",
                            "--height",
                            "32",
                            "--max-sequence-length",
                            "8",
                            "--threads",
                            "1",
                            "-o",
                            output_path("x.png"),
                            "--report",
                            output_path("x.json")};
    int n = 17;
    for (int i = 0; i < 6 && s->words[i]; i++) argv[n++] = s->words[i];
    program_start(&p, o, argv);
}

static const char *model_for(int i, model_copy *m) {
    model_copy_open(m, MODEL, "model");
    if (i == LOAD)
        replicate(m, "transformer/diffusion_pytorch_model.safetensors", "single_transformer_blocks.",
                  "transformer/config.json", "num_single_layers", 1000);
    if (i == TEXT)
        replicate(m, "text_encoder_2/model.safetensors", "encoder.block.", "text_encoder_2/config.json", "num_layers",
                  1000);
    return m->folder;
}

static void cancel_at(int i, int signal_number) {
    const stage *s = &stages[i];
    model_copy m;
    char begun[64];
    start(&terminal, model_for(i, &m), s);
    snprintf(begun, sizeof begun, "\r%-8s [", s->name);
    if (!program_wait_for(&p, begun)) fail_msg("the stage %s did not come: %s", s->name, p.said);
    double asked = program_seconds();
    assert_int_equal(kill(p.pid, signal_number), 0);
    program_finish(&p, NULL);
    double took = program_seconds() - asked;
    print_message("  %s during %s: %.3f s\n", strsignal(signal_number), s->name, took);
    program_expect(&p, 1, "\npara generate: cancelled"); /* on a line of its own */
    if (strstr(p.said, s->later)) fail_msg("it went on after %s: %s", s->name, p.said);
    assert_true(took < patience);
    expect_nothing_left();
    model_copy_close(&m);
}

static void interrupt_at_every_stage(void **state) {
    (void)state;
    program_needs_terminal();
    for (int i = 0; i < STAGES; i++) cancel_at(i, SIGINT);
}

static void terminate_at_every_stage(void **state) {
    (void)state;
    program_needs_terminal();
    for (int i = 0; i < STAGES; i++) cancel_at(i, SIGTERM);
}

/* Two signals that arrive together; two of one kind would be merged by the kernel. */
static void second_signal_ends_at_once(void **state) {
    (void)state;
    program_needs_terminal();
    start(&terminal, MODEL, &stages[DENOISE]);
    assert_true(program_wait_for(&p, "\rdenoise"));
    kill(p.pid, SIGSTOP);
    kill(p.pid, SIGINT);
    kill(p.pid, SIGTERM);
    kill(p.pid, SIGCONT);
    program_finish(&p, NULL);
    assert_true(p.code == 128 + SIGINT || p.code == 128 + SIGTERM);
    assert_null(strstr(p.said, "cancelled"));
    expect_nothing_left();
}

/* At any other moment: a whole picture or none. */
static void interrupt_at_any_moment(void **state) {
    (void)state;
    int done = 0, cancelled = 0, killed = 0;
    const stage quick = {"", "", {"--steps", "3"}};
    for (int ms = 0; ms < 60; ms += 3) {
        start(NULL, MODEL, &quick);
        struct timespec wait = {0, ms * 1000000L};
        nanosleep(&wait, NULL);
        kill(p.pid, SIGINT);
        program_finish(&p, NULL);
        if (p.code == 0) {
            done++;
            assert_int_equal(unlink(output_path("x.png")), 0);
            assert_int_equal(unlink(output_path("x.json")), 0);
        } else if (p.code == 1) {
            cancelled++;
            program_expect(&p, 1, "cancelled");
        } else {
            killed++; /* before the program asked for the signal */
            assert_int_equal(p.code, 128 + SIGINT);
        }
        expect_nothing_left();
    }
    print_message("  %d done, %d cancelled, %d killed before they began\n", done, cancelled, killed);
}

static void ignored_signals_stay_ignored(void **state) {
    (void)state;
    program_needs_terminal();
    signal(SIGINT, SIG_IGN);
    start(&terminal, MODEL, &stages[DENOISE]);
    signal(SIGINT, SIG_DFL);
    assert_true(program_wait_for(&p, "\rdenoise"));
    kill(p.pid, SIGINT);
    p.said[0] = '\0', p.length = 0;
    assert_true(program_wait_for(&p, "\rdenoise")); /* goes on */
    kill(p.pid, SIGTERM);
    program_finish(&p, NULL);
    program_expect(&p, 1, "cancelled");
    expect_nothing_left();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupt_at_every_stage),     cmocka_unit_test(terminate_at_every_stage),
        cmocka_unit_test(second_signal_ends_at_once),   cmocka_unit_test(interrupt_at_any_moment),
        cmocka_unit_test(ignored_signals_stay_ignored),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
