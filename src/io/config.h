/* JSON objects (configs, indexes, headers) with errors that name file and key. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_IO_CONFIG_H
#define PARA_IO_CONFIG_H

#include <paraattn/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct json_t json_t; /* jansson's value, for the few callers that walk a document themselves */

/* A parsed JSON document whose root is an object. */
typedef struct para_config {
    json_t *root;
    char *path; /* where it came from, for messages */
} para_config;

/* Reads a file. PARA_ERR_NOT_FOUND, PARA_ERR_IO, PARA_ERR_FORMAT (with line and column), PARA_ERR_MEMORY. */
para_status para_config_read(para_config *out, const char *path);
/* Parses n bytes; `path` names them in messages. */
para_status para_config_parse(para_config *out, const char *text, size_t n, const char *path);
void para_config_close(para_config *c); /* takes a zeroed or closed one, too */

/* Member `key`, or the default where it is absent or null. A member of another type: PARA_ERR_CONFIG naming file and key. */
para_status para_config_int(const para_config *c, const char *key, int64_t fallback, int64_t *out);
para_status para_config_number(const para_config *c, const char *key, double fallback, double *out);
para_status para_config_bool(const para_config *c, const char *key, bool fallback, bool *out);
/* String valid until close. */
para_status para_config_string(const para_config *c, const char *key, const char *fallback, const char **out);
/* An array of whole numbers: fills out[0..*n) where present, else leaves out and *n. More than `max`: PARA_ERR_CONFIG. */
para_status para_config_ints(const para_config *c, const char *key, int64_t *out, int max, int *n);
/* Whether the key is there and not null. */
bool para_config_has(const para_config *c, const char *key);

/* As para_config_int with min ≤ value ≤ max, else PARA_ERR_CONFIG with the sentence. */
para_status para_config_int_in(const para_config *c, const char *key, int64_t fallback, int64_t min, int64_t max, int64_t *out);

#endif
