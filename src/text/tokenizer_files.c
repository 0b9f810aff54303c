/* Reading a tokenizer's folder. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer_files.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/alloc.h"
#include "core/error.h"

static const size_t file_max = (size_t)256 << 20;

static const char *const names[PARA_TOKENIZER_FILES] = {
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
};

const char *para_tokenizer_file(para_tokenizer_file_name name) {
    return names[name];
}

static para_status read_stream(FILE *stream, const char *path, char **data, size_t *bytes) {
    struct stat info;
    if (fstat(fileno(stream), &info) != 0) return para_fail(PARA_ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return para_fail(PARA_ERR_IO, "%s is not a file; put the tokenizer's file there", path);
    if ((unsigned long long)info.st_size > file_max)
        return para_fail(PARA_ERR_FORMAT, "%s is larger than 256 MiB; that is no tokenizer's file", path);
    size_t size = (size_t)info.st_size;
    char *buffer = para_alloc(size + 1, 1);
    if (!buffer) return PARA_ERR_MEMORY;
    size_t got = fread(buffer, 1, size, stream);
    if (got != size) {
        para_free(buffer);
        return para_fail(PARA_ERR_IO, "%s: only %zu of %zu bytes could be read", path, got, size);
    }
    *data = buffer;
    *bytes = size;
    return PARA_OK;
}

static para_status read_if_there(const char *folder, const char *name, char **data, size_t *bytes) {
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = para_alloc(length, 1);
    if (!path) return PARA_ERR_MEMORY;
    snprintf(path, length, "%s/%s", folder, name);
    para_status status = PARA_OK;
    FILE *stream = fopen(path, "rb");
    if (stream) {
        status = read_stream(stream, path, data, bytes);
        fclose(stream);
    } else if (errno != ENOENT) {
        status = para_fail(PARA_ERR_IO, "%s cannot be opened: %s", path, strerror(errno));
    }
    para_free(path);
    return status;
}

para_status para_tokenizer_files_read(para_tokenizer_files *files, const char *folder) {
    *files = (para_tokenizer_files){.folder = folder};
    struct stat info;
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode))
        return para_fail(PARA_ERR_NOT_FOUND, "%s is not a folder; a tokenizer is read from its folder", folder);
    for (int i = 0; i < PARA_TOKENIZER_FILES; i++) {
        char *data = NULL;
        para_status status = read_if_there(folder, names[i], &data, &files->file[i].bytes);
        files->file[i].data = data;
        if (status == PARA_OK) continue;
        para_tokenizer_files_close(files);
        return status;
    }
    return PARA_OK;
}

void para_tokenizer_files_close(para_tokenizer_files *files) {
    for (int i = 0; i < PARA_TOKENIZER_FILES; i++) {
        para_free((void *)(uintptr_t)files->file[i].data);
        files->file[i].data = NULL;
    }
}

para_status para_tokenizer_files_json(const para_tokenizer_files *files, para_tokenizer_file_name name, json_t **out) {
    *out = NULL;
    if (!files->file[name].data) return PARA_OK;
    json_error_t error;
    json_t *root =
        json_loadb(files->file[name].data, files->file[name].bytes, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (!root)
        return para_fail(PARA_ERR_FORMAT, "%s/%s: line %d, column %d: %s", files->folder, names[name], error.line,
                         error.column, error.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return para_fail(PARA_ERR_FORMAT, "%s/%s is JSON, but not an object", files->folder, names[name]);
    }
    *out = root;
    return PARA_OK;
}
