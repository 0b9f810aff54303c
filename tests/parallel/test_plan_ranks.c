/* Plans of many ranks: what they say of equal ranks holds for each, and what they predict is what a run does. SPDX-License-Identifier: Apache-2.0 */
#include "golden/golden.h"

#include "pipeline/plan.h"

enum { MAX_RANKS = 8 };

typedef struct place {
    para_world *world;
    para_pipeline *pipe;
    golden_run golden;
    para_request request;
} place;

/* On one host, or on two with the first so many ranks on one. */
static void open_on_hosts(place *p, const char *config, int ranks, int first) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, config);
    golden_open(&p->golden, folder, false);
    p->request = golden_request(&p->golden);
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 2;
    w.ranks = ranks;
    w.num_hosts = first ? 2 : 0;
    w.host_ranks = first ? (int[]){first, ranks - first} : NULL;
    assert_int_equal(para_world_open(&p->world, &w), PARA_OK);
    assert_int_equal(para_pipeline_open(&p->pipe, p->world, folder, NULL), PARA_OK);
}

static void open_place(place *p, const char *config, int ranks) {
    open_on_hosts(p, config, ranks, 0);
}

static void close_place(place *p) {
    para_pipeline_close(&p->pipe);
    para_world_close(&p->world);
    golden_close(&p->golden);
}

static void parallelize(place *p, int batch, int ring, int ulysses) {
    para_parallel_options o = PARA_PARALLEL_OPTIONS_INIT;
    o.batch = batch;
    o.ring = ring;
    o.ulysses = ulysses;
    assert_int_equal(para_parallelize(p->pipe, &o), PARA_OK);
}

/* One dry run for each rank, equal or not. */
static para_rank_plan plan_one(const place *p, const para_plan_subject *s, int index) {
    para_dry_rank rank = {.index = index, .size = para_world_size(p->world), .like = s->like};
    para_dry_result all, one, two;
    para_request r = p->request;
    assert_int_equal(para_dry_run(p->pipe, &r, &s->geometry, &s->mesh, rank, &all), PARA_OK);
    r.num_inference_steps = 1;
    assert_int_equal(para_dry_run(p->pipe, &r, &s->geometry, &s->mesh, rank, &one), PARA_OK);
    r.num_inference_steps = 2;
    assert_int_equal(para_dry_run(p->pipe, &r, &s->geometry, &s->mesh, rank, &two), PARA_OK);
    const para_counts *a = &one.stage[PARA_STAGE_DENOISE], *b = &two.stage[PARA_STAGE_DENOISE];
    return (para_rank_plan){.step_flops = b->matmul_flops + b->attention_flops - a->matmul_flops - a->attention_flops,
                            .step_bytes = two.exchanged_bytes - one.exchanged_bytes,
                            .step_host_bytes = two.between_hosts_bytes - one.between_hosts_bytes,
                            .step_messages = two.exchanged_messages - one.exchanged_messages,
                            .arena_bytes = all.arena_bytes};
}

static void compare_with_each(place *p) {
    para_rank_plan plan[MAX_RANKS];
    para_plan_subject s;
    assert_int_equal(para_pipeline_plan_ranks(p->pipe, &p->request, plan), PARA_OK);
    assert_int_equal(para_plan_subject_open(p->pipe, &p->request, &s), PARA_OK);
    for (int i = 0; i < para_world_size(p->world); i++) {
        para_rank_plan own = plan_one(p, &s, i);
        if (own.step_bytes != plan[i].step_bytes || own.step_messages != plan[i].step_messages ||
            own.step_flops != plan[i].step_flops || own.arena_bytes != plan[i].arena_bytes ||
            own.step_host_bytes != plan[i].step_host_bytes || plan[i].host != para_world_host_of(p->world, i))
            fail_msg("rank %d of %d x %d x %d: %lld bytes, %lld between hosts, %lld messages, planned %lld, %lld, %lld", i, s.mesh.batch, s.mesh.ring,
                     s.mesh.ulysses, (long long)own.step_bytes, (long long)own.step_host_bytes, (long long)own.step_messages,
                     (long long)plan[i].step_bytes, (long long)plan[i].step_host_bytes, (long long)plan[i].step_messages);
    }
}

static void equal_ranks_are_equal(void **state) {
    (void)state;
    static const struct {
        const char *config;
        int ranks, groups, first; /* on the first of two hosts */
    } cases[] = {{"flux-odd", 4, 1, 0}, {"flux-odd", 5, 1, 0}, {"flux-odd", 8, 1, 0}, {"flux-cfg", 6, 2, 0},
                 {"flux-odd", 4, 1, 2}, {"flux-odd", 8, 1, 3}, {"flux-cfg", 6, 2, 4}, {"flux-cfg", 6, 2, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        place p;
        int ranks = cases[i].ranks;
        open_on_hosts(&p, cases[i].config, ranks, cases[i].first);
        for (int batch = 1; batch <= cases[i].groups; batch++)
            for (int ring = 1; ring <= ranks; ring++) {
                if (ranks % (batch * ring)) continue;
                parallelize(&p, batch, ring, ranks / (batch * ring));
                compare_with_each(&p);
            }
        close_place(&p);
    }
}

/* A run sends what was planned, to the byte, and its activations take what was planned. */
static void runs_are_as_planned(void **state) {
    (void)state;
    static const int meshes[][4] = {{1, 2, 2, 2}, {2, 1, 2, 3}, {1, 1, 5, 2}, {2, 3, 1, 3}}; /* and ranks on the first of two hosts */
    for (size_t k = 0; k < sizeof meshes / sizeof *meshes; k++) {
        place p;
        para_plan plan;
        para_rank_plan rank[MAX_RANKS];
        para_result *result;
        const int *m = meshes[k], ranks = m[0] * m[1] * m[2];
        open_on_hosts(&p, "flux-cfg", ranks, m[3]);
        parallelize(&p, m[0], m[1], m[2]);
        assert_int_equal(para_pipeline_plan(p.pipe, &p.request, &plan), PARA_OK);
        assert_int_equal(para_pipeline_plan_ranks(p.pipe, &p.request, rank), PARA_OK);
        assert_int_equal(para_generate(p.pipe, &p.request, &result), PARA_OK);
        int64_t bytes = 0, between = 0, arena = 0, most = 0;
        for (int i = 0; i < ranks; i++) {
            bytes += rank[i].step_bytes * p.request.num_inference_steps;
            between += rank[i].step_host_bytes * p.request.num_inference_steps;
            arena += rank[i].arena_bytes;
            if (rank[i].arena_bytes > most) most = rank[i].arena_bytes;
        }
        print_message("  %d x %d x %d: %lld bytes planned, %lld exchanged, between hosts %lld, %lld; activations %lld planned, %zu taken\n", m[0],
                      m[1], m[2], (long long)bytes, (long long)result->exchanged_bytes, (long long)between,
                      (long long)result->between_hosts_bytes, (long long)most, result->arena_bytes);
        assert_int_equal(plan.ranks, ranks);
        assert_int_equal(plan.arena_bytes, arena);
        assert_int_equal(result->exchanged_bytes, bytes);
        assert_int_equal(result->between_hosts_bytes, between);
        assert_true(between > 0 && between < bytes);
        assert_non_null(strstr(plan.why_mesh, "2 hosts of "));
        assert_int_equal(result->arena_bytes, most);
        para_result_close(&result);
        close_place(&p);
    }
}

/* The slowest rank makes a mesh's time, and the fastest mesh comes first. */
static void meshes_are_sorted(void **state) {
    (void)state;
    place p;
    para_machine machine = PARA_MACHINE_INIT;
    para_mesh_plan mesh[16];
    para_rank_plan rank[MAX_RANKS];
    int count;
    open_place(&p, "flux-odd", 6); /* 3 heads */
    machine.bandwidth = 1e6;
    assert_int_equal(para_parallelize(p.pipe, NULL), PARA_OK);
    assert_int_equal(para_pipeline_plan_meshes(p.pipe, &p.request, &machine, 16, mesh, &count), PARA_OK);
    int chosen = 0;
    assert_int_equal(count, 4); /* one item: 1 x (1, 2, 3 or 6) */
    for (int i = 0; i < count; i++) {
        parallelize(&p, mesh[i].batch, mesh[i].ring, mesh[i].ulysses);
        assert_int_equal(para_pipeline_plan_ranks(p.pipe, &p.request, rank), PARA_OK);
        double slowest = 0;
        for (int k = 0; k < 6; k++) {
            double seconds = rank[k].step_flops / machine.flops + (double)rank[k].step_bytes / machine.bandwidth +
                             (double)rank[k].step_messages * machine.latency;
            if (seconds > slowest) slowest = seconds;
        }
        assert_true(fabs(slowest - mesh[i].step_seconds) <= 1e-9 * slowest);
        assert_true(i == 0 || mesh[i - 1].step_seconds <= mesh[i].step_seconds);
        chosen += mesh[i].chosen;
    }
    assert_int_equal(chosen, 1);
    assert_int_equal(para_pipeline_plan_meshes(p.pipe, &p.request, NULL, 3, mesh, &count), PARA_ERR_ARGUMENT);
    machine.flops = 0;
    assert_int_equal(para_pipeline_plan_meshes(p.pipe, &p.request, &machine, 16, mesh, &count), PARA_ERR_ARGUMENT);
    close_place(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_ranks_are_equal), cmocka_unit_test(runs_are_as_planned),
                                       cmocka_unit_test(meshes_are_sorted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
