/* Whether a ring hides what it sends behind what it computes: two processes of a rank each, joined by a link that is slow enough to be seen. Below the ring is an
 * attention that rests for as long as an exchange takes, beside the real one, which is small: so the result does not depend on how busy the machine is.
 * Usage: ring_overlap ATTENTIONS, started as two processes by a launcher's variables. Prints the seconds of the exchange alone, of the attention alone, and of
 * both together; fails where those together cost more than the attention and half of the exchange. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/paraattn.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HEADS = 4, TOKENS = 512, HEAD_DIM = 64 };

typedef struct setting {
    para_mesh *mesh;
    para_layout *layout;
    int attentions;
    double rest;                      /* seconds of an attention of a part */
    double exchange, attention, both; /* seconds of all */
} setting;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- The mode that rests, and hands on. */

static para_status rest_begin(para_rank *rank, para_attention_job *job) {
    para_status status = para_rank_scratch(rank, sizeof(para_attention_job), &job->state);
    if (status != PARA_OK) return status;
    para_attention_job *below = job->state;
    status = para_attention_begin_below(rank, job, &job->args, below);
    job->args = below->args;
    return status;
}

static para_status rest_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    return para_attention_put(rank, job->state, operand);
}

static para_status rest_compute(para_rank *rank, para_attention_job *job) {
    double seconds = *(const double *)job->mode->user;
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
    return para_attention_compute(rank, job->state);
}

static para_status rest_end(para_rank *rank, para_attention_job *job) {
    return para_attention_end(rank, job->state);
}

/* ---- The three times. */

static para_status repeat(para_rank *rank, const para_attention_args *args, int times, double *seconds) {
    para_status status = para_comm_barrier(para_world_comm(rank));
    double start = now();
    for (int i = 0; i < times && status == PARA_OK; i++) status = para_attention(rank, args);
    if (status == PARA_OK) status = para_comm_barrier(para_world_comm(rank));
    *seconds = now() - start;
    return status;
}

/* The same number on both ranks. */
static para_status agree(para_rank *rank, double *seconds) {
    para_tensor t;
    para_status status = para_rank_tensor(rank, &t, PARA_F32, 1, (int64_t[]){1});
    if (status != PARA_OK) return status;
    *(float *)t.data = (float)(*seconds / 2);
    status = para_comm_all_reduce(para_world_comm(rank), t);
    *seconds = (double)*(float *)t.data;
    return status;
}

static para_status measure(para_rank *rank, void *user) {
    setting *s = user;
    para_attention_args args = PARA_ATTENTION_ARGS_INIT;
    para_tensor *tensor[] = {&args.q, &args.k, &args.v, &args.out};
    para_status status = PARA_OK;
    for (int i = 0; i < 4 && status == PARA_OK; i++) {
        status = para_rank_tensor(rank, tensor[i], PARA_F32, 4, (int64_t[]){1, HEADS, TOKENS / 2, HEAD_DIM});
        for (int64_t k = 0; status == PARA_OK && k < para_tensor_count(tensor[i]); k++)
            ((float *)tensor[i]->data)[k] = 0.25f * (float)(k % 7);
    }
    const para_attention_mode rest = {.name = "rest",
                                      .begin = rest_begin,
                                      .put = rest_put,
                                      .compute = rest_compute,
                                      .end = rest_end,
                                      .user = &s->rest};
    if (status == PARA_OK) status = para_attention_push(rank, rest);
    if (status == PARA_OK) status = para_attention_push(rank, para_ring_mode(rank, s->mesh, s->layout));
    if (status == PARA_OK) status = repeat(rank, &args, 1, &s->exchange); /* the connections are there */
    if (status == PARA_OK) status = repeat(rank, &args, s->attentions, &s->exchange);
    if (status == PARA_OK) status = agree(rank, &s->exchange);
    s->rest = s->exchange / s->attentions;
    if (status == PARA_OK) status = repeat(rank, &args, s->attentions, &s->both);
    if (status == PARA_OK) status = para_attention_pop(rank);
    if (status == PARA_OK)
        status = repeat(rank, &args, 2 * s->attentions, &s->attention); /* a ring of two computes with two parts */
    return status;
}

int main(int argc, char **argv) {
    para_world *world = NULL;
    setting s = {.attentions = argc > 1 ? atoi(argv[1]) : 12};
    para_world_options options = PARA_WORLD_OPTIONS_INIT;
    options.threads = 1;
    options.mpi = true;
    options.timeout = 30;
    para_mesh_options ring = PARA_MESH_OPTIONS_INIT;
    ring.ring = 2;
    para_layout_options tokens = PARA_LAYOUT_OPTIONS_INIT;
    tokens.tokens[PARA_IMAGE] = TOKENS;
    para_status status = para_world_open(&world, &options);
    if (status == PARA_OK) status = para_mesh_open(&s.mesh, world, &ring);
    if (status == PARA_OK) status = para_layout_open(&s.layout, s.mesh, &tokens);
    if (status == PARA_OK) status = para_world_run(world, measure, &s);
    bool hidden = s.both < s.attention + 0.5 * s.exchange, first = world && para_world_process(world) == 0;
    if (status != PARA_OK) fprintf(stderr, "%s\n", para_last_error());
    else if (first)
        printf("%d attentions: exchange %.3f s, attention %.3f s, both %.3f s: %.0f %% of the exchange is hidden\n",
               s.attentions, s.exchange, s.attention, s.both, 100 * (s.attention + s.exchange - s.both) / s.exchange);
    para_layout_close(&s.layout);
    para_mesh_close(&s.mesh);
    para_world_close(&world);
    return status == PARA_OK && (hidden || !first) ? 0 : 1;
}
