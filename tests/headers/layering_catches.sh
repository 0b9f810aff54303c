#!/bin/sh
# layering.sh finds every kind of breach, and none in a tree without one. SPDX-License-Identifier: Apache-2.0
set -u
check=$PWD/tests/headers/layering.sh
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

tree() { # a small tree without a breach
    rm -rf "$work/tree"
    mkdir -p "$work/tree/include/paraattn" "$work/tree/src/core" "$work/tree/src/model" "$work/tree/src/text" "$work/tree/cli"
    cd "$work/tree" || exit 1
    printf '#include <stddef.h>\n' >include/paraattn/status.h
    printf '#include <paraattn/status.h>\n' >src/core/error.h
    printf '#include "core/error.h"\n/* never\n printf("x");\n exit(1); */ const char *s = "abort()"; // exit(2)\n' >src/core/error.c
    printf '#include "core/error.h"\n#include "text/words.h"\nint on_exit_code(int);\n' >src/model/flux.c
    printf '#include <stdio.h>\n' >src/text/words.h
    printf '#include <paraattn/status.h>\n#include <stdio.h>\nint main(void) { return printf("hello"); }\n' >cli/main.c
}
expect() { # 0 or 1, what was done to the tree
    sh "$check" . >"$work/log"
    [ $? -eq "$1" ] && return
    echo "FAILED: $2: expected $1"
    cat "$work/log"
    failed=1
}
broken() { # file text: adds the line, expects a breach
    tree
    printf '%s\n' "$2" >>"$1"
    expect 1 "$1: $2"
}

tree
expect 0 "a tree without a breach"
broken src/core/error.c '#include "model/flux.h"'
echo >src/model/flux.h
expect 1 "core includes model"
broken src/text/words.h '#include "pipeline/none.h"'
broken src/model/flux.c '#include <core/error.h>'
broken src/model/flux.c '#include <paraattn/none.h>'
broken cli/main.c '#include "core/error.h"'
broken include/paraattn/status.h '#include "../../src/core/error.h.none"'
broken src/core/error.c 'void f(void) { abort(); }'
broken src/core/error.c 'void f(void) { if (1) exit (1); }'
broken src/core/error.c 'void f(void) { printf("%d", 1); }'
broken src/core/error.c 'void f(void) { fprintf(stderr, "x"); }'
broken src/core/error.c 'void f(void) { /* a */ assert(0); }'
tree
cp src/core/error.h src/text/error.h
expect 1 "a file name twice"
tree
mkdir src/other
printf '#include "core/error.h"\n' >src/other/new.c
expect 1 "a folder without a row"
tree
awk 'BEGIN { for (i = 0; i < 4200; i++) print "int x;    " }' >src/core/big.c
expect 1 "a file of more than 40 kB"
exit $failed
