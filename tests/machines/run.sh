#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs vagrant/provision.sh in machines of systemd-nspawn, booted, with a network of their own, and
# looks at what systemd makes of netlabd there. `make test-machines` builds and calls it. Needs root;
# neither the network nor the services of this machine are touched. Ends with "machines: ok".
#
#   network namespace netlab-machines-PID: bridge br0, 192.168.56.1/24 and fd56::1/64
#        │ veth            │ veth            │ veth
#     server .11        node1 .12         node2 .13      each a namespace, and Debian with systemd
#
# MACHINES_KEEP=1 leaves the machines running when something failed, and says how to enter one.
set -euo pipefail
cd "$(dirname "$0")/../.."
REPOSITORY=$PWD
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# One system for all machines, made once; each writes to memory of its own above it.
SUITE=bookworm
ROOT=$REPOSITORY/target/machines/$SUITE
PACKAGES=systemd,systemd-sysv,iproute2,nftables,iputils-ping,procps
# Names with our process id: several runs may share a machine.
ME=netlab-machines-$$
DIR=$(mktemp -d /tmp/netlab-machines.XXXXXX)
SERVER=192.168.56.11
declare -A LEADER=() NSPAWN=()

source tests/machines/checks.sh

main() {
    ((EUID == 0)) || fail "machines need root: run \"sudo make test-machines\""
    trap clean_up EXIT
    make_root
    title "vagrant/Vagrantfile is valid"
    (cd vagrant && VAGRANT_HOME=$DIR/vagrant VAGRANT_DOTFILE_PATH=$DIR/dot vagrant validate)
    title "Three machines boot"
    make_network
    boot server 11
    boot node1 12
    boot node2 13
    title "One machine by itself"
    check_alone node1
    title "A server, and machines that join it"
    check_joined
    MACHINES_KEEP=
    printf '\nmachines: ok\n'
}

# Debian without anything that netlab does not need.
make_root() {
    [[ ! -e $ROOT/etc/os-release || ! -e $ROOT.complete ]] || return 0
    title "Debian $SUITE for the machines, in $ROOT"
    rm -rf "$ROOT"
    mkdir -p "${ROOT%/*}"
    debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$ROOT" >"$DIR/debootstrap.log" 2>&1 ||
        { tail -n 20 "$DIR/debootstrap.log" >&2; fail "debootstrap failed"; }
    # Interfaces come ready, and the clock is this machine's.
    rm -f "$ROOT/etc/machine-id" "$ROOT/etc/hostname"
    touch "$ROOT/etc/machine-id" "$ROOT.complete"
}

make_network() {
    ip netns add "$ME"
    ip -n "$ME" link add br0 type bridge
    ip -n "$ME" address add 192.168.56.1/24 dev br0
    ip -n "$ME" address add fd56::1/64 dev br0 nodad
    ip -n "$ME" link set br0 up
}

# boot NAME NUMBER: starts a machine, whose address ends in NUMBER.
boot() {
    local name=$1 number=$2 netns=$ME-$1 folder
    ip netns add "$netns"
    ip -n "$ME" link add "to-$name" type veth peer name eth1 netns "$netns"
    ip -n "$ME" link set "to-$name" master br0 up
    ip -n "$netns" address add "192.168.56.$number/24" dev eth1
    ip -n "$netns" address add "fd56::$number/64" dev eth1 nodad
    ip -n "$netns" link set lo up
    ip -n "$netns" link set eth1 up
    ip -n "$netns" route add default via 192.168.56.1
    (
        # The cgroup in which it starts is all that a machine sees of them.
        for folder in $(cgroups "$name"); do
            join_cgroup "$folder"
        done
        # An exec in a pod needs a system call that nspawn, unlike a machine, does not let through.
        # Else the settings of the machine's network are read-only, which they are on none.
        export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
        exec systemd-nspawn --quiet --directory="$ROOT" --machine="$name" --hostname="$name" \
            --boot --volatile=overlay --register=no --keep-unit --console=pipe --link-journal=no \
            --network-namespace-path="/run/netns/$netns" --capability=CAP_NET_ADMIN,CAP_NET_RAW \
            --system-call-filter=pidfd_getfd --bind-ro="$REPOSITORY:/netlab:norbind" \
            --resolv-conf=off --timezone=off
    ) >"$DIR/$name.log" 2>&1 </dev/null &
    NSPAWN[$name]=$!
    wait_for "$name starts" find_leader "$name"
    wait_for "systemd is up in $name" is_up "$name"
    # nspawn mounts version 1 controllers read-only; on a machine of one's own they are writable, and
    # pods have their limits there.
    in_machine "$name" sh -c '
        findmnt -n -o TARGET -t cgroup | while read -r mount; do 
            mount -o remount,bind,rw "$mount"
        done'
}

# The folders of a machine's cgroups, one below ours in each hierarchy: the limits that we have are
# the machine's too.
cgroups() {
    local controllers path mount
    while IFS=: read -r _ controllers path; do
        if [[ -n $controllers ]]; then
            mount=$(findmnt -n -o TARGET -t cgroup -O "$controllers" | head -n 1)
        else
            mount=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
        fi
        [[ -z $mount ]] || echo "$mount${path%/}/$ME-$1"
    done </proc/self/cgroup
}

# join_cgroup FOLDER: makes it and moves this shell there.
join_cgroup() {
    local file
    mkdir -p "$1"
    for file in cpuset.mems cpuset.cpus; do
        # Version 1 gives a new one no processors and no memory.
        [[ ! -e $1/$file || -s $1/$file && -n $(<"$1/$file") ]] || cat "$1/../$file" >"$1/$file"
    done
    echo "$BASHPID" >"$1/cgroup.procs"
}

find_leader() {
    kill -0 "${NSPAWN[$1]}" 2>/dev/null || { cat "$DIR/$1.log" >&2; fail "machine $1 ended"; }
    LEADER[$1]=$(pgrep -P "${NSPAWN[$1]}" -f init || pgrep -P "${NSPAWN[$1]}" systemd) || return 1
}

# in_machine NAME COMMAND…: runs it as root inside the machine.
in_machine() {
    local name=$1
    shift
    nsenter -t "${LEADER[$name]}" -m -u -i -n -p -C -- env -i HOME=/root LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

is_up() {
    local state
    state=$(in_machine "$1" systemctl is-system-running 2>/dev/null) || true
    [[ $state == running || $state == degraded ]]
}

# provision NAME VARIABLE=VALUE…: as Vagrant does.
provision() {
    local name=$1
    shift
    in_machine "$name" env "$@" /netlab/vagrant/provision.sh
}

# wait_for WHAT COMMAND…: asks until it is so, for half a minute at most.
wait_for() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "not so in time: $what"
        sleep 0.2
    done
}

title() {
    printf '\n## %s\n' "$1"
}

fail() {
    echo "machines: $*" >&2
    exit 1
}

remove_cgroup() {
    [[ ! -d $1 ]] || find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
}

clean_up() {
    local code=$? name folder
    if ((code != 0)) && [[ -n ${MACHINES_KEEP-} ]]; then
        for name in "${!LEADER[@]}"; do
            echo "machines: kept; enter $name by: nsenter -t ${LEADER[$name]} -m -u -i -n -p -C bash"
        done
        exit "$code"
    fi
    for name in "${!NSPAWN[@]}"; do
        if ((code != 0)) && [[ -n ${LEADER[$name]-} ]]; then
            echo "--- journal of $name" >&2
            in_machine "$name" journalctl --no-pager --unit netlabd --lines 30 >&2 || true
        fi
        # Nothing in it is worth a shutdown: its disk is memory.
        kill -9 "${LEADER[$name]-}" "${NSPAWN[$name]}" 2>/dev/null || true
        wait "${NSPAWN[$name]}" 2>/dev/null || true
        ip netns del "$ME-$name" 2>/dev/null || true
        for folder in $(cgroups "$name"); do
            # Its processes take a moment to be gone.
            wait_for "$folder is removed" remove_cgroup "$folder"
        done
    done
    ip netns del "$ME" 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}

main
