/* What was found on a machine, in a file of the user's cache folder. SPDX-License-Identifier: Apache-2.0 */
#include "backend/choices.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/path.h"
#include "io/atomic_file.h"
#include "io/cache_folder.h"
#include "io/file_read.h"

#define FIRST_LINE "paraattn choices 1\n"

enum { FILE_MAX_BYTES = 64 << 20, CHECK_DIGITS = 16 };

typedef struct choice {
    char *line;          /* as in the file: kind, key, value, check; with its newline */
    size_t name;         /* bytes of kind and key in it, with the blank after each */
    void *value;
    size_t value_bytes;
} choice;

struct para_choices {
    const para_device *dev;
    char *machine, *path, *lock_path; /* paths: NULL where there is no folder for it */
    choice *all;
    size_t count, room;
    bool told; /* that the file cannot be written */
};

/* ---- Lines */

static char *put_hex(char *at, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) at += sprintf(at, "%02x", ((const unsigned char *)bytes)[i]);
    return at;
}

static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "kind key " of a choice, to be freed; NULL: no memory. */
static char *name_of(const char *kind, const void *key, size_t key_bytes, size_t *length) {
    char *name = para_alloc(strlen(kind) + 2 * key_bytes + 3, 1);
    if (!name) return NULL;
    char *end = put_hex(name + sprintf(name, "%s ", kind), key, key_bytes);
    *length = (size_t)(end - name) + 1;
    memcpy(end, " ", 2);
    return name;
}

static void free_choice(choice *c) {
    para_free(c->line);
    para_free(c->value);
}

/* The choice of a line with its newline. False: it is none, or memory ran out, in which case *status says so. */
static bool read_line(const char *line, size_t n, choice *out, para_status *status) {
    const char *kind_end = memchr(line, ' ', n), *key_end = kind_end ? memchr(kind_end + 1, ' ', n - (size_t)(kind_end + 1 - line)) : NULL,
               *value_end = key_end ? memchr(key_end + 1, ' ', n - (size_t)(key_end + 1 - line)) : NULL;
    char check[CHECK_DIGITS + 1];
    if (!value_end || line + n - (value_end + 1) != CHECK_DIGITS + 1) return false;
    size_t before = (size_t)(value_end + 1 - line), digits = (size_t)(value_end - (key_end + 1));
    snprintf(check, sizeof check, "%016" PRIx64, para_hash(PARA_HASH_START, line, before));
    if (memcmp(check, value_end + 1, CHECK_DIGITS) != 0 || digits % 2) return false;
    *out = (choice){.line = para_alloc(n + 1, 1), .name = (size_t)(key_end + 1 - line), .value = para_alloc(digits / 2 + 1, 1), .value_bytes = digits / 2};
    if (!out->line || !out->value) {
        free_choice(out);
        *status = PARA_ERR_MEMORY;
        return false;
    }
    memcpy(out->line, line, n);
    bool good = true;
    for (size_t i = 0; i < digits / 2; i++) {
        int high = digit(key_end[1 + 2 * i]), low = digit(key_end[2 + 2 * i]);
        good = good && high >= 0 && low >= 0;
        ((unsigned char *)out->value)[i] = (unsigned char)(high * 16 + low);
    }
    if (!good) free_choice(out);
    return good;
}

static const choice *find_name(const para_choices *c, const char *name, size_t length) {
    for (size_t i = 0; i < c->count; i++)
        if (c->all[i].name == length && memcmp(c->all[i].line, name, length) == 0) return &c->all[i];
    return NULL;
}

/* Takes the choice over, or frees it where there is one already. */
static para_status insert(para_choices *c, choice *new) {
    if (find_name(c, new->line, new->name)) {
        free_choice(new);
        return PARA_OK;
    }
    if (!para_grow((void **)&c->all, c->count, &c->room, sizeof *c->all)) {
        free_choice(new);
        return PARA_ERR_MEMORY;
    }
    c->all[c->count++] = *new;
    return PARA_OK;
}

/* ---- The file */

/* The lines of a file that ends with a newline; *good is false where it is not what it should be. */
static para_status read_lines(para_choices *c, const char *at, bool *good) {
    size_t first = strlen(FIRST_LINE), machine = strlen(c->machine);
    *good = strncmp(at, FIRST_LINE, first) == 0 && strncmp(at + first, c->machine, machine) == 0 && at[first + machine] == '\n';
    if (!*good) return PARA_OK;
    at += first + machine + 1;
    while (*at) {
        const char *end = strchr(at, '\n');
        choice new;
        para_status status = PARA_OK;
        *good = end && read_line(at, (size_t)(end + 1 - at), &new, &status);
        if (!*good) return status;
        PARA_TRY(insert(c, &new));
        at = end + 1;
    }
    return PARA_OK;
}

/* Adds what the file holds and is not known yet. */
static para_status load(para_choices *c) {
    char *text;
    size_t n;
    bool good = false;
    if (!c->path) return PARA_OK;
    para_status status = para_file_read(c->path, FILE_MAX_BYTES, &text, &n);
    if (status == PARA_ERR_NOT_FOUND) {
        para_clear_error();
        return PARA_OK;
    }
    if (status == PARA_OK) {
        status = strlen(text) == n ? read_lines(c, text, &good) : PARA_OK;
        para_free(text);
    }
    if (status == PARA_ERR_MEMORY) return status;
    if (!good) para_device_note(c->dev, PARA_LOG_WARNING, "'%s' is damaged or of another program, and is written anew when there is something to keep", c->path);
    para_clear_error();
    return PARA_OK;
}

static para_status write_all(const para_choices *c) {
    para_atomic_file file;
    PARA_TRY(para_atomic_open(&file, c->path));
    para_status status = para_atomic_write(&file, FIRST_LINE, strlen(FIRST_LINE));
    if (status == PARA_OK) status = para_atomic_write(&file, c->machine, strlen(c->machine));
    if (status == PARA_OK) status = para_atomic_write(&file, "\n", 1);
    for (size_t i = 0; status == PARA_OK && i < c->count; i++) status = para_atomic_write(&file, c->all[i].line, strlen(c->all[i].line));
    if (status == PARA_OK) return para_atomic_commit(&file);
    para_atomic_abort(&file);
    return status;
}

/* Once: further choices would say the same. */
static void tell(para_choices *c, const char *why) {
    if (!c->told) para_device_note(c->dev, PARA_LOG_WARNING, "what was found to be fastest is not kept for the next time: %s", why);
    c->told = true;
}

static para_status keep(para_choices *c) {
    para_status status = write_all(c);
    if (status == PARA_OK || status == PARA_ERR_MEMORY) return status;
    tell(c, para_last_error());
    para_clear_error();
    return PARA_OK;
}

/* ---- The folder */

static para_status set_paths(para_choices *c) {
    char name[64], *folder;
    PARA_TRY(para_cache_folder(&folder));
    if (!folder) return PARA_OK;
    snprintf(name, sizeof name, "choices-%016" PRIx64, para_hash(PARA_HASH_START, c->machine, strlen(c->machine)));
    para_make_folder(folder);
    c->path = para_path_join(folder, name, "");
    c->lock_path = para_path_join(folder, name, ".lock");
    para_free(folder);
    return c->path && c->lock_path ? PARA_OK : PARA_ERR_MEMORY;
}

/* ---- The calls */

para_status para_choices_open(para_choices **out, const para_device *dev, const char *machine) {
    *out = NULL;
    para_choices *c = para_alloc(1, sizeof *c);
    if (!c) return PARA_ERR_MEMORY;
    c->dev = dev;
    c->machine = para_strdup(machine);
    para_status status = c->machine ? set_paths(c) : PARA_ERR_MEMORY;
    if (status == PARA_OK) status = load(c);
    if (status == PARA_OK) *out = c;
    else para_choices_close(&c);
    return status;
}

void para_choices_close(para_choices **choices) {
    para_choices *c = *choices;
    if (!c) return;
    for (size_t i = 0; i < c->count; i++) free_choice(&c->all[i]);
    para_free(c->all);
    para_free(c->machine);
    para_free(c->path);
    para_free(c->lock_path);
    para_free(c);
    *choices = NULL;
}

const void *para_choices_find(const para_choices *c, const char *kind, const void *key, size_t key_bytes, size_t *value_bytes) {
    size_t length;
    char *name = name_of(kind, key, key_bytes, &length);
    const choice *found = name ? find_name(c, name, length) : NULL;
    para_free(name);
    if (!found) return NULL;
    *value_bytes = found->value_bytes;
    return found->value;
}

static para_status make_choice(choice *out, char *name, size_t name_length, const void *value, size_t value_bytes) {
    size_t length = name_length + 2 * value_bytes + 1;
    *out = (choice){.line = para_alloc(length + CHECK_DIGITS + 2, 1), .name = name_length, .value = para_alloc(value_bytes + 1, 1), .value_bytes = value_bytes};
    if (!out->line || !out->value) {
        free_choice(out);
        return PARA_ERR_MEMORY;
    }
    memcpy(out->value, value, value_bytes);
    memcpy(out->line, name, name_length);
    *put_hex(out->line + name_length, value, value_bytes) = ' ';
    sprintf(out->line + length, "%016" PRIx64 "\n", para_hash(PARA_HASH_START, out->line, length));
    return PARA_OK;
}

para_status para_choices_add(para_choices *c, const char *kind, const void *key, size_t key_bytes, const void *value, size_t value_bytes) {
    size_t length;
    choice new;
    char *name = name_of(kind, key, key_bytes, &length);
    para_status status = name ? make_choice(&new, name, length, value, value_bytes) : PARA_ERR_MEMORY;
    para_free(name);
    PARA_TRY(status);
    int lock = c->lock_path ? open(c->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    int why = lock < 0 ? errno : 0;
    if (lock >= 0 && flock(lock, LOCK_EX) == 0) status = load(c);
    if (status == PARA_OK) status = insert(c, &new);
    else free_choice(&new);
    if (lock >= 0) {
        if (status == PARA_OK) status = keep(c);
        close(lock);
    } else if (status == PARA_OK) {
        tell(c, c->lock_path ? strerror(why) : "neither XDG_CACHE_HOME nor HOME names a folder");
    }
    return status;
}
