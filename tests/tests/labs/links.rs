// SPDX-License-Identifier: GPL-3.0-or-later
//! Faults of links, from the file and from the command line.

use netlab_tests::machine::unique;
use netlab_tests::{Machine, VirtualLab, wait_until};

const TWO: &str = "[[node]]\nname = \"n1\"\n[[host]]\nname = \"a\"\n[[host]]\nname = \"b\"\n";

fn reaches(lab: &VirtualLab, from: &str, to: &str) -> bool {
    lab.inside(&lab.pin(from), &["ping", "-c1", "-W1", to]).is_ok()
}

#[test]
fn a_cable_that_is_pulled_carries_nothing_until_it_is_plugged_in() {
    let lab = VirtualLab::new("cable", TWO);
    lab.up().ok();
    assert!(reaches(&lab, "a", "172.30.0.4"));
    lab.ctl(&["link", "down", "host/a"]).ok();
    assert!(!reaches(&lab, "b", "172.30.0.3"));
    let carrier = lab.inside(&lab.pin("a"), &["ip", "-o", "link", "show", "eth0"]).ok();
    assert!(carrier.contains("NO-CARRIER"), "{carrier}");
    assert!(lab.ctl(&["link", "ls"]).ok().contains("down"));
    // It stands when the file is applied again, for the file does not know of it.
    lab.up().ok();
    assert!(!reaches(&lab, "b", "172.30.0.3"));
    lab.ctl(&["link", "up", "a"]).ok();
    wait_until("the cable carries again", || reaches(&lab, "b", "172.30.0.3"));
    let unknown = lab.ctl(&["link", "down", "c"]).fails(3);
    assert!(unknown.contains("machines: n1, a, b"), "{unknown}");
}

#[test]
fn what_is_for_a_time_ends_by_itself() {
    let lab = VirtualLab::new("time", TWO);
    lab.up().ok();
    lab.ctl(&["link", "down", "a", "--for", "1s"]).ok();
    lab.ctl(&["node", "partition", "b", "n1", "--for", "1s"]).ok();
    wait_until("the cable carries again", || reaches(&lab, "a", "172.30.0.4"));
    wait_until("the two hear of each other", || reaches(&lab, "b", "172.30.0.2"));
    // The process that did it goes with the lab, however long it was to wait.
    lab.ctl(&["link", "down", "a", "--for", "1h"]).ok();
    lab.down();
}

#[test]
fn two_that_are_parted_hear_of_all_but_each_other() {
    let lab = VirtualLab::new("parted", &format!("{TWO}[[link]]\nbetween = [\"a\", \"b\"]\n"));
    lab.up().ok();
    let apart = |lab: &VirtualLab| {
        let ways = [("a", "172.30.0.4"), ("b", "172.30.0.3"), ("a", "fd44::4"), ("b", "fd44::3")];
        ways.map(|(from, to)| reaches(lab, from, to)) == [false; 4]
    };
    assert!(apart(&lab), "the file parts them");
    assert!(reaches(&lab, "a", "172.30.0.2") && reaches(&lab, "b", "fd44::2"));
    lab.ctl(&["node", "heal", "a", "b"]).ok();
    assert!(reaches(&lab, "a", "172.30.0.4") && reaches(&lab, "b", "fd44::3"));
    lab.ctl(&["lab", "reset"]).ok();
    assert!(apart(&lab), "the file alone counts again");
    lab.write(TWO);
    lab.up().ok();
    assert!(reaches(&lab, "a", "172.30.0.4") && reaches(&lab, "b", "fd44::3"));
    lab.ctl(&["node", "partition", "n1", "a"]).ok();
    assert!(!reaches(&lab, "n1", "172.30.0.3") && reaches(&lab, "n1", "172.30.0.4"));
    lab.ctl(&["node", "heal"]).ok();
    assert!(reaches(&lab, "n1", "172.30.0.3"));
}

#[test]
fn a_rate_holds_in_both_directions() {
    let lab = VirtualLab::new("rate", &format!("{TWO}[[link]]\nof = \"a\"\nrate = \"8mbit\"\n"));
    lab.up().ok();
    let qdisc = |pin: &str, dev: &str| {
        let words = ["tc", "-j", "qdisc", "show", "dev", dev];
        let found = lab.inside(&lab.pin(pin), &words).json();
        (found[0]["kind"].clone(), found[0]["options"]["rate"].clone())
    };
    for (pin, dev) in [("a", "eth0"), ("router", "to-a")] {
        // tc counts bytes.
        assert_eq!(qdisc(pin, dev), ("tbf".into(), 1_000_000.into()));
    }
    assert!(reaches(&lab, "a", "172.30.0.4"));
    lab.ctl(&["link", "set", "b", "--rate", "1gbit"]).ok();
    assert_eq!(qdisc("b", "eth0").1, 125_000_000);
    assert!(lab.ctl(&["link", "ls"]).ok().contains("rate 1gbit"));
    lab.ctl(&["link", "reset", "b"]).ok();
    assert_eq!(qdisc("b", "eth0").0, "noqueue");
    let refused = lab.ctl(&["link", "set", "b", "--rate", "fast"]).fails(2);
    assert!(refused.contains("10mbit"), "{refused}");
}

/// Whether this kernel has `sch_netem`.
fn has_netem() -> bool {
    let machine = Machine::new(unique("netem"));
    machine.exec(&["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]).is_ok()
}

#[test]
fn a_delay_is_made_or_the_module_that_it_needs_is_named() {
    let lab = VirtualLab::new("delay", TWO);
    lab.up().ok();
    let set = lab.ctl(&["link", "set", "a", "--delay", "40ms", "--loss", "0.5%"]);
    if has_netem() {
        set.ok();
        let words = ["tc", "-j", "qdisc", "show", "dev", "eth0"];
        let found = lab.inside(&lab.pin("a"), &words).json();
        assert_eq!(found[0]["options"]["delay"]["delay"], 0.04, "{found}");
        return;
    }
    println!("skipped: sch_netem, only its absence is tested");
    let refused = set.fails(1);
    assert!(refused.contains("sch_netem") && refused.contains("modprobe"), "{refused}");
    assert!(!lab.ctl(&["link", "ls"]).ok().contains("delay"));
    lab.write(&format!("{TWO}[[link]]\nof = \"a\"\ndelay = \"40ms\"\n"));
    assert!(lab.up().fails(1).contains("sch_netem"));
}
