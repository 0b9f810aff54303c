/* A request as one block of bytes, for other processes. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_REQUEST_MESSAGE_H
#define PARA_PIPELINE_REQUEST_MESSAGE_H

#include <paraattn/pipeline.h>

/* Packs a checked request, without its callback; equal requests give equal bytes. *bytes is the caller's, para_free. PARA_ERR_MEMORY. */
para_status para_request_pack(const para_request *request, void **bytes, size_t *size);
/* The request in bytes that pack made, which it then points into; once. */
const para_request *para_request_unpack(void *bytes);

#endif
