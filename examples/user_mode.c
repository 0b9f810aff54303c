/* An attention mode of one's own: it counts what passes and hands it on. SPDX-License-Identifier: Apache-2.0
 *
 *     user_mode [RANKS]
 *
 * The mode is pushed twice, below the mode that splits attention over the ranks and above it. So it shows what the model asks each rank for, all heads of
 * some tokens, and what each rank computes in its place: some heads of all tokens.
 */
#include <paraattn/paraattn.h>

#include <stdio.h>
#include <stdlib.h>

enum { HEADS = 12, TOKENS = 512, HEAD_DIM = 64, MAX_RANKS = 8 };

typedef struct counter {
    int calls;
    int64_t heads, queries, keys; /* of the last one */
} counter;

/* ---- The mode: each phase does its part and calls the mode below it. */

/* The attention below needs a job of its own; it lives as long as the one above. */
static para_status count_begin(para_rank *rank, para_attention_job *job) {
    counter *c = (counter *)job->mode->user;
    const para_attention_args *a = &job->args;
    *c = (counter){c->calls + 1, a->q.dim[1], a->q.dim[2], a->k.dim[2]};
    para_status status = para_rank_scratch(rank, sizeof(para_attention_job), &job->state);
    if (status != PARA_OK) return status;
    para_attention_job *below = job->state;
    status = para_attention_begin_below(rank, job, &job->args, below);
    job->args = below->args; /* where below wants the operands, and where the result will be */
    return status;
}

static para_status count_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    return para_attention_put(rank, job->state, operand);
}

static para_status count_compute(para_rank *rank, para_attention_job *job) {
    return para_attention_compute(rank, job->state);
}

static para_status count_end(para_rank *rank, para_attention_job *job) {
    return para_attention_end(rank, job->state);
}

static para_attention_mode counting_mode(counter *c) {
    return (para_attention_mode){.name = "counting",
                                 .begin = count_begin,
                                 .put = count_put,
                                 .compute = count_compute,
                                 .end = count_end,
                                 .user = c};
}

/* ---- Its use */

typedef struct setting {
    para_mesh *mesh;
    para_layout *layout;
    counter asked[MAX_RANKS], computed[MAX_RANKS]; /* of each rank: ranks are threads */
} setting;

static para_status on_every_rank(para_rank *rank, void *user) {
    setting *s = user;
    int index = para_rank_index(rank);
    int64_t count = para_layout_count(s->layout, PARA_IMAGE, index), dim[] = {1, HEADS, count, HEAD_DIM};
    para_attention_args args = PARA_ATTENTION_ARGS_INIT;
    para_tensor *tensor[] = {&args.q, &args.k, &args.v, &args.out};
    for (int i = 0; i < 4; i++) {
        para_status status = para_rank_tensor(rank, tensor[i], PARA_F32, 4, dim);
        if (status != PARA_OK) return status;
        float *value = tensor[i]->data; /* on the CPU a rank's memory is the host's */
        for (int64_t k = 0; k < para_tensor_count(tensor[i]); k++) value[k] = 0.25f * (float)(k % 7);
    }
    const para_attention_mode stack[] = {counting_mode(&s->computed[index]),
                                         para_unified_mode(rank, s->mesh, s->layout),
                                         counting_mode(&s->asked[index])}; /* bottom first */
    para_status status = PARA_OK;
    for (int i = 0; i < 3 && status == PARA_OK; i++) status = para_attention_push(rank, stack[i]);
    for (int layer = 0; layer < 3 && status == PARA_OK; layer++) status = para_attention(rank, &args);
    return status; /* what is left on the stack goes with the run */
}

static void show(const char *what, const counter *c) {
    printf("  %-9s %d times attention of %lld heads, %lld queries, %lld keys\n", what, c->calls, (long long)c->heads,
           (long long)c->queries, (long long)c->keys);
}

int main(int argc, char **argv) {
    para_world *world = NULL;
    setting s = {0};
    para_world_options options = PARA_WORLD_OPTIONS_INIT;
    options.ranks = argc > 1 ? atoi(argv[1]) : 3;
    if (options.ranks > MAX_RANKS) options.ranks = MAX_RANKS;
    para_layout_options tokens = PARA_LAYOUT_OPTIONS_INIT;
    tokens.tokens[PARA_IMAGE] = TOKENS;
    para_status status = para_world_open(&world, &options);
    if (status == PARA_OK) status = para_mesh_open(&s.mesh, world, NULL); /* all ranks on the ulysses axis */
    if (status == PARA_OK) status = para_layout_open(&s.layout, s.mesh, &tokens);
    if (status == PARA_OK) status = para_world_run(world, on_every_rank, &s);
    for (int i = 0; i < options.ranks && status == PARA_OK; i++) {
        printf("rank %d\n", i);
        show("asked", &s.asked[i]);
        show("computed", &s.computed[i]);
    }
    if (status != PARA_OK) fprintf(stderr, "%s\n", para_last_error());
    para_layout_close(&s.layout);
    para_mesh_close(&s.mesh);
    para_world_close(&world);
    return status == PARA_OK ? 0 : 1;
}
