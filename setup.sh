#!/bin/sh
# From a bare machine to a picture: installs what is missing, builds, runs. SPDX-License-Identifier: Apache-2.0
set -eu

usage() {
    cat <<'TEXT'
Usage: ./setup.sh demo ["a prompt"]   build para and draw a picture with the model that comes along
       ./setup.sh check               build it, run every test that needs no GPU (10 to 30 minutes on 2 cores)
       ./setup.sh packages            only install the packages that demo and check need
       ./setup.sh --help

Packages that are missing are installed with apt (through sudo where you are not root); on other systems they are
named, with the command. Nothing is installed when all are there. Everything else stays inside this folder:
build/ holds the program, out/ the pictures.

Examples: ./setup.sh demo
          ./setup.sh demo "two yellow stars, small, top left"
TEXT
}

# What is needed. Columns: demo or check, how to see that it is there, Debian and Ubuntu, Fedora, Arch, what for.
needs() {
    cat <<'TABLE'
demo|command cc|gcc libc6-dev|gcc glibc-devel|gcc|C compiler, with OpenMP for threads
demo|command make|make|make|make|starts the build
demo|command cmake|cmake|cmake|cmake|the build itself
demo|command pkg-config|pkg-config|pkgconf-pkg-config|pkgconf|finds the libraries
demo|module jansson|libjansson-dev|jansson-devel|jansson|reads JSON: model configs, tokenizers
demo|module libpng|libpng-dev|libpng-devel|libpng|writes pictures
demo|module libutf8proc|libutf8proc-dev|utf8proc-devel|libutf8proc|Unicode rules of the tokenizers
demo|module libpcre2-8|libpcre2-dev|pcre2-devel|pcre2|splits prompts into words
demo|header dnnl.h|libdnnl-dev|onednn-devel|onednn|oneDNN: fast matrix products and convolutions
check|command c++|g++|gcc-c++|gcc|checks that the headers work from C++
check|module cmocka|libcmocka-dev|libcmocka-devel|cmocka|test framework
check|module libavformat|libavformat-dev|libavformat-free-devel|ffmpeg|writes videos
check|module libswscale|libswscale-dev|libswscale-free-devel|ffmpeg|writes videos
check|command ffprobe|ffmpeg|ffmpeg-free|ffmpeg|looks at videos, for a test
check|command mpicc|libopenmpi-dev|openmpi-devel|openmpi|ranks in several processes (Fedora: module load mpi)
check|command mpirun|openmpi-bin|openmpi|openmpi|starts these processes
check|command ip|iproute2|iproute|iproute2|two hosts on one machine, for a test
check|nvcc|python3-venv|python3|python|brings CUDA's compiler, where there is none, to compile the GPU kernels
check|sanitizer|gcc|libasan libubsan|gcc|address and undefined-behaviour sanitizers
TABLE
}

have() { # kind name
    case $1 in
    command) command -v "$2" >/dev/null 2>&1 ;;
    module) pkg-config --exists "$2" 2>/dev/null ;;
    header) printf '#include <%s>\n' "$2" | cc -E -x c - >/dev/null 2>&1 ;;
    nvcc) command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ] || python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    sanitizer) printf 'int main(void) { return 0; }\n' | cc -fsanitize=address,undefined -x c - -o /dev/null 2>/dev/null ;;
    esac
}

# Prints the rows of `needs` that are not there, for demo or (all of them) for check.
missing() {
    needs | while IFS='|' read -r when probe rest; do
        [ "$when" = demo ] || [ "$1" = check ] || continue
        # shellcheck disable=SC2086 # kind and name are two words
        have $probe || printf '%s|%s|%s\n' "$when" "$probe" "$rest"
    done
}

# The missing rows' column n (3 Debian, 4 Fedora, 5 Arch) as one line without repetitions.
names() { printf '%s\n' "$1" | cut -d'|' -f"$2" | tr ' ' '\n' | sort -u | tr '\n' ' ' | sed 's/ $//'; }

# The column of this system's package manager; 0: another one.
column_here() {
    if command -v apt-get >/dev/null 2>&1; then
        echo 3
    elif command -v dnf >/dev/null 2>&1; then
        echo 4
    elif command -v pacman >/dev/null 2>&1; then
        echo 5
    else
        echo 0
    fi
}

install_packages() { # demo or check
    gone=$(missing "$1")
    if [ -z "$gone" ]; then
        echo "setup: all packages are there"
        return
    fi
    echo "setup: these packages are missing:"
    column=$(column_here)
    printf '%s\n' "$gone" | while IFS='|' read -r when probe apt dnf pacman why; do
        case $column in
        4) name=$dnf ;;
        5) name=$pacman ;;
        *) name=$apt ;;
        esac
        printf '  %-20s %s\n' "$name" "$why"
    done
    case $column in
    3) command="apt-get install -y --no-install-recommends $(names "$gone" 3)" ;;
    4) command="dnf install -y $(names "$gone" 4)" ;;
    5) command="pacman -S --needed $(names "$gone" 5)" ;;
    0)
        echo "setup: this system has neither apt, dnf nor pacman; the names above are Debian's." >&2
        echo "setup: install what corresponds to them, then run this again" >&2
        exit 1
        ;;
    esac
    if [ "$column" -ne 3 ]; then
        echo "setup: install them, then run this again:  sudo $command" >&2
        exit 1
    fi
    if [ "$(id -u)" -eq 0 ]; then
        sudo=
    elif command -v sudo >/dev/null 2>&1; then
        sudo=sudo
        echo "setup: you are not root, so sudo is used for apt-get; it may ask for your password"
    else
        echo "setup: you are not root and there is no sudo; as root, run this, then run setup.sh again:" >&2
        echo "  apt-get update && $command" >&2
        exit 1
    fi
    echo "setup: $sudo${sudo:+ }$command"
    $sudo apt-get update -q || echo "setup: apt-get update failed; trying with the package lists that are there" >&2
    # shellcheck disable=SC2086 # the command is a list of words
    $sudo env DEBIAN_FRONTEND=noninteractive $command
    gone=$(missing "$1")
    if [ -n "$gone" ]; then
        echo "setup: still missing after the installation:" >&2
        printf '%s\n' "$gone" | cut -d'|' -f2,3 | sed 's/|/, from /; s/^/  /' >&2
        exit 1
    fi
}

demo() {
    prompt=${1:-a red heart on a blue background}
    install_packages demo
    make --no-print-directory
    mkdir -p out
    build/release/para generate models/tiny-flux --prompt "$prompt" -o out/demo.png
    echo "The picture is $PWD/out/demo.png"
    if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null 2>&1; then
        echo "To look at it: xdg-open out/demo.png"
    fi
    gone=$(missing check | grep '|writes videos$' || true)
    column=$(column_here)
    [ "$column" -ne 0 ] || column=3
    echo "To make a video: make demo-video${gone:+ (it needs $(names "$gone" "$column") to write an MP4)}"
}

cd "$(dirname "$0")"
case "${1:-}" in
demo)
    [ $# -le 2 ] || { echo "setup: demo takes one prompt; put it in quotes" >&2; exit 2; }
    demo "${2:-}"
    ;;
check)
    install_packages check
    exec tests/run_all.sh
    ;;
packages) install_packages check ;;
-h | --help | help) usage ;;
'')
    usage >&2
    exit 2
    ;;
*)
    echo "setup: unknown command '$1'" >&2
    usage >&2
    exit 2
    ;;
esac
