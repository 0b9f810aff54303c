/* A sheet of small pictures. SPDX-License-Identifier: Apache-2.0 */
#include "contact_sheet.h"

#include <paraattn/output.h>
#include <stdlib.h>
#include <string.h>

/* Pixels. Letters are 3 × 5 dots of SCALE pixels. */
enum { EDGE = 128, GAP = 4, SCALE = 2, LETTER = 4 * SCALE, MARGIN_TOP = 7 * SCALE, MARGIN_LEFT = 4 * LETTER };

/* Rows of three dots from the top, the highest bit at the left. */
static const struct {
    char letter;
    uint8_t row[5];
} font[] = {
    {'0', {7, 5, 5, 5, 7}}, {'1', {2, 6, 2, 2, 7}}, {'2', {7, 1, 7, 4, 7}}, {'3', {7, 1, 7, 1, 7}},
    {'4', {5, 5, 7, 1, 1}}, {'5', {7, 4, 7, 1, 7}}, {'6', {7, 4, 7, 5, 7}}, {'7', {7, 1, 1, 2, 2}},
    {'8', {7, 5, 7, 5, 7}}, {'9', {7, 5, 7, 1, 7}}, {'.', {0, 0, 0, 0, 2}}, {'F', {7, 4, 7, 4, 4}},
    {'O', {7, 5, 5, 5, 7}}, {'T', {7, 2, 2, 2, 2}},
};

static int sheet_width(const contact_sheet *s) {
    return MARGIN_LEFT + s->columns * (s->width + GAP);
}

para_status contact_sheet_open(contact_sheet *out, int rows, int columns, const para_tensor *like) {
    int64_t height = like->dim[2], width = like->dim[3];
    int shrink = (int)((height > width ? height : width) + EDGE - 1) / EDGE;
    *out = (contact_sheet){.rows = rows,
                           .columns = columns,
                           .shrink = shrink,
                           .height = (int)height / shrink,
                           .width = (int)width / shrink};
    const int64_t dim[] = {1, 3, MARGIN_TOP + rows * (out->height + GAP), sheet_width(out)};
    size_t count = (size_t)(dim[1] * dim[2] * dim[3]);
    float *white = malloc(count * sizeof *white);
    if (!white) return PARA_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) white[i] = 1;
    out->canvas = para_tensor_make(white, PARA_F32, 4, dim);
    return PARA_OK;
}

void contact_sheet_close(contact_sheet *s) {
    free(s->canvas.data);
    *s = (contact_sheet){0};
}

static float *pixel(contact_sheet *s, int channel, int y, int x) {
    const int64_t *dim = s->canvas.dim;
    return (float *)s->canvas.data + (channel * dim[2] + y) * dim[3] + x;
}

static int row_top(const contact_sheet *s, int row) {
    return MARGIN_TOP + row * (s->height + GAP);
}

static int column_left(const contact_sheet *s, int column) {
    return MARGIN_LEFT + column * (s->width + GAP);
}

/* The mean of the pixels that become one. */
static float shrunk(const contact_sheet *s, const para_tensor *pictures, int channel, int y, int x) {
    const float *from = (const float *)pictures->data + channel * pictures->dim[2] * pictures->dim[3];
    float sum = 0;
    for (int i = 0; i < s->shrink; i++)
        for (int k = 0; k < s->shrink; k++) {
            float v = from[(y * s->shrink + i) * pictures->dim[3] + x * s->shrink + k];
            sum += v > 0 ? v < 1 ? v : 1 : 0;
        }
    return sum / (float)(s->shrink * s->shrink);
}

void contact_sheet_put(contact_sheet *s, int row, int column, const para_tensor *pictures) {
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < s->height; y++)
            for (int x = 0; x < s->width; x++)
                *pixel(s, c, row_top(s, row) + y, column_left(s, column) + x) = shrunk(s, pictures, c, y, x);
}

static void write_letter(contact_sheet *s, char letter, int top, int left) {
    const uint8_t *rows = NULL;
    for (size_t i = 0; i < sizeof font / sizeof *font; i++)
        if (font[i].letter == letter) rows = font[i].row;
    for (int y = 0; rows && y < 5 * SCALE; y++)
        for (int x = 0; x < 3 * SCALE; x++)
            for (int c = 0; c < 3 && (rows[y / SCALE] >> (2 - x / SCALE) & 1); c++) *pixel(s, c, top + y, left + x) = 0;
}

static void write_text(contact_sheet *s, const char *text, int top, int left) {
    for (; *text && left + LETTER <= sheet_width(s); text++, left += LETTER) write_letter(s, *text, top, left);
}

void contact_sheet_label_column(contact_sheet *s, int column, const char *text) {
    write_text(s, text, SCALE, column_left(s, column));
}

void contact_sheet_label_row(contact_sheet *s, int row, const char *text) {
    write_text(s, text, row_top(s, row) + s->height / 2 - 2 * SCALE, SCALE);
}

para_status contact_sheet_save(const contact_sheet *s, const char *path) {
    const para_result sheet = {.images = s->canvas};
    return para_save_images(&sheet, path, NULL);
}
