#!/bin/sh
# Builds with and without sanitizers, runs every test of this machine, and counts. SPDX-License-Identifier: Apache-2.0
# Usage: tests/run_all.sh   (what `make check` and `./setup.sh check` run)
# Environment: JOBS (default: all cores), CMAKE; PARA_FULL=1 gives each fuzzer 10 minutes, not 30 seconds.
# The last line is "N passed, N failed, N skipped". Skips that tests/expected-skips does not list are failures.
set -u
cd "$(dirname "$0")/.." || exit 1
release=build/release
sanitize=build/sanitize
tsan=build/tsan
targets=
CMAKE=${CMAKE:-cmake}
JOBS=${JOBS:-$(nproc 2>/dev/null || echo 2)}
results=$PWD/build/results
mkdir -p build
: >"$results" || exit 1
start=$(date +%s)

say() { printf '== %s (after %s s)\n' "$*" "$(($(date +%s) - start))"; }

finish() {
    awk -v list=tests/expected-skips '
        BEGIN {
            while ((getline line <list) > 0) {
                sub(/[ \t]*#.*/, "", line)
                if (line != "") expected[line] = 1
            }
        }
        {
            outcome = $1
            name = $0
            sub(/^[a-z]+ /, "", name)
            plain = name
            sub(/^sanitize: /, "", plain)
            if (outcome == "skipped" && !(plain in expected)) {
                outcome = "failed"
                name = name " (skipped, but not listed in " list ")"
            }
            count[outcome]++
            names[outcome] = names[outcome] "  " name "\n"
        }
        END {
            if (count["skipped"]) printf "skipped:\n%s", names["skipped"]
            if (count["failed"]) printf "failed:\n%s", names["failed"]
            printf "%d passed, %d failed, %d skipped\n", count["passed"], count["failed"], count["skipped"]
            exit count["failed"] > 0 || count["passed"] == 0
        }' "$results"
    exit
}

build() { # folder, CMake's options …
    folder=$1
    shift
    say "building $folder"
    # shellcheck disable=SC2086 # targets are words
    if $CMAKE -S . -B "$folder" -DPARA_TESTS=ON "$@" >"$folder.log" 2>&1 &&
        $CMAKE --build "$folder" -j "$JOBS" ${targets:+--target $targets} >>"$folder.log" 2>&1; then
        return
    fi
    grep -A 6 -E 'error|undefined reference|Error' "$folder.log" | head -n 60
    echo "failed building $folder (all of it: $folder.log)" >>"$results"
    finish
}

run() { # folder, prefix of names, ctest's options …
    folder=$1
    prefix=$2
    shift 2
    log=$PWD/$folder/check.log
    say "testing $folder"
    (cd "$folder" && ctest -V -j "$JOBS" "$@" 2>&1) | tee "$log" | grep -E '^ *[0-9]+/[0-9]+ +Test '
    awk -v prefix="$prefix" -f tests/count_results.awk "$log" >"$results.part"
    # What failed, in its own words.
    sed -n 's/^ *[0-9]*\/[0-9]* *Test *#\([0-9]*\): .*\*\*\*[^S].*/\1/p' "$log" | while read -r id; do
        echo "-- output of test $id:"
        grep "^$id: " "$log" | tail -n 60
    done
    [ -s "$results.part" ] || echo "failed ${prefix}ctest ran nothing in $folder" >"$results.part"
    cat "$results.part" >>"$results"
    rm "$results.part"
}

build "$release" -DCMAKE_BUILD_TYPE=Release -DPARA_WERROR=ON
# The sanitizers' own code makes gcc warn of what is not there.
build "$sanitize" -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="-O1 -g" -DPARA_SANITIZE=ON -DPARA_WERROR=OFF

# Waiting threads sleep: several test programs share the cores.
export OMP_WAIT_POLICY=passive
run "$release" ""

export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1:strict_string_checks=1"
export UBSAN_OPTIONS="print_stacktrace=1"
export LSAN_OPTIONS="suppressions=$PWD/tests/leaks-of-others,print_suppressions=0"
run "$sanitize" "sanitize: "

# The programs whose ranks are threads, each with one OpenMP thread: OpenMP's own library is not instrumented.
targets="test_comm test_world test_attention_modes test_parallel_vae test_parallel_pipeline test_recorded_ranks test_residency"
build "$tsan" -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="-O1 -g" -DPARA_TSAN=ON -DPARA_WERROR=OFF
export TSAN_OPTIONS="halt_on_error=1:allocator_may_return_null=1:suppressions=$PWD/tests/races-of-others"
export OMP_THREAD_LIMIT=1
run "$tsan" "threads: " -R "^(golden|parallel)/($(echo "$targets" | tr ' ' '|'))\$"
unset OMP_THREAD_LIMIT
targets=

if [ -x tests/fuzz/run.sh ]; then
    say "fuzzing"
    seconds=30
    [ -z "${PARA_FULL:-}" ] || seconds=600
    tests/fuzz/run.sh "$seconds" >"$results.part" || grep -q '^failed' "$results.part" || echo "failed fuzz/run.sh" >>"$results.part"
    tee -a "$results" <"$results.part"
    rm "$results.part"
fi

# Errors put into the source one at a time: each must make a test fail.
if [ -n "${PARA_FULL:-}" ]; then
    say "mutants"
    tests/mutants/run.sh >"$results.part"
    cat "$results.part"
    awk '$1 == "killed" || $1 == "survived" || $1 == "broken" {
        sub(/:$/, "", $2)
        print ($1 == "killed" ? "passed" : "failed"), "mutants/" $2
    }' "$results.part" >>"$results"
    tail -n 1 "$results.part" | grep -q "mutants killed" || echo "failed mutants/run.sh" >>"$results"
    rm "$results.part"
fi

say "done"
finish
