#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a machine with systemd a node of netlab: installs the build of this repository, writes
# /etc/netlab/netlabd.toml, starts netlabd and waits until it is ready. Runs as root in the machine,
# and may be run again. What it is told comes by variables:
#
#   NETLAB_ROLE        single (a cluster of its own), server (others may join) or node (joins)
#   NETLAB_ADDRESS     of a server: the address that nodes reach it at
#   NETLAB_SERVER      of a node: https://ADDRESS:7411
#   NETLAB_TOKEN_FILE  of a node: a file with what `netlabctl node token` printed on the server
#   NETLAB_SOURCE      this repository, with target/release in it [default: /netlab]
set -euo pipefail

SOURCE=${NETLAB_SOURCE:-/netlab}
ROLE=${NETLAB_ROLE:-single}
CONFIG=/etc/netlab/netlabd.toml
TOKEN=/etc/netlab/token

fail() {
    echo "provision: $*" >&2
    exit 1
}

main() {
    ((EUID == 0)) || fail "a service can only be installed as root"
    [[ -d /run/systemd/system ]] || fail "this machine was not started by systemd"
    check_build
    (cd "$SOURCE" && packaging/install.sh "" /usr/local /usr/local/lib/systemd/system \
        /usr/local/lib/sysusers.d) >/dev/null
    configure
    systemctl daemon-reload
    systemctl enable --quiet netlabd
    # Returns when netlabd has said that it is ready; a netlabd that runs is replaced, and its pods
    # live on.
    if ! systemctl restart netlabd; then
        journalctl --no-pager --unit netlabd --lines 20 >&2 || true
        fail "netlabd does not start; its last lines are above"
    fi
    echo "provision: $(netlabctl version | tr '\n' ' ')is ready on $(hostname)"
}

# A build for a newer system fails here, with the name of the library, and not in the service.
check_build() {
    local program
    for program in netlabd netlabctl; do
        [[ -x $SOURCE/target/release/$program ]] ||
            fail "there is no $SOURCE/target/release/$program: run \"make release\" first"
        "$SOURCE/target/release/$program" --version >/dev/null ||
            fail "$program was built for another system: build on Debian 12, or choose a newer box"
    done
}

configure() {
    install -d -m 0755 /etc/netlab
    # Longer lived than the file that it came in; nobody else's to read.
    if [[ $ROLE == node ]]; then
        [[ -n ${NETLAB_SERVER-} ]] || fail "NETLAB_SERVER is missing: which server to join?"
        [[ -s ${NETLAB_TOKEN_FILE-} ]] ||
            fail "NETLAB_TOKEN_FILE names no token: run \"netlabctl node token\" on the server"
        install -m 0600 "$NETLAB_TOKEN_FILE" "$TOKEN"
    fi
    local text
    text=$(settings)
    install -m 0644 /dev/stdin "$CONFIG" <<<"$text"
}

settings() {
    echo "# Written by provision.sh."
    case $ROLE in
        single) ;;
        server)
            [[ -n ${NETLAB_ADDRESS-} ]] || fail "NETLAB_ADDRESS is missing: where do nodes reach it?"
            local address=$NETLAB_ADDRESS
            [[ $address != *:* ]] || address="[$address]"
            echo "listen = \"$address:7411\""
            ;;
        node)
            echo "join = \"$NETLAB_SERVER\""
            echo "token-file = \"$TOKEN\""
            ;;
        *) fail "NETLAB_ROLE is \"$ROLE\", which is none of single, server and node" ;;
    esac
}

main
