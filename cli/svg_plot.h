/* Plots as SVG: panels beside each other with axes, lines and labels, one legend. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_SVG_PLOT_H
#define PARA_CLI_SVG_PLOT_H

#include <paraattn/status.h>

enum { PLOT_MAX_SERIES = 8 };

/* Values may be infinite or NAN: such points are left out. */
typedef struct plot_point {
    double x, y;
    char label[16]; /* beside it; may be empty */
} plot_point;

typedef struct plot_series {
    char name[32]; /* in the legend */
    int count;
    const plot_point *point; /* joined in this order */
} plot_series;

typedef struct plot_panel {
    const char *x_name, *y_name; /* with units */
    int count;
    plot_series series[PLOT_MAX_SERIES]; /* the n-th of every panel has the same colour and name */
} plot_panel;

/* PARA_ERR_MEMORY, and what para_save_bytes returns. */
para_status svg_plot_save(const char *path, const char *title, const plot_panel *panel, int panels);

#endif
