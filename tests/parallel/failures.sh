#!/bin/sh
# Draws small pictures on ranks of which one is killed, stopped, interrupted, fails, stalls or is late at a random point, on threads, under mpirun and
# under a launcher without MPI, there also with all ranks in the first process: each run must end in time, with a sentence and without leaving a process, shared memory or a file behind. SPDX-License-Identifier: Apache-2.0
# Usage: failures.sh [RUNS [SEED]]   (15, or 200 with PARA_FULL=1; the seed is printed)
# Environment: BUILD (a finished build with para_failing and launch), MPIRUN (empty: not under it); DEVICE=cuda: two ranks on a GPU each, whose memory must be free
# again, too. Works in the source root.
set -u
ulimit -c 0
runs=${1:-15}
[ -z "${PARA_FULL:-}" ] || [ $# -gt 0 ] || runs=200
seed=${2:-$(date +%s)}
program=$BUILD/para_failing
[ -x "$program" ] || { echo "FAILED: there is no $program"; exit 1; }
work=$(mktemp -d) || exit 1
limit=5   # seconds in which a run must end, and
silent=10 # where its end begins with `timeout` seconds of waiting for a rank, half as many for its return
timeout=4 # of the world
mkdir "$work/out" "$work/tmp" "$work/shm"
# What Open MPI puts down, it puts here.
export TMPDIR="$work/tmp" OMPI_MCA_btl_vader_backing_directory="$work/shm" OMPI_MCA_orte_tmpdir_base="$work/tmp"
export PARA_FAILURE_LOG="$work/log" OMP_WAIT_POLICY=passive

ours() { pgrep -f "$work/out/"; }
clean() {
    for pid in $(ours); do kill -KILL "$pid"; done
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }
above() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b) }'; }
gpu_memory() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | awk '{ sum += $1 } END { print sum + 0 }'; } # MiB, of all
# Set before the first run; the driver takes a moment.
memory_is_left() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        left=$(($(gpu_memory) - memory))
        [ $left -gt 64 ] || return 1
        sleep 0.5
    done
}
[ -z "${DEVICE:-}" ] || memory=$(gpu_memory)

# Sets code, took (seconds since the failure, or since the start where none happened), happened.
draw() { # mode failure
    rm -f "$work"/out/* "$work/log"
    set -- "$1" "$2" generate models/tiny-flux --prompt "a red heart" --steps 2 --width 64 --height 64 --seed 7 --threads 2 \
        --max-sequence-length 16 --timeout $timeout -o "$work/out/x.safetensors"
    mode=$1
    PARA_FAILURE=$2
    export PARA_FAILURE
    shift 2
    began=$(now)
    case ${DEVICE:-}-$mode in
    -* | *-tcp-*) ;;
    *-threads-*) set -- "$@" --device "$DEVICE:0,1" ;;
    *) set -- "$@" --device "$DEVICE" ;;
    esac
    case $mode in
    threads-*) timeout -s KILL 60 "$program" "$@" --ranks "${mode#threads-}" >"$work/said" 2>&1 ;;
    gather-*) PARA_GATHER=1 timeout -s KILL 60 "$BUILD/launch" -n 2 "$program" "$@" >"$work/said" 2>&1 ;;
    tcp-*) timeout -s KILL 60 "$BUILD/launch" -n 2 sh -c 'exec "$@" ${DEVICE:+--device $DEVICE:$LOCAL_RANK}' sh "$program" "$@" --ranks "${mode#tcp-2x}" \
        >"$work/said" 2>&1 ;;
    mpi-*) timeout -s KILL 60 "$MPIRUN" -n 2 "$program" "$@" --ranks "${mode#mpi-2x}" >"$work/said" 2>&1 ;;
    esac
    code=$?
    event=$(awk '$1 + 0 > 0 { print $1; exit }' "$work/log" 2>/dev/null)
    took=$(since "${event:-$began}")
    happened=${event:+yes}
}

failed=0
complain() {
    echo "FAILED: run $run ($mode $PARA_FAILURE): $*"
    sed 's/^/    /' "$work/said" | head -n 30
    failed=$((failed + 1))
}

# Without a failure first: how often a rank is asked, and what the picture is.
modes="threads-2 threads-4 tcp-2x1 tcp-2x2 gather-2"
[ -z "${MPIRUN:-}" ] || modes="$modes mpi-2x1 mpi-2x2"
# The first process takes over both ranks with GPUs that nobody has named, else NCCL is between them.
[ -z "${DEVICE:-}" ] || modes="threads-2 tcp-2x1 gather-2"
run=0
for mode in $modes; do
    draw "$mode" none:rank:1:0
    [ "$code" -eq 0 ] || complain "exit status $code without any failure"
    checks=$(awk '$1 == "checks" && $2 > most { most = $2 } END { print most + 0 }' "$work/log")
    [ "$checks" -gt 10 ] || complain "rank 1 was asked $checks times only"
    cp "$work/out/x.safetensors" "$work/$mode" || exit 1
    eval "checks_$(echo "$mode" | tr -c 'a-z0-9\n' _)=$checks; time_$(echo "$mode" | tr -c 'a-z0-9\n' _)=$took"
    echo "$mode: $checks checks, $took s"
done
[ $failed -eq 0 ] || exit 1

echo "seed $seed"
awk -v seed="$seed" -v runs="$runs" -v modes="$modes" 'BEGIN {
    srand(seed)
    n = split(modes, mode, " ")
    for (run = 1; run <= runs; run++) {
        m = mode[(run - 1) % n + 1]
        ranks = m ~ /4|2x2/ ? 4 : 2
        actions = split(m !~ /threads/ ? "fail kill crash stop stall delay interrupt kill@ stop@ interrupt@" : "fail stall delay kill interrupt interrupt@", action, " ")
        a = action[int(rand() * actions) + 1]
        # A stalled main thread of the only process with ranks is beyond what the library can end.
        rank = a == "stall" && m ~ /threads|gather/ ? 1 + int(rand() * (ranks - 1)) : int(rand() * ranks)
        print run, m, a, rank, rand()
    }
}' >"$work/plan"

while read -r run mode action rank where; do
    eval "checks=\$checks_$(echo "$mode" | tr -c 'a-z0-9\n' _) time=\$time_$(echo "$mode" | tr -c 'a-z0-9\n' _)"
    case $action in
    *@) # at any time of the process, MPI's start and end, too
        case $mode in
        threads-*) rank=0 ;;
        gather-*) [ "$action" = stop@ ] && rank=0 || rank=$((rank % 2)) ;; # the second has nothing to do but to wait
        *) rank=$((rank % 2)) ;; # of the processes
        esac
        draw "$mode" "${action%@}:process:$rank:$(awk -v t="$time" -v w="$where" 'BEGIN { printf "%d", 1000 * t * w }')" </dev/null
        ;;
    *) draw "$mode" "$action:rank:$rank:$(awk -v n="$checks" -v w="$where" 'BEGIN { printf "%d", 1 + w * n }')" </dev/null ;;
    esac
    action=${action%@}
    echo "run $run: $mode $PARA_FAILURE: exit status $code, $took s${happened:+ after it}: $(grep -m 1 '^para' "$work/said")"
    allowed=$limit
    case ${happened:-no}-$action in
    yes-stop | yes-stall) allowed=$silent ;;
    yes-delay | no-*) allowed=60 ;;
    esac
    above "$took" "$allowed" && complain "it took $took s to end"
    case ${happened:-no}-$action in
    yes-delay | no-*)
        if [ "$code" -ne 0 ]; then
            complain "exit status $code"
        elif ! cmp -s "$work/out/x.safetensors" "$work/$mode"; then
            complain "another picture"
        fi
        ;;
    *)
        [ "$code" -ne 0 ] || [ -s "$work/out/x.safetensors" ] || complain "exit status 0 without a picture"
        [ "$code" -ne 0 ] || cmp -s "$work/out/x.safetensors" "$work/$mode" || complain "exit status 0 with another picture"
        ;;
    esac
    case ${happened:-no}-$action in
    yes-fail)
        [ "$(grep '^para' "$work/said" | sort -u | wc -l)" -eq 1 ] && grep -q "^para.*this failure was asked for" "$work/said" ||
            complain "it does not say why, in one sentence"
        ;;
    yes-interrupt) [ "$code" -eq 0 ] || [ -s "$work/said" ] || complain "no word" ;;
    yes-kill | yes-crash) [ "$mode" != "${mode#threads}" ] || [ -s "$work/said" ] || complain "no word" ;;
    yes-stop | yes-stall) [ "$code" -eq 0 ] || grep -q '^para.*second' "$work/said" || complain "it does not say that a rank was lost" ;;
    esac
    ! grep -q -E 'Sanitizer|runtime error' "$work/said" || complain "the sanitizers complain"
    ! ours >"$work/pids" || complain "processes are left: $(tr '\n' ' ' <"$work/pids")"
    left=$(find "$work/tmp" "$work/shm" -mindepth 1)
    [ -z "$left" ] || complain "files are left: $left"
    left=$(find "$work/out" -mindepth 1 ! -name x.safetensors)
    [ -z "$left" ] || complain "files are left: $left"
    find "$work/tmp" "$work/shm" -mindepth 1 -delete
    [ -z "${DEVICE:-}" ] || ! memory_is_left || complain "$left MiB of the GPUs are left"
done <"$work/plan"
[ $failed -eq 0 ] && echo "ok: $runs runs"
