/* The library's side of the CUDA module. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/world.h>

#include <string.h>

#include "backend/cuda/cuda_module.h"
#include "core/alloc.h"
#include "core/error.h"
#include "core/module.h"

#define CUDA_NEEDS "CUDA 13 with cuBLAS and cuDNN 9 (nvcc to build), and NVIDIA's driver"

static const para_cuda_host host = {
    .fail = para_fail,
    .alloc = para_alloc,
    .realloc = para_realloc,
    .free = para_free,
    .arena_take = para_arena_take,
    .arena_release = para_arena_release,
    .note = para_device_note,
    .choices_open = para_choices_open,
    .choices_close = para_choices_close,
    .choices_find = para_choices_find,
    .choices_add = para_choices_add,
};

static para_status find_module(const para_cuda_module **out) {
    void *function = NULL;
    PARA_TRY(para_module_load("paraattn-cuda.so", PARA_CUDA_TABLE_NAME, CUDA_NEEDS, &function));
    para_cuda_table_function table;
    memcpy(&table, &function, sizeof table);
    *out = table();
    if ((*out)->abi != PARA_CUDA_ABI || (*out)->size != sizeof **out || (*out)->host_size != sizeof host)
        return para_fail(PARA_ERR_LIBRARY, "the module paraattn-cuda.so is of another version of this library; install both from one build");
    return PARA_OK;
}

para_status para_cuda_open(para_device **out, int index) {
    const para_cuda_module *module;
    *out = NULL;
    PARA_TRY(find_module(&module));
    return module->open(&host, index, out);
}

int para_cuda_count(void) {
    const para_cuda_module *module;
    return find_module(&module) == PARA_OK ? module->count() : 0;
}

const char *para_cuda_info(void) {
    static _Thread_local char text[2048];
    const para_cuda_module *module;
    if (find_module(&module) != PARA_OK || module->describe(&host, text, sizeof text) != PARA_OK) return NULL;
    return text;
}
