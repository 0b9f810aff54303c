/* What both convolutions of the cpu back end share: oneDNN's, its weights converted and packed. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CPU_CPU_CONV_H
#define PARA_CPU_CPU_CONV_H

#include "backend/cpu/cpu.h"

typedef struct para_cpu_conv {
    para_dtype type; /* of the convolution: the activations', or F32 where oneDNN has no fast BF16 */
    bool convert_w;
    para_onednn_key key;
    size_t w_bytes, packed_bytes, onednn_bytes;
} para_cpu_conv;

/* Fills the plan of a key whose type is the activations'. */
para_status para_cpu_conv_plan(para_onednn *o, const para_linear *w, const para_onednn_key *key, bool describe_only,
                               para_cpu_conv *out);
/* Of the scratch that run needs. */
size_t para_cpu_conv_bytes(const para_cpu_conv *c);
/* The weights as the convolution wants them before it packs them: converted into the scratch, which is kept for run, or as they are. */
const void *para_cpu_conv_weights(para_device *dev, const para_cpu_conv *c, const para_linear *w,
                                  para_dtype activations, char *scratch);
/* dst = convolution of src, both of c->type. */
para_status para_cpu_conv_run(para_device *dev, const para_cpu_conv *c, const para_linear *w, const void *weights,
                              const void *src, void *dst, char *scratch);
/* The same elements in another type, rounded to `between` on the way. */
void para_cpu_convert(para_device *dev, int64_t count, const void *from, para_dtype from_type, void *to,
                      para_dtype to_type, para_dtype between);

#endif
