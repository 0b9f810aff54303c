/* A golden case on many meshes. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_GOLDEN_MESHES_H
#define PARA_TESTS_GOLDEN_MESHES_H

#include "golden/golden.h"
#include "mesh_list.h"
#include "sampling.h"

/* Float pixels against those of one rank. Measured: 1.8e-6 on the golden models, 1.6e-5 on tiny-flux. */
static const double pixel_bound = 1e-4;
static inline double largest_difference(const para_tensor *a, const para_tensor *b) {
    double largest = 0;
    int64_t n = para_tensor_count(a);
    const float *x = a->data, *y = b->data;
    assert_true(n == para_tensor_count(b));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - (double)y[i]) <= largest)) largest = fabs((double)x[i] - (double)y[i]);
    return largest;
}

/* The case `name`, on the model in the folder `of`, on every each_th mesh (sample_each); on every other one all ranks decode. */
static inline void golden_on_meshes(const char *name, const char *of, int items, int each_th, bool parallel_vae) {
    para_parallel_options mesh[MOST_MESHES];
    char folder[512], model[512];
    double worst_stage = 0, worst_pixel = 0;
    int n = list_meshes(mesh, items, sample_each(each_th));
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, name);
    snprintf(model, sizeof model, "%s/tests/golden/%s", PARA_SOURCE_DIR, of);
    golden_run alone = {.keep_result = true};
    golden_run_chosen(&alone, folder, model);
    assert_int_equal(alone.failures, 0);
    for (int i = 0; i < n; i++) {
        mesh[i].exchange = (para_exchange_way)(i % (PARA_EXCHANGE_DIRECT + 1));
        golden_run g = {.ranks = ranks_of(&mesh[i]), .parallel = mesh[i], .parallel_vae = parallel_vae && i % 2, .keep_result = true};
        golden_run_chosen(&g, folder, model);
        if (g.failures)
            fail_msg("%s on %d x %d x %d: %d stages differ, %s is at %.2f of its bound; %s", name, mesh[i].batch,
                     mesh[i].ring, mesh[i].ulysses, g.failures, g.worst_stage, g.worst, para_last_error());
        double d = largest_difference(&g.result->images, &alone.result->images);
        if (!(d <= pixel_bound))
            fail_msg("%s on %d x %d x %d: pixels differ by %.1e", name, mesh[i].batch, mesh[i].ring, mesh[i].ulysses, d);
        worst_stage = fmax(worst_stage, g.worst);
        worst_pixel = fmax(worst_pixel, d);
        para_result_close(&g.result);
    }
    para_result_close(&alone.result);
    print_message("%s on %d meshes: worst stage at %.2f of its bound, pixels within %.1e of one rank\n", name, n,
                  worst_stage, worst_pixel);
}

#endif
