/* The weights of one component: a file or shards. SPDX-License-Identifier: Apache-2.0 */
#include "io/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"

/* A tensor: its file and its place there. */
typedef struct entry {
    const char *name; /* owned by the file */
    int file;
    int64_t tensor;
} entry;

struct para_checkpoint {
    char *folder;
    para_safetensors **files;
    int file_count;
    entry *entries; /* sorted by name */
    int64_t count;
};

static const char *const stems[] = {"diffusion_pytorch_model", "model"};
enum { STEMS = sizeof stems / sizeof stems[0] };

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0; /* a dangling link is there, and opening it says what is wrong */
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* The only file of a component that has no index. */
static para_status open_single(para_checkpoint *c, const char *path) {
    c->files = para_alloc(1, sizeof c->files[0]);
    if (!c->files) return PARA_ERR_MEMORY;
    PARA_TRY(para_safetensors_open(&c->files[0], path));
    c->file_count = 1;
    int64_t n = para_safetensors_count(c->files[0]);
    c->entries = para_alloc((size_t)n, sizeof c->entries[0]);
    if (!c->entries) return PARA_ERR_MEMORY;
    for (c->count = 0; c->count < n; c->count++)
        c->entries[c->count] = (entry){para_safetensors_name(c->files[0], c->count), 0, c->count};
    return PARA_OK;
}

/* Opens the shard that the index names, unless it is open; *out is its number. */
static para_status open_shard(para_checkpoint *c, const char *index, const char *shard, int *out) {
    if (!*shard || strpbrk(shard, "/\\") || strstr(shard, ".."))
        return para_fail(PARA_ERR_FORMAT, "'%s' names the shard '%.200s', which is not a plain file name", index,
                         shard);
    for (int i = 0; i < c->file_count; i++) {
        if (strcmp(strrchr(para_safetensors_path(c->files[i]), '/') + 1, shard) == 0) {
            *out = i;
            return PARA_OK;
        }
    }
    char *path = para_path_join(c->folder, shard, "");
    if (!path) return PARA_ERR_MEMORY;
    para_status status;
    para_safetensors **files = para_realloc(c->files, (size_t)c->file_count + 1, sizeof files[0]);
    if (files) {
        c->files = files;
        files[c->file_count] = NULL;
        if (exists(path)) status = para_safetensors_open(&files[c->file_count], path);
        else
            status = para_fail(PARA_ERR_NOT_FOUND, "'%s' is missing, a shard named by '%s'; download the folder again",
                               path, index);
    } else {
        status = PARA_ERR_MEMORY;
    }
    para_free(path);
    if (status == PARA_OK) *out = c->file_count++;
    return status;
}

static para_status read_index(para_checkpoint *c, const para_config *index) {
    json_t *map = json_object_get(index->root, "weight_map");
    if (!json_is_object(map))
        return para_fail(PARA_ERR_FORMAT, "'%s' has no object \"weight_map\"; download it again", index->path);
    c->entries = para_alloc(json_object_size(map), sizeof c->entries[0]);
    if (!c->entries) return PARA_ERR_MEMORY;
    const char *name;
    json_t *value;
    int shard = 0;
    json_object_foreach(map, name, value) {
        if (!json_is_string(value))
            return para_fail(PARA_ERR_FORMAT, "'%s': the shard of '%.200s' is not a string; download it again",
                             index->path, name);
        PARA_TRY(open_shard(c, index->path, json_string_value(value), &shard));
        int64_t i = para_safetensors_find(c->files[shard], name);
        if (i < 0)
            return para_fail(PARA_ERR_NOT_FOUND,
                             "tensor '%.200s' is not in '%s', where '%s' says it is; download the folder again", name,
                             para_safetensors_path(c->files[shard]), index->path);
        c->entries[c->count++] = (entry){para_safetensors_name(c->files[shard], i), shard, i};
    }
    qsort(c->entries, (size_t)c->count, sizeof c->entries[0], by_name);
    return PARA_OK;
}

static para_status open_index(para_checkpoint *c, const char *path) {
    para_config index;
    PARA_TRY(para_config_read(&index, path));
    para_status status = read_index(c, &index);
    para_config_close(&index);
    return status;
}

/* Says what the folder holds instead of weights. */
static para_status nothing_found(const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir)
        return para_fail(PARA_ERR_NOT_FOUND, "the folder '%s' cannot be read: %s; check the path", folder,
                         strerror(errno));
    char bin[256] = "", other[256] = "";
    for (const struct dirent *d; (d = readdir(dir));) {
        if (ends_with(d->d_name, ".bin")) snprintf(bin, sizeof bin, "%s", d->d_name);
        if (ends_with(d->d_name, ".safetensors")) snprintf(other, sizeof other, "%s", d->d_name);
    }
    closedir(dir);
    if (*other)
        return para_fail(PARA_ERR_NOT_FOUND,
                         "'%s' holds '%s' but no '%s.safetensors' or '%s.safetensors'; rename it, or "
                         "download the folder again",
                         folder, other, stems[0], stems[1]);
    if (*bin)
        return para_fail(PARA_ERR_NOT_FOUND,
                         "'%s' holds weights only as '%s', a pickle; download the *.safetensors files, or "
                         "convert it to them",
                         folder, bin);
    return para_fail(PARA_ERR_NOT_FOUND,
                     "'%s' holds no weights: neither '%s.safetensors' nor '%s.safetensors', nor their index; "
                     "download them",
                     folder, stems[0], stems[1]);
}

/* Opens the first of the candidates that exists. */
static para_status open_first(para_checkpoint *c) {
    for (int i = 0; i < STEMS; i++) {
        static const char *const suffixes[] = {".safetensors", ".safetensors.index.json"};
        for (int k = 0; k < 2; k++) {
            char *path = para_path_join(c->folder, stems[i], suffixes[k]);
            if (!path) return PARA_ERR_MEMORY;
            bool found = exists(path);
            para_status status = PARA_OK;
            if (found) status = k == 0 ? open_single(c, path) : open_index(c, path);
            para_free(path);
            if (found) return status;
        }
    }
    return nothing_found(c->folder);
}

para_status para_checkpoint_open(para_checkpoint **out, const char *folder) {
    *out = NULL;
    para_checkpoint *c = para_alloc(1, sizeof *c);
    if (!c) return PARA_ERR_MEMORY;
    c->folder = para_strdup(folder);
    para_status status = c->folder ? open_first(c) : PARA_ERR_MEMORY;
    if (status != PARA_OK) para_checkpoint_close(&c);
    else *out = c;
    return status;
}

void para_checkpoint_close(para_checkpoint **checkpoint) {
    para_checkpoint *c = *checkpoint;
    if (!c) return;
    for (int i = 0; i < c->file_count; i++) para_safetensors_close(&c->files[i]);
    para_free(c->files);
    para_free(c->entries);
    para_free(c->folder);
    para_free(c);
    *checkpoint = NULL;
}

static const entry *find(const para_checkpoint *c, const char *name) {
    const entry key = {.name = name};
    return bsearch(&key, c->entries, (size_t)c->count, sizeof key, by_name);
}

bool para_checkpoint_find(const para_checkpoint *c, const char *name, para_tensor *out, const char **path) {
    const entry *e = find(c, name);
    if (!e) return false;
    *out = para_safetensors_tensor(c->files[e->file], e->tensor);
    if (path) *path = para_safetensors_path(c->files[e->file]);
    return true;
}

int para_checkpoint_file(const para_checkpoint *c, const char *name, int64_t *offset) {
    const entry *e = find(c, name);
    return e ? para_safetensors_file(c->files[e->file], e->tensor, offset) : -1;
}

const char *para_checkpoint_type(const para_checkpoint *c, const char *name) {
    const entry *e = find(c, name);
    return e ? para_safetensors_type(c->files[e->file], e->tensor) : NULL;
}

const char *para_checkpoint_folder(const para_checkpoint *c) {
    return c->folder;
}

int64_t para_checkpoint_count(const para_checkpoint *c) {
    return c->count;
}

int64_t para_checkpoint_bytes(const para_checkpoint *c) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < c->count; i++)
        bytes += para_safetensors_bytes(c->files[c->entries[i].file], c->entries[i].tensor);
    return bytes;
}

void para_checkpoint_at(const para_checkpoint *c, int64_t i, const char **name, para_tensor *out) {
    *name = c->entries[i].name;
    *out = para_safetensors_tensor(c->files[c->entries[i].file], c->entries[i].tensor);
}
