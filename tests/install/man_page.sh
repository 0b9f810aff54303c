#!/bin/sh
# Every option that --help knows stands in the man page, and the man page knows no other. SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (a finished build).
set -eu
page=docs/para.1
program=$BUILD/para
[ -x "$program" ] || { echo "FAILED: there is no $program"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

options() { grep -o -E '(^|[^A-Za-z0-9-])--?[a-z][a-z0-9-]*' | sed 's/^[^-]*//' | sort -u; }
for command in generate info plan verify bench 'bench cache' 'bench transformer' 'bench pipeline' 'bench attention' 'bench linear' 'bench machine'; do
    "$program" $command --help
done >"$work/help"
"$program" --help >>"$work/help"
options <"$work/help" >"$work/in_help"
sed 's/\\-/-/g; /^\.\\"/d' "$page" | options >"$work/in_page"
[ "$(wc -l <"$work/in_help")" -ge 3 ] || { echo "FAILED: --help shows no options"; exit 1; }
comm -23 "$work/in_help" "$work/in_page" >"$work/undocumented"
comm -13 "$work/in_help" "$work/in_page" >"$work/invented"
[ ! -s "$work/undocumented" ] || { echo "FAILED: in --help but not in $page:"; cat "$work/undocumented"; }
[ ! -s "$work/invented" ] || { echo "FAILED: in $page but not in --help:"; cat "$work/invented"; }
[ ! -s "$work/undocumented" ] && [ ! -s "$work/invented" ] && echo "ok: $(wc -l <"$work/in_help") options"
