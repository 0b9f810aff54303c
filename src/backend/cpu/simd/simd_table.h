/* Names of one instruction set's loops: PARA_SIMD_ISA is part of each. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_SIMD_TABLE_H
#define PARA_SIMD_TABLE_H

#include "backend/cpu/simd/simd.h"

#define PARA_SIMD_JOIN_(name, isa) name##_##isa
#define PARA_SIMD_JOIN(name, isa)  PARA_SIMD_JOIN_(name, isa)
#define PARA_SIMD_NAME(name)       PARA_SIMD_JOIN(name, PARA_SIMD_ISA)
#define PARA_SIMD_STRING_(isa)     #isa
#define PARA_SIMD_STRING(isa)      PARA_SIMD_STRING_(isa)
#define PARA_SIMD_TEXT             PARA_SIMD_STRING(PARA_SIMD_ISA)

/* Register tile of the attention's products: rows × vectors, so that the sums fill the register file. */
#if defined(__AVX512F__)
enum { PARA_SIMD_MR = 14, PARA_SIMD_NR = 2 };
#elif defined(__aarch64__)
enum { PARA_SIMD_MR = 8, PARA_SIMD_NR = 3 };
#else
enum { PARA_SIMD_MR = 6, PARA_SIMD_NR = 2 };
#endif
#define PARA_SIMD_Q_BLOCK   (PARA_SIMD_MR * (96 / PARA_SIMD_MR + (96 % PARA_SIMD_MR != 0)))
#define PARA_SIMD_KEY_PANEL (PARA_SIMD_NR * VL)

void PARA_SIMD_NAME(para_simd_norm)(const para_norm_args *a, int64_t first, int64_t last);
void PARA_SIMD_NAME(para_simd_residual)(const para_residual_args *a, int64_t first, int64_t last);
void PARA_SIMD_NAME(para_simd_head)(const para_head_args *a, int64_t first, int64_t last);
void PARA_SIMD_NAME(para_simd_activate)(para_activation f, void *y, const void *x, para_dtype type, int64_t n);
void PARA_SIMD_NAME(para_simd_gated)(para_activation f, void *y, const void *a, const void *b, para_dtype type,
                                     int64_t n);
void PARA_SIMD_NAME(para_simd_add)(void *y, para_dtype type, const float *x, int64_t n);
void PARA_SIMD_NAME(para_simd_convert)(void *y, para_dtype to, const void *x, para_dtype from, para_dtype between,
                                       int64_t n);
bool PARA_SIMD_NAME(para_simd_all_finite)(const void *x, para_dtype type, int64_t n);
void PARA_SIMD_NAME(para_simd_linear_few)(const para_linear_args *a, int64_t first, int64_t last);
void PARA_SIMD_NAME(para_simd_channel_moments)(const void *x, para_dtype type, int64_t count, int64_t c, int64_t before,
                                               double *mean, double *m2);
void PARA_SIMD_NAME(para_simd_channel_scale)(para_activation f, void *y, const void *x, para_dtype type, int64_t count,
                                             int64_t c, const float *scale, const float *offset);
size_t PARA_SIMD_NAME(para_simd_packed_k_floats)(int64_t keys, int64_t d);
size_t PARA_SIMD_NAME(para_simd_packed_v_floats)(int64_t keys, int64_t dv);
size_t PARA_SIMD_NAME(para_simd_block_floats)(int64_t d, int64_t dv);
void PARA_SIMD_NAME(para_simd_pack_k)(float *packed, const para_attention_args *a, int64_t b, int64_t head,
                                      int64_t first, int64_t last);
void PARA_SIMD_NAME(para_simd_pack_v)(float *packed, const para_attention_args *a, int64_t b, int64_t head,
                                      int64_t first, int64_t last);
void PARA_SIMD_NAME(para_simd_attention)(const para_attention_block *block);
void PARA_SIMD_NAME(para_simd_merge)(const para_merge_args *a, int64_t first, int64_t last);

#endif
