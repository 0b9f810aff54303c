/* The weights table of a model. SPDX-License-Identifier: Apache-2.0 */
#include "backend/weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/block_slots.h"
#include "backend/random_weights.h"
#include "backend/weights_stream.h"
#include "core/alloc.h"
#include "core/error.h"
#include "core/float.h"

enum {
    BLOCK_ALIGN = 256,    /* of tensors in the device's block: any back end's vector loads */
    NAME_MAX_BYTES = 200, /* a longer name is cut, and then not found */
};

/* A wanted tensor; `out` belongs to the model. */
typedef struct want {
    char *name;
    para_tensor *out;
    bool vector;  /* becomes F32 */
    bool patches; /* becomes a matrix of as many rows */
    int rank;
    int64_t dim[PARA_MAX_DIMS];
    int block;        /* of the model, or PARA_NO_BLOCK */
    const char *path; /* of the file, with its place there; */
    int fd;           /* -1: there is none */
    int64_t offset;
    para_tensor found; /* in the file (dry: no data) */
    char *host;        /* where it waits for its turn in pinned memory; or NULL */
} want;

/* Layers that may become one: of wants [first, first + count), matrices; and [first + count, first + 2 count), biases. */
typedef struct join {
    para_linear *joined;
    size_t first;
    int count;
    bool biases;
} join;

struct para_weights {
    want *wants;
    size_t count, room;
    join *joins;
    size_t join_count, join_room;
    para_status failure; /* the first one while wanting */
    int64_t parameters, bytes;
    para_device *dev;        /* owner of what follows */
    void *block;             /* what load put on the device, or NULL */
    int now;                 /* the block of the model that is being listed */
    int blocks;              /* of the model: the last one listed, and one more */
    int kept, wanted_slots;  /* blocks that are not offloaded; places for the others, 0: there are none */
    para_block_slots *slots; /* where they take turns, or NULL */
    para_weights_sharing sharing;
    int64_t resident_bytes, slot_bytes, pinned_bytes; /* of a load: in the block, in the slots, on the host */
    para_random_weights random; /* what the views of a CPU point into, where there is no checkpoint */
};

para_status para_weights_open(para_weights **out) {
    *out = para_alloc(1, sizeof **out);
    if (!*out) return PARA_ERR_MEMORY;
    (*out)->now = PARA_NO_BLOCK;
    return PARA_OK;
}

void para_weights_unload(para_weights *w) {
    para_block_slots_close(&w->slots);
    para_random_weights_close(&w->random);
    if (w->block) w->dev->ops->free(w->dev, w->block);
    w->block = NULL;
}

void para_weights_close(para_weights **weights) {
    para_weights *w = *weights;
    if (!w) return;
    para_weights_unload(w);
    for (size_t i = 0; i < w->count; i++) para_free(w->wants[i].name);
    para_free(w->wants);
    para_free(w->joins);
    para_free(w);
    *weights = NULL;
}

/* The name with its suffix; NULL sets the sentence. */
static char *full_name(const char *name, const char *suffix) {
    size_t room = strlen(name) + strlen(suffix) + 1;
    char *full = para_alloc(room, 1);
    if (full) snprintf(full, room, "%s%s", name, suffix);
    return full;
}

static void add(para_weights *w, para_tensor *out, bool vector, int rank, const int64_t *dim, const char *base,
                const char *suffix) {
    *out = (para_tensor){0};
    if (w->failure != PARA_OK) return;
    char *name = para_grow((void **)&w->wants, w->count, &w->room, sizeof *w->wants) ? full_name(base, suffix) : NULL;
    if (!name) {
        w->failure = PARA_ERR_MEMORY;
        return;
    }
    want *x = &w->wants[w->count++];
    *x = (want){.name = name, .out = out, .vector = vector, .rank = rank, .block = w->now, .fd = -1};
    int64_t elements = 1;
    bool fits = true;
    for (int i = 0; i < rank; i++) {
        x->dim[i] = dim[i];
        fits = fits && dim[i] > 0 && !__builtin_mul_overflow(elements, dim[i], &elements);
    }
    /* A margin, so that bytes and the sizes of blocks cannot overflow in load. */
    if (!fits || __builtin_add_overflow(w->parameters, elements, &w->parameters) || w->parameters > INT64_MAX / 32)
        w->failure = PARA_ERR_CONFIG;
}

/* Declares `name`, the text of the caller's variable arguments. */
#define FORMAT_NAME(format)                                                                                            \
    char name[NAME_MAX_BYTES] = "";                                                                                    \
    va_list args;                                                                                                      \
    va_start(args, format);                                                                                            \
    vsnprintf(name, sizeof name, format, args);                                                                        \
    va_end(args)

void para_weights_linear(para_weights *w, para_linear *out, int64_t n, int64_t k, bool bias, const char *format, ...) {
    FORMAT_NAME(format);
    *out = (para_linear){0};
    add(w, &out->weight, false, 2, (int64_t[]){n, k}, name, ".weight");
    if (bias) add(w, &out->bias, true, 1, &n, name, ".bias");
}

void para_weights_conv2d(para_weights *w, para_linear *out, int64_t o, int64_t i, int64_t kh, int64_t kw,
                         const char *format, ...) {
    FORMAT_NAME(format);
    add(w, &out->weight, false, 4, (int64_t[]){o, i, kh, kw}, name, ".weight");
    add(w, &out->bias, true, 1, &o, name, ".bias");
}

void para_weights_conv3d(para_weights *w, para_linear *out, int64_t o, int64_t i, int64_t kt, int64_t kh, int64_t kw,
                         const char *format, ...) {
    FORMAT_NAME(format);
    add(w, &out->weight, false, 5, (int64_t[]){o, i, kt, kh, kw}, name, ".weight");
    add(w, &out->bias, true, 1, &o, name, ".bias");
}

void para_weights_patches(para_weights *w, para_linear *out, int64_t n, int64_t c, int64_t t, int64_t h, int64_t width,
                          const char *format, ...) {
    FORMAT_NAME(format);
    size_t before = w->count;
    add(w, &out->weight, false, 5, (int64_t[]){n, c, t, h, width}, name, ".weight");
    if (w->count > before) w->wants[before].patches = true;
    add(w, &out->bias, true, 1, &n, name, ".bias");
}

void para_weights_vector(para_weights *w, para_tensor *out, int64_t n, const char *format, ...) {
    FORMAT_NAME(format);
    add(w, out, true, 1, &n, name, "");
}

void para_weights_values(para_weights *w, para_tensor *out, int rank, const int64_t *dim, const char *format, ...) {
    FORMAT_NAME(format);
    add(w, out, true, rank, dim, name, "");
}

void para_weights_matrix(para_weights *w, para_tensor *out, int64_t n, int64_t k, const char *format, ...) {
    FORMAT_NAME(format);
    add(w, out, false, 2, (int64_t[]){n, k}, name, "");
}

void para_weights_tensor(para_weights *w, para_tensor *out, int rank, const int64_t *dim, const char *format, ...) {
    FORMAT_NAME(format);
    add(w, out, false, rank, dim, name, "");
}

void para_weights_join(para_weights *w, para_linear *joined, int count) {
    *joined = (para_linear){0};
    if (w->failure != PARA_OK) return;
    want *order = para_alloc(2 * (size_t)count, sizeof *order);
    if (!order || !para_grow((void **)&w->joins, w->join_count, &w->join_room, sizeof *w->joins)) {
        para_free(order);
        w->failure = PARA_ERR_MEMORY;
        return;
    }
    bool biases = w->wants[w->count - 1].vector;
    size_t first = w->count - (biases ? 2 : 1) * (size_t)count;
    for (int i = 0; biases && i < count; i++) {
        order[i] = w->wants[first + 2 * (size_t)i];
        order[count + i] = w->wants[first + 2 * (size_t)i + 1];
    }
    if (biases) memcpy(&w->wants[first], order, 2 * (size_t)count * sizeof *order);
    para_free(order);
    w->joins[w->join_count++] = (join){joined, first, count, biases};
}

void para_weights_block(para_weights *w, int i) {
    w->now = i;
    if (i >= w->blocks) w->blocks = i + 1;
}

void para_weights_stays(para_weights *w, const para_linear *layer) {
    for (size_t i = w->count; i > 0; i--) {
        want *x = &w->wants[i - 1];
        if (x->out == &layer->bias) x->block = PARA_NO_BLOCK;
        if (x->out != &layer->weight) continue;
        x->block = PARA_NO_BLOCK;
        return;
    }
}

void para_weights_offload(para_weights *w, int kept, int slots) {
    w->kept = kept;
    w->wanted_slots = slots;
}

void para_weights_share(para_weights *w, para_weights_sharing sharing) {
    w->sharing = sharing;
}

int para_weights_blocks(const para_weights *w) {
    return w->blocks;
}

static bool is_float(para_dtype dtype) {
    return dtype == PARA_F32 || dtype == PARA_F16 || dtype == PARA_BF16 || dtype == PARA_F8_E4M3;
}

/* "[3, 4]" */
static const char *shape_text(char text[128], int rank, const int64_t *dim) {
    int n = snprintf(text, 128, "[");
    for (int i = 0; i < rank; i++) n += snprintf(text + n, 128 - (size_t)n, "%s%lld", i ? ", " : "", (long long)dim[i]);
    snprintf(text + n, 128 - (size_t)n, "]");
    return text;
}

/* Looks the tensor up in the checkpoint and checks it. */
static para_status find(want *x, const para_checkpoint *checkpoint) {
    if (!para_checkpoint_find(checkpoint, x->name, &x->found, &x->path))
        return para_fail(PARA_ERR_NOT_FOUND, "'%s' has no tensor '%s'; config.json and weights do not belong together",
                         para_checkpoint_folder(checkpoint), x->name);
    const para_tensor *t = &x->found;
    x->fd = para_checkpoint_file(checkpoint, x->name, &x->offset);
    if (!is_float(t->dtype))
        return para_fail(PARA_ERR_SHAPE, "'%s': tensor '%s' has type %s; supported are F32, F16, BF16 and F8_E4M3",
                         x->path, x->name, para_checkpoint_type(checkpoint, x->name));
    if (t->rank == x->rank && memcmp(t->dim, x->dim, (size_t)x->rank * sizeof x->dim[0]) == 0) return PARA_OK;
    char found[128], wanted[128];
    return para_fail(PARA_ERR_SHAPE,
                     "'%s': tensor '%s' has shape %s where config.json asks for %s; config.json and weights "
                     "do not belong together",
                     x->path, x->name, shape_text(found, t->rank, t->dim), shape_text(wanted, x->rank, x->dim));
}

/* Whether the view may point into the mapped file. */
static bool in_place(const want *x, bool cpu) {
    return cpu && (!x->vector || (x->found.dtype == PARA_F32 && (uintptr_t)x->found.data % sizeof(float) == 0));
}

static para_dtype device_type(const want *x) {
    return x->vector ? PARA_F32 : x->found.dtype;
}

static size_t block_bytes(const want *x) {
    size_t bytes = (size_t)para_tensor_count(&x->found) * para_dtype_size(device_type(x));
    return (bytes + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
}

/* The model's view of a tensor of this type that lies at `data`. */
static para_tensor view_of(const want *x, void *data, para_dtype dtype) {
    para_tensor t = para_tensor_make(data, dtype, x->rank, x->dim);
    return x->patches ? PARA_RESHAPE(t, x->dim[0], para_tensor_count(&t) / x->dim[0]) : t;
}

/* Whether it takes turns with tensors of other blocks. Vectors stay: they are small, and the device may keep something it made of them. */
static bool takes_turns(const para_weights *w, const want *x) {
    if (w->wanted_slots == 0 || x->block == PARA_NO_BLOCK || x->vector) return false;
    int turns = w->blocks - w->kept; /* spread evenly, so that copies have the blocks between them to hide behind */
    return turns > 0 && (x->block + 1) * turns / w->blocks > x->block * turns / w->blocks;
}

/* What a load takes. bytes: of what takes turns, [blocks]. */
static void measure(para_weights *w, bool cpu, size_t *bytes) {
    size_t most = 0;
    int turns = 0;
    w->resident_bytes = w->pinned_bytes = 0;
    for (size_t i = 0; i < w->count; i++) {
        const want *x = &w->wants[i];
        if (in_place(x, cpu)) continue;
        if (takes_turns(w, x)) bytes[x->block] += block_bytes(x);
        else w->resident_bytes += (int64_t)block_bytes(x);
    }
    for (int i = 0; i < w->blocks; i++) {
        w->pinned_bytes += (int64_t)bytes[i];
        turns += bytes[i] > 0;
        if (bytes[i] > most) most = bytes[i];
    }
    w->slot_bytes = (int64_t)most * (w->wanted_slots < turns ? w->wanted_slots : turns);
}

/* Gives every tensor its place: in the file, in the block, or in its turn's slot. used: [blocks], zeroed. */
static void give_places(para_weights *w, bool cpu, size_t *used) {
    size_t at = 0;
    for (size_t i = 0; i < w->count; i++) {
        want *x = &w->wants[i];
        x->host = NULL;
        if (in_place(x, cpu)) {
            *x->out = view_of(x, x->found.data, x->found.dtype);
            continue;
        }
        char *data = (char *)w->block + at;
        if (takes_turns(w, x)) {
            data = para_block_slots_device(w->slots, x->block) + used[x->block];
            x->host = para_host_blocks_at(para_block_slots_host(w->slots), x->block) + used[x->block];
            used[x->block] += block_bytes(x);
        } else {
            at += block_bytes(x);
        }
        *x->out = view_of(x, data, device_type(x));
    }
}

static para_status bring(para_weights *w, para_device *dev) {
    para_transfer *transfer = para_alloc(w->count, sizeof *transfer);
    if (!transfer) return PARA_ERR_MEMORY;
    for (size_t i = 0; i < w->count; i++) {
        const want *x = &w->wants[i];
        transfer[i] = (para_transfer){.name = x->name,
                                      .path = x->path,
                                      .fd = x->fd,
                                      .offset = x->offset,
                                      .values = x->found.data,
                                      .from = x->found.dtype,
                                      .to = device_type(x),
                                      .count = para_tensor_count(&x->found),
                                      .dst = x->host ? x->host : x->out->data,
                                      .on_host = x->host};
    }
    para_status status = para_transfer_all(dev, transfer, w->count);
    para_free(transfer);
    return status;
}

/* From the files, from the rank that reads them, or from the files and on to others. */
static para_status bring_or_take(para_weights *w, para_device *dev) {
    const para_weights_sharing *s = &w->sharing;
    if (!s->takes) PARA_TRY(bring(w, dev));
    if (!s->pass) return PARA_OK;
    if (!s->takes && w->slots) {
        para_host_blocks *host = para_block_slots_host(w->slots);
        PARA_TRY(s->pass_host(s->user, &host));
    }
    if (w->block) PARA_TRY(s->pass(s->user, para_tensor_make(w->block, PARA_U8, 1, &w->resident_bytes)));
    if (s->takes && dev->on_load) dev->on_load(dev->load_user, w->bytes);
    return PARA_OK;
}

/* What the CPU cannot use as it lies in the file. */
static void convert(para_weights *w) {
    for (size_t i = 0; i < w->count; i++) {
        const want *x = &w->wants[i];
        if (!in_place(x, true))
            para_floats_to_f32(x->out->data, x->found.data, x->found.dtype, para_tensor_count(&x->found));
    }
}

/* bytes, used: [blocks], zeroed. */
static para_status place_all(para_weights *w, para_device *dev, size_t *bytes, size_t *used) {
    bool cpu = strcmp(dev->ops->name, "cpu") == 0;
    measure(w, cpu, bytes);
    w->dev = dev;
    if (w->pinned_bytes > 0) {
        para_host_blocks *host = NULL;
        if (w->sharing.takes) PARA_TRY(w->sharing.pass_host(w->sharing.user, &host));
        PARA_TRY(para_block_slots_open(&w->slots, dev, w->blocks, bytes, w->wanted_slots, host));
    }
    if (w->resident_bytes > 0) PARA_TRY(dev->ops->alloc(dev, (size_t)w->resident_bytes, &w->block));
    give_places(w, cpu, used);
    if (cpu) convert(w);
    else PARA_TRY(bring_or_take(w, dev));
    for (size_t i = 0; i < w->count && dev->ops->constant; i++)
        if (w->wants[i].vector) PARA_TRY(dev->ops->constant(dev, *w->wants[i].out));
    return PARA_OK;
}

/* Whether x[0..count) lie one after the other, or would where a dry device stands for one that puts them into a block; all of one type. */
static bool adjoin(const want *x, int count, bool dry) {
    for (int i = 0; i + 1 < count; i++) {
        size_t bytes = (size_t)para_tensor_count(&x[i].found) * para_dtype_size(device_type(&x[i]));
        bool next = dry ? bytes % BLOCK_ALIGN == 0 : (char *)x[i].out->data + bytes == (char *)x[i + 1].out->data;
        if (!next || device_type(&x[i + 1]) != device_type(&x[i])) return false;
    }
    return true;
}

/* wants [0, count) as one tensor: the sum of their first dimensions. */
static para_tensor as_one(const want *x, int count) {
    int64_t dim[2] = {0, x->dim[1]};
    for (int i = 0; i < count; i++) dim[0] += x[i].dim[0];
    return para_tensor_make(x->out->data, x->out->dtype, x->rank, dim);
}

static para_status join_all(para_weights *w, para_device *dev, bool dry) {
    for (size_t i = 0; i < w->join_count; i++) {
        const join *j = &w->joins[i];
        const want *weight = &w->wants[j->first], *bias = weight + j->count;
        *j->joined = (para_linear){0};
        if (!dev->joins || !adjoin(weight, j->count, dry) || (j->biases && !adjoin(bias, j->count, dry))) continue;
        j->joined->weight = as_one(weight, j->count);
        if (!j->biases) continue;
        j->joined->bias = as_one(bias, j->count);
        if (dev->ops->constant) PARA_TRY(dev->ops->constant(dev, j->joined->bias));
    }
    return PARA_OK;
}

/* Views of the right sizes whose data nobody may touch; not NULL, which would mean "none". */
static void place_dry(para_weights *w, size_t *bytes) {
    static char nowhere[BLOCK_ALIGN];
    measure(w, false, bytes);
    for (size_t i = 0; i < w->count; i++) {
        want *x = &w->wants[i];
        *x->out = view_of(x, nowhere, device_type(x));
    }
}

static para_status earlier_failure(const para_weights *w) {
    if (w->failure == PARA_ERR_MEMORY)
        return para_fail(PARA_ERR_MEMORY, "out of memory while listing the weights of a model");
    return para_fail(w->failure,
                     "a layer has a size that is not positive, or too large to count ('%s'); correct config.json",
                     w->count ? w->wants[w->count - 1].name : "");
}

/* Fills the views from what was found. */
static para_status fill(para_weights *w, para_device *dev) {
    w->bytes = 0;
    for (size_t i = 0; i < w->count; i++)
        w->bytes += para_tensor_count(&w->wants[i].found) * (int64_t)para_dtype_size(w->wants[i].found.dtype);
    bool dry = strcmp(dev->ops->name, "dry") == 0;
    size_t *bytes = para_alloc(2 * (size_t)w->blocks, sizeof *bytes);
    if (!bytes) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    if (dry) place_dry(w, bytes);
    else status = place_all(w, dev, bytes, bytes + w->blocks);
    para_free(bytes);
    if (status == PARA_OK) status = join_all(w, dev, dry);
    if (status != PARA_OK) para_weights_unload(w);
    return status;
}

para_status para_weights_load(para_weights *w, para_device *dev, const para_checkpoint *checkpoint,
                              para_dtype assumed) {
    if (w->failure != PARA_OK) return earlier_failure(w);
    if (!checkpoint && strcmp(dev->ops->name, "dry") != 0)
        return para_fail(PARA_ERR_ARGUMENT, "weights can only be assumed on a dry device; name a checkpoint");
    para_weights_unload(w);
    for (size_t i = 0; i < w->count; i++) {
        want *x = &w->wants[i];
        if (checkpoint) PARA_TRY(find(x, checkpoint));
        else x->found = para_tensor_make(NULL, assumed, x->rank, x->dim);
    }
    return fill(w, dev);
}

static bool is_scale(const want *x) {
    const char *dot = strrchr(x->name, '.');
    return x->vector && dot && strcmp(dot, ".weight") == 0;
}

para_status para_weights_load_random(para_weights *w, para_device *dev, para_dtype type) {
    if (w->failure != PARA_OK) return earlier_failure(w);
    para_weights_unload(w);
    int64_t largest = 0, largest_scale = 0;
    for (size_t i = 0; i < w->count; i++) {
        want *x = &w->wants[i];
        x->found = para_tensor_make(NULL, type, x->rank, x->dim);
        int64_t n = para_tensor_count(&x->found), *most = is_scale(x) ? &largest_scale : &largest;
        if (n > *most) *most = n;
    }
    PARA_TRY(para_random_weights_open(&w->random, type, w->parameters, largest, largest_scale));
    for (size_t i = 0; i < w->count; i++) {
        w->wants[i].found.data = para_random_weights_at(&w->random, i, is_scale(&w->wants[i]));
        w->wants[i].fd = -1;
    }
    PARA_TRY(fill(w, dev));
    if (strcmp(dev->ops->name, "cpu") != 0) para_random_weights_close(&w->random);
    return PARA_OK;
}

int64_t para_weights_parameters(const para_weights *w) {
    return w->parameters;
}

int64_t para_weights_bytes(const para_weights *w) {
    return w->bytes;
}

int64_t para_weights_device_bytes(const para_weights *w) {
    return w->resident_bytes + w->slot_bytes;
}

int64_t para_weights_pinned_bytes(const para_weights *w) {
    return w->pinned_bytes;
}

int64_t para_weights_slot_bytes(const para_weights *w) {
    return w->slot_bytes;
}

bool para_weights_offloaded(const para_weights *w) {
    return w->slots;
}

para_status para_weights_enter(para_weights *w, int block) {
    return w->slots ? para_block_slots_enter(w->slots, block) : PARA_OK;
}

para_status para_weights_leave(para_weights *w, int block) {
    return w->slots ? para_block_slots_leave(w->slots, block) : PARA_OK;
}

para_dtype para_weights_dtype(const para_weights *w) {
    for (size_t i = 0; i < w->count; i++)
        if (!w->wants[i].vector && w->wants[i].rank > 1) return w->wants[i].found.dtype;
    return PARA_DTYPE_NONE;
}
