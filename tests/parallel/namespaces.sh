# shellcheck shell=sh
# Two hosts on one machine: network namespaces with names of their own, for scripts that read this file ("." in sh). Leaves with 77 where they cannot be
# made. SPDX-License-Identifier: Apache-2.0
# Gives: $left and $right, the namespaces, and names for an interface in each; $work, a folder; addresses 10.213.77.1 and .2; end_hosts, which ends what runs on them.
[ "$(id -u)" -eq 0 ] || { echo "skipped: only root makes network namespaces"; exit 77; }
command -v ip >/dev/null && command -v unshare >/dev/null || { echo "skipped: there is no ip (iproute2) or no unshare (util-linux)"; exit 77; }
left=para$$a right=para$$b
work=$(mktemp -d) || exit 1
mkdir "$work/tmp"

end_hosts() {
    for pid in $(ip netns pids "$left" 2>/dev/null) $(ip netns pids "$right" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
}
clean() {
    end_hosts
    ip netns del "$left" 2>/dev/null
    ip netns del "$right" 2>/dev/null
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

host() { # namespace
    ip netns add "$1" && ip -n "$1" link set lo up
}
# Runs a command on a host, whose name it then has: para-left or para-right.
on_left() {
    TMPDIR="$work/tmp" ip netns exec "$left" unshare --uts sh -c 'hostname para-left; exec "$@"' sh "$@"
}
on_right() {
    TMPDIR="$work/tmp" ip netns exec "$right" unshare --uts sh -c 'hostname para-right; exec "$@"' sh "$@"
}
carried() { # bytes that the left interface has sent and received
    ip netns exec "$left" cat "/sys/class/net/$left/statistics/tx_bytes" "/sys/class/net/$left/statistics/rx_bytes" | awk '{ n += $1 } END { print n }'
}

{ host "$left" && host "$right" && on_left true && on_right true; } 2>"$work/said" || {
    echo "skipped: network namespaces cannot be made here: $(cat "$work/said")"
    exit 77
}
