/* The report of a generate run. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_REPORT_H
#define PARA_CLI_REPORT_H

#include "request_options.h"

struct json_t; /* jansson's */

/* Writes versions, settings, times, memory and what the cache did as JSON. PARA_ERR_MEMORY, and what para_save_bytes returns. */
para_status report_write(const char *path, const char *model, const request_options *o, const para_result *result);

/* Saves what was packed, and frees it. PARA_ERR_MEMORY where it is NULL, and what para_save_bytes returns. */
para_status report_save(const char *path, struct json_t *report);

/* A string as JSON wants it: what is not UTF-8 (a path may be anything) becomes question marks; NULL becomes null. */
struct json_t *report_text(const char *text);

/* Peak resident memory of this process in bytes. */
long long peak_memory(void);

#endif
