#!/bin/sh
# compute-sanitizer over the kernels of this project: memcheck and initcheck on everything that tests/ops and tests/gpu run, racecheck on what uses shared
# memory, memcheck on exchanges between ranks that share the GPU. The libraries' own kernels are left out. SPDX-License-Identifier: Apache-2.0
# Usage: tests/gpu/sanitizers.sh   (ctest sets BUILD; JOBS of them run at once, 1). 77, skipped: there is no compute-sanitizer, or it does not work on this machine.
set -u
tool=$(command -v compute-sanitizer) || tool=/usr/local/cuda/bin/compute-sanitizer
[ -x "$tool" ] || { echo "no compute-sanitizer"; exit 77; }
export PARA_TEST_DEVICE=cuda
libraries='kns=nvjet,kns=cutlass,kns=cudnn,kns=xmma,kns=gemm,kns=cublas'
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if [ "${1:-}" = --one ]; then # tool, program
    cd "${BUILD:-build/gpu}" || exit 1
    start=$(date +%s)
    # Exit code 9: the sanitizer found something; any other: the program itself failed.
    timeout 900 "$tool" --tool "$2" --report-api-errors no --error-exitcode 9 --kernel-regex-exclude "$libraries" "./$3" >"$log" 2>&1
    status=$?
    { echo "$2 $3: status $status, $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -n 1) ($(($(date +%s) - start)) s)"
        [ $status -eq 0 ] || grep -E '=========' "$log" | head -n 40; } >"$log.said"
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
    for program in test_ops_attention test_ops_norm test_cuda_paths; do echo "racecheck $program"; done # the longest first
    for program in test_cuda_recorded_ranks test_many_exchanges; do echo "memcheck $program"; done
    for program in test_ops_attention test_cuda_paths test_ops_dense test_ops_elementwise test_ops_norm; do printf 'memcheck %s\ninitcheck %s\n' $program $program; done
} | xargs -P "${JOBS:-1}" -n 2 sh "$0" --one
