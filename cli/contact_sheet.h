/* A sheet of small pictures in rows and columns, with labels. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_CONTACT_SHEET_H
#define PARA_CLI_CONTACT_SHEET_H

#include <paraattn/tensor.h>

typedef struct contact_sheet {
    int rows, columns;
    int shrink;        /* pixels of a picture that become one, in either direction */
    int height, width; /* of a small picture */
    para_tensor canvas; /* F32 [1, 3, height, width] */
} contact_sheet;

/* For pictures F32 [n, 3, height, width] such as `like`. All of the sheet is white. PARA_ERR_MEMORY. */
para_status contact_sheet_open(contact_sheet *out, int rows, int columns, const para_tensor *like);
void contact_sheet_close(contact_sheet *s);

/* The first of the pictures. */
void contact_sheet_put(contact_sheet *s, int row, int column, const para_tensor *pictures);
/* Above a column, and at the left of a row: digits, capitals, points and spaces. */
void contact_sheet_label_column(contact_sheet *s, int column, const char *text);
void contact_sheet_label_row(contact_sheet *s, int row, const char *text);

/* Writes a PNG. What para_save_images returns. */
para_status contact_sheet_save(const contact_sheet *s, const char *path);

#endif
