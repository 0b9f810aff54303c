/* Fuzzes configs: parsing, then every getter on every key. SPDX-License-Identifier: Apache-2.0
 * Covers: src/io/config.c */
#include "fuzz_target.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "io/config.h"

static void require(int condition) {
    if (!condition) abort();
}

static void get_all(const para_config *c, const char *key) {
    enum { MAX = 3 };
    int64_t i, list[MAX + 1] = {0};
    int n = 0;
    double d;
    bool b;
    const char *s;
    bool whole = para_config_int(c, key, 7, &i) == PARA_OK;
    bool in = para_config_int_in(c, key, 7, -5, 1000, &i) == PARA_OK;
    require(!in || (whole && i >= -5 && i <= 1000));
    bool number = para_config_number(c, key, 0.5, &d) == PARA_OK;
    require(!whole || number);
    bool truth = para_config_bool(c, key, true, &b) == PARA_OK;
    bool text = para_config_string(c, key, "", &s) == PARA_OK;
    if (text) require(strlen(s) < SIZE_MAX);
    bool ints = para_config_ints(c, key, list, MAX, &n) == PARA_OK;
    require(n >= 0 && n <= MAX && list[MAX] == 0);
    /* A member has one type; an absent one is anything. */
    if (para_config_has(c, key)) require(number + truth + text + ints <= 1);
    if (!para_config_has(c, key)) require(whole && in && number && truth && text && ints);
}

static void parse(const uint8_t *data, size_t size) {
    para_config c;
    if (para_config_parse(&c, (const char *)data, size, "fuzz") == PARA_OK) {
        const char *key;
        json_t *value;
        json_object_foreach(c.root, key, value) get_all(&c, key);
        get_all(&c, "absent");
    } else {
        require(c.root == NULL && c.path == NULL);
    }
    para_config_close(&c);
}

/* Now and then through a file, too. */
static void through_file(const uint8_t *data, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/para-fuzz-config-%ld", (long)getpid());
    FILE *f = fopen(path, "wb");
    if (!f) return;
    fwrite(data, 1, size, f);
    fclose(f);
    para_config c;
    para_config_read(&c, path);
    para_config_close(&c);
    remove(path);
    para_config_read(&c, path); /* which is not there now */
    para_config_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    parse(data, size);
    para_alloc_fail_after(1);
    parse(data, size);
    para_alloc_fail_after(0);
    static unsigned calls;
    if (calls++ % 1024 == 0) through_file(data, size);
    return 0;
}
