#!/bin/sh
# libparaattn.so exports exactly what the public headers declare. SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (a finished build).
set -eu
library=$BUILD/libparaattn.so
[ -f "$library" ] || { echo "skipped: $library is not a shared build"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/exported"
# A declaration starts with PARA_API at the line's start; its name is the last word before the parenthesis (or the semicolon).
tr '\n' ' ' <<EOS | grep -o 'PARA_API [^;]*;' | sed 's/(.*//; s/;.*//; s/.*[ *]//' | sort -u >"$work/declared"
$(sed 's|/\*.*\*/||' include/paraattn/*.h | grep -v '^#')
EOS
[ -s "$work/declared" ] || { echo "FAILED: no declaration found"; exit 1; }
comm -23 "$work/exported" "$work/declared" >"$work/private"
comm -13 "$work/exported" "$work/declared" >"$work/undefined"
[ ! -s "$work/private" ] || { echo "FAILED: exported but in no public header:"; cat "$work/private"; }
[ ! -s "$work/undefined" ] || { echo "FAILED: declared but not exported:"; cat "$work/undefined"; }
[ ! -s "$work/private" ] && [ ! -s "$work/undefined" ] && echo "ok: $(wc -l <"$work/exported") names"
