#!/bin/sh
# Installs the shared and a static build into an empty folder, moves it, and builds a small program against what is
# there through pkg-config and through CMake's find_package. SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (a finished build), CC, CMAKE; MPIRUN where there is one.
set -eu
CMAKE=${CMAKE:-cmake}
CC=${CC:-cc}
source=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

use() { # installed tree, name, pkg-config's option
    tree=$1
    pc=$(dirname "$(find "$tree" -name paraattn.pc)")
    library=$(dirname "$pc")
    export PKG_CONFIG_PATH="$pc"
    # shellcheck disable=SC2046,SC2086 # flags are words
    $CC -std=c11 -Wall -Werror tests/install/consumer/consumer.c -o "$work/$2" \
        $(pkg-config $3 --cflags --libs paraattn) -Wl,-rpath,"$library"
    version=$("$work/$2")
    [ "$version" = "$(pkg-config --modversion paraattn)" ] || { echo "FAILED: the .pc file is not of $version"; exit 1; }
    echo "ok: $2, pkg-config"
    $CMAKE -S tests/install/consumer -B "$work/$2.build" -DCMAKE_PREFIX_PATH="$tree" -DCMAKE_C_COMPILER="$CC" >"$work/log" &&
        $CMAKE --build "$work/$2.build" >>"$work/log" || { cat "$work/log"; exit 1; }
    "$work/$2.build/consumer" >/dev/null
    echo "ok: $2, find_package"
}

# Shared, as `make install` does it, then moved: neither the program nor the package may remember where it was.
DESTDIR="$work/stage" $CMAKE --install "$BUILD" --prefix /opt/para >/dev/null
mv "$work/stage/opt/para" "$work/moved"
use "$work/moved" shared ""
[ -f "$work/moved/share/man/man1/para.1" ] || { echo "FAILED: no man page"; exit 1; }
for header in include/paraattn/*.h; do
    [ -f "$work/moved/$header" ] || { echo "FAILED: $header is not installed"; exit 1; }
done
if [ -x "$BUILD/para" ]; then
    env -u LD_LIBRARY_PATH "$work/moved/bin/para" --version
    echo "ok: the installed program starts"
fi

if [ -f "$BUILD/paraattn-video.so" ]; then
    [ -f "$library/paraattn/paraattn-video.so" ] || { echo "FAILED: the video module is not installed beside the library"; exit 1; }
fi

# The MPI module lies beside the library; where it is absent, a sentence says so.
module=$library/paraattn/paraattn-mpi.so
if [ -x "$BUILD/para" ] && [ -f "$BUILD/paraattn-mpi.so" ]; then
    [ -f "$module" ] || { echo "FAILED: the MPI module is not installed beside the library"; exit 1; }
    set -- "$work/moved/bin/para" generate models/tiny-flux --prompt "a red heart" --width 32 --height 32 --steps 1 --quiet -o "$work/x.png"
    "$MPIRUN" -n 2 "$@" && [ -s "$work/x.png" ] || { echo "FAILED: the installed program does not run under mpirun"; exit 1; }
    echo "ok: the installed program under mpirun"
    rm "$module"
    if OMPI_COMM_WORLD_SIZE=2 "$@" 2>"$work/log" || ! grep -q "^para.*paraattn-mpi.so.*install Open MPI" "$work/log"; then
        echo "FAILED: without its MPI module the program does not say what is missing, but: $(cat "$work/log")"
        exit 1
    fi
    echo "ok: $(cat "$work/log")"
fi

# Static, unoptimised since only linking matters here.
$CMAKE -S "$source" -B "$work/archive-build" -DBUILD_SHARED_LIBS=OFF -DPARA_TESTS=OFF -DPARA_WERROR=OFF -DCMAKE_BUILD_TYPE=None \
    -DCMAKE_C_COMPILER="$CC" -DCMAKE_INSTALL_PREFIX="$work/static-tree" >"$work/log" &&
    $CMAKE --build "$work/archive-build" -j 2 --target install >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
use "$work/static-tree" static --static
others=$(nm -g --defined-only "$(find "$work/static-tree" -name libparaattn.a)" 2>/dev/null |
    awk 'NF == 3 && $3 !~ /^para_/ && $3 !~ /^__odr_asan/ { print $3 }')
[ -z "$others" ] || { echo "FAILED: libparaattn.a defines names without para_: $others"; exit 1; }
echo "ok: every global name of libparaattn.a starts with para_"
