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
    uint32_t mt[624];   /* CPU */
    int mt_index;       /* CPU: next word */
    bool has_normal;    /* CPU: a second normal of a pair waits (sizes < 16 in torch) */
    double next_normal; /* CPU */
    uint64_t seed;      /* CUDA: Philox key */
    uint64_t offset;    /* CUDA: Philox offset in units of torch's philox_offset */
    /* CUDA: multiprocessors, and threads of each, of the GPU that torch would run on (defaults 132 and 2048: H100 and H200 SXM).
     * They set the launch grid, 256 · cuda_sms · (cuda_threads_per_sm / 256) threads (270336; on an A100 221184). A draw of no more
     * values than that is the same on every GPU; of a larger one each thread makes several, in an order that depends on the GPU. */
    int cuda_sms, cuda_threads_per_sm;
} para_rng;

/* As torch.Generator(kind).manual_seed(seed). */
void para_rng_seed(para_rng *rng, para_rng_kind kind, uint64_t seed);
/* As torch.randn(n, generator=…, dtype=dtype) of torch 2.15: n values of PARA_F32, PARA_BF16 or PARA_F16 into out (host).
 * CPU: rounded as torch's AVX2 and AVX-512 builds round. Where n ≥ 16 is no multiple of 16, float32 takes more from the generator than
 * the short types. Older torch drew others in the short types (its uniforms had 8 bits in bfloat16).
 * CUDA: float32 within 1e-6 of torch's (measured on an H200; the GPU's fast sine is modelled); n up to 2^29, from where on torch splits its launch. */
void para_rng_normal(para_rng *rng, void *out, para_dtype dtype, int64_t n);

#endif
