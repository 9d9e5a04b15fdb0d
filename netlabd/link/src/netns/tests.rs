// SPDX-License-Identifier: GPL-3.0-or-later
use std::{fs, panic::AssertUnwindSafe};

use super::*;
use crate::testing::{Node, field, ip};

#[test]
fn a_new_namespace_is_empty_and_its_maker_stays_where_it_is() {
    let before = Netns::current().unwrap().identity();
    let netns = Netns::create().unwrap();
    assert_ne!(netns.identity(), before);
    assert_eq!(Netns::current().unwrap().identity(), before);
    assert_eq!(field(&ip(&netns, "link show"), "ifname"), ["lo"]);
}

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    let before = Netns::current().unwrap().identity();
    let netns = Netns::create().unwrap();
    let inside = netns.run(|| Netns::current().unwrap().identity()).unwrap();
    assert_eq!(inside, netns.identity());
    assert_eq!(Netns::current().unwrap().identity(), before);
}

#[test]
fn a_panic_inside_reaches_the_caller_who_stays_outside() {
    let before = Netns::current().unwrap().identity();
    let netns = Netns::create().unwrap();
    let work = AssertUnwindSafe(|| netns.run(|| -> () { panic!("inside") }));
    let cause = panic::catch_unwind(work).unwrap_err();
    assert_eq!(cause.downcast_ref::<&str>(), Some(&"inside"));
    assert_eq!(Netns::current().unwrap().identity(), before);
    assert!(netns.run(|| ()).is_ok(), "it can still be entered");
}

#[test]
fn a_pin_keeps_a_namespace_without_a_handle() {
    let node = Node::new();
    let pin = node.pin_dir().join("kept");
    let netns = Netns::create().unwrap();
    let identity = netns.identity();
    netns.pin(&pin).unwrap();
    netns.pin(&pin).unwrap();
    drop(netns);
    assert_eq!(Netns::open(&pin).unwrap().identity(), identity);
    assert_eq!(list_pins(node.pin_dir()).unwrap(), ["kept"]);
    unpin(&pin).unwrap();
    unpin(&pin).unwrap();
    assert!(list_pins(node.pin_dir()).unwrap().is_empty());
}

#[test]
fn a_pin_is_not_taken_over_by_another_namespace() {
    let node = Node::new();
    let pin = node.pin_dir().join("taken");
    let first = Netns::create().unwrap();
    first.pin(&pin).unwrap();
    let error = Netns::create().unwrap().pin(&pin).unwrap_err();
    assert!(matches!(error, NetnsError::Pin { .. }), "{error:?}");
    assert_eq!(Netns::open(&pin).unwrap(), first);
}

#[test]
fn a_pin_that_lost_its_mount_is_no_namespace_but_can_be_used_and_removed() {
    let node = Node::new();
    let pin = node.pin_dir().join("lost");
    fs::write(&pin, "").unwrap();
    assert!(matches!(Netns::open(&pin), Err(NetnsError::Open { .. })));
    assert!(!is_pin(&pin));
    let netns = Netns::create().unwrap();
    netns.pin(&pin).unwrap();
    assert!(is_pin(&pin));
    assert_eq!(Netns::open(&pin).unwrap(), netns);
    unpin(&pin).unwrap();
    fs::write(&pin, "").unwrap();
    unpin(&pin).unwrap();
    assert!(!pin.exists());
}

#[test]
fn preparing_a_folder_again_adds_no_mount() {
    let node = Node::new();
    let mounts = || {
        let path = node.pin_dir().to_str().unwrap().to_owned();
        // Of the thread, which has a mount namespace of its own.
        let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        text.lines().filter(|line| line.contains(&path)).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = mounts();
    assert_eq!(before.len(), 1);
    assert!(!before[0].contains("shared:"), "{before:?}");
    prepare_pin_dir(node.pin_dir()).unwrap();
    assert_eq!(mounts(), before);
}

#[test]
fn a_missing_folder_holds_no_pins() {
    assert!(list_pins(Path::new("/nowhere/at/all")).unwrap().is_empty());
}
