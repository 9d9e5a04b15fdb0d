#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Shows what netlab does, in a node of its own: two network namespaces stand for a machine and for
# what is outside of it, and the machine's own network is not touched. Needs root and a debug build
# (`make demo` makes it). Prints each command before its output, and ends with "demo: ok" or fails.
set -euo pipefail
cd "$(dirname "$0")/.."

BIN="$PWD/target/debug"
PATH="$BIN:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
# Names with our process id: several demos may run on one machine.
NODE="netlab-demo-$$"
OUTSIDE="$NODE-outside"
DIR=$(mktemp -d "${TMPDIR:-/tmp}/netlab-demo.XXXXXX")
DIRS=(--state-dir "$DIR/state" --run-dir "$DIR/run")
DAEMON=""
SERVER=""
export NETLAB_SOCKET="$DIR/run/netlabd.sock"
export NETLAB_NO_COLOR=true

# What the web pods run: answers each HTTP request with the host name. /tmp is the pod's own.
WEB='cat >/tmp/answer <<"END"
while read -r line && [ ${#line} -gt 1 ]; do :; done
printf "HTTP/1.0 200 OK\r\n\r\nhello from %s\n" "$(hostname)"
END
exec socat TCP6-LISTEN:8080,fork,reuseaddr,ipv6only=0 EXEC:"sh /tmp/answer"'

main() {
    ((EUID == 0)) || fail "network namespaces need root: run \"sudo make demo\""
    [[ -x $BIN/netlabd && -x $BIN/netlabctl ]] || fail "there is no debug build: run \"make build\""
    for tool in ip nft nsenter socat ping curl; do
        command -v "$tool" >/dev/null || fail "$tool is missing: run \"make setup\""
    done

    title "A node, and a machine outside of it"
    make_network
    start_daemon
    show 'netlabctl get nodes -o wide'

    title "Three pods; the command returns when they are ready and the kernel is programmed"
    show 'netlabctl pod run web --replicas 3 --port 8080 --ready http:8080/ -- sh -c "$WEB"'
    show 'netlabctl pod run client'
    show 'netlabctl get pods -o wide'

    title "Pods know each other by name, over IPv4 and IPv6"
    show 'netlabctl exec client -- curl -sS -4 http://web-0:8080/ http://web-1:8080/'
    show 'netlabctl exec client -- curl -sS -6 http://web-2.default:8080/'
    show 'netlabctl exec client -- ping -4 -c 2 -i 0.1 web-0'

    title "A pod that leaves the node has the node's address"
    show 'netlabctl exec client -- socat - TCP:192.0.2.1:9000'
    [[ $OUTPUT == *192.0.2.2* ]] || fail "the server outside saw another address than the node's"

    title "What netlab made in the kernel is there for every tool to see"
    show "ip -n $NODE route show proto 110"
    show "nsenter --net=$DIR/run/netns/default_web-0 ip -brief address show dev eth0"
    show "nsenter --net=/run/netns/$NODE nft list table ip netlab"

    title "Everything about one pod"
    show 'netlabctl describe pod web-0'

    title "kill -9 the daemon while 60 packets go from pod to pod: none is lost"
    kill_daemon_under_traffic

    title "A route deleted by hand comes back, and an event says so"
    delete_route

    title "What does not agree with the objects? Nothing"
    show 'netlabctl doctor'

    title "Deleting waits until nothing is left in the kernel"
    show 'netlabctl delete pods --all'
    show 'netlabctl get pods'

    title "Teardown leaves nothing behind"
    leave_nothing
    printf '\ndemo: ok\n'
}

# What the last command printed; for the checks.
OUTPUT=""

title() {
    printf '\n## %s\n' "$*"
}

# Prints a command as one would type it, runs it and prints what it prints.
show() {
    printf '\n$ %s\n' "$1"
    OUTPUT=$(eval "$1" 2>&1) || {
        printf '%s\n' "$OUTPUT"
        fail "this command failed: $1"
    }
    [[ -z $OUTPUT ]] || printf '%s\n' "$OUTPUT"
}

fail() {
    printf 'demo: failed: %s\n' "$*" >&2
    if [[ -s $DIR/netlabd.log ]]; then
        printf 'demo: the last lines of the daemon:\n' >&2
        tail -n 20 "$DIR/netlabd.log" >&2
    fi
    exit 1
}

# Asks until the answer is yes, for ten seconds.
until_true() {
    local what=$1 deadline=$((SECONDS + 10))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "this did not happen within 10 s: $what"
        sleep 0.02
    done
}

make_network() {
    ip netns add "$NODE"
    ip netns add "$OUTSIDE"
    ip -n "$NODE" link add eth0 type veth peer name eth0 netns "$OUTSIDE"
    local side
    for side in "$NODE 2 1" "$OUTSIDE 1 2"; do
        # shellcheck disable=SC2086 # three words
        set -- $side
        ip -n "$1" link set lo up
        ip -n "$1" address add "192.0.2.$2/24" dev eth0
        ip -n "$1" address add "2001:db8::$2/64" dev eth0 nodad
        ip -n "$1" link set eth0 up
    done
    ip -n "$NODE" route add default via 192.0.2.1
    ip -n "$NODE" -6 route add default via 2001:db8::1
    # A server outside that tells its clients who they are.
    nsenter --net="/run/netns/$OUTSIDE" socat TCP4-LISTEN:9000,fork,reuseaddr \
        'SYSTEM:echo you come from $SOCAT_PEERADDR' &
    SERVER=$!
}

start_daemon() {
    printf '\n$ netlabd --node-name n1 --state-dir … --run-dir … &\n'
    nsenter --net="/run/netns/$NODE" netlabd --node-name n1 "${DIRS[@]}" >>"$DIR/netlabd.log" 2>&1 &
    DAEMON=$!
    until_true "netlabd is ready" is_ready
}

is_ready() {
    kill -0 "$DAEMON" 2>/dev/null || fail "netlabd ended"
    curl -sf --unix-socket "$NETLAB_SOCKET" http://netlab/readyz >/dev/null
}

kill_daemon_under_traffic() {
    local address netns="$DIR/run/netns/default_client" before after restarts
    address=$(netlabctl get pod web-0 -o 'jsonpath={.status.podIP}')
    before=$(netlabctl get pods -o 'jsonpath={.items[*].metadata.uid} {.items[*].status.podIP}')
    printf '\n$ nsenter --net=%s ping -q -c 60 -i 0.02 %s &\n' "$netns" "$address"
    nsenter --net="$netns" ping -q -c 60 -i 0.02 "$address" >"$DIR/ping" &
    local ping=$!
    printf '$ kill -9 %s   # netlabd\n' "$DAEMON"
    kill -9 "$DAEMON"
    wait "$DAEMON" 2>/dev/null || true
    start_daemon
    wait "$ping" || true
    cat "$DIR/ping"
    grep -q ' 60 received, 0% packet loss' "$DIR/ping" || fail "packets were lost"
    after=$(netlabctl get pods -o 'jsonpath={.items[*].metadata.uid} {.items[*].status.podIP}')
    [[ $before == "$after" ]] || fail "pods are not what they were: $before became $after"
    show 'netlabctl get pods -o wide'
    restarts=$(netlabctl get pods -o 'jsonpath={.items[*].status.containerStatuses[*].restartCount}')
    [[ $restarts == "0 0 0 0" ]] || fail "commands were started again: $restarts"
}

delete_route() {
    local address
    address=$(netlabctl get pod web-1 -o 'jsonpath={.status.podIP}')
    show "ip -n $NODE route del $address"
    until_true "the route is back" route_is_back "$address"
    show "ip -n $NODE route show $address"
    until_true "there is an event about the route" has_event
    show 'netlabctl events --for pod/web-1 --types Warning'
}

route_is_back() {
    [[ -n $(ip -n "$NODE" route show "$1") ]]
}

has_event() {
    [[ $(netlabctl events --for pod/web-1) == *NetworkRepaired* ]]
}

leave_nothing() {
    stop "$DAEMON"
    DAEMON=""
    show "nsenter --net=/run/netns/$NODE netlabd teardown --state-dir $DIR/state --run-dir $DIR/run"
    show "ip -n $NODE -brief link"
    [[ $OUTPUT != *nl* ]] || fail "links are left"
    show "ip -n $NODE route show proto 110"
    [[ -z $OUTPUT ]] || fail "routes are left"
    show "nsenter --net=/run/netns/$NODE nft list ruleset"
    [[ -z $OUTPUT ]] || fail "rules are left"
    [[ ! -e $DIR/state && ! -e $DIR/run ]] || fail "folders are left: $(ls "$DIR")"
    ! grep -qF "$DIR" /proc/self/mounts || fail "mounts are left"
}

# Ends a process of ours, and waits for it.
stop() {
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# Whatever happened: no process, namespace, mount or file of ours stays.
cleanup() {
    local code=$?
    # Every step is tried, whatever became of the others; a second Ctrl-C does not stop it.
    set +e
    trap - EXIT
    trap '' INT TERM
    [[ -z $DAEMON ]] || stop "$DAEMON"
    [[ -z $SERVER ]] || stop "$SERVER"
    if [[ -e $DIR/run || -e $DIR/state ]]; then
        nsenter --net="/run/netns/$NODE" netlabd teardown "${DIRS[@]}" || code=1
    fi
    ip netns delete "$NODE" 2>/dev/null
    ip netns delete "$OUTSIDE" 2>/dev/null
    rm -rf --one-file-system "$DIR"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

main
