/* Output files that appear whole or not at all. SPDX-License-Identifier: Apache-2.0 */
#include "io/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"

static para_status cannot_write(const para_atomic_file *file, int code) {
    if (code == ENOENT || code == ENOTDIR)
        return para_fail(PARA_ERR_NOT_FOUND,
                         "'%s' cannot be written: its folder does not exist; create it or choose another one",
                         file->path);
    return para_fail(PARA_ERR_IO,
                     "'%s' cannot be written: %s; check the folder's permissions and free space, or choose another one",
                     file->path, strerror(code));
}

/* mkstemp would ignore the umask, and reading the umask is not safe among threads. */
static para_status open_temporary(para_atomic_file *file) {
    static atomic_uint serial;
    const char *slash = strrchr(file->path, '/');
    int folder = slash ? (int)(slash - file->path) + 1 : 0;
    size_t room = (size_t)folder + 64;
    file->temporary = para_alloc(room, 1);
    if (!file->temporary) return PARA_ERR_MEMORY;
    for (int attempt = 0; attempt < 1000; attempt++) {
        unsigned n = atomic_fetch_add(&serial, 1);
        snprintf(file->temporary, room, "%.*s.para-%ld-%u.tmp", folder, file->path, (long)getpid(), n);
        file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->fd >= 0) return PARA_OK;
        if (errno != EEXIST) break;
    }
    int code = errno;
    para_free(file->temporary);
    file->temporary = NULL;
    return cannot_write(file, code);
}

para_status para_atomic_open(para_atomic_file *file, const char *path) {
    *file = (para_atomic_file){.fd = -1, .path = para_strdup(path)};
    if (!file->path) return PARA_ERR_MEMORY;
    struct stat st;
    bool exists = stat(path, &st) == 0;
    para_status status = PARA_OK;
    if (exists && S_ISDIR(st.st_mode)) {
        status = cannot_write(file, EISDIR);
    } else if (exists && !S_ISREG(st.st_mode)) {
        file->fd = open(path, O_WRONLY | O_CLOEXEC);
        if (file->fd < 0) status = cannot_write(file, errno);
    } else {
        status = open_temporary(file);
    }
    if (status != PARA_OK) para_atomic_abort(file);
    return status;
}

para_status para_atomic_write(para_atomic_file *file, const void *bytes, size_t n) {
    const char *at = bytes;
    while (n > 0) {
        ssize_t done = write(file->fd, at, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return cannot_write(file, errno);
        at += done;
        n -= (size_t)done;
    }
    return PARA_OK;
}

para_status para_atomic_seek(para_atomic_file *file, int64_t offset) {
    if (lseek(file->fd, (off_t)offset, SEEK_SET) >= 0) return PARA_OK;
    if (errno != ESPIPE) return cannot_write(file, errno);
    return para_fail(PARA_ERR_IO, "'%s' is a pipe or a terminal, but what is written is not in order; name a file",
                     file->path);
}

para_status para_atomic_commit(para_atomic_file *file) {
    para_status status = PARA_OK;
    if (file->temporary && fsync(file->fd) != 0) status = cannot_write(file, errno);
    if (close(file->fd) != 0 && status == PARA_OK) status = cannot_write(file, errno);
    file->fd = -1;
    if (status == PARA_OK && file->temporary) {
        if (rename(file->temporary, file->path) != 0) {
            status = cannot_write(file, errno);
        } else {
            para_free(file->temporary);
            file->temporary = NULL;
        }
    }
    para_atomic_abort(file);
    return status;
}

void para_atomic_abort(para_atomic_file *file) {
    if (file->fd >= 0) close(file->fd);
    if (file->temporary) unlink(file->temporary);
    para_free(file->temporary);
    para_free(file->path);
    *file = (para_atomic_file){.fd = -1};
}
