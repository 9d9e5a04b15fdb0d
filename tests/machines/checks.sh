# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# What must be true in the machines; read by run.sh, whose functions it uses.

# check_alone NAME: a cluster of one machine, under systemd, from its installation to its teardown.
check_alone() {
    local name=$1 before after
    provision "$name" NETLAB_ROLE=single
    expect "the service is active" active in_machine "$name" systemctl is-active netlabd
    expect "it starts at boot" enabled in_machine "$name" systemctl is-enabled netlabd
    expect "systemd waits until it is ready" notify \
        in_machine "$name" systemctl show -P Type netlabd
    expect "root and the group may use the socket" "660 root:netlab socket" \
        in_machine "$name" stat -c '%a %U:%G %F' /run/netlab/netlabd.sock

    in_machine "$name" netlabctl pod run web --replicas 2
    in_machine "$name" netlabctl pod run client -- sleep 100000
    in_machine "$name" netlabctl exec client -- ping -q -c 2 -i 0.1 web-0
    echo "machines: ok: pods talk to each other"

    before=$(pods_of "$name")
    [[ $(wc -l <<<"$before") == 3 ]] || fail "three pods expected, got: $before"
    local daemon
    daemon=$(in_machine "$name" systemctl show -P MainPID netlabd)
    in_machine "$name" kill -9 "$daemon"
    wait_for "systemd starts a killed netlabd again" is_another_daemon "$name" "$daemon"
    after=$(pods_of "$name")
    [[ $before == "$after" ]] || fail "pods changed with a killed netlabd: $before -> $after"
    echo "machines: ok: systemd starts a killed netlabd again, with the same pods and processes"

    in_machine "$name" systemctl restart netlabd
    after=$(pods_of "$name")
    [[ $before == "$after" ]] || fail "pods changed with a restart: $before -> $after"
    echo "machines: ok: a restart leaves pods as they are"

    in_machine "$name" systemctl stop netlabd
    expect "the service is stopped" inactive in_machine "$name" systemctl is-active netlabd
    expect "pods outlive it" 3 count_inits "$name"

    # As the guide says: what it made goes, also the three pods of the stopped service.
    in_machine "$name" netlabd teardown
    expect "no pod is left after a teardown" 0 count_inits "$name"
    expect "no link is left" "" in_machine "$name" sh -c 'ip -o link | grep ": nl" || true'
    expect "no table is left" "" in_machine "$name" sh -c 'nft list tables | grep netlab || true'
    expect "no folder is left" "" \
        in_machine "$name" sh -c 'ls -d /run/netlab /var/lib/netlab 2>/dev/null || true'

    # The second time on the same machine.
    provision "$name" NETLAB_ROLE=single
    in_machine "$name" netlabctl pod run again
    in_machine "$name" netlabctl delete pods --all
    in_machine "$name" systemctl stop netlabd
    in_machine "$name" netlabd teardown
}

# A server and two nodes: pods of different machines talk to each other.
check_joined() {
    local name address token=/run/netlab-token
    provision server NETLAB_ROLE=server NETLAB_ADDRESS="$SERVER"
    in_machine server netlabctl node token >"$DIR/token"
    for name in node1 node2; do
        in_machine "$name" install -m 0600 /dev/stdin "$token" <"$DIR/token"
        provision "$name" NETLAB_ROLE=node NETLAB_SERVER="https://$SERVER:7411" \
            NETLAB_TOKEN_FILE="$token"
    done
    in_machine server netlabctl wait --for=condition=Ready nodes --all --timeout 30s
    in_machine server netlabctl get nodes -o wide
    for name in server node1 node2; do
        in_machine server netlabctl pod run "on-$name" --node "$name" -- sleep 100000
    done
    in_machine server netlabctl get pods -o wide
    for name in server node1 node2; do
        for address in $(in_machine server netlabctl get pods -o \
            'jsonpath={.items[*].status.podIPs[*].ip}'); do
            in_machine "$name" netlabctl exec "on-$name" -- ping -q -c 2 -i 0.1 "$address"
        done
        in_machine "$name" netlabctl exec "on-$name" -- ping -q -c 2 -i 0.1 on-node2
    done
    echo "machines: ok: pods of different machines talk to each other"
    in_machine server netlabctl delete pods --all
}

# expect WHAT TEXT COMMAND…: its output must be that.
expect() {
    local what=$1 wanted=$2 said
    shift 2
    # Some words, such as "inactive", come with an exit code that is no failure here.
    said=$("$@") || true
    [[ $said == "$wanted" ]] || fail "not so: $what: expected \"$wanted\", got \"$said\""
    echo "machines: ok: $what"
}

# Name, addresses and PID 1 of each pod.
pods_of() {
    in_machine "$1" netlabctl get pods -o \
        'jsonpath={range .items[*]}{.metadata.name} {.status.podIPs[*].ip} {.metadata.uid}{"\n"}{end}' |
        while read -r line; do
            echo "$line $(in_machine "$1" cut -d' ' -f1 "/run/netlab/pods/${line##* }/pid")"
        done
}

count_inits() {
    in_machine "$1" sh -c 'pgrep -c -x netlab-pod || true'
}

is_another_daemon() {
    local pid
    pid=$(in_machine "$1" systemctl show -P MainPID netlabd)
    [[ $pid != 0 && $pid != "$2" ]] && in_machine "$1" systemctl --quiet is-active netlabd
}
