/* Attention by cuDNN's scaled-dot-product op. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_cudnn.h"

#include <string.h>

enum { ID_Q = 'q', ID_K = 'k', ID_V = 'v', ID_OUT = 'o', ID_SCALE = 'c', ID_LSE = 'l' };

/* What tells one kind of attention from another; compared as bytes. */
typedef struct attention_key {
    int64_t batch, heads, kv_heads, queries, keys, width, type, lse;
    int64_t q[3], k[3], v[3], out[3], lse_stride[3]; /* strides */
} attention_key;

static cudnnBackendDescriptor_t operand(para_dnn_parts *p, int64_t id, const attention_key *k, int64_t heads, int64_t tokens, const int64_t *stride) {
    return para_dnn_tensor(p, id, para_dnn_type((para_dtype)k->type), 4, (int64_t[]){k->batch, heads, tokens, k->width},
                           (int64_t[]){stride[0], stride[1], stride[2], 1}, PARA_DNN_MEMORY);
}

static cudnnBackendDescriptor_t graph(para_dnn_parts *p, cudnnHandle_t handle, const void *key) {
    const attention_key *k = key;
    int64_t ones[] = {1, 1, 1, 1};
    cudnnBackendDescriptor_t q = operand(p, ID_Q, k, k->heads, k->queries, k->q), keys = operand(p, ID_K, k, k->kv_heads, k->keys, k->k),
                             v = operand(p, ID_V, k, k->kv_heads, k->keys, k->v), out = operand(p, ID_OUT, k, k->heads, k->queries, k->out),
                             scale = para_dnn_tensor(p, ID_SCALE, CUDNN_DATA_FLOAT, 4, ones, ones, PARA_DNN_VALUE),
                             op = para_dnn_make(p, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, q);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, keys);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, v);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, out);
    para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, scale);
    if (k->lse) {
        cudnnBackendDescriptor_t lse = para_dnn_tensor(p, ID_LSE, CUDNN_DATA_FLOAT, 4, (int64_t[]){k->batch, k->heads, k->queries, 1},
                                                       (int64_t[]){k->lse_stride[0], k->lse_stride[1], k->lse_stride[2], 1}, PARA_DNN_MEMORY);
        para_dnn_set_part(p, op, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, lse);
    }
    para_dnn_finalize(p, op);
    return para_dnn_graph(p, handle, 1, &op);
}

static bool at_16(const para_tensor *t) {
    bool good = (uintptr_t)t->data % 16 == 0;
    for (int i = 0; good && i < 3; i++) good = t->dim[i] == 1 || (t->stride[i] > 0 && t->stride[i] % 8 == 0);
    return good;
}

static void copy_strides(int64_t *to, const para_tensor *t) {
    memcpy(to, t->stride, 3 * sizeof *to);
}

para_status para_cuda_cudnn_attention(para_device *dev, const para_attention_args *a, bool *done) {
    attention_key key;
    cudnnBackendDescriptor_t plan;
    *done = false;
    if (a->q.dtype == PARA_F32 || a->out.dtype != a->q.dtype || a->q.dim[3] != a->v.dim[3] || a->k.dim[2] == 0 || !at_16(&a->q) || !at_16(&a->k) ||
        !at_16(&a->v) || !at_16(&a->out) || (uintptr_t)a->lse.data % 16)
        return PARA_OK;
    memset(&key, 0, sizeof key);
    key.batch = a->q.dim[0], key.heads = a->q.dim[1], key.kv_heads = a->k.dim[1], key.queries = a->q.dim[2], key.keys = a->k.dim[2];
    key.width = a->q.dim[3], key.type = a->q.dtype, key.lse = a->lse.data != NULL;
    copy_strides(key.q, &a->q), copy_strides(key.k, &a->k), copy_strides(key.v, &a->v), copy_strides(key.out, &a->out);
    if (key.lse) copy_strides(key.lse_stride, &a->lse);
    PARA_TRY(para_dnn_plan(dev, "attention", &key, sizeof key, graph, &plan));
    if (!plan) return PARA_OK;
    int64_t ids[] = {ID_Q, ID_K, ID_V, ID_OUT, ID_SCALE, ID_LSE};
    const void *data[] = {a->q.data, a->k.data, a->v.data, a->out.data, &a->scale, a->lse.data};
    PARA_TRY(para_dnn_run(dev, plan, key.lse ? 6 : 5, ids, data, "compute attention"));
    *done = true;
    return PARA_OK;
}
