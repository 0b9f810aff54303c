/* A model of one's own over a ring × ulysses mesh of ranks: nothing in it knows of them. SPDX-License-Identifier: Apache-2.0
 *
 *     custom_model [RANKS [TOKENS]]          4 ranks of this process, 4096 tokens
 *     mpirun -n 2 custom_model 2             two processes of two ranks each
 *
 * Attention of query, key and value [2, 24, TOKENS, 64]: every rank holds a run of the tokens, the result is gathered and compared with attention that
 * was not split. The exit status is 0 where they agree to rounding.
 */
#include <paraattn/paraattn.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 2, HEADS = 24, HEAD_DIM = 64 };

typedef struct my_model {
    para_tensor query, key, value, out; /* [BATCH, HEADS, TOKENS, HEAD_DIM] F32, the whole; out is filled by rank 0 */
    para_mesh *mesh;
    para_layout *layout;
} my_model;

/* `count` tokens from `first` on, seen in place. On the CPU a rank computes in host memory, so it needs no copy. */
static para_tensor tokens(para_tensor t, int64_t first, int64_t count) {
    t.data = (float *)t.data + first * t.stride[2];
    t.dim[2] = count;
    return t;
}

/* The model: written for the tokens that it is given, be they all or some. */
static para_status my_forward(para_rank *rank, para_tensor query, para_tensor key, para_tensor value, para_tensor out) {
    para_attention_args args = PARA_ATTENTION_ARGS_INIT;
    args.q = query;
    args.k = key;
    args.v = value;
    args.out = out;
    return para_attention(rank, &args);
}

/* Each rank's part of the result goes to rank 0. */
static para_status gather(para_rank *rank, const my_model *m, para_tensor part) {
    para_comm all = para_world_comm(rank);
    para_tensor none = {0};
    for (int from = 1; from < all.size; from++) {
        para_exchange x = {0};
        para_status status = PARA_OK;
        if (all.index == 0) {
            int64_t first = para_layout_first(m->layout, PARA_IMAGE, from),
                    count = para_layout_count(m->layout, PARA_IMAGE, from);
            status = para_comm_send_receive(all, -1, none, from, tokens(m->out, first, count), &x);
        } else if (all.index == from) {
            status = para_comm_send_receive(all, 0, part, -1, none, &x);
        }
        para_status waited = para_comm_wait(&x);
        if (status == PARA_OK) status = waited;
        if (status != PARA_OK) return status;
    }
    return PARA_OK;
}

/* What every rank does: the model on its own tokens, under a mode that sees to the others'. */
static para_status on_every_rank(para_rank *rank, void *user) {
    const my_model *m = user;
    int place = para_mesh_comm(rank, m->mesh, PARA_AXIS_TOKENS).index;
    int64_t first = para_layout_first(m->layout, PARA_IMAGE, place),
            count = para_layout_count(m->layout, PARA_IMAGE, place);
    para_tensor out = tokens(m->out, first, count);
    if (para_rank_index(rank) != 0) {
        para_status status = para_rank_tensor(rank, &out, PARA_F32, 4, (int64_t[]){BATCH, HEADS, count, HEAD_DIM});
        if (status != PARA_OK) return status;
    }
    para_status status = para_attention_push(rank, para_unified_mode(rank, m->mesh, m->layout));
    if (status != PARA_OK) return status;
    status = my_forward(rank, tokens(m->query, first, count), tokens(m->key, first, count),
                        tokens(m->value, first, count), out);
    para_attention_pop(rank);
    return status == PARA_OK ? gather(rank, m, out) : status;
}

/* The same model, where one rank holds everything. */
static para_status unsplit(para_rank *rank, void *user) {
    const my_model *m = user;
    return my_forward(rank, m->query, m->key, m->value, m->out);
}

/* A tensor of numbers between -2 and 2, the same in every process. */
static para_tensor numbers(int64_t length, unsigned seed) {
    int64_t dim[] = {BATCH, HEADS, length, HEAD_DIM}, n = BATCH * HEADS * length * HEAD_DIM;
    float *data = malloc((size_t)n * sizeof *data);
    for (int64_t i = 0; data && i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (float)(seed >> 8) / (1 << 22) - 2.0f;
    }
    return para_tensor_make(data, PARA_F32, 4, dim);
}

static double relative_error(para_tensor a, para_tensor b) {
    const float *x = a.data, *y = b.data;
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < para_tensor_count(&a); i++) {
        difference += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        norm += (double)y[i] * y[i];
    }
    return sqrt(difference / norm);
}

static para_status split(para_world *world, my_model *m, int64_t length) {
    para_mesh_options mesh = PARA_MESH_OPTIONS_INIT;
    para_layout_options layout = PARA_LAYOUT_OPTIONS_INIT;
    mesh.ring = para_world_size(world) % 2 == 0 ? 2 : 1; /* ulysses: what is left */
    layout.tokens[PARA_IMAGE] = length;                  /* shared out as evenly as can be */
    para_status status = para_mesh_open(&m->mesh, world, &mesh);
    if (status == PARA_OK) status = para_layout_open(&m->layout, m->mesh, &layout);
    if (status == PARA_OK) status = para_world_run(world, on_every_rank, m);
    if (status == PARA_OK && para_world_process(world) == 0)
        printf("%lld tokens on %d ranks, ring %d x ulysses %d\n", (long long)length, para_world_size(world),
               para_mesh_size(m->mesh, PARA_AXIS_RING), para_mesh_size(m->mesh, PARA_AXIS_ULYSSES));
    para_layout_close(&m->layout);
    para_mesh_close(&m->mesh);
    return status;
}

int main(int argc, char **argv) {
    int64_t length = argc > 2 ? atoll(argv[2]) : 4096;
    my_model m = {
        .query = numbers(length, 1), .key = numbers(length, 2), .value = numbers(length, 3), .out = numbers(length, 4)};
    my_model whole = m;
    whole.out = numbers(length, 5);
    if (!m.query.data || !m.key.data || !m.value.data || !m.out.data || !whole.out.data) return 1;

    para_world *world = NULL, *one_rank = NULL;
    para_world_options options = PARA_WORLD_OPTIONS_INIT;
    options.ranks = argc > 1 ? atoi(argv[1]) : 4;
    options.mpi = para_started_by_mpi();
    para_status status = para_world_open(&world, &options);
    if (status == PARA_OK) status = split(world, &m, length);

    int code = status == PARA_OK ? 0 : 1;
    if (status == PARA_OK && para_world_process(world) == 0) {
        status = para_world_open(&one_rank, NULL);
        if (status == PARA_OK) status = para_world_run(one_rank, unsplit, &whole);
        double error = status == PARA_OK ? relative_error(m.out, whole.out) : INFINITY;
        printf("relative error against unsplit attention: %.2g\n", error);
        code = error <= 2e-6 ? 0 : 1;
    }
    if (status != PARA_OK) fprintf(stderr, "%s\n", para_last_error());
    para_world_close(&one_rank);
    para_world_close(&world);
    free(m.query.data);
    free(m.key.data);
    free(m.value.data);
    free(m.out.data);
    free(whole.out.data);
    return code;
}
