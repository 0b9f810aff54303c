/* The attention kernels alone: checked against a plain float32 kernel, then timed. SPDX-License-Identifier: Apache-2.0
 *
 *     nvcc -std=c++17 -O3 -Isrc -gencode=arch=compute_90a,code=sm_90a -c src/backend/cuda/attention_sm90.cu
 *     nvcc -std=c++17 -O3 -Isrc -gencode=arch=compute_90,code=sm_90 -o bench_attention bench/cuda/bench_attention.cu src/backend/cuda/attention_sm80.cu attention_sm90.o
 *     ./bench_attention check      every case on fresh random data; exit status 1 where one is wrong
 *     ./bench_attention small      a few of them, small: for compute-sanitizer
 *     ./bench_attention time       microseconds a call and TFLOP/s, as graph replays of 20 calls over rotating buffers
 * and, after that, the kernel's name ("sm80", "sm90") and a head dim to be timed alone.
 */
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <random>
#include <vector>

#include "backend/cuda/cuda_attention.h"

#define TRY(call)                                                                                                                                       \
    do {                                                                                                                                                \
        cudaError_t error_ = (cudaError_t)(call);                                                                                                       \
        if (error_ != cudaSuccess) {                                                                                                                    \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_));                                                  \
            exit(2);                                                                                                                                    \
        }                                                                                                                                               \
    } while (0)

/* ---- Data */

__host__ __device__ inline uint32_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(x ^ x >> 31);
}

/* Normal, of standard deviation `scale`. */
template <typename T> __global__ void fill(T *x, int64_t n, uint64_t seed, float scale) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        float a = (mix(2 * i + seed * 0x9E3779B97F4A7C15u) + 1.0f) / 4294967808.0f, b = mix(2 * i + 1 + seed * 0x9E3779B97F4A7C15u) / 4294967296.0f;
        x[i] = (T)(scale * sqrtf(-2 * logf(a)) * cospif(2 * b));
    }
}

/* ---- The plain kernel: a block for each row that is looked at, float32 throughout, two passes over the scores */

struct plain_args {
    para_cuda_attention a;
    const int *rows;  /* [n] of Sq */
    float *out, *lse; /* [B, H, n, D], [B, H, n] */
    float *scores;    /* [B, H, n, Skv] */
    int n;
};

template <typename T> __global__ void plain_attention(plain_args x) {
    const para_cuda_attention &a = x.a;
    __shared__ float reduced[32];
    int64_t at = ((int64_t)blockIdx.z * a.heads + blockIdx.y) * x.n + blockIdx.x;
    float *scores = x.scores + at * a.kv_len;
    int h = blockIdx.y, b = blockIdx.z, row = x.rows[blockIdx.x], d = a.head_dim, kv_head = h / (a.heads / a.kv_heads);
    const T *q = (const T *)a.q + b * a.q_stride.batch + h * a.q_stride.head + row * a.q_stride.token;
    const T *k = (const T *)a.k + b * a.k_stride.batch + kv_head * a.k_stride.head, *v = (const T *)a.v + b * a.v_stride.batch + kv_head * a.v_stride.head;
    int keys = a.kv_lengths ? min(a.kv_lengths[b], a.kv_len) : a.kv_len;
    if (a.causal) keys = max(0, min(keys, row + a.causal_offset + 1));

    auto reduce = [&](float value, bool sum) {
        for (int step = 16; step; step /= 2) {
            float other = __shfl_xor_sync(~0u, value, step);
            value = sum ? value + other : fmaxf(value, other);
        }
        __syncthreads();
        if (threadIdx.x % 32 == 0) reduced[threadIdx.x / 32] = value;
        __syncthreads();
        value = reduced[0];
        for (int i = 1; i < blockDim.x / 32; i++) value = sum ? value + reduced[i] : fmaxf(value, reduced[i]);
        return value;
    };
    float top = -INFINITY, total = 0;
    for (int j = threadIdx.x; j < keys; j += blockDim.x) {
        float dot = 0;
        for (int c = 0; c < d; c++) dot += (float)q[c] * (float)k[j * a.k_stride.token + c];
        dot *= a.scale;
        int64_t m = b * a.mask_stride.batch + h * a.mask_stride.head + row * a.mask_stride.token + j * a.mask_key_stride;
        if (a.mask && a.mask_is_bool) dot = ((const uint8_t *)a.mask)[m] ? dot : -INFINITY;
        else if (a.mask) dot += ((const float *)a.mask)[m];
        scores[j] = dot;
        top = fmaxf(top, scores[j]);
    }
    top = reduce(top, false);
    for (int j = threadIdx.x; j < keys; j += blockDim.x) total += scores[j] = top > -INFINITY ? expf(scores[j] - top) : 0;
    total = reduce(total, true);
    __syncthreads();
    for (int c = threadIdx.x; c < d; c += blockDim.x) {
        float sum = 0;
        for (int j = 0; j < keys; j++) sum += scores[j] * (float)v[j * a.v_stride.token + c];
        x.out[at * d + c] = total > 0 ? sum / total : 0;
    }
    if (threadIdx.x == 0) x.lse[at] = total > 0 ? top + logf(total) : -INFINITY;
}

/* ---- Buffers of one problem: [B, S, H, D] in memory, seen as [B, H, S, D], or [B, H, S, D] */

struct problem {
    para_cuda_attention a = {};
    std::vector<void *> owned;

    void *take(size_t bytes, int fill_byte = 0xFF) {
        void *x;
        TRY(cudaMalloc(&x, bytes));
        TRY(cudaMemset(x, fill_byte, bytes));
        owned.push_back(x);
        return x;
    }
    ~problem() {
        for (void *x : owned) cudaFree(x);
    }
};

static para_cuda_strides strides_of(int heads, int tokens, int d, bool token_major) {
    if (token_major) return {(int64_t)tokens * heads * d, d, (int64_t)heads * d};
    return {(int64_t)heads * tokens * d, (int64_t)tokens * d, d};
}

static void set_up(problem *x, bool bf16, int batch, int heads, int kv_heads, int q_len, int kv_len, int d, bool token_major, float peak, uint64_t seed) {
    para_cuda_attention *a = &x->a;
    a->type = bf16 ? PARA_CUDA_ATTENTION_BF16 : PARA_CUDA_ATTENTION_F16;
    a->batch = batch, a->heads = heads, a->kv_heads = kv_heads, a->q_len = q_len, a->kv_len = kv_len, a->head_dim = d;
    a->scale = 1 / sqrtf(d);
    a->q_stride = a->out_stride = strides_of(heads, q_len, d, token_major);
    a->k_stride = a->v_stride = strides_of(kv_heads, kv_len, d, token_major);
    a->lse_stride = {(int64_t)heads * q_len, q_len, 1};
    int64_t q_count = (int64_t)batch * heads * q_len * d, kv_count = (int64_t)batch * kv_heads * kv_len * d;
    void *data[3] = {x->take(2 * q_count), x->take(2 * kv_count), x->take(2 * kv_count)};
    for (int i = 0; i < 3; i++) {
        int64_t n = i ? kv_count : q_count;
        if (bf16) fill<<<1024, 256>>>((__nv_bfloat16 *)data[i], n, 3 * seed + i, i ? 1 : peak);
        else fill<<<1024, 256>>>((__half *)data[i], n, 3 * seed + i, i ? 1 : peak);
    }
    TRY(cudaGetLastError());
    a->q = data[0], a->k = data[1], a->v = data[2];
    a->out = x->take(4 * q_count);
    a->lse = (float *)x->take(4 * (q_count / d));
}

/* ---- Checks */

struct errors {
    double out, lse; /* ‖out - plain‖ / ‖plain‖; the greatest difference of the LSE; infinite where something is not finite, or not written */
};

static int rows_at_most = 97; /* that are compared */

/* Rows spread over the queries, the first and last of them too. */
static errors compare(const para_cuda_attention &a, const para_cuda_attention &truth) {
    std::vector<int> rows;
    int n = std::min(a.q_len, rows_at_most);
    for (int i = 0; i < n; i++) rows.push_back(n == 1 ? 0 : (int)((int64_t)i * (a.q_len - 1) / (n - 1)));
    int *device_rows;
    float *out, *lse, *scores;
    size_t count = (size_t)a.batch * a.heads * n;
    TRY(cudaMalloc(&device_rows, 4 * n));
    TRY(cudaMemcpy(device_rows, rows.data(), 4 * n, cudaMemcpyHostToDevice));
    TRY(cudaMalloc(&out, 4 * count * a.head_dim));
    TRY(cudaMalloc(&lse, 4 * count));
    TRY(cudaMalloc(&scores, 4 * count * truth.kv_len));
    plain_args x = {truth, device_rows, out, lse, scores, n};
    auto kernel = a.type == PARA_CUDA_ATTENTION_BF16 ? plain_attention<__nv_bfloat16> : plain_attention<__half>;
    kernel<<<dim3(n, a.heads, a.batch), 128>>>(x);
    TRY(cudaGetLastError());
    std::vector<float> want(count * a.head_dim), want_lse(count), got_lse((size_t)a.batch * a.heads * a.q_len);
    std::vector<char> got((size_t)a.batch * a.heads * a.q_len * a.head_dim * 4);
    TRY(cudaMemcpy(want.data(), out, 4 * want.size(), cudaMemcpyDeviceToHost));
    TRY(cudaMemcpy(want_lse.data(), lse, 4 * count, cudaMemcpyDeviceToHost));
    TRY(cudaMemcpy(got.data(), a.out, got.size(), cudaMemcpyDeviceToHost));
    TRY(cudaMemcpy(got_lse.data(), a.lse, 4 * got_lse.size(), cudaMemcpyDeviceToHost));
    cudaFree(device_rows), cudaFree(out), cudaFree(lse), cudaFree(scores);

    double off = 0, norm = 1e-30, lse_off = 0;
    for (int b = 0; b < a.batch; b++) {
        for (int h = 0; h < a.heads; h++) {
            for (int i = 0; i < n; i++) {
                size_t at = ((size_t)b * a.heads + h) * n + i;
                float l = got_lse[((size_t)b * a.heads + h) * a.q_len + rows[i]];
                if (l != want_lse[at]) lse_off = std::max(lse_off, std::isfinite(l - want_lse[at]) ? fabs((double)l - want_lse[at]) : INFINITY);
                for (int c = 0; c < a.head_dim; c++) {
                    size_t from = b * a.out_stride.batch + h * a.out_stride.head + rows[i] * a.out_stride.token + c;
                    double y = a.out_f32                              ? ((float *)got.data())[from]
                               : a.type == PARA_CUDA_ATTENTION_BF16 ? (float)((__nv_bfloat16 *)got.data())[from]
                                                                      : (float)((__half *)got.data())[from];
                    double w = want[at * a.head_dim + c];
                    off += std::isfinite(y) ? (y - w) * (y - w) : INFINITY;
                    norm += w * w;
                }
            }
        }
    }
    return {sqrt(off / norm), lse_off};
}

struct kernel {
    const char *name;
    int (*run)(const para_cuda_attention *a, void *stream);
};
static const kernel sm90 = {"sm90", para_cuda_attention_sm90}, sm80 = {"sm80", para_cuda_attention_sm80};

static void *workspace;
static int cases, wrong;
static errors worst_bf16, worst_f16;

/* Measured on an H200 over 2464 cases of sm90 and 12736 of sm80: at most 2.5e-3 in bf16, 3.2e-4 in f16, 3.1e-5 for the LSE; a dropped key tile of 36 gives 0.16 and 0.04. */
static void expect(const kernel &k, const char *what, const para_cuda_attention &a, errors e) {
    bool bf16 = a.type == PARA_CUDA_ATTENTION_BF16, right = e.out < (bf16 ? 4e-3 : 6e-4) && e.lse < 1e-4;
    errors &worst = bf16 ? worst_bf16 : worst_f16;
    worst = {std::max(worst.out, e.out), std::max(worst.lse, e.lse)};
    cases++;
    if (right) return;
    wrong++;
    printf("WRONG %s %s: D %d Sq %d Skv %d heads %d/%d: out %.3g, LSE %.3g\n", k.name, what, a.head_dim, a.q_len, a.kv_len, a.heads, a.kv_heads, e.out, e.lse);
}

static void check(const kernel &k, const char *what, para_cuda_attention a) {
    TRY(k.run(&a, nullptr));
    TRY(cudaDeviceSynchronize());
    expect(k, what, a, compare(a, a));
}

static para_cuda_attention first_keys(para_cuda_attention a, int n) {
    a.kv_len = n;
    return a;
}

static para_cuda_attention keys_from(para_cuda_attention a, int n) {
    a.k = (const char *)a.k + 2 * n * a.k_stride.token;
    a.v = (const char *)a.v + 2 * n * a.v_stride.token;
    a.kv_len -= n;
    a.causal_offset -= n;
    return a;
}

/* In two halves, as in a ring: the first as float32 with its LSE, the second on top of it. */
static void check_carry(const kernel &k, problem *x, para_cuda_attention a, bool out_f32) {
    size_t count = (size_t)a.batch * a.heads * a.q_len;
    float *part = (float *)x->take(4 * count * a.head_dim), *part_lse = (float *)x->take(4 * count);
    int half = a.kv_len / 2;
    para_cuda_attention one = first_keys(a, half), two = keys_from(a, half);
    one.out = part, one.lse = part_lse, one.out_f32 = true;
    two.carry_out = part, two.carry_lse = part_lse, two.carry_out_stride = a.out_stride, two.carry_lse_stride = a.lse_stride;
    two.out_f32 = out_f32;
    if (out_f32) two.out = part, two.lse = part_lse; /* in place */
    TRY(k.run(&one, nullptr));
    TRY(k.run(&two, nullptr));
    TRY(cudaDeviceSynchronize());
    a.out = two.out, a.lse = two.lse, a.out_f32 = out_f32;
    expect(k, out_f32 ? "carry, float32" : "carry", a, compare(a, a));
}

/* Masks [B | 1, H | 1, Sq | 1, Skv], some rows of which hide every key. */
static void check_masks(const kernel &k, problem *x, int step) {
    for (int i = 0; i < 8; i += step) {
        bool hides = i % 2;
        para_cuda_attention a = x->a;
        int batch = i & 2 ? a.batch : 1, heads = i & 4 ? a.heads : 1, rows = i == 0 ? 1 : a.q_len;
        size_t n = (size_t)batch * heads * rows * a.kv_len;
        std::vector<float> added(n);
        std::vector<uint8_t> shown(n);
        for (size_t j = 0; j < n; j++) {
            bool hidden = mix(j + 977 * i) % 4 == 0 || j / a.kv_len % 5 == 3;
            shown[j] = !hidden;
            added[j] = hidden ? -INFINITY : mix(j * 3 + i) / 2147483648.0f - 1;
        }
        a.mask = x->take(hides ? n : 4 * n);
        TRY(cudaMemcpy((void *)a.mask, hides ? (void *)shown.data() : (void *)added.data(), hides ? n : 4 * n, cudaMemcpyHostToDevice));
        a.mask_is_bool = hides;
        a.mask_stride = {batch > 1 ? (int64_t)heads * rows * a.kv_len : 0, heads > 1 ? (int64_t)rows * a.kv_len : 0, rows > 1 ? a.kv_len : 0};
        a.mask_key_stride = 1;
        check(k, hides ? "hiding mask" : "added mask", a);
        a.causal = true, a.causal_offset = 10;
        check(k, "mask, causal", a);
        a.scale = i < 4 ? -0.1f : 0;
        check(k, "mask, scale below 0 or 0", a);
    }
}

struct sizes {
    int batch, heads, kv_heads, q_len, kv_len, d;
};

static void check_few(const kernel &k, const sizes &n, uint64_t seed) {
    problem x;
    set_up(&x, true, n.batch, n.heads, n.kv_heads, n.q_len, n.kv_len, n.d, true, 1, seed);
    x.a.workspace = workspace;
    check(k, "split", x.a);
    if (n.d <= 256) check_carry(k, &x, x.a, true);
    x.a.causal = true, x.a.causal_offset = -20;
    check(k, "causal", x.a);
    if (k.run == sm80.run && n.d <= 256) check_masks(k, &x, 3);
}

static void check_one(const kernel &k, const sizes &n, bool bf16, float peak, uint64_t seed) {
    problem x;
    bool narrow = n.d <= 256;
    set_up(&x, bf16, n.batch, n.heads, n.kv_heads, n.q_len, n.kv_len, n.d, peak > 1, peak, seed);
    check(k, "plain", x.a);
    x.a.workspace = workspace;
    check(k, "split", x.a);
    check(k, "split again", x.a);
    para_cuda_attention a = x.a;
    a.out_f32 = true;
    check(k, "float32 out", a);
    if (n.kv_len > 1 && narrow) check_carry(k, &x, x.a, true), check_carry(k, &x, x.a, false);
    for (int offset : {0, 50, -60, n.kv_len - n.q_len}) {
        a = x.a;
        a.causal = true, a.causal_offset = offset;
        check(k, "causal", a);
        if (n.kv_len > 1 && narrow) check_carry(k, &x, a, true);
    }
    int lengths[2] = {n.kv_len / 3, n.kv_len};
    a = x.a;
    a.kv_lengths = (const int32_t *)x.take(sizeof lengths);
    TRY(cudaMemcpy((void *)a.kv_lengths, lengths, sizeof lengths, cudaMemcpyHostToDevice));
    check(k, "lengths", a);
    a.causal = true;
    check(k, "lengths, causal", a);
    if (k.run == sm80.run && narrow && (int64_t)n.q_len * n.kv_len < 1 << 18) check_masks(k, &x, 1);
}

static void report(const char *what) {
    printf("%s: %d of %d right; worst out, LSE: bf16 %.2e, %.1e; f16 %.2e, %.1e\n", what, cases - wrong, cases, worst_bf16.out, worst_bf16.lse, worst_f16.out,
           worst_f16.lse);
    worst_bf16 = worst_f16 = {};
}

static void check_small(const kernel &k, uint64_t seed) {
    rows_at_most = 9;
    for (int d : {64, 128, 256, 512}) {
        if (k.run == sm90.run && d != 64 && d != 128) continue;
        check_few(k, {1, 1, 1, 70, 300, d}, seed++);
    }
    report(k.name);
}

static void check_all(const kernel &k, uint64_t seed) {
    const int lengths[][2] = {{1, 1},      {1, 7},     {7, 1},     {7, 129},    {64, 64},    {127, 127},  {128, 128},   {129, 127},   {128, 129},  {191, 193},
                              {192, 192}, {193, 191}, {200, 1241}, {1241, 300}, {1241, 1241}, {577, 4609}, {4608, 513}, {1152, 1152}, {4608, 4608}, {4609, 4609}};
    for (auto &s : lengths) {
        bool big = (int64_t)s[0] * s[1] > 1 << 22;
        for (int d : {64, 128, 8, 40, 72, 96, 160, 256, 264, 512}) {
            if (d != 64 && d != 128 && (k.run == sm90.run || big)) continue;
            for (int i = 0; i < 4; i++) {
                if (d == 64 || d == 128) check_one(k, {big ? 1 : 2, big ? 5 : 6, big ? 5 : 2, s[0], s[1], d}, i % 2, i < 2 ? 1.0f : 6.0f, seed++);
                else if (i == 0 || i == 3) check_one(k, {2, 2, 1, s[0], s[1], d}, i % 2, i < 2 ? 1.0f : 6.0f, seed++);
            }
        }
    }
    report(k.name);

    /* What the bounds must catch: one key tile of 36 left out. */
    for (int d : {64, 128}) {
        problem x;
        set_up(&x, true, 1, 4, 4, 256, 4608, d, false, 1, seed++);
        para_cuda_attention a = first_keys(x.a, 4608 - 128);
        TRY(k.run(&a, nullptr));
        errors e = compare(a, x.a);
        printf("planted: a dropped key tile, D %d: out %.3g, LSE %.3g\n", d, e.out, e.lse);
        if (e.out < 3 * 4e-3 || e.lse < 3 * 1e-4) wrong++;
    }
}

/* ---- Times */

static int only; /* head dim to time; 0: all */

static void time_one(const kernel &k, int batch, int heads, int tokens, int d) {
    if (only && d != only) return;
    const int calls = 20;
    int sets = 2;
    std::vector<problem> x(sets);
    for (int i = 0; i < sets; i++) {
        set_up(&x[i], true, batch, heads, heads, tokens, tokens, d, true, 1, 77 + i);
        x[i].a.workspace = workspace;
    }
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t begin, end;
    TRY(cudaStreamCreate(&stream));
    TRY(cudaEventCreate(&begin));
    TRY(cudaEventCreate(&end));
    TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < calls; i++) TRY(k.run(&x[i % sets].a, stream));
    TRY(cudaStreamEndCapture(stream, &graph));
    TRY(cudaGraphInstantiate(&exec, graph, 0));
    std::vector<float> times;
    for (int i = 0; i < 9; i++) {
        TRY(cudaEventRecord(begin, stream));
        TRY(cudaGraphLaunch(exec, stream));
        TRY(cudaEventRecord(end, stream));
        TRY(cudaEventSynchronize(end));
        float ms;
        TRY(cudaEventElapsedTime(&ms, begin, end));
        if (i > 1) times.push_back(ms / calls);
    }
    std::sort(times.begin(), times.end());
    double ms = times[times.size() / 2];
    printf("%s B%d H%d S%d D%d: %.1f us, %.1f TFLOP/s\n", k.name, batch, heads, tokens, d, ms * 1e3, 4.0 * batch * heads * tokens * tokens * d / ms / 1e9);
    cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaStreamDestroy(stream), cudaEventDestroy(begin), cudaEventDestroy(end);
}

int main(int argc, char **argv) {
    bool checks = argc < 2 || !strcmp(argv[1], "check"), small = argc > 1 && !strcmp(argv[1], "small"), times = argc < 2 || !strcmp(argv[1], "time");
    cudaDeviceProp properties;
    TRY(cudaGetDeviceProperties(&properties, 0));
    size_t bytes = para_cuda_attention_workspace(properties.multiProcessorCount);
    TRY(cudaMalloc(&workspace, bytes));
    TRY(cudaMemset(workspace, 0, bytes));
    uint64_t seed = std::random_device{}();
    printf("%s, seed %llu\n", properties.name, (unsigned long long)seed);
    only = argc > 3 ? atoi(argv[3]) : 0;
    std::vector<kernel> kernels = {sm80};
    if (properties.major == 9) kernels.push_back(sm90);
    for (const kernel &k : kernels) {
        if (argc > 2 && strcmp(argv[2], k.name)) continue;
        if (checks) check_all(k, seed);
        if (small) check_small(k, seed);
        if (!times) continue;
        for (int tokens : {1152, 4608, 16384, 32768}) time_one(k, 1, 24, tokens, 128);
        for (int heads : {3, 6, 12}) time_one(k, 1, heads, 4608, 128);
        time_one(k, 2, 24, 4096, 64);
        time_one(k, 1, 48, 17776, 64);
        if (k.run == sm90.run) continue;
        for (int d : {40, 80, 256}) time_one(k, 1, 24, 4608, d);
        time_one(k, 1, 1, 16384, 512);
    }
    return wrong > 0;
}
