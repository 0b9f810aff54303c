#!/bin/sh
# clang takes every source without a warning, too (it only looks, it builds nothing). SPDX-License-Identifier: Apache-2.0
# Environment: CLANG (default clang), DNNL_INCLUDE_DIR, MPI_FLAGS, CUDA_FLAGS and NCCL_FLAGS (empty: that module is left out). Works in the source root.
set -u
CLANG=${CLANG:-clang}
command -v "$CLANG" >/dev/null || { echo "skipped: there is no $CLANG"; exit 77; }
failed=0
# gcc's omp.h, alone, for a clang without its OpenMP package.
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cp "$(cc -print-file-name=include/omp.h)" "$work"
flags="-std=c11 -D_GNU_SOURCE -DPARA_BUILDING -Iinclude -Isrc -Itests -isystem ${DNNL_INCLUDE_DIR:-/usr/include}
       -idirafter $work -fopenmp
       -Wall -Wextra -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wshadow -Werror -fsyntax-only
       $(pkg-config --cflags jansson libpng libutf8proc libpcre2-8 cmocka) ${MPI_FLAGS:-} ${CUDA_FLAGS:-}"

look() { # file, more flags …
    # shellcheck disable=SC2086 # the flags are words
    "$CLANG" $flags -DPARA_SOURCE_DIR='""' -DPARA_BINARY_DIR='""' -DPARA_MODULE_DIR='""' "$@" || {
        echo "FAILED: $*"
        failed=1
    }
}

for file in src/*/*.c src/*/*/*.c src/*/*/*/*.c cli/*.c examples/*.c bench/*.c tests/unit/*.c tests/ops/*.c tests/golden/*.c tests/parallel/*.c tests/cli/*.c; do
    [ -f "$file" ] || continue
    case $file in
    src/comm/mpi/*) [ -z "${MPI_FLAGS:-}" ] || look "$file" ;;
    src/comm/nccl/*) [ -z "${NCCL_FLAGS:-}" ] || look "$file" ${NCCL_FLAGS:-} ;; # flags are words
    src/io/video/*)
        # shellcheck disable=SC2046 # the flags are words
        ! pkg-config --exists libavcodec libavformat libswscale || look "$file" $(pkg-config --cflags libavcodec libavformat libswscale)
        ;;
    src/backend/cuda/*) [ -z "${CUDA_FLAGS:-}" ] || look "$file" ;;
    */simd/*)
        look "$file" -DPARA_SIMD_ISA=base
        [ "$(uname -m)" != x86_64 ] || look "$file" -DPARA_SIMD_ISA=avx2 -march=x86-64-v3
        [ "$(uname -m)" != x86_64 ] || look "$file" -DPARA_SIMD_ISA=avx512 -march=x86-64-v4
        ;;
    *) look "$file" ;;
    esac
done
exit $failed
