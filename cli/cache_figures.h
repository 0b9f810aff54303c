/* What para bench cache shows: a plot, and some of the pictures. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_CACHE_FIGURES_H
#define PARA_CLI_CACHE_FIGURES_H

#include "cache_study.h"
#include "contact_sheet.h"

/* Writes PSNR and SSIM over the speed-up, a line for each number of derivatives, a point for each threshold. */
para_status cache_plot_save(const cache_study *s, const char *path);

/* For the first so many prompts: beside each other the uncached picture and one for each threshold, below each other the prompts, for each number of
 * derivatives. Opened by its first picture. */
typedef struct cache_sheet {
    int prompts;
    contact_sheet sheet;
} cache_sheet;

/* arm: an index into those of the study; -1: the uncached picture. */
para_status cache_sheet_put(cache_sheet *c, const cache_study *s, int prompt, int arm, const para_result *picture);
para_status cache_sheet_save(const cache_sheet *c, const char *path);
void cache_sheet_close(cache_sheet *c);

#endif
