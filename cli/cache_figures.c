/* What para bench cache shows. SPDX-License-Identifier: Apache-2.0 */
#include "cache_figures.h"

#include <stdio.h>
#include <stdlib.h>

#include "svg_plot.h"

/* ---- The plot */

static void series_of(const cache_study *s, int derivatives, double (*y)(const cache_arm *), plot_point *point,
                      plot_series *out) {
    const cache_arm *arm = &s->arm[derivatives * s->thresholds];
    *out = (plot_series){.count = s->thresholds, .point = point};
    if (arm->derivatives == 0) snprintf(out->name, sizeof out->name, "repeated");
    else snprintf(out->name, sizeof out->name, "TaylorSeer %d", arm->derivatives);
    for (int i = 0; i < s->thresholds; i++) {
        point[i] = (plot_point){.x = cache_arm_speed_up(&arm[i]), .y = y(&arm[i])};
        snprintf(point[i].label, sizeof point[i].label, "%g", (double)arm[i].threshold);
    }
}

para_status cache_plot_save(const cache_study *s, const char *path) {
    plot_panel panel[] = {{.x_name = "speed-up of the denoising loop", .y_name = "PSNR to the uncached picture (dB)"},
                          {.x_name = "speed-up of the denoising loop", .y_name = "SSIM to the uncached picture"}};
    double (*const y[])(const cache_arm *) = {cache_arm_psnr, cache_arm_ssim};
    char title[96];
    plot_point *points = calloc(2 * (size_t)s->arms, sizeof *points);
    if (!points) return PARA_ERR_MEMORY;
    for (int i = 0; i < 2; i++) {
        panel[i].count = s->derivatives;
        for (int k = 0; k < s->derivatives; k++)
            series_of(s, k, y[i], &points[i * s->arms + k * s->thresholds], &panel[i].series[k]);
    }
    snprintf(title, sizeof title, "First Block Cache over %d pictures; points are thresholds", s->arm[0].pictures);
    para_status status = svg_plot_save(path, title, panel, 2);
    free(points);
    return status;
}

/* ---- The sheet */

static para_status open_sheet(cache_sheet *c, const cache_study *s, const para_tensor *like) {
    char text[16];
    if (c->sheet.canvas.data) return PARA_OK;
    para_status status = contact_sheet_open(&c->sheet, s->derivatives * c->prompts, 1 + s->thresholds, like);
    if (status != PARA_OK) return status;
    contact_sheet_label_column(&c->sheet, 0, "OFF");
    for (int i = 0; i < s->thresholds; i++) {
        snprintf(text, sizeof text, "%g", (double)s->arm[i].threshold);
        contact_sheet_label_column(&c->sheet, 1 + i, text);
    }
    for (int i = 0; i < c->sheet.rows; i++) {
        snprintf(text, sizeof text, "T%d", s->arm[i / c->prompts * s->thresholds].derivatives);
        contact_sheet_label_row(&c->sheet, i, text);
    }
    return PARA_OK;
}

para_status cache_sheet_put(cache_sheet *c, const cache_study *s, int prompt, int arm, const para_result *picture) {
    if (prompt >= c->prompts) return PARA_OK;
    int64_t size[] = {1, 3, picture->height, picture->width}; /* a picture, or a video's middle frame */
    para_tensor shown = para_tensor_make((float *)picture->images.data + picture->num_frames / 2 * 3 * size[2] * size[3], PARA_F32, 4, size);
    para_status status = open_sheet(c, s, &shown);
    if (status != PARA_OK) return status;
    for (int i = 0; i < s->derivatives; i++) {
        int column = arm < 0 ? 0 : 1 + arm % s->thresholds;
        if (arm < 0 || arm / s->thresholds == i)
            contact_sheet_put(&c->sheet, i * c->prompts + prompt, column, &shown);
    }
    return PARA_OK;
}

para_status cache_sheet_save(const cache_sheet *c, const char *path) {
    return contact_sheet_save(&c->sheet, path);
}

void cache_sheet_close(cache_sheet *c) {
    contact_sheet_close(&c->sheet);
}
