// SPDX-License-Identifier: GPL-3.0-or-later
//! A real name server outside of the cluster: Debian's knot, with `example.org` and a few others.

use std::fs;
use std::path::{Path, PathBuf};

use netlab_tests::{Background, Machine, poll};

/// Zone files, by domain.
const ZONES: [(&str, &str); 4] = [
    (
        "example.org",
        "www 120 A 198.51.100.80\nwww 120 AAAA 2001:db8:100::80\nalias 120 CNAME www\n\
         text 300 TXT \"outside\"\nprinter 300 A 192.0.2.99\nshort 2 A 198.51.100.81\n\
         *.many 300 A 198.51.100.82\nlong 30 A 198.51.100.83\n",
    ),
    ("stub.example", "host 300 A 198.51.100.90\n"),
    ("2.0.192.in-addr.arpa", "5 300 PTR www.example.org.\n"),
    ("43.10.in-addr.arpa", "77.77 300 PTR printer.example.org.\n1.1 300 PTR wrong.example.org.\n"),
];

/// A running server. It ends with it.
#[derive(Debug)]
pub(crate) struct Outside {
    server: Background,
    folder: PathBuf,
}

impl Outside {
    /// Starts one at these addresses, such as `192.0.2.9@53`, with its files in a folder.
    #[track_caller]
    pub(crate) fn start(machine: &Machine, folder: &Path, addresses: &[&str]) -> Outside {
        Outside::with(machine, folder, addresses, &ZONES)
    }

    /// One that also knows which names there are not: all others.
    #[track_caller]
    pub(crate) fn knowing_all(machine: &Machine, folder: &Path, addresses: &[&str]) -> Outside {
        let zones = [&ZONES[..], &[("", "")]].concat();
        Outside::with(machine, folder, addresses, &zones)
    }

    #[track_caller]
    fn with(
        machine: &Machine,
        folder: &Path,
        addresses: &[&str],
        zones: &[(&str, &str)],
    ) -> Outside {
        let folder = folder.join("knot");
        fs::create_dir_all(&folder).unwrap();
        let mut config = format!(
            "server:\n    rundir: \"{0}\"\n    listen: [ {1} ]\n    user: root:root\n    \
             udp-workers: 1\n    tcp-workers: 1\nlog:\n  - target: stderr\n    any: info\n\
             database:\n    storage: \"{0}\"\ntemplate:\n  - id: default\n    \
             storage: \"{0}\"\n    journal-content: none\n    zonefile-sync: -1\nzone:\n",
            folder.display(),
            addresses.join(", "),
        );
        for (zone, records) in zones {
            let all = format!(
                "$ORIGIN {zone}.\n@ 300 SOA ns hostmaster 1 7200 1800 86400 60\n@ 300 NS ns\n\
                 ns 300 A 192.0.2.9\n{records}"
            );
            fs::write(folder.join(format!("{zone}.zone")), all).unwrap();
            config.push_str(&format!("  - domain: {zone}.\n    file: \"{zone}.zone\"\n"));
        }
        let file = folder.join("knot.conf");
        fs::write(&file, config).unwrap();
        let mut server = machine.spawn(&["knotd", "-c", &file.display().to_string()]);
        poll("the server outside has started", || {
            assert!(!server.has_ended(), "knotd ended: {}", server.output());
            server.output().contains("server started").then_some(())
        });
        Outside { server, folder }
    }

    /// Lets it no more answer, as if its machine were off.
    pub(crate) fn stop(&self) {
        self.server.signal(nix::sys::signal::Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.server.signal(nix::sys::signal::Signal::SIGCONT);
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // Its folder is the lab's, and may be gone by now.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
