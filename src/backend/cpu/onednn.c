/* oneDNN's primitives, kept by shape. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/onednn.h"

#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t own_desc;
typedef const_dnnl_memory_desc_t any_desc;
#define DESC(own) (own)
#else
typedef struct own_desc {
    dnnl_memory_desc_t v;
} own_desc;
typedef const dnnl_memory_desc_t *any_desc;
#define DESC(own) (&(own).v)
#endif

enum { KEPT = 256 };

typedef struct entry {
    para_onednn_op op; /* first, so that an op leads to its entry */
    para_onednn_key key;
    uint64_t used; /* when, to drop the oldest */
    bool made;     /* without a primitive where there is none for BF16 */
    bool described; /* only: it cannot be run */
    dnnl_primitive_t primitive, reorder;
    dnnl_memory_t src, weights, packed, bias, dst, scratch;
} entry;

struct para_onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    bool without_bf16;
    uint64_t now;
    int count;
    entry *entries[KEPT];
};

static para_status check(dnnl_status_t status, const char *call) {
    if (status == dnnl_success) return PARA_OK;
    if (status == dnnl_out_of_memory) return para_fail(PARA_ERR_MEMORY, "out of memory in oneDNN (%s)", call);
    return para_fail(PARA_ERR_LIBRARY, "oneDNN %d.%d.%d: %s failed with status %d", dnnl_version()->major,
                     dnnl_version()->minor, dnnl_version()->patch, call, (int)status);
}

/* Descriptors of memory: v3 made them opaque. */

static dnnl_status_t desc_by_strides(own_desc *out, int rank, const dnnl_dim_t *dim, dnnl_data_type_t type,
                                     const dnnl_dim_t *stride) {
    dnnl_dims_t dims = {0}, strides = {0};
    memcpy(dims, dim, (size_t)rank * sizeof *dim);
    memcpy(strides, stride, (size_t)rank * sizeof *stride);
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_strides(out, rank, dims, type, strides);
#else
    return dnnl_memory_desc_init_by_strides(&out->v, rank, dims, type, strides);
#endif
}

static dnnl_status_t desc_by_tag(own_desc *out, int rank, const dnnl_dim_t *dim, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag) {
    dnnl_dims_t dims = {0};
    memcpy(dims, dim, (size_t)rank * sizeof *dim);
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(out, rank, dims, type, tag);
#else
    return dnnl_memory_desc_init_by_tag(&out->v, rank, dims, type, tag);
#endif
}

static void desc_free(own_desc *desc) {
#if DNNL_VERSION_MAJOR >= 3
    if (*desc) dnnl_memory_desc_destroy(*desc);
    *desc = NULL;
#else
    (void)desc;
#endif
}

/* src, weights, bias, dst of a primitive; src_weights: the weights as the caller has them. */
typedef struct descs {
    own_desc src, weights, plain_weights, bias, dst;
} descs;

static void descs_free(descs *d) {
    desc_free(&d->src);
    desc_free(&d->weights);
    desc_free(&d->plain_weights);
    desc_free(&d->bias);
    desc_free(&d->dst);
}

static dnnl_status_t matmul_descs(descs *d, const para_onednn_key *k, dnnl_data_type_t type) {
    dnnl_status_t s = desc_by_strides(&d->src, 2, (dnnl_dim_t[]){k->m, k->k}, type, (dnnl_dim_t[]){k->src_row, 1});
    if (s == dnnl_success)
        s = desc_by_strides(&d->weights, 2, (dnnl_dim_t[]){k->k, k->n}, type, (dnnl_dim_t[]){1, k->weights_row});
    if (s == dnnl_success)
        s = desc_by_strides(&d->plain_weights, 2, (dnnl_dim_t[]){k->k, k->n}, type, (dnnl_dim_t[]){1, k->weights_row});
    if (s == dnnl_success) s = desc_by_strides(&d->bias, 2, (dnnl_dim_t[]){1, k->n}, dnnl_f32, (dnnl_dim_t[]){k->n, 1});
    if (s == dnnl_success)
        s = desc_by_strides(&d->dst, 2, (dnnl_dim_t[]){k->m, k->n}, type, (dnnl_dim_t[]){k->dst_row, 1});
    return s;
}

static dnnl_status_t conv_descs(descs *d, const para_onednn_key *k, dnnl_data_type_t type) {
    bool video = k->conv == 3;
    int rank = k->conv + 2;
    dnnl_dim_t src[] = {k->batch, k->inputs, video ? k->frames : k->height, video ? k->height : k->width, k->width};
    dnnl_dim_t weights[] = {k->outputs, k->inputs, video ? k->kernel_t : k->kernel_h, video ? k->kernel_h : k->kernel_w,
                            k->kernel_w};
    dnnl_dim_t dst[] = {k->batch, k->outputs, video ? k->out_frames : k->out_height,
                        video ? k->out_height : k->out_width, k->out_width};
    dnnl_format_tag_t last = video ? dnnl_ndhwc : dnnl_nhwc;
    dnnl_status_t s = desc_by_tag(&d->src, rank, src, type, last);
    if (s == dnnl_success) s = desc_by_tag(&d->weights, rank, weights, type, dnnl_format_tag_any);
    if (s == dnnl_success) s = desc_by_tag(&d->plain_weights, rank, weights, type, video ? dnnl_oidhw : dnnl_oihw);
    if (s == dnnl_success) s = desc_by_tag(&d->bias, 1, (dnnl_dim_t[]){k->outputs}, dnnl_f32, dnnl_a);
    if (s == dnnl_success) s = desc_by_tag(&d->dst, rank, dst, type, last);
    return s;
}

static dnnl_status_t append_activation(dnnl_post_ops_t ops, para_activation f) {
    dnnl_alg_kind_t kind;
    float alpha = 0;
    switch (f) {
    case PARA_ACT_SILU:
        kind = dnnl_eltwise_swish;
        alpha = 1;
        break;
    case PARA_ACT_QUICK_GELU:
        kind = dnnl_eltwise_swish;
        alpha = 1.702f;
        break;
    case PARA_ACT_GELU_TANH: kind = dnnl_eltwise_gelu_tanh; break;
    case PARA_ACT_GELU_ERF: kind = dnnl_eltwise_gelu_erf; break;
    case PARA_ACT_RELU: kind = dnnl_eltwise_relu; break;
    case PARA_ACT_TANH: kind = dnnl_eltwise_tanh; break;
    default: return dnnl_success;
    }
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(ops, kind, alpha, 0);
#else
    return dnnl_post_ops_append_eltwise(ops, 1, kind, alpha, 0);
#endif
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
#else
    return dnnl_post_ops_append_sum(ops, 1);
#endif
}

static dnnl_status_t make_attributes(dnnl_primitive_attr_t *out, const para_onednn_key *k) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(out);
    if (s == dnnl_success) s = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (s == dnnl_success) s = dnnl_post_ops_create(&ops);
    if (s == dnnl_success) s = append_activation(ops, k->activation);
    if (s == dnnl_success && k->accumulate) s = append_sum(ops);
    if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(*out, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    return s;
}

static dnnl_status_t make_desc(dnnl_primitive_desc_t *out, dnnl_engine_t engine, descs *d, const para_onednn_key *k,
                               dnnl_primitive_attr_t attr) {
    any_desc bias = k->bias ? DESC(d->bias) : NULL;
    dnnl_dims_t dilation = {0}, stride = {k->stride, k->stride}, before = {k->pad_top, k->pad_left},
                after = {k->pad_bottom, k->pad_right};
    if (k->conv == 3) { /* padded already */
        memcpy(stride, (dnnl_dims_t){k->stride_t, k->stride, k->stride}, sizeof stride);
        memset(before, 0, sizeof before);
        memset(after, 0, sizeof after);
    }
#if DNNL_VERSION_MAJOR >= 3
    if (k->conv)
        return dnnl_convolution_forward_primitive_desc_create(out, engine, dnnl_forward_inference,
                                                              dnnl_convolution_direct, d->src, d->weights, bias, d->dst,
                                                              stride, dilation, before, after, attr);
    return dnnl_matmul_primitive_desc_create(out, engine, d->src, d->weights, bias, d->dst, attr);
#else
    if (k->conv) {
        dnnl_convolution_desc_t conv;
        dnnl_status_t s = dnnl_dilated_convolution_forward_desc_init(
            &conv, dnnl_forward_inference, dnnl_convolution_direct, DESC(d->src), DESC(d->weights), bias, DESC(d->dst),
            stride, dilation, before, after);
        return s == dnnl_success ? dnnl_primitive_desc_create(out, &conv, attr, engine, NULL) : s;
    }
    dnnl_matmul_desc_t matmul;
    dnnl_status_t s = dnnl_matmul_desc_init(&matmul, DESC(d->src), DESC(d->weights), bias, DESC(d->dst));
    return s == dnnl_success ? dnnl_primitive_desc_create(out, &matmul, attr, engine, NULL) : s;
#endif
}

static void entry_clear(entry *e) {
    dnnl_memory_t memory[] = {e->src, e->weights, e->packed, e->bias, e->dst, e->scratch};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        if (memory[i]) dnnl_memory_destroy(memory[i]);
    if (e->primitive) dnnl_primitive_destroy(e->primitive);
    if (e->reorder) dnnl_primitive_destroy(e->reorder);
    memset(e, 0, sizeof *e);
}

static dnnl_status_t make_reorder(entry *e, dnnl_engine_t engine, any_desc from, any_desc to) {
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t s = dnnl_reorder_primitive_desc_create(&desc, from, engine, to, engine, NULL);
    if (s == dnnl_success) s = dnnl_primitive_create(&e->reorder, desc);
    if (s == dnnl_success) s = dnnl_memory_create(&e->packed, to, engine, DNNL_MEMORY_NONE);
    if (desc) dnnl_primitive_desc_destroy(desc);
    return s;
}

static dnnl_status_t make_runnable(entry *e, dnnl_engine_t engine, descs *d, dnnl_primitive_desc_t desc) {
    any_desc wanted = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    any_desc scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    dnnl_status_t s = dnnl_primitive_create(&e->primitive, desc);
    if (s == dnnl_success && e->op.packed_bytes) s = make_reorder(e, engine, DESC(d->plain_weights), wanted);
    if (s == dnnl_success) s = dnnl_memory_create(&e->src, DESC(d->src), engine, DNNL_MEMORY_NONE);
    if (s == dnnl_success) s = dnnl_memory_create(&e->weights, DESC(d->plain_weights), engine, DNNL_MEMORY_NONE);
    if (s == dnnl_success && e->key.bias) s = dnnl_memory_create(&e->bias, DESC(d->bias), engine, DNNL_MEMORY_NONE);
    if (s == dnnl_success) s = dnnl_memory_create(&e->dst, DESC(d->dst), engine, DNNL_MEMORY_NONE);
    if (s == dnnl_success) s = dnnl_memory_create(&e->scratch, scratch, engine, DNNL_MEMORY_NONE);
    return s;
}

static dnnl_status_t entry_make(para_onednn *o, entry *e, const para_onednn_key *key, bool describe_only) {
    dnnl_data_type_t type = key->type == PARA_BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    descs d;
    memset(&d, 0, sizeof d);
    e->key = *key;
    dnnl_status_t s = make_attributes(&attr, key);
    if (s == dnnl_success) s = key->conv ? conv_descs(&d, key, type) : matmul_descs(&d, key, type);
    bool fast_type = !o->without_bf16 || key->type != PARA_BF16;
    if (s == dnnl_success) s = fast_type ? make_desc(&desc, o->engine, &d, key, attr) : dnnl_unimplemented;
    if (s == dnnl_unimplemented && key->type == PARA_BF16) { /* as without AVX-512: there is nothing to run */
        e->op.reference = true;
        s = dnnl_success;
    } else if (s == dnnl_success) {
        const char *info = "";
        any_desc wanted = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
        dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &info);
        e->op.reference = strstr(info, "ref") != NULL;
        e->op.scratch_bytes =
            dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0));
        e->op.packed_bytes =
            dnnl_memory_desc_equal(wanted, DESC(d.plain_weights)) ? 0 : dnnl_memory_desc_get_size(wanted);
        if (!describe_only) s = make_runnable(e, o->engine, &d, desc);
    }
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (attr) dnnl_primitive_attr_destroy(attr);
    descs_free(&d);
    if (s != dnnl_success) entry_clear(e);
    e->made = s == dnnl_success;
    return s;
}

para_status para_onednn_open(para_onednn **out) {
    *out = NULL;
    para_onednn *o = para_alloc(1, sizeof *o);
    if (!o) return PARA_ERR_MEMORY;
    para_status status = check(dnnl_engine_create(&o->engine, dnnl_cpu, 0), "dnnl_engine_create");
    if (status == PARA_OK)
        status = check(dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags), "dnnl_stream_create");
    if (status != PARA_OK) para_onednn_close(&o);
    else *out = o;
    return status;
}

void para_onednn_close(para_onednn **o) {
    if (!o || !*o) return;
    for (int i = 0; i < (*o)->count; i++) {
        entry_clear((*o)->entries[i]);
        para_free((*o)->entries[i]);
    }
    if ((*o)->stream) dnnl_stream_destroy((*o)->stream);
    if ((*o)->engine) dnnl_engine_destroy((*o)->engine);
    para_free(*o);
    *o = NULL;
}

void para_onednn_without_bf16(para_onednn *o) {
    o->without_bf16 = true;
}

/* An empty entry to fill: a new one, or the one that was not used for longest. */
static entry *entry_take(para_onednn *o) {
    if (o->count < KEPT) {
        entry *e = para_alloc(1, sizeof *e);
        if (e) o->entries[o->count++] = e;
        return e;
    }
    entry *oldest = o->entries[0];
    for (int i = 1; i < KEPT; i++)
        if (o->entries[i]->used < oldest->used) oldest = o->entries[i];
    entry_clear(oldest);
    return oldest;
}

/* oneDNN shares work out over as many threads as it finds here when it plans; where OMP_THREAD_LIMIT lets fewer start, the rest would stay undone. */
static int threads_of(const para_onednn_key *key) {
    int limit = omp_get_thread_limit();
    return key->threads < limit ? (int)key->threads : limit;
}

para_status para_onednn_find(para_onednn *o, const para_onednn_key *key, bool describe_only,
                             const para_onednn_op **out) {
    *out = NULL;
    for (int i = 0; i < o->count; i++) {
        entry *e = o->entries[i];
        if (!e->made || (e->described && !describe_only) || memcmp(&e->key, key, sizeof *key) != 0) continue;
        e->used = ++o->now;
        *out = &e->op;
        return PARA_OK;
    }
    entry *e = entry_take(o);
    if (!e) return PARA_ERR_MEMORY;
    e->described = describe_only;
    int before = omp_get_max_threads(); /* oneDNN plans for as many threads as OpenMP would start here */
    omp_set_num_threads(threads_of(key));
    dnnl_status_t s = entry_make(o, e, key, describe_only);
    omp_set_num_threads(before);
    e->used = ++o->now;
    PARA_TRY(check(s, key->conv ? "making a convolution" : "making a matrix product"));
    *out = &e->op;
    return PARA_OK;
}

static dnnl_status_t set(dnnl_memory_t memory, const void *data) {
    return memory ? dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)data) : dnnl_success;
}

para_status para_onednn_run(para_onednn *o, const para_onednn_op *op, const para_onednn_run_args *a) {
    entry *e = (entry *)(uintptr_t)op;
    dnnl_status_t s = set(e->src, a->src);
    if (s == dnnl_success) s = set(e->weights, a->weights);
    if (s == dnnl_success) s = set(e->packed, a->packed);
    if (s == dnnl_success) s = set(e->bias, a->bias);
    if (s == dnnl_success) s = set(e->dst, a->dst);
    if (s == dnnl_success) s = set(e->scratch, a->scratch);
    PARA_TRY(check(s, "dnnl_memory_set_data_handle"));
    int before = omp_get_max_threads();
    omp_set_num_threads(threads_of(&e->key));
    if (e->reorder) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, e->weights}, {DNNL_ARG_TO, e->packed}};
        s = dnnl_primitive_execute(e->reorder, o->stream, 2, args);
    }
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, e->src},
                              {DNNL_ARG_WEIGHTS, e->reorder ? e->packed : e->weights},
                              {DNNL_ARG_DST, e->dst},
                              {DNNL_ARG_SCRATCHPAD, e->scratch},
                              {DNNL_ARG_BIAS, e->bias}};
    if (s == dnnl_success) s = dnnl_primitive_execute(e->primitive, o->stream, e->bias ? 5 : 4, args);
    if (s == dnnl_success) s = dnnl_stream_wait(o->stream);
    omp_set_num_threads(before);
    return check(s, "dnnl_primitive_execute");
}
