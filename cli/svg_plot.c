/* Plots as SVG. SPDX-License-Identifier: Apache-2.0 */
#include "svg_plot.h"

#include <math.h>
#include <paraattn/output.h>
#include <stdio.h>
#include <stdlib.h>

/* Pixels. A panel's frame begins at (LEFT, TOP). */
enum { LEFT = 70, TOP = 40, WIDTH = 330, HEIGHT = 260, RIGHT = 34, BOTTOM = 74, PANEL = LEFT + WIDTH + RIGHT };

/* Tell apart also without seeing colours well (Okabe and Ito). */
static const char *const colours[PLOT_MAX_SERIES] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                     "#e69f00", "#56b4e9", "#000000", "#f0e442"};

typedef struct axis {
    double low, high, tick;
    int decimals;
} axis;

/* From the smallest to the largest value, on ticks of 1, 2 or 5 times a power of ten, about six of them. */
static axis axis_of(double low, double high) {
    if (!(low <= high)) low = 0, high = 1;
    if (high - low < 1e-9) low -= 0.5, high += 0.5;
    double power = pow(10, floor(log10((high - low) / 5))), part = (high - low) / 5 / power;
    axis a = {.tick = power * (part > 5 ? 10 : part > 2 ? 5 : part > 1 ? 2 : 1)};
    a.low = floor(low / a.tick) * a.tick;
    a.high = ceil(high / a.tick) * a.tick;
    a.decimals = a.tick >= 1 ? 0 : (int)ceil(-log10(a.tick) - 1e-9);
    return a;
}

static bool is_drawn(const plot_point *p) {
    return isfinite(p->x) && isfinite(p->y);
}

static void find_axes(const plot_panel *panel, axis *x, axis *y) {
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < panel->count; i++) {
        for (int k = 0; k < panel->series[i].count; k++) {
            const plot_point *p = &panel->series[i].point[k];
            const double at[2] = {p->x, p->y};
            for (int j = 0; j < 2 && is_drawn(p); j++) low[j] = fmin(low[j], at[j]), high[j] = fmax(high[j], at[j]);
        }
    }
    *x = axis_of(low[0], high[0]);
    *y = axis_of(low[1], high[1]);
}

static double place_x(const axis *a, double value) {
    return LEFT + WIDTH * (value - a->low) / (a->high - a->low);
}

static double place_y(const axis *a, double value) {
    return TOP + HEIGHT * (a->high - value) / (a->high - a->low);
}

/* Text without what XML takes for itself. */
static void write_text(FILE *to, double x, double y, const char *attributes, const char *text) {
    fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    for (; *text; text++) {
        if (*text == '&') fputs("&amp;", to);
        else if (*text == '<') fputs("&lt;", to);
        else fputc(*text, to);
    }
    fputs("</text>\n", to);
}

static void write_axes(FILE *to, const plot_panel *panel, const axis *x, const axis *y) {
    char text[32];
    for (int i = 0; i <= lround((x->high - x->low) / x->tick); i++) {
        double at = place_x(x, x->low + i * x->tick);
        fprintf(to, "<path class=\"grid\" d=\"M%.1f %d V%d\"/>\n", at, TOP, TOP + HEIGHT);
        snprintf(text, sizeof text, "%.*f", x->decimals, x->low + i * x->tick);
        write_text(to, at, TOP + HEIGHT + 16, "text-anchor=\"middle\"", text);
    }
    for (int i = 0; i <= lround((y->high - y->low) / y->tick); i++) {
        double at = place_y(y, y->low + i * y->tick);
        fprintf(to, "<path class=\"grid\" d=\"M%d %.1f H%d\"/>\n", LEFT, at, LEFT + WIDTH);
        snprintf(text, sizeof text, "%.*f", y->decimals, y->low + i * y->tick);
        write_text(to, LEFT - 6, at + 4, "text-anchor=\"end\"", text);
    }
    fprintf(to, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", LEFT, TOP, WIDTH, HEIGHT);
    write_text(to, LEFT + WIDTH / 2.0, TOP + HEIGHT + 34, "text-anchor=\"middle\"", panel->x_name);
    snprintf(text, sizeof text, "rotate(-90 14 %d)", TOP + HEIGHT / 2);
    fprintf(to, "<g transform=\"%s\">", text);
    write_text(to, 14, TOP + HEIGHT / 2.0, "text-anchor=\"middle\"", panel->y_name);
    fputs("</g>\n", to);
}

/* Labels above the points to the right; or, so that those of two series do not meet, below to the left. */
static void write_series(FILE *to, const plot_series *s, bool below, const char *colour, const axis *x, const axis *y) {
    bool joined = false;
    fprintf(to, "<g stroke=\"%s\" fill=\"%s\"><path fill=\"none\" stroke-width=\"1.6\" d=\"", colour, colour);
    for (int i = 0; i < s->count; i++) {
        if (!is_drawn(&s->point[i])) continue;
        fprintf(to, "%c%.1f %.1f", joined ? 'L' : 'M', place_x(x, s->point[i].x), place_y(y, s->point[i].y));
        joined = true;
    }
    fputs("\"/>\n", to);
    for (int i = 0; i < s->count; i++) {
        const plot_point *p = &s->point[i];
        if (!is_drawn(p)) continue;
        double at_x = place_x(x, p->x), at_y = place_y(y, p->y);
        fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", at_x, at_y);
        if (!p->label[0]) continue;
        if (below) write_text(to, at_x - 5, at_y + 12, "class=\"label\" text-anchor=\"end\"", p->label);
        else write_text(to, at_x + 5, at_y - 5, "class=\"label\"", p->label);
    }
    fputs("</g>\n", to);
}

static void write_legend(FILE *to, const plot_panel *panel) {
    double x = LEFT;
    for (int i = 0; i < panel->count; i++) {
        double y = TOP + HEIGHT + BOTTOM - 14;
        fprintf(to,
                "<path stroke=\"%s\" stroke-width=\"1.6\" d=\"M%.1f %.1f h22\"/><circle fill=\"%s\" cx=\"%.1f\" "
                "cy=\"%.1f\" r=\"3\"/>\n",
                colours[i], x, y, colours[i], x + 11, y);
        write_text(to, x + 28, y + 4, "", panel->series[i].name);
        x += 150;
    }
}

static void write_plot(FILE *to, const char *title, const plot_panel *panel, int panels) {
    fprintf(to,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n"
            "<style>.grid{stroke:#ddd}.frame{fill:none;stroke:#444}.label{stroke:none;font-size:10px}</style>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            PANEL * panels, TOP + HEIGHT + BOTTOM);
    write_text(to, LEFT, 22, "font-size=\"14\"", title);
    for (int i = 0; i < panels; i++) {
        axis x, y;
        find_axes(&panel[i], &x, &y);
        fprintf(to, "<g transform=\"translate(%d 0)\">\n", i * PANEL);
        write_axes(to, &panel[i], &x, &y);
        for (int k = 0; k < panel[i].count; k++) write_series(to, &panel[i].series[k], k % 2 == 1, colours[k], &x, &y);
        fputs("</g>\n", to);
    }
    write_legend(to, &panel[0]);
    fputs("</svg>\n", to);
}

para_status svg_plot_save(const char *path, const char *title, const plot_panel *panel, int panels) {
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    if (!to) return PARA_ERR_MEMORY;
    write_plot(to, title, panel, panels);
    para_status status = fclose(to) == 0 ? para_save_bytes(path, text, size) : PARA_ERR_MEMORY;
    free(text);
    return status;
}
