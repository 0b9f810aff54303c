/* para generate with a model that makes videos: what ffprobe reads of the files, names and values that are refused, runs that fail or are cancelled.
 * SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/output.h>

#include "program.h"
#include "sampling.h"

#define MODEL    GOLDEN("hunyuan-video")
#define GENERATE "generate", MODEL, QUICK, "--width", "48", "--frames", "9"

#ifdef __SANITIZE_ADDRESS__
static const double patience = 20; /* seconds */
#else
static const double patience = 2;
#endif

static program p;

static int files_in_output(const char *ending) {
    int n = 0;
    DIR *dir = opendir(temp_path("out"));
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) {
        size_t length = strlen(d->d_name), end = strlen(ending);
        n += length >= end && strcmp(d->d_name + length - end, ending) == 0;
    }
    closedir(dir);
    return n;
}

static void remove_outputs(void) {
    char command[600];
    snprintf(command, sizeof command, "rm -f '%s'/*", temp_path("out"));
    assert_int_equal(system(command), 0);
}

#ifdef PARA_VIDEO_MODULE

/* The first video stream of a file, and the file. */
static json_t *probe(const char *name) {
    char command[800];
    snprintf(command, sizeof command,
             "ffprobe -v error -count_frames -select_streams v:0 -show_streams -show_format -of json '%s'",
             output_path(name));
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    json_t *root = json_loadf(pipe, 0, NULL);
    assert_int_equal(pclose(pipe), 0);
    assert_non_null(root);
    return root;
}

static void assert_video(const char *name, int width, int height, const char *count, const char *rate,
                         const char *prompt, const char *in_settings) {
    json_t *root = probe(name), *stream = json_array_get(json_object_get(root, "streams"), 0);
    json_t *tags = json_object_get(json_object_get(root, "format"), "tags");
    assert_int_equal(json_integer_value(json_object_get(stream, "width")), width);
    assert_int_equal(json_integer_value(json_object_get(stream, "height")), height);
    assert_string_equal(json_string_value(json_object_get(stream, "nb_read_frames")), count);
    assert_string_equal(json_string_value(json_object_get(stream, "r_frame_rate")), rate);
    assert_string_equal(json_string_value(json_object_get(tags, "prompt")), prompt);
    const char *settings = json_string_value(json_object_get(tags, "settings"));
    if (!settings || !strstr(settings, in_settings))
        fail_msg("settings are \"%s\", without \"%s\"", settings, in_settings);
    json_decref(root);
}

static void mp4(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "-o", output_path("x.mp4"));
    program_expect(&p, 0, "x.mp4: text");
    assert_video("x.mp4", 48, 32, "9", "24/1", "a red heart", "size 48x32, frames 9, fps 24");
    program_run(&p, NULL, GENERATE, "--frames", "8", "--fps", "15", "--crf", "30", "--seed", "3", "-o",
                output_path("y.mp4"));
    program_expect(&p, 0, "warning: num_frames 8", "gets 5 frames");
    assert_video("y.mp4", 48, 32, "5", "15/1", "a red heart", "frames 5, fps 15");
    program_run(&p, NULL, GENERATE, "--num-images", "2", "--ranks", "2", "--parallel-vae", "-o", output_path("z.mp4"));
    program_expect(&p, 0, "decode 9/18", "decode 18/18", "frames/s");
    assert_video("z-1.mp4", 48, 32, "9", "24/1", "a red heart", "steps 1, guidance 6");
    assert_video("z-2.mp4", 48, 32, "9", "24/1", "a red heart", "steps 1");
    assert_int_equal(files_in_output(""), 2 + 4); /* . and .. */
    remove_outputs();
}

/* The command of `make demo-video`. Its model's every step is the same: under sanitizers one is enough. */
static void demo(void **state) {
    (void)state;
    size_t bytes;
    char path[600], command[2400], *makefile = slurp(PARA_SOURCE_DIR "/Makefile", &bytes);
    char *line = strstr(makefile, "\n\t$(RELEASE)/para generate ");
    assert_non_null(line);
    line += strlen("\n\t$(RELEASE)/para ");
    line[strcspn(line, "\n")] = '\0';
    assert_non_null(strstr(line, "-o out/demo.mp4"));
    output_path("demo.mp4"); /* makes the folder */
    snprintf(path, sizeof path, "%s", temp_path("models"));
    assert_int_equal(symlink(PARA_SOURCE_DIR "/models", path), 0);
    snprintf(command, sizeof command, "cd '%s' && exec '%s' %s%s", temp_path("."), PARA, line, SANITIZED ? " --steps 1" : "");
    free(makefile);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    program_start(&p, NULL, argv);
    program_finish(&p, NULL);
    program_expect(&p, 0, "demo.mp4: text");
    assert_video("demo.mp4", 128, 128, "17", "8/1", "a red heart moving left on a white background", "size 128x128, frames 17, fps 8");
    assert_int_equal(files_in_output(""), 2 + 1); /* . and .. */
    remove_outputs();
    assert_int_equal(unlink(path), 0);
}

static void webp(void **state) {
    (void)state;
    char head[12] = "";
    program_run(&p, NULL, GENERATE, "-o", output_path("x.webp"));
    program_expect(&p, 0, "x.webp: text");
    FILE *f = fopen(output_path("x.webp"), "rb");
    assert_true(f && fread(head, 1, sizeof head, f) == sizeof head);
    fclose(f);
    assert_memory_equal(head, "RIFF", 4);
    assert_memory_equal(head + 8, "WEBP", 4);
    remove_outputs();
}

/* Before anything is loaded. */
static void bad_values(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"--fps", "0", "(--fps)"}, {"--fps", "-1", "(--fps)"}, {"--crf", "52", "(--crf)"}, {"--crf", "-1", "(--crf)"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        program_run(&p, NULL, GENERATE, cases[i][0], cases[i][1], "-o", output_path("x.mp4"));
        program_expect(&p, 2, cases[i][2]);
        assert_null(strstr(p.said, "load"));
        expect_nothing_left();
    }
}

#endif

static void pictures(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "-o", output_path("frames-%04d.png"));
    program_expect(&p, 0, "text");
    assert_int_equal(files_in_output(".png"), 9);
    assert_int_equal(access(output_path("frames-0009.png"), F_OK), 0);
    program_run(&p, NULL, GENERATE, "--frames", "1", "--num-images", "2", "-o", output_path("two%d.png"));
    program_expect(&p, 0, "text");
    assert_int_equal(access(output_path("two-2-1.png"), F_OK), 0);
    assert_int_equal(files_in_output(".png"), 11);
    remove_outputs();
}

static void tensor(void **state) {
    (void)state;
    para_tensor frames;
    program_run(&p, NULL, GENERATE, "-o", output_path("x.safetensors"));
    program_expect(&p, 0, "text");
    assert_int_equal(para_load_tensor(&frames, "frames", output_path("x.safetensors")), PARA_OK);
    const int64_t wanted[] = {1, 9, 3, 32, 48};
    assert_int_equal(frames.rank, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(frames.dim[i], wanted[i]);
    para_tensor_free(&frames);
    remove_outputs();
}

static void names(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "-o", output_path("x.png"));
    program_expect(&p, 2, "x.png", "makes videos", "frames-%04d.png");
    program_run(&p, NULL, GENERATE, "-o", output_path("x.avi"));
    program_expect(&p, 2, "x.avi", ".mp4");
    program_run(&p, NULL, "generate", GOLDEN("flux-dev"), QUICK, "-o", output_path("x.mp4"));
    program_expect(&p, 2, "x.mp4", "draws pictures");
    program_run(&p, NULL, "generate", GOLDEN("flux-dev"), QUICK, "--frames", "5", "-o", output_path("x.png"));
    program_expect(&p, 2, "num_frames (--frames) is 5", "makes pictures");
    program_run(&p, NULL, GENERATE, "-o", temp_path("nowhere/x.mp4"));
    program_expect(&p, 1, "the folder", "create it first");
    program_run(&p, NULL, GENERATE, "--width", "40", "-o", output_path("x.safetensors"));
    program_expect(&p, 2, "width (--width) is 40", "multiple of 16");
    program_run(&p, NULL, GENERATE, "--frames", "-4", "-o", output_path("x.safetensors"));
    program_expect(&p, 2, "num_frames (--frames) is -4");
    program_run(&p, NULL, GENERATE, "--memory-limit", "1M", "-o", output_path("x.safetensors"));
    program_expect(&p, 1, "--memory-limit");
    expect_nothing_left();
}

/* Of a run that is cancelled, or whose file cannot grow, nothing stays, not even the frames before. */
static void nothing_is_left(void **state) {
    (void)state;
    static const program_options limit = {.file_size_limit = 1500}, frames_limit = {.file_size_limit = 200};
    static const char *const outputs[] = {"x.mp4", "x.webp", "f-%d.png"};
    for (int i = 0; i < 3; i++) {
#ifndef PARA_VIDEO_MODULE
        if (i < 2) continue;
#endif
        program_run(&p, i == 2 ? &frames_limit : &limit, GENERATE, "--num-images", "2", "-o", output_path(outputs[i]));
        program_expect(&p, 1, "File too large");
        expect_nothing_left();
        program_start(&p, NULL, PROGRAM_ARGV(GENERATE, "--steps", "10000", "-o", output_path(outputs[i])));
        assert_true(program_wait_for(&p, "denoise"));
        kill(p.pid, SIGINT);
        program_finish(&p, NULL);
        program_expect(&p, 1, "cancelled");
        expect_nothing_left();
    }
}

/* While it decodes, frames are files already; a run that is cancelled then ends soon, and takes them with it. */
static void cancelled_while_decoding(void **state) {
    (void)state;
    static const char *const outputs[] = {"x.mp4", "x.webp", "f-%d.png"};
    for (int i = 0; i < 3; i++) {
#ifndef PARA_VIDEO_MODULE
        if (i < 2) continue;
#endif
        program_start(&p, NULL, PROGRAM_ARGV(GENERATE, "--frames", "401", "-o", output_path(outputs[i])));
        assert_true(program_wait_for(&p, "\ndecode "));
        double asked = program_seconds();
        kill(p.pid, SIGSTOP);
        int files = files_in_output("") - 2; /* . and .. */
        kill(p.pid, SIGINT);
        kill(p.pid, SIGCONT);
        program_finish(&p, NULL);
        double took = program_seconds() - asked;
        print_message("  %s: %d files while it decodes, %.2f s to cancel\n", outputs[i], files, took);
        program_expect(&p, 1, "cancelled");
        assert_null(strstr(p.said, "decode 401/401"));
        assert_true(i < 2 ? files == 1 : files >= 40 && files < 401);
        assert_true(took < patience);
        expect_nothing_left();
    }
}

/* A frame that cannot be written takes those before it with it. */
static void frames_before_go_too(void **state) {
    (void)state;
    char folder[600];
    snprintf(folder, sizeof folder, "%s", output_path("f-5.png"));
    assert_int_equal(mkdir(folder, 0777), 0);
    program_run(&p, NULL, GENERATE, "-o", output_path("f-%d.png"));
    program_expect(&p, 1, "f-5.png");
    assert_int_equal(rmdir(folder), 0);
    expect_nothing_left();
}

/* A program of its own folder, where there is no module. */
static void without_the_module(void **state) {
    (void)state;
    if (access(PARA_MODULE_DIR "/paraattn-video.so", F_OK) == 0) {
        print_message("the module is installed in " PARA_MODULE_DIR ": not tried\n");
        return;
    }
    char command[1400];
    snprintf(command, sizeof command, "cp '%s' '%s'", PARA_BINARY_DIR "/para_failing", temp_path("alone"));
    assert_int_equal(system(command), 0);
    unsetenv("PARAATTN_MODULES");
    char alone[600];
    snprintf(alone, sizeof alone, "%s", temp_path("alone"));
    const char *const video[] = {alone, GENERATE, "-o", output_path("x.mp4"), NULL};
    program_start(&p, NULL, video);
    program_finish(&p, NULL);
    program_expect(&p, 1, "paraattn-video.so", "install FFmpeg's libraries");
    assert_null(strstr(p.said, "text 1/1"));
    expect_nothing_left();
    const char *const frames[] = {alone, GENERATE, "-o", output_path("x-%d.png"), NULL};
    program_start(&p, NULL, frames);
    program_finish(&p, NULL);
    program_expect(&p, 0, "text");
    assert_int_equal(files_in_output(".png"), 9);
    remove_outputs();
}

static void planned_and_verified(void **state) {
    (void)state;
    program_run(&p, NULL, "plan", MODEL, "--width", "48", "--height", "32", "--frames", "9", "--ranks", "4");
    program_expect(&p, 0, NULL);
    assert_non_null(strstr(p.out, "48 x 32 pixels, 9 frames, 18 image tokens + 256 text tokens"));
    assert_non_null(strstr(p.out, "50 steps of 1 item"));
    assert_non_null(strstr(p.out, "x.safetensors keeps all of them: 0.1 MB more"));
    program_run(&p, NULL, "verify", MODEL, QUICK, "--frames", "9", "--ranks", "3", "--parallel-vae");
    program_expect(&p, 0, NULL);
    assert_non_null(strstr(p.out, "equal"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#ifdef PARA_VIDEO_MODULE
        cmocka_unit_test(mp4),
        cmocka_unit_test(demo),
        cmocka_unit_test(webp),
        cmocka_unit_test(bad_values),
#endif
        cmocka_unit_test(pictures),
        cmocka_unit_test(tensor),
        cmocka_unit_test(names),
        cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(cancelled_while_decoding),
        cmocka_unit_test(frames_before_go_too),
        cmocka_unit_test(without_the_module),
        cmocka_unit_test(planned_and_verified),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
