/* Fuzzes the index of a sharded checkpoint, beside two shards. SPDX-License-Identifier: Apache-2.0
 * Covers: src/io/checkpoint.c
 * Input: model.safetensors.index.json; shards "a" (tensors x, y) and "b" (z) are there. A first byte of 'b', 's' or 'w' stands for
 * folders without an index: with pickles, with a file of another name, with one good file. */
#include "fuzz_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "io/checkpoint.h"

static char folder[64];
static volatile unsigned sink;

static void require(int condition) {
    if (!condition) abort();
}

static void put(const char *name, const void *bytes, size_t n) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    require(f != NULL);
    require(fwrite(bytes, 1, n, f) == n);
    fclose(f);
}

static void drop(const char *name) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static const char *const files[] = {
    "a", "b", "model.safetensors", "other.safetensors", "model.bin", "model.safetensors.index.json"};

static void clean_up(void) {
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) drop(files[i]);
    rmdir(folder);
}

static void put_shard(const char *name, int n, const char *const *names) {
    static float value[1];
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    para_tensor t = para_tensor_make(value, PARA_F32, 1, (int64_t[]){1});
    require(para_safetensors_write(path, n, names, (para_tensor[]){t, t}, NULL) == PARA_OK);
}

static void set_up(void) {
    strcpy(folder, "/tmp/para-fuzz-XXXXXX");
    require(mkdtemp(folder) != NULL);
    atexit(clean_up);
    put_shard("a", 2, (const char *const[]){"x", "y"});
    put_shard("b", 1, (const char *const[]){"z"});
}

static void open_and_read(void) {
    para_checkpoint *c;
    para_status status = para_checkpoint_open(&c, folder);
    require((status == PARA_OK) == (c != NULL));
    for (int64_t i = 0; c && i < para_checkpoint_count(c); i++) {
        const char *name, *path;
        para_tensor t, found;
        para_checkpoint_at(c, i, &name, &t);
        require(para_checkpoint_find(c, name, &found, &path) && found.data == t.data && para_checkpoint_type(c, name));
        sink += *(const uint8_t *)t.data;
    }
    if (c) {
        para_tensor t;
        require(!para_checkpoint_find(c, "absent", &t, NULL) && !para_checkpoint_type(c, "absent"));
        require(para_checkpoint_bytes(c) == 4 * para_checkpoint_count(c));
        require(strcmp(para_checkpoint_folder(c), folder) == 0);
    }
    para_checkpoint_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!*folder) set_up();
    const char *extra = NULL;
    if (size > 0 && data[0] == 'b') put(extra = "model.bin", data, size);
    if (size > 0 && data[0] == 's') put(extra = "other.safetensors", data, size);
    if (size > 0 && data[0] == 'w') put_shard(extra = "model.safetensors", 1, (const char *const[]){"x"});
    if (!extra) put(extra = "model.safetensors.index.json", data, size);
    open_and_read();
    para_alloc_fail_after(1 + (long)(size % 16));
    open_and_read();
    para_alloc_fail_after(0);
    drop(extra);
    return 0;
}
