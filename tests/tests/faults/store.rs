// SPDX-License-Identifier: GPL-3.0-or-later
//! A store that is held by another, damaged, or newer than the daemon.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

use crate::daemon::Lab;

/// What a daemon that does not start says.
fn refused(lab: &Lab, args: &[&str]) -> String {
    said_by_failed(lab.netlabd(args))
}

fn said_by_failed(command: Command) -> String {
    let output = Lab::output(command);
    assert!(!output.status.success(), "netlabd went well");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let lab = Lab::started("second");
    lab.run_pods(&["a"]);
    let said = refused(&lab, &["--node-name", "n1"]);
    assert!(said.contains("in use by another netlabd"), "{said}");
    assert!(said.contains(&format!("pid {}", lab.pid())), "{said}");
    // Another state dir, but the same run dir.
    let elsewhere = lab.dir.path().join("elsewhere");
    let said = said_by_failed(lab.netlabd_with(&elsewhere, &["--node-name", "n1"]));
    assert!(said.contains("another netlabd answers on"), "{said}");
    let said = refused(&lab, &["teardown"]);
    assert!(said.contains("stop it first"), "{said}");
    lab.audit();
    lab.finish();
}

#[test]
fn a_newer_store_stays_as_it_is() {
    let mut lab = Lab::started("newer");
    lab.run_pods(&["a"]);
    let process = lab.process(&lab.pod("a"));
    let format = lab.state_dir().join("store/format");
    let known = fs::read_to_string(&format).unwrap();
    lab.kill9();
    fs::write(&format, "99\n").unwrap();
    let said = refused(&lab, &["--node-name", "n1"]);
    assert!(said.contains("99"), "{said}");
    fs::write(&format, known).unwrap();
    lab.start();
    assert_eq!(lab.process(&lab.pod("a")), process);
    lab.audit();
    lab.finish();
}

#[test]
fn a_damaged_store_is_told_and_no_pod_is_touched() {
    let mut lab = Lab::started("damaged");
    lab.run_pods(&["a", "b"]);
    let processes: Vec<_> = ["a", "b"].iter().map(|name| lab.process(&lab.pod(name))).collect();
    let pods = [lab.pod("a"), lab.pod("b")];
    lab.kill9();
    let checked = Lab::output(lab.netlabd(&["store", "check"]));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let store = lab.state_dir().join("store");
    let data = fs::read_dir(&store)
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("data."))
        .unwrap();
    let path = data.path().join("db");
    let whole = fs::read(&path).unwrap();
    // Every copy of the record of pod `a`, wherever the log-structured file has one.
    let needle = b"\"name\":\"a\"";
    let windows = whole.windows(needle.len()).enumerate();
    let places: Vec<_> = windows.filter(|(_, found)| found == needle).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the record is not stored as plain text");
    let file = fs::File::options().write(true).open(&path).unwrap();
    for at in places {
        file.write_all_at(b"\"nXme\"", at as u64).unwrap();
    }
    drop(file);
    let said = refused(&lab, &["store", "check"]);
    println!("store check: {said}");
    assert!(said.contains("damaged") || said.contains("corrupt"), "{said}");
    let said = refused(&lab, &["--node-name", "n1"]);
    println!("netlabd: {said}");
    assert!(said.contains("store"), "{said}");
    let still: Vec<_> = pods.iter().map(|pod| lab.process(pod)).collect();
    assert_eq!(processes, still, "a pod was touched although nothing is known for sure");
    // From a copy it goes on as before.
    fs::write(&path, whole).unwrap();
    lab.start();
    lab.assert_connected("a", "b");
    let still: Vec<_> = pods.iter().map(|pod| lab.process(pod)).collect();
    assert_eq!(processes, still);
    lab.audit();
    lab.finish();
}
