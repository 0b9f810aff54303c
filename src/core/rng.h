/* Gaussian noise with PyTorch's generators, bit streams and order. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_RNG_H
#define PARA_CORE_RNG_H

#include <paraattn/tensor.h>

typedef enum para_rng_kind {
    PARA_RNG_CPU,  /* torch.Generator("cpu"): MT19937 */
    PARA_RNG_CUDA, /* torch.Generator("cuda"): Philox 4x32-10, offsets as torch's kernels advance them */
} para_rng_kind;

/* A generator's state; copyable. */
typedef struct para_rng {
    para_rng_kind kind;
    uint32_t mt[624];        /* CPU */
    int mt_index;            /* CPU: next word */
    bool has_normal;         /* CPU: a second normal of a pair waits (sizes < 16 in torch) */
    double next_normal;      /* CPU */
    uint64_t seed;           /* CUDA: Philox key */
    uint64_t offset;         /* CUDA: Philox offset in units of torch's philox_offset */
    int cuda_sms;            /* CUDA: multiprocessors and threads per multiprocessor of the GPU that torch would run on:
                   */
    int cuda_threads_per_sm; /* they set the grid and with it the order of large draws (defaults 132, 2048:
                                H100/H200) */
} para_rng;

/* As torch.Generator(kind).manual_seed(seed). */
void para_rng_seed(para_rng *rng, para_rng_kind kind, uint64_t seed);
/* As torch.randn(n, generator=…, dtype=dtype): n values of PARA_F32, PARA_BF16 or PARA_F16 into out (host).
 * On the CPU generator the types consume the generator differently where 16 does not divide n ≥ 16, and torch
 * before 2.12 drew others in the short types (8-bit uniforms); these are those of torch 2.15, as its AVX2 and
 * AVX-512 builds round. On the CUDA generator n is at most 2^29, from where torch splits its launch. */
void para_rng_normal(para_rng *rng, void *out, para_dtype dtype, int64_t n);

#endif
