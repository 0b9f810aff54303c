/* Attention: heads in groups, their keys and values packed once, blocks of queries over the threads. SPDX-License-Identifier: Apache-2.0 */
#include <omp.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/cpu_scratch.h"
#include "core/error.h"

enum { PACK_ROWS = 256 }; /* keys that one task packs */

/* Key heads that are packed at a time, and bytes of each part of the scratch. */
typedef struct attention_plan {
    int64_t group; /* key heads */
    size_t k_bytes, v_bytes, thread_bytes;
} attention_plan;

static attention_plan make_plan(const para_simd *simd, const para_attention_args *a, int threads) {
    int64_t heads = a->k.dim[0] * a->k.dim[1], wanted = 2 * (int64_t)threads, dv = a->v.dim[3];
    return (attention_plan){
        .group = heads < wanted ? heads : wanted,
        .k_bytes = para_cpu_round(simd->packed_k_floats(a->k.dim[2], a->k.dim[3]) * sizeof(float)),
        .v_bytes = para_cpu_round(simd->packed_v_floats(a->k.dim[2], dv) * sizeof(float)),
        .thread_bytes = para_cpu_round(simd->block_floats(a->q.dim[3], dv) * sizeof(float)),
    };
}

static size_t plan_bytes(const attention_plan *p, int threads) {
    return (size_t)p->group * (p->k_bytes + p->v_bytes) + (size_t)threads * p->thread_bytes;
}

size_t para_cpu_attention_scratch(const para_attention_args *a, int threads) {
    if (a->q.dim[0] * a->q.dim[1] * a->q.dim[2] == 0) return 0;
    attention_plan plan = make_plan(para_simd_select(), a, threads);
    return plan_bytes(&plan, threads);
}

/* Parts of one attention: ranges of queries over the same keys and values. */
typedef struct attention_parts {
    int count;
    const para_attention_args *a; /* [count] */
} attention_parts;

static int64_t blocks_of(const para_simd *simd, const para_attention_args *a) {
    return (a->q.dim[2] + simd->q_block - 1) / simd->q_block;
}

/* All threads run this: each group is packed, then computed. */
static void run_groups(const para_simd *simd, const attention_parts *parts, const attention_plan *p, char *scratch) {
    const para_attention_args *a = parts->a;
    int64_t key_heads = a->k.dim[1], all = a->k.dim[0] * key_heads, keys = a->k.dim[2], blocks = 0;
    for (int i = 0; i < parts->count; i++) blocks += blocks_of(simd, &a[i]);
    int64_t shared = a->q.dim[1] / key_heads; /* query heads of a key head */
    int64_t pack_step = (PACK_ROWS + simd->key_panel - 1) / simd->key_panel * simd->key_panel;
    int64_t packs = (keys + pack_step - 1) / pack_step;
    char *values = scratch + (size_t)p->group * p->k_bytes;
    char *own = values + (size_t)p->group * p->v_bytes + (size_t)omp_get_thread_num() * p->thread_bytes;
    for (int64_t first = 0; first < all; first += p->group) {
        int64_t heads = all - first < p->group ? all - first : p->group;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads * packs; i++) {
            int64_t head = i / packs, from = i % packs * pack_step,
                    to = from + pack_step < keys ? from + pack_step : keys;
            int64_t b = (first + head) / key_heads, h = (first + head) % key_heads;
            simd->pack_k((float *)(void *)(scratch + (size_t)head * p->k_bytes), a, b, h, from, to);
            simd->pack_v((float *)(void *)(values + (size_t)head * p->v_bytes), a, b, h, from, to);
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads * shared * blocks; i++) {
            int64_t head = i / (shared * blocks), block = i % blocks;
            const para_attention_args *part = a;
            for (; block >= blocks_of(simd, part); part++) block -= blocks_of(simd, part);
            int64_t from = block * simd->q_block, queries = part->q.dim[2];
            simd->attention(&(para_attention_block){
                .args = part,
                .b = (first + head) / key_heads,
                .h = (first + head) % key_heads * shared + i / blocks % shared,
                .first = from,
                .rows = queries - from < simd->q_block ? queries - from : simd->q_block,
                .packed_k = (float *)(void *)(scratch + (size_t)head * p->k_bytes),
                .packed_v = (float *)(void *)(values + (size_t)head * p->v_bytes),
                .scratch = (float *)(void *)own,
            });
        }
    }
}

static bool attends_in(para_dtype type) {
    return type == PARA_F32 || type == PARA_BF16 || type == PARA_F16;
}

static para_status check(const para_attention_args *a) {
    const int64_t *q = a->q.dim, *k = a->k.dim, *v = a->v.dim, *out = a->out.dim;
    PARA_TRY(para_cpu_check(
        a->q.rank == 4 && a->k.rank == 4 && a->v.rank == 4 && a->out.rank == 4 && q[0] == k[0] && q[0] == v[0] &&
            q[0] == out[0] && (k[1] > 0 ? q[1] % k[1] == 0 : q[1] == 0) && v[1] == k[1] && out[1] == q[1] &&
            q[3] == k[3] && k[2] == v[2] && out[2] == q[2] && out[3] == v[3],
        "attention",
        "q [B, H, Sq, D], k [B, Hkv, Skv, D], v [B, Hkv, Skv, Dv] and out [B, H, Sq, Dv] do not fit together"));
    PARA_TRY(para_cpu_check(attends_in(a->q.dtype) && attends_in(a->k.dtype) && attends_in(a->v.dtype) &&
                                (a->out.dtype == a->q.dtype || a->out.dtype == PARA_F32),
                            "attention", "q, k and v must be F32, BF16 or F16, and out F32 or the type of q"));
    PARA_TRY(para_cpu_check(!a->mask.data || (a->mask.rank == 4 && a->mask.dim[0] == q[0] && a->mask.dim[1] == q[1] &&
                                              a->mask.dim[2] == q[2] && a->mask.dim[3] == k[2] &&
                                              (a->mask.dtype == PARA_BOOL || a->mask.dtype == PARA_F32)),
                            "attention", "the mask must be [B, H, Sq, Skv] of BOOL or F32"));
    return para_cpu_check(!a->lse.data || (a->lse.rank == 3 && a->lse.dtype == PARA_F32 && a->lse.dim[0] == q[0] &&
                                           a->lse.dim[1] == q[1] && a->lse.dim[2] == q[2]),
                          "attention", "lse must be [B, H, Sq] of F32");
}

para_status para_cpu_attention(para_device *dev, const para_attention_args *a) {
    return para_cpu_attention_parts(dev, 1, a);
}

para_status para_cpu_attention_parts(para_device *dev, int parts, const para_attention_args *a) {
    void *scratch;
    int64_t queries = 0;
    for (int i = 0; i < parts; i++) {
        PARA_TRY(check(&a[i]));
        queries += a[i].q.dim[2];
    }
    if (a->q.dim[0] * a->q.dim[1] * queries == 0) return PARA_OK;
    const para_simd *simd = para_simd_of(dev);
    const attention_parts all = {parts, a};
    attention_plan plan = make_plan(simd, a, dev->threads);
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(para_arena_take(&dev->arena, plan_bytes(&plan, dev->threads), &scratch));
#pragma omp parallel num_threads(dev->threads)
    run_groups(simd, &all, &plan, scratch);
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
