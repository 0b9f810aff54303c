/* cuDNN's graphs: descriptors, and the plans that carry a graph out. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_CUDNN_H
#define PARA_CUDA_CUDNN_H

#include "backend/cuda/cuda.h"

#include <cudnn.h>

/* Descriptors that are destroyed together. The first failure stays, and what follows does nothing. */
enum { PARA_DNN_PARTS = 24 };
typedef struct para_dnn_parts {
    cudnnBackendDescriptor_t all[PARA_DNN_PARTS];
    int count;
    cudnnStatus_t status;
} para_dnn_parts;

cudnnBackendDescriptor_t para_dnn_make(para_dnn_parts *p, cudnnBackendDescriptorType_t type);
void para_dnn_set(para_dnn_parts *p, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                  const void *values);
void para_dnn_set_part(para_dnn_parts *p, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t part);
void para_dnn_finalize(para_dnn_parts *p, cudnnBackendDescriptor_t d);
void para_dnn_destroy(para_dnn_parts *p);

typedef enum para_dnn_place { PARA_DNN_MEMORY, PARA_DNN_BETWEEN /* ops of a graph: nowhere */, PARA_DNN_VALUE /* on the host */ } para_dnn_place;
/* A tensor of `rank` dimensions, at a multiple of 16 bytes. */
cudnnBackendDescriptor_t para_dnn_tensor(para_dnn_parts *p, int64_t id, cudnnDataType_t type, int rank, const int64_t *dim, const int64_t *stride,
                                         para_dnn_place place);
cudnnBackendDescriptor_t para_dnn_graph(para_dnn_parts *p, cudnnHandle_t handle, int64_t count, const cudnnBackendDescriptor_t *ops);
cudnnDataType_t para_dnn_type(para_dtype type);

/* Makes the graph that a key stands for. */
typedef cudnnBackendDescriptor_t (*para_dnn_make_graph)(para_dnn_parts *p, cudnnHandle_t handle, const void *key);

/* The plan of a key of a kind (a word); *out is NULL where cuDNN has none that serves. Made at the first call, which takes up to a second where cuDNN has to
 * compile it: with dev->tunes it comes from the choices of this machine, or goes there. Kept until the device is closed. */
para_status para_dnn_plan(para_device *dev, const char *kind, const void *key, size_t key_bytes, para_dnn_make_graph make_graph,
                          cudnnBackendDescriptor_t *out);
/* Carries a plan out on the device's stream; data [count] of the tensors with these ids. */
para_status para_dnn_run(para_device *dev, cudnnBackendDescriptor_t plan, int64_t count, const int64_t *ids, const void *const *data, const char *doing);

void para_dnn_close(para_cuda *cuda);

/* A convolution of pictures (rank 4) or videos (rank 5), all in one type. */
typedef struct para_cuda_conv {
    para_tensor x, weight, bias, y;              /* [N, (F,) H, W, I], [O, (kt,) kh, kw, I], [O] F32 or of x's type or none, [N, (OF,) OH, OW, O] */
    int64_t stride[3], before[3], after[3];      /* of time, height, width; paddings */
} para_cuda_conv;
/* y = conv(x, weight) + bias, where cuDNN has a kernel for it, of pictures one that rounds once; else *done is false. */
para_status para_cuda_cudnn_conv(para_device *dev, const para_cuda_conv *c, bool *done);

/* Attention without a mask and not causal, by cuDNN's own op; *done is false where it has no kernel. */
para_status para_cuda_cudnn_attention(para_device *dev, const para_attention_args *a, bool *done);

#endif
