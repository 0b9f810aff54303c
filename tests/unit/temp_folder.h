/* A scratch folder for tests that write files. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_TEMP_FOLDER_H
#define PARA_TESTS_TEMP_FOLDER_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char temp_folder[64]; /* below the working folder of the test */

static inline int temp_folder_setup(void **state) {
    (void)state;
    strcpy(temp_folder, "scratch-XXXXXX");
    return mkdtemp(temp_folder) ? 0 : -1;
}

/* Empties a folder of files and of folders of files. */
static inline void temp_folder_empty(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return;
    for (const struct dirent *d; (d = readdir(dir));) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) continue;
        char name[1024];
        snprintf(name, sizeof name, "%.500s/%.255s", path, d->d_name);
        if (unlink(name) != 0) {
            temp_folder_empty(name);
            rmdir(name);
        }
    }
    closedir(dir);
}

static inline int temp_folder_teardown(void **state) {
    (void)state;
    temp_folder_empty(temp_folder);
    return rmdir(temp_folder);
}

/* "<scratch>/<name>", in one of a few static buffers. */
static inline const char *temp_path(const char *name) {
    static char paths[8][1024];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, 1024, "%s/%s", temp_folder, name);
    return path;
}

/* Writes bytes to "<scratch>/<name>" and returns the path. */
static inline const char *temp_write(const char *name, const void *bytes, size_t n) {
    const char *path = temp_path(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* The whole file, to be freed. */
static inline char *slurp(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    bytes[*n] = 0;
    fclose(f);
    return bytes;
}

/* A link in the scratch folder to a device. Tests write to devices only so: code that wrongly renames a file over its target then
 * replaces the link, and not the device of a machine whose root runs the tests. */
static inline const char *temp_device(const char *device) {
    const char *path = temp_path("device");
    unlink(path);
    assert_int_equal(symlink(device, path), 0);
    return path;
}

/* Number of entries in a folder. */
static inline int folder_entries(const char *path) {
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int n = 0;
    for (const struct dirent *d; (d = readdir(dir));) n += strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
    closedir(dir);
    return n;
}

#endif
