/* Named intermediate tensors for tests and `para verify`. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_TRACE_H
#define PARA_CORE_TRACE_H

#include <paraattn/tensor.h>

/* Called with every stage's result as it is computed; the tensor (device memory, any strides) is valid
 * during the call only. Names: "text.clip", "text.t5", "latents", "embed.hidden_states", "block.3.hidden_states",
 * "head", "step.0.latents", "vae.decode.in", "images", … A status other than PARA_OK stops the run. */
typedef struct para_trace {
    para_status (*fn)(void *user, const char *name, const para_tensor *tensor);
    void *user;
} para_trace;

#endif
