/* Progress on standard error. SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_WIDTH = 24 };

void progress_open(progress_view *view, bool quiet) {
    *view = (progress_view){.quiet = quiet, .terminal = isatty(STDERR_FILENO) == 1};
}

void progress_break(progress_view *view) {
    if (view->line_open) fputc('\n', stderr);
    view->line_open = false;
}

/* What a stage counts. */
static const char *unit_of(const progress_view *view, const para_progress *p) {
    if (strcmp(p->stage, "denoise") == 0) return "step";
    if (!view->videos) return "picture";
    return strcmp(p->stage, "draw") == 0 ? "video" : "frame";
}

/* "4.1 steps/s", or "2.3 s/step" where a step takes more than a second; others likewise. */
static void rate_text(char *out, size_t room, const progress_view *view, const para_progress *p) {
    double rate = p->seconds > 0 ? p->done / p->seconds : 0;
    const char *unit = unit_of(view, p);
    if (p->done == 0 || rate <= 0) out[0] = '\0';
    else if (rate >= 1) snprintf(out, room, "%.1f %ss/s", rate, unit);
    else snprintf(out, room, "%.1f s/%s", 1 / rate, unit);
}

static void eta_text(char *out, size_t room, const para_progress *p) {
    if (p->done == p->total) {
        snprintf(out, room, "%.1f s", p->seconds);
    } else if (p->done > 0) {
        double left = p->seconds / p->done * (p->total - p->done);
        if (left < 90) snprintf(out, room, "ETA %.0f s", left);
        else snprintf(out, room, "ETA %d min %02d s", (int)left / 60, (int)left % 60);
    } else {
        out[0] = '\0';
    }
}

static void moving_line(progress_view *view, const para_progress *p, const char *rate, const char *eta) {
    char bar[BAR_WIDTH + 1];
    int filled = p->total ? BAR_WIDTH * p->done / p->total : 0;
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r%-8s [%s] %d/%d  %-14s %-14s", p->stage, bar, p->done, p->total, rate, eta);
    view->line_open = true;
    if (p->done == p->total) progress_break(view);
    fflush(stderr);
}

void progress_show(void *user, const para_progress *p) {
    progress_view *view = user;
    if (view->quiet) return;
    char rate[32], eta[32];
    bool rated = strcmp(p->stage, "load") != 0 && strcmp(p->stage, "text") != 0;
    rate_text(rate, sizeof rate, view, p);
    eta_text(eta, sizeof eta, p);
    if (!rated) rate[0] = '\0';
    if (view->terminal) {
        moving_line(view, p, rate, eta);
        return;
    }
    int tenth = p->total ? 10 * p->done / p->total : 0;
    if (p->done > 0 && (tenth != view->last_tenth || p->done == p->total))
        fprintf(stderr, "%s %d/%d%s%s%s%s\n", p->stage, p->done, p->total, rate[0] ? ", " : "", rate,
                eta[0] ? ", " : "", eta);
    view->last_tenth = p->done == p->total ? 0 : tenth;
}
