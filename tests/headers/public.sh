#!/bin/sh
# Each public header alone compiles as C11 and as C++17 without a warning and includes nothing but its siblings and
# three standard headers. SPDX-License-Identifier: Apache-2.0
# Environment: CC, CXX. Works in the source root.
set -u
failed=0
for header in include/paraattn/*.h; do
    printf '#include <%s>\n#include <%s>\n' "paraattn/${header##*/}" "paraattn/${header##*/}" >"${TMPDIR:-/tmp}/para_header.$$"
    for compiler in "${CC:-cc} -std=c11 -x c" "${CXX:-c++} -std=c++17 -x c++"; do
        # shellcheck disable=SC2086 # the compiler and its options are words
        $compiler -Wall -Wextra -Wpedantic -pedantic-errors -Werror -fsyntax-only -Iinclude "${TMPDIR:-/tmp}/para_header.$$" || {
            echo "FAILED: $header alone with $compiler"
            failed=1
        }
    done
    others=$(sed -n 's/^[ \t]*#[ \t]*include[ \t]*//p' "$header" |
        grep -v -E '^(<(stddef|stdint|stdbool)\.h>|"[a-z_]+\.h")')
    [ -z "$others" ] || {
        echo "FAILED: $header includes $others"
        failed=1
    }
done
rm -f "${TMPDIR:-/tmp}/para_header.$$"
exit $failed
