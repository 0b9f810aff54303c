#!/bin/sh
# para under mpirun: what cannot be is said once, in one sentence, by exit status 2 (usage) or 1; one process writes and prints.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (a finished build), MPIRUN. Works in the source root.
set -u
para=$BUILD/para
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export TMPDIR="$work" OMP_WAIT_POLICY=passive
model=tests/golden/flux-cfg
request="--width 32 --height 32 --steps 1 --max-sequence-length 8 --threads 1 --timeout 20"
failed=0

complain() {
    echo "FAILED: $what: $*"
    sed 's/^/    /' "$work/said"
    failed=$((failed + 1))
}

# Exit status, words of the sentence; then what mpirun gets.
refuse() { # what code words options …
    what=$1 code=$2 words=$3
    shift 3
    timeout 60 "$MPIRUN" "$@" >"$work/said" 2>&1
    got=$?
    [ $got = "$code" ] || complain "exit status $got, not $code"
    grep '^para [a-z]*: ' "$work/said" >"$work/sentences"
    [ "$(wc -l <"$work/sentences")" = 1 ] || complain "not one sentence"
    grep -q -e "$words" "$work/sentences" || complain "not a word of '$words'"
    [ -z "$(ls "$work/out" 2>/dev/null)" ] || complain "left $(ls "$work/out")"
    echo "$what: $(cat "$work/sentences")"
}

mkdir "$work/out"
generate="$para generate $model $request -o $work/out/x.png"
# shellcheck disable=SC2086 # options are words
{
    refuse "a mesh of too many" 2 "does not fill 2 ranks; possible are 1 x 1 x 2" -n 2 $generate --prompt a --ulysses 3
    refuse "no items for the batch axis" 2 "the 1 item of this request" -n 2 $generate --prompt a --batch 2
    refuse "no rank" 2 "ranks (--ranks) is 0" -n 2 $generate --prompt a --ranks 0
    refuse "another prompt" 2 "process 1 was started with another request than process 0" \
        -n 1 $generate --prompt a : -n 1 $generate --prompt b
    refuse "another mesh" 2 "process 1 was started with another dtype, mesh" \
        -n 1 $generate --prompt a : -n 1 $generate --prompt a --ring 2
    refuse "another type" 2 "process 1 was started with another dtype" \
        -n 1 $generate --prompt a : -n 1 $generate --prompt a --dtype bf16
    refuse "another model" 2 "process 1 was started with another model than process 0" \
        -n 1 $generate --prompt a : -n 1 $para generate tests/golden/flux-odd $request -o "$work/out/x.png" --prompt a
    refuse "a wrong option in one process" 2 "no option '--promt'" -n 1 $generate --prompt a : -n 1 $generate --promt a
    refuse "no folder for the picture" 1 "'/no/such/x.png': the folder '/no/such' is not there" \
        -n 2 $generate --prompt a -o /no/such/x.png
    refuse "no such model" 1 "no/such" -n 2 $para generate no/such --prompt a $request -o "$work/out/x.png"
}

what="a picture"
# shellcheck disable=SC2086
timeout 60 "$MPIRUN" -n 2 $generate --prompt a --negative-prompt b --true-cfg 2 --report "$work/report" >"$work/said" 2>&1 ||
    complain "exit status $?"
[ "$(grep -c '^denoise 1/1' "$work/said")" = 1 ] || complain "not one process shows progress"
[ -f "$work/out/x.png" ] || complain "no picture"
tr -d ' \n' <"$work/report" | grep -q '"ranks":2,"mesh":{"batch":2,"ring":1,"ulysses":1}' || complain "the report is: $(cat "$work/report")"

what="verify"
# shellcheck disable=SC2086
timeout 60 "$MPIRUN" -n 2 $para verify $model $request --ring 2 --quiet >"$work/said" 2>&1 || complain "exit status $?"
[ "$(grep -c '^equal ' "$work/said")" = 1 ] || complain "not one verdict"

what="plan"
# shellcheck disable=SC2086
timeout 60 "$MPIRUN" -n 2 $para plan $model $request --ranks 2 >"$work/said" 2>&1 || complain "exit status $?"
[ "$(grep -c '  chosen$' "$work/said")" = 1 ] || complain "not one plan"

what="bench machine"
timeout 60 "$MPIRUN" -n 2 "$para" bench machine --quick --threads 1 -o "$work/machine.json" >"$work/said" 2>&1 || complain "exit status $?"
[ "$(grep -c '^host ' "$work/said")" = 2 ] || complain "no exchange between processes"
what="plan by what was measured"
# shellcheck disable=SC2086
timeout 60 "$MPIRUN" -n 2 $para plan $model $request --machine "$work/machine.json" >"$work/said" 2>&1 || complain "exit status $?"
[ "$(grep -c '^predicted by  the rates in ' "$work/said")" = 1 ] || complain "not one plan by the file"
what="a mesh by what was measured"
# shellcheck disable=SC2086
timeout 60 "$MPIRUN" -n 2 $generate --prompt a --machine "$work/machine.json" >"$work/said" 2>&1 || complain "exit status $?"
[ $failed = 0 ] && echo "ok: 10 refusals, a picture, verify, plan and bench machine"
exit $((failed > 0))
