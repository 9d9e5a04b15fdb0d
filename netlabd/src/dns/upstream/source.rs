// SPDX-License-Identifier: GPL-3.0-or-later
//! Where upstreams are written: addresses in the configuration, and files like `/etc/resolv.conf`.
//!
//! A resolver of systemd on this machine (127.0.0.53) is looked through, to the servers that it
//! asks itself: pods could not tell why their names fail otherwise. Our own addresses in a file
//! are left out, as whoever wrote them there meant this machine's programs and not us.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The port of names.
pub(super) const PORT: u16 = 53;

/// Most upstreams of one group, as in CoreDNS.
pub(super) const MAX_UPSTREAMS: usize = 15;

/// Where systemd-resolved answers the machine's programs.
pub(crate) const STUBS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];

/// Whom systemd-resolved asks.
pub(crate) const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// Where an upstream is written, for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// In the configuration, under this key: `dns.forward.to[0]`.
    Key(String),
    /// In a file, which this key of the configuration names.
    Line {
        /// The file.
        file: PathBuf,
        /// Its line, the first is 1.
        line: usize,
        /// The key.
        key: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Key(key) => write!(f, "`{key}`"),
            Origin::Line { file, line, key } => {
                write!(f, "line {line} of `{}` (`{key}`)", file.display())
            }
        }
    }
}

/// One upstream as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) address: SocketAddr,
    pub(super) origin: Origin,
}

/// An entry of `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Address(SocketAddr),
    File(PathBuf),
}

/// All entries of one `to`, and what the files among them looked like when they were last read.
#[derive(Debug)]
pub(super) struct Sources {
    /// Each with its key.
    entries: Vec<(String, Entry)>,
    own: Vec<IpAddr>,
    behind_stub: PathBuf,
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

/// What tells that a file was changed; also when it was replaced by another within one tick.
type Stamp = (SystemTime, u64, u64);

impl Sources {
    /// Reads `to`, which stands under `key`. `own` are addresses at which we answer.
    pub(super) fn new(key: &str, to: &[String], own: &[IpAddr]) -> Sources {
        let entries = to
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let entry = match read_address(text) {
                    Some(address) => Entry::Address(address),
                    None => Entry::File(PathBuf::from(text)),
                };
                (format!("{key}.to[{index}]"), entry)
            })
            .collect();
        Sources {
            entries,
            own: own.to_vec(),
            behind_stub: PathBuf::from(BEHIND_STUB),
            seen: Vec::new(),
        }
    }

    /// Looks behind stubs in another file.
    #[cfg(test)]
    fn behind(mut self, file: &Path) -> Sources {
        self.behind_stub = file.to_path_buf();
        self
    }

    /// Whether a file is no longer as it was when it was read.
    pub(super) fn changed(&self) -> bool {
        self.seen.iter().any(|(file, seen)| stamp(file) != *seen)
    }

    /// The upstreams, and what kept some from being read.
    pub(super) fn read(&mut self) -> (Vec<Written>, Vec<String>) {
        let mut found: Vec<Written> = Vec::new();
        let mut problems = Vec::new();
        self.seen.clear();
        for (key, entry) in &self.entries {
            match entry {
                Entry::Address(address) => {
                    found.push(Written { address: *address, origin: Origin::Key(key.clone()) });
                }
                Entry::File(file) => {
                    // The stamp first: a change while we read is noticed the next time.
                    self.seen.push((file.clone(), stamp(file)));
                    let read = std::fs::read(file);
                    if let Some(problem) = explain(key, file, &read) {
                        problems.push(problem);
                    }
                    let mut stub = false;
                    for (line, address) in servers(&read.unwrap_or_default()) {
                        if STUBS.contains(&address.ip()) {
                            if !stub {
                                stub = true;
                                self.seen
                                    .push((self.behind_stub.clone(), stamp(&self.behind_stub)));
                                if self.read_behind_stub(key, &mut found) {
                                    continue;
                                }
                            } else if self.behind_stub.exists() {
                                continue;
                            }
                        } else if self.is_own(address.ip()) {
                            continue;
                        }
                        let origin = Origin::Line { file: file.clone(), line, key: key.clone() };
                        found.push(Written { address, origin });
                    }
                }
            }
        }
        let mut unique: Vec<Written> = Vec::new();
        for written in found {
            if !unique.iter().any(|other| other.address == written.address) {
                unique.push(written);
            }
        }
        if unique.len() > MAX_UPSTREAMS {
            problems.push(format!(
                "{} upstreams are more than {MAX_UPSTREAMS}: those from {} on are not asked",
                unique.len(),
                unique[MAX_UPSTREAMS].origin
            ));
            unique.truncate(MAX_UPSTREAMS);
        }
        (unique, problems)
    }

    /// Adds those whom systemd-resolved asks; says whether its file is there.
    fn read_behind_stub(&self, key: &str, found: &mut Vec<Written>) -> bool {
        let Ok(text) = std::fs::read(&self.behind_stub) else {
            return false;
        };
        for (line, address) in servers(&text) {
            if !STUBS.contains(&address.ip()) && !self.is_own(address.ip()) {
                let file = self.behind_stub.clone();
                let origin = Origin::Line { file, line, key: key.to_owned() };
                found.push(Written { address, origin });
            }
        }
        true
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address.to_canonical())
    }
}

fn explain(key: &str, file: &Path, read: &io::Result<Vec<u8>>) -> Option<String> {
    let error = read.as_ref().err()?;
    Some(format!(
        "`{key}` is neither an address nor a file that can be read: `{}`: {}",
        file.display(),
        error.kind()
    ))
}

fn stamp(file: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let seen = std::fs::metadata(file).ok()?;
    Some((seen.modified().ok()?, seen.len(), seen.ino()))
}

/// An address as an upstream is written: `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`,
/// `[2001:db8::1]:53`, `fe80::1%eth0`, each with or without `dns://`.
pub(super) fn read_address(text: &str) -> Option<SocketAddr> {
    let text = text.strip_prefix("dns://").unwrap_or(text);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if rest.is_empty() => PORT,
            None => return None,
        };
        return read_ipv6(host, port);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    read_ipv6(text, PORT)
}

/// An IPv6 address with the interface behind `%`, by name or number.
fn read_ipv6(text: &str, port: u16) -> Option<SocketAddr> {
    let (address, scope) = match text.split_once('%') {
        Some((address, interface)) => {
            let index =
                interface.parse().or_else(|_| nix::net::if_::if_nametoindex(interface)).ok()?;
            (address, index)
        }
        None => (text, 0),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope)))
}

/// The name servers of a resolv.conf(5) and their lines.
fn servers(text: &[u8]) -> Vec<(usize, SocketAddr)> {
    String::from_utf8_lossy(text)
        .lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let mut words = line.split_ascii_whitespace();
            if words.next() != Some("nameserver") {
                return None;
            }
            Some((index + 1, read_address(words.next()?)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_may_have_a_port_and_an_interface() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("dns://192.0.2.1", "192.0.2.1:53"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54", "[2001:db8::1]:54"),
            ("fe80::1%1", "[fe80::1%1]:53"),
            ("[fe80::1%lo]:54", "[fe80::1%1]:54"),
        ] {
            assert_eq!(read_address(text), Some(address(expected)), "{text}");
        }
        for text in ["/etc/resolv.conf", "resolv.conf", "192.0.2", "[::1]x", "192.0.2.1:x", ""] {
            assert_eq!(read_address(text), None, "{text}");
        }
    }

    #[test]
    fn lines_of_a_file_are_remembered_and_our_own_addresses_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("resolv.conf");
        std::fs::write(
            &file,
            "# nameserver 192.0.2.9\nsearch example.com\nnameserver 10.43.0.10\n\
             nameserver\t192.0.2.1 \nnameserver nonsense\nnameserver 2001:db8::1\n\
             nameserver 127.0.0.1\n",
        )
        .unwrap();
        let to = [file.display().to_string(), "192.0.2.1".to_owned()];
        let own = ["10.43.0.10".parse().unwrap()];
        let (found, problems) = Sources::new("dns.forward", &to, &own).read();
        assert_eq!(problems, Vec::<String>::new());
        let text: Vec<String> =
            found.iter().map(|written| format!("{} {}", written.address, written.origin)).collect();
        let name = file.display();
        assert_eq!(
            text,
            [
                format!("192.0.2.1:53 line 4 of `{name}` (`dns.forward.to[0]`)"),
                format!("[2001:db8::1]:53 line 6 of `{name}` (`dns.forward.to[0]`)"),
                format!("127.0.0.1:53 line 7 of `{name}` (`dns.forward.to[0]`)"),
            ]
        );
    }

    #[test]
    fn a_stub_resolver_is_looked_through_if_what_is_behind_it_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("resolv.conf");
        let behind = directory.path().join("behind");
        std::fs::write(&file, "nameserver 127.0.0.53\noptions edns0\n").unwrap();
        let to = [file.display().to_string()];
        let mut sources = Sources::new("dns.forward", &to, &[]).behind(&behind);
        let addresses = |sources: &mut Sources| -> Vec<SocketAddr> {
            sources.read().0.into_iter().map(|written| written.address).collect()
        };
        assert_eq!(addresses(&mut sources), [address("127.0.0.53:53")]);
        assert!(!sources.changed());
        std::fs::write(&behind, "\nnameserver 192.0.2.7\nnameserver 192.0.2.8\n").unwrap();
        assert!(sources.changed(), "what is behind the stub is there now");
        assert_eq!(addresses(&mut sources), [address("192.0.2.7:53"), address("192.0.2.8:53")]);
        assert!(!sources.changed());
        std::fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
        assert!(sources.changed());
        assert_eq!(addresses(&mut sources), [address("192.0.2.1:53")]);
    }

    #[test]
    fn what_is_no_address_and_no_file_is_told_with_its_key() {
        let to = ["192.0.2.1".to_owned(), "/nonexistent/resolv.conf".to_owned()];
        let (found, problems) = Sources::new("dns.stub.\"a.example\"", &to, &[]).read();
        assert_eq!(found.len(), 1);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("`dns.stub.\"a.example\".to[1]` is neither"),
            "{problems:?}"
        );
        let many: Vec<String> = (1..=16).map(|host| format!("192.0.2.{host}")).collect();
        let (found, problems) = Sources::new("dns.forward", &many, &[]).read();
        assert_eq!(found.len(), MAX_UPSTREAMS);
        assert!(problems[0].contains("`dns.forward.to[15]`"), "{problems:?}");
    }
}
