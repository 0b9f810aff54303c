/* Attention problems from formulas: what any rank holds of them, and what one rank makes of them. SPDX-License-Identifier: Apache-2.0
 *
 * tools/reference/attention_vectors.py computes the same values. */
#ifndef PARA_TESTS_ATTENTION_PROBLEM_H
#define PARA_TESTS_ATTENTION_PROBLEM_H

#include <math.h>
#include <paraattn/attention.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/float.h"

typedef enum mask_kind {
    MASK_NONE,
    MASK_KEYS,     /* key padding, BOOL [B, 1, 1, keys] */
    MASK_BOOL,     /* BOOL [1, 1, Sq, keys] */
    MASK_ADDED,    /* F32 [1, 1, Sq, keys] */
    MASK_HEADS,    /* F32 [1, H, Sq, keys]; one row for all queries where that would be large */
    MASK_SEGMENTS, /* two segments, the end of the text's keys hidden: BOOL [B, 1, 1, keys] */
    MASK_KINDS
} mask_kind;

static const char *const mask_names[] = {"none", "keys", "bool", "added", "heads", "segments"};

typedef struct problem {
    int64_t b, h, hkv, sq, skv, d, dv;
    int64_t text_q, text_kv; /* of them in the second segment */
    bool causal, in_batch;
    int64_t causal_offset;
    mask_kind mask;
    para_dtype dtype;  /* of q, k, v */
    para_dtype inputs; /* that the values are rounded to */
} problem;

/* splitmix64's finish */
static inline uint64_t scramble(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in [-2, 2) with 24 bits. what: 0 to 2 the operands, 3 an added mask. */
static inline float value_at(int what, int64_t b, int64_t h, int64_t s, int64_t d) {
    uint64_t index =
        ((((uint64_t)what * 16 + (uint64_t)b) * 64 + (uint64_t)h) * 8192 + (uint64_t)s) * 8192 + (uint64_t)d;
    return (float)((int32_t)(scramble(index) >> 40) - (1 << 23)) / (float)(1 << 22);
}

/* Whole numbers below 2^16. */
static inline int random_at(int what, int64_t i, int64_t j) {
    return (int)(scramble(((uint64_t)what * 8192 + (uint64_t)i) * 8192 + (uint64_t)j) >> 48);
}

enum { SAY_HIDES = 16, SAY_COLUMN, SAY_ELEMENT };

/* Whether the mask hides key j from query i; in the kinds with rows, some keys are hidden from all and some queries see none. */
static inline bool hides(const problem *p, int64_t b, int64_t i, int64_t j) {
    switch (p->mask) {
    case MASK_KEYS: return random_at(SAY_HIDES, b, j) % 4 == 0;
    case MASK_SEGMENTS: return j >= p->skv - p->text_kv + (b + 1) * p->text_kv / 3;
    case MASK_BOOL: return random_at(SAY_COLUMN, 0, j) % 8 == 0 || i % 7 == 3 || random_at(SAY_ELEMENT, i, j) % 3 == 0;
    case MASK_ADDED:
    case MASK_HEADS: return random_at(SAY_COLUMN, 0, j) % 8 == 0 || random_at(SAY_ELEMENT, i, j) % 5 == 0;
    default: return false;
    }
}

static inline bool mask_is_bool(const problem *p) {
    return p->mask == MASK_KEYS || p->mask == MASK_BOOL || p->mask == MASK_SEGMENTS;
}

static inline bool mask_has_rows(const problem *p) {
    bool large = p->mask == MASK_HEADS && p->h * p->sq * p->skv > 1 << 22;
    return p->mask == MASK_BOOL || p->mask == MASK_ADDED || (p->mask == MASK_HEADS && !large);
}

/* Which tokens a tensor holds: of two segments a run each, by their number in the whole. */
typedef struct held {
    int64_t first[2], count[2];
} held;

static inline held held_all(int64_t tokens) {
    return (held){{0, tokens}, {tokens, 0}};
}

static inline int64_t held_tokens(const held *t) {
    return t->count[0] + t->count[1];
}

static inline int64_t held_token(const held *t, int64_t row) {
    return row < t->count[0] ? t->first[0] + row : t->first[1] + row - t->count[0];
}

static inline char *element(const para_tensor *t, int64_t b, int64_t h, int64_t s, int64_t d) {
    return (char *)t->data + (b * t->stride[0] + h * t->stride[1] + s * t->stride[2] + d * t->stride[3]) *
                                 (int64_t)para_dtype_size(t->dtype);
}

/* Writes an operand [B, H, S, D]. Of a batch taken together (B = 1 there), tokens are those of the first entry, then of the second … */
static inline void fill_operand(const problem *p, int what, const held *tokens, para_tensor t) {
    float row[512];
    int64_t each = what == 0 ? p->sq : p->skv;
    bool joined = p->in_batch && t.dim[0] == 1 && p->b > 1;
    for (int64_t b = 0; b < t.dim[0]; b++)
        for (int64_t h = 0; h < t.dim[1]; h++)
            for (int64_t s = 0; s < t.dim[2]; s++) {
                int64_t token = held_token(tokens, s);
                for (int64_t d = 0; d < t.dim[3]; d++) {
                    float x = value_at(what, joined ? token / each : b, h, joined ? token % each : token, d);
                    row[d] = p->inputs == PARA_BF16  ? para_bf16_to_f32(para_f32_to_bf16(x))
                             : p->inputs == PARA_F16 ? para_f16_to_f32(para_f32_to_f16(x))
                                                     : x;
                }
                para_floats_from_f32(element(&t, b, h, s, 0), t.dtype, row, t.dim[3]);
            }
}

/* Writes a mask [B | 1, H | 1, Sq | 1, keys]. */
static inline void fill_mask(const problem *p, const held *queries, const held *keys, para_tensor t) {
    bool joined = p->in_batch && t.dim[0] == 1 && p->b > 1;
    for (int64_t b = 0; b < t.dim[0]; b++)
        for (int64_t h = 0; h < t.dim[1]; h++)
            for (int64_t s = 0; s < t.dim[2]; s++)
                for (int64_t n = 0; n < t.dim[3]; n++) {
                    int64_t i = mask_has_rows(p) ? held_token(queries, s) : 0, j = held_token(keys, n),
                            entry = joined ? j / p->skv : b, key = joined ? j % p->skv : j;
                    bool hidden = hides(p, entry, i, key);
                    float x = hidden ? -INFINITY : value_at(3, 0, h, i, key);
                    if (mask_is_bool(p)) *element(&t, b, h, s, n) = !hidden;
                    else memcpy(element(&t, b, h, s, n), &x, 4);
                }
}

/* A result of all tokens on the host. */
typedef struct answer {
    float *out;  /* [B, H, Sq, Dv] */
    float *lse;  /* [B, H, Sq] */
    bool *there; /* [Sq]: rows that a rank of this process has written */
} answer;

static inline int64_t answer_rows(const problem *p) {
    return p->b * p->h * p->sq;
}

static inline answer answer_open(const problem *p) {
    return (answer){malloc((size_t)(answer_rows(p) * p->dv + 1) * sizeof(float)),
                    malloc((size_t)(answer_rows(p) + 1) * sizeof(float)), calloc((size_t)p->sq + 1, sizeof(bool))};
}

static inline void answer_close(answer *a) {
    free(a->out);
    free(a->lse);
    free(a->there);
    *a = (answer){0};
}

/* Keeps the rows of the tokens held. */
static inline void answer_write(const problem *p, answer *a, const held *tokens, para_tensor out, para_tensor lse) {
    bool joined = p->in_batch && out.dim[0] == 1 && p->b > 1;
    for (int64_t b = 0; b < out.dim[0]; b++)
        for (int64_t h = 0; h < out.dim[1]; h++)
            for (int64_t s = 0; s < out.dim[2]; s++) {
                int64_t token = held_token(tokens, s), entry = joined ? token / p->sq : b,
                        row = (entry * p->h + h) * p->sq + (joined ? token % p->sq : token);
                para_floats_to_f32(a->out + row * p->dv, element(&out, b, h, s, 0), out.dtype, p->dv);
                if (lse.data) a->lse[row] = *(float *)(void *)element(&lse, b, h, s, 0);
                a->there[joined ? token % p->sq : token] = true;
            }
}

/* One rank, no mode: the whole problem on the device. A batch taken together is one entry of all its tokens. */
typedef struct one_rank {
    const problem *p;
    answer answer;
} one_rank;

static inline para_status one_rank_body(para_rank *rank, void *user) {
    one_rank *o = user;
    const problem *p = o->p;
    int64_t join = p->in_batch ? p->b : 1, b = p->b / join;
    held queries = held_all(join * p->sq), keys = held_all(join * p->skv);
    para_attention_args a = PARA_ATTENTION_ARGS_INIT;
    PARA_TRY(para_rank_tensor(rank, &a.q, p->dtype, 4, (int64_t[]){b, p->h, join * p->sq, p->d}));
    PARA_TRY(para_rank_tensor(rank, &a.k, p->dtype, 4, (int64_t[]){b, p->hkv, join * p->skv, p->d}));
    PARA_TRY(para_rank_tensor(rank, &a.v, p->dtype, 4, (int64_t[]){b, p->hkv, join * p->skv, p->dv}));
    PARA_TRY(para_rank_tensor(rank, &a.out, p->dtype, 4, (int64_t[]){b, p->h, join * p->sq, p->dv}));
    PARA_TRY(para_rank_tensor(rank, &a.lse, PARA_F32, 3, (int64_t[]){b, p->h, join * p->sq}));
    fill_operand(p, 0, &queries, a.q);
    fill_operand(p, 1, &keys, a.k);
    fill_operand(p, 2, &keys, a.v);
    if (p->mask != MASK_NONE) {
        int64_t dim[] = {p->mask == MASK_KEYS || p->mask == MASK_SEGMENTS ? b : 1, p->mask == MASK_HEADS ? p->h : 1,
                         mask_has_rows(p) ? p->sq : 1, join * p->skv};
        PARA_TRY(para_rank_tensor(rank, &a.mask, mask_is_bool(p) ? PARA_BOOL : PARA_F32, 4, dim));
        fill_mask(p, &queries, &keys, a.mask);
    }
    a.causal = p->causal;
    a.causal_offset = p->causal_offset;
    PARA_TRY(para_attention(rank, &a));
    answer_write(p, &o->answer, &queries, a.out, a.lse);
    return PARA_OK;
}

/* Relative L2 error of the rows that are there; infinities must agree. */
static inline double answer_error(const problem *p, const answer *got, const answer *want, double *lse_error) {
    double off = 0, size = 0, lse_off = 0, lse_size = 0;
    for (int64_t row = 0; row < answer_rows(p); row++) {
        if (!got->there[row % p->sq]) continue;
        float g = got->lse[row], w = want->lse[row];
        if (g != w) lse_off += isfinite(g) && isfinite(w) ? ((double)g - w) * ((double)g - w) : INFINITY;
        if (isfinite(w)) lse_size += (double)w * w;
        for (int64_t i = row * p->dv; i < (row + 1) * p->dv; i++) {
            double x = (double)got->out[i] - want->out[i];
            off += isnan(x) ? INFINITY : x * x;
            size += (double)want->out[i] * want->out[i];
        }
    }
    *lse_error = lse_off > 0 ? sqrt(lse_off / lse_size) : 0;
    return off > 0 ? sqrt(off / size) : 0;
}

#endif
