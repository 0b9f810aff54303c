/* Convolutions by cuDNN's graphs: convolution, then bias in float32, channels last. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_cudnn.h"
#include "backend/cuda/cuda_kernels.h"

enum { ID_X = 'x', ID_W = 'w', ID_Y = 'y', ID_BIAS = 'b', ID_SUM = 's' };

/* What tells one kind of convolution from another; compared as bytes. Sizes of pictures have 1 frame. */
typedef struct conv_key {
    int64_t dims; /* 2: pictures; 3: videos */
    int64_t n, in[3], i, o, kernel[3], out[3], stride[3], before[3], after[3], type, bias; /* types; bias: PARA_DTYPE_NONE for none */
} conv_key;

/* [N, C, (F,) H, W] as cuDNN counts, channels last in memory. */
static cudnnBackendDescriptor_t picture(para_dnn_parts *p, const conv_key *k, int64_t id, cudnnDataType_t type, int64_t n, int64_t c, const int64_t *size,
                                        para_dnn_place place) {
    int rank = (int)k->dims + 2;
    int64_t dim[5] = {n, c}, stride[5] = {size[0] * size[1] * size[2] * c, 1}, step = c;
    for (int i = 2; i >= 3 - k->dims; i--) {
        int at = i + rank - 3;
        dim[at] = size[i];
        stride[at] = step;
        step *= size[i];
    }
    return para_dnn_tensor(p, id, type, rank, dim, stride, place);
}

static cudnnBackendDescriptor_t convolution(para_dnn_parts *p, const conv_key *k, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y) {
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t dims = k->dims, ones[] = {1, 1, 1};
    const int64_t *strides = k->stride + 3 - dims, *before = k->before + 3 - dims, *after = k->after + 3 - dims;
    float one = 1, zero = 0;
    cudnnBackendDescriptor_t conv = para_dnn_make(p, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, dims, ones);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, dims, strides);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, dims, before);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, dims, after);
    para_dnn_finalize(p, conv);
    cudnnBackendDescriptor_t op = para_dnn_make(p, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, conv);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    para_dnn_set(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    para_dnn_set(p, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    para_dnn_finalize(p, op);
    return op;
}

static cudnnBackendDescriptor_t addition(para_dnn_parts *p, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y) {
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnPointwiseMode_t mode = CUDNN_POINTWISE_ADD;
    cudnnBackendDescriptor_t add = para_dnn_make(p, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    para_dnn_set(p, add, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    para_dnn_set(p, add, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    para_dnn_finalize(p, add);
    cudnnBackendDescriptor_t op = para_dnn_make(p, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, add);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    para_dnn_finalize(p, op);
    return op;
}

static cudnnBackendDescriptor_t graph(para_dnn_parts *p, cudnnHandle_t handle, const void *key) {
    const conv_key *k = key;
    cudnnDataType_t type = para_dnn_type((para_dtype)k->type);
    cudnnBackendDescriptor_t ops[2], x = picture(p, k, ID_X, type, k->n, k->i, k->in, PARA_DNN_MEMORY),
                                     w = picture(p, k, ID_W, type, k->o, k->i, k->kernel, PARA_DNN_MEMORY),
                                     y = picture(p, k, ID_Y, type, k->n, k->o, k->out, PARA_DNN_MEMORY);
    if (k->bias == PARA_DTYPE_NONE) {
        ops[0] = convolution(p, k, x, w, y);
        return para_dnn_graph(p, handle, 1, ops);
    }
    cudnnBackendDescriptor_t sum = picture(p, k, ID_SUM, CUDNN_DATA_FLOAT, k->n, k->o, k->out, PARA_DNN_BETWEEN);
    cudnnBackendDescriptor_t bias = picture(p, k, ID_BIAS, para_dnn_type((para_dtype)k->bias), 1, k->o, (int64_t[]){1, 1, 1}, PARA_DNN_MEMORY);
    ops[0] = convolution(p, k, x, w, sum);
    ops[1] = addition(p, sum, bias, y);
    return para_dnn_graph(p, handle, 2, ops);
}

/* The three sizes behind the first dimension; of pictures one frame. */
static void sizes_of(int64_t out[3], const para_tensor *t) {
    out[0] = t->rank == 5 ? t->dim[1] : 1;
    out[1] = t->dim[t->rank - 3];
    out[2] = t->dim[t->rank - 2];
}

para_status para_cuda_cudnn_conv(para_device *dev, const para_cuda_conv *c, bool *done) {
    conv_key key = {.dims = c->x.rank - 2, .n = c->x.dim[0], .i = c->x.dim[c->x.rank - 1], .o = c->weight.dim[0], .type = c->x.dtype,
                    .bias = c->bias.data ? c->bias.dtype : PARA_DTYPE_NONE};
    sizes_of(key.in, &c->x);
    sizes_of(key.kernel, &c->weight);
    sizes_of(key.out, &c->y);
    for (int i = 0; i < 3; i++) key.stride[i] = c->stride[i], key.before[i] = c->before[i], key.after[i] = c->after[i];
    cudnnBackendDescriptor_t plan;
    *done = false;
    /* Float32 would mean TF32 or slow kernels; other channel counts, kernels that are no faster than a product. */
    if (c->x.dtype == PARA_F32 || key.i % 8 || key.o % 8 || !para_cuda_at_16(c->x.data) || !para_cuda_at_16(c->y.data) || !para_cuda_at_16(c->weight.data) ||
        !para_cuda_at_16(c->bias.data))
        return PARA_OK;
    PARA_TRY(para_dnn_plan(dev, key.dims == 3 ? "conv3d" : "conv2d", &key, sizeof key, graph, &plan));
    bool apart = !plan && key.dims == 3 && key.bias != PARA_DTYPE_NONE; /* the bias is added afterwards, which rounds once more, as PyTorch does */
    if (apart) {
        key.bias = PARA_DTYPE_NONE;
        PARA_TRY(para_dnn_plan(dev, "conv3d", &key, sizeof key, graph, &plan));
    }
    if (!plan) return PARA_OK;
    int64_t ids[] = {ID_X, ID_W, ID_Y, ID_BIAS};
    const void *data[] = {c->x.data, c->weight.data, c->y.data, c->bias.data};
    PARA_TRY(para_dnn_run(dev, plan, c->bias.data && !apart ? 4 : 3, ids, data, "convolve"));
    if (apart) {
        para_cuda_launch_add_bias(c->y, c->bias, para_cuda_of(dev)->stream);
        PARA_TRY(para_cuda_launched("conv3d"));
    }
    *done = true;
    return PARA_OK;
}
