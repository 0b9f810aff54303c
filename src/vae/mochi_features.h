/* What the encoder of AutoencoderKLMochi sees of pixels: themselves, and sines and cosines of them. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_MOCHI_FEATURES_H
#define PARA_VAE_MOCHI_FEATURES_H

#include "backend/backend.h"

/* y [f, h, w, O] = w · (x, sin(2 pi 2^k x), cos(2 pi 2^k x)) for k of 6 and 7; x [f, h, w, C]. The sines are the host's, a frame at a time: it waits. */
para_status para_mochi_project_features(para_device *dev, const para_linear *w, para_tensor x, para_tensor y);

#endif
