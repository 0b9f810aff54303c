/* Derived datatypes: a vector for each dimension that does not simply go on. SPDX-License-Identifier: Apache-2.0 */
#include "comm/mpi/mpi_datatype.h"

#include <limits.h>

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        int result_ = (call);                                                                                          \
        if (result_ != MPI_SUCCESS) return result_;                                                                    \
    } while (0)

static MPI_Datatype element_type(size_t bytes) {
    switch (bytes) {
    case 1: return MPI_UINT8_T;
    case 2: return MPI_UINT16_T;
    case 4: return MPI_UINT32_T;
    default: return MPI_UINT64_T;
    }
}

/* `count` of `of`, `stride` bytes apart. MPI counts in int, and Open MPI 4.1 takes a stride of -1 byte for none: then it is chunks and a rest. */
static int vector(int64_t count, MPI_Aint stride, MPI_Datatype of, MPI_Datatype *out) {
    if (count < 2) stride = 0;
    if (count == 2 && stride == -1) return MPI_Type_create_hindexed_block(2, 1, (MPI_Aint[]){0, stride}, of, out);
    const int64_t chunk = stride == -1 ? 2 : 1 << 30;
    if (stride != -1 && count <= chunk) return MPI_Type_create_hvector((int)count, 1, stride, of, out);
    MPI_Datatype one, part[2];
    TRY(vector(chunk, stride, of, &one));
    int result = vector(count / chunk, (MPI_Aint)chunk * stride, one, &part[0]);
    MPI_Type_free(&one);
    TRY(result);
    result = vector(count % chunk, stride, of, &part[1]);
    if (result == MPI_SUCCESS) {
        const int lengths[2] = {1, 1};
        const MPI_Aint places[2] = {0, (MPI_Aint)(count / chunk * chunk) * stride};
        result = MPI_Type_create_struct(2, lengths, places, part, out);
        MPI_Type_free(&part[1]);
    }
    MPI_Type_free(&part[0]);
    return result;
}

/* Sizes and strides without dimensions of size 1, and with those joined that follow one another in memory. Returns their number. */
static int runs_of(const para_tensor *t, int64_t count[PARA_MAX_DIMS], int64_t stride[PARA_MAX_DIMS]) {
    int n = 0;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] == 1) continue;
        if (n > 0 && stride[n - 1] == t->dim[i] * t->stride[i]) {
            count[n - 1] *= t->dim[i];
            stride[n - 1] = t->stride[i];
            continue;
        }
        count[n] = t->dim[i];
        stride[n++] = t->stride[i];
    }
    return n;
}

int para_mpi_shape_open(para_mpi_shape *out, const para_tensor *t, size_t element) {
    int64_t count[PARA_MAX_DIMS], stride[PARA_MAX_DIMS];
    int n = runs_of(t, count, stride);
    *out = (para_mpi_shape){element_type(element), 1, false};
    if (n == 0) return MPI_SUCCESS;
    if (n == 1 && stride[0] == 1 && count[0] <= INT_MAX) {
        out->count = (int)count[0];
        return MPI_SUCCESS;
    }
    MPI_Datatype type = out->type;
    for (int i = n - 1; i >= 0; i--) {
        MPI_Datatype outer;
        int result = vector(count[i], (MPI_Aint)stride[i] * (MPI_Aint)element, type, &outer);
        if (i < n - 1) MPI_Type_free(&type);
        TRY(result);
        type = outer;
    }
    int result = MPI_Type_commit(&type);
    if (result != MPI_SUCCESS) {
        MPI_Type_free(&type);
        return result;
    }
    *out = (para_mpi_shape){type, 1, true};
    return MPI_SUCCESS;
}

void para_mpi_shape_close(para_mpi_shape *shape) {
    if (shape->derived) MPI_Type_free(&shape->type); /* transfers under way keep it */
    shape->derived = false;
}
