/* Opening and reading whole files. SPDX-License-Identifier: Apache-2.0 */
#include "io/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"

para_status para_file_open(const char *path, int *fd, size_t *size) {
    /* O_NONBLOCK: a pipe in place of the file must not make us wait for its writer. */
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return para_fail(PARA_ERR_NOT_FOUND, "'%s' does not exist; check the path, or download the file again",
                             path);
        return para_fail(PARA_ERR_IO, "'%s' cannot be opened: %s", path, strerror(errno));
    }
    struct stat st;
    if (fstat(f, &st) != 0) {
        int code = errno;
        close(f);
        return para_fail(PARA_ERR_IO, "'%s' cannot be examined: %s", path, strerror(code));
    }
    if (!S_ISREG(st.st_mode)) {
        close(f);
        return para_fail(PARA_ERR_IO, "'%s' is %s where a file is needed; check the path", path,
                         S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    }
    *fd = f;
    *size = (size_t)st.st_size;
    return PARA_OK;
}

static para_status read_all(int fd, const char *path, char *out, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t got = read(fd, out + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return para_fail(PARA_ERR_IO, "'%s' cannot be read: %s", path, strerror(errno));
        if (got == 0) return para_fail(PARA_ERR_IO, "'%s' became shorter while it was read", path);
        done += (size_t)got;
    }
    return PARA_OK;
}

para_status para_file_read(const char *path, size_t max, char **out, size_t *n) {
    int fd = -1;
    size_t size = 0;
    PARA_TRY(para_file_open(path, &fd, &size));
    para_status status = PARA_OK;
    char *text = NULL;
    if (size > max)
        status = para_fail(PARA_ERR_FORMAT, "'%s' has %zu bytes, more than the %zu that such a file may have", path,
                           size, max);
    else if (!(text = para_alloc(size + 1, 1))) status = PARA_ERR_MEMORY;
    else status = read_all(fd, path, text, size);
    close(fd);
    if (status != PARA_OK) {
        para_free(text);
        return status;
    }
    *out = text;
    *n = size;
    return PARA_OK;
}
