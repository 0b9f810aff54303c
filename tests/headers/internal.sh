#!/bin/sh
# Each internal header includes what it needs: it compiles alone, twice. SPDX-License-Identifier: Apache-2.0
# Environment: CC, DNNL_INCLUDE_DIR, MPI_FLAGS and CUDA_FLAGS (empty: that module is left out). Works in the source root.
set -u
failed=0
flags="-std=c11 -D_GNU_SOURCE -Iinclude -Isrc -isystem ${DNNL_INCLUDE_DIR:-/usr/include}
       $(pkg-config --cflags jansson libpng libutf8proc libpcre2-8) ${MPI_FLAGS:-} ${CUDA_FLAGS:-}"
find src -name '*.h' | { [ -n "${MPI_FLAGS:-}" ] && cat || grep -v '^src/comm/mpi/'; } |
    { [ -n "${CUDA_FLAGS:-}" ] && cat || grep -v '^src/backend/cuda/'; } | sort >"${TMPDIR:-/tmp}/para_headers.$$"
while read -r header; do
    # shellcheck disable=SC2086 # the flags are words
    printf '#include "%s"\n#include "%s"\n' "${header#src/}" "${header#src/}" |
        ${CC:-cc} $flags -Wall -Wextra -Wno-unused-function -Werror -fopenmp -fsyntax-only -x c - || {
        echo "FAILED: $header alone"
        failed=1
    }
done <"${TMPDIR:-/tmp}/para_headers.$$"
rm -f "${TMPDIR:-/tmp}/para_headers.$$"
exit $failed
