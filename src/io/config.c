/* JSON objects with errors that name file and key. SPDX-License-Identifier: Apache-2.0 */
#include "io/config.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "io/file_read.h"

/* Larger than any tokenizer.json. */
enum { CONFIG_MAX_BYTES = 256 << 20 };

static const double MAX_EXACT = 9007199254740992.0; /* 2^53: whole numbers up to here are exact as double */

static para_status syntax_error(const json_error_t *error, const char *path) {
    if (json_error_code(error) == json_error_out_of_memory)
        return para_fail(PARA_ERR_MEMORY, "out of memory while reading '%s'", path);
    return para_fail(PARA_ERR_FORMAT, "'%s' is not valid JSON: line %d, column %d: %s; download it again or correct it",
                     path, error->line, error->column, error->text);
}

para_status para_config_parse(para_config *out, const char *text, size_t n, const char *path) {
    *out = (para_config){NULL, NULL};
    json_error_t error;
    json_t *root = json_loadb(text, n, 0, &error);
    /* transformers writes 1e30 as a whole number for "no limit", which only a real can hold. */
    if (!root && json_error_code(&error) == json_error_numeric_overflow)
        root = json_loadb(text, n, JSON_DECODE_INT_AS_REAL, &error);
    if (!root) return syntax_error(&error, path);
    if (!json_is_object(root)) {
        json_decref(root);
        return para_fail(PARA_ERR_FORMAT, "'%s' holds a JSON array where an object {…} is needed", path);
    }
    char *copy = para_strdup(path);
    if (!copy) {
        json_decref(root);
        return PARA_ERR_MEMORY;
    }
    *out = (para_config){root, copy};
    return PARA_OK;
}

para_status para_config_read(para_config *out, const char *path) {
    *out = (para_config){NULL, NULL};
    char *text;
    size_t n;
    PARA_TRY(para_file_read(path, CONFIG_MAX_BYTES, &text, &n));
    para_status status = para_config_parse(out, text, n, path);
    para_free(text);
    return status;
}

void para_config_close(para_config *c) {
    json_decref(c->root);
    para_free(c->path);
    *c = (para_config){NULL, NULL};
}

/* The member, or NULL where it is absent or null. */
static const json_t *member(const para_config *c, const char *key) {
    const json_t *value = json_object_get(c->root, key);
    return json_is_null(value) ? NULL : value;
}

static para_status wrong_type(const para_config *c, const char *key, const char *wanted) {
    return para_fail(PARA_ERR_CONFIG, "'%s': \"%s\" must be %s", c->path, key, wanted);
}

bool para_config_has(const para_config *c, const char *key) {
    return member(c, key) != NULL;
}

/* Whole numbers, also those that came as reals (see para_config_parse). */
static bool whole(const json_t *value, int64_t *out) {
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    double real = json_real_value(value); /* 0 for other types */
    if (!json_is_real(value) || fabs(real) > MAX_EXACT || real != floor(real)) return false;
    *out = (int64_t)real;
    return true;
}

para_status para_config_int(const para_config *c, const char *key, int64_t fallback, int64_t *out) {
    const json_t *value = member(c, key);
    *out = fallback;
    return value && !whole(value, out) ? wrong_type(c, key, "a whole number") : PARA_OK;
}

para_status para_config_int_in(const para_config *c, const char *key, int64_t fallback, int64_t min, int64_t max,
                               int64_t *out) {
    PARA_TRY(para_config_int(c, key, fallback, out));
    if (*out < min || *out > max)
        return para_fail(PARA_ERR_CONFIG, "'%s': \"%s\" is %lld; supported are %lld to %lld", c->path, key,
                         (long long)*out, (long long)min, (long long)max);
    return PARA_OK;
}

para_status para_config_number(const para_config *c, const char *key, double fallback, double *out) {
    const json_t *value = member(c, key);
    *out = value ? json_number_value(value) : fallback;
    return value && !json_is_number(value) ? wrong_type(c, key, "a number") : PARA_OK;
}

para_status para_config_bool(const para_config *c, const char *key, bool fallback, bool *out) {
    const json_t *value = member(c, key);
    *out = value ? json_is_true(value) : fallback;
    return value && !json_is_boolean(value) ? wrong_type(c, key, "true or false") : PARA_OK;
}

para_status para_config_string(const para_config *c, const char *key, const char *fallback, const char **out) {
    const json_t *value = member(c, key);
    *out = value ? json_string_value(value) : fallback;
    return value && !json_is_string(value) ? wrong_type(c, key, "a string") : PARA_OK;
}

para_status para_config_ints(const para_config *c, const char *key, int64_t *out, int max, int *n) {
    const json_t *value = member(c, key);
    if (!value) return PARA_OK;
    if (!json_is_array(value)) return wrong_type(c, key, "an array of whole numbers");
    size_t count = json_array_size(value);
    if (count > (size_t)max)
        return para_fail(PARA_ERR_CONFIG, "'%s': \"%s\" has %zu entries; supported are up to %d", c->path, key, count,
                         max);
    for (size_t i = 0; i < count; i++)
        if (!whole(json_array_get(value, i), &out[i])) return wrong_type(c, key, "an array of whole numbers");
    *n = (int)count;
    return PARA_OK;
}
