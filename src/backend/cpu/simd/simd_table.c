/* One instruction set's table of loops. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/simd/simd_table.h"

#include "backend/cpu/simd/vec.h"

const para_simd PARA_SIMD_NAME(para_simd_table) = {
    .name = PARA_SIMD_TEXT,
    .norm = PARA_SIMD_NAME(para_simd_norm),
    .residual = PARA_SIMD_NAME(para_simd_residual),
    .head = PARA_SIMD_NAME(para_simd_head),
    .activate = PARA_SIMD_NAME(para_simd_activate),
    .gated = PARA_SIMD_NAME(para_simd_gated),
    .add = PARA_SIMD_NAME(para_simd_add),
    .convert = PARA_SIMD_NAME(para_simd_convert),
    .all_finite = PARA_SIMD_NAME(para_simd_all_finite),
    .linear_few = PARA_SIMD_NAME(para_simd_linear_few),
    .channel_moments = PARA_SIMD_NAME(para_simd_channel_moments),
    .channel_scale = PARA_SIMD_NAME(para_simd_channel_scale),
    .q_block = PARA_SIMD_Q_BLOCK,
    .key_panel = PARA_SIMD_KEY_PANEL,
    .packed_k_floats = PARA_SIMD_NAME(para_simd_packed_k_floats),
    .packed_v_floats = PARA_SIMD_NAME(para_simd_packed_v_floats),
    .block_floats = PARA_SIMD_NAME(para_simd_block_floats),
    .pack_k = PARA_SIMD_NAME(para_simd_pack_k),
    .pack_v = PARA_SIMD_NAME(para_simd_pack_v),
    .attention = PARA_SIMD_NAME(para_simd_attention),
    .merge = PARA_SIMD_NAME(para_simd_merge),
};
