/* Convolutions by cuDNN's graphs: convolution, then bias in float32, channels last. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_cudnn.h"
#include "backend/cuda/cuda_kernels.h"

enum { ID_X = 'x', ID_W = 'w', ID_Y = 'y', ID_BIAS = 'b', ID_SUM = 's' };

/* What tells one kind of convolution from another; compared as bytes. */
typedef struct conv_key {
    int64_t n, h, w, i, o, kh, kw, oh, ow, stride, top, left, bottom, right, type, bias; /* types; bias: PARA_DTYPE_NONE for none */
} conv_key;

/* [N, C, H, W] as cuDNN counts, channels last in memory. */
static cudnnBackendDescriptor_t picture(para_dnn_parts *p, int64_t id, cudnnDataType_t type, int64_t n, int64_t c, int64_t h, int64_t w,
                                        para_dnn_place place) {
    return para_dnn_tensor(p, id, type, (int64_t[]){n, c, h, w}, (int64_t[]){h * w * c, 1, w * c, c}, place);
}

static cudnnBackendDescriptor_t convolution(para_dnn_parts *p, const conv_key *k, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y) {
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t dims = 2, ones[] = {1, 1}, strides[] = {k->stride, k->stride}, before[] = {k->top, k->left}, after[] = {k->bottom, k->right};
    float one = 1, zero = 0;
    cudnnBackendDescriptor_t conv = para_dnn_make(p, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, ones);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before);
    para_dnn_set(p, conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after);
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
    cudnnBackendDescriptor_t ops[2], x = picture(p, ID_X, type, k->n, k->i, k->h, k->w, PARA_DNN_MEMORY),
                                     w = picture(p, ID_W, type, k->o, k->i, k->kh, k->kw, PARA_DNN_MEMORY),
                                     y = picture(p, ID_Y, type, k->n, k->o, k->oh, k->ow, PARA_DNN_MEMORY);
    if (k->bias == PARA_DTYPE_NONE) {
        ops[0] = convolution(p, k, x, w, y);
        return para_dnn_graph(p, handle, 1, ops);
    }
    cudnnBackendDescriptor_t sum = picture(p, ID_SUM, CUDNN_DATA_FLOAT, k->n, k->o, k->oh, k->ow, PARA_DNN_BETWEEN);
    cudnnBackendDescriptor_t bias = picture(p, ID_BIAS, para_dnn_type((para_dtype)k->bias), 1, k->o, 1, 1, PARA_DNN_MEMORY);
    ops[0] = convolution(p, k, x, w, sum);
    ops[1] = addition(p, sum, bias, y);
    return para_dnn_graph(p, handle, 2, ops);
}

para_status para_cuda_cudnn_conv2d(para_device *dev, const para_conv2d_args *a, const void *weight, para_tensor bias, para_tensor y, bool *done) {
    const int64_t *x = a->x.dim, *w = a->w->weight.dim;
    conv_key key = {.n = x[0], .h = x[1], .w = x[2], .i = x[3], .o = y.dim[3], .kh = w[2], .kw = w[3], .oh = y.dim[1], .ow = y.dim[2],
                    .stride = a->stride, .top = a->pad_top, .left = a->pad_left, .bottom = a->pad_bottom, .right = a->pad_right,
                    .type = a->x.dtype, .bias = bias.data ? bias.dtype : PARA_DTYPE_NONE};
    cudnnBackendDescriptor_t plan;
    *done = false;
    /* Float32 would mean TF32 or slow kernels; other channel counts, kernels that are no faster than a product. */
    if (a->x.dtype == PARA_F32 || key.i % 8 || key.o % 8 || !para_cuda_at_16(a->x.data) || !para_cuda_at_16(y.data) || !para_cuda_at_16(weight) || !para_cuda_at_16(bias.data)) return PARA_OK;
    PARA_TRY(para_dnn_plan(dev, "conv2d", &key, sizeof key, graph, &plan));
    if (!plan) return PARA_OK;
    int64_t ids[] = {ID_X, ID_W, ID_Y, ID_BIAS};
    const void *data[] = {a->x.data, weight, y.data, bias.data};
    PARA_TRY(para_dnn_run(dev, plan, bias.data ? 4 : 3, ids, data, "convolve"));
    *done = true;
    return PARA_OK;
}
