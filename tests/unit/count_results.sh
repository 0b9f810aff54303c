#!/bin/sh
# count_results.awk reads ctest's output rightly: cases, skips, crashes, failures outside of cases. SPDX-License-Identifier: Apache-2.0
set -u
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

cat >"$work/log" <<'LOG'
test 1
      Start  1: unit/test_cases
1: [==========] Running 3 test(s).
1: [ RUN      ] good
1: no newline[       OK ] good
1: [ RUN      ] bad
      Start  2: unit/test_crash
1: [  FAILED  ] bad
1: [ RUN      ] not_here
1: [  SKIPPED ] not_here
1: [  FAILED  ] tests: 1 test(s), listed below:
1: [  FAILED  ] bad
2: [ RUN      ] bad
 1/10 Test  #1: unit/test_cases ..................***Failed    0.00 sec
 2/10 Test  #2: unit/test_crash ..................Subprocess aborted***Exception:   0.00 sec
      Start  3: unit/test_leak
3: [ RUN      ] good
3: [       OK ] good
3/10 Test  #3: unit/test_leak ..................***Failed    0.00 sec
      Start  4: headers/public
4: ok
4/10 Test  #4: headers/public ...................   Passed    0.19 sec
      Start  5: headers/internal
5/10 Test  #5: headers/internal .................***Skipped   0.19 sec
      Start  6: golden/test_slow
6: [ RUN      ] one
6: [       OK ] one
6: [ RUN      ] two
6/10 Test  #6: golden/test_slow .................***Timeout 900.00 sec
      Start  7: install/consumer
7/10 Test  #7: install/consumer .................***Not Run   0.00 sec
      Start  8: unit/test_cut_off
LOG
cat >"$work/expected" <<'EXPECTED'
passed x: unit/test_cases.good
failed x: unit/test_cases.bad
skipped x: unit/test_cases.not_here
failed x: unit/test_crash.bad
passed x: unit/test_leak.good
failed x: unit/test_leak (ended badly)
passed x: headers/public
skipped x: headers/internal
passed x: golden/test_slow.one
failed x: golden/test_slow.two
failed x: install/consumer
failed x: unit/test_cut_off
EXPECTED
awk -v prefix="x: " -f tests/count_results.awk "$work/log" | diff "$work/expected" - && echo "ok"
