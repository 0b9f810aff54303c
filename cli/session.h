/* A world with a pipeline, as a command's options say: opened, interrupted, ended. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_SESSION_H
#define PARA_CLI_SESSION_H

#include "progress.h"
#include "request_options.h"

typedef struct session {
    const char *name; /* of the command: "generate" */
    bool first;       /* this is process 0: it writes the files, shows progress and prints */
    progress_view *view;
    para_world *world;
    para_pipeline *pipe;
} session;

/* Opens world and pipeline, split over the ranks as the options say; joins the processes of mpirun, where it started this one. What the library logs
 * is shown beside the progress of `view` (NULL: nowhere). What the options leave to the model, such as the number of steps, is filled in. After a failure, as after success, session_close must follow. */
para_status session_open(session *s, const char *name, request_options *o, const char *model, progress_view *view);

/* The world alone. */
para_status session_open_world(session *s, const char *name, const request_options *o, progress_view *view);

/* Closes both and gives the exit status; what went wrong is complained of. */
int session_close(session *s, para_status status);
/* EXIT_USAGE where the request itself was wrong, else EXIT_FAILED; EXIT_DONE for PARA_OK. */
int session_exit_status(para_status status);

/* From now on Ctrl-C and SIGTERM cancel the session's request, a second one ends the process. */
void session_catch_signals(void);
/* Between session_hold_signals(true) and (false) signals wait: half-written files must not stay. */
void session_hold_signals(bool hold);

#endif
