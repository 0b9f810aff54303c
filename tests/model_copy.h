/* A copy of a model folder that a test may change: links to the files, replaced where they are changed. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_MODEL_COPY_H
#define PARA_TESTS_MODEL_COPY_H

#include <jansson.h>
#include <math.h>

#include "core/float.h"
#include "io/safetensors.h"
#include "unit/temp_folder.h"

typedef struct model_copy {
    char folder[256];
} model_copy;

static inline const char *model_path(const model_copy *m, const char *file) {
    static char paths[4][768];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", m->folder, file);
    return path;
}

static inline void model_copy_links(const char *from, const char *to) {
    assert_int_equal(mkdir(to, 0777), 0);
    DIR *dir = opendir(from);
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) {
        if (d->d_name[0] == '.') continue;
        char source[768], target[768];
        struct stat at;
        snprintf(source, sizeof source, "%.500s/%.200s", from, d->d_name);
        snprintf(target, sizeof target, "%.500s/%.200s", to, d->d_name);
        assert_int_equal(stat(source, &at), 0);
        if (S_ISDIR(at.st_mode)) model_copy_links(source, target);
        else assert_int_equal(symlink(source, target), 0);
    }
    closedir(dir);
}

/* Links `name` in the scratch folder to every file of `source`, an absolute path. */
static inline void model_copy_open(model_copy *m, const char *source, const char *name) {
    snprintf(m->folder, sizeof m->folder, "%s", temp_path(name));
    model_copy_links(source, m->folder);
}

static inline void model_copy_close(model_copy *m) {
    temp_folder_empty(m->folder);
    assert_int_equal(rmdir(m->folder), 0);
}

static inline void model_copy_remove(const model_copy *m, const char *file) {
    assert_int_equal(unlink(model_path(m, file)), 0);
}

/* Puts a file of these bytes in place of the link. */
static inline void model_copy_write(const model_copy *m, const char *file, const void *bytes, size_t n) {
    const char *path = model_path(m, file);
    unlink(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline char *model_copy_read(const model_copy *m, const char *file, size_t *n) {
    return slurp(model_path(m, file), n);
}

/* Sets member `key` of a JSON file; takes the value. NULL removes the member. */
static inline void model_copy_set(const model_copy *m, const char *file, const char *key, json_t *value) {
    json_t *root = json_load_file(model_path(m, file), 0, NULL);
    assert_non_null(root);
    if (value) json_object_set_new(root, key, value);
    else json_object_del(root, key);
    char *text = json_dumps(root, JSON_INDENT(1));
    model_copy_write(m, file, text, strlen(text));
    free(text);
    json_decref(root);
}

/* To the nearest of the type's 256 values; the library itself only reads this type. */
static inline void model_copy_f8(uint8_t *out, const float *values, int64_t n) {
    float known[256];
    uint8_t codes[256];
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)i;
    para_floats_to_f32(known, codes, PARA_F8_E4M3, 256);
    for (int64_t i = 0; i < n; i++) {
        int best = 0;
        for (int k = 1; k < 256; k++)
            if (fabsf(known[k] - values[i]) < fabsf(known[best] - values[i])) best = k;
        out[i] = (uint8_t)best;
    }
}

/* Gives `change` the values of one tensor as F32, and writes back what it made of them, in the file's type. */
static inline void model_copy_tensor(const model_copy *m, const char *file, const char *tensor,
                                     void (*change)(float *values, int64_t n, void *user), void *user) {
    size_t bytes;
    char *data = model_copy_read(m, file, &bytes);
    para_safetensors *parsed;
    assert_int_equal(para_safetensors_parse(&parsed, data, bytes, file), PARA_OK);
    int64_t i = para_safetensors_find(parsed, tensor);
    assert_true(i >= 0);
    para_tensor t = para_safetensors_tensor(parsed, i); /* points into `data` */
    int64_t n = para_tensor_count(&t);
    float *values = malloc((size_t)n * sizeof *values);
    para_floats_to_f32(values, t.data, t.dtype, n);
    change(values, n, user);
    if (t.dtype == PARA_F8_E4M3) model_copy_f8(t.data, values, n);
    else para_floats_from_f32(t.data, t.dtype, values, n);
    free(values);
    para_safetensors_close(&parsed);
    model_copy_write(m, file, data, bytes);
    free(data);
}

/* Gives `change` the header of a safetensors file as JSON, and writes it back before the same data. */
static inline void model_copy_header(const model_copy *m, const char *file, void (*change)(json_t *header)) {
    size_t bytes;
    char *data = model_copy_read(m, file, &bytes);
    uint64_t length;
    memcpy(&length, data, sizeof length);
    json_t *header = json_loadb(data + 8, length, 0, NULL);
    assert_non_null(header);
    change(header);
    char *text = json_dumps(header, JSON_COMPACT);
    uint64_t new_length = strlen(text);
    size_t rest = bytes - 8 - (size_t)length, total = 8 + (size_t)new_length + rest;
    char *out = malloc(total);
    memcpy(out, &new_length, 8);
    memcpy(out + 8, text, new_length);
    memcpy(out + 8 + new_length, data + 8 + length, rest);
    model_copy_write(m, file, out, total);
    free(out);
    free(text);
    free(data);
    json_decref(header);
}

#endif
