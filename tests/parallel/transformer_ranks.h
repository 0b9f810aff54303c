/* A transformer of videos on every mesh. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_TRANSFORMER_RANKS_H
#define PARA_TESTS_TRANSFORMER_RANKS_H

#include "golden/transformer_case.h"
#include "mesh_list.h"

static inline double largest_difference(const float *a, const float *b, int64_t n) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= largest)) largest = fabs((double)a[i] - (double)b[i]);
    return largest;
}

/* Predictions against those of one rank. */
static const double prediction_bound = 1e-4;

/* A case on 1 to 8 ranks and every mesh of them: each stage as diffusers has it, the prediction that of one rank. */
static inline void on_all_meshes(const transformer_kind *kind, const char *name) {
    para_parallel_options mesh[MOST_MESHES];
    int n = list_meshes(mesh, 1, 1);
    double worst = 0, worst_stage = 0, reach = 0;
    transformer_case alone = {.kind = kind, .print = false};
    transformer_case_run(&alone, name, NULL);
    assert_int_equal(alone.g.failures, 0);
    for (int64_t k = 0; k < alone.head_count; k++) reach = fmax(reach, fabs((double)alone.head[0][k]));
    for (int i = 0; i < n; i++) {
        transformer_case c = {.kind = kind, .ring = mesh[i].ring, .ulysses = mesh[i].ulysses};
        transformer_case_run(&c, name, NULL);
        if (c.g.failures)
            fail_msg("%s on %d x %d: %d stages differ, %s is at %.2f of its bound; %s", name, mesh[i].ring,
                     mesh[i].ulysses, c.g.failures, c.g.worst_stage, c.g.worst, para_last_error());
        for (int run = 0; run < c.runs; run++) {
            double d = largest_difference(c.head[run], alone.head[run], c.head_count);
            if (!(d <= prediction_bound))
                fail_msg("%s on %d x %d: the prediction differs by %.1e", name, mesh[i].ring, mesh[i].ulysses, d);
            worst = fmax(worst, d);
        }
        worst_stage = fmax(worst_stage, c.g.worst);
        transformer_case_close(&c);
    }
    transformer_case_close(&alone);
    print_message("%s on %d meshes: worst stage at %.2f of its bound, predictions (within ±%.1f) within %.1e of one rank\n",
                  name, n, worst_stage, reach, worst);
}

#endif
