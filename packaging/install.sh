#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Copies what `make release` built to where a machine expects it, or removes it again. Starts and
# enables nothing. Use it as `make install` and `make uninstall`.
#
#   packaging/install.sh [--remove] DESTDIR PREFIX SYSTEMD_DIR SYSUSERS_DIR
set -euo pipefail
cd "$(dirname "$0")/.."

remove=false
if [[ ${1-} == --remove ]]; then
    remove=true
    shift
fi
if (($# != 4)); then
    echo "install: usage: packaging/install.sh [--remove] DESTDIR PREFIX SYSTEMD_DIR SYSUSERS_DIR" >&2
    exit 2
fi
destdir=$1 prefix=$2 systemd_dir=$3 sysusers_dir=$4
doc_dir=$prefix/share/doc/netlab

# put MODE FILE TARGET: copies FILE, with paths of /usr/local turned into those below PREFIX.
put() {
    local mode=$1 file=$2 target=$destdir$3
    if $remove; then
        rm -fv "$target"
        return
    fi
    install -d "$(dirname "$target")"
    case $file in
        *.service) sed "s#/usr/local/#$prefix/#g" "$file" | install -m "$mode" /dev/stdin "$target" ;;
        *) install -m "$mode" "$file" "$target" ;;
    esac
    echo "install: $target"
}

if ! $remove && [[ ! -x target/release/netlabd || ! -x target/release/netlabctl ]]; then
    echo "install: there is no optimised build: run \"make release\" first" >&2
    exit 1
fi

put 0755 target/release/netlabd "$prefix/bin/netlabd"
put 0755 target/release/netlabctl "$prefix/bin/netlabctl"
put 0644 packaging/systemd/netlabd.service "$systemd_dir/netlabd.service"
put 0644 packaging/systemd/netlabd.socket "$systemd_dir/netlabd.socket"
put 0644 packaging/sysusers.d/netlab.conf "$sysusers_dir/netlab.conf"
for file in README.md ARCHITECTURE.md CHANGELOG.md LICENSE docs/*.md; do
    put 0644 "$file" "$doc_dir/${file##*/}"
done
for file in docs/schema/*.json; do
    put 0644 "$file" "$prefix/share/netlab/schema/${file##*/}"
done

# The machine itself, not a package's folder: let it know.
if [[ -z $destdir ]] && ! $remove; then
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers "$sysusers_dir/netlab.conf"
    fi
    if [[ -d /run/systemd/system ]]; then
        systemctl daemon-reload
    fi
fi
