/* Tensor views: a type, a shape, strides and a pointer. Part of libparaattn; SPDX-License-Identifier: Apache-2.0 */
#ifndef PARAATTN_TENSOR_H
#define PARAATTN_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every element type: name, pinned value, bytes, spelling in safetensors files. */
#define PARA_DTYPE_MAP(X)                                                                          \
    X(PARA_F32, 1, 4, "F32")                                                                       \
    X(PARA_F16, 2, 2, "F16")                                                                       \
    X(PARA_BF16, 3, 2, "BF16")                                                                     \
    X(PARA_F8_E4M3, 4, 1, "F8_E4M3")                                                               \
    X(PARA_I32, 5, 4, "I32")                                                                       \
    X(PARA_I64, 6, 8, "I64")                                                                       \
    X(PARA_U8, 7, 1, "U8")                                                                         \
    X(PARA_BOOL, 8, 1, "BOOL")

typedef enum para_dtype {
    PARA_DTYPE_NONE = 0,
#define PARA_DTYPE_ENUM(name, value, bytes, text) name = (value),
    PARA_DTYPE_MAP(PARA_DTYPE_ENUM)
#undef PARA_DTYPE_ENUM
} para_dtype;

#define PARA_MAX_DIMS 6

/* A view: it owns nothing. dim[0] is the outermost; strides count elements and may be 0 (broadcast) or negative. */
typedef struct para_tensor {
    para_dtype dtype;              /* element type */
    int rank;                      /* number of dimensions, 0 to PARA_MAX_DIMS */
    int64_t dim[PARA_MAX_DIMS];    /* sizes, outermost first */
    int64_t stride[PARA_MAX_DIMS]; /* distance in elements between neighbours along each dimension */
    void *data;                    /* first element; NULL: no tensor */
} para_tensor;

/* Bytes of one element (0 for PARA_DTYPE_NONE) and the spelling used in files ("BF16"; "?" for others). */
PARA_API size_t para_dtype_size(para_dtype dtype);
PARA_API const char *para_dtype_name(para_dtype dtype);
/* The type with this spelling, or PARA_DTYPE_NONE. */
PARA_API para_dtype para_dtype_from_name(const char *name);

/* A contiguous view of `data` with the given sizes (rank of them, outermost first). */
PARA_API para_tensor para_tensor_make(void *data, para_dtype dtype, int rank, const int64_t *dim);
/* Number of elements (1 for rank 0). */
PARA_API int64_t para_tensor_count(const para_tensor *t);
/* Whether elements lie one after another in the order of the dimensions. */
PARA_API bool para_tensor_contiguous(const para_tensor *t);

#ifdef __cplusplus
}
#endif
#endif
