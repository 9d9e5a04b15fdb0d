// SPDX-License-Identifier: GPL-3.0-or-later
//! `netlabctl` is killed while it builds a lab: the next `up` finishes it, `down` removes it.

use std::fs;
use std::path::Path;

use netlab_tests::{VirtualLab, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::SMALL;

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

/// Kills `lab up` as soon as this is so, or lets it end before.
#[track_caller]
fn killed_when(lab: &VirtualLab, is_so: impl Fn(&VirtualLab) -> bool) {
    let mut up = lab.spawn_up();
    poll("the lab is that far", || (is_so(lab) || up.has_ended()).then_some(()));
    kill(Pid::from_raw(up.pid().cast_signed()), Signal::SIGKILL).ok();
    up.wait();
}

/// Tells whether a lab is that far.
type IsSo = fn(&VirtualLab) -> bool;

/// How far the lab is, from the first sign to nearly the end.
const POINTS: [(&str, IsSo); 6] = [
    ("folder", |lab| lab.labs().exists()),
    ("state", |lab| lab.folder().join("state.json").exists()),
    ("pin", |lab| entries(&lab.folder().join("netns")) > 0),
    ("pins", |lab| entries(&lab.folder().join("netns")) > 2),
    ("daemon", |lab| lab.folder().join("nodes/n1/netlabd.log").exists()),
    ("socket", |lab| lab.folder().join("run/n1/netlabd.sock").exists()),
];

#[test]
fn a_lab_that_is_half_built_is_finished_by_the_next_up() {
    let lab = VirtualLab::new("finished", SMALL);
    for (name, is_so) in POINTS {
        killed_when(&lab, is_so);
        lab.up().ok();
        let done = lab.ctl(&["exec", "client", "--", "curl", "-sf", "http://web:8080/"]);
        assert!(done.is_ok(), "after {name}: {done}");
        lab.down();
    }
}

#[test]
fn a_lab_that_is_half_built_goes_without_a_trace() {
    let lab = VirtualLab::new("removed", SMALL);
    for (_, is_so) in POINTS {
        killed_when(&lab, is_so);
        lab.clean();
    }
}
