#!/bin/sh
# Every CUDA file compiles for every architecture: those of sm_90a for it alone, the others for sm_80, sm_89, sm_90 and as PTX for what comes later. Spilled registers
# and products that wait for each other (cmake/no_serial_wgmma.sh) are errors where kernels were written around them. SPDX-License-Identifier: Apache-2.0
# Usage: tests/headers/cuda.sh   (ctest runs it). Without a CUDA 13 toolkit its compiler is fetched from PyPI into build/nvcc, once: 100 MB.
set -u
cd "$(dirname "$0")/../.." || exit 1
fail() {
    echo "$*" >&2
    exit 1
}

find_nvcc() {
    for nvcc in "$(command -v nvcc)" /usr/local/cuda/bin/nvcc build/nvcc/lib/python3*/site-packages/nvidia/cu13/bin/nvcc; do
        [ -x "$nvcc" ] && "$nvcc" --version 2>/dev/null | grep -q 'release 1[3-9]' && return 0
    done
    return 1
}

find_nvcc || {
    [ "$(uname -m)" = x86_64 ] || [ "$(uname -m)" = aarch64 ] || fail "no CUDA 13 for $(uname -m)"
    echo "no nvcc of CUDA 13: fetching it from PyPI into build/nvcc"
    python3 -m venv build/nvcc || fail "python3 -m venv failed; install python3-venv, or CUDA 13"
    build/nvcc/bin/pip install -q --no-deps 'nvidia-cuda-nvcc==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-runtime==13.0.*' \
        'nvidia-cuda-cccl==13.0.*' || fail "pip could not fetch nvcc; install CUDA 13, or try again with a network"
    find_nvcc || fail "build/nvcc holds no nvcc that works"
}

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
compile() { # file, options …
    file=$1
    shift
    sh cmake/no_serial_wgmma.sh "$nvcc" -std=c++17 -O3 -Iinclude -Isrc "$@" -c "$file" -o "$out/$(basename "$file" .cu).o" || return 1
    echo "compiled $file"
}
every='-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_89,code=sm_89 -gencode=arch=compute_90,code=sm_90 -gencode=arch=compute_90,code=compute_90'
hopper=-gencode=arch=compute_90a,code=sm_90a
spills='-Xptxas=-warn-spills,-Werror'
# shellcheck disable=SC2086 # options are words
one() {
    case $1 in
    bench/cuda/bench_*) compile "$1" -gencode=arch=compute_90,code=sm_90 ;; # as its head says; its kernels are those of src
    *_sm90*) compile "$1" $hopper $spills ;;
    *_sm80*) compile "$1" $every $spills ;;
    *) compile "$1" $every ;;
    esac
}
# Two at a time: each is a compiler for four architectures.
status=0
waiting=
for file in src/backend/cuda/*.cu bench/cuda/*.cu; do
    one "$file" >"$out/$(basename "$file").log" 2>&1 &
    pid=$!
    if [ -n "$waiting" ]; then
        wait "${waiting%%:*}" || { status=1 && cat "$out/${waiting##*:}.log"; }
    fi
    waiting=$pid:$(basename "$file")
done
wait "${waiting%%:*}" || { status=1 && cat "$out/${waiting##*:}.log"; }
ls "$out"/*.o | wc -l | sed 's/$/ CUDA files compiled/'
exit $status
