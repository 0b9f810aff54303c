/* Plans of many ranks: what they say of equal ranks holds for each, and what they predict is what a run does. SPDX-License-Identifier: Apache-2.0 */
#include "golden/golden.h"

#include "core/alloc.h"
#include "pipeline/plan.h"
#include "unit/temp_folder.h"

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
                            .arena_bytes = all.arena_bytes,
                            .weight_bytes = all.weight_bytes};
}

static void compare_with_each(place *p) {
    para_rank_plan plan[MAX_RANKS];
    para_plan_subject s;
    assert_int_equal(para_pipeline_plan_ranks(p->pipe, &p->request, plan), PARA_OK);
    assert_int_equal(para_plan_subject_open(p->pipe, &p->request, &s), PARA_OK);
    for (int i = 0; i < para_world_size(p->world); i++) {
        para_rank_plan own = plan_one(p, &s, i);
        if (own.step_bytes != plan[i].step_bytes || own.step_messages != plan[i].step_messages ||
            own.step_flops != plan[i].step_flops || own.arena_bytes != plan[i].arena_bytes || own.weight_bytes != plan[i].weight_bytes ||
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
        assert_int_equal(rank[0].weight_bytes, plan.weight_bytes);
        assert_true(rank[1].weight_bytes > 0 && rank[1].weight_bytes < rank[0].weight_bytes); /* it encodes and decodes nothing */
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

/* Rates of a machine whose exchanges are slow, in the file that they come from. */
static void write_machine(const char *path, double exchange_rate) {
    para_rate_set set = {.device = "CPU", .dtype = PARA_F32, .threads = 1, .ranks = 6, .launch = 1e-7, .overlap = {0.5, 0.5, 0.5}};
    para_machine_file m = {0};
    for (para_rate r = 0; r < PARA_RATES; r++)
        for (int i = 0; i < 2; i++) {
            double row[PARA_RATE_COLUMNS] = {i ? 4096 : 1, i ? 4096 : 1, i ? 4096 : 1, i ? 128 : 1}, work = i ? 4096.0 * 4096 * 4096 : 1;
            if (r == PARA_RATE_ATTENTION) work = row[0] * row[1] * row[2] * row[3];
            if (r >= PARA_RATE_COPY) work = row[0];
            if (r >= PARA_RATE_PROCESS) work = row[1];
            row[para_rate_columns(r) - 1] = r >= PARA_RATE_PROCESS ? 1e-5 + work / exchange_rate : 1e-7 + work / (r >= PARA_RATE_COPY ? 1e9 : 1e10);
            assert_int_equal(para_rate_add(&set, r, row), PARA_OK);
        }
    assert_int_equal(para_machine_take(&m, &set), PARA_OK);
    assert_int_equal(para_machine_write(&m, path), PARA_OK);
    para_machine_close(&m);
}

/* Times rest on what is counted: every FLOP and byte of the ops, every byte and message of the exchanges. */
static void times_rest_on_the_counts(void **state) {
    (void)state;
    static const int meshes[][3] = {{1, 1, 1}, {1, 2, 2}, {2, 1, 2}, {1, 1, 5}, {2, 3, 1}};
    write_machine(temp_path("machine.json"), 1e9);
    for (size_t k = 0; k < sizeof meshes / sizeof *meshes; k++) {
        place p;
        para_plan_subject s;
        para_dry_result dry;
        const int *m = meshes[k], ranks = m[0] * m[1] * m[2];
        open_place(&p, "flux-cfg", ranks);
        parallelize(&p, m[0], m[1], m[2]);
        assert_int_equal(para_use_machine(p.pipe, temp_path("machine.json")), PARA_OK);
        assert_int_equal(para_plan_subject_open(p.pipe, &p.request, &s), PARA_OK);
        const para_rates rates = para_pipeline_rates(p.pipe);
        for (int i = 0; i < ranks; i++) {
            para_dry_rank rank = {.index = i, .size = ranks, .like = s.like, .rates = &rates};
            assert_int_equal(para_dry_run(p.pipe, &p.request, &s.geometry, &s.mesh, rank, &dry), PARA_OK);
            const para_counts *c = &dry.stage[PARA_STAGE_DENOISE];
            const para_times *t = &dry.time[PARA_STAGE_DENOISE];
            assert_true(c->ops > 0 && t->ops == c->ops);
            assert_true(fabs(t->flops - c->matmul_flops - c->attention_flops) <= 1e-9 * t->flops);
            assert_true(fabs(t->op_bytes - c->bytes) <= 1e-9 * c->bytes);
            int64_t sent = (int64_t)dry.time[PARA_STAGE_TEXT].messages + (int64_t)t->messages + (int64_t)dry.time[PARA_STAGE_DECODE].messages;
            assert_true(ranks == 1 || t->messages > 0);
            assert_true(sent <= dry.exchanged_messages && (int64_t)t->sent >= dry.exchanged_bytes); /* the latents of the end come on top */
        }
        close_place(&p);
    }
}

/* By measured rates, too, the fastest mesh comes first, and that, or one that is as fast, is what a request gets. */
static void measured_rates_choose(void **state) {
    (void)state;
    static const double links[] = {1e5, 1e8, 1e11};
    para_mesh_plan mesh[16];
    int count, kinds[2] = {0};
    for (size_t k = 0; k < sizeof links / sizeof *links; k++) {
        place p;
        write_machine(temp_path("machine.json"), links[k]);
        open_place(&p, "flux-cfg", 6);
        p.request.true_cfg_scale = 3;
        assert_int_equal(para_parallelize(p.pipe, NULL), PARA_OK);
        assert_null(para_machine_in_use(p.pipe));
        assert_int_equal(para_use_machine(p.pipe, temp_path("machine.json")), PARA_OK);
        assert_string_equal(para_machine_in_use(p.pipe), temp_path("machine.json"));
        assert_int_equal(para_pipeline_plan_meshes(p.pipe, &p.request, NULL, 16, mesh, &count), PARA_OK);
        int chosen = 0;
        for (int i = 0; i < count; i++) {
            const para_mesh_plan *q = &mesh[i];
            assert_true(fabs(q->compute_seconds + q->exchange_seconds + q->overhead_seconds - q->step_seconds) <= 1e-9 * q->step_seconds);
            assert_true(q->compute_seconds > 0 && q->overhead_seconds > 0 && q->prepare_seconds > 0);
            assert_true(i == 0 || mesh[i - 1].step_seconds <= q->step_seconds);
            if (!q->chosen) continue;
            chosen++;
            assert_true(q->step_seconds <= 1.01 * mesh[0].step_seconds);
            kinds[q->batch == 2]++;
        }
        assert_int_equal(chosen, 1);
        print_message("  %g bytes a second: batch %d x ring %d x ulysses %d in %.3g ms, the last of %d in %.3g\n", links[k], mesh[0].batch, mesh[0].ring,
                      mesh[0].ulysses, 1e3 * mesh[0].step_seconds, count, 1e3 * mesh[count - 1].step_seconds);
        close_place(&p);
    }
    assert_true(kinds[1] > 0);
}

/* Allocations of a request, its mesh in *ring. */
static long drawn(place *p, int height, int *ring) {
    para_result *result = NULL;
    para_request r = p->request;
    r.height = height;
    para_alloc_fail_after(0);
    if (para_generate(p->pipe, &r, &result) != PARA_OK) fail_msg("%s", para_last_error());
    long count = para_alloc_count();
    *ring = result->ring;
    para_result_close(&result);
    return count;
}

/* A request like the last one gets its mesh without another prediction; another size, or another setting, does not. */
static void a_mesh_is_predicted_once(void **state) {
    (void)state;
    place p;
    int ring, mesh;
    write_machine(temp_path("machine.json"), 1e11);
    open_place(&p, "flux-cfg", 4);
    const int height = p.request.height;
    assert_int_equal(para_parallelize(p.pipe, NULL), PARA_OK);
    assert_int_equal(para_use_machine(p.pipe, temp_path("machine.json")), PARA_OK);
    drawn(&p, height, &mesh); /* loads */
    assert_int_equal(para_parallelize(p.pipe, NULL), PARA_OK);
    long predicted = drawn(&p, height, &ring), again = drawn(&p, height, &ring);
    print_message("  %ld allocations with a prediction, %ld without\n", predicted, again);
    assert_true(again < predicted * 3 / 4);
    assert_int_equal(ring, mesh);
    assert_true(drawn(&p, height + 32, &ring) > again * 4 / 3);
    assert_true(drawn(&p, height, &ring) > again * 4 / 3);
    assert_true(drawn(&p, height, &ring) < predicted * 3 / 4);
    parallelize(&p, 1, 4, 1);
    drawn(&p, height, &ring);
    assert_int_equal(ring, 4);
    close_place(&p);
}

/* What a file must have for a pipeline, and which mesh plans take without one. */
static void machines_that_do_not_fit(void **state) {
    (void)state;
    place p;
    para_pipeline *bf16;
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    char folder[512];
    write_machine(temp_path("machine.json"), 1e9);
    open_place(&p, "flux-odd", 2);
    o.dtype = PARA_BF16;
    snprintf(folder, sizeof folder, "%s/tests/golden/flux-odd", PARA_SOURCE_DIR);
    assert_int_equal(para_pipeline_open(&bf16, p.world, folder, &o), PARA_OK);
    assert_int_equal(para_use_machine(bf16, temp_path("machine.json")), PARA_ERR_CONFIG);
    assert_non_null(strstr(para_last_error(), "has no rates for BF16, only for F32 of CPU; measure them with para bench machine --dtype"));
    assert_int_equal(para_use_machine(bf16, temp_path("none.json")), PARA_ERR_NOT_FOUND);
    assert_null(para_machine_in_use(bf16));
    para_pipeline_close(&bf16);
    /* The cache folder's: where it is damaged, or there is none, nothing is used and nothing fails. */
    char own[600], cache[512];
    assert_non_null(realpath(temp_path("."), cache));
    setenv("XDG_CACHE_HOME", cache, 1);
    assert_int_equal(para_use_machine(p.pipe, NULL), PARA_OK);
    assert_null(para_machine_in_use(p.pipe));
    snprintf(own, sizeof own, "%s/paraattn", cache);
    assert_int_equal(mkdir(own, 0777), 0);
    snprintf(own, sizeof own, "%s/paraattn/machine.json", cache);
    temp_write("paraattn/machine.json", "{}", 2);
    assert_int_equal(para_use_machine(p.pipe, NULL), PARA_OK);
    assert_null(para_machine_in_use(p.pipe));
    write_machine(own, 1e9);
    assert_int_equal(para_use_machine(p.pipe, NULL), PARA_OK);
    assert_string_equal(para_machine_in_use(p.pipe), own);
    close_place(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_ranks_are_equal), cmocka_unit_test(runs_are_as_planned),
                                       cmocka_unit_test(meshes_are_sorted),     cmocka_unit_test(times_rest_on_the_counts),
                                       cmocka_unit_test(measured_rates_choose), cmocka_unit_test(a_mesh_is_predicted_once),
                                       cmocka_unit_test(machines_that_do_not_fit)};
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
