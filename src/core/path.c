/* Paths. SPDX-License-Identifier: Apache-2.0 */
#include "core/path.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

char *para_path_join(const char *folder, const char *name, const char *suffix) {
    size_t room = strlen(folder) + strlen(name) + strlen(suffix) + 2;
    char *path = para_alloc(room, 1);
    if (path) snprintf(path, room, "%s/%s%s", folder, name, suffix);
    return path;
}

bool para_path_ends(const char *path, const char *ending) {
    size_t n = strlen(path), m = strlen(ending);
    return n > m && strcmp(path + n - m, ending) == 0;
}
