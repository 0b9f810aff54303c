/* Pixels as files have them. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_OUTPUT_PIXELS_H
#define PARA_PIPELINE_OUTPUT_PIXELS_H

#include <stdint.h>

/* Planar floats [3, H, W], 0..1, to interleaved bytes [H, W, 3]: clamp, scale, round half to even, as VaeImageProcessor. pixels: H · W. */
void para_pixels_to_bytes(uint8_t *rgb, const float *planes, int64_t pixels);

#endif
