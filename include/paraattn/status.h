/* Status codes and the last error's sentence. Part of libparaattn; SPDX-License-Identifier: Apache-2.0 */
#ifndef PARAATTN_STATUS_H
#define PARAATTN_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(PARA_BUILDING) && defined(__GNUC__)
#define PARA_API __attribute__((visibility("default")))
#else
#define PARA_API
#endif

/* Every status: name, pinned value, short text. Values never change their meaning. */
#define PARA_STATUS_MAP(X)                                                                         \
    X(PARA_OK, 0, "no error")                                                                      \
    X(PARA_ERR_ARGUMENT, -1, "invalid argument")                                                   \
    X(PARA_ERR_MEMORY, -2, "out of memory")                                                        \
    X(PARA_ERR_IO, -3, "file cannot be read or written")                                           \
    X(PARA_ERR_NOT_FOUND, -4, "file or tensor not found")                                          \
    X(PARA_ERR_FORMAT, -5, "file is damaged or not of its format")                                 \
    X(PARA_ERR_CONFIG, -6, "configuration is not supported")                                       \
    X(PARA_ERR_SHAPE, -7, "shape or type does not match")                                          \
    X(PARA_ERR_NAN, -8, "not-a-number or infinity in a result")                                    \
    X(PARA_ERR_CANCELLED, -9, "cancelled")                                                         \
    X(PARA_ERR_BUSY, -10, "world is busy with another request")                                    \
    X(PARA_ERR_DEVICE, -11, "device failed or is absent")                                          \
    X(PARA_ERR_LIBRARY, -12, "a library call failed")                                              \
    X(PARA_ERR_STATE, -13, "call is not allowed in this state")                                    \
    X(PARA_ERR_LOST, -14, "a rank was lost")

typedef enum para_status {
#define PARA_STATUS_ENUM(name, value, text) name = (value),
    PARA_STATUS_MAP(PARA_STATUS_ENUM)
#undef PARA_STATUS_ENUM
} para_status;

/* The name ("PARA_ERR_IO") and the short text of a status; "PARA_ERR_UNKNOWN" and "unknown status" for
 * other values. Static strings; any thread. */
PARA_API const char *para_status_name(para_status status);
PARA_API const char *para_status_text(para_status status);

/* The sentence of the last call that failed on this thread: what was wrong, where (file, tensor,
 * option) and what to do. "" when none failed. Valid until the next failing call on this thread. */
PARA_API const char *para_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
