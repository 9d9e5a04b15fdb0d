// SPDX-License-Identifier: GPL-3.0-or-later
//! Who has an address that we want: as proc_net(5) lists sockets of this thread's network
//! namespace, and proc_pid_fd(5) their processes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The processes whose sockets keep `address` from us, such as `dnsmasq (pid 812)`. Empty when
/// nobody is found, as for a process that ended or is not ours to see.
pub(super) fn holders(address: SocketAddr, protocol: &str) -> Vec<String> {
    let suffix = if address.is_ipv4() { "" } else { "6" };
    let Ok(sockets) = fs::read_to_string(format!("/proc/thread-self/net/{protocol}{suffix}"))
    else {
        return Vec::new();
    };
    let inodes: Vec<String> = sockets
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = parse(fields.get(1)?)?;
            let hinders = local.port() == address.port()
                && (local.ip() == address.ip()
                    || local.ip().is_unspecified()
                    || address.ip().is_unspecified());
            hinders.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"0")))
        })
        .collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let open = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let has = open
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()));
        if has {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{} (pid {pid})", name.trim()));
        }
    }
    found
}

/// An address as the kernel writes it: words of 32 bits in the order of this machine's bytes.
fn parse(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let address: IpAddr = match *bytes.as_slice() {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).into(),
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn who_has_an_address_is_named() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let me = format!("(pid {})", std::process::id());
        for (address, protocol) in
            [(udp.local_addr().unwrap(), "udp"), (tcp.local_addr().unwrap(), "tcp")]
        {
            let found = holders(address, protocol);
            assert!(found.len() == 1 && found[0].ends_with(&me), "{found:?}");
            let other = SocketAddr::new("203.0.113.1".parse().unwrap(), address.port());
            assert!(holders(other, protocol).is_empty());
        }
    }
}
