/* Videos: what ffprobe and ffmpeg read of an MP4, what is in a WebP, numbered pictures; failures leave nothing. SPDX-License-Identifier: Apache-2.0 */
#include "io/video_file.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <unistd.h>

#include "io_checks.h"

enum { FRAMES = 17, HEIGHT = 48, WIDTH = 80 };

static const char *const settings_text[] = {"prompt", "a red heart; \xE2\x9D\xA4 = \"love\" <&>\nmoving left", "seed", "7", NULL};

static para_video_settings settings(void) {
    return (para_video_settings){.height = HEIGHT, .width = WIDTH, .fps = 24, .crf = 18, .text = settings_text};
}

/* A soft spot that goes from left to right over a gradient. */
static void draw(uint8_t *rgb, int frame) {
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            double dx = x - 10 - 3 * frame, dy = y - HEIGHT / 2, spot = exp(-(dx * dx + dy * dy) / 100);
            uint8_t *p = rgb + 3 * (y * WIDTH + x);
            p[0] = (uint8_t)(2 * x + spot * (230 - 2 * x));
            p[1] = (uint8_t)(3 * y + spot * (40 - 3 * y));
            p[2] = (uint8_t)(120 + spot * (60 - 120));
        }
    }
}

static void write_frames(para_video *v, int n) {
    static uint8_t rgb[3 * HEIGHT * WIDTH];
    for (int i = 0; i < n; i++) {
        draw(rgb, i);
        assert_ok(para_video_write(v, rgb));
    }
}

static int entries(void) {
    int n = 0;
    DIR *dir = opendir(temp_folder);
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) n += d->d_name[0] != '.' || d->d_name[1] == 'p'; /* ".para-…": a temporary file */
    closedir(dir);
    return n;
}

#ifdef PARA_VIDEO_MODULE

static size_t write_video(const char *name, const para_video_settings *s, int n) {
    para_video *v;
    struct stat at;
    assert_ok(para_video_open(&v, temp_path(name), s));
    write_frames(v, n);
    assert_int_equal(access(temp_path(name), F_OK), -1); /* not before it is whole */
    assert_ok(para_video_finish(&v));
    assert_null(v);
    assert_int_equal(stat(temp_path(name), &at), 0);
    return (size_t)at.st_size;
}

/* Standard output of a command, to be freed. */
static char *output_of(const char *command, size_t *n) {
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char *bytes = malloc(1 << 20);
    *n = fread(bytes, 1, 1 << 20, pipe);
    if (pclose(pipe) != 0) fail_msg("failed: %s", command);
    return bytes;
}

static json_t *probe(const char *name) {
    char command[700];
    size_t n;
    snprintf(command, sizeof command, "ffprobe -v error -count_frames -select_streams v:0 -show_streams -show_format -of json '%s'", temp_path(name));
    char *text = output_of(command, &n);
    json_t *root = json_loadb(text, n, 0, NULL);
    assert_non_null(root);
    free(text);
    return root;
}

static void assert_text(const json_t *object, const char *key, const char *wanted) {
    const char *value = json_string_value(json_object_get(object, key));
    if (!value || strcmp(value, wanted) != 0) fail_msg("%s is \"%s\", not \"%s\"", key, value ? value : "(none)", wanted);
}

static void mp4_is_what_was_asked_for(void **state) {
    (void)state;
    para_video_settings s = settings();
    size_t bytes = write_video("x.mp4", &s, FRAMES);
    json_t *root = probe("x.mp4");
    const json_t *stream = json_array_get(json_object_get(root, "streams"), 0), *format = json_object_get(root, "format");
    const json_t *tags = json_object_get(format, "tags");
    assert_text(stream, "codec_name", "h264");
    assert_text(stream, "pix_fmt", "yuv420p");
    assert_text(stream, "color_space", "bt709");
    assert_text(stream, "color_range", "tv");
    assert_text(stream, "nb_read_frames", "17");
    assert_text(stream, "r_frame_rate", "24/1");
    assert_text(stream, "avg_frame_rate", "24/1");
    assert_text(stream, "start_time", "0.000000");
    assert_text(stream, "duration", "0.708333"); /* 17 / 24 s */
    assert_int_equal(json_integer_value(json_object_get(stream, "width")), WIDTH);
    assert_int_equal(json_integer_value(json_object_get(stream, "height")), HEIGHT);
    assert_text(tags, "prompt", settings_text[1]);
    assert_text(tags, "seed", "7");
    json_decref(root);
    write_video("one.mp4", &s, 1);
    root = probe("one.mp4");
    assert_text(json_array_get(json_object_get(root, "streams"), 0), "duration", "0.041667");
    json_decref(root);
    s.fps = 23.976;
    s.crf = 40;
    assert_true(write_video("y.mp4", &s, 5) < bytes);
    root = probe("y.mp4");
    assert_text(json_array_get(json_object_get(root, "streams"), 0), "avg_frame_rate", "2997/125");
    assert_text(json_array_get(json_object_get(root, "streams"), 0), "nb_read_frames", "5");
    json_decref(root);
}

/* Colours and order of the frames. */
static void mp4_shows_the_frames(void **state) {
    (void)state;
    /* Root mean square over all values; 2.31 of 255 were measured, 6.4 with another matrix (BT.601), 7.4 with another range. */
    static const double bound = 3;
    para_video_settings s = settings();
    s.crf = 4;
    write_video("z.mp4", &s, FRAMES);
    char command[700];
    size_t n, frame = 3 * HEIGHT * WIDTH;
    snprintf(command, sizeof command, "ffmpeg -v error -i '%s' -vf scale=in_color_matrix=bt709 -f rawvideo -pix_fmt rgb24 -", temp_path("z.mp4"));
    char *bytes = output_of(command, &n);
    assert_int_equal(n, FRAMES * frame);
    uint8_t *rgb = malloc(frame);
    double squares = 0;
    for (int i = 0; i < FRAMES; i++) {
        draw(rgb, i);
        for (size_t k = 0; k < frame; k++) squares += pow((double)rgb[k] - (double)(uint8_t)bytes[(size_t)i * frame + k], 2);
    }
    double error = sqrt(squares / (double)n);
    print_message("MP4 at crf 4: root mean square error %.2f of 255\n", error);
    assert_true(error <= bound);
    free(rgb);
    free(bytes);
}

static size_t little(const char *bytes, int n) {
    size_t value = 0;
    for (int i = n; i-- > 0;) value = value << 8 | (unsigned char)bytes[i];
    return value;
}

/* Chunks of a WebP: counts ANMF and adds up their durations; the XMP text, or NULL. */
static const char *read_webp(const char *bytes, size_t n, int *frames, int *milliseconds) {
    const char *xmp = NULL;
    *frames = *milliseconds = 0;
    assert_memory_equal(bytes, "RIFF", 4);
    assert_memory_equal(bytes + 8, "WEBPVP8X", 8);
    assert_int_equal(little(bytes + 4, 4), n - 8);
    assert_true(bytes[20] & 4); /* there is XMP */
    assert_int_equal(little(bytes + 24, 3) + 1, WIDTH);
    assert_int_equal(little(bytes + 27, 3) + 1, HEIGHT);
    for (size_t at = 12; at < n;) {
        assert_true(at + 8 <= n);
        size_t size = little(bytes + at + 4, 4);
        if (memcmp(bytes + at, "ANMF", 4) == 0) {
            ++*frames;
            *milliseconds += (int)little(bytes + at + 8 + 12, 3);
        }
        if (memcmp(bytes + at, "XMP ", 4) == 0) xmp = bytes + at + 8;
        at += 8 + size + size % 2;
        assert_true(at <= n);
    }
    return xmp;
}

static void webp_has_frames_durations_and_text(void **state) {
    (void)state;
    para_video_settings s = settings();
    size_t n;
    int frames, milliseconds;
    write_video("x.webp", &s, FRAMES);
    char *bytes = slurp(temp_path("x.webp"), &n);
    const char *xmp = read_webp(bytes, n, &frames, &milliseconds);
    assert_int_equal(frames, FRAMES);
    assert_in_range(milliseconds, 700, 715); /* 17 / 24 s, each frame to a millisecond */
    assert_non_null(xmp);
    assert_non_null(strstr(xmp, "prompt: a red heart; \xE2\x9D\xA4 = \"love\" &lt;&amp;&gt;\nmoving left\nseed: 7\n"));
    free(bytes);
    write_video("one.webp", &s, 1); /* which libwebp stores as a plain picture */
    bytes = slurp(temp_path("one.webp"), &n);
    assert_non_null(read_webp(bytes, n, &frames, &milliseconds));
    assert_int_equal(frames, 0);
    free(bytes);
}

static void abort_and_failures_leave_nothing(void **state) {
    (void)state;
    para_video_settings s = settings();
    para_video *v;
    int there = entries();
    static const char *const name[] = {"a.mp4", "a.webp"};
    for (int i = 0; i < 2; i++) {
        assert_ok(para_video_open(&v, temp_path(name[i]), &s));
        write_frames(v, 3);
        assert_int_equal(entries(), there + 1);
        para_video_abort(&v);
        assert_null(v);
        assert_int_equal(entries(), there);
        assert_ok(para_video_open(&v, temp_path(name[i]), &s));
        assert_fails(PARA_ERR_ARGUMENT, "without a frame", para_video_finish(&v));
        assert_null(v);
        assert_int_equal(entries(), there);
        assert_fails(PARA_ERR_NOT_FOUND, "its folder does not exist", para_video_open(&v, temp_path(i ? "no/a.webp" : "no/a.mp4"), &s));
        assert_null(v);
    }
    /* What was there stays until the new file is whole. */
    temp_write("a.mp4", "old", 3);
    assert_ok(para_video_open(&v, temp_path("a.mp4"), &s));
    write_frames(v, 2);
    para_video_abort(&v);
    size_t n;
    char *bytes = slurp(temp_path("a.mp4"), &n);
    assert_int_equal(n, 3);
    free(bytes);
}

/* A full disk, a pipe: said by the sink, not by FFmpeg. */
static void outputs_that_fail(void **state) {
    (void)state;
    para_video_settings s = settings();
    para_video *v;
    assert_int_equal(symlink("/dev/full", temp_path("full.mp4")), 0);
    assert_int_equal(symlink("/dev/full", temp_path("full.webp")), 0);
    assert_ok(para_video_open(&v, temp_path("full.webp"), &s));
    write_frames(v, 2);
    assert_fails(PARA_ERR_IO, "No space left", para_video_finish(&v));
    para_clear_error();
    para_status status = para_video_open(&v, temp_path("full.mp4"), &s);
    if (status == PARA_OK) {
        write_frames(v, 2);
        status = para_video_finish(&v);
    }
    assert_int_equal(status, PARA_ERR_IO);
    assert_non_null(strstr(para_last_error(), "No space left"));
    assert_null(v);
}

static para_status whole_run(void) {
    static uint8_t rgb[3 * HEIGHT * WIDTH];
    para_video_settings s = settings();
    para_video *v;
    PARA_TRY(para_video_open(&v, temp_path("m.mp4"), &s));
    para_status status = para_video_write(v, rgb);
    if (status == PARA_OK) return para_video_finish(&v);
    para_video_abort(&v);
    return status;
}

static void survives_failed_allocations(void **state) {
    (void)state;
    assert_survives_alloc_failure(5, whole_run());
}

#endif

static void numbered_pictures(void **state) {
    (void)state;
    para_video_settings s = settings();
    para_video *v;
    size_t n;
    int there = entries();
    assert_ok(para_video_open(&v, temp_path("f-%03d.png"), &s));
    write_frames(v, 3);
    assert_ok(para_video_finish(&v));
    assert_int_equal(entries(), there + 3);
    char *bytes = slurp(temp_path("f-003.png"), &n);
    assert_memory_equal(bytes, "\x89PNG", 4);
    assert_int_equal((unsigned char)bytes[19], WIDTH);
    assert_non_null(memmem(bytes, n, "seed\0" "7", 6));
    free(bytes);
    there = entries();
    assert_ok(para_video_open(&v, temp_path("g%d.png"), &s));
    write_frames(v, 2);
    assert_int_equal(access(temp_path("g2.png"), F_OK), 0);
    para_video_abort(&v);
    assert_int_equal(entries(), there);
    assert_int_equal(mkdir(temp_path("h2.png"), 0700), 0);
    there = entries();
    assert_ok(para_video_open(&v, temp_path("h%d.png"), &s));
    write_frames(v, 1);
    static uint8_t rgb[3 * HEIGHT * WIDTH];
    assert_fails(PARA_ERR_IO, "h2.png", para_video_write(v, rgb));
    para_video_abort(&v);
    assert_int_equal(entries(), there);
    assert_int_equal(rmdir(temp_path("h2.png")), 0);
}

static void names_and_settings_are_checked(void **state) {
    (void)state;
    static const char *const bad[] = {"x.avi", "x.png", "x-%s.png", "x-%4d.png", "x-%d-%d.png", "x-%d.jpg", "%", "x%00d.png", "a%d/b.png", ".mp4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_fails(PARA_ERR_ARGUMENT, "must end in .mp4 or .webp", para_video_check(bad[i]));
    static const char *const good[] = {"x.mp4", "x.webp", "x-%04d.png", "%d.png", "100.mp4"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_ok(para_video_check(good[i]));
    static const struct {
        const char *path, *sentence;
        para_video_settings s;
    } cases[] = {
        {"x.mp4", "0 x 48 pixels", {.height = 48, .fps = 24}},
        {"x.mp4", "16386 pixels", {.height = 16386, .width = 8, .fps = 24}},
        {"x.mp4", "takes even sizes", {.height = 48, .width = 33, .fps = 24}},
        {"x.mp4", "crf (--crf) is 52", {.height = 48, .width = 32, .fps = 24, .crf = 52}},
        {"x.mp4", "0 frames a second", {.height = 48, .width = 32}},
        {"x.webp", "nan frames a second", {.height = 48, .width = 32, .fps = NAN}},
    };
    para_video *v;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(PARA_ERR_ARGUMENT, cases[i].sentence, para_video_open(&v, temp_path(cases[i].path), &cases[i].s));
}

/* A copy of this program, in a folder where the module is not. */
static void without_the_module(void **state) {
    (void)state;
    if (access(PARA_MODULE_DIR "/paraattn-video.so", F_OK) == 0) {
        print_message("the module is installed in " PARA_MODULE_DIR ": not tried\n");
        return;
    }
    size_t n;
    char *program = slurp("/proc/self/exe", &n);
    temp_write("alone", program, n);
    free(program);
    assert_int_equal(chmod(temp_path("alone"), 0700), 0);
    char command[600];
    snprintf(command, sizeof command, "unset PARAATTN_MODULES; '%s' '%s'", temp_path("alone"), temp_path("n.mp4"));
    assert_int_equal(system(command), 0);
}

/* Without the module, pictures can be written, and the rest says what to install. */
static int alone(const char *path) {
    para_video_settings s = settings();
    para_video *v;
    para_status status = para_video_open(&v, path, &s);
    bool said = status == PARA_ERR_LIBRARY && strstr(para_last_error(), "paraattn-video.so") && strstr(para_last_error(), "install FFmpeg's libraries");
    if (!said) fprintf(stderr, "%s: \"%s\"\n", para_status_name(status), para_last_error());
    return !said || v;
}

int main(int argc, char **argv) {
    if (argc == 2) return alone(argv[1]);
    const struct CMUnitTest tests[] = {
#ifdef PARA_VIDEO_MODULE
        cmocka_unit_test(mp4_is_what_was_asked_for),
        cmocka_unit_test(mp4_shows_the_frames),
        cmocka_unit_test(webp_has_frames_durations_and_text),
        cmocka_unit_test(abort_and_failures_leave_nothing),
        cmocka_unit_test(outputs_that_fail),
        cmocka_unit_test(survives_failed_allocations),
#endif
        cmocka_unit_test(numbered_pictures),
        cmocka_unit_test(names_and_settings_are_checked),
        cmocka_unit_test(without_the_module),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
