// SPDX-License-Identifier: GPL-3.0-or-later
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::*;
use crate::{Families, PodLinkId};

/// Runs lines in network and mount namespaces of their own, which go with the shell.
fn sh(lines: &str) -> Output {
    let mut child = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-ex"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Names of namespaces are files, which are nobody else's in a file system of this test.
    let lines = format!("mkdir -p /run/netns\nmount -t tmpfs none /run/netns\n{lines}");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_script_of_a_link_makes_a_pod_that_answers_and_takes_it_away() {
    let link = PodLink {
        id: PodLinkId::from_bits(0xa1b_2c3d_4e5f),
        // As the pod's own end is: each side has its own names.
        host_index: mark::POD_IF_INDEX,
        mtu: 1450,
        families: Families::DUAL_STACK,
    };
    let addresses =
        PodAddresses { v4: Some([10, 42, 0, 5].into()), v6: Some("fd42::5".parse().unwrap()) };
    let make = link.script("default_web", addresses, "default/web");
    let remove = link.removal_script("default_web");
    let host = link.id.host_name();
    let output = sh(&format!(
        "ip link set lo up\n\
         ip address add 10.0.0.1/32 dev lo\n\
         ip -6 address add fd00::1/128 dev lo nodad\n\
         {make}\
         ping -c 1 -w 5 10.42.0.5\n\
         ping -c 1 -w 5 fd42::5\n\
         ip -n default_web neigh show dev eth0\n\
         ip link show dev {host}\n\
         cat /proc/sys/net/ipv4/conf/{host}/rp_filter\n\
         {remove}\
         test ! -e /proc/sys/net/ipv4/conf/{host}\n\
         test ! -e /run/netns/default_web\n\
         echo gone\n"
    ));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{make}\n{out}\n{err}");
    // A link has just come up: the kernel may still lose the first echo.
    assert_eq!(out.matches(" 1 received").count(), 2, "{out}");
    for part in [
        "169.254.1.1 lladdr ee:ee:ee:ee:ee:ee PERMANENT",
        "mtu 1450",
        "group 28268",
        "alias default/web",
        "\n1\ngone\n",
    ] {
        assert!(out.contains(part), "{part}\n{make}\n{out}");
    }
    // Who reads it sees no numbers of links.
    assert!(!make.contains("dev if") && !make.contains(" index "), "{make}");
}
