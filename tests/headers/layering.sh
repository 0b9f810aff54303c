#!/bin/sh
# What the tree promises about its own shape; prints each breach and fails. SPDX-License-Identifier: Apache-2.0
#   - a file of the library includes only from its own row of the design or from the rows below it
#   - cli and examples use the public headers only, public headers only one another
#   - the library never exits, aborts or prints
#   - file names are unique, no source file is larger than 40 kB
# Usage: layering.sh [ROOT]
set -u
cd "${1:-.}" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

find include src cli examples -name '*.[ch]' 2>/dev/null | sort >"$work/sources"
# shellcheck disable=SC2046 # no file name of the tree has a space
awk '
BEGIN {
    split("core io|backend comm|parallel|step|model vae text scheduler|pipeline", rows, "|")
    for (r = 1; r <= 6; r++) { n = split(rows[r], names, " "); for (i = 1; i <= n; i++) row[names[i]] = r }
    word = "(^|[^A-Za-z0-9_])"
    call = "[ \t]*\\("
    banned = word "(abort|exit|_exit|_Exit|quick_exit|assert|printf|vprintf|puts|putchar|perror|raise|signal|system)" call
    stream = word "(stdout|stderr)([^A-Za-z0-9_]|$)"
}
function breach(text) { printf "%s:%d: %s\n", FILENAME, FNR, text }
function exists(path,  line, found) { found = (getline line <path) >= 0; close(path); return found }
function directory(path) { sub(/\/[^\/]*$/, "", path); return path }

# The line without comments, strings and character constants; in_comment lasts from line to line.
function code(line,  out, token) {
    out = ""
    while (line != "") {
        if (in_comment) {
            if (!match(line, /\*\//)) return out
            line = substr(line, RSTART + 2)
            in_comment = 0
        } else if (match(line, /"([^"\\]|\\.)*"|\047([^\047\\]|\\.)+\047|\/\*|\/\//)) {
            token = substr(line, RSTART, RLENGTH)
            out = out substr(line, 1, RSTART - 1) " "
            line = substr(line, RSTART + RLENGTH)
            if (token == "//") return out
            if (token == "/*") in_comment = 1
        } else {
            return out line
        }
    }
    return out
}

function check_include(  name, quoted, part, own, other) {
    name = $0
    if (!match(name, /["<][^">]*[">]/)) return
    quoted = substr(name, RSTART, 1) == "\""
    name = substr(name, RSTART + 1, RLENGTH - 2)
    if (FILENAME ~ /^include\//) {
        if (quoted && !exists(directory(FILENAME) "/" name)) breach("a public header includes \"" name "\"")
        return
    }
    if (name ~ /^paraattn\//) {
        if (!exists("include/" name)) breach("there is no public header " name)
        return
    }
    if (!quoted) {
        if (exists("src/" name)) breach("<" name "> is a header of the library: only its own files include it, in quotes")
        return
    }
    if (exists(directory(FILENAME) "/" name)) return
    if (FILENAME !~ /^src\//) {
        breach("\"" name "\" is not public: cli and examples use <paraattn/...> only")
        return
    }
    if (!exists("src/" name)) {
        breach("there is no src/" name)
        return
    }
    split(FILENAME, part, "/")
    own = part[2]
    split(name, part, "/")
    other = part[1]
    if (!(own in row)) breach("src/" own " has no row in the design")
    else if (!(other in row)) breach("src/" other " has no row in the design")
    else if (row[other] > row[own]) breach("src/" own " includes \"" name "\" from a row above its own")
}

FNR == 1 { in_comment = 0 }
{
    was_comment = in_comment
    text = code($0)
    if (!was_comment && text ~ /^[ \t]*#[ \t]*include/) check_include()
    else if (FILENAME ~ /^src\// && match(text, banned)) breach("the library calls" substr(text, RSTART, RLENGTH) ")")
    else if (FILENAME ~ /^src\// && text ~ stream) breach("the library prints")
}' $(cat "$work/sources") >"$work/breaches"

find . \( -name .git -o -name build -o -name out \) -prune -o \
    \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.sh' -o -name '*.py' \) -print >"$work/all"
grep -E '\.(c|h|cu)$' "$work/all" | sed 's|.*/||' | sort | uniq -d | while read -r name; do
    echo "$name: this file name occurs more than once: $(grep "/$name\$" "$work/all" | tr '\n' ' ')"
done >>"$work/breaches"
while read -r file; do
    size=$(wc -c <"$file")
    [ "$size" -le 40960 ] || echo "$file: $size bytes, more than 40 kB"
done <"$work/all" >>"$work/breaches"

[ -s "$work/sources" ] || echo "there are no sources here" >>"$work/breaches"
cat "$work/breaches"
[ ! -s "$work/breaches" ]
