#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Installs the Debian packages that building and testing netlab need, and only those that are
# missing. Silent and offline when nothing is.
#
#   tests/setup.sh [machines]      also what `make test-machines` needs
set -euo pipefail

# One line per package: what proves that it is there, and what it is for. A proof is a command,
# or a path (with wildcards) when it has a slash, so that a tool from elsewhere counts as well.
requirements() {
    cat <<'EOF'
gcc                           cc                                       links Rust programs
libc6-dev                     /usr/include/stdio.h                     headers that bindgen reads
libclang-dev                  /usr/lib/llvm-*/lib/libclang.so          bindgen, which rustables builds with
make                          make                                     the steps in the Makefile
iproute2                      ip                                       builds and observes networks in tests
nftables                      nft                                      observes nf_tables in tests
ethtool                       ethtool                                  observes offloads in tests
iputils-ping                  ping                                     packets in tests
curl                          curl                                     HTTP clients of pods and of the API
jq                            jq                                       reads JSON in scripts
socat                         socat                                    servers and clients of pods
bind9-dnsutils                dig                                      asks for names in tests
conntrack                     conntrack                                observes connection tracking in tests
procps                        ps                                       observes processes in tests
python3                       python3                                  web servers in the demo and in tests
util-linux                    nsenter                                  enters namespaces in tests
containernetworking-plugins   /usr/lib/cni/bridge                      what the benchmark compares with
iptables                      iptables-legacy-restore                  what the benchmark compares with
knot                          knotd                                    a name server to ask and to compare with
unbound                       unbound                                  a name server to ask and to compare with
dnsmasq-base                  dnsmasq                                  what the benchmark compares with
dnsperf                       dnsperf                                  asks for names in the benchmark
bind9-dnsutils                dig                                      asks for names in tests
musl-tools                    musl-gcc                                 programs whose resolver is not glibc's
EOF
}

requirements_of_machines() {
    cat <<'EOF'
systemd-container             systemd-nspawn                           boots machines in namespaces
debootstrap                   debootstrap                              makes the system that they boot
vagrant                       vagrant                                  checks vagrant/Vagrantfile
vagrant-libvirt               /usr/share/rubygems-integration/*/gems/vagrant-libvirt-*  the provider that it names
EOF
}

case ${1-} in
    "") wanted=requirements ;;
    machines) wanted=all_requirements ;;
    *)
        echo "setup: usage: tests/setup.sh [machines]" >&2
        exit 2
        ;;
esac

all_requirements() {
    requirements
    requirements_of_machines
}

present() {
    if [[ $1 == */* ]]; then
        compgen -G "$1" >/dev/null
    else
        command -v "$1" >/dev/null
    fi
}

# An unprivileged user's PATH lacks the folders of ip, nft and conntrack.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

missing=()
while read -r package proof purpose; do
    if ! present "$proof"; then
        missing+=("$package")
        echo "setup: $package is missing: $purpose" >&2
    fi
done < <("$wanted")

if ((${#missing[@]} > 0)); then
    if ! command -v apt-get >/dev/null; then
        echo "setup: this system has no apt-get: install by hand what these Debian packages hold:" \
            "${missing[*]}" >&2
        exit 1
    fi
    if ((EUID != 0)); then
        echo "setup: installing packages needs root: run" \
            "\"sudo apt-get update && sudo apt-get install ${missing[*]}\"" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    # These are programs for tests here: no name server of the machine is to come of them.
    quiet=()
    if [[ -d /run/systemd/system ]]; then
        for package in "${missing[@]}"; do
            case $package in
                knot) quiet+=(knot.service) ;;
                unbound) quiet+=(unbound.service unbound-resolvconf.service) ;;
            esac
        done
    fi
    ((${#quiet[@]} == 0)) || systemctl mask --quiet --runtime "${quiet[@]}"
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${missing[@]}"
    if ((${#quiet[@]} > 0)); then
        systemctl unmask --quiet --runtime "${quiet[@]}"
        systemctl disable --quiet "${quiet[@]}"
    fi
fi

# The package of systemd-resolved makes it the machine's own resolver: it is unpacked, not installed.
unpacked=/usr/local/lib/netlab-tests/systemd-resolved
resolved=lib/systemd/systemd-resolved
if ! [[ -x /usr/$resolved || -x /$resolved || -x $unpacked/$resolved ]]; then
    if ! command -v apt-get >/dev/null || ((EUID != 0)); then
        echo "setup: systemd-resolved is missing, and a test is skipped: as root, with apt-get," \
            "this unpacks it in $unpacked" >&2
    else
        echo "setup: systemd-resolved is missing: tests run it beside netlabd" >&2
        work=$(mktemp -d)
        # The downloader has a user of its own.
        ! getent passwd _apt >/dev/null || chown _apt "$work"
        (
            cd "$work"
            # Lists of packages may be missing where nothing was installed yet.
            apt-get download -q systemd-resolved ||
                { apt-get update -q && apt-get download -q systemd-resolved; }
        )
        mkdir -p "$unpacked"
        dpkg-deb -x "$work"/systemd-resolved_*.deb "$unpacked"
        rm -r "$work"
    fi
fi

# Minimal Rust toolchains come without these two. Asking for the version tells more than looking
# for the program: rustup leaves a stand-in for each.
for component in fmt:rustfmt clippy:clippy; do
    if ! cargo "${component%:*}" --version >/dev/null 2>&1; then
        if ! command -v rustup >/dev/null; then
            echo "setup: cargo ${component%:*} is missing and there is no rustup to add it:" \
                "install ${component#*:}" >&2
            exit 1
        fi
        rustup component add "${component#*:}"
    fi
done
