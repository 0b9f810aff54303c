/* Which processes share a host. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_HOST_IDENTITY_H
#define PARA_COMM_HOST_IDENTITY_H

#include <paraattn/tensor.h>

/* A host by its name, and by numbers that tell hosts of one name apart: equal on two processes where they run on one machine, since one start of it, in one
 * network. Network namespaces of a machine count as hosts: what goes from one to the other passes an interface. */
typedef struct para_host_identity {
    char name[256];
    uint64_t boot;    /* the machine, since it was started; 0: unknown */
    uint64_t network; /* its network namespace; 0: unknown */
} para_host_identity;

/* That of this process; every byte of it is set. */
void para_host_identify(para_host_identity *out);
bool para_host_same(const para_host_identity *a, const para_host_identity *b);

#endif
