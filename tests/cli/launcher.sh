#!/bin/sh
# para under a launcher that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT: what is missing or does not fit together is said in one sentence by exit
# status 2, who does not come or dies by 1, soon. SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (a finished build). Works in the source root.
set -u
ulimit -c 0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export OMP_WAIT_POLICY=passive
unset OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT TORCHELASTIC_USE_AGENT_STORE
failed=0
generate() { # variables …
    env "$@" timeout 60 "$BUILD/para" generate tests/golden/flux-cfg --width 32 --height 32 --steps "${steps:-1}" --max-sequence-length 8 --threads 1 \
        --timeout "${patience:-20}" --prompt a --quiet -o "$work/x.png"
}
complain() {
    echo "FAILED: $*"
    cat "$work"/said* | sed 's/^/    /'
    failed=$((failed + 1))
}
expect() { # code words; of the file `said` and the status `got`
    [ "$got" = "$1" ] || complain "exit status $got, not $1"
    [ "$(wc -l <"$work/said")" = 1 ] || complain "not one sentence"
    grep -q -e "$2" "$work/said" || complain "not a word of '$2'"
    [ ! -e "$work/x.png" ] || complain "there is a picture"
    cat "$work/said"
}
refuse() { # words variables …
    words=$1
    shift
    generate "$@" >"$work/said" 2>&1
    got=$?
    expect 2 "$words"
}
to=127.0.0.1
port=$(($$ % 10000 + 20000)) # of each case its own
refuse "WORLD_SIZE is not set" RANK=0 MASTER_ADDR=$to MASTER_PORT=$port
refuse "RANK is not set" WORLD_SIZE=2 MASTER_ADDR=$to MASTER_PORT=$port
refuse "MASTER_ADDR is not set" RANK=0 WORLD_SIZE=2 MASTER_PORT=$port
refuse "MASTER_PORT is not set" RANK=0 WORLD_SIZE=2 MASTER_ADDR=$to
refuse "MASTER_PORT is '70000'" RANK=0 WORLD_SIZE=2 MASTER_ADDR=$to MASTER_PORT=70000
refuse "WORLD_SIZE is 'two'" RANK=0 WORLD_SIZE=two MASTER_ADDR=$to MASTER_PORT=$port
refuse "RANK is 2 and WORLD_SIZE 2" RANK=2 WORLD_SIZE=2 MASTER_ADDR=$to MASTER_PORT=$port

# Both say the same: process 0 here, in `said`, the others there.
pair() { # code words "variables of one" "variables of the other"
    port=$((port + 1))
    # shellcheck disable=SC2086 # variables are words
    {
        generate MASTER_ADDR=$to MASTER_PORT=$port $4 >"$work/said.other" 2>&1 &
        generate MASTER_ADDR=$to MASTER_PORT=$port $3 >"$work/said" 2>&1
        got=$?
        expect "$1" "$2"
        wait $!
        got=$?
        [ $got = "$1" ] || complain "the other's exit status is $got, not $1"
        grep -q -e "$2" "$work/said.other" || complain "the other does not say it"
    }
}
(
    pair 2 "two processes were started with RANK=1" "RANK=0 WORLD_SIZE=3" "RANK=1 WORLD_SIZE=3"
    exit $failed
) &
first=$!
generate MASTER_ADDR=$to MASTER_PORT=$((port + 1)) RANK=1 WORLD_SIZE=3 >"$work/said.third" 2>&1
wait $first || failed=$((failed + 1))
port=$((port + 1))
pair 2 "WORLD_SIZE=3, process 0 with WORLD_SIZE=2" "RANK=0 WORLD_SIZE=2" "RANK=1 WORLD_SIZE=3"
patience=1
pair 1 "RANK=2) did not come" "RANK=0 WORLD_SIZE=3" "RANK=1 WORLD_SIZE=3"
port=$((port + 1))
generate RANK=1 WORLD_SIZE=2 MASTER_ADDR=$to MASTER_PORT=$port >"$work/said" 2>&1
got=$?
expect 1 "process 0 does not answer at $to:$port"
patience=20

# One that is killed in the middle is missed at once, not after the timeout.
port=$((port + 1))
began=$(date +%s)
(
    steps=1000
    export RANK=1 WORLD_SIZE=2 MASTER_ADDR=$to MASTER_PORT=$port
    exec "$BUILD/para" generate tests/golden/flux-cfg --width 32 --height 32 --steps 1000 --max-sequence-length 8 --threads 1 --timeout 60 --prompt a --quiet \
        -o "$work/x.png"
) >"$work/said.other" 2>&1 &
other=$!
(sleep 2 && kill -KILL $other) &
steps=1000 patience=60 generate RANK=0 WORLD_SIZE=2 MASTER_ADDR=$to MASTER_PORT=$port >"$work/said" 2>&1
got=$?
expect 1 "process 1 on .* has ended before the others"
[ $(($(date +%s) - began)) -le 12 ] || complain "it took long to be missed"
wait

generate RANK=0 WORLD_SIZE=1 >"$work/said" 2>&1 || complain "one process alone: exit status $?"
[ -s "$work/x.png" ] || complain "one process alone: no picture"
rm -f "$work/x.png"
# torchrun itself answers at the port.
port=$((port + 2))
generate TORCHELASTIC_USE_AGENT_STORE=True RANK=1 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=$port >"$work/said.other" 2>&1 &
generate RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=$((port + 1)) >"$work/said" 2>&1 || complain "the port beside torchrun's: exit status $?"
wait $! || complain "the port beside torchrun's: exit status $? of process 1"
[ -s "$work/x.png" ] || complain "two processes: no picture"
[ $failed = 0 ] && echo "ok"
exit $((failed > 0))
