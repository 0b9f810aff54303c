/* Machine files: how fast a machine was measured to be, as JSON. SPDX-License-Identifier: Apache-2.0
 *
 * {"paraattn_machine": 1, "sets": [{"device": "CPU", "gpu": false, "dtype": "f32", "threads": 1, "ranks": 2, "launch": 1e-6,
 *   "linear": [[M, N, K, seconds], …], "attention": [[heads, queries, keys, head dim, seconds], …],
 *   "copy" | "norm" | "head" | "activation" | "merge" | "epilogue": [[bytes, seconds], …],
 *   "exchange": {"process" | "host" | "hosts": {"overlap": 0.9, "points": [[ranks that a rank sends to, bytes that it sends, seconds], …]}}}]} */
#ifndef PARA_IO_MACHINE_FILE_H
#define PARA_IO_MACHINE_FILE_H

#include <paraattn/tensor.h>
#include <stdbool.h>

/* What takes time: ops, by what limits them; then exchanges, by how far apart the ranks are. */
typedef enum para_rate {
    PARA_RATE_LINEAR,
    PARA_RATE_ATTENTION,
    PARA_RATE_COPY, /* from here to epilogue: by the bytes that are read and written */
    PARA_RATE_NORM,
    PARA_RATE_HEAD,
    PARA_RATE_ACTIVATION,
    PARA_RATE_MERGE,
    PARA_RATE_EPILOGUE, /* the activation of a product, beside the product */
    PARA_RATE_PROCESS, /* between ranks of one process, */
    PARA_RATE_HOST,    /* of processes on one host, */
    PARA_RATE_HOSTS,   /* of hosts */
    PARA_RATES,
} para_rate;

enum { PARA_LINKS = PARA_RATES - PARA_RATE_PROCESS, PARA_RATE_COLUMNS = 5 };

/* Sizes and, last of a row's columns, seconds. */
typedef struct para_rate_table {
    int rows;
    double (*row)[PARA_RATE_COLUMNS];
} para_rate_table;

/* Measured together: on one kind of device, in one type, with so many ranks of so many threads at work at once. */
typedef struct para_rate_set {
    char device[64]; /* "CPU", "NVIDIA H200" */
    bool gpu;
    para_dtype dtype; /* F32, BF16 or F16 */
    int threads, ranks;
    double launch; /* seconds that the smallest op takes */
    para_rate_table table[PARA_RATES];
    double overlap[PARA_LINKS]; /* of an exchange's time, what hides behind computing; 0 to 1 */
} para_rate_set;

typedef struct para_machine_file {
    int sets;
    para_rate_set *set;
} para_machine_file;

const char *para_rate_name(para_rate rate);
/* Columns of its rows. */
int para_rate_columns(para_rate rate);

/* `path` names the text in messages. PARA_ERR_FORMAT, PARA_ERR_CONFIG, PARA_ERR_MEMORY; for read also PARA_ERR_NOT_FOUND, PARA_ERR_IO. */
para_status para_machine_parse(para_machine_file *out, const char *text, size_t n, const char *path);
para_status para_machine_read(para_machine_file *out, const char *path);
para_status para_machine_write(const para_machine_file *m, const char *path);
void para_machine_close(para_machine_file *m); /* takes a zeroed or closed one, too */

/* Adds a row of para_rate_columns(rate) numbers. PARA_ERR_MEMORY. */
para_status para_rate_add(para_rate_set *set, para_rate rate, const double *row);
/* Adds the set, which is the file's then, in the place of one of the same device, type, threads and ranks. PARA_ERR_MEMORY: it is the caller's still. */
para_status para_machine_take(para_machine_file *m, para_rate_set *set);
void para_rate_set_free(para_rate_set *set);

/* The set for a type whose threads, then ranks are nearest; of `device` where that is not NULL. NULL: there is none. */
const para_rate_set *para_machine_find(const para_machine_file *m, const char *device, para_dtype dtype, int threads, int ranks);

/* The user's own file: machine.json in the cache folder. *out to be freed, NULL where there is no folder. PARA_ERR_MEMORY. */
para_status para_machine_default(char **out);

#endif
