/* CPU devices that record what they are told, alone or together, and carry it out when it is played; they refuse what GPUs refuse, count, and fail on request.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PARALLEL_RECORDING_DEVICE_H
#define TESTS_PARALLEL_RECORDING_DEVICE_H

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "comm/rank.h"
#include "core/error.h"

enum { MOST_DEVICES = 8 };

typedef enum moment { NEVER, AT_RECORD, AT_MARK, AT_AFTER, AT_OP, AT_FETCH, AT_END, AT_PLAY, MOMENTS } moment;
static const char *const moment_names[] = {"never", "record", "mark", "after", "op", "fetch", "record_end", "play"};

/* What was told one of the devices. */
typedef struct kept {
    struct kept *next;
    para_device *dev;
    size_t used; /* of its arena: memory of its own an op takes behind that */
    para_status (*again)(struct kept *k);
    union {
        para_linear_args linear;
        para_norm_args norm;
        para_residual_args residual;
        para_head_args head[PARA_OPERANDS];
        para_attention_args attention;
        para_merge_args merge;
        struct {
            para_activation f;
            int n;
            para_tensor x[2 * 16];
            float c[4];
        } views;
    } a;
    para_linear linear;
    para_norm_args norm;
    para_tensor part[PARA_OPERANDS][PARA_MOST_PLACES];
    int heads, parts;
    para_attention_args *attention_part; /* [parts] */
} kept;

struct para_recording {
    para_device *owner;
    bool joined, ended;
    kept *first, **last;
    int ops;
    atomic_int inside; /* threads that tell a device of it something */
};

struct para_mark {
    struct para_recording *in; /* that it was made in; or NULL */
    para_device *dev;
    int told; /* of the device */
};

/* One of the devices. */
typedef struct recorder {
    para_device *dev;
    para_ops table;
    const para_ops *own;
    _Atomic(struct para_recording *) in; /* what it takes part in */
    int told;                  /* ops so far */
    int joined_until;          /* of them, what the recording's owner has come after */
} recorder;

/* What they did, all together, and what is to go wrong. */
static struct {
    recorder r[MOST_DEVICES];
    int devices;
    atomic_int recordings, played, open, marks, carried_out, recorded;
    atomic_bool crowded; /* two threads at once */
    moment at;           /* when something happens to device number `who`: */
    int who;
    para_status fails;    /* it fails with this; PARA_OK: */
    atomic_bool *cancels; /* this is set */
    atomic_int happened;  /* -n: the n moments before pass */
    pthread_mutex_t ends; /* lists of recordings that have ended */
    struct para_recording *ended[4096];
    int ends_count;
} recorders = {.ends = PTHREAD_MUTEX_INITIALIZER};

static inline recorder *recorder_of(const para_device *dev) {
    for (int i = 0; i < recorders.devices; i++)
        if (recorders.r[i].dev == dev) return &recorders.r[i];
    return NULL;
}

/* What is to happen at this moment, once: when `happened` is 0. */
static inline para_status meet_fate(const recorder *r, moment at) {
    if (recorders.at != at || &recorders.r[recorders.who] != r || atomic_fetch_add(&recorders.happened, 1) != 0)
        return PARA_OK;
    if (recorders.cancels) atomic_store(recorders.cancels, true);
    return recorders.fails == PARA_OK ? PARA_OK : para_fail(recorders.fails, "the %s failed", moment_names[at]);
}

static inline void enter(recorder *r) {
    if (!r->in) return;
    if (atomic_fetch_add(&r->in->inside, 1) > 0) atomic_store(&recorders.crowded, true);
    sched_yield();
}

static inline void leave(recorder *r) {
    if (r->in) atomic_fetch_sub(&r->in->inside, 1);
}

/* Of a recording's list, filled in by the caller. */
static inline kept *keep(recorder *r, para_status (*again)(kept *k)) {
    kept *k = calloc(1, sizeof *k);
    k->dev = r->dev;
    k->used = r->dev->arena.used;
    k->again = again;
    *r->in->last = k;
    r->in->last = &k->next;
    r->in->ops++;
    r->told++;
    recorders.recorded++;
    return k;
}

/* An op: carried out at once, or kept with copies of what its arguments point at. */
#define RECORDED_OP(name, parameters, arguments, fill, again_arguments)                                                \
    static para_status again_##name(kept *k) {                                                                         \
        return recorder_of(k->dev)->own->name again_arguments;                                                         \
    }                                                                                                                  \
    static para_status recorded_##name parameters {                                                                    \
        recorder *r = recorder_of(dev);                                                                                \
        PARA_TRY(meet_fate(r, AT_OP));                                                                                 \
        if (!r->in) {                                                                                                  \
            recorders.carried_out++;                                                                                   \
            return r->own->name arguments;                                                                             \
        }                                                                                                              \
        enter(r);                                                                                                      \
        kept *k = keep(r, again_##name);                                                                               \
        fill;                                                                                                          \
        leave(r);                                                                                                      \
        return PARA_OK;                                                                                                \
    }

RECORDED_OP(copy, (para_device * dev, para_tensor dst, para_tensor src), (dev, dst, src),
            (k->a.views.x[0] = dst, k->a.views.x[1] = src), (k->dev, k->a.views.x[0], k->a.views.x[1]))
RECORDED_OP(linear, (para_device * dev, const para_linear_args *a), (dev, a),
            (k->a.linear = *a, k->linear = *a->w, k->a.linear.w = &k->linear), (k->dev, &k->a.linear))
RECORDED_OP(norm, (para_device * dev, const para_norm_args *a), (dev, a), k->a.norm = *a, (k->dev, &k->a.norm))
RECORDED_OP(
    residual, (para_device * dev, const para_residual_args *a), (dev, a),
    {
        k->a.residual = *a;
        if (a->norm) k->a.residual.norm = &k->norm;
        if (a->norm) k->norm = *a->norm;
    },
    (k->dev, &k->a.residual))
RECORDED_OP(
    heads, (para_device * dev, int n, const para_head_args *a), (dev, n, a),
    {
        k->heads = n;
        for (int i = 0; i < n; i++) {
            k->a.head[i] = a[i];
            k->a.head[i].part = k->part[i];
            if (a[i].parts) memcpy(k->part[i], a[i].part, (size_t)a[i].parts * sizeof *a[i].part);
        }
    },
    (k->dev, k->heads, k->a.head))
RECORDED_OP(attention, (para_device * dev, const para_attention_args *a), (dev, a), k->a.attention = *a,
            (k->dev, &k->a.attention))
RECORDED_OP(
    attention_parts, (para_device * dev, int parts, const para_attention_args *a), (dev, parts, a),
    {
        k->parts = parts;
        k->attention_part = calloc((size_t)parts, sizeof *a);
        memcpy(k->attention_part, a, (size_t)parts * sizeof *a);
    },
    (k->dev, k->parts, k->attention_part))
RECORDED_OP(attention_merge, (para_device * dev, const para_merge_args *a), (dev, a), k->a.merge = *a,
            (k->dev, &k->a.merge))
RECORDED_OP(activate, (para_device * dev, para_activation f, para_tensor x, para_tensor y), (dev, f, x, y),
            (k->a.views.f = f, k->a.views.x[0] = x, k->a.views.x[1] = y),
            (k->dev, k->a.views.f, k->a.views.x[0], k->a.views.x[1]))
RECORDED_OP(gated, (para_device * dev, para_activation f, para_tensor a, para_tensor b, para_tensor y),
            (dev, f, a, b, y), (k->a.views.f = f, k->a.views.x[0] = a, k->a.views.x[1] = b, k->a.views.x[2] = y),
            (k->dev, k->a.views.f, k->a.views.x[0], k->a.views.x[1], k->a.views.x[2]))
RECORDED_OP(
    combine, (para_device * dev, para_tensor y, int n, const para_tensor *x, const float *c), (dev, y, n, x, c),
    {
        k->a.views.n = n;
        k->a.views.x[4] = y;
        memcpy(k->a.views.x, x, (size_t)n * sizeof *x);
        memcpy(k->a.views.c, c, (size_t)n * sizeof *c);
    },
    (k->dev, k->a.views.x[4], k->a.views.n, k->a.views.x, k->a.views.c))

static inline para_status new_mark(recorder *r, para_mark **out) {
    *out = calloc(1, sizeof **out);
    **out = (para_mark){r->in, r->dev, r->told};
    recorders.marks++;
    return PARA_OK;
}

static para_status recorded_mark(para_device *dev, para_mark **out) {
    recorder *r = recorder_of(dev);
    PARA_TRY(meet_fate(r, AT_MARK));
    enter(r);
    new_mark(r, out);
    leave(r);
    return PARA_OK;
}

static void recorded_mark_close(para_device *dev, para_mark **mark) {
    recorder *r = recorder_of(dev);
    if (!*mark) return;
    enter(r);
    free(*mark);
    *mark = NULL;
    recorders.marks--;
    leave(r);
}

/* As CUDA's events: one of a recording leads into it, none leads in or out of it otherwise. */
static para_status go_after(recorder *r, const para_mark *mark) {
    if (mark->in && mark->in->ended) return para_fail(PARA_ERR_STATE, "a mark of a recording that has ended");
    if (!mark->in && r->in) return para_fail(PARA_ERR_STATE, "a mark from before the recording");
    if (mark->in && r->in && r->in != mark->in) return para_fail(PARA_ERR_STATE, "a mark of another recording");
    if (mark->in && !r->in) {
        if (!mark->in->joined) return para_fail(PARA_ERR_STATE, "nobody else takes part in this recording");
        r->in = mark->in;
        r->told = r->joined_until = 0;
        r->told++; /* it must be joined again */
    }
    if (mark->in && mark->in->owner == r->dev && mark->dev != r->dev) recorder_of(mark->dev)->joined_until = mark->told;
    return PARA_OK;
}

static para_status recorded_after(para_device *dev, const para_mark *mark) {
    recorder *r = recorder_of(dev);
    PARA_TRY(meet_fate(r, AT_AFTER));
    enter(r);
    bool before = r->in != NULL;
    para_status status = go_after(r, mark);
    if (before) leave(r);
    return status;
}

/* Nothing is beside the ops here, but marks must fit as on a GPU. */
static para_status recorded_fetch(para_device *dev, const para_fetch_args *a) {
    recorder *r = recorder_of(dev);
    PARA_TRY(meet_fate(r, AT_FETCH));
    if (a->filled->in != r->in || a->free->in != r->in)
        return para_fail(PARA_ERR_STATE, "a fetch with a mark from elsewhere than the recording");
    for (int i = 0; i < a->count; i++) {
        if (!r->in) {
            PARA_TRY(r->own->copy(dev, a->dst[i], a->src[i]));
            continue;
        }
        enter(r);
        kept *k = keep(r, again_copy);
        k->a.views.x[0] = a->dst[i], k->a.views.x[1] = a->src[i];
        leave(r);
    }
    enter(r);
    new_mark(r, a->arrived);
    new_mark(r, a->taken);
    leave(r);
    return PARA_OK;
}

static para_status recorded_record(para_device *dev, bool joined) {
    recorder *r = recorder_of(dev);
    PARA_TRY(meet_fate(r, AT_RECORD));
    if (r->in) return para_fail(PARA_ERR_STATE, "the device records already");
    r->in = calloc(1, sizeof *r->in);
    r->in->owner = dev;
    r->in->joined = joined;
    r->in->last = &r->in->first;
    r->told = 0;
    recorders.recordings++;
    return PARA_OK;
}

static para_status recorded_record_end(para_device *dev, para_recording **out) {
    recorder *r = recorder_of(dev);
    struct para_recording *it = r->in;
    if (!it || it->owner != dev) return para_fail(PARA_ERR_STATE, "the device does not record");
    para_status status = out ? meet_fate(r, AT_END) : PARA_OK;
    for (int i = 0; i < recorders.devices; i++) {
        recorder *other = &recorders.r[i];
        if (other->in != it) continue;
        if (out && other != r && other->joined_until != other->told)
            status = para_fail(PARA_ERR_STATE, "device %d was not joined again", i);
        other->in = NULL;
    }
    it->ended = true;
    recorders.recordings--;
    pthread_mutex_lock(&recorders.ends);
    recorders.ended[recorders.ends_count++] = it; /* marks may lead to it */
    pthread_mutex_unlock(&recorders.ends);
    if (out && status == PARA_OK) {
        *out = it;
        recorders.open++;
    }
    return status;
}

static para_status recorded_play(para_device *dev, const para_recording *recording) {
    recorder *r = recorder_of(dev);
    PARA_TRY(meet_fate(r, AT_PLAY));
    if (r->in) return para_fail(PARA_ERR_STATE, "a device that records plays nothing");
    recorders.played++;
    for (kept *k = recording->first; k; k = k->next) {
        size_t used = k->dev->arena.used;
        k->dev->arena.used = k->used;
        para_status status = k->again(k);
        k->dev->arena.used = used;
        PARA_TRY(status);
    }
    return PARA_OK;
}

static void recorded_recording_close(para_device *dev, para_recording **recording) {
    (void)dev;
    if (*recording) recorders.open--;
    *recording = NULL;
}

/* Ops that no part of a step has. */
#define NEVER_RECORDED(name, parameters, arguments)                                                                    \
    static para_status alone_##name parameters {                                                                       \
        recorder *r = recorder_of(dev);                                                                                \
        if (r->in) return para_fail(PARA_ERR_STATE, "the op %s is recorded, which these devices cannot", #name);       \
        return r->own->name arguments;                                                                                 \
    }
NEVER_RECORDED(embedding, (para_device * dev, para_tensor table, para_tensor ids, para_tensor y), (dev, table, ids, y))
NEVER_RECORDED(conv2d, (para_device * dev, const para_conv2d_args *a), (dev, a))
NEVER_RECORDED(group_norm, (para_device * dev, const para_group_norm_args *a), (dev, a))
NEVER_RECORDED(change, (para_device * dev, para_tensor before, para_tensor now, para_tensor sums),
               (dev, before, now, sums))

/* The ranks' devices record from now on. */
static inline void recorders_begin(int devices, para_device *const *dev) {
    recorders.devices = devices;
    for (int i = 0; i < devices; i++) {
        recorder *r = &recorders.r[i];
        *r = (recorder){.dev = dev[i], .own = dev[i]->ops, .table = *dev[i]->ops};
        r->table.copy = recorded_copy, r->table.linear = recorded_linear, r->table.norm = recorded_norm,
        r->table.residual = recorded_residual;
        r->table.heads = recorded_heads, r->table.attention = recorded_attention,
        r->table.attention_merge = recorded_attention_merge;
        r->table.attention_parts = recorded_attention_parts;
        r->table.activate = recorded_activate, r->table.gated = recorded_gated, r->table.combine = recorded_combine;
        r->table.embedding = alone_embedding, r->table.conv2d = alone_conv2d, r->table.group_norm = alone_group_norm,
        r->table.change = alone_change;
        r->table.mark = recorded_mark, r->table.mark_close = recorded_mark_close, r->table.after = recorded_after,
        r->table.fetch = recorded_fetch;
        r->table.record = recorded_record, r->table.record_end = recorded_record_end, r->table.play = recorded_play;
        r->table.recording_close = recorded_recording_close;
        dev[i]->ops = &r->table;
    }
}

/* And nobody is in the middle of something, or has left something. */
static inline void recorders_check(void) {
    if (recorders.crowded) fail_msg("two ranks told devices of one recording something at once");
    if (recorders.recordings || recorders.open || recorders.marks)
        fail_msg("%d devices record, %d recordings are open, %d marks are left", (int)recorders.recordings,
                 (int)recorders.open, (int)recorders.marks);
    for (int i = 0; i < recorders.devices; i++)
        if (recorders.r[i].in || recorders.r[i].dev->turns || recorders.r[i].dev->ops != &recorders.r[i].table)
            fail_msg("device %d is not as it was", i);
}

/* Frees what has ended; they are CPUs again. */
static inline void recorders_end(void) {
    recorders_check();
    for (int i = 0; i < recorders.devices; i++) recorders.r[i].dev->ops = recorders.r[i].own;
    for (int i = 0; i < recorders.ends_count; i++) {
        struct para_recording *it = recorders.ended[i];
        for (kept *k = it->first, *next; k; k = next) {
            next = k->next;
            free(k->attention_part);
            free(k);
        }
        free(it);
    }
    recorders.ends_count = recorders.devices = 0;
    recorders.played = recorders.carried_out = recorders.recorded = 0;
    recorders.at = NEVER;
    recorders.fails = PARA_OK;
    recorders.cancels = NULL;
    recorders.happened = 0;
}

#endif
