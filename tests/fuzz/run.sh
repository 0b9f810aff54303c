#!/bin/sh
# Builds the fuzzers, runs each for the given time and measures what they reach. SPDX-License-Identifier: Apache-2.0
# Usage: tests/fuzz/run.sh SECONDS [NAME...]     NAME: safetensors, config, … (default: all)
# With clang and its libFuzzer where they are installed, else with standalone_driver.c and the C compiler (CC, default cc).
# Standard output has one line for each outcome, "passed NAME" or "failed NAME"; all else goes to standard error.
# Builds below PARA_FUZZ_BUILD (default build); a finding is kept in its folder fuzz.
# Every parser that a fuzzer names under "Covers:" must have 80 % of its lines run.
set -u
cd "$(dirname "$0")/../.." || exit 2
[ $# -ge 1 ] || { sed -n 's/^# Usage: /usage: /p' "$0" >&2; exit 2; }
seconds=$1
shift
CMAKE=${CMAKE:-cmake}
here=tests/fuzz
root=${PARA_FUZZ_BUILD:-$PWD/build}
coverage=$root/fuzz-coverage
minimum=80
status=0
mkdir -p "$root" "$coverage" || exit 2

outcome() { # passed|failed, name
    echo "$1 $2"
    [ "$1" = passed ] || status=1
}

make_build() { # folder, CMake's options …
    folder=$1
    shift
    if $CMAKE -S $here -B "$folder" "$@" >"$folder/build.log" 2>&1 &&
        $CMAKE --build "$folder" -j "${JOBS:-2}" >>"$folder/build.log" 2>&1; then
        return
    fi
    tail -n 40 "$folder/build.log" >&2
    outcome failed "fuzz/build of $folder"
    exit 1
}

has_libfuzzer() {
    printf 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n); int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return !d && n; }' |
        clang -x c -fsanitize=fuzzer,address,undefined - -o "$root/fuzz-probe" >/dev/null 2>&1
}

# Two folders, because a CMake folder keeps its compiler.
if has_libfuzzer; then
    libfuzzer=yes
    build=$root/fuzz
    mkdir -p "$build"
    make_build "$build" -DCMAKE_C_COMPILER=clang -DPARA_LIBFUZZER=ON
else
    libfuzzer=no
    build=$root/fuzz-standalone
    mkdir -p "$build"
    make_build "$build" -DPARA_LIBFUZZER=OFF
fi
make_build "$coverage" -DPARA_COVERAGE=ON -DPARA_LIBFUZZER=OFF

names=$*
[ -n "$names" ] || names=$(cd $here && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1"
export UBSAN_OPTIONS="print_stacktrace=1"

fuzz() { # name
    found=$build/corpus/$1
    mkdir -p "$found"
    dict=
    [ ! -f "$here/$1.dict" ] || dict=-dict=$PWD/$here/$1.dict
    if [ $libfuzzer = yes ]; then
        # shellcheck disable=SC2086 # no dictionary, no argument
        "$build/fuzz_$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$build/$1-" \
            $dict "$found" "$here/seeds/$1"
    else
        # shellcheck disable=SC2086
        (cd "$build" && "./fuzz_$1" -seconds="$seconds" -seed="${SEED:-1}" $dict "$found" "$OLDPWD/$here/seeds/$1")
    fi >"$build/$1.log" 2>&1
}

# Replays what was found and mutates on for a moment, counting lines. The seeds alone reach what is asked for.
measure() { # name
    find "$coverage" -name '*.gcda' -delete
    short=$((seconds < 3 ? seconds : 3))
    dict=
    [ ! -f "$here/$1.dict" ] || dict=-dict=$PWD/$here/$1.dict
    # shellcheck disable=SC2086
    (cd "$coverage" && "./fuzz_$1" -seconds=$short -seed="${SEED:-1}" $dict "$build/corpus/$1" "$OLDPWD/$here/seeds/$1") >/dev/null 2>"$coverage/$1.log" ||
        { tail -n 5 "$coverage/$1.log" >&2; outcome failed "fuzz/coverage run of $1"; }
    sed -n 's/^ \* Covers: //p' "$here/fuzz_$1.c" | tr -s ', ' '\n\n' | sed '/^\*\/$/d; /^$/d' | while read -r file; do
        counts=$(find "$coverage" -path "*/$file.gcda")
        percent=$(cd "$coverage" && gcov -n "${counts:-none}" 2>/dev/null |
            awk -v file="$file" '/^File/ { mine = index($0, file "\047") } /^Lines executed/ && mine { sub(/^[^:]*:/, ""); print; exit }')
        echo "$file: ${percent:-no lines}" >&2
        case $percent in
        *%*) [ "${percent%%[.%]*}" -ge $minimum ] && echo "passed fuzz/coverage of $file" || echo "failed fuzz/coverage of $file (${percent%% *} of its lines)" ;;
        *) echo "failed fuzz/coverage of $file (not measured)" ;;
        esac
    done
}

# As many at a time as there are cores.
jobs=${JOBS:-2}
started=0
for name in $names; do
    { fuzz "$name"; echo $? >"$build/$name.status"; } &
    started=$((started + 1))
    [ $((started % jobs)) -ne 0 ] || wait
done
wait

for name in $names; do
    if [ "$(cat "$build/$name.status")" = 0 ]; then
        outcome passed "fuzz/fuzz_$name"
    else
        tail -n 40 "$build/$name.log" >&2
        outcome failed "fuzz/fuzz_$name (see $build/$name.log)"
    fi
    grep -E 'number_of_executed_units|inputs, .* runs|^Done ' "$build/$name.log" | sed "s/^/$name: /" >&2
    measure "$name" >"$coverage/outcome"
    cat "$coverage/outcome"
    ! grep -q '^failed' "$coverage/outcome" || status=1
done
exit $status
