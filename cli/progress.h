/* Progress on standard error: a line that moves on a terminal, plain lines elsewhere. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_PROGRESS_H
#define PARA_CLI_PROGRESS_H

#include <paraattn/pipeline.h>
#include <stdbool.h>

typedef struct progress_view {
    bool quiet;
    bool terminal;     /* standard error is one */
    bool line_open;    /* a moving line waits for its newline */
    bool videos;       /* what is decoded are videos */
    int last_tenth;    /* plain lines come at every tenth */
} progress_view;

void progress_open(progress_view *view, bool quiet);
/* A para_request's on_progress; user: a progress_view. */
void progress_show(void *user, const para_progress *p);
/* Ends a moving line, so that another message can follow. */
void progress_break(progress_view *view);

#endif
