#!/bin/sh
# Two hosts on one machine: network namespaces joined by a pair of interfaces, one MPI process in each. The picture is that of one rank, and what the
# ranks count as sent is what the interfaces carried, but for the protocol. SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (a finished build), MPIRUN. Works in the source root, as root.
set -u
[ "$(id -u)" -eq 0 ] || { echo "skipped: only root makes network namespaces"; exit 77; }
command -v ip >/dev/null && command -v unshare >/dev/null || { echo "skipped: there is no ip (iproute2) or no unshare (util-linux)"; exit 77; }
left=para$$a right=para$$b # namespaces, and the interfaces in them
work=$(mktemp -d) || exit 1
mkdir "$work/tmp"

clean() {
    for pid in $(ip netns pids "$left" 2>/dev/null) $(ip netns pids "$right" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
    ip netns del "$left" 2>/dev/null
    ip netns del "$right" 2>/dev/null
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

host() { # namespace, address
    ip netns add "$1" && ip -n "$1" link set lo up
}
{ host "$left" && host "$right" && ip link add "$left" netns "$left" type veth peer name "$right" netns "$right" &&
    ip -n "$left" addr add 10.213.77.1/30 dev "$left" && ip -n "$right" addr add 10.213.77.2/30 dev "$right" &&
    ip -n "$left" link set "$left" up && ip -n "$right" link set "$right" up &&
    ip netns exec "$left" unshare --uts true; } 2>"$work/said" || {
    echo "skipped: network namespaces cannot be made here: $(cat "$work/said")"
    exit 77
}

# mpirun runs on the left and calls this, as it would call ssh, with a host and a command.
cat >"$work/agent" <<TEXT
#!/bin/sh
shift
exec ip netns exec $right unshare --uts sh -c "hostname para-right; \$*"
TEXT
chmod +x "$work/agent"
on_two_hosts() {
    TMPDIR="$work/tmp" ip netns exec "$left" unshare --uts sh -c 'hostname para-left; exec "$@"' sh \
        timeout -s KILL 200 "$MPIRUN" --mca plm_rsh_agent "$work/agent" --mca pml ob1 --mca btl self,tcp --mca btl_tcp_if_include 10.213.77.0/30 \
        --mca oob_tcp_if_include 10.213.77.0/30 --host 10.213.77.1:1,10.213.77.2:1 --map-by node -n 2 "$@"
}
carried() { # bytes that the left interface has sent and received
    ip netns exec "$left" cat "/sys/class/net/$left/statistics/tx_bytes" "/sys/class/net/$left/statistics/rx_bytes" | awk '{ n += $1 } END { print n }'
}

failed=0
complain() {
    echo "FAILED: $*"
    failed=1
}
draw() { # steps name; sets bytes (of the interface), counted (by the ranks, in the denoising loop)
    before=$(carried)
    on_two_hosts "$BUILD/para" generate models/tiny-flux --prompt "a red heart" --seed 7 --steps "$1" --threads 1 --timeout 60 \
        --report "$work/$2.json" -o "$work/$2.safetensors" >"$work/said" 2>&1 || {
        cat "$work/said"
        complain "$1 steps on two hosts: no picture"
        exit 1
    }
    bytes=$(($(carried) - before))
    counted=$(sed -n 's/.*"exchanged": *\([0-9]*\).*/\1/p' "$work/$2.json")
    [ -n "$counted" ] || { complain "the report does not count bytes"; exit 1; }
    grep -q '"ranks": *2[,}]' "$work/$2.json" || complain "it was not drawn by two ranks"
}

"$BUILD/para" generate models/tiny-flux --prompt "a red heart" --seed 7 --steps 2 --threads 1 -o "$work/one.safetensors" >"$work/said" 2>&1 || {
    cat "$work/said"
    exit 1
}
draw 2 two
few_bytes=$bytes few_counted=$counted
difference=$("$BUILD/compare_tensors" "$work/one.safetensors" "$work/two.safetensors" 1e-4) || complain "the picture differs by $difference"
echo "the picture of two hosts differs from that of one rank by $difference at most"
draw 12 more

# Ten more steps carry nothing but what they exchange. Ethernet, IP and TCP take 66 bytes of each packet of up to 64 kB, and as many for each
# acknowledgement, Open MPI some for each message, and signs of life pass all the time: 1.006 times as many bytes were measured.
awk -v counted="$((counted - few_counted))" -v bytes="$((bytes - few_bytes))" 'BEGIN {
    printf "10 steps: %d bytes counted, %d carried, %.4f times as many\n", counted, bytes, bytes / counted
    exit !(counted > 0 && bytes >= counted && bytes <= 1.05 * counted)
}' || complain "the interface carried something else than what was counted"
exit $failed
