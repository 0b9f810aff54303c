/* Tensors between processes: who sends what, and when it may. SPDX-License-Identifier: Apache-2.0 */
#include "comm/tcp/tcp_state.h"

static tcp_tag *tag_of(para_mpi_state *s, tcp_peer *p, int tag) {
    tcp_tag **at = &p->tags;
    while (*at && (*at)->tag != tag) at = &(*at)->next;
    if (!*at && (*at = s->host.alloc(1, sizeof **at))) (*at)->tag = tag;
    return *at;
}

static void append(para_mpi_request **list, para_mpi_request *r) {
    while (*list) list = &(*list)->next;
    *list = r;
}

/* NULL: there is none. It is out of the list then. */
static para_mpi_request *take_out(para_mpi_request **list, int tag, int64_t number) {
    while (*list && ((*list)->frame.tag != tag || (*list)->frame.number != number)) list = &(*list)->next;
    para_mpi_request *r = *list;
    if (r) {
        *list = r->next;
        r->next = NULL;
    }
    return r;
}

static bool remove_from(para_mpi_request **list, para_mpi_request *r) {
    while (*list && *list != r) list = &(*list)->next;
    if (!*list) return false;
    *list = r->next;
    r->next = NULL;
    return true;
}

static bool put_out(para_mpi_state *s, tcp_peer *p, const tcp_frame *frame, para_mpi_request *r) {
    tcp_outgoing *o = s->host.alloc(1, sizeof *o), **end = &p->outgoing;
    if (!o) return false;
    o->frame = *frame;
    o->request = r;
    while (*end) end = &(*end)->next;
    *end = o;
    if (r) r->moving = true;
    para_tcp_write_frames(s, p);
    return true;
}

static para_mpi_request *new_request(para_mpi_state *s, int kind, int tag, const para_tensor *t, size_t element) {
    para_mpi_request *r = s->host.alloc(1, sizeof *r);
    if (!r) return NULL;
    r->tensor = *t;
    r->element = (int64_t)element;
    r->frame = (tcp_frame){.kind = kind, .tag = tag, .bytes = para_tensor_count(t) * (int64_t)element};
    return r;
}

/* Takes the grant that came before its send, where it did. */
static bool take_early(para_mpi_state *s, tcp_peer *p, int tag, int64_t number) {
    tcp_early **at = &p->early;
    while (*at && ((*at)->frame.tag != tag || (*at)->frame.number != number)) at = &(*at)->next;
    tcp_early *e = *at;
    if (!e) return false;
    *at = e->next;
    s->host.free(e);
    return true;
}

int para_tcp_send(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element, para_mpi_request **request) {
    if (process < 0 || process >= s->processes) return PARA_TCP_NO_RANK;
    tcp_peer *p = &s->peer[process];
    tcp_tag *of = tag_of(s, p, tag);
    para_mpi_request *r = of ? new_request(s, TCP_DATA, tag, t, element) : NULL;
    if (!r) return PARA_MPI_NO_MEMORY;
    r->frame.number = of->sent;
    if (!take_early(s, p, tag, of->sent)) {
        append(&p->sends, r);
    } else if (!put_out(s, p, &r->frame, r)) {
        s->host.free(r);
        return PARA_MPI_NO_MEMORY;
    }
    of->sent++;
    *request = r;
    return PARA_MPI_DONE;
}

int para_tcp_receive(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element, para_mpi_request **request) {
    if (process < 0 || process >= s->processes) return PARA_TCP_NO_RANK;
    tcp_peer *p = &s->peer[process];
    tcp_tag *of = tag_of(s, p, tag);
    para_mpi_request *r = of ? new_request(s, TCP_GRANT, tag, t, element) : NULL;
    if (!r) return PARA_MPI_NO_MEMORY;
    r->receives = true;
    r->frame.number = of->received;
    if (!put_out(s, p, &r->frame, NULL)) {
        s->host.free(r);
        return PARA_MPI_NO_MEMORY;
    }
    append(&p->receives, r);
    of->received++;
    *request = r;
    return PARA_MPI_DONE;
}

void para_tcp_finish(para_mpi_state *s, para_mpi_request *r) {
    r->done = true;
    r->moving = false;
    if (r->abandoned) s->host.free(r);
}

static void take_grant(para_mpi_state *s, tcp_peer *p, const tcp_frame *frame) {
    para_mpi_request *r = take_out(&p->sends, frame->tag, frame->number);
    if (r) {
        if (put_out(s, p, &r->frame, r)) return;
        r->result = PARA_MPI_NO_MEMORY;
        r->done = true;
        return;
    }
    tcp_early *e = s->host.alloc(1, sizeof *e);
    if (!e) {
        p->cut = true; /* its send can never begin: the others see that nothing comes, and this process the memory that it lacks */
        return;
    }
    e->frame = *frame;
    e->next = p->early;
    p->early = e;
}

para_mpi_request *para_tcp_take_frame(para_mpi_state *s, tcp_peer *p, const tcp_frame *frame) {
    if (frame->kind == TCP_RENEWED) p->renewals++;
    if (p->renewals < s->renewals) return NULL; /* of a run that has failed */
    if (frame->kind == TCP_GRANT) take_grant(s, p, frame);
    if (frame->kind != TCP_DATA) return NULL;
    para_mpi_request *r = take_out(&p->receives, frame->tag, frame->number);
    if (!r) return NULL;
    if (r->frame.bytes != frame->bytes) {
        r->result = PARA_TCP_TRUNCATED;
        para_tcp_finish(s, r);
        return NULL;
    }
    r->moving = true;
    return r;
}

int para_tcp_test(para_mpi_state *s, para_mpi_request **request, bool *done) {
    if (!(*request)->done) para_tcp_progress(s);
    para_mpi_request *r = *request;
    *done = r->done;
    if (!r->done) return PARA_MPI_DONE;
    int result = r->result;
    s->host.free(r);
    *request = NULL;
    return result;
}

/* A send whose turn has come: what has begun must come to its end, or nobody could tell what follows it. */
static bool is_leaving(para_mpi_state *s, tcp_peer *p, const para_mpi_request *r) {
    for (tcp_outgoing **at = &p->outgoing; *at; at = &(*at)->next) {
        tcp_outgoing *o = *at;
        if (o->request != r) continue;
        if (at == &p->outgoing && p->writes.head > 0) return true;
        *at = o->next;
        s->host.free(o);
        return false;
    }
    return false;
}

void para_tcp_abandon(para_mpi_state *s, para_mpi_request **request) {
    para_mpi_request *r = *request;
    *request = NULL;
    for (int i = 0; i < s->processes && !r->done; i++) {
        tcp_peer *p = &s->peer[i];
        if (remove_from(r->receives ? &p->receives : &p->sends, r)) break;
        r->abandoned |= r->receives ? p->reading == r : is_leaving(s, p, r);
    }
    if (!r->abandoned) s->host.free(r);
}

/* Whoever still has these requests finds that they never end. */
static void forget(para_mpi_state *s, tcp_peer *p) {
    while (p->sends) remove_from(&p->sends, p->sends);
    while (p->receives) remove_from(&p->receives, p->receives);
    for (tcp_outgoing **at = &p->outgoing; *at;) {
        tcp_outgoing *o = *at;
        if (at == &p->outgoing && p->writes.head > 0) {
            at = &o->next;
            continue;
        }
        *at = o->next;
        if (o->request) o->request->moving = false;
        s->host.free(o);
    }
    while (p->early) {
        tcp_early *e = p->early;
        p->early = e->next;
        s->host.free(e);
    }
    while (p->tags) {
        tcp_tag *t = p->tags;
        p->tags = t->next;
        s->host.free(t);
    }
}

int para_tcp_renew(para_mpi_state *s, bool *done) {
    static const tcp_frame renewed = {.kind = TCP_RENEWED};
    *done = false;
    if (!s->renews) {
        s->renews = true;
        s->renewals++;
        for (int i = 0; i < s->processes; i++) forget(s, &s->peer[i]);
        for (int i = 0; i < s->processes; i++)
            if (!put_out(s, &s->peer[i], &renewed, NULL)) return PARA_MPI_NO_MEMORY;
    }
    para_tcp_progress(s);
    for (int i = 0; i < s->processes; i++)
        if (s->peer[i].renewals < s->renewals) return PARA_MPI_DONE;
    s->renews = false;
    *done = true;
    return PARA_MPI_DONE;
}

void para_tcp_data_close(para_mpi_state *s, tcp_peer *p) {
    if (p->outgoing && p->writes.head > 0 && p->outgoing->request && p->outgoing->request->abandoned) s->host.free(p->outgoing->request);
    p->writes.head = 0;
    if (p->reading && p->reading->abandoned) s->host.free(p->reading);
    forget(s, p);
    s->host.free(p->writes.stage);
    s->host.free(p->reads.stage);
}
