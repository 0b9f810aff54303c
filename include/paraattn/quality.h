/* How near a picture is to another: PSNR and SSIM. Part of libparaattn; SPDX-License-Identifier: Apache-2.0 */
#ifndef PARAATTN_QUALITY_H
#define PARAATTN_QUALITY_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct para_quality {
    double mse;  /* mean squared difference over pixels and channels, for a range of 1 */
    double psnr; /* -10 log10(mse), in dB; infinite where the pictures are equal */
    double ssim; /* mean structural similarity, 1 where they are equal; NAN below 11 pixels of height or width */
} para_quality;

/* PSNR of a mean squared difference: that of several pictures is of the mean of theirs. */
PARA_API double para_psnr(double mse);

/* Compares two pictures on the host, F32 [3, height, width], contiguous; values are clamped to 0..1. SSIM as Wang et al. 2004: Gaussian windows of 11 × 11
 * and σ = 1.5, within the picture, averaged over pixels and channels, as skimage.metrics.structural_similarity does with gaussian_weights. Any
 * thread. PARA_ERR_ARGUMENT, PARA_ERR_SHAPE (they differ, or have another form), PARA_ERR_MEMORY. */
PARA_API para_status para_compare_pictures(const para_tensor *picture, const para_tensor *reference, para_quality *out);

#ifdef __cplusplus
}
#endif
#endif
