/* Times exchanges between ranks, alone and beside matrix products; leaves them out of a step. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/bench.h>
#include <paraattn/comm.h>

#include "core/alloc.h"
#include "core/error.h"
#include "parallel/world_state.h"
#include "pipeline/bench_rounds.h"
#include "pipeline/pipeline_state.h"

/* Rows of a tensor that is sent: so wide, with as much between them, as a rank's heads lie among others. */
enum { WIDTH = 128, MAX_GROUP = 1024 };

typedef struct exchange_bench {
    const para_bench_exchange *x;
    para_comm comm; /* the rank's group; alone where it is in none */
    para_device *dev;
    para_tensor *send, *receive; /* [group] */
    para_tensor a, b, c;         /* of a product: [M, N], [N, N], [M, N] */
    para_linear layer;
    bool exchanges;
    int64_t products;
    para_bench_exchanged *out;
} exchange_bench;

static para_status work(void *user) {
    const exchange_bench *b = user;
    para_exchange x = {0};
    bool with_others = b->exchanges && b->comm.size > 1;
    if (with_others && b->x->ring) PARA_TRY(para_comm_shift(b->comm, 1, b->send, b->receive, &x));
    else if (with_others) PARA_TRY(para_comm_all_to_all(b->comm, b->send, b->receive, &x));
    for (int64_t i = 0; i < b->products; i++)
        PARA_TRY(b->dev->ops->linear(b->dev, &(para_linear_args){.x = b->a, .w = &b->layer, .y = b->c}));
    return para_comm_wait(&x);
}

static para_status wait(void *user) {
    const exchange_bench *b = user;
    char first[4];
    para_tensor one = b->c;
    one.rank = 0;
    return b->dev->ops->download(b->dev, first, &one);
}

static para_status time_work(exchange_bench *b, bool exchanges, int64_t products, double *seconds) {
    b->exchanges = exchanges;
    b->products = products;
    para_rounds r = {b->comm.rank, true, b->x->quick, work, wait, b};
    return para_rounds_median(&r, seconds);
}

static para_status measure(exchange_bench *b) {
    double alone, product, both;
    PARA_TRY(time_work(b, true, 0, &alone));
    PARA_TRY(time_work(b, false, 1, &product));
    int64_t products = (int64_t)(alone / product + 0.5);
    if (products < 1) products = 1;
    PARA_TRY(time_work(b, false, products, &product));
    PARA_TRY(time_work(b, true, products, &both));
    if (b->comm.rank->index != 0) return PARA_OK;
    double hidden = (alone + product - both) / (alone < product ? alone : product);
    *b->out = (para_bench_exchanged){1e3 * alone, hidden < 0 ? 0 : hidden > 1 ? 1 : hidden};
    return PARA_OK;
}

/* A rank's tensors, all of the same size; none to itself. */
static para_status open_tensors(exchange_bench *b) {
    const int group = b->x->group, targets = b->x->ring ? 1 : group - 1;
    int64_t values = b->x->bytes / targets / (int64_t)sizeof(float), width = values < WIDTH ? values : WIDTH,
            rows = values / width;
    for (int i = 0; i < group; i++) {
        bool used = b->x->ring ? i == 0 : i != b->comm.index;
        para_tensor apart; /* [rows, 2 · width] */
        PARA_TRY(PARA_NEW(b->dev, &apart, PARA_F32, used ? rows : 0, 2 * width));
        PARA_TRY(PARA_NEW(b->dev, &b->receive[i], PARA_F32, used ? rows : 0, width));
        b->send[i] = para_slice(apart, 1, 0, width);
    }
    return PARA_OK;
}

/* A product of a size that a step has, on zeros. */
static para_status open_product(exchange_bench *b) {
    const bool gpu = b->dev->ops->fetch != NULL;
    const int64_t m = gpu ? 2048 : 128, n = gpu ? 2048 : 512;
    const para_dtype type = gpu ? PARA_BF16 : PARA_F32;
    void *zeros = para_alloc((size_t)(n * (m > n ? m : n)), para_dtype_size(type));
    if (!zeros) return PARA_ERR_MEMORY;
    para_status status = PARA_NEW(b->dev, &b->a, type, m, n);
    if (status == PARA_OK) status = PARA_NEW(b->dev, &b->b, type, n, n);
    if (status == PARA_OK) status = PARA_NEW(b->dev, &b->c, type, m, n);
    if (status == PARA_OK) status = b->dev->ops->upload(b->dev, b->a, zeros);
    if (status == PARA_OK) status = b->dev->ops->upload(b->dev, b->b, zeros);
    para_free(zeros);
    b->layer = (para_linear){.weight = b->b};
    return status;
}

/* What is to be measured, for all ranks. */
typedef struct wanted {
    const para_bench_exchange *x;
    para_bench_exchanged *out;
} wanted;

static para_status run_on(exchange_bench *b) {
    const int64_t room = 4 * b->x->bytes + (64 << 20) + (int64_t)b->x->group * 4096;
    b->send = para_alloc(2 * (size_t)b->x->group, sizeof *b->send);
    if (!b->send) return PARA_ERR_MEMORY;
    b->receive = b->send + b->x->group;
    para_status status = para_device_reserve(b->dev, (size_t)room);
    if (status == PARA_OK) status = open_tensors(b);
    if (status == PARA_OK) status = open_product(b);
    if (status == PARA_OK) status = measure(b);
    para_arena_release(&b->dev->arena, 0);
    para_free(b->send);
    return status;
}

static para_status on_rank(para_rank *rank, void *user) {
    const wanted *w = user;
    const int stride = w->x->stride, block = w->x->group * stride, first = rank->index / block * block;
    exchange_bench b = {.x = w->x, .dev = rank->device, .out = w->out, .comm = {rank, rank->index, 1, 1, 0}};
    if (first + block <= rank->size)
        b.comm = (para_comm){rank, first + (rank->index - first) % stride, stride, w->x->group,
                             (rank->index - first) / stride};
    return run_on(&b);
}

para_status para_bench_run_exchange(para_world *world, const para_bench_exchange *x, para_bench_exchanged *out) {
    if (!world || !x || !out)
        return para_fail(PARA_ERR_ARGUMENT, "para_bench_run_exchange: world, x and out must not be NULL");
    const int targets = x->ring ? 1 : x->group - 1, ranks = para_world_size(world);
    if (x->group < 2 || x->group > MAX_GROUP || x->stride < 1 || x->group > ranks || x->stride > ranks / x->group)
        return para_fail(PARA_ERR_ARGUMENT, "an exchange of %d ranks, every %d-th, does not fit into a world of %d",
                         x->group, x->stride, ranks);
    if (x->bytes < 4 * targets || x->bytes > INT64_C(1) << 36)
        return para_fail(
            PARA_ERR_ARGUMENT,
            "an exchange is measured with 4 bytes for each rank that it goes to, or more, up to 64 GiB, not with %lld",
            (long long)x->bytes);
    wanted w = {x, out};
    *out = (para_bench_exchanged){0};
    PARA_TRY(para_world_take(world, NULL));
    para_status status = para_world_run_internal(world, on_rank, &w);
    para_world_release(world);
    return status;
}

void para_bench_leave_out_exchange(para_pipeline *pipe, bool leave_out) {
    pipe->leaves_out_exchange = leave_out;
}
