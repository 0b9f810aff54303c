/* Matrix products by cuBLASLt: one description and one choice of kernel for each kind of product, kept. SPDX-License-Identifier: Apache-2.0
 *
 * cuBLASLt is column-major: a row-major y = x · wᵀ is its yᵀ = w · xᵀ, with A = w, B = x, D = y. */
#include "backend/cuda/cuda_matmul_tune.h"

#include <string.h>

#include "core/alloc.h"
#include "core/hash.h"

enum { FIRST_SLOTS = 256 };

struct para_cuda_matmuls {
    para_cuda_lt lt;
    para_product_plan **slots; /* a hash table; NULL: free */
    size_t room, count;
};

static para_status checked(cublasStatus_t status, const char *doing) {
    if (status == CUBLAS_STATUS_SUCCESS) return PARA_OK;
    return para_fail(PARA_ERR_LIBRARY, "cuBLASLt failed to %s: %s", doing, cublasLtGetStatusString(status));
}
#define LT_TRY(call, doing) PARA_TRY(checked((call), (doing)))

static cudaDataType_t type_of(para_dtype type) {
    return type == PARA_BF16 ? CUDA_R_16BF : type == PARA_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* Of all the products of a batch, in bytes. */
static uint32_t alignment(const void *p, int64_t step, para_dtype type) {
    uintptr_t bits = (uintptr_t)p | (uintptr_t)step * para_dtype_size(type);
    uint32_t low = (uint32_t)(bits & (~bits + 1));
    return low == 0 || low > 256 ? 256 : low;
}

static para_product_key key_of(const para_cuda_product *p) {
    para_product_key key;
    memset(&key, 0, sizeof key);
    key.m = p->m, key.n = p->n, key.k = p->k;
    key.x_row = p->m > 1 ? p->x_row : p->k, key.y_row = p->m > 1 ? p->y_row : p->n;
    key.w_row = (p->turned ? p->k : p->n) > 1 ? p->w_row : p->turned ? p->n : p->k;
    key.batch = p->batch, key.x_batch = p->x_batch, key.w_batch = p->w_batch, key.y_batch = p->y_batch;
    key.in = (int32_t)p->in, key.out = (int32_t)p->out, key.turned = p->turned, key.accumulate = p->accumulate;
    key.epilogue = (int32_t)p->epilogue, key.bias = p->bias != NULL;
    key.x_align = alignment(p->x, p->x_batch, p->in), key.w_align = alignment(p->w, p->w_batch, p->in);
    key.y_align = alignment(p->y, p->y_batch, p->out);
    return key;
}

static size_t slot_of(const para_cuda_matmuls *l, const para_product_key *key) {
    uint64_t hash = para_hash(PARA_HASH_START, key, sizeof *key);
    size_t at = (size_t)(hash ^ hash >> 32) % l->room;
    while (l->slots[at] && memcmp(&l->slots[at]->key, key, sizeof *key) != 0) at = (at + 1) % l->room;
    return at;
}

static para_status make_room(para_cuda_matmuls *l) {
    if (l->count * 2 < l->room) return PARA_OK;
    para_cuda_matmuls larger = *l;
    larger.room = l->room ? 2 * l->room : FIRST_SLOTS;
    larger.slots = para_alloc(larger.room, sizeof *larger.slots);
    if (!larger.slots) return PARA_ERR_MEMORY;
    for (size_t i = 0; i < l->room; i++)
        if (l->slots[i]) larger.slots[slot_of(&larger, &l->slots[i]->key)] = l->slots[i];
    para_free(l->slots);
    *l = larger;
    return PARA_OK;
}

static void free_plan(para_product_plan *plan) {
    if (plan->product) cublasLtMatmulDescDestroy(plan->product);
    if (plan->w) cublasLtMatrixLayoutDestroy(plan->w);
    if (plan->x) cublasLtMatrixLayoutDestroy(plan->x);
    if (plan->y) cublasLtMatrixLayoutDestroy(plan->y);
    para_free(plan);
}

#define SET(desc, attribute, value)                                                                                    \
    LT_TRY(cublasLtMatmulDescSetAttribute((desc), (attribute), &(value), sizeof(value)), "describe a matrix product")

static para_status make_layout(cublasLtMatrixLayout_t *out, para_dtype type, int64_t columns, int64_t rows, int64_t row, int64_t batch,
                               int64_t step) {
    int32_t count = (int32_t)batch;
    LT_TRY(cublasLtMatrixLayoutCreate(out, type_of(type), (uint64_t)columns, (uint64_t)rows, row), "describe a matrix");
    if (batch == 1) return PARA_OK;
    LT_TRY(cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count), "describe a matrix");
    LT_TRY(cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step), "describe a matrix");
    return PARA_OK;
}

static para_status describe(para_product_plan *plan) {
    static const cublasLtEpilogue_t plain[] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_GELU},
                                    biased[] = {CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS};
    const para_product_key *key = &plan->key;
    cublasOperation_t turn = key->turned ? CUBLAS_OP_N : CUBLAS_OP_T;
    cublasLtEpilogue_t epilogue = (key->bias ? biased : plain)[key->epilogue];
    cudaDataType_t bias = type_of((para_dtype)key->out);
    LT_TRY(cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describe a matrix product");
    SET(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, turn);
    SET(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (key->bias) SET(plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, bias);
    int64_t w_columns = key->turned ? key->n : key->k, w_rows = key->turned ? key->k : key->n;
    PARA_TRY(make_layout(&plan->w, (para_dtype)key->in, w_columns, w_rows, key->w_row, key->batch, key->w_batch));
    PARA_TRY(make_layout(&plan->x, (para_dtype)key->in, key->k, key->m, key->x_row, key->batch, key->x_batch));
    return make_layout(&plan->y, (para_dtype)key->out, key->n, key->m, key->y_row, key->batch, key->y_batch);
}

cublasStatus_t para_cuda_propose(const para_cuda_lt *lt, const para_product_plan *plan, size_t workspace, int room,
                                 cublasLtMatmulHeuristicResult_t *out, int *count) {
    const para_product_key *key = &plan->key;
    /* Parts of a sum are added up in float32, in a fixed order. */
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    cublasLtMatmulPreference_t preference = NULL;
    *count = 0;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);
#define PREFER(attribute, value)                                                                                       \
    if (status == CUBLAS_STATUS_SUCCESS)                                                                               \
    status = cublasLtMatmulPreferenceSetAttribute(preference, (attribute), &(value), sizeof(value))
    PREFER(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
    PREFER(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes);
    PREFER(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key->w_align);
    PREFER(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key->x_align);
    PREFER(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key->y_align);
    PREFER(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key->y_align);
#undef PREFER
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(lt->handle, plan->product, plan->w, plan->x, plan->y, plan->y, preference, room, out, count);
    if (preference) cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

static para_status choose(const para_cuda_lt *lt, para_product_plan *plan) {
    const para_product_key *key = &plan->key;
    cublasLtMatmulHeuristicResult_t found;
    int count;
    cublasStatus_t status = para_cuda_propose(lt, plan, PARA_LT_WORKSPACE, 1, &found, &count);
    if (status != CUBLAS_STATUS_SUCCESS || count == 0)
        return para_fail(PARA_ERR_LIBRARY,
                         "cuBLASLt has no kernel for a product of %lld x %lld x %lld (types %s and %s, rows %lld, %lld and %lld elements apart, at "
                         "multiples of %u, %u and %u bytes): %s",
                         (long long)key->m, (long long)key->n, (long long)key->k, para_dtype_name((para_dtype)key->in),
                         para_dtype_name((para_dtype)key->out), (long long)key->x_row, (long long)key->w_row, (long long)key->y_row, key->x_align,
                         key->w_align, key->y_align, cublasLtGetStatusString(status));
    plan->proposed = found.algo;
    return PARA_OK;
}

static para_status find(para_cuda_matmuls *l, const para_product_key *key, para_product_plan **out) {
    PARA_TRY(make_room(l));
    size_t at = slot_of(l, key);
    if (!l->slots[at]) {
        para_product_plan *plan = para_alloc(1, sizeof *plan);
        if (!plan) return PARA_ERR_MEMORY;
        plan->key = *key;
        para_status status = describe(plan);
        if (status == PARA_OK) status = choose(&l->lt, plan);
        if (status != PARA_OK) {
            free_plan(plan);
            return status;
        }
        l->slots[at] = plan;
        l->count++;
    }
    *out = l->slots[at];
    return PARA_OK;
}

/* Not while ops are recorded: what is tried would be recorded, too. */
static para_status make_fast(para_device *dev, const para_cuda_lt *lt, para_product_plan *plan) {
    enum cudaStreamCaptureStatus recording;
    CUDA_TRY(cudaStreamIsCapturing(para_cuda_of(dev)->stream, &recording), "look at the stream");
    return recording == cudaStreamCaptureStatusNone ? para_cuda_tune(dev, lt, plan) : PARA_OK;
}

para_status para_cuda_multiply(para_device *dev, const para_cuda_product *p) {
    para_cuda *cuda = para_cuda_of(dev);
    para_cuda_matmuls *l = cuda->matmuls;
    float one = 1, beta = p->accumulate ? 1 : 0;
    para_product_key key = key_of(p);
    para_product_plan *plan;
    PARA_TRY(find(l, &key, &plan));
    if (dev->tunes && !plan->tuned) PARA_TRY(make_fast(dev, &l->lt, plan));
    if (p->bias) SET(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->bias);
    LT_TRY(cublasLtMatmul(l->lt.handle, plan->product, &one, p->w, plan->w, p->x, plan->x, &beta, p->y, plan->y, p->y, plan->y,
                          dev->tunes && plan->tuned ? &plan->fastest : &plan->proposed, l->lt.workspace, PARA_LT_WORKSPACE, cuda->stream),
           "multiply matrices");
    return PARA_OK;
}

para_status para_cuda_matmuls_open(para_cuda *cuda) {
    para_cuda_matmuls *l = cuda->matmuls = para_alloc(1, sizeof *l);
    if (!l) return PARA_ERR_MEMORY;
    LT_TRY(cublasLtCreate(&l->lt.handle), "start");
    CUDA_TRY(cudaMalloc(&l->lt.workspace, PARA_LT_WORKSPACE), "allocate 32 MiB on the GPU");
    return PARA_OK;
}

void para_cuda_matmuls_close(para_cuda *cuda) {
    para_cuda_matmuls *l = cuda->matmuls;
    if (!l) return;
    for (size_t i = 0; i < l->room; i++)
        if (l->slots[i]) free_plan(l->slots[i]);
    para_free(l->slots);
    if (l->lt.workspace) cudaFree(l->lt.workspace);
    if (l->lt.handle) cublasLtDestroy(l->lt.handle);
    para_free(l);
    cuda->matmuls = NULL;
}
