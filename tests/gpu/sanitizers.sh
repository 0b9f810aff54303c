#!/bin/sh
# compute-sanitizer over the kernels of this project: memcheck and initcheck on everything that tests/ops and tests/gpu run, racecheck on what uses shared
# memory, memcheck on exchanges between ranks that share the GPU. What is said of the libraries' own kernels is left out. SPDX-License-Identifier: Apache-2.0
# Usage: tests/gpu/sanitizers.sh   (ctest sets BUILD; JOBS of them run at once, 1). 77, skipped: there is no compute-sanitizer, or it does not work on this machine.
set -u
tool=$(command -v compute-sanitizer) || tool=/usr/local/cuda/bin/compute-sanitizer
[ -x "$tool" ] || { echo "no compute-sanitizer"; exit 77; }
export PARA_TEST_DEVICE=cuda
libraries='nvjet|cutlass|cudnn|xmma|gemm|cublas'
leave_out="kns=$(echo "$libraries" | sed 's/|/,kns=/g')"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Of which kernels, and how often, initcheck and racecheck speak; not of the libraries' own.
kernels() {
    { sed -n '/^========= Uninitialized/{n;s/^=========     at \(.*\)+0x.*/\1/p;}' "$log"
        grep 'Race reported' "$log"; } | grep -v -E "$libraries" | sort | uniq -c
}

if [ "${1:-}" = --one ]; then # tool, program
    cd "${BUILD:-build/gpu}" || exit 1
    start=$(date +%s)
    case $2 in
    # initcheck must see what the libraries write and others read; racecheck ends with an internal error where it leaves a kernel out.
    initcheck | racecheck) set -- "$@" --print-limit 100000 ;;
    *) set -- "$@" --kernel-regex-exclude "$leave_out" ;;
    esac
    tool_name=$2 program=$3
    shift 3
    # Exit code 9: the sanitizer found something; any other: the program itself failed.
    timeout 900 "$tool" --tool "$tool_name" --report-api-errors no --error-exitcode 9 "$@" "./$program" >"$log" 2>&1
    status=$?
    [ "$tool_name $status" = 'memcheck 9' ] || [ $status -ne 9 ] || [ -n "$(kernels)" ] || grep -q 'Sanitizer Error' "$log" || status=0
    { echo "$tool_name $program: status $status, $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -n 1) ($(($(date +%s) - start)) s)"
        kernels
        [ $status -eq 0 ] || grep -E '=========' "$log" | head -n 20; } >"$log.said"
    cat "$log.said" # at once, beside those of others
    rm -f "$log.said"
    [ $status -eq 0 ] # 255 would end xargs
    exit
fi

# A tool that cannot attach to this GPU says so at once.
if ! (cd "${BUILD:-build/gpu}" && timeout 120 "$tool" --tool memcheck ./test_ops_elementwise) >"$log" 2>&1 &&
    grep -q -E 'not supported|Failed to initialize|Unable to' "$log"; then
    cat "$log"
    exit 77
fi
{
    for program in test_ops_attention test_cuda_paths test_ops_norm test_ops_dense test_ops_elementwise; do echo "racecheck $program"; done # the longest first
    for program in test_cuda_recorded_ranks test_many_exchanges; do echo "memcheck $program"; done
    for program in test_ops_attention test_cuda_paths test_ops_dense test_ops_elementwise test_ops_norm; do printf 'memcheck %s\ninitcheck %s\n' $program $program; done
} | xargs -P "${JOBS:-1}" -n 2 sh "$0" --one
