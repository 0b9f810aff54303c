# Turns the output of `ctest -V` into one line per case: "passed|failed|skipped NAME". A CMocka program counts with each of
# its cases, any other test as one. A case without a result, or a program that fails although its cases pass, has failed.
# SPDX-License-Identifier: Apache-2.0
# Usage: awk -v prefix=TEXT -f count_results.awk LOG

function result(id, name, outcome,  key) {
    key = id SUBSEP name
    if (!(key in status)) cases[id] = cases[id] (cases[id] == "" ? "" : "\n") name
    status[key] = outcome
}
function rest(text) { return substr(text, RSTART + RLENGTH) }

/^ *Start +[0-9]+: / {
    id = $2
    sub(/:.*/, "", id)
    if (!(id in test)) order[++tests] = id
    test[id] = $3
    next
}
/^ *[0-9]+\/[0-9]+ +Test +#[0-9]+: / {
    match($0, /#[0-9]+/)
    id = substr($0, RSTART + 1, RLENGTH - 1)
    ended[id] = $0
    next
}
/^[0-9]+: / {
    id = $1
    sub(/:.*/, "", id)
    if (match($0, /\[ RUN      \] /)) result(id, rest($0), "failed")
    else if (match($0, /\[       OK \] /)) result(id, rest($0), "passed")
    else if (match($0, /\[  FAILED  \] /) && $0 !~ /test\(s\)/) result(id, rest($0), "failed")
    else if (match($0, /\[  SKIPPED \] /) && $0 !~ /test\(s\)/) result(id, rest($0), "skipped")
}
END {
    for (i = 1; i <= tests; i++) {
        id = order[i]
        good = ended[id] ~ /   Passed /
        skipped = ended[id] ~ /\*\*\*Skipped/
        failures = 0
        count = split(cases[id], name, "\n")
        for (c = 1; c <= count; c++) {
            outcome = status[id, name[c]]
            if (outcome == "failed") failures++
            print outcome, prefix test[id] "." name[c]
        }
        if (count == 0) print (good ? "passed" : skipped ? "skipped" : "failed"), prefix test[id]
        else if (!good && !failures) print "failed", prefix test[id] " (ended badly)"
    }
}
