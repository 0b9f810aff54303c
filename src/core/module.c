/* Finding and loading modules. PARA_MODULE_DIR: where they are installed (CMake sets it). SPDX-License-Identifier: Apache-2.0 */
#include "core/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"

/* The folder of the object that this code is in; "." where the system does not tell. */
static void own_folder(char path[PATH_MAX]) {
    static const char here;
    Dl_info info;
    /* The dynamic linker knows the program itself by its argv[0] only, which may be a name without a folder. */
    bool found = dladdr(&here, &info) && strchr(info.dli_fname, '/') && realpath(info.dli_fname, path);
    if (!found) found = realpath("/proc/self/exe", path) != NULL;
    if (found) {
        *strrchr(path, '/') = '\0';
    } else {
        strcpy(path, ".");
    }
}

/* *handle stays NULL where there is no such file; a file that cannot be loaded is an error. */
static para_status try_folder(const char *folder, const char *below, const char *file, const char *needs,
                              void **handle) {
    char *parent = para_path_join(folder, below, "");
    char *path = parent ? para_path_join(parent, file, "") : NULL;
    para_free(parent);
    if (!path) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    if (access(path, R_OK) == 0) {
        /* Global: Open MPI's own plug-ins look for its symbols. */
        *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
        if (!*handle)
            status = para_fail(PARA_ERR_LIBRARY, "%s cannot be loaded: %s; install %s", path, dlerror(), needs);
    }
    para_free(path);
    return status;
}

para_status para_module_load(const char *file, const char *function, const char *needs, void **out) {
    char own[PATH_MAX];
    own_folder(own);
    const char *named = secure_getenv("PARAATTN_MODULES");
    void *handle = NULL;
    if (named) PARA_TRY(try_folder(named, ".", file, needs, &handle));
    if (!handle) PARA_TRY(try_folder(own, ".", file, needs, &handle));
    if (!handle) PARA_TRY(try_folder(own, "paraattn", file, needs, &handle));
    if (!handle) PARA_TRY(try_folder(PARA_MODULE_DIR, ".", file, needs, &handle));
    if (!handle)
        return para_fail(PARA_ERR_LIBRARY,
                         "the module %s is neither in %s nor in %s; install %s and build the library again, or set "
                         "PARAATTN_MODULES to its folder",
                         file, own, PARA_MODULE_DIR, needs);
    *out = dlsym(handle, function);
    if (*out) return PARA_OK;
    dlclose(handle);
    return para_fail(PARA_ERR_LIBRARY, "the module %s has no function %s: it is of another version; install it anew",
                     file, function);
}
