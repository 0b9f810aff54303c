/* Frames and the bytes behind them, as far as a connection takes or gives them. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "comm/tcp/tcp_state.h"

enum { HEAD = sizeof(tcp_frame), MOST = 1 << 20 /* bytes at once, so that others have their turn */ };

typedef struct view {
    const para_tensor *tensor; /* any strides */
    int64_t element;           /* bytes */
} view;

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void copy_run(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t element, int64_t n) {
    if (to_step == element && from_step == element) {
        memcpy(to, from, (size_t)(n * element));
        return;
    }
    for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step, from + i * from_step, (size_t)element);
}

/* n elements of the tensor from the `first` on, in the order of its dimensions, to the buffer or from it. */
static void copy_elements(const view *v, int64_t first, int64_t n, char *buffer, bool to_buffer) {
    const para_tensor *t = v->tensor;
    int last = t->rank - 1;
    int64_t length = last < 0 ? 1 : t->dim[last], step = last < 0 ? v->element : t->stride[last] * v->element;
    while (n > 0) {
        int64_t at = first % length, rest = first / length, run = least(n, length - at), place = at * step;
        for (int d = last - 1; d >= 0; d--) {
            place += rest % t->dim[d] * t->stride[d] * v->element;
            rest /= t->dim[d];
        }
        char *data = (char *)t->data + place;
        if (to_buffer) copy_run(buffer, v->element, data, step, v->element, run);
        else copy_run(data, step, buffer, v->element, v->element, run);
        buffer += run * v->element;
        first += run;
        n -= run;
    }
}

static bool goes_straight(const para_mpi_request *r) {
    return r && !r->abandoned && para_tensor_contiguous(&r->tensor);
}

/* ---- out */

/* The next piece of a tensor that is not contiguous; of one that was given up, nothing in particular. */
static void fill_stage(tcp_peer *p, const tcp_outgoing *o) {
    tcp_progress *w = &p->writes;
    const para_mpi_request *r = o->request;
    w->at = 0;
    w->staged = least(PARA_TCP_STAGE, o->frame.bytes - w->moved);
    if (r->abandoned) memset(w->stage, 0, (size_t)w->staged);
    else copy_elements(&(view){&r->tensor, r->element}, w->moved / r->element, w->staged / r->element, w->stage, true);
}

/* Bytes that left, or -1. */
static int64_t write_piece(tcp_peer *p, const tcp_outgoing *o) {
    tcp_progress *w = &p->writes;
    if (w->head < HEAD) {
        int64_t moved = para_tcp_write_some(p->out, (const char *)&o->frame + w->head, HEAD - w->head);
        if (moved > 0) w->head += moved;
        return moved;
    }
    int64_t moved;
    if (w->at == w->staged && goes_straight(o->request)) {
        moved = para_tcp_write_some(p->out, (const char *)o->request->tensor.data + w->moved, least(MOST, o->frame.bytes - w->moved));
    } else {
        if (w->at == w->staged) fill_stage(p, o);
        moved = para_tcp_write_some(p->out, w->stage + w->at, w->staged - w->at);
        if (moved > 0) w->at += moved;
    }
    if (moved > 0) w->moved += moved;
    return moved;
}

void para_tcp_write_frames(para_mpi_state *s, tcp_peer *p) {
    for (int64_t all = 0; p->outgoing && !p->cut && p->out >= 0 && all < MOST;) {
        tcp_outgoing *o = p->outgoing;
        int64_t moved = write_piece(p, o);
        if (moved < 0) p->cut = true;
        if (moved <= 0) return;
        all += moved;
        if (p->writes.head < HEAD || (o->request && p->writes.moved < o->frame.bytes)) continue;
        p->outgoing = o->next;
        p->writes = (tcp_progress){.stage = p->writes.stage};
        if (o->request) para_tcp_finish(s, o->request);
        s->host.free(o);
    }
}

/* ---- in */

/* What is staged goes where it belongs, but for a piece of an element at its end. */
static void empty_stage(tcp_peer *p) {
    tcp_progress *in = &p->reads;
    const para_mpi_request *r = p->reading;
    int64_t used = in->staged;
    if (r && !r->abandoned) {
        used -= used % r->element;
        copy_elements(&(view){&r->tensor, r->element}, in->moved / r->element, used / r->element, in->stage, false);
        memmove(in->stage, in->stage + used, (size_t)(in->staged - used));
    }
    in->staged -= used;
    in->moved += used;
}

/* Bytes that came, or -1. */
static int64_t read_piece(tcp_peer *p) {
    tcp_progress *in = &p->reads;
    if (in->head < HEAD) {
        int64_t moved = para_tcp_read_some(p->in, (char *)&p->frame + in->head, HEAD - in->head);
        if (moved > 0) in->head += moved;
        return moved;
    }
    int64_t left = p->frame.bytes - in->moved - in->staged, moved;
    if (in->staged == 0 && goes_straight(p->reading)) {
        moved = para_tcp_read_some(p->in, (char *)p->reading->tensor.data + in->moved, least(MOST, left));
        if (moved > 0) in->moved += moved;
        return moved;
    }
    moved = para_tcp_read_some(p->in, in->stage + in->staged, least(PARA_TCP_STAGE - in->staged, left));
    if (moved > 0) {
        in->staged += moved;
        empty_stage(p);
    }
    return moved;
}

void para_tcp_read_frames(para_mpi_state *s, tcp_peer *p) {
    for (int64_t all = 0; !p->cut && p->in >= 0 && all < MOST;) {
        bool heads = p->reads.head < HEAD;
        int64_t moved = read_piece(p);
        if (moved < 0) p->cut = true;
        if (moved <= 0) return;
        all += moved;
        if (p->reads.head < HEAD) continue;
        if (heads) p->reading = para_tcp_take_frame(s, p, &p->frame);
        if (p->frame.kind == TCP_DATA && p->reads.moved < p->frame.bytes) continue;
        if (p->reading) para_tcp_finish(s, p->reading);
        p->reading = NULL;
        p->reads = (tcp_progress){.stage = p->reads.stage};
    }
}
