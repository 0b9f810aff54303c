/* TaylorSeer. SPDX-License-Identifier: Apache-2.0 */
#include "step/taylorseer.h"

#include "core/error.h"

enum { MOST_TERMS = 4 }; /* of the op combine */

para_status para_taylorseer_open(para_taylorseer *out, para_device *dev, int derivatives, para_tensor like) {
    *out = (para_taylorseer){.derivatives = derivatives};
    for (int i = 0; i <= derivatives; i++) PARA_TRY(para_new(dev, &out->term[i], like.dtype, like.rank, like.dim));
    return PARA_OK;
}

static void swap(para_tensor *a, para_tensor *b) {
    para_tensor t = *a;
    *a = *b;
    *b = t;
}

/* How many derivatives the value at `step` brings with those that are known. The first two steps count as a start: none, as in ParaAttention. */
static int new_derivatives(const para_taylorseer *s, int step) {
    if (step < 2) return 0;
    return s->terms < s->derivatives ? s->terms : s->derivatives;
}

para_status para_taylorseer_update(para_taylorseer *s, para_device *dev, int step, para_tensor *y) {
    int n = new_derivatives(s, step);
    float elapsed = (float)(step - s->known);
    for (int i = 0; i < n; i++) {
        /* The old term makes room for its own difference, the next y. */
        PARA_TRY(dev->ops->combine(dev, s->term[i], 2, (para_tensor[]){*y, s->term[i]},
                                   (float[]){1 / elapsed, -1 / elapsed}));
        swap(&s->term[i], y);
    }
    swap(&s->term[n], y);
    s->terms = n + 1;
    s->known = step;
    return PARA_OK;
}

para_status para_taylorseer_add(const para_taylorseer *s, para_device *dev, int step, para_tensor x) {
    float c = 1, elapsed = (float)(step - s->known); /* c: elapsed to the i over i! */
    for (int i = 0; i < s->terms;) {
        para_tensor sum[MOST_TERMS] = {x};
        float factor[MOST_TERMS] = {1};
        int n = 1;
        for (; n < MOST_TERMS && i < s->terms; n++) {
            sum[n] = s->term[i];
            factor[n] = c;
            c *= elapsed / (float)++i;
        }
        PARA_TRY(dev->ops->combine(dev, x, n, sum, factor));
    }
    return PARA_OK;
}
