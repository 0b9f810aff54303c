/* Recordings: CUDA graphs of the ops of a stream. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda.h"
#include "core/alloc.h"

struct para_recording {
    cudaGraphExec_t graph;
};

/* Threads of other devices may allocate meanwhile, so a capture is never global. Thread-local ones refuse what is unsafe on the thread that began them, and on no
 * other: those that join would be treated unlike it. What they must not do, none of them, is kept from them by those who take turns. */
para_status para_cuda_record(para_device *dev, bool joined) {
    enum cudaStreamCaptureMode mode = joined ? cudaStreamCaptureModeRelaxed : cudaStreamCaptureModeThreadLocal;
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaStreamBeginCapture(para_cuda_of(dev)->stream, mode), "record a step");
    return PARA_OK;
}

static para_status instantiate(cudaGraph_t graph, para_recording **out) {
    para_recording *r = para_alloc(1, sizeof *r);
    if (!r) return PARA_ERR_MEMORY;
    cudaError_t error = cudaGraphInstantiate(&r->graph, graph, 0);
    if (error == cudaSuccess) {
        *out = r;
        return PARA_OK;
    }
    para_free(r);
    return para_cuda_checked(error, "make a graph of a step");
}

para_status para_cuda_record_end(para_device *dev, para_recording **out) {
    cudaGraph_t graph = NULL;
    PARA_TRY(para_cuda_enter(dev));
    cudaError_t error = cudaStreamEndCapture(para_cuda_of(dev)->stream, &graph);
    if (!out) (void)cudaGetLastError(); /* why it was not kept is the sentence of what failed */
    para_status status = out ? para_cuda_checked(error, "record a step") : PARA_OK;
    if (status == PARA_OK && out) status = instantiate(graph, out);
    if (graph) cudaGraphDestroy(graph);
    return status;
}

para_status para_cuda_play(para_device *dev, const para_recording *recording) {
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaGraphLaunch(recording->graph, para_cuda_of(dev)->stream), "play a step");
    return PARA_OK;
}

void para_cuda_recording_close(para_device *dev, para_recording **recording) {
    if (!*recording) return;
    if (para_cuda_enter(dev) == PARA_OK) cudaGraphExecDestroy((*recording)->graph); /* once it has run */
    para_free(*recording);
    *recording = NULL;
}
