/* Tables of ops that note when they begin and end. SPDX-License-Identifier: Apache-2.0 */
#include "backend/profile.h"

#include <stdlib.h>

#include "backend/op_list.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"

#define PROFILED_OPS(X) PARA_COMPUTING_OPS(X) PARA_READING_OPS(X)

#define KIND(name, parameters, arguments) OP_##name,
enum { PROFILED_OPS(KIND) KINDS };
#define NAME(name, parameters, arguments) #name,
static const char *const names[] = {PROFILED_OPS(NAME)};

typedef struct noted {
    int kind;
    double seconds; /* where ops are done when they return */
} noted;

struct para_profile {
    const para_ops *own;
    para_ops table;
    noted *call; /* the i-th lies between the device's stamps 2i and 2i + 1 */
    int count, room;
};

static para_status begin(para_device *dev, int kind) {
    para_profile *p = dev->profile;
    if (p->count == p->room) {
        int room = p->room ? 2 * p->room : 1024;
        noted *grown = para_realloc(p->call, (size_t)room, sizeof *grown);
        if (!grown) return PARA_ERR_MEMORY;
        p->call = grown;
        p->room = room;
    }
    p->call[p->count] = (noted){kind, -para_seconds()};
    para_device_range(dev, names[kind]);
    return p->own->stamp ? p->own->stamp(dev, 2 * p->count) : PARA_OK;
}

static para_status end(para_device *dev, para_status status) {
    para_profile *p = dev->profile;
    para_device_range(dev, NULL);
    PARA_TRY(status);
    if (p->own->stamp) PARA_TRY(p->own->stamp(dev, 2 * p->count + 1));
    p->call[p->count++].seconds += para_seconds();
    return PARA_OK;
}

#define WRAPPER(name, parameters, arguments)                                                                           \
    static para_status timed_##name parameters {                                                                       \
        PARA_TRY(begin(dev, OP_##name));                                                                               \
        return end(dev, dev->profile->own->name arguments);                                                            \
    }
PROFILED_OPS(WRAPPER)

para_status para_profile_open(para_device *dev, para_profile **profile) {
    para_profile *p = *profile = para_alloc(1, sizeof *p);
    if (!p) return PARA_ERR_MEMORY;
    p->own = dev->ops;
    p->table = *dev->ops;
#define REPLACE(name, parameters, arguments) p->table.name = timed_##name;
    PROFILED_OPS(REPLACE)
    p->table.record = NULL;
    dev->profile = p;
    dev->ops = &p->table;
    return PARA_OK;
}

static int longest_first(const void *a, const void *b) {
    double x = ((const para_op_time *)a)->seconds, y = ((const para_op_time *)b)->seconds;
    return (x < y) - (x > y);
}

/* Sums up kind by kind, and forgets the kinds that there were none of. */
static para_status sum_up(para_device *dev, const para_profile *p, para_op_time **out, int *count) {
    para_op_time *of = *out = para_alloc(KINDS, sizeof *of);
    if (!of) return PARA_ERR_MEMORY;
    for (int i = 0; i < KINDS; i++) of[i].name = names[i];
    for (int i = 0; i < p->count; i++) {
        double seconds = p->call[i].seconds;
        if (dev->ops->stamp) PARA_TRY(dev->ops->stamp_seconds(dev, 2 * i, 2 * i + 1, &seconds));
        of[p->call[i].kind].calls++;
        of[p->call[i].kind].seconds += seconds;
    }
    qsort(of, KINDS, sizeof *of, longest_first);
    for (*count = KINDS; *count > 0 && of[*count - 1].calls == 0;) --*count;
    return PARA_OK;
}

para_status para_profile_close(para_device *dev, para_profile **profile, para_op_time **out, int *count) {
    para_profile *p = *profile;
    if (!p) return PARA_OK;
    dev->ops = p->own;
    dev->profile = NULL;
    para_status status = out ? sum_up(dev, p, out, count) : PARA_OK;
    para_free(p->call);
    para_free(p);
    *profile = NULL;
    return status;
}
