// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes that run another name server already: dnsmasq at one address or at all of them, and
//! systemd-resolved with its stub.

use std::fs;
use std::path::{Path, PathBuf};

use netlab_tests::{Background, Lab, Machine, wait_until};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, chown};

use crate::outside::Outside;

const CONFIG: &str = "[dns.forward]\nto = ['192.0.2.9']\n";

/// How the node asks for the cluster's names: an address, a transport, and dig's words for both.
const WAYS: [(&str, &[&str]); 4] = [
    ("UDP over IPv4", &["@10.43.0.10"]),
    ("UDP over IPv6", &["@fd43::a"]),
    ("TCP over IPv4", &["@10.43.0.10", "+tcp"]),
    ("TCP over IPv6", &["@fd43::a", "+tcp"]),
];

/// Ways in which the node's own names are answered by netlabd.
fn answered(lab: &Lab) -> Vec<&'static str> {
    let is_answered = |words: &[&str]| {
        let dig = ["dig", "+time=1", "+tries=1", "+short"];
        let question = ["TXT", "dns-version.cluster.local"];
        let words = [&dig[..], words, &question].concat();
        lab.netns_exec(&words).stdout.contains("1.1.0")
    };
    WAYS.iter().filter(|(_, words)| is_answered(words)).map(|(way, _)| *way).collect()
}

/// Whether dnsmasq answers the node, at the node's own address.
fn dnsmasq_answers(lab: &Lab) -> bool {
    let dig = ["dig", "@127.0.0.1", "+time=1", "+tries=1", "+short", "other.test"];
    lab.netns_exec(&dig).stdout.contains("192.0.2.123")
}

fn dnsmasq(lab: &Lab, flags: &[&str]) -> Background {
    let pid = format!("--pid-file={}", lab.dir().join("pid").display());
    let words = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root"];
    let more = [&pid, "--address=/other.test/192.0.2.123", "--conf-file=/dev/null"];
    lab.node.spawn(&[&words[..], &more, flags].concat())
}

fn all_ways() -> Vec<&'static str> {
    WAYS.iter().map(|(way, _)| *way).collect()
}

#[test]
fn dnsmasq_at_an_address_of_its_own_is_in_nobodys_way() {
    let mut lab = Lab::builder("dns-beside").config(CONFIG).build();
    let _other = dnsmasq(&lab, &["--listen-address=127.0.0.1", "--bind-interfaces"]);
    wait_until("dnsmasq listens", || dnsmasq_answers(&lab));
    lab.start();
    assert_eq!(answered(&lab), all_ways());
    assert!(dnsmasq_answers(&lab));
}

/// The kernel prefers the more specific of two sockets for datagrams, and refuses the second of two
/// listeners: UDP works, and for TCP it is said who has to make way.
#[test]
fn dnsmasq_at_all_addresses_leaves_udp_and_is_named() {
    let mut lab = Lab::builder("dns-under").config(CONFIG).build();
    let other = dnsmasq(&lab, &[]);
    wait_until("dnsmasq listens", || dnsmasq_answers(&lab));
    lab.spawn();
    wait_until("names are answered over UDP", || answered(&lab) == all_ways()[..2]);
    for address in ["10.43.0.10:53", "[fd43::a]:53"] {
        let told = format!("failed to listen at `{address}` (tcp) for names: dnsmasq (pid ");
        wait_until("the log names it", || lab.log().contains(&told));
    }
    let ready = lab.get("/readyz");
    assert!(ready.status == 503 && ready.text.contains("dns: not listening"), "{ready:?}");
    let events = || lab.ctl(&["events", "--all-namespaces"]).ok();
    wait_until("an event names it", || {
        let told = events();
        told.contains("NamesNotServed") && told.contains("dnsmasq (pid ")
    });
    let doctor = lab.ctl(&["doctor"]);
    let finding = "no answer from 10.43.0.10 over TCP: it says ";
    assert!(doctor.code == 1 && doctor.stdout.contains(finding), "{doctor}");
    assert!(dnsmasq_answers(&lab), "and it still answers");
    drop(other);
    wait_until("names are answered over TCP", || answered(&lab) == all_ways());
    lab.wait_ready();
    lab.ctl(&["doctor"]).ok();
}

/// Who comes second is told by his own server, and netlabd goes on.
#[test]
fn dnsmasq_that_comes_later_takes_nothing_away() {
    let mut lab = Lab::builder("dns-later").config(CONFIG).build();
    // The kernel makes its key of TCP Fast Open when dnsmasq first listens; what is left behind is
    // counted from before the start.
    let early = dnsmasq(&lab, &[]);
    wait_until("dnsmasq listens", || dnsmasq_answers(&lab));
    drop(early);
    lab.start();
    for flags in [&[][..], &["--bind-interfaces"]] {
        let mut other = dnsmasq(&lab, flags);
        wait_until("dnsmasq gives up", || other.has_ended());
        assert!(other.output().contains("Address already in use"), "{}", other.output());
        assert_eq!(answered(&lab), all_ways(), "{flags:?}");
    }
    // The cure that dnsmasq has.
    let _other = dnsmasq(&lab, &["--bind-interfaces", "--except-interface=nlsvc"]);
    wait_until("dnsmasq listens", || dnsmasq_answers(&lab));
    assert_eq!(answered(&lab), all_ways());
}

/// Where its package puts it, or `tests/setup.sh` unpacks it.
fn program() -> Option<PathBuf> {
    let places = ["/usr", "", "/usr/local/lib/netlab-tests/systemd-resolved"];
    let programs = places.map(|place| Path::new(place).join("lib/systemd/systemd-resolved"));
    programs.into_iter().find(|program| program.is_file())
}

/// Does something in a thread that sees, as what it starts does, other mounts than the machine, and
/// a `/run` of its own: systemd-resolved writes there, and would look for the machine's D-Bus.
#[track_caller]
fn apart(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
        work();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn bind(file: &Path, over: &str) {
    mount(Some(file), over, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

/// systemd-resolved in a machine, which asks these servers. Its user is known only where its
/// package is.
fn resolved(machine: &Machine, program: &Path, servers: &str) -> Background {
    const USER: u32 = 992;
    fs::create_dir_all("/run/systemd/resolved.conf.d").unwrap();
    fs::create_dir_all("/run/systemd/resolve").unwrap();
    chown("/run/systemd/resolve", Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER))).unwrap();
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let others = users.lines().filter(|line| !line.starts_with("systemd-resolve:"));
    let user = format!("systemd-resolve:x:{USER}:{USER}::/:/usr/sbin/nologin");
    let users: Vec<&str> = others.chain([user.as_str()]).collect();
    fs::write("/run/passwd", users.join("\n") + "\n").unwrap();
    bind(Path::new("/run/passwd"), "/etc/passwd");
    let config = format!(
        "[Resolve]\nDNS=\nDNS={servers}\nFallbackDNS=\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n\
         DNSStubListener=yes\n"
    );
    fs::write("/run/systemd/resolved.conf.d/test.conf", config).unwrap();
    let files = ["stub-resolv.conf", "resolv.conf"].map(|name| {
        let file = Path::new("/run/systemd/resolve").join(name);
        let _ = fs::remove_file(&file);
        file
    });
    let mut resolved = machine.spawn(&[&program.display().to_string()]);
    wait_until("systemd-resolved has written its files", || {
        assert!(!resolved.has_ended(), "it ended: {}", resolved.output());
        files.iter().all(|file| file.exists())
    });
    resolved
}

#[test]
fn systemd_resolved_is_looked_through() {
    let Some(program) = program() else {
        assert!(std::env::var_os("CI").is_none(), "tests/setup.sh gets systemd-resolved");
        println!("skipped: systemd-resolved, which tests/setup.sh gets");
        return;
    };
    apart(move || look_through(&program));
}

fn look_through(program: &Path) {
    let mut lab = Lab::builder("dns-resolved").build();
    let both = ["192.0.2.9@53", "2001:db8::9@53"];
    let _outside = Outside::start(lab.outside(), lab.dir(), &both);
    let first = resolved(&lab.node, program, "192.0.2.9");
    bind(Path::new("/run/systemd/resolve/stub-resolv.conf"), "/etc/resolv.conf");
    // Nothing is configured: /etc/resolv.conf counts, which names the stub.
    lab.start();
    lab.run("client", &[]);
    let query = |name: &str| lab.ctl(&["dns", "query", name, "--type", "A"]).ok();
    let told = query("www.example.org.");
    assert!(told.contains("198.51.100.80") && told.contains(" 192.0.2.9:53"), "{told}");
    let exec = |pod: &str, words: &[&str]| lab.ctl(&[&["exec", pod, "--"], words].concat()).ok();
    let host = ["getent", "ahostsv4", "www.example.org"];
    assert!(exec("client", &host).contains("198.51.100.80"));
    // The node's programs ask the stub as before; neither is in the other's way.
    let dig = ["dig", "@127.0.0.53", "+short", "www.example.org"];
    assert_eq!(lab.netns_exec(&dig).ok(), "198.51.100.80\n");
    assert_eq!(answered(&lab), all_ways());
    // A pod that asks whom the node asks cannot ask the stub.
    let plain = "[[pod]]\nname = 'plain'\ndnsPolicy = 'Default'\n";
    lab.ctl_with_input(&["apply", "-f", "-"], plain).ok();
    lab.wait_for_pod("plain", |pod| pod["status"]["phase"] == "Running");
    let conf = exec("plain", &["cat", "/etc/resolv.conf"]);
    assert!(conf.contains("nameserver 192.0.2.9\n") && !conf.contains("127.0.0."), "{conf}");
    assert!(exec("plain", &host).contains("198.51.100.80"));
    // Others are asked from now on; that it asks the cluster too makes no loop.
    drop(first);
    let _second = resolved(&lab.node, program, "10.43.0.10 2001:db8::9");
    let mut number = 0;
    wait_until("those are asked whom systemd-resolved asks", || {
        number += 1;
        query(&format!("n{number}.many.example.org.")).contains(" [2001:db8::9]:53")
    });
    let told = query("last.many.example.org.");
    assert!(told.contains("198.51.100.82") && told.contains(" [2001:db8::9]:53"), "{told}");
}
