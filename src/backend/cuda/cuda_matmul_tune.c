/* Timing what cuBLASLt proposes for a product. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_matmul_tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda_kernels.h"
#include "core/clock.h"

/* All candidates take turns, the first round to load them. Those that are not far behind then run for a while each, several times: a model's steps are at the GPU's
 * power limit, where what counts is the energy that a kernel takes, and the fastest of a few calls may be among the slowest of many. */
enum { CANDIDATES = 32, ROUNDS = 4, FINALISTS = 5, LONG_RUNS = 3 };
enum { MOST_SETS = 16, TRIAL_BYTES = 1 << 30 };
static const double WORTH_SECONDS = 20e-6; /* products that take less are left as they are */
static const float NEAR = 1.08f;           /* of the best time: who stays */
static const float LONG_MS = 30;           /* of a run that is timed, after half as much that is not */
static const float GAIN = 0.98f;           /* of the proposal's time: what is not faster than that is no choice but noise */

typedef struct candidate {
    cublasLtMatmulAlgo_t algorithm;
    float ms[ROUNDS];
    int runs;
    bool fails;
    float median;
} candidate;

typedef struct trial {
    para_device *dev;
    const para_cuda_lt *lt;
    const para_product_plan *plan;
    candidate all[CANDIDATES];
    int count;
    char *memory; /* operands, several of each, so that none is found in the cache: [sets] of x, w, y; then a bias */
    int sets, next;
    size_t bytes, x_bytes, w_bytes, y_bytes; /* of it, and of one of each */
    cudaEvent_t event[CANDIDATES + 1];
} trial;

/* About what it takes at the least. */
static double least_seconds(const para_cuda *cuda, const para_product_key *key) {
    double rate = (key->in == PARA_F32 ? 0.4e12 : 6e12) * cuda->processors, bandwidth = 4e12;
    double size = (double)para_dtype_size((para_dtype)key->in), batch = (double)key->batch, m = (double)key->m, n = (double)key->n, k = (double)key->k;
    return fmax(2 * m * n * k * batch / rate, (m * k + n * k) * batch * size / bandwidth);
}

/* ---- Operands */

static size_t span(int64_t rows, int64_t columns, int64_t row, int64_t batch, int64_t step, int32_t type) {
    int64_t elements = (batch - 1) * step + (rows - 1) * row + columns;
    return ((size_t)elements * para_dtype_size((para_dtype)type) + 255) / 256 * 256;
}

static size_t bias_bytes(const para_product_key *key) {
    return (size_t)key->n * para_dtype_size((para_dtype)key->out);
}

/* False where they would be too large, or there is no memory for them now. */
static bool make_operands(trial *t) {
    const para_product_key *k = &t->plan->key;
    cudaStream_t stream = para_cuda_of(t->dev)->stream;
    int cache = 0;
    if (cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, para_cuda_of(t->dev)->index) != cudaSuccess) return false;
    t->x_bytes = span(k->m, k->k, k->x_row, k->batch, k->x_batch, k->in);
    t->w_bytes = span(k->turned ? k->k : k->n, k->turned ? k->n : k->k, k->w_row, k->batch, k->w_batch, k->in);
    t->y_bytes = span(k->m, k->n, k->y_row, k->batch, k->y_batch, k->out);
    size_t set = t->x_bytes + t->w_bytes + t->y_bytes, wanted = 3 * (size_t)cache / set + 1;
    if (set > TRIAL_BYTES) return false;
    t->sets = wanted < MOST_SETS ? (int)wanted : MOST_SETS;
    t->bytes = (size_t)t->sets * set + bias_bytes(k);
    if (para_cuda_take(t->dev, t->bytes, (void **)&t->memory) != PARA_OK) return false;
    for (int i = 0; i < t->sets; i++) {
        char *at = t->memory + (size_t)i * set;
        para_cuda_launch_noise(at, (para_dtype)k->in, (int64_t)((t->x_bytes + t->w_bytes) / para_dtype_size((para_dtype)k->in)), stream);
        para_cuda_launch_noise(at + t->x_bytes + t->w_bytes, (para_dtype)k->out, (int64_t)(t->y_bytes / para_dtype_size((para_dtype)k->out)), stream);
    }
    para_cuda_launch_noise(t->memory + (size_t)t->sets * set, (para_dtype)k->out, k->n, stream);
    return cudaGetLastError() == cudaSuccess;
}

/* ---- Candidates */

static void add_candidates(trial *t, size_t workspace) {
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int count;
    if (para_cuda_propose(t->lt, t->plan, workspace, CANDIDATES, found, &count) != CUBLAS_STATUS_SUCCESS) return;
    for (int i = 0; i < count && t->count < CANDIDATES; i++) {
        bool known = found[i].state != CUBLAS_STATUS_SUCCESS || found[i].workspaceSize > PARA_LT_WORKSPACE;
        for (int j = 0; j < t->count && !known; j++) known = memcmp(&t->all[j].algorithm, &found[i].algo, sizeof found[i].algo) == 0;
        if (!known) t->all[t->count++].algorithm = found[i].algo;
    }
}

static bool multiply(trial *t, const cublasLtMatmulAlgo_t *algorithm) {
    const para_product_plan *p = t->plan;
    float one = 1, beta = p->key.accumulate ? 1 : 0;
    char *x = t->memory + (size_t)(t->next++ % t->sets) * (t->x_bytes + t->w_bytes + t->y_bytes), *w = x + t->x_bytes, *y = w + t->w_bytes;
    return cublasLtMatmul(t->lt->handle, p->product, &one, w, p->w, x, p->x, &beta, y, p->y, y, p->y, algorithm, t->lt->workspace, PARA_LT_WORKSPACE,
                          para_cuda_of(t->dev)->stream) == CUBLAS_STATUS_SUCCESS;
}

/* Every candidate once, each time another first. */
static para_status run_round(trial *t, int round) {
    cudaStream_t stream = para_cuda_of(t->dev)->stream;
    if (t->dev->check) PARA_TRY(t->dev->check(t->dev->check_user));
    for (int i = 0; i < t->count; i++) {
        candidate *c = &t->all[(i + round) % t->count];
        CUDA_TRY(cudaEventRecord(t->event[i], stream), "time a product");
        c->fails = !multiply(t, &c->algorithm) || c->fails;
    }
    CUDA_TRY(cudaEventRecord(t->event[t->count], stream), "time a product");
    CUDA_TRY(cudaEventSynchronize(t->event[t->count]), "time a product");
    for (int i = 0; i < t->count; i++) {
        candidate *c = &t->all[(i + round) % t->count];
        CUDA_TRY(cudaEventElapsedTime(&c->ms[c->runs++], t->event[i], t->event[i + 1]), "time a product");
    }
    return PARA_OK;
}

static int by_time(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int by_median(const void *a, const void *b) {
    return by_time(&((const candidate *)a)->median, &((const candidate *)b)->median);
}

/* The fastest first. */
static void rank(trial *t) {
    for (int i = 0; i < t->count; i++) {
        candidate *c = &t->all[i];
        qsort(c->ms, (size_t)c->runs, sizeof *c->ms, by_time);
        c->median = c->fails ? INFINITY : c->ms[c->runs / 2];
        c->runs = 0;
    }
    qsort(t->all, (size_t)t->count, sizeof *t->all, by_median);
}

static bool is_proposal(const trial *t, const candidate *c) {
    return memcmp(&c->algorithm, &t->plan->proposed, sizeof c->algorithm) == 0;
}

/* The finalists; the proposal is one of them. */
static void cut(trial *t) {
    int left = 1;
    while (left < t->count && left < FINALISTS && t->all[left].median <= NEAR * t->all[0].median) left++;
    for (int i = left; i < t->count; i++)
        if (is_proposal(t, &t->all[i])) t->all[left++] = t->all[i];
    t->count = left;
}

static para_status run_long(trial *t, candidate *c) {
    cudaStream_t stream = para_cuda_of(t->dev)->stream;
    int calls = (int)(LONG_MS / c->median) + 1;
    if (t->dev->check) PARA_TRY(t->dev->check(t->dev->check_user));
    for (int i = 0; i < calls + calls / 2; i++) {
        if (i == calls / 2) CUDA_TRY(cudaEventRecord(t->event[0], stream), "time a product");
        c->fails = !multiply(t, &c->algorithm) || c->fails;
    }
    CUDA_TRY(cudaEventRecord(t->event[1], stream), "time a product");
    CUDA_TRY(cudaEventSynchronize(t->event[1]), "time a product");
    CUDA_TRY(cudaEventElapsedTime(&c->ms[c->runs], t->event[0], t->event[1]), "time a product");
    c->ms[c->runs++] /= (float)calls;
    return PARA_OK;
}

static para_status find_fastest(trial *t, const candidate **fastest, float *before) {
    add_candidates(t, PARA_LT_WORKSPACE);
    add_candidates(t, 0);
    for (int i = 0; i <= t->count; i++) CUDA_TRY(cudaEventCreate(&t->event[i]), "create an event");
    for (int i = 0; i < ROUNDS; i++) {
        PARA_TRY(run_round(t, i));
        if (i == 0)
            for (int j = 0; j < t->count; j++) t->all[j].runs = 0;
    }
    rank(t);
    cut(t);
    for (int i = 0; i < LONG_RUNS * t->count && t->count > 1; i++) PARA_TRY(run_long(t, &t->all[i % t->count]));
    if (t->count > 1) rank(t);
    *fastest = &t->all[0];
    for (int i = 0; i < t->count; i++)
        if (is_proposal(t, &t->all[i])) {
            *before = t->all[i].median;
            if (t->all[0].median > GAIN * *before) *fastest = &t->all[i];
        }
    return PARA_OK;
}

static para_status run_trial(para_device *dev, const para_cuda_lt *lt, para_product_plan *plan, bool *done) {
    const para_product_key *k = &plan->key;
    trial t = {.dev = dev, .lt = lt, .plan = plan};
    const candidate *fastest = NULL;
    float before = 0;
    double start = para_seconds();
    para_status status = PARA_OK;
    *done = make_operands(&t);
    if (*done && k->bias) {
        const char *bias = t.memory + (size_t)t.sets * (t.x_bytes + t.w_bytes + t.y_bytes);
        *done = cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias) == CUBLAS_STATUS_SUCCESS;
    }
    if (*done) status = find_fastest(&t, &fastest, &before);
    if (*done && status == PARA_OK && !fastest->fails) {
        plan->fastest = fastest->algorithm;
        para_device_note(dev, PARA_LOG_INFO, "tuned a product of %lld x %lld x %lld: %.1f us, %.1f as proposed, %.2f s", (long long)k->m,
                         (long long)k->n, (long long)k->k, 1e3 * (double)fastest->median, 1e3 * (double)before, para_seconds() - start);
    }
    for (int i = 0; i <= CANDIDATES; i++)
        if (t.event[i]) cudaEventDestroy(t.event[i]);
    para_cuda_give(dev, t.memory, t.bytes); /* waits for what still uses it */
    return status;
}

/* A kept choice, where cuBLASLt takes it. */
static bool is_known(const para_cuda_lt *lt, const para_choices *choices, para_product_plan *plan) {
    size_t bytes = 0;
    const void *kept = para_choices_find(choices, "product", &plan->key, sizeof plan->key, &bytes);
    cublasLtMatmulAlgo_t algorithm;
    cublasLtMatmulHeuristicResult_t result;
    if (!kept || bytes != sizeof algorithm) return false;
    memcpy(&algorithm, kept, sizeof algorithm);
    if (cublasLtMatmulAlgoCheck(lt->handle, plan->product, plan->w, plan->x, plan->y, plan->y, &algorithm, &result) != CUBLAS_STATUS_SUCCESS ||
        result.workspaceSize > PARA_LT_WORKSPACE)
        return false;
    plan->fastest = algorithm;
    return true;
}

para_status para_cuda_tune(para_device *dev, const para_cuda_lt *lt, para_product_plan *plan) {
    para_choices *choices;
    bool done;
    plan->fastest = plan->proposed;
    if (least_seconds(para_cuda_of(dev), &plan->key) >= WORTH_SECONDS) {
        PARA_TRY(para_cuda_choices(dev, &choices));
        if (!is_known(lt, choices, plan)) {
            PARA_TRY(run_trial(dev, lt, plan, &done));
            if (done) {
                PARA_TRY(para_choices_add(choices, "product", &plan->key, sizeof plan->key, &plan->fastest, sizeof plan->fastest));
                is_known(lt, choices, plan); /* another process, or another GPU's thread, may have been first */
            }
        }
    }
    plan->tuned = true;
    return PARA_OK;
}
