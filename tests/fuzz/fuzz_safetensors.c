/* Fuzzes the reading of safetensors headers. SPDX-License-Identifier: Apache-2.0
 * Covers: src/io/safetensors.c
 * Input: a first byte of 'f' means that a whole file follows; 'h' that a header follows, whose length is put before it and as many
 * data bytes as the byte after the 'h' says (times 8) after it: mutations then reach beyond the length's check. */
#include "fuzz_target.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "io/safetensors.h"

static volatile unsigned sink;

static void require(int condition) {
    if (!condition) abort();
}

/* Reads every byte that the parser vouches for. */
static void read_all(const para_safetensors *f) {
    for (int64_t i = 0; i < para_safetensors_count(f); i++) {
        const char *name = para_safetensors_name(f, i);
        require(para_safetensors_find(f, name) == i);
        require(para_safetensors_type(f, i) != NULL);
        para_tensor t = para_safetensors_tensor(f, i);
        int64_t bytes = para_safetensors_bytes(f, i);
        require(t.data != NULL && bytes >= 0 && para_tensor_contiguous(&t));
        if (t.dtype != PARA_DTYPE_NONE) require(para_tensor_count(&t) * (int64_t)para_dtype_size(t.dtype) == bytes);
        for (int64_t k = 0; k < bytes; k++) sink += ((const uint8_t *)t.data)[k];
        para_safetensors_metadata(f, name);
    }
}

static void parse(const uint8_t *bytes, size_t n) {
    para_safetensors *f;
    para_status status = para_safetensors_parse(&f, bytes, n, "fuzz");
    require((status == PARA_OK) == (f != NULL));
    if (f) read_all(f);
    para_safetensors_close(&f);
    para_alloc_fail_after(1 + (long)(n % 3)); /* and again with an allocation that fails */
    status = para_safetensors_parse(&f, bytes, n, "fuzz");
    para_alloc_fail_after(0);
    require((status == PARA_OK) == (f != NULL));
    para_safetensors_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    if (data[0] != 'h') {
        parse(data + 1, size - 1);
        return 0;
    }
    uint64_t header = size - 2;
    size_t n = 8 + header + 8u * data[1];
    uint8_t *bytes = calloc(n, 1);
    require(bytes != NULL);
    memcpy(bytes, &header, 8);
    memcpy(bytes + 8, data + 2, header);
    parse(bytes, n);
    free(bytes);
    return 0;
}
