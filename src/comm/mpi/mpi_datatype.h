/* Tensors of any strides as MPI sees them. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_MPI_DATATYPE_H
#define PARA_COMM_MPI_DATATYPE_H

#include <mpi.h>
#include <paraattn/tensor.h>

/* `count` of `type` from the tensor's first element on. */
typedef struct para_mpi_shape {
    MPI_Datatype type;
    int count;
    bool derived; /* type is to be freed */
} para_mpi_shape;

/* The elements in the order of the dimensions, so that tensors of different strides match. element: 1, 2, 4 or 8 bytes. Returns MPI's result. */
int para_mpi_shape_open(para_mpi_shape *out, const para_tensor *t, size_t element);
void para_mpi_shape_close(para_mpi_shape *shape);

#endif
