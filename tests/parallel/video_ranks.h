/* A video's transformer on 1 to 8 ranks and every mesh of them: each stage as diffusers has it, the prediction that of one rank.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_VIDEO_RANKS_H
#define PARA_TESTS_VIDEO_RANKS_H

#include "golden/video_case.h"
#include "mesh_list.h"

/* Predictions against those of one rank. */
static const double video_prediction_bound = 1e-4;

static inline double video_largest_difference(const float *a, const float *b, int64_t n) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= largest)) largest = fabs((double)a[i] - (double)b[i]);
    return largest;
}

static inline void video_on_all_meshes(const video_kind *kind, const char *name) {
    para_parallel_options mesh[MOST_MESHES];
    int n = list_meshes(mesh, 1, 1);
    double worst = 0, worst_stage = 0, reach = 0;
    video_case alone = {.kind = kind, .print = false};
    video_case_run(&alone, name, NULL);
    assert_int_equal(alone.g.failures, 0);
    for (int64_t k = 0; k < alone.head_count; k++) reach = fmax(reach, fabs((double)alone.head[0][k]));
    for (int i = 0; i < n; i++) {
        video_case c = {.kind = kind, .ring = mesh[i].ring, .ulysses = mesh[i].ulysses};
        video_case_run(&c, name, NULL);
        if (c.g.failures)
            fail_msg("%s on %d x %d: %d stages differ, %s is at %.2f of its bound; %s", name, mesh[i].ring,
                     mesh[i].ulysses, c.g.failures, c.g.worst_stage, c.g.worst, para_last_error());
        for (int run = 0; run < c.runs; run++) {
            double d = video_largest_difference(c.head[run], alone.head[run], c.head_count);
            if (!(d <= video_prediction_bound))
                fail_msg("%s on %d x %d: the prediction differs by %.1e", name, mesh[i].ring, mesh[i].ulysses, d);
            worst = fmax(worst, d);
        }
        worst_stage = fmax(worst_stage, c.g.worst);
        video_case_close(&c);
    }
    video_case_close(&alone);
    print_message("%s on %d meshes: worst stage at %.2f of its bound, predictions (within ±%.1f) within %.1e of one rank\n",
                  name, n, worst_stage, reach, worst);
}

#endif
