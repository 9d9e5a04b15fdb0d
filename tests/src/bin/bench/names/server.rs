// SPDX-License-Identifier: GPL-3.0-or-later
//! A name server that runs: netlabd, or one of Debian's beside it.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::catalogue::Catalogue;
use super::load;
use crate::command;

/// Where netlabd answers.
const CLUSTER_DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10)), 53);

/// Where the one listens that all ask for names outside.
pub(super) const UPSTREAM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5301);

/// Whom netlab is compared with, and where they listen: each at the port of names of an address on
/// `lo`, as netlab does. Packets to other ports, and to 127.0.0.1, cost less on the way.
pub(super) const PEERS: [(Program, SocketAddr); 3] = [
    (Program::Knot, peer(Ipv4Addr::new(192, 0, 2, 2))),
    (Program::Unbound, peer(Ipv4Addr::new(192, 0, 2, 3))),
    (Program::Dnsmasq, peer(Ipv4Addr::new(192, 0, 2, 4))),
];

const fn peer(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(address), 53)
}

/// Questions to peers are not tracked, as those to netlabd are not: all pay the same on the way.
const UNTRACKED: &str = "table ip bench {
  chain out { type filter hook output priority raw; policy accept;
    ip daddr 192.0.2.2-192.0.2.4 th dport 53 notrack accept
    ip saddr 192.0.2.2-192.0.2.4 th sport 53 notrack accept
  }
  chain in { type filter hook prerouting priority raw; policy accept;
    ip daddr 192.0.2.2-192.0.2.4 th dport 53 notrack accept
    ip saddr 192.0.2.2-192.0.2.4 th sport 53 notrack accept
  }
}
";

/// Its table.
const TABLE: &str = "bench";

/// How long one may take to read its names.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Debian's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Knot,
    Unbound,
    Dnsmasq,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Program::Knot => "knot",
            Program::Unbound => "unbound",
            Program::Dnsmasq => "dnsmasq",
        })
    }
}

/// One that answers.
pub(super) struct Server {
    program: Option<Program>,
    pub(super) address: SocketAddr,
    pid: Pid,
    /// Ended with this value; netlabd is somebody else's to end.
    child: Option<Child>,
    _dir: Option<TempDir>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.program {
            Some(program) => program.fmt(f),
            None => f.write_str("netlabd"),
        }
    }
}

impl Server {
    /// The daemon, which runs already.
    pub(super) fn daemon(pid: Pid) -> Server {
        Server { program: None, address: CLUSTER_DNS, pid, child: None, _dir: None }
    }

    /// Starts a program that has the names of a catalogue, and waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer.
    pub(super) fn start(
        program: Program,
        catalogue: &Catalogue,
        address: SocketAddr,
    ) -> anyhow::Result<Server> {
        let dir = TempDir::new().context("failed to make a folder")?;
        let mut command = match program {
            Program::Knot => knot(dir.path(), catalogue, address)?,
            Program::Unbound => unbound(dir.path(), catalogue, address)?,
            Program::Dnsmasq => dnsmasq(dir.path(), catalogue, address)?,
        };
        let log = dir.path().join("log");
        let output = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let mut server =
            Server { program: Some(program), address, pid, child: Some(child), _dir: Some(dir) };
        server.wait_until_it_answers(catalogue).with_context(|| {
            format!("its log:\n{}", fs::read_to_string(&log).unwrap_or_default())
        })?;
        Ok(server)
    }

    /// Whether it is ours.
    pub(super) fn is_netlab(&self) -> bool {
        self.program.is_none()
    }

    /// Its process.
    pub(super) fn pid(&self) -> anyhow::Result<Pid> {
        Ok(self.pid)
    }

    fn wait_until_it_answers(&mut self, catalogue: &Catalogue) -> anyhow::Result<()> {
        let asked = catalogue.asked();
        let name = asked.last().map_or("www0.example.com.", String::as_str);
        let query = load::query(1, name)?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("{self} has ended: {status}");
            }
            let mut answer = [0; 512];
            let _ = socket.send_to(&query, self.address);
            if let Ok((length, _)) = socket.recv_from(&mut answer)
                && load::has_answer(&answer[..length])
            {
                return Ok(());
            }
            if began.elapsed() > TIMEOUT {
                bail!("{self} does not answer `{name}`");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Gives `lo` the addresses of all peers.
///
/// # Errors
/// When `ip` fails.
pub(super) fn make_room() -> anyhow::Result<()> {
    for (_, address) in PEERS {
        let address = address.ip().to_string();
        command::run(Command::new("ip").args(["address", "replace", &address, "dev", "lo"]))?;
    }
    Ok(())
}

/// Spares questions to peers what questions to netlabd are spared.
///
/// # Errors
/// When `nft` fails.
pub(super) fn untrack_peers() -> anyhow::Result<()> {
    // A table may be there from a catalogue before.
    let rules = format!("table ip {TABLE}\ndelete table ip {TABLE}\n{UNTRACKED}");
    command::run_with(Command::new("nft").args(["-f", "-"]), &rules)?;
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write `{}`", path.display()))
}

fn knot(dir: &Path, catalogue: &Catalogue, address: SocketAddr) -> anyhow::Result<Command> {
    let folder = dir.display();
    let (ip, port, domain) = (address.ip(), address.port(), catalogue.domain());
    write(&dir.join("zone"), &catalogue.zone())?;
    let config = format!(
        "server:\n  rundir: {folder}\n  listen: {ip}@{port}\n  udp-workers: 2\n  tcp-workers: 2\n\
         database:\n  storage: {folder}\n\
         log:\n  - target: stderr\n    any: warning\n\
         zone:\n  - domain: {domain}\n    file: {folder}/zone\n    zonefile-sync: -1\n    \
         journal-content: none\n"
    );
    write(&dir.join("knot.conf"), &config)?;
    let mut command = Command::new("/usr/sbin/knotd");
    command.arg("--config").arg(dir.join("knot.conf"));
    Ok(command)
}

fn unbound(dir: &Path, catalogue: &Catalogue, address: SocketAddr) -> anyhow::Result<Command> {
    let folder = dir.display();
    let mut config = format!(
        "server:\n  interface: {}@{}\n  num-threads: 2\n  so-reuseport: yes\n  chroot: \"\"\n  \
         username: \"\"\n  directory: {folder}\n  pidfile: {folder}/pid\n  use-syslog: no\n  \
         do-daemonize: no\n  do-not-query-localhost: no\n  module-config: iterator\n  \
         incoming-num-tcp: 256\n  access-control: 192.0.2.0/24 allow\n",
        address.ip(),
        address.port()
    );
    config.push_str(&match catalogue {
        Catalogue::Forwarded => format!(
            "forward-zone:\n  name: .\n  forward-addr: {}@{}\n",
            UPSTREAM.ip(),
            UPSTREAM.port()
        ),
        other => other.local_data(),
    });
    config.push_str("remote-control:\n  control-enable: no\n");
    write(&dir.join("unbound.conf"), &config)?;
    let mut command = Command::new("/usr/sbin/unbound");
    command.arg("-d").arg("-c").arg(dir.join("unbound.conf"));
    Ok(command)
}

fn dnsmasq(dir: &Path, catalogue: &Catalogue, address: SocketAddr) -> anyhow::Result<Command> {
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root"]);
    command.args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--local-ttl=30"]);
    command.arg(format!("--pid-file={}", dir.join("pid").display()));
    command.arg(format!("--listen-address={}", address.ip()));
    command.arg(format!("--port={}", address.port()));
    command.args(["--cache-size=10000", "--dns-forward-max=1000"]);
    if let Catalogue::Forwarded = catalogue {
        command.arg(format!("--server={}#{}", UPSTREAM.ip(), UPSTREAM.port()));
    } else {
        write(&dir.join("hosts"), &catalogue.hosts())?;
        command.arg(format!("--addn-hosts={}", dir.join("hosts").display()));
    }
    Ok(command)
}
