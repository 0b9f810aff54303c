/* Which instruction set's loops run. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/simd/simd.h"

extern const para_simd para_simd_table_base;
#ifdef PARA_SIMD_X86
extern const para_simd para_simd_table_avx2, para_simd_table_avx512;
#endif

const para_simd *para_simd_usable(int i) {
    const para_simd *tables[3];
    int count = 0;
#ifdef PARA_SIMD_X86
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd"))
        tables[count++] = &para_simd_table_avx512;
    if (avx2) tables[count++] = &para_simd_table_avx2;
#endif
    tables[count++] = &para_simd_table_base;
    return i < count ? tables[i] : NULL;
}

const para_simd *para_simd_select(void) {
    return para_simd_usable(0);
}
