/* What keeps a GPU from being used; no part of it needs CUDA. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_GPU_FACTS_H
#define PARA_BACKEND_GPU_FACTS_H

#include <paraattn/status.h>

enum { PARA_GPU_LEAST_CAPABILITY = 8 }; /* major: bfloat16 and asynchronous copies begin with Ampere */

/* What CUDA says of the machine, and of one of its GPUs where that is looked at. */
typedef struct para_gpu_facts {
    int driver, runtime; /* CUDA versions, 13000 is 13.0; driver 0: there is none */
    int count;           /* GPUs that the driver finds */
    const char *name;    /* of the GPU; NULL: it is not looked at yet */
    int major, minor;    /* its compute capability */
} para_gpu_facts;

/* PARA_ERR_DEVICE with the sentence where the index-th GPU cannot be used. */
para_status para_gpu_refuse(const para_gpu_facts *f, int index);

#endif
