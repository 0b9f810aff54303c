#!/bin/sh
# compute-sanitizer over the kernels of this project: memcheck and initcheck on everything that tests/ops and tests/gpu run, racecheck on what uses shared
# memory. The libraries' own kernels are left out. SPDX-License-Identifier: Apache-2.0
# Usage: tests/gpu/sanitizers.sh   (ctest sets BUILD). 77, skipped: there is no compute-sanitizer, or it does not work on this machine.
set -u
build=${BUILD:-build/gpu}
tool=$(command -v compute-sanitizer) || tool=/usr/local/cuda/bin/compute-sanitizer
[ -x "$tool" ] || { echo "no compute-sanitizer"; exit 77; }
cd "$build" || exit 1
export PARA_TEST_DEVICE=cuda
libraries='kns=nvjet,kns=cutlass,kns=cudnn,kns=xmma,kns=gemm,kns=cublas'
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# A tool that cannot attach to this GPU says so at once.
if ! timeout 120 "$tool" --tool memcheck ./test_ops_elementwise >"$log" 2>&1 && grep -q -E 'not supported|Failed to initialize|Unable to' "$log"; then
    cat "$log"
    exit 77
fi
failed=0
check() { # tool, program
    start=$(date +%s)
    # Exit code 9: the sanitizer found something; any other: the program itself failed.
    timeout 900 "$tool" --tool "$1" --report-api-errors no --error-exitcode 9 --kernel-regex-exclude "$libraries" "./$2" >"$log" 2>&1
    status=$?
    echo "$1 $2: status $status, $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -n 1) ($(($(date +%s) - start)) s)"
    [ $status -eq 0 ] && return
    grep -E '=========' "$log" | head -n 40
    failed=1
}
for program in test_ops_attention test_ops_dense test_ops_elementwise test_ops_norm test_cuda_paths; do
    check memcheck $program
    check initcheck $program
done
for program in test_ops_attention test_ops_norm test_cuda_paths; do check racecheck $program; done
exit $failed
