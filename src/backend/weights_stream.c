/* Reading weights ahead of their copies to the device. SPDX-License-Identifier: Apache-2.0 */
#include "backend/weights_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/float.h"

enum {
    PIECE = 8 << 20, /* bytes of a buffer: a copy of so many takes longer than its start */
    BUFFERS = 12,    /* at most PARA_COPY_SLOTS */
    READERS = 8,     /* what is cold comes faster where several ask for it */
    BEHIND = 3,      /* copies that may go on while the next piece is waited for */
};

/* Part of a transfer that fills no more than a buffer. */
typedef struct piece {
    const para_transfer *transfer;
    int64_t first, count; /* elements */
} piece;

typedef struct stream {
    para_device *dev;
    piece *piece; /* [pieces] */
    size_t pieces;
    char *buffer[BUFFERS];
    int buffers;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t change;
    size_t next;         /* the first piece that nobody reads yet */
    size_t emptied;      /* pieces whose buffers are free again */
    bool *filled;        /* [pieces] */
    size_t failed;       /* the first piece that could not be read; pieces: none */
    int error;           /* its errno; 0: the file is too short */
    bool stop;
} stream;

/* ---- Reading, on threads of its own */

static int read_file(const para_transfer *t, int64_t first, void *to, size_t bytes) {
    off_t at = t->offset + first * (int64_t)para_dtype_size(t->from);
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(t->fd, (char *)to + done, bytes - done, at + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : -1;
        done += (size_t)n;
    }
    return 0;
}

/* 0, an errno, or -1 where the file ends too early. */
static int fill(const piece *p, char *buffer) {
    const para_transfer *t = p->transfer;
    size_t size = para_dtype_size(t->from), bytes = (size_t)p->count * size;
    char *to = t->on_host ? (char *)t->dst + (size_t)p->first * para_dtype_size(t->to) : buffer;
    bool convert = t->from != t->to;
    /* What is converted is read to the buffer's end, behind all that comes of it. */
    char *raw = convert ? buffer + PIECE - bytes : to;
    const char *values = t->values ? (const char *)t->values + (size_t)p->first * size : NULL;
    if (t->fd >= 0) {
        int error = read_file(t, p->first, raw, bytes);
        if (error) return error;
    } else if (!convert) {
        memcpy(to, values, bytes);
    }
    if (convert) para_floats_to_f32((float *)(void *)to, t->fd >= 0 ? raw : values, t->from, p->count);
    return 0;
}

static void *read_pieces(void *arg) {
    stream *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stop && s->next < s->pieces) {
        size_t i = s->next;
        if (i >= s->emptied + (size_t)s->buffers) {
            pthread_cond_wait(&s->change, &s->lock);
            continue;
        }
        s->next++;
        pthread_mutex_unlock(&s->lock);
        int error = fill(&s->piece[i], s->buffer[i % (size_t)s->buffers]);
        pthread_mutex_lock(&s->lock);
        if (error && i < s->failed) s->failed = i, s->error = error < 0 ? 0 : error;
        s->filled[i] = true;
        pthread_cond_broadcast(&s->change);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* How many of `wanted` readers came to life. */
static int start_readers(stream *s, pthread_t *reader, int wanted) {
    sigset_t all, before;
    int n = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the program's own threads */
    while (n < wanted && pthread_create(&reader[n], NULL, read_pieces, s) == 0) n++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n;
}

/* ---- Copying, on the calling thread */

static para_status wait_for(stream *s, size_t i) {
    pthread_mutex_lock(&s->lock);
    while (!s->filled[i]) pthread_cond_wait(&s->change, &s->lock);
    bool failed = s->failed <= i;
    const para_transfer *t = s->piece[failed ? s->failed : i].transfer;
    int error = s->error;
    pthread_mutex_unlock(&s->lock);
    if (!failed) return PARA_OK;
    if (error) return para_fail(PARA_ERR_IO, "'%s': tensor '%s' cannot be read: %s", t->path, t->name, strerror(error));
    return para_fail(PARA_ERR_IO, "'%s' became shorter while its tensor '%s' was read; download it again", t->path, t->name);
}

static para_status copy_piece(stream *s, size_t i) {
    const piece *p = &s->piece[i];
    const para_transfer *t = p->transfer;
    const para_copies *copies = s->dev->ops->copies;
    int slot = (int)(i % (size_t)s->buffers);
    size_t size = para_dtype_size(t->to);
    void *dst = (char *)t->dst + (size_t)p->first * size;
    if (t->on_host) return PARA_OK;
    if (copies) return copies->begin(s->dev, slot, dst, s->buffer[slot], (size_t)p->count * size);
    return s->dev->ops->upload(s->dev, para_tensor_make(dst, t->to, 1, &p->count), s->buffer[slot]);
}

/* Buffers of pieces [0, end) may be filled again. */
static para_status give_back(stream *s, size_t end) {
    const para_copies *copies = s->dev->ops->copies;
    if (end == 0) return PARA_OK;
    if (copies) PARA_TRY(copies->done(s->dev, (int)((end - 1) % (size_t)s->buffers)));
    pthread_mutex_lock(&s->lock);
    s->emptied = end;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
    return PARA_OK;
}

static para_status copy_pieces(stream *s) {
    const size_t behind = (size_t)(s->buffers > BEHIND ? BEHIND : s->buffers - 1);
    for (size_t i = 0; i < s->pieces; i++) {
        const piece *p = &s->piece[i];
        PARA_TRY(para_device_check(s->dev));
        PARA_TRY(wait_for(s, i));
        PARA_TRY(copy_piece(s, i));
        if (i >= behind) PARA_TRY(give_back(s, i - behind + 1));
        if (s->dev->on_load) s->dev->on_load(s->dev->load_user, p->count * (int64_t)para_dtype_size(p->transfer->from));
    }
    for (size_t i = s->pieces > behind ? s->pieces - behind : 0; i < s->pieces; i++) PARA_TRY(give_back(s, i + 1));
    return PARA_OK;
}

/* ---- Both together */

static int by_place(const void *a, const void *b) {
    const para_transfer *x = a, *y = b;
    if (x->fd != y->fd) return x->fd < y->fd ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Elements of a piece: what is converted and what it becomes go into one buffer without touching. */
static int64_t piece_of(const para_transfer *t) {
    return PIECE / (int64_t)(t->from == t->to ? para_dtype_size(t->to) : 2 * para_dtype_size(t->to));
}

static para_status cut(stream *s, const para_transfer *t, size_t count) {
    for (size_t i = 0; i < count; i++) s->pieces += (size_t)((t[i].count + piece_of(&t[i]) - 1) / piece_of(&t[i]));
    s->failed = s->pieces;
    s->piece = para_alloc(s->pieces, sizeof *s->piece);
    s->filled = para_alloc(s->pieces, sizeof *s->filled);
    if (!s->piece || !s->filled) return PARA_ERR_MEMORY;
    piece *p = s->piece;
    for (size_t i = 0; i < count; i++)
        for (int64_t first = 0, most = piece_of(&t[i]); first < t[i].count; first += most)
            *p++ = (piece){&t[i], first, t[i].count - first < most ? t[i].count - first : most};
    return PARA_OK;
}

static para_status open_buffers(stream *s) {
    const para_copies *copies = s->dev->ops->copies;
    s->buffers = s->pieces < BUFFERS ? (int)s->pieces : BUFFERS;
    for (int i = 0; i < s->buffers; i++) {
        void *p = NULL;
        if (copies) PARA_TRY(copies->pin(s->dev, PIECE, &p));
        else if (!(p = para_alloc_aligned(PIECE))) return PARA_ERR_MEMORY;
        s->buffer[i] = p;
    }
    return PARA_OK;
}

static void close_buffers(stream *s) {
    const para_copies *copies = s->dev->ops->copies;
    for (int i = 0; i < BUFFERS; i++) {
        if (copies) copies->unpin(s->dev, s->buffer[i]);
        else para_free(s->buffer[i]);
    }
}

static para_status run(stream *s) {
    pthread_t reader[READERS];
    int readers = start_readers(s, reader, s->pieces < READERS ? (int)s->pieces : READERS);
    para_status status = readers > 0 ? copy_pieces(s)
                                     : para_fail(PARA_ERR_MEMORY, "no thread could be started to read weights");
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < readers; i++) pthread_join(reader[i], NULL);
    return status;
}

para_status para_transfer_all(para_device *dev, para_transfer *transfers, size_t count) {
    stream s = {.dev = dev};
    if (count == 0) return PARA_OK;
    qsort(transfers, count, sizeof *transfers, by_place);
    for (size_t i = 0; i < count; i++)
        if (transfers[i].fd >= 0 && (i == 0 || transfers[i].fd != transfers[i - 1].fd))
            posix_fadvise(transfers[i].fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* the pieces follow each other closely enough */
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.change, NULL);
    para_status status = cut(&s, transfers, count);
    if (status == PARA_OK) status = open_buffers(&s);
    if (status == PARA_OK) status = run(&s);
    close_buffers(&s);
    pthread_cond_destroy(&s.change);
    pthread_mutex_destroy(&s.lock);
    para_free(s.filled);
    para_free(s.piece);
    return status;
}
