/* Every op as plain loops in double precision: what a back end is compared with. SPDX-License-Identifier: Apache-2.0
 *
 * All arrays are contiguous in the order of the sizes named; NULL is "none". */
#ifndef PARA_TESTS_TWIN_OPS_H
#define PARA_TESTS_TWIN_OPS_H

#include "backend/backend.h"

double twin_activation(para_activation f, double x);

/* y[m, n] = f(x[m, k] · w[n, k] + bias[n]), added to y when asked */
void twin_linear(double *y, const double *x, const double *w, const double *bias, int64_t m, int64_t n, int64_t k,
                 para_activation f, bool accumulate);

/* y[N, OH, OW, O] from x[N, H, W, I], w[O, I, kh, kw]; top and left are the padding */
typedef struct twin_conv_sizes {
    int64_t n, h, w, i, oh, ow, o, kh, kw, stride, top, left;
} twin_conv_sizes;
void twin_conv2d(double *y, const double *x, const double *w, const double *bias, const twin_conv_sizes *s);

/* y[N, OF, OH, OW, O] from x[N, F, H, W, I], enlarged to grown, and w[O, I, kt, kh, kw]; before[N, kt - 1, H, W, I], enlarged already */
typedef struct twin_video_sizes {
    int64_t n, x[3], grown[3], i, y[3], o, k[3], stride[3], pad[3]; /* pad[0] is not looked at */
    bool replicate;
} twin_video_sizes;
void twin_conv3d(double *y, const double *x, const double *before, const double *w, const double *bias, const twin_video_sizes *s);

/* One row of norm: y[d] */
void twin_norm(double *y, const double *x, int64_t d, para_norm_kind kind, double eps, const double *weight,
               const double *bias, const double *scale, const double *shift);

/* y[n, h·w, c] from x, c split into groups */
void twin_group_norm(double *y, const double *x, int64_t n, int64_t pixels, int64_t c, int groups, double eps,
                     const double *weight, const double *bias, para_activation f);

typedef struct twin_head_options {
    para_norm_kind kind;
    const double *weight, *bias; /* [d]; without a weight there is no norm */
    double eps;
    const double *cosine, *sine; /* [s, d]; or NULL */
    const double *positions, *frequencies; /* [s, 3] and [3, h, d / 2], whose angles are float32; or NULL */
    bool interleaved;
} twin_head_options;
/* y[h, s, d] from x[s, h, d] */
void twin_head(double *y, const double *x, int64_t s, int64_t h, int64_t d, const twin_head_options *o);

typedef struct twin_attention_sizes {
    int64_t b, h, hkv, sq, skv, d, dv;
    double scale;
    bool causal, mask_is_bool;
    int64_t causal_offset;
} twin_attention_sizes;
/* out[b, h, sq, dv], lse[b, h, sq] */
void twin_attention(double *out, double *lse, const double *q, const double *k, const double *v, const double *mask,
                    const twin_attention_sizes *s);
/* out[rows, dv] and lse[rows] merged with a part */
void twin_merge(double *out, double *lse, const double *part, const double *part_lse, int64_t rows, int64_t dv);

#endif
