#!/bin/sh
# Tries the mutants of mutants.txt: each must make its test fail. SPDX-License-Identifier: Apache-2.0
# Usage: tests/mutants/run.sh [NAME]...   (all without a name); the last line counts; exit status 1 where one survives.
# Works on a copy in build/mutants; nothing of the tree changes. Environment: JOBS (2), CMAKE.
set -u
cd "$(dirname "$0")/../.." || exit 1
root=$PWD
list=$root/tests/mutants/mutants.txt
work=$root/build/mutants
CMAKE=${CMAKE:-cmake}
export OMP_WAIT_POLICY=passive

# The copy: sources fresh, objects kept from the last run.
mkdir -p "$work/tree" "$work/build" "$work/one"
for part in CMakeLists.txt cmake include src cli examples tests docs; do
    rm -rf "$work/tree/$part"
    cp -pR "$root/$part" "$work/tree/$part" || exit 1
done
ln -sfn "$root/models" "$work/tree/models"
# Their objects may be mutants of the last run, and newer than these copies.
sed -n 's/^file: //p' "$list" | sort -u | while read -r file; do touch "$work/tree/$file"; done

fields() { # name: writes what, file, from, to, test to $work/one
    rm -f "$work/one/"*
    awk -v name="$1" -v out="$work/one/" '
        /^mutant / { on = index($0, "mutant " name ":") == 1; if (on) { sub(/^mutant [^:]*: */, ""); printf "%s", $0 >(out "what") } next }
        on && /^(file|from|to|test):/ {
            key = $0; sub(/:.*/, "", key)
            value = $0; sub(/^[a-z]+: ?/, "", value)
            printf "%s", value >(out key)
        }' "$list"
}

replace() { # file: the text of one/from, there exactly once, becomes that of one/to
    FROM=$(cat "$work/one/from") TO=$(cat "$work/one/to") awk '
        BEGIN { from = ENVIRON["FROM"]; to = ENVIRON["TO"] }
        {
            at = index($0, from)
            if (at) { found++; $0 = substr($0, 1, at - 1) to substr($0, at + length(from)) }
            print
        }
        END { exit found != 1 }' "$1"
}

build() { $CMAKE --build "$work/build" -j "${JOBS:-2}" --target "$1" >"$work/build.log" 2>&1; }
try() { (cd "$work/build" && timeout 600 "./$1") >"$work/test.log" 2>&1; }

$CMAKE -S "$work/tree" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DPARA_TESTS=ON -DPARA_WERROR=OFF >"$work/build.log" 2>&1 || {
    cat "$work/build.log"
    exit 1
}
names=${*:-$(sed -n 's/^mutant \([^:]*\):.*/\1/p' "$list")}
killed=0
survived=0

# A test that fails anyway would kill every mutant.
: >"$work/sound"
for test in $(for name in $names; do fields "$name" && cat "$work/one/test" && echo; done | sort -u); do
    build "$test" && try "$test" && echo "$test" >>"$work/sound" && continue
    echo "$test fails without any mutant:"
    tail -n 20 "$work/build.log" "$work/test.log"
done

for name in $names; do
    fields "$name"
    if ! [ -s "$work/one/file" ] || ! replace "$root/$(cat "$work/one/file")" >"$work/mutated"; then
        echo "broken    $name: its text is not in its file exactly once"
        survived=$((survived + 1))
        continue
    fi
    file=$(cat "$work/one/file")
    test=$(cat "$work/one/test")
    if ! grep -qx "$test" "$work/sound"; then
        echo "broken    $name: $test fails without it"
        survived=$((survived + 1))
        continue
    fi
    cat "$work/mutated" >"$work/tree/$file"
    if ! build "$test"; then
        echo "broken    $name: does not compile ($(grep -m 1 error: "$work/build.log"))"
        survived=$((survived + 1))
    elif try "$test"; then
        echo "survived  $name: $(cat "$work/one/what") ($test)"
        survived=$((survived + 1))
    else
        echo "killed    $name: $(cat "$work/one/what") ($test)"
        killed=$((killed + 1))
    fi
    cat "$root/$file" >"$work/tree/$file"
done
echo "$killed mutants killed, $survived survived"
[ "$survived" -eq 0 ]
