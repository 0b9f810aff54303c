/* A reader of the protobuf wire format for ModelProto. SPDX-License-Identifier: Apache-2.0 */
#include "text/spiece_model.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/unicode_text.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_GROUP = 3, WIRE_GROUP_END = 4, WIRE_32 = 5 };

/* A message that is being read. */
typedef struct cursor {
    const unsigned char *at, *end;
    const unsigned char *file; /* first byte of the file, for messages */
    const char *path;
} cursor;

typedef struct field {
    uint32_t number;
    int wire;
    uint64_t value;             /* of WIRE_VARINT, WIRE_32, WIRE_64 */
    const unsigned char *bytes; /* [n] of WIRE_BYTES */
    size_t n;
} field;

static para_status damaged(const cursor *c, const char *what) {
    return para_fail(PARA_ERR_FORMAT, "%s: byte %zu: %s; the file is no sentencepiece model, or cut off", c->path,
                     (size_t)(c->at - c->file), what);
}

static para_status read_varint(cursor *c, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (c->at == c->end) return damaged(c, "a number is cut off");
        unsigned char byte = *c->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return PARA_OK;
    }
    return damaged(c, "a number has more than ten bytes");
}

static para_status read_fixed(cursor *c, size_t n, uint64_t *value) {
    if ((size_t)(c->end - c->at) < n) return damaged(c, "a number is cut off");
    *value = 0;
    for (size_t i = 0; i < n; i++) *value |= (uint64_t)c->at[i] << (8 * i);
    c->at += n;
    return PARA_OK;
}

/* Tag and value of one field; groups come as their start and end tags. */
static para_status read_field(cursor *c, field *f) {
    uint64_t tag, length;
    PARA_TRY(read_varint(c, &tag));
    *f = (field){.number = (uint32_t)(tag >> 3), .wire = (int)(tag & 7)};
    if (tag >> 32 || f->number == 0 || f->number > (1u << 29) - 1)
        return damaged(c, "a field has an impossible number");
    switch (f->wire) {
    case WIRE_VARINT: return read_varint(c, &f->value);
    case WIRE_64: return read_fixed(c, 8, &f->value);
    case WIRE_32: return read_fixed(c, 4, &f->value);
    case WIRE_GROUP:
    case WIRE_GROUP_END: return PARA_OK;
    case WIRE_BYTES:
        PARA_TRY(read_varint(c, &length));
        if (length > (uint64_t)(c->end - c->at)) return damaged(c, "a field is longer than what is left");
        f->bytes = c->at;
        f->n = (size_t)length;
        c->at += f->n;
        return PARA_OK;
    default: return damaged(c, "a field has an unknown type");
    }
}

/* The next field of the message outside of groups (which no part of ModelProto is); *more false at the end. */
static para_status next_field(cursor *c, field *f, bool *more) {
    enum { DEPTH_MAX = 64 };
    uint32_t open[DEPTH_MAX]; /* numbers of the groups that are open */
    int depth = 0;
    *more = true;
    for (;;) {
        if (c->at == c->end) {
            *more = false;
            return depth ? damaged(c, "a group does not end") : PARA_OK;
        }
        PARA_TRY(read_field(c, f));
        if (f->wire == WIRE_GROUP) {
            if (depth == DEPTH_MAX) return damaged(c, "groups are nested too deeply");
            open[depth++] = f->number;
        } else if (f->wire == WIRE_GROUP_END) {
            if (depth == 0 || open[--depth] != f->number) return damaged(c, "a group ends that did not start");
        } else if (depth == 0) {
            return PARA_OK;
        }
    }
}

static cursor inside(const cursor *outer, const field *f) {
    return (cursor){f->bytes, f->bytes + f->n, outer->file, outer->path};
}

static para_status read_piece(const cursor *outer, const field *message, para_spiece *piece) {
    cursor c = inside(outer, message);
    *piece = (para_spiece){.text = "", .type = PARA_SPIECE_NORMAL};
    for (;;) {
        field f;
        bool more;
        PARA_TRY(next_field(&c, &f, &more));
        if (!more) break;
        if (f.number == 1 && f.wire == WIRE_BYTES) {
            piece->text = (const char *)f.bytes;
            piece->bytes = f.n;
        } else if (f.number == 2 && f.wire == WIRE_32) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&piece->score, &bits, sizeof piece->score);
        } else if (f.number == 3 && f.wire == WIRE_VARINT && f.value >= PARA_SPIECE_NORMAL &&
                   f.value <= PARA_SPIECE_BYTE) {
            piece->type = (para_spiece_type)f.value;
        }
    }
    size_t bad;
    if (!para_utf8_valid(piece->text, piece->bytes, &bad)) return damaged(&c, "a piece is not UTF-8");
    if (!isfinite(piece->score)) return damaged(&c, "a piece has a score that is not a finite number");
    return PARA_OK;
}

static para_status append_piece(para_spiece_model *m, const para_spiece *piece) {
    if (m->count == m->capacity) {
        size_t next = m->capacity ? m->capacity * 2 : 1024;
        para_spiece *grown = para_realloc(m->pieces, next, sizeof *grown);
        if (!grown) return PARA_ERR_MEMORY;
        m->pieces = grown;
        m->capacity = next;
    }
    m->pieces[m->count++] = *piece;
    return PARA_OK;
}

static para_status read_trainer(para_spiece_model *m, const cursor *outer, const field *message) {
    cursor c = inside(outer, message);
    for (;;) {
        field f;
        bool more;
        PARA_TRY(next_field(&c, &f, &more));
        if (!more) return PARA_OK;
        if (f.number == 3 && f.wire == WIRE_VARINT && f.value >= 1 && f.value <= 4) m->model_type = (int)f.value;
    }
}

static para_status read_normalizer(para_spiece_model *m, const cursor *outer, const field *message) {
    cursor c = inside(outer, message);
    for (;;) {
        field f;
        bool more;
        PARA_TRY(next_field(&c, &f, &more));
        if (!more) return PARA_OK;
        if (f.number != 2 || f.wire != WIRE_BYTES) continue;
        m->charsmap = f.n ? (const char *)f.bytes : NULL;
        m->charsmap_bytes = f.n;
    }
}

static para_status read_model(para_spiece_model *m, cursor *c) {
    for (;;) {
        field f;
        bool more;
        PARA_TRY(next_field(c, &f, &more));
        if (!more) return PARA_OK;
        if (f.wire != WIRE_BYTES) continue;
        if (f.number == 1) {
            para_spiece piece;
            PARA_TRY(read_piece(c, &f, &piece));
            PARA_TRY(append_piece(m, &piece));
        } else if (f.number == 2) {
            PARA_TRY(read_trainer(m, c, &f));
        } else if (f.number == 3) {
            PARA_TRY(read_normalizer(m, c, &f));
        }
    }
}

para_status para_spiece_model_read(para_spiece_model *m, const char *data, size_t bytes, const char *path) {
    *m = (para_spiece_model){.model_type = 1};
    const unsigned char *first = (const unsigned char *)data;
    cursor c = {first, first + bytes, first, path};
    para_status status = read_model(m, &c);
    if (status != PARA_OK) {
        para_free(m->pieces);
        m->pieces = NULL;
    }
    return status;
}
