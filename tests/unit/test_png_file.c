/* Writing PNG files, read back with libpng. SPDX-License-Identifier: Apache-2.0 */
#include "io/png_file.h"

#include <png.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>

#include "io_checks.h"

enum { H = 37, W = 53 };

static uint8_t picture[H * W * 3];

static void fill(void) {
    unsigned x = 12345;
    for (size_t i = 0; i < sizeof picture; i++) {
        x = x * 1664525u + 1013904223u;
        picture[i] = (uint8_t)(x >> 24); /* noise: does not compress */
    }
}

static const char *const TEXT[] = {"prompt", "a cat\nholding a sign", "Title", "\xe7\x8c\xab \xff!", "empty", "", NULL};

/* The value of a text chunk and whether it is iTXt; NULL: there is none. */
static const char *find_text(png_structp png, png_infop info, const char *key, bool *international) {
    png_textp text;
    int n;
    png_get_text(png, info, &text, &n);
    for (int i = 0; i < n; i++) {
        if (strcmp(text[i].key, key) != 0) continue;
        *international = text[i].compression == PNG_ITXT_COMPRESSION_NONE;
        return text[i].text;
    }
    return NULL;
}

static void round_trip(void **state) {
    (void)state;
    fill();
    const char *path = temp_path("a.png");
    assert_ok(para_png_write(path, picture, H, W, TEXT));
    assert_int_equal(folder_entries(temp_folder), 1);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_int_equal(setjmp(png_jmpbuf(png)), 0);
    png_init_io(png, f);
    png_read_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    assert_int_equal(png_get_image_height(png, info), H);
    assert_int_equal(png_get_image_width(png, info), W);
    assert_int_equal(png_get_bit_depth(png, info), 8);
    assert_int_equal(png_get_color_type(png, info), PNG_COLOR_TYPE_RGB);
    png_bytepp rows = png_get_rows(png, info);
    for (int y = 0; y < H; y++) assert_memory_equal(rows[y], picture + y * W * 3, W * 3);
    static bool international; /* static: libpng may jump back to setjmp above */
    assert_string_equal(find_text(png, info, "prompt", &international), "a cat\nholding a sign");
    assert_false(international);
    assert_string_equal(find_text(png, info, "Title", &international), "\xe7\x8c\xab \xef\xbf\xbd!");
    assert_true(international);
    assert_string_equal(find_text(png, info, "empty", &international), "");
    png_destroy_read_struct(&png, &info, NULL);
    fclose(f);
}

static void no_text(void **state) {
    (void)state;
    assert_ok(para_png_write(temp_path("b.png"), picture, 1, 1, NULL));
    size_t n;
    char *bytes = slurp(temp_path("b.png"), &n);
    assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n", 8);
    free(bytes);
}

static void bad_arguments(void **state) {
    (void)state;
    const char *path = temp_path("c.png");
    assert_fails(PARA_ERR_ARGUMENT, "a picture of 5x0 pixels", para_png_write(path, picture, 0, 5, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "a picture of -1x5 pixels", para_png_write(path, picture, 5, -1, NULL));
    static const char *const keys[] = {
        "", "new\nline", "caf\xc3\xa9", "\x7f",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678x"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_fails(PARA_ERR_ARGUMENT, "is not a key for a PNG text chunk",
                     para_png_write(path, picture, H, W, (const char *const[]){keys[i], "x", NULL}));
    assert_fails(PARA_ERR_LIBRARY,
                 "cannot be written as PNG: libpng: ", para_png_write(path, picture, 1, 0x7fffffff, NULL));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void failed_write(void **state) {
    (void)state;
    temp_device("/dev/null"); /* so that the link counts from the start */
    int before = folder_entries(temp_folder);
    assert_fails(PARA_ERR_NOT_FOUND, "its folder does not exist",
                 para_png_write(temp_path("no/a.png"), picture, H, W, TEXT));
    assert_fails(PARA_ERR_IO, "No space left on device", para_png_write(temp_device("/dev/full"), picture, H, W, TEXT));
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 3000; /* half of the picture */
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    para_status status = para_png_write(temp_path("d.png"), picture, H, W, TEXT);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, PARA_ERR_IO);
    assert_non_null(strstr(para_last_error(), "d.png' cannot be written: File too large"));
    assert_int_equal(folder_entries(temp_folder), before);
}

static void alloc_failure(void **state) {
    (void)state;
    int before = folder_entries(temp_folder);
    assert_survives_alloc_failure(10, para_png_write(temp_path("e.png"), picture, H, W, TEXT));
    assert_int_equal(folder_entries(temp_folder), before + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),   cmocka_unit_test(no_text),       cmocka_unit_test(bad_arguments),
        cmocka_unit_test(failed_write), cmocka_unit_test(alloc_failure),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
