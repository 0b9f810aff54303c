/* Fuzzes machine files: parsing, then writing what was read, which must come back. SPDX-License-Identifier: Apache-2.0
 * Covers: src/io/machine_file.c */
#include "fuzz_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "io/machine_file.h"

static void require(int condition) {
    if (!condition) abort();
}

static void check(const para_machine_file *m) {
    for (int i = 0; i < m->sets; i++) {
        const para_rate_set *s = &m->set[i];
        require(s->dtype != PARA_DTYPE_NONE && *s->device && s->threads >= 1 && s->ranks >= 1 && s->launch >= 0);
        require(para_machine_find(m, s->device, s->dtype, s->threads, s->ranks) == s);
        for (para_rate r = 0; r < PARA_RATES; r++) {
            require(r >= PARA_RATE_PROCESS || s->table[r].rows > 0);
            for (int k = 0; k < s->table[r].rows; k++)
                for (int c = 0; c < para_rate_columns(r); c++)
                    require(s->table[r].row[k][c] > 0 && s->table[r].row[k][c] <= 1e15);
        }
    }
}

/* Now and then through a file, too. */
static void through_file(const para_machine_file *m) {
    char path[64];
    para_machine_file back;
    snprintf(path, sizeof path, "/tmp/para-fuzz-machine-%ld", (long)getpid());
    if (para_machine_write(m, path) == PARA_OK) {
        require(para_machine_read(&back, path) == PARA_OK && back.sets == m->sets);
        para_machine_close(&back);
    }
    remove(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static unsigned calls;
    para_machine_file m;
    for (int i = 0; i < 2; i++) {
        para_alloc_fail_after(i);
        para_status status = para_machine_parse(&m, (const char *)data, size, "fuzz");
        para_alloc_fail_after(0);
        require(status == PARA_OK || (m.sets == 0 && !m.set));
        check(&m);
        if (status == PARA_OK && calls++ % 256 == 0) through_file(&m);
        para_machine_close(&m);
    }
    char *own;
    if (calls == 1 && para_machine_default(&own) == PARA_OK) para_free(own);
    return 0;
}
