/* Writing safetensors files. SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"
#include "io/utf8_text.h"

static para_status out_of_memory(const char *path) {
    return para_fail(PARA_ERR_MEMORY, "out of memory while writing the header of '%s'", path);
}

static para_status check(const char *path, int n, const char *const *names, const para_tensor *tensors) {
    for (int i = 0; i < n; i++) {
        const para_tensor *t = &tensors[i];
        if (para_dtype_size(t->dtype) == 0 || !para_tensor_contiguous(t) || (!t->data && para_tensor_count(t) > 0))
            return para_fail(PARA_ERR_ARGUMENT, "'%s': tensor '%s' has no type, no data or gaps between its elements",
                             path, names[i]);
        if (strcmp(names[i], "__metadata__") == 0)
            return para_fail(PARA_ERR_ARGUMENT, "'%s': '__metadata__' is not a name for a tensor", path);
    }
    return PARA_OK;
}

static size_t tensor_bytes(const para_tensor *t) {
    return (size_t)para_tensor_count(t) * para_dtype_size(t->dtype);
}

static json_t *describe(const para_tensor *t, size_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++)
        if (json_array_append_new(shape, json_integer(t->dim[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", para_dtype_name(t->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + tensor_bytes(t)));
}

/* Adds key → value (taken over, NULL allowed) to the header. */
static para_status add(json_t *header, const char *path, const char *key, json_t *value) {
    if (json_object_get(header, key)) {
        json_decref(value);
        return para_fail(PARA_ERR_ARGUMENT, "'%s': there are two tensors or metadata keys named '%s'", path, key);
    }
    return json_object_set_new(header, key, value) == 0 ? PARA_OK : out_of_memory(path);
}

static para_status add_metadata(json_t *header, const char *path, const char *const *metadata) {
    if (!metadata || !metadata[0]) return PARA_OK;
    json_t *object = json_object();
    para_status status = add(header, path, "__metadata__", object);
    for (; status == PARA_OK && metadata[0]; metadata += 2) {
        char *value = para_utf8_clean(metadata[1]);
        status = value ? add(object, path, metadata[0], json_string(value)) : PARA_ERR_MEMORY;
        para_free(value);
    }
    return status;
}

/* Tensors go by falling element size, then in the order given, so that each is aligned to its type. */
static para_status build_header(json_t *header, const char *path, int n, const char *const *names,
                                const para_tensor *tensors, const char *const *metadata) {
    PARA_TRY(add_metadata(header, path, metadata));
    size_t at = 0;
    for (size_t size = 8; size > 0; size /= 2) {
        for (int i = 0; i < n; i++) {
            if (para_dtype_size(tensors[i].dtype) != size) continue;
            PARA_TRY(add(header, path, names[i], describe(&tensors[i], at)));
            at += tensor_bytes(&tensors[i]);
        }
    }
    return PARA_OK;
}

static para_status write_header(para_atomic_file *file, const char *text) {
    static const char blanks[8] = "        ";
    size_t length = strlen(text), padding = (8 - length % 8) % 8;
    uint64_t total = length + padding; /* little-endian host: see safetensors.c */
    PARA_TRY(para_atomic_write(file, &total, sizeof total));
    PARA_TRY(para_atomic_write(file, text, length));
    return para_atomic_write(file, blanks, padding);
}

static para_status write_data(para_atomic_file *file, int n, const para_tensor *tensors) {
    for (size_t size = 8; size > 0; size /= 2)
        for (int i = 0; i < n; i++)
            if (para_dtype_size(tensors[i].dtype) == size)
                PARA_TRY(para_atomic_write(file, tensors[i].data, tensor_bytes(&tensors[i])));
    return PARA_OK;
}

static para_status write_file(const char *path, const char *header, int n, const para_tensor *tensors) {
    para_atomic_file file;
    PARA_TRY(para_atomic_open(&file, path));
    para_status status = write_header(&file, header);
    if (status == PARA_OK) status = write_data(&file, n, tensors);
    if (status == PARA_OK) return para_atomic_commit(&file);
    para_atomic_abort(&file);
    return status;
}

para_status para_safetensors_write(const char *path, int n, const char *const *names, const para_tensor *tensors,
                                   const char *const *metadata) {
    PARA_TRY(check(path, n, names, tensors));
    json_t *header = json_object();
    para_status status = header ? build_header(header, path, n, names, tensors, metadata) : out_of_memory(path);
    char *text = status == PARA_OK ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (status != PARA_OK) return status;
    status = text ? write_file(path, text, n, tensors) : out_of_memory(path);
    free(text); /* jansson's, from malloc */
    return status;
}
