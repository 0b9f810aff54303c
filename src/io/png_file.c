/* Writing PNG files. SPDX-License-Identifier: Apache-2.0 */
#include "io/png_file.h"

#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "io/atomic_file.h"
#include "io/utf8_text.h"

/* What libpng's callbacks need. */
typedef struct sink {
    para_atomic_file file;
    para_status status; /* set before libpng jumps back */
} sink;

static void on_error(png_structp png, png_const_charp message) {
    sink *s = png_get_error_ptr(png);
    /* A failed write or allocation has its own sentence already. */
    if (s->status == PARA_OK)
        s->status = para_fail(PARA_ERR_LIBRARY, "'%s' cannot be written as PNG: libpng: %s", s->file.path, message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message; /* the library prints nothing */
}

static png_voidp on_alloc(png_structp png, png_alloc_size_t bytes) {
    sink *s = png_get_mem_ptr(png);
    void *p = para_alloc(bytes, 1);
    if (!p) s->status = PARA_ERR_MEMORY;
    return p;
}

static void on_free(png_structp png, png_voidp p) {
    (void)png;
    para_free(p);
}

static void on_write(png_structp png, png_bytep bytes, size_t n) {
    sink *s = png_get_io_ptr(png);
    para_status status = para_atomic_write(&s->file, bytes, n);
    if (status == PARA_OK) return;
    s->status = status;
    png_error(png, "write");
}

static void on_flush(png_structp png) {
    (void)png;
}

static int count_pairs(const char *const *text) {
    int n = 0;
    while (text && text[2 * n]) n++;
    return n;
}

/* Keys must be what PNG allows: 1 to 79 printable characters, here of ASCII. */
static para_status check_keys(const char *path, const char *const *text, int n) {
    for (int i = 0; i < n; i++) {
        const char *key = text[2 * i];
        size_t length = strlen(key);
        bool good = length >= 1 && length <= 79 && para_text_is_ascii(key);
        for (const char *c = key; good && *c; c++) good = *c >= ' ' && *c != 127;
        if (!good) return para_fail(PARA_ERR_ARGUMENT, "'%s': '%s' is not a key for a PNG text chunk", path, key);
    }
    return PARA_OK;
}

static void free_chunks(png_text *chunks, int n) {
    for (int i = 0; chunks && i < n; i++) para_free(chunks[i].text);
    para_free(chunks);
}

/* tEXt for ASCII, which every reader knows, else iTXt. */
static para_status make_chunks(png_text **out, const char *const *text, int n) {
    png_text *chunks = para_alloc((size_t)n, sizeof *chunks);
    *out = chunks;
    if (!chunks) return PARA_ERR_MEMORY;
    for (int i = 0; i < n; i++) {
        chunks[i].key = (png_charp)text[2 * i]; /* libpng copies it */
        chunks[i].text = para_utf8_clean(text[2 * i + 1]);
        if (!chunks[i].text) return PARA_ERR_MEMORY;
        bool ascii = para_text_is_ascii(chunks[i].text);
        chunks[i].compression = ascii ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    }
    return PARA_OK;
}

/* Everything that may jump; no local variable changes after setjmp. */
static void encode(png_structp png, png_infop info, const uint8_t *rgb, int height, int width, png_text *chunks,
                   int n) {
    if (setjmp(png_jmpbuf(png))) return;
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (n > 0) png_set_text(png, info, chunks, n);
    png_write_info(png, info);
    for (int y = 0; y < height; y++) png_write_row(png, rgb + (size_t)y * (size_t)width * 3);
    png_write_end(png, NULL);
}

static para_status write_png(sink *s, const uint8_t *rgb, int height, int width, png_text *chunks, int n) {
    png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, s, on_error, on_warning, s, on_alloc, on_free);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (info) {
        png_set_write_fn(png, s, on_write, on_flush);
        encode(png, info, rgb, height, width, chunks, n);
    } else if (s->status == PARA_OK) {
        s->status = para_fail(PARA_ERR_LIBRARY, "libpng cannot be started; is another version of it installed?");
    }
    png_destroy_write_struct(&png, &info);
    return s->status;
}

para_status para_png_write(const char *path, const uint8_t *rgb, int height, int width, const char *const *text) {
    int n = count_pairs(text);
    if (height < 1 || width < 1)
        return para_fail(PARA_ERR_ARGUMENT, "'%s': a picture of %dx%d pixels", path, width, height);
    PARA_TRY(check_keys(path, text, n));
    sink s = {.status = PARA_OK};
    png_text *chunks;
    para_status status = make_chunks(&chunks, text, n);
    if (status == PARA_OK) status = para_atomic_open(&s.file, path);
    if (status == PARA_OK) {
        status = write_png(&s, rgb, height, width, chunks, n);
        if (status == PARA_OK) status = para_atomic_commit(&s.file);
        else para_atomic_abort(&s.file);
    }
    free_chunks(chunks, n);
    return status;
}
