/* Reading safetensors files. SPDX-License-Identifier: Apache-2.0 */
#include "io/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"
#include "io/file_read.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian and used in place: big-endian hosts are not supported"
#endif

enum { HEADER_MAX_BYTES = 100000000 }; /* as the reference implementation */

typedef struct entry {
    const char *name;   /* owned by the header */
    const char *type;   /* as spelled in the file; owned by the header */
    int64_t begin, end; /* bytes from the end of the header */
    para_tensor tensor;
} entry;

struct para_safetensors {
    char *path;
    int fd;    /* -1: the bytes are the caller's */
    void *map; /* NULL: likewise */
    size_t map_bytes;
    json_t *header;
    entry *entries; /* sorted by name */
    int64_t count;
};

/* Bytes per element of the types that the format knows and no tensor view has; 0 for types younger than this
 * list. */
static size_t foreign_size(const char *type) {
    static const struct {
        const char *type;
        size_t bytes;
    } known[] = {{"F64", 8}, {"C64", 8},     {"U64", 8},     {"U32", 4}, {"I16", 2},
                 {"U16", 2}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"I8", 1}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].type, type) == 0) return known[i].bytes;
    return 0;
}

static para_status bad_tensor(const para_safetensors *file, const char *name, const char *what) {
    return para_fail(PARA_ERR_FORMAT, "'%s': tensor '%.200s' %s; the file is damaged: download it again", file->path,
                     name, what);
}

/* Reads the shape; *count becomes its product. */
static para_status read_shape(const para_safetensors *file, const char *name, const json_t *shape, int64_t *dim,
                              int *rank, int64_t *count) {
    if (!json_is_array(shape)) return bad_tensor(file, name, "has no shape");
    size_t n = json_array_size(shape);
    if (n > PARA_MAX_DIMS)
        return para_fail(PARA_ERR_FORMAT, "'%s': tensor '%.200s' has %zu dimensions; supported are up to %d",
                         file->path, name, n, PARA_MAX_DIMS);
    /* Sizes of 0 count as 1 here, so that no product of some of the sizes overflows either (strides). */
    int64_t product = 1;
    bool empty = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return bad_tensor(file, name, "has a shape that is not made of whole numbers from 0 up");
        dim[i] = json_integer_value(size);
        if (dim[i] == 0) empty = true;
        else if (__builtin_mul_overflow(product, dim[i], &product))
            return bad_tensor(file, name, "has a shape whose product overflows");
    }
    *rank = (int)n;
    *count = empty ? 0 : product;
    return PARA_OK;
}

/* Checks one tensor by itself and fills `e`; its data pointer is set later. */
static para_status read_entry(const para_safetensors *file, const char *name, const json_t *value, entry *e) {
    e->name = name;
    e->type = json_string_value(json_object_get(value, "dtype"));
    if (!e->type) return bad_tensor(file, name, "has no dtype");
    int64_t dim[PARA_MAX_DIMS], count = 0, bytes;
    int rank = 0;
    PARA_TRY(read_shape(file, name, json_object_get(value, "shape"), dim, &rank, &count));
    const json_t *offsets = json_object_get(value, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return bad_tensor(file, name, "has no data_offsets [begin, end]");
    e->begin = json_integer_value(begin);
    e->end = json_integer_value(end);
    if (e->begin < 0 || e->end < e->begin) return bad_tensor(file, name, "ends before it begins");
    para_dtype dtype = para_dtype_from_name(e->type);
    size_t size = dtype == PARA_DTYPE_NONE ? foreign_size(e->type) : para_dtype_size(dtype);
    if (size > 0 && (__builtin_mul_overflow(count, (int64_t)size, &bytes) || bytes != e->end - e->begin))
        return bad_tensor(file, name, "has a shape that does not fit its byte range");
    e->tensor = para_tensor_make(NULL, dtype, rank, dim);
    return PARA_OK;
}

static int by_offset(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* The ranges, in order, must cover the data exactly. That bounds each of them, too. */
static para_status check_cover(para_safetensors *file, size_t data_bytes) {
    qsort(file->entries, (size_t)file->count, sizeof file->entries[0], by_offset);
    int64_t at = 0;
    for (int64_t i = 0; i < file->count; i++) {
        const entry *e = &file->entries[i];
        if (e->begin < at) return bad_tensor(file, e->name, "overlaps the one before it");
        if (e->begin > at) return bad_tensor(file, e->name, "has a gap before it");
        at = e->end;
    }
    if ((uint64_t)at > data_bytes)
        return para_fail(PARA_ERR_FORMAT, "'%s' is cut short: %llu bytes are missing; download it again", file->path,
                         (unsigned long long)((uint64_t)at - data_bytes));
    if ((uint64_t)at < data_bytes)
        return para_fail(PARA_ERR_FORMAT,
                         "'%s' has %llu bytes that belong to no tensor; the file is damaged: download it again",
                         file->path, (unsigned long long)(data_bytes - (uint64_t)at));
    return PARA_OK;
}

static para_status check_metadata(const para_safetensors *file, json_t *metadata) {
    const char *key;
    json_t *value;
    bool good = json_is_object(metadata);
    json_object_foreach(metadata, key, value) good = good && json_is_string(value);
    if (good) return PARA_OK;
    return para_fail(PARA_ERR_FORMAT,
                     "'%s': __metadata__ is not an object of strings; the file is damaged: download it again",
                     file->path);
}

/* Finds the header in the file's bytes. */
static para_status find_header(const para_safetensors *file, const char *bytes, size_t n, size_t *header_bytes) {
    static const char lfs[] = "version https://git-lfs";
    if (n >= sizeof lfs - 1 && memcmp(bytes, lfs, sizeof lfs - 1) == 0)
        return para_fail(PARA_ERR_FORMAT,
                         "'%s' is a Git LFS pointer, not the file itself; run 'git lfs pull' in its folder",
                         file->path);
    if (n < 8)
        return para_fail(PARA_ERR_FORMAT,
                         "'%s' is cut short: it has %zu bytes, not even the header's length; download it again",
                         file->path, n);
    uint64_t length;
    memcpy(&length, bytes, 8);
    if (length > HEADER_MAX_BYTES)
        return para_fail(PARA_ERR_FORMAT,
                         "'%s' is not a safetensors file: its header would have %llu bytes; download it again",
                         file->path, (unsigned long long)length);
    if (length > n - 8)
        return para_fail(PARA_ERR_FORMAT,
                         "'%s' is cut short: its header is longer than the file by %llu bytes; download it again",
                         file->path, (unsigned long long)(length - (n - 8)));
    if (length < 2 || bytes[8] != '{')
        return para_fail(PARA_ERR_FORMAT,
                         "'%s' is not a safetensors file: its header is no JSON object; download it again", file->path);
    *header_bytes = (size_t)length;
    return PARA_OK;
}

/* Reads the header of `file`, whose path is set, from its bytes. */
static para_status read_header(para_safetensors *file, const char *bytes, size_t n) {
    size_t header_bytes = 0;
    PARA_TRY(find_header(file, bytes, n, &header_bytes));
    json_error_t error;
    file->header = json_loadb(bytes + 8, header_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!file->header && json_error_code(&error) == json_error_out_of_memory)
        return para_fail(PARA_ERR_MEMORY, "out of memory while reading the header of '%s'", file->path);
    if (!file->header)
        return para_fail(PARA_ERR_FORMAT, "'%s': the header is damaged at byte %d: %s; download it again", file->path,
                         8 + error.position, error.text);
    file->entries = para_alloc(json_object_size(file->header), sizeof file->entries[0]);
    if (!file->entries) return PARA_ERR_MEMORY;
    const char *name;
    json_t *value;
    json_object_foreach(file->header, name, value) {
        if (strcmp(name, "__metadata__") == 0) PARA_TRY(check_metadata(file, value));
        else PARA_TRY(read_entry(file, name, value, &file->entries[file->count++]));
    }
    PARA_TRY(check_cover(file, n - 8 - header_bytes));
    /* The views are read-only by contract; the type has no const form. */
    char *data = (char *)bytes + 8 + header_bytes;
    for (int64_t i = 0; i < file->count; i++) file->entries[i].tensor.data = data + file->entries[i].begin;
    qsort(file->entries, (size_t)file->count, sizeof file->entries[0], by_name);
    return PARA_OK;
}

static para_status map_file(para_safetensors *file, const char *path) {
    size_t size = 0;
    PARA_TRY(para_file_open(path, &file->fd, &size));
    void *map = NULL; /* an empty file cannot be mapped; the header's check refuses it */
    if (size > 0) map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file->fd, 0);
    int code = errno;
    if (map == MAP_FAILED)
        return para_fail(code == ENOMEM ? PARA_ERR_MEMORY : PARA_ERR_IO, "'%s' (%zu bytes) cannot be mapped: %s", path,
                         size, strerror(code));
    file->map = map;
    file->map_bytes = size;
    return PARA_OK;
}

/* With `bytes` NULL the file at `path` is mapped. */
static para_status open_any(para_safetensors **out, const void *bytes, size_t n, const char *path) {
    *out = NULL;
    para_safetensors *file = para_alloc(1, sizeof *file);
    if (!file) return PARA_ERR_MEMORY;
    para_status status = PARA_ERR_MEMORY;
    file->fd = -1;
    file->path = para_strdup(path);
    if (!file->path) goto fail;
    if (!bytes) {
        PARA_TRY_GOTO(status, fail, map_file(file, path));
        bytes = file->map;
        n = file->map_bytes;
    }
    PARA_TRY_GOTO(status, fail, read_header(file, bytes, n));
    *out = file;
    return PARA_OK;
fail:
    para_safetensors_close(&file);
    return status;
}

para_status para_safetensors_open(para_safetensors **out, const char *path) {
    return open_any(out, NULL, 0, path);
}

para_status para_safetensors_parse(para_safetensors **out, const void *bytes, size_t n, const char *name) {
    return open_any(out, bytes ? bytes : "", bytes ? n : 0, name);
}

void para_safetensors_close(para_safetensors **file) {
    para_safetensors *f = *file;
    if (!f) return;
    if (f->map) munmap(f->map, f->map_bytes);
    if (f->fd >= 0) close(f->fd);
    json_decref(f->header);
    para_free(f->entries);
    para_free(f->path);
    para_free(f);
    *file = NULL;
}

int64_t para_safetensors_count(const para_safetensors *file) {
    return file->count;
}

const char *para_safetensors_name(const para_safetensors *file, int64_t i) {
    return file->entries[i].name;
}

para_tensor para_safetensors_tensor(const para_safetensors *file, int64_t i) {
    return file->entries[i].tensor;
}

const char *para_safetensors_type(const para_safetensors *file, int64_t i) {
    return file->entries[i].type;
}

int64_t para_safetensors_bytes(const para_safetensors *file, int64_t i) {
    return file->entries[i].end - file->entries[i].begin;
}

int para_safetensors_file(const para_safetensors *file, int64_t i, int64_t *offset) {
    if (file->fd < 0) return -1;
    *offset = (const char *)file->entries[i].tensor.data - (const char *)file->map;
    return file->fd;
}

int64_t para_safetensors_find(const para_safetensors *file, const char *name) {
    const entry key = {.name = name};
    const entry *e = bsearch(&key, file->entries, (size_t)file->count, sizeof key, by_name);
    return e ? e - file->entries : -1;
}

const char *para_safetensors_path(const para_safetensors *file) {
    return file->path;
}

const char *para_safetensors_metadata(const para_safetensors *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}
