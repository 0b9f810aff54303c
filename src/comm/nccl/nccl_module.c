/* NCCL as the table says. SPDX-License-Identifier: Apache-2.0 */
#include "comm/nccl/nccl_module.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)PARA_NCCL_ID == (int)NCCL_UNIQUE_ID_BYTES, "the size of an id");

struct para_nccl_comm {
    para_nccl_host host;
    ncclComm_t nccl; /* NULL: it never came to be */
    int gpu;
};

/* What was begun goes on by itself. */
static int begun(ncclResult_t result) {
    return result == ncclInProgress ? ncclSuccess : result;
}

static int on_gpu(int gpu) {
    cudaError_t error = cudaSetDevice(gpu);
    return error == cudaSuccess ? 0 : PARA_NCCL_CUDA + (int)error;
}

static void module_version(char text[PARA_NCCL_TEXT_MAX]) {
    int v = 0;
    ncclGetVersion(&v);
    snprintf(text, PARA_NCCL_TEXT_MAX, "NCCL %d.%d.%d", v / 10000, v / 100 % 100, v % 100);
}

static void module_error_text(int result, char text[PARA_NCCL_TEXT_MAX]) {
    if (result >= PARA_NCCL_CUDA) {
        snprintf(text, PARA_NCCL_TEXT_MAX, "%s", cudaGetErrorString((cudaError_t)(result - PARA_NCCL_CUDA)));
        return;
    }
    const char *last = ncclGetLastError(NULL);
    snprintf(text, PARA_NCCL_TEXT_MAX, "%s%s%.150s", ncclGetErrorString((ncclResult_t)result), last && *last ? ": " : "", last ? last : "");
}

static int module_new_id(unsigned char id[PARA_NCCL_ID]) {
    ncclUniqueId own;
    int result = ncclGetUniqueId(&own);
    if (result == ncclSuccess) memcpy(id, own.internal, PARA_NCCL_ID);
    return result;
}

static void module_end(para_nccl_comm *comm) {
    if (!comm) return;
    if (comm->nccl && cudaSetDevice(comm->gpu) == cudaSuccess) ncclCommAbort(comm->nccl);
    comm->host.free(comm);
}

/* Within a group: begins to open one rank's. */
static int begin_one(para_nccl_comm *comm, const ncclUniqueId *id, int all, int rank) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    int result = on_gpu(comm->gpu);
    return result ? result : begun(ncclCommInitRankConfig(&comm->nccl, all, *id, rank, &config));
}

static int module_open(const para_nccl_host *host, const unsigned char id[PARA_NCCL_ID], int all, int first, int local, const int *gpu,
                       para_nccl_comm **out) {
    ncclUniqueId of_all;
    memcpy(of_all.internal, id, PARA_NCCL_ID);
    setenv("NCCL_NVLS_ENABLE", "0", 0); /* NVLink multicast, which transfers between two ranks do not need; a user's own choice stays */
    int result = 0, made = 0;
    for (; made < local && !result; made++) {
        out[made] = host->alloc(1, sizeof *out[made]);
        if (!out[made]) result = PARA_NCCL_NO_MEMORY;
        else *out[made] = (para_nccl_comm){.host = *host, .gpu = gpu[made]};
    }
    if (!result) result = begun(ncclGroupStart());
    if (!result) {
        for (int i = 0; i < local && !result; i++) result = begin_one(out[i], &of_all, all, first + i);
        int ended = begun(ncclGroupEnd());
        if (!result) result = ended;
    }
    for (int i = 0; i < made && result; i++) {
        module_end(out[i]);
        out[i] = NULL;
    }
    return result;
}

static int module_ready(para_nccl_comm *comm, bool *done) {
    ncclResult_t state = ncclSuccess;
    int result = ncclCommGetAsyncError(comm->nccl, &state);
    *done = result == ncclSuccess && state == ncclSuccess;
    return result == ncclSuccess ? begun(state) : result;
}

static int module_exchange(para_nccl_comm *comm, void *stream, int sends, const para_nccl_piece *send, int receives,
                           const para_nccl_piece *receive) {
    int result = on_gpu(comm->gpu);
    if (!result) result = begun(ncclGroupStart());
    if (result) return result;
    for (int i = 0; i < sends && !result; i++)
        result = begun(ncclSend(send[i].data, send[i].bytes, ncclUint8, send[i].rank, comm->nccl, stream));
    for (int i = 0; i < receives && !result; i++)
        result = begun(ncclRecv(receive[i].data, receive[i].bytes, ncclUint8, receive[i].rank, comm->nccl, stream));
    int ended = begun(ncclGroupEnd());
    return result ? result : ended;
}

static const para_nccl_module table = {
    .abi = PARA_NCCL_ABI,
    .size = sizeof(para_nccl_module),
    .version = module_version,
    .error_text = module_error_text,
    .new_id = module_new_id,
    .open = module_open,
    .ready = module_ready,
    .exchange = module_exchange,
    .end = module_end,
};

__attribute__((visibility("default"))) const para_nccl_module *para_nccl_module_table(void);

const para_nccl_module *para_nccl_module_table(void) {
    return &table;
}
