/* Times single ops. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/bench.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/rng.h"
#include "parallel/world_state.h"
#include "pipeline/bench_rounds.h"

enum {
    CALLS = 20, /* of a recording */
    MAX_SETS = 8,    /* of buffers that calls take in turn */
    TENSORS = 4,     /* of a set, at most */
    DRAWN = 1 << 22, /* values at most, cut from at several places */
};
static const int64_t cold_bytes = 256 << 20;  /* of all sets together, if one is smaller: more than any cache */
static const int64_t scratch_bytes = 1 << 30; /* for what the ops take themselves */

typedef struct op_set {
    para_tensor t[TENSORS];
    para_linear layer;
} op_set;

typedef struct op_bench {
    const para_bench_op *op;
    para_rank *rank;
    para_device *dev;
    int sets, calls;
    int64_t drawn; /* values */
    op_set set[MAX_SETS];
    para_recording *recording;
    para_bench_rate *out;
} op_bench;

/* Shapes of a set's tensors; the last one is written. */
static int shapes(const para_bench_op *op, para_tensor *t) {
    const int64_t *s = op->size;
    para_dtype type = op->dtype;
    switch (op->kind) {
    case PARA_BENCH_LINEAR:
        t[0] = para_tensor_make(NULL, type, 2, (int64_t[]){s[0], s[2]});
        t[1] = para_tensor_make(NULL, type, 2, (int64_t[]){s[1], s[2]});
        t[2] = para_tensor_make(NULL, type, 2, (int64_t[]){s[0], s[1]});
        return 3;
    case PARA_BENCH_ATTENTION:
        t[0] = t[3] = para_tensor_make(NULL, type, 4, (int64_t[]){s[0], s[1], s[2], s[4]});
        t[1] = t[2] = para_tensor_make(NULL, type, 4, (int64_t[]){s[0], s[1], s[3], s[4]});
        return 4;
    case PARA_BENCH_COPY:
        t[0] = t[1] = para_tensor_make(NULL, type, 1, (int64_t[]){(s[0] - 1) / (int64_t)para_dtype_size(type) + 1});
        return 2;
    case PARA_BENCH_NORM:
        t[0] = t[3] = para_tensor_make(NULL, type, 2, s);
        t[1] = t[2] = para_tensor_make(NULL, PARA_F32, 1, &s[1]);
        return 4;
    case PARA_BENCH_HEAD:
        t[0] = para_tensor_make(NULL, type, 3, s);
        t[1] = para_tensor_make(NULL, PARA_F32, 1, &s[2]);
        t[2] = para_tensor_make(NULL, PARA_F32, 2, (int64_t[]){s[0], s[2]});
        t[3] = para_tensor_make(NULL, type, 3, (int64_t[]){s[1], s[0], s[2]});
        return 4;
    case PARA_BENCH_ACTIVATION: t[0] = t[1] = para_tensor_make(NULL, type, 2, s); return 2;
    case PARA_BENCH_MERGE:
        t[0] = t[2] = para_tensor_make(NULL, PARA_F32, 4, (int64_t[]){1, s[0], s[1], s[2]});
        t[1] = t[3] = para_tensor_make(NULL, PARA_F32, 3, (int64_t[]){1, s[0], s[1]});
        return 4;
    }
    return 0;
}

/* Bytes of all of a set's tensors, as they are counted where memory is what limits an op. */
static double moved_bytes(const para_bench_op *op) {
    para_tensor t[TENSORS];
    double bytes = 0;
    int n = shapes(op, t);
    if (op->kind == PARA_BENCH_LINEAR || op->kind == PARA_BENCH_ATTENTION) return 0;
    if (op->kind == PARA_BENCH_COPY) return 2.0 * (double)op->size[0];
    for (int i = 0; i < n; i++) {
        double one = (double)para_dtype_size(t[i].dtype);
        for (int k = 0; k < t[i].rank; k++) one *= (double)t[i].dim[k];
        bool vector = (op->kind == PARA_BENCH_NORM || op->kind == PARA_BENCH_HEAD) && (i == 1 || i == 2);
        bool twice = op->kind == PARA_BENCH_MERGE && i < 2; /* read and written */
        bytes += vector ? 0 : twice ? 2 * one : one;
    }
    return bytes;
}

static para_status check(const para_bench_op *op, int64_t *set_bytes) {
    static const int sizes[] = {[PARA_BENCH_LINEAR] = 3, [PARA_BENCH_ATTENTION] = 5,  [PARA_BENCH_COPY] = 1, [PARA_BENCH_NORM] = 2,
                                [PARA_BENCH_HEAD] = 3,   [PARA_BENCH_ACTIVATION] = 2, [PARA_BENCH_MERGE] = 3};
    bool right = op->kind >= PARA_BENCH_LINEAR && op->kind <= PARA_BENCH_MERGE &&
                 (op->dtype == PARA_F32 || op->dtype == PARA_BF16 || op->dtype == PARA_F16);
    for (int i = 0; right && i < sizes[op->kind]; i++)
        right = op->size[i] > 0 && op->size[i] <= (op->kind == PARA_BENCH_COPY ? INT64_C(1) << 40 : 1 << 24);
    if (!right) return para_fail(PARA_ERR_ARGUMENT, "an op is measured on sizes of 1 or more, in F32, BF16 or F16");
    para_tensor t[TENSORS];
    double bytes = 0;
    for (int i = shapes(op, t) - 1; i >= 0; i--) {
        double n = (double)para_dtype_size(t[i].dtype);
        for (int k = 0; k < t[i].rank; k++) n *= (double)t[i].dim[k];
        bytes += n + 512;
    }
    if (bytes > 0x1p42) return para_fail(PARA_ERR_ARGUMENT, "the op takes %.3g bytes, which no device has", bytes);
    *set_bytes = (int64_t)bytes;
    return PARA_OK;
}

static para_status call(const op_bench *b, const op_set *s) {
    const para_bench_op *op = b->op;
    switch (op->kind) {
    case PARA_BENCH_LINEAR:
        return b->dev->ops->linear(b->dev, &(para_linear_args){.x = s->t[0], .w = &s->layer, .y = s->t[2], .activation = op->gelu ? PARA_ACT_GELU_TANH : PARA_ACT_NONE});
    case PARA_BENCH_ATTENTION: {
        para_attention_args a = PARA_ATTENTION_ARGS_INIT;
        a.q = s->t[0], a.k = s->t[1], a.v = s->t[2], a.out = s->t[3];
        a.scale = (float)(1 / __builtin_sqrt((double)op->size[4]));
        a.causal = op->causal;
        return b->dev->ops->attention(b->dev, &a);
    }
    case PARA_BENCH_COPY: return b->dev->ops->copy(b->dev, s->t[1], s->t[0]);
    case PARA_BENCH_NORM:
        return b->dev->ops->norm(b->dev, &(para_norm_args){.kind = PARA_NORM_LAYER, .eps = 1e-6f, .x = s->t[0], .scale = s->t[1], .shift = s->t[2], .y = s->t[3]});
    case PARA_BENCH_HEAD:
        return b->dev->ops->heads(b->dev, 1, &(para_head_args){.x = s->t[0], .weight = s->t[1], .eps = 1e-6f, .cos = s->t[2], .sin = s->t[2], .rope_interleaved = true, .y = s->t[3]});
    case PARA_BENCH_ACTIVATION: return b->dev->ops->activate(b->dev, PARA_ACT_GELU_TANH, s->t[0], s->t[1]);
    case PARA_BENCH_MERGE:
        return b->dev->ops->attention_merge(b->dev, &(para_merge_args){.out = s->t[0], .lse = s->t[1], .part_out = s->t[2], .part_lse = s->t[3]});
    }
    return PARA_OK;
}

static para_status all_calls(op_bench *b) {
    if (b->recording) return b->dev->ops->play(b->dev, b->recording);
    for (int i = 0; i < b->calls; i++) PARA_TRY(call(b, &b->set[i % b->sets]));
    return PARA_OK;
}

static para_status wait(const op_bench *b) {
    char first[8];
    para_tensor one = b->set[0].t[0];
    one.rank = 0;
    return b->dev->ops->download(b->dev, first, &one);
}

/* Uploads values in pieces that begin at different places of those drawn. */
static para_status fill(const op_bench *b, para_tensor t, const char *drawn) {
    int64_t n = para_tensor_count(&t), size = (int64_t)para_dtype_size(t.dtype), piece = b->drawn / 2;
    for (int64_t at = 0, i = 0; at < n; at += piece, i++) {
        int64_t count = n - at < piece ? n - at : piece;
        para_tensor part = para_tensor_make((char *)t.data + at * size, t.dtype, 1, &count);
        PARA_TRY(b->dev->ops->upload(b->dev, part, drawn + i * 977 % piece * size));
    }
    return PARA_OK;
}

static para_status open_set(const op_bench *b, op_set *s, const char *drawn) {
    for (int i = shapes(b->op, s->t) - 1; i >= 0; i--) {
        PARA_TRY(para_new(b->dev, &s->t[i], s->t[i].dtype, s->t[i].rank, s->t[i].dim));
        PARA_TRY(fill(b, s->t[i], drawn));
    }
    s->layer = (para_linear){.weight = s->t[1]};
    return PARA_OK;
}

static para_status open_sets(op_bench *b) {
    para_rng *rng = para_alloc(1, sizeof *rng);
    const size_t size = para_dtype_size(b->op->dtype), values = (size_t)b->drawn * sizeof(float) / size; /* as many bytes as F32 tensors need */
    char *drawn = para_alloc(values, size);
    para_status status = rng && drawn ? PARA_OK : PARA_ERR_MEMORY;
    if (status == PARA_OK) {
        para_rng_seed(rng, PARA_RNG_CPU, 0);
        para_rng_normal(rng, drawn, b->op->dtype, (int64_t)values);
    }
    for (int i = 0; i < b->sets && status == PARA_OK; i++) status = open_set(b, &b->set[i], drawn);
    para_free(rng);
    para_free(drawn);
    return status;
}

static para_status play_once(void *user) {
    return all_calls(user);
}

static para_status wait_once(void *user) {
    return wait(user);
}

static para_status measure(op_bench *b) {
    const para_bench_op *op = b->op;
    para_rounds rounds = {b->rank, op->everywhere, op->quick, play_once, wait_once, b};
    double once, seconds;
    b->calls = 1;
    for (int i = 0; i < b->sets; i++) PARA_TRY(call(b, &b->set[i])); /* tunes, loads kernels */
    PARA_TRY(wait(b));
    PARA_TRY(para_rounds_once(&rounds, &once));
    bool records = b->dev->ops->record != NULL;
    int fit = once > 0 && once * CALLS > para_round_seconds(&rounds) ? (int)(para_round_seconds(&rounds) / once) + 1 : CALLS;
    b->calls = fit < CALLS ? fit : CALLS;
    if (records) {
        PARA_TRY(b->dev->ops->record(b->dev, false));
        para_status status = all_calls(b);
        PARA_TRY(b->dev->ops->record_end(b->dev, status == PARA_OK ? &b->recording : NULL));
        PARA_TRY(status);
    }
    PARA_TRY(para_rounds_median(&rounds, &seconds));
    if (b->rank->index == 0) b->out->ms = 1e3 * seconds / b->calls;
    return PARA_OK;
}

static para_status run_on(op_bench *b) {
    int64_t set_bytes = 0, most = 512;
    para_tensor t[TENSORS];
    PARA_TRY(check(b->op, &set_bytes));
    int64_t sets = cold_bytes / set_bytes + 1;
    b->sets = sets < 2 ? 2 : sets > MAX_SETS ? MAX_SETS : (int)sets;
    for (int i = shapes(b->op, t) - 1; i >= 0; i--)
        if (para_tensor_count(&t[i]) > most) most = para_tensor_count(&t[i]);
    b->drawn = most < DRAWN / 2 ? 2 * most : DRAWN;
    PARA_TRY(para_device_reserve(b->dev, (size_t)(b->sets * set_bytes + scratch_bytes)));
    bool tunes = b->dev->tunes;
    b->dev->tunes = true;
    para_status status = open_sets(b);
    if (status == PARA_OK) status = measure(b);
    if (b->recording) b->dev->ops->recording_close(b->dev, &b->recording);
    b->dev->tunes = tunes;
    para_arena_release(&b->dev->arena, 0);
    return status;
}

/* What is to be measured, for all ranks. */
typedef struct wanted {
    const para_bench_op *op;
    para_bench_rate *out;
} wanted;

static para_status on_rank(para_rank *rank, void *user) {
    const wanted *w = user;
    if (rank->index != 0 && !w->op->everywhere) return PARA_OK;
    op_bench *b = para_alloc(1, sizeof *b);
    if (!b) return PARA_ERR_MEMORY;
    b->op = w->op;
    b->out = w->out;
    b->rank = rank;
    b->dev = rank->device;
    para_status status = run_on(b);
    para_free(b);
    return status;
}

/* Multiply-adds count twice; of a causal attention those that are seen. */
static double flops_of(const para_bench_op *op) {
    const int64_t *s = op->size;
    if (op->kind == PARA_BENCH_LINEAR) return 2.0 * (double)s[0] * (double)s[1] * (double)s[2];
    if (op->kind != PARA_BENCH_ATTENTION) return 0;
    double seen = (double)s[2] * (double)s[3], few = (double)(s[2] < s[3] ? s[2] : s[3]);
    if (op->causal) seen = few * (few + 1) / 2 + (s[2] > s[3] ? (double)(s[2] - s[3]) * (double)s[3] : 0);
    return 4.0 * (double)s[0] * (double)s[1] * (double)s[4] * seen;
}

para_status para_bench_run_op(para_world *world, const para_bench_op *op, para_bench_rate *out) {
    if (!world || !op || !out)
        return para_fail(PARA_ERR_ARGUMENT, "para_bench_run_op: world, op and out must not be NULL");
    wanted w = {op, out};
    *out = (para_bench_rate){.flops = flops_of(op), .bytes = moved_bytes(op)};
    para_status status = para_world_take(world, NULL);
    if (status != PARA_OK) return status;
    status = para_world_run_internal(world, on_rank, &w);
    para_world_release(world);
    return status;
}
