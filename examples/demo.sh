#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Shows what netlab does, on a lab of two virtual nodes (examples/quickstart.toml): the machine's
# own network is not touched. Needs root and a debug build (`make demo` makes it). Prints each
# command before its output, and ends with "demo: ok" or fails.
set -euo pipefail
cd "$(dirname "$0")/.."

BIN="${CARGO_TARGET_DIR:-$PWD/target}/debug"
PATH="$BIN:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
DIR=$(mktemp -d "${TMPDIR:-/tmp}/netlab-demo.XXXXXX")
# A folder of labs of its own: several demos may run on one machine.
export NETLAB_LAB_DIR="$DIR/labs"
export NETLAB_LAB=quickstart
export NETLAB_NO_COLOR=true
RUN="$NETLAB_LAB_DIR/quickstart/run"
SERVER=""

main() {
    ((EUID == 0)) || fail "network namespaces need root: run \"sudo make demo\""
    [[ -x $BIN/netlabd && -x $BIN/netlabctl ]] || fail "there is no debug build: run \"make build\""
    for tool in ip nft nsenter socat ping curl python3; do
        command -v "$tool" >/dev/null || fail "$tool is missing: run \"make setup\""
    done

    title "Two nodes, a machine outside, four pods; it returns when all of them are ready"
    show 'netlabctl lab up examples/quickstart.toml'
    show 'netlabctl lab graph'

    title "What the file says must be true"
    show 'netlabctl lab test'

    title "Pods know each other by name, over IPv4 and IPv6, on whatever node they are"
    local code='curl -sS -o /dev/null -w "%{http_code}\n"'
    show "netlabctl exec client -- $code -4 http://web-0:8080/ -o /dev/null http://web-1:8080/"
    show "netlabctl exec client -- $code -6 http://web-2.default:8080/"
    show 'netlabctl exec client -- ping -4 -c 2 -i 0.1 web-0'

    title "A service: one name for all three, whichever answers, from the moment it is there"
    balance

    title "A pod that leaves the cluster has its node's address"
    leave_the_cluster

    title "What netlab made in the kernel is there for every tool to see"
    show 'netlabctl host exec n1 -- ip route show proto 110'
    show 'netlabctl host exec n1 -- nft list table ip netlab'

    title "Everything about one pod"
    show 'netlabctl describe pod web-0'

    title "kill -9 a daemon while 60 packets go from pod to pod: none is lost"
    kill_daemon_under_traffic

    title "A route deleted by hand comes back, and an event says so"
    delete_route

    title "A cable that is pulled, and plugged in again"
    show 'netlabctl link down laptop'
    fails 'netlabctl host exec laptop -- ping -c 1 -W 1 172.30.0.2'
    show 'netlabctl link up laptop'
    until_true "the laptop is back" netlabctl host exec laptop -- ping -q -c 1 -W 1 172.30.0.2

    title "What does not agree with the objects? Nothing"
    show 'netlabctl doctor'

    title "Nothing is left behind"
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

# The same for a command that is to fail.
fails() {
    printf '\n$ %s\n' "$1"
    if OUTPUT=$(eval "$1" 2>&1); then
        fail "this command did not fail: $1"
    fi
    printf '%s\n' "$OUTPUT"
}

fail() {
    printf 'demo: failed: %s\n' "$*" >&2
    local log
    for log in "$NETLAB_LAB_DIR"/quickstart/nodes/*/netlabd.log; do
        [[ -s $log ]] || continue
        printf 'demo: the last lines of %s:\n' "$log" >&2
        tail -n 20 "$log" >&2
    done
    exit 1
}

# Asks until the answer is yes, for ten seconds.
until_true() {
    local what=$1 deadline=$((SECONDS + 10))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "this did not happen within 10 s: $what"
        sleep 0.02
    done
}

balance() {
    show 'netlabctl svc expose web --port 80:8080 --node-port 30080'
    show 'netlabctl describe svc web'
    show 'netlabctl exec client -- getent ahosts web.default.svc.cluster.local'
    # One of three pods twelve times over is one run in 170,000.
    local twelve='for i in $(seq 12); do curl -sS'
    show "netlabctl exec client -- sh -c '$twelve http://web/; done' | sort | uniq -c"
    (($(wc -l <<<"$OUTPUT") > 1)) || fail "one pod answered all requests"
    show "netlabctl host exec laptop -- sh -c '$twelve http://172.30.0.3:30080/; done' | sort | uniq -c"
    (($(wc -l <<<"$OUTPUT") > 1)) || fail "one pod answered all requests of the laptop"
}

leave_the_cluster() {
    # A server outside that tells its clients who they are.
    # shellcheck disable=SC2016 # socat's shell expands it
    netlabctl host exec laptop -- socat TCP4-LISTEN:9000,fork,reuseaddr \
        'SYSTEM:echo you come from $SOCAT_PEERADDR' &
    SERVER=$!
    until_true "the server listens" netlabctl host exec n1 -- socat -u TCP:172.30.0.4:9000 STDOUT
    show 'netlabctl exec client -- socat -u TCP:172.30.0.4:9000 STDOUT'
    [[ $OUTPUT == *"172.30.0."[23]* ]] || fail "the server saw another address than a node's"
    stop "$SERVER"
    SERVER=""
}

pods() {
    netlabctl get pods -o 'jsonpath={.items[*].metadata.uid} {.items[*].status.podIP}'
}

node_of() {
    netlabctl get pod "$1" -o 'jsonpath={.spec.nodeName}'
}

kill_daemon_under_traffic() {
    local node address netns daemon before after restarts
    node=$(node_of client)
    netns="$RUN/$node/netns/default_client"
    address=$(netlabctl get pod web-0 -o 'jsonpath={.status.podIP}')
    before=$(pods)
    printf '\n$ nsenter --net=%s ping -q -c 60 -i 0.02 %s &\n' "$netns" "$address"
    nsenter --net="$netns" ping -q -c 60 -i 0.02 "$address" >"$DIR/ping" &
    local ping=$!
    daemon=$(pgrep -f "netlabd --config $NETLAB_LAB_DIR/quickstart/nodes/$node/")
    printf '$ kill -9 %s   # netlabd of %s\n' "$daemon" "$node"
    kill -9 "$daemon"
    until_true "the daemon is gone" is_down
    # Starts what is missing, and changes nothing else.
    printf '$ netlabctl lab up examples/quickstart.toml\n'
    netlabctl lab up examples/quickstart.toml >/dev/null
    wait "$ping" || true
    cat "$DIR/ping"
    grep -q ' 60 received, 0% packet loss' "$DIR/ping" || fail "packets were lost"
    after=$(pods)
    [[ $before == "$after" ]] || fail "pods are not what they were: $before became $after"
    show 'netlabctl get pods -o wide'
    restarts=$(netlabctl get pods -o 'jsonpath={.items[*].status.containerStatuses[*].restartCount}')
    [[ $restarts == "0 0 0 0" ]] || fail "commands were started again: $restarts"
}

is_down() {
    [[ $(netlabctl lab ls) == *"nodes down"* ]]
}

delete_route() {
    local node address
    node=$(node_of web-1)
    address=$(netlabctl get pod web-1 -o 'jsonpath={.status.podIP}')
    show "netlabctl host exec $node -- ip route del $address"
    until_true "the route is back" route_is_back "$node" "$address"
    show "netlabctl host exec $node -- ip route show $address"
    until_true "there is an event about the route" has_event
    show 'netlabctl events --for pod/web-1 --types Warning'
}

route_is_back() {
    [[ -n $(netlabctl host exec "$1" -- ip route show "$2") ]]
}

has_event() {
    [[ $(netlabctl events --for pod/web-1) == *NetworkRepaired* ]]
}

leave_nothing() {
    show 'netlabctl lab down'
    [[ ! -e $NETLAB_LAB_DIR ]] || fail "files are left: $(ls "$NETLAB_LAB_DIR")"
    ! grep -qF "$DIR" /proc/self/mounts || fail "mounts are left"
    ! pgrep -f "$NETLAB_LAB_DIR" >/dev/null || fail "processes are left"
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
    [[ -z $SERVER ]] || stop "$SERVER"
    if [[ -x $BIN/netlabctl ]]; then
        netlabctl lab down --ignore-not-found quickstart >/dev/null || code=1
    fi
    rm -rf --one-file-system "$DIR"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

main
