/* Timelines of dry ranks. SPDX-License-Identifier: Apache-2.0 */
#include "comm/timeline.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"

/* A part of an exchange on its link, that is not done. */
typedef struct part {
    int64_t number; /* of the exchange */
    para_rate link;
    double left, overlap; /* seconds */
} part;

enum { KNOWN = 64 };

/* Seconds that were found before: blocks are alike. */
typedef struct known_op {
    para_counted_op op;
    double seconds;
} known_op;

struct para_timeline {
    const para_rates *rates;
    para_rate (*link)(const void *user, int rank);
    const void *link_user;
    para_op_watch ops;
    para_exchange_watch exchanges;
    para_times times;
    para_status status;
    part *part; /* under way, in the order in which they started */
    size_t parts, room;
    int known;
    known_op found[KNOWN];
};

static double seconds_of(para_timeline *t, const para_counted_op *op) {
    for (int i = 0; i < t->known && i < KNOWN; i++)
        if (memcmp(&t->found[i].op, op, sizeof *op) == 0) return t->found[i].seconds;
    known_op *k = &t->found[t->known++ % KNOWN];
    k->op = *op;
    k->seconds = para_rates_op(t->rates, op);
    return k->seconds;
}

/* Exchanges go on for so long beside an op: on each link the first one. */
static void go_on(para_timeline *t, double seconds) {
    double free[PARA_RATES];
    for (int i = 0; i < PARA_RATES; i++) free[i] = seconds;
    for (size_t i = 0; i < t->parts; i++) {
        part *p = &t->part[i];
        double done = fmin(p->left, free[p->link] * p->overlap);
        if (done <= 0) continue;
        p->left -= done;
        free[p->link] -= done / p->overlap;
    }
}

static void see_op(void *user, const para_counted_op *op) {
    para_timeline *t = user;
    para_counted_op key; /* memcmp: without what lies between its fields */
    memset(&key, 0, sizeof key);
    key.rate = op->rate;
    memcpy(key.size, op->size, sizeof key.size);
    key.flops = op->flops;
    key.bytes = op->bytes;
    key.activation = op->activation;
    double seconds = seconds_of(t, &key), launch = fmin(para_rates_launch(t->rates, op), seconds);
    t->times.compute += seconds - launch;
    t->times.overhead += launch;
    t->times.flops += op->flops;
    t->times.op_bytes += op->bytes;
    t->times.ops++;
    go_on(t, seconds);
}

static double bytes_of(const para_transfer *t) {
    return (double)para_tensor_count(&t->tensor) * (double)para_dtype_size(t->tensor.dtype);
}

/* What goes to one rank stands together. */
static bool first_to(const para_transfer *transfer, int i) {
    return i == 0 || transfer[i - 1].rank != transfer[i].rank;
}

/* What of transfers goes over a link. */
static para_counted_exchange over_link(const para_timeline *t, para_rate link, int n, const para_transfer *transfer) {
    para_counted_exchange x = {.link = link};
    for (int i = 0; i < n; i++) {
        if (t->link(t->link_user, transfer[i].rank) != link) continue;
        x.bytes += bytes_of(&transfer[i]);
        x.messages++;
        x.targets += first_to(transfer, i);
    }
    return x;
}

static void see_start(void *user, int64_t number, bool stored, int sends, const para_transfer *send, int receives,
                      const para_transfer *receive) {
    para_timeline *t = user;
    for (para_rate link = PARA_RATE_PROCESS; link < PARA_RATES; link++) {
        para_counted_exchange out = over_link(t, link, sends, send), in = over_link(t, link, receives, receive);
        t->times.sent += out.bytes;
        t->times.messages += out.messages;
        if (out.messages + in.messages == 0) continue;
        para_counted_exchange x = out;
        if (x.targets == 0) x.targets = in.targets;
        if (!(t->rates->bandwidth > 0)) x.bytes = fmax(out.bytes, in.bytes);
        if (!para_grow((void **)&t->part, t->parts, &t->room, sizeof *t->part)) {
            t->status = PARA_ERR_MEMORY;
            return;
        }
        part *p = &t->part[t->parts++];
        *p = (part){.number = number, .link = link};
        p->left = para_rates_exchange(t->rates, &x, &p->overlap);
        if (stored && !(t->rates->bandwidth > 0)) p->overlap = 1; /* ops store while they compute; of a bandwidth that is given nothing hides */
        t->times.exchange += p->left;
    }
}

/* What is ahead of it on its links is done first; links go on beside each other. */
static void see_finish(void *user, int64_t number) {
    para_timeline *t = user;
    double ahead[PARA_RATES] = {0}, wait = 0;
    for (size_t i = 0; i < t->parts; i++) {
        const part *p = &t->part[i];
        ahead[p->link] += p->left;
        if (p->number == number) wait = fmax(wait, ahead[p->link]);
    }
    t->times.exposed += wait;
    double idle[PARA_RATES];
    for (int i = 0; i < PARA_RATES; i++) idle[i] = wait;
    size_t kept = 0;
    for (size_t i = 0; i < t->parts; i++) {
        part p = t->part[i];
        double done = fmin(p.left, idle[p.link]);
        p.left -= done;
        idle[p.link] -= done;
        if (p.number != number) t->part[kept++] = p;
    }
    t->parts = kept;
}

para_status para_timeline_open(para_timeline **out, const para_rates *rates,
                               para_rate (*link)(const void *user, int rank), const void *link_user) {
    para_timeline *t = *out = para_alloc(1, sizeof *t);
    if (!t) return PARA_ERR_MEMORY;
    t->rates = rates;
    t->link = link;
    t->link_user = link_user;
    t->ops = (para_op_watch){see_op, t};
    t->exchanges = (para_exchange_watch){see_start, see_finish, t};
    return PARA_OK;
}

void para_timeline_close(para_timeline **timeline) {
    if (!*timeline) return;
    para_free((*timeline)->part);
    para_free(*timeline);
    *timeline = NULL;
}

void para_timeline_watch(para_timeline *t, para_device *dev, para_endpoint *endpoint) {
    para_dry_watch(dev, &t->ops);
    if (endpoint) para_dry_endpoint_watch(endpoint, &t->exchanges);
}

para_times para_timeline_take(para_timeline *t) {
    para_times times = t->times;
    t->times = (para_times){0};
    return times;
}

para_status para_timeline_status(const para_timeline *t) {
    return t->status;
}
