/* Calls that the processes of a world make together: process 0 says which, the others take part. SPDX-License-Identifier: Apache-2.0
 *
 * With one process there is nothing to say, and all of these return at once. */
#ifndef PARA_PIPELINE_CALL_H
#define PARA_PIPELINE_CALL_H

#include "pipeline/pipeline_state.h"

typedef enum para_call_kind { PARA_CALL_LOAD = 1, PARA_CALL_GENERATE, PARA_CALL_CLOSE } para_call_kind;

typedef struct para_call {
    para_call_kind kind;         /* process 0 says it, the others learn it */
    const para_request *request; /* to generate: the process's own (NULL where it leaves that to process 0), then that of process 0 */
    bool traced;                 /* process 0 traces */
    bool heard;                  /* the call reached this process, or left process 0 */
    void *bytes;                 /* that the request lies in */
} para_call;

/* Begins a call, with the world taken. status: what process 0 has found wrong so far, which is what all return; PARA_OK on the others. Fails on all
 * where pipelines or requests differ. para_call_end in any case. */
para_status para_call_begin(para_pipeline *pipe, para_call *call, para_status status);
void para_call_end(para_call *call);

/* What each process has got; the first failure is what all return. Takes the world for it. */
para_status para_call_agree(para_pipeline *pipe, para_status status);

#endif
