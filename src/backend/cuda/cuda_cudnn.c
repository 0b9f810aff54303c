/* Convolutions by cuDNN's graphs: convolution, then bias in float32, channels last. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_cudnn.h"

#include <cudnn.h>
#include <string.h>

#include "core/alloc.h"

enum { WORKSPACE = 64 << 20, CONFIGS = 16, PARTS = 16 };

enum { ID_X = 'x', ID_W = 'w', ID_Y = 'y', ID_BIAS = 'b', ID_SUM = 's' };

/* What tells one kind of convolution from another; compared as bytes. */
typedef struct conv_key {
    int64_t n, h, w, i, o, kh, kw, oh, ow, stride, top, left, bottom, right, type, bias;
} conv_key;

typedef struct conv_plan {
    conv_key key;
    cudnnBackendDescriptor_t plan; /* NULL: cuDNN has none that serves */
    struct conv_plan *next;
} conv_plan;

struct para_cuda_convs {
    cudnnHandle_t handle;
    void *workspace;
    conv_plan *plans;
};

static para_status checked(cudnnStatus_t status, const char *doing) {
    if (status == CUDNN_STATUS_SUCCESS) return PARA_OK;
    char text[256] = "";
    cudnnGetLastErrorString(text, sizeof text);
    return para_fail(PARA_ERR_LIBRARY, "cuDNN failed to %s: %s %s", doing, cudnnGetErrorString(status), text);
}
#define DNN_TRY(call, doing) PARA_TRY(checked((call), (doing)))

/* Descriptors that a plan is made of; destroyed together. The first failure stays, and what follows does nothing. */
typedef struct parts {
    cudnnBackendDescriptor_t all[PARTS];
    int count;
    cudnnStatus_t status;
} parts;

static cudnnBackendDescriptor_t make(parts *p, cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t d = NULL;
    if (p->status == CUDNN_STATUS_SUCCESS) p->status = cudnnBackendCreateDescriptor(type, &d);
    if (d) p->all[p->count++] = d;
    return d;
}

static void set(parts *p, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void *values) {
    if (p->status == CUDNN_STATUS_SUCCESS) p->status = cudnnBackendSetAttribute(d, name, type, count, values);
}

static void set_part(parts *p, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t part) {
    set(p, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part);
}

static void finalize(parts *p, cudnnBackendDescriptor_t d) {
    if (p->status == CUDNN_STATUS_SUCCESS) p->status = cudnnBackendFinalize(d);
}

static void destroy(parts *p) {
    while (p->count > 0) cudnnBackendDestroyDescriptor(p->all[--p->count]);
}

/* [N, C, H, W] as cuDNN counts, channels last in memory. */
static cudnnBackendDescriptor_t tensor(parts *p, int64_t id, cudnnDataType_t type, int64_t n, int64_t c, int64_t h, int64_t w, bool is_virtual) {
    int64_t dim[] = {n, c, h, w}, stride[] = {h * w * c, 1, w * c, c}, align = 16;
    cudnnBackendDescriptor_t d = make(p, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(p, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(p, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
    set(p, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    set(p, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(p, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    set(p, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    finalize(p, d);
    return d;
}

static cudnnBackendDescriptor_t convolution(parts *p, const conv_key *k, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y) {
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t dims = 2, ones[] = {1, 1}, strides[] = {k->stride, k->stride}, before[] = {k->top, k->left}, after[] = {k->bottom, k->right};
    float one = 1, zero = 0;
    cudnnBackendDescriptor_t conv = make(p, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(p, conv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    set(p, conv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(p, conv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    set(p, conv, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, ones);
    set(p, conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    set(p, conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before);
    set(p, conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after);
    finalize(p, conv);
    cudnnBackendDescriptor_t op = make(p, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    set_part(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, conv);
    set_part(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    set_part(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    set_part(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    set(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    set(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    finalize(p, op);
    return op;
}

static cudnnBackendDescriptor_t addition(parts *p, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y) {
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnPointwiseMode_t mode = CUDNN_POINTWISE_ADD;
    cudnnBackendDescriptor_t add = make(p, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(p, add, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(p, add, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    finalize(p, add);
    cudnnBackendDescriptor_t op = make(p, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_part(p, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, add);
    set_part(p, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    set_part(p, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_part(p, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    finalize(p, op);
    return op;
}

static cudnnBackendDescriptor_t graph(parts *p, cudnnHandle_t handle, const conv_key *k) {
    cudnnDataType_t type = k->type == PARA_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
    cudnnBackendDescriptor_t ops[2], x = tensor(p, ID_X, type, k->n, k->i, k->h, k->w, false), w = tensor(p, ID_W, type, k->o, k->i, k->kh, k->kw, false),
                                     y = tensor(p, ID_Y, type, k->n, k->o, k->oh, k->ow, false);
    int64_t count = 1;
    if (k->bias) {
        cudnnBackendDescriptor_t sum = tensor(p, ID_SUM, CUDNN_DATA_FLOAT, k->n, k->o, k->oh, k->ow, true);
        cudnnBackendDescriptor_t bias = tensor(p, ID_BIAS, CUDNN_DATA_FLOAT, 1, k->o, 1, 1, false);
        ops[0] = convolution(p, k, x, w, sum);
        ops[count++] = addition(p, sum, bias, y);
    } else {
        ops[0] = convolution(p, k, x, w, y);
    }
    cudnnBackendDescriptor_t g = make(p, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(p, g, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set(p, g, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, ops);
    finalize(p, g);
    return g;
}

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

/* The plan of one proposed kernel, or NULL where it does not serve. */
static cudnnBackendDescriptor_t plan_of(cudnnHandle_t handle, cudnnBackendDescriptor_t config) {
    parts p = {.status = CUDNN_STATUS_SUCCESS};
    int64_t workspace = 0, one;
    if (!serves(config)) return NULL;
    cudnnBackendDescriptor_t plan = make(&p, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set(&p, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set_part(&p, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    finalize(&p, plan);
    if (p.status == CUDNN_STATUS_SUCCESS)
        p.status = cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &one, &workspace);
    if (p.status == CUDNN_STATUS_SUCCESS && workspace <= WORKSPACE) return plan;
    destroy(&p);
    return NULL;
}

/* The first proposal that serves, or NULL. Timing them belongs here. */
static cudnnBackendDescriptor_t choose(cudnnHandle_t handle, cudnnBackendDescriptor_t g, cudnnBackendHeurMode_t mode) {
    parts p = {.status = CUDNN_STATUS_SUCCESS}, configs = {.status = CUDNN_STATUS_SUCCESS};
    cudnnBackendDescriptor_t plan = NULL, heuristic = make(&p, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    int64_t count = 0;
    set_part(&p, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, g);
    set(&p, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    finalize(&p, heuristic);
    for (int i = 0; i < CONFIGS; i++) make(&configs, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (p.status == CUDNN_STATUS_SUCCESS && configs.status == CUDNN_STATUS_SUCCESS)
        p.status = cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &count, configs.all);
    for (int64_t i = 0; !plan && p.status == CUDNN_STATUS_SUCCESS && i < count && i < CONFIGS; i++) plan = plan_of(handle, configs.all[i]);
    destroy(&configs);
    destroy(&p);
    return plan;
}

static para_status find(para_cuda_convs *c, const conv_key *key, conv_plan **out) {
    for (*out = c->plans; *out; *out = (*out)->next)
        if (memcmp(&(*out)->key, key, sizeof *key) == 0) return PARA_OK;
    conv_plan *plan = *out = para_alloc(1, sizeof *plan);
    if (!plan) return PARA_ERR_MEMORY;
    parts p = {.status = CUDNN_STATUS_SUCCESS};
    plan->key = *key;
    cudnnBackendDescriptor_t g = graph(&p, c->handle, key);
    if (p.status == CUDNN_STATUS_SUCCESS) plan->plan = choose(c->handle, g, CUDNN_HEUR_MODE_A);
    if (p.status == CUDNN_STATUS_SUCCESS && !plan->plan) plan->plan = choose(c->handle, g, CUDNN_HEUR_MODE_FALLBACK);
    destroy(&p);
    plan->next = c->plans;
    c->plans = plan;
    return PARA_OK;
}

static para_status start(para_cuda *cuda) {
    if (cuda->convs) return PARA_OK;
    para_cuda_convs *c = cuda->convs = para_alloc(1, sizeof *c);
    if (!c) return PARA_ERR_MEMORY;
    para_status status = checked(cudnnCreate(&c->handle), "start");
    if (status == PARA_OK) status = checked(cudnnSetStream(c->handle, cuda->stream), "start");
    if (status == PARA_OK) status = para_cuda_checked(cudaMalloc(&c->workspace, WORKSPACE), "allocate 64 MiB on the GPU");
    if (status != PARA_OK) para_cuda_cudnn_close(cuda);
    return status;
}

static conv_key key_of(const para_conv2d_args *a) {
    const int64_t *x = a->x.dim, *y = a->y.dim, *w = a->w->weight.dim;
    return (conv_key){.n = x[0], .h = x[1], .w = x[2], .i = x[3], .o = y[3], .kh = w[2], .kw = w[3], .oh = y[1], .ow = y[2], .stride = a->stride,
                      .top = a->pad_top, .left = a->pad_left, .bottom = a->pad_bottom, .right = a->pad_right, .type = a->x.dtype,
                      .bias = a->w->bias.data != NULL};
}

static bool at_16(const void *p) {
    return (uintptr_t)p % 16 == 0;
}

para_status para_cuda_cudnn_conv2d(para_device *dev, const para_conv2d_args *a, const void *weight, bool *done) {
    para_cuda *cuda = para_cuda_of(dev);
    conv_key key = key_of(a);
    conv_plan *plan;
    *done = false;
    /* Float32 would mean TF32 or slow kernels; other channel counts, kernels that are no faster than a product. */
    if (a->x.dtype == PARA_F32 || key.i % 8 || key.o % 8 || !at_16(a->x.data) || !at_16(a->y.data) || !at_16(weight) || !at_16(a->w->bias.data))
        return PARA_OK;
    PARA_TRY(start(cuda));
    PARA_TRY(find(cuda->convs, &key, &plan));
    if (!plan->plan) return PARA_OK;
    parts p = {.status = CUDNN_STATUS_SUCCESS};
    int64_t ids[] = {ID_X, ID_W, ID_Y, ID_BIAS};
    const void *data[] = {a->x.data, weight, a->y.data, a->w->bias.data};
    cudnnBackendDescriptor_t pack = make(&p, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    set(&p, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, key.bias ? 4 : 3, ids);
    set(&p, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, key.bias ? 4 : 3, data);
    set(&p, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &cuda->convs->workspace);
    finalize(&p, pack);
    if (p.status == CUDNN_STATUS_SUCCESS) p.status = cudnnBackendExecute(cuda->convs->handle, plan->plan, pack);
    para_status status = checked(p.status, "convolve");
    destroy(&p);
    *done = status == PARA_OK;
    return status;
}

void para_cuda_cudnn_close(para_cuda *cuda) {
    para_cuda_convs *c = cuda->convs;
    if (!c) return;
    while (c->plans) {
        conv_plan *plan = c->plans;
        c->plans = plan->next;
        if (plan->plan) cudnnBackendDestroyDescriptor(plan->plan);
        para_free(plan);
    }
    if (c->workspace) cudaFree(c->workspace);
    if (c->handle) cudnnDestroy(c->handle);
    para_free(c);
    cuda->convs = NULL;
}
