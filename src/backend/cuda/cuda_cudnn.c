/* cuDNN's graphs: descriptors, and the plans that carry a graph out. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_cudnn.h"

#include <string.h>

#include "core/alloc.h"

enum { WORKSPACE = 64 << 20, CONFIGS = 16, PLAN_MAX_BYTES = 4 << 20 };

typedef struct kept_plan {
    const char *kind;
    void *key;
    size_t key_bytes;
    cudnnBackendDescriptor_t plan; /* NULL: cuDNN has none that serves */
    struct kept_plan *next;
} kept_plan;

struct para_cuda_cudnn {
    cudnnHandle_t handle;
    void *workspace;
    kept_plan *plans;
};

static para_status checked(cudnnStatus_t status, const char *doing) {
    if (status == CUDNN_STATUS_SUCCESS) return PARA_OK;
    char text[256] = "";
    cudnnGetLastErrorString(text, sizeof text);
    return para_fail(PARA_ERR_LIBRARY, "cuDNN failed to %s: %s %s", doing, cudnnGetErrorString(status), text);
}

/* ---- Descriptors */

cudnnBackendDescriptor_t para_dnn_make(para_dnn_parts *p, cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t d = NULL;
    if (p->status == CUDNN_STATUS_SUCCESS) p->status = cudnnBackendCreateDescriptor(type, &d);
    if (d) p->all[p->count++] = d;
    return d;
}

void para_dnn_set(para_dnn_parts *p, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                  const void *values) {
    if (p->status == CUDNN_STATUS_SUCCESS) p->status = cudnnBackendSetAttribute(d, name, type, count, values);
}

void para_dnn_set_part(para_dnn_parts *p, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t part) {
    para_dnn_set(p, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part);
}

void para_dnn_finalize(para_dnn_parts *p, cudnnBackendDescriptor_t d) {
    if (p->status == CUDNN_STATUS_SUCCESS) p->status = cudnnBackendFinalize(d);
}

void para_dnn_destroy(para_dnn_parts *p) {
    while (p->count > 0) cudnnBackendDestroyDescriptor(p->all[--p->count]);
}

cudnnDataType_t para_dnn_type(para_dtype type) {
    return type == PARA_BF16 ? CUDNN_DATA_BFLOAT16 : type == PARA_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

cudnnBackendDescriptor_t para_dnn_tensor(para_dnn_parts *p, int64_t id, cudnnDataType_t type, int rank, const int64_t *dim, const int64_t *stride,
                                         para_dnn_place place) {
    int64_t align = 16;
    bool between = place == PARA_DNN_BETWEEN, value = place == PARA_DNN_VALUE;
    cudnnBackendDescriptor_t d = para_dnn_make(p, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    para_dnn_set(p, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    para_dnn_set(p, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, rank, dim);
    para_dnn_set(p, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, rank, stride);
    para_dnn_set(p, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    para_dnn_set(p, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    para_dnn_set(p, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &between);
    if (value) para_dnn_set(p, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &value);
    para_dnn_finalize(p, d);
    return d;
}

cudnnBackendDescriptor_t para_dnn_graph(para_dnn_parts *p, cudnnHandle_t handle, int64_t count, const cudnnBackendDescriptor_t *ops) {
    cudnnBackendDescriptor_t g = para_dnn_make(p, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    para_dnn_set(p, g, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    para_dnn_set(p, g, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, ops);
    para_dnn_finalize(p, g);
    return g;
}

/* ---- Plans */

/* Whether a proposed kernel gives the same result each time, in full precision. */
static bool serves(cudnnBackendDescriptor_t config) {
    cudnnBackendDescriptor_t engine = NULL;
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t count = 0, one;
    bool good = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) == CUDNN_STATUS_SUCCESS &&
                cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one, &engine) == CUDNN_STATUS_SUCCESS &&
                cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count,
                                         notes) == CUDNN_STATUS_SUCCESS;
    for (int64_t i = 0; good && i < count; i++)
        good = notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || notes[i] == CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP;
    if (engine) cudnnBackendDestroyDescriptor(engine);
    return good;
}

static bool fits(cudnnBackendDescriptor_t plan) {
    int64_t workspace = 0, one;
    return cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &one, &workspace) == CUDNN_STATUS_SUCCESS &&
           workspace <= WORKSPACE;
}

/* A plan from a proposed kernel, or from the text of one; NULL where it does not serve. */
static cudnnBackendDescriptor_t plan_of(cudnnHandle_t handle, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                                        const void *values) {
    para_dnn_parts p = {.status = CUDNN_STATUS_SUCCESS};
    cudnnBackendDescriptor_t plan = para_dnn_make(&p, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    para_dnn_set(&p, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    para_dnn_set(&p, plan, name, type, count, values);
    para_dnn_finalize(&p, plan);
    if (p.status == CUDNN_STATUS_SUCCESS && fits(plan)) return plan;
    para_dnn_destroy(&p);
    return NULL;
}

/* The first proposal that serves, or NULL. The proposals come fastest first, and are within a tenth of each other (measured on an H200, bench/RESULTS.md). */
static cudnnBackendDescriptor_t choose(cudnnHandle_t handle, cudnnBackendDescriptor_t g, cudnnBackendHeurMode_t mode) {
    para_dnn_parts p = {.status = CUDNN_STATUS_SUCCESS}, configs = {.status = CUDNN_STATUS_SUCCESS};
    cudnnBackendDescriptor_t plan = NULL, heuristic = para_dnn_make(&p, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    int64_t count = 0;
    para_dnn_set_part(&p, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, g);
    para_dnn_set(&p, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    para_dnn_finalize(&p, heuristic);
    for (int i = 0; i < CONFIGS; i++) para_dnn_make(&configs, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (p.status == CUDNN_STATUS_SUCCESS && configs.status == CUDNN_STATUS_SUCCESS)
        p.status = cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &count, configs.all);
    for (int64_t i = 0; !plan && p.status == CUDNN_STATUS_SUCCESS && i < count && i < CONFIGS; i++)
        if (serves(configs.all[i])) plan = plan_of(handle, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &configs.all[i]);
    para_dnn_destroy(&configs);
    para_dnn_destroy(&p);
    return plan;
}

static cudnnBackendDescriptor_t make_plan(cudnnHandle_t handle, para_dnn_make_graph make_graph, const void *key) {
    para_dnn_parts p = {.status = CUDNN_STATUS_SUCCESS};
    cudnnBackendDescriptor_t plan = NULL, g = make_graph(&p, handle, key);
    if (p.status == CUDNN_STATUS_SUCCESS) plan = choose(handle, g, CUDNN_HEUR_MODE_A);
    if (p.status == CUDNN_STATUS_SUCCESS && !plan) plan = choose(handle, g, CUDNN_HEUR_MODE_FALLBACK);
    para_dnn_destroy(&p);
    return plan;
}

static para_status keep(para_choices *choices, const kept_plan *k) {
    int64_t bytes = 0;
    char *text = para_alloc(PLAN_MAX_BYTES, 1);
    if (!text) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    if (cudnnBackendGetAttribute(k->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, PLAN_MAX_BYTES, &bytes, text) == CUDNN_STATUS_SUCCESS &&
        bytes <= PLAN_MAX_BYTES)
        status = para_choices_add(choices, k->kind, k->key, k->key_bytes, text, (size_t)bytes);
    para_free(text);
    return status;
}

/* Sets k->plan: from the choices, compiled code and all, or made and kept there. */
static para_status look_up(para_device *dev, kept_plan *k, para_dnn_make_graph make_graph) {
    cudnnHandle_t handle = para_cuda_of(dev)->cudnn->handle;
    para_choices *choices;
    size_t bytes;
    if (!dev->tunes) {
        k->plan = make_plan(handle, make_graph, k->key);
        return PARA_OK;
    }
    PARA_TRY(para_cuda_choices(dev, &choices));
    const void *text = para_choices_find(choices, k->kind, k->key, k->key_bytes, &bytes);
    if (text) k->plan = plan_of(handle, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)bytes, text);
    if (k->plan) return PARA_OK;
    k->plan = make_plan(handle, make_graph, k->key);
    return k->plan ? keep(choices, k) : PARA_OK;
}

static void free_plan(kept_plan *k) {
    if (k->plan) cudnnBackendDestroyDescriptor(k->plan);
    para_free(k->key);
    para_free(k);
}

static para_status start(para_cuda *cuda) {
    if (cuda->cudnn) return PARA_OK;
    para_cuda_cudnn *c = cuda->cudnn = para_alloc(1, sizeof *c);
    if (!c) return PARA_ERR_MEMORY;
    para_status status = checked(cudnnCreate(&c->handle), "start");
    if (status == PARA_OK) status = checked(cudnnSetStream(c->handle, cuda->stream), "start");
    if (status == PARA_OK) status = para_cuda_checked(cudaMalloc(&c->workspace, WORKSPACE), "allocate 64 MiB on the GPU");
    if (status != PARA_OK) para_dnn_close(cuda);
    return status;
}

para_status para_dnn_plan(para_device *dev, const char *kind, const void *key, size_t key_bytes, para_dnn_make_graph make_graph,
                          cudnnBackendDescriptor_t *out) {
    para_cuda *cuda = para_cuda_of(dev);
    PARA_TRY(start(cuda));
    kept_plan *k = cuda->cudnn->plans;
    while (k && (strcmp(k->kind, kind) != 0 || k->key_bytes != key_bytes || memcmp(k->key, key, key_bytes) != 0)) k = k->next;
    if (!k) {
        k = para_alloc(1, sizeof *k);
        if (!k) return PARA_ERR_MEMORY;
        *k = (kept_plan){.kind = kind, .key = para_alloc(key_bytes, 1), .key_bytes = key_bytes};
        if (k->key) memcpy(k->key, key, key_bytes);
        para_status status = k->key ? look_up(dev, k, make_graph) : PARA_ERR_MEMORY;
        if (status != PARA_OK) {
            free_plan(k);
            return status;
        }
        k->next = cuda->cudnn->plans;
        cuda->cudnn->plans = k;
    }
    *out = k->plan;
    return PARA_OK;
}

para_status para_dnn_run(para_device *dev, cudnnBackendDescriptor_t plan, int64_t count, const int64_t *ids, const void *const *data, const char *doing) {
    const para_cuda_cudnn *c = para_cuda_of(dev)->cudnn;
    para_dnn_parts p = {.status = CUDNN_STATUS_SUCCESS};
    cudnnBackendDescriptor_t pack = para_dnn_make(&p, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    para_dnn_set(&p, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids);
    para_dnn_set(&p, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, data);
    para_dnn_set(&p, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &c->workspace);
    para_dnn_finalize(&p, pack);
    if (p.status == CUDNN_STATUS_SUCCESS) p.status = cudnnBackendExecute(c->handle, plan, pack);
    para_status status = checked(p.status, doing);
    para_dnn_destroy(&p);
    return status;
}

void para_dnn_close(para_cuda *cuda) {
    para_cuda_cudnn *c = cuda->cudnn;
    if (!c) return;
    while (c->plans) {
        kept_plan *k = c->plans;
        c->plans = k->next;
        free_plan(k);
    }
    if (c->workspace) cudaFree(c->workspace);
    if (c->handle) cudnnDestroy(c->handle);
    para_free(c);
    cuda->cudnn = NULL;
}
