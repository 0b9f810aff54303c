#!/bin/sh
# Two hosts on one machine: network namespaces joined by a pair of interfaces, one MPI process in each. The picture is that of one rank, and what the
# ranks count as sent is what the interfaces carried, but for the protocol. SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (a finished build), MPIRUN. Works in the source root, as root.
set -u
. tests/parallel/namespaces.sh
{ ip link add "$left" netns "$left" type veth peer name "$right" netns "$right" &&
    ip -n "$left" addr add 10.213.77.1/30 dev "$left" && ip -n "$right" addr add 10.213.77.2/30 dev "$right" &&
    ip -n "$left" link set "$left" up && ip -n "$right" link set "$right" up; } 2>"$work/said" || {
    echo "skipped: a pair of interfaces cannot be made here: $(cat "$work/said")"
    exit 77
}

# mpirun runs on the left and calls this, as it would call ssh, with a host and a command.
cat >"$work/agent" <<TEXT
#!/bin/sh
shift
exec ip netns exec $right unshare --uts sh -c "hostname para-right; \$*"
TEXT
chmod +x "$work/agent"
on_two_hosts() { # processes command …
    processes=$1
    shift
    on_left timeout -s KILL 200 "$MPIRUN" --mca plm_rsh_agent "$work/agent" --mca pml ob1 --mca btl self,tcp --mca btl_tcp_if_include 10.213.77.0/30 \
        --mca oob_tcp_if_include 10.213.77.0/30 --host 10.213.77.1:4,10.213.77.2:4 --map-by node -n "$processes" "$@"
}

failed=0
complain() {
    echo "FAILED: $*"
    failed=1
}
draw() { # steps name; sets bytes (of the interface), counted (by the ranks, in the denoising loop)
    before=$(carried)
    on_two_hosts 2 "$BUILD/para" generate models/tiny-flux --prompt "a red heart" --seed 7 --steps "$1" --threads 1 --timeout 60 \
        --report "$work/$2.json" -o "$work/$2.safetensors" >"$work/said" 2>&1 || {
        cat "$work/said"
        complain "$1 steps on two hosts: no picture"
        exit 1
    }
    bytes=$(($(carried) - before))
    counted=$(sed -n 's/.*"exchanged": *\([0-9]*\).*/\1/p' "$work/$2.json")
    [ -n "$counted" ] || { complain "the report does not count bytes"; exit 1; }
    grep -q '"ranks": *2[,}]' "$work/$2.json" || complain "it was not drawn by two ranks"
    grep -q "\"between_hosts\": *$counted[,}]\{0,1\}\$" "$work/$2.json" || complain "not all that two ranks on two hosts exchange is counted as between hosts"
}

"$BUILD/para" generate models/tiny-flux --prompt "a red heart" --seed 7 --steps 2 --threads 1 -o "$work/one.safetensors" >"$work/said" 2>&1 || {
    cat "$work/said"
    exit 1
}
# Four processes, which mpirun deals out to the hosts in turn: ranks next to each other are on one host all the same, and exchange heads there.
on_two_hosts 4 "$BUILD/para" generate models/tiny-flux --prompt "a red heart" --seed 7 --steps 1 --threads 1 --timeout 60 --report "$work/four.json" \
    -o "$work/four.safetensors" >"$work/said" 2>&1 || { cat "$work/said"; complain "four processes: no picture"; }
grep "^para generate: 2 hosts of 2 ranks, hence batch 1 x ring 2 x ulysses 2" "$work/said" || complain "the log does not say so"
planned=$("$BUILD/para" plan models/tiny-flux --prompt "a red heart" --ranks 4 --hosts 2 | sed -n 's/.*a step sends \([0-9]*\) bytes from host to host.*/\1/p')
counted=$(sed -n 's/.*"between_hosts": *\([0-9]*\).*/\1/p' "$work/four.json")
[ -n "$planned" ] && [ "$planned" = "$counted" ] || complain "planned were $planned bytes between the hosts, counted $counted"
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
