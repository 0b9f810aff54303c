/* The user's cache folder. SPDX-License-Identifier: Apache-2.0 */
#include "io/cache_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/path.h"

void para_make_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char above[4096];
    if (slash && slash > path && snprintf(above, sizeof above, "%.*s", (int)(slash - path), path) < (int)sizeof above)
        mkdir(above, 0700);
    mkdir(path, 0700); /* where it fails, so does writing there, which says why */
}

para_status para_cache_folder(char **out) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool given = cache && cache[0] == '/';
    *out = NULL;
    if (!given && (!home || home[0] != '/')) return PARA_OK;
    *out = given ? para_path_join(cache, "paraattn", "") : para_path_join(home, ".cache/paraattn", "");
    return *out ? PARA_OK : PARA_ERR_MEMORY;
}
