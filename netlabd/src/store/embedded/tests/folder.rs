// SPDX-License-Identifier: GPL-3.0-or-later
//! Opening: refusals that say what to do and change nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::disk::{Disk, Group};
use super::*;

#[test]
fn what_was_written_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("deep/state");
    run(async {
        let store = open(&state);
        put(&store, "a", "1").await;
        put(&store, "b", "1").await;
        let deleted = store.commit(Transaction::new().delete("b")).await.unwrap();
        let before = store.list("").await.unwrap();
        drop(store);
        let store = open(&state);
        assert_eq!(store.list("").await.unwrap(), before);
        assert_eq!(store.revision().await.unwrap(), deleted, "the newest write was a delete");
        assert_eq!(put(&store, "b", "2").await, deleted.next());
        let past = store.watch("", Revision::ZERO).await.err().unwrap();
        assert!(past.to_string().ends_with("list again"), "{past}");
        assert!(store.watch("", deleted).await.is_ok());
    });
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn a_large_value_survives_and_a_larger_one_is_refused() {
    const LIMIT: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let store = open(folder.path());
        let value: Vec<u8> = (0..LIMIT).map(|n| (n % 251) as u8).collect();
        for key in ["a", "b", "c"] {
            store.commit(Transaction::new().put(key, value.clone())).await.unwrap();
        }
        let error =
            store.commit(Transaction::new().put("d", vec![0; LIMIT + 1])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to write `d`: it has 1048577 bytes, the store takes 1048576: make it smaller"
        );
        let before = store.list("").await.unwrap();
        drop(store);
        assert_eq!(open(folder.path()).list("").await.unwrap(), before);
        assert_eq!(*before.entries[2].value, *value);
    });
}

#[test]
fn a_folder_in_use_names_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    let error = refused(folder.path());
    let expected = format!(
        "state folder `{}` is in use by another netlabd (pid {}): \
         stop it, or give this one another --state-dir and a network namespace of its own",
        folder.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
    assert!(matches!(SledStore::check(folder.path()), Err(OpenError::InUse { .. })));
}

#[test]
fn a_newer_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("format"), "2\n").unwrap();
    fs::write(folder.path().join("future"), "x").unwrap();
    let before = names(folder.path());
    let error = refused(folder.path()).to_string();
    assert!(
        error.ends_with(
            "was written by a newer netlabd (format 2, this one reads 1): upgrade netlabd"
        ),
        "{error}"
    );
    assert_eq!(names(folder.path()), before);
}

#[test]
fn an_unreadable_format_is_shown() {
    for (text, shown) in [("", "\"\""), ("one", "\"one\""), ("0", "\"0\""), ("\u{1}", "\"\\u{1}\"")]
    {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("format"), text).unwrap();
        let error = refused(folder.path()).to_string();
        assert!(error.contains(shown) && error.contains("/format`"), "{error}");
        assert_eq!(names(folder.path()), ["format"]);
    }
}

#[test]
fn data_without_a_format_is_not_taken_for_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    fs::remove_file(folder.path().join("format")).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, OpenError::MissingFormat { .. }), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refused(&file.join("state"));
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
    assert!(error.to_string().contains(&format!("`{}/", file.display())), "{error}");
}

#[test]
fn damage_is_named_and_the_rest_can_be_exported() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let store = open(folder.path());
        put(&store, "pods/a", "\"text\"").await;
        put(&store, "pods/b", "x").await;
        let binary = Transaction::new().put("raw", vec![0xff, 0]);
        store.commit(binary).await.unwrap();
    });
    assert_eq!(SledStore::check(folder.path()).unwrap(), []);
    tamper(folder.path(), |disk| {
        let mut value = value_of(disk, b"kpods/b");
        *value.last_mut().unwrap() ^= 1;
        let mut group = Group::default();
        group.put(b"kpods/b", value);
        disk.write(group).unwrap();
    });

    let error = refused(folder.path()).to_string();
    assert!(error.starts_with("record `pods/b` in `"), "{error}");
    assert!(error.contains("has a wrong checksum: nothing was changed"), "{error}");

    let findings = SledStore::check(folder.path()).unwrap();
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings, ["record `pods/b` has a wrong checksum"]);

    let mut out = Vec::new();
    let exported = SledStore::export(folder.path(), &mut out).unwrap();
    assert_eq!((exported.entries, exported.damaged), (2, 1));
    let lines = String::from_utf8(out).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        serde_json::json!({ "key": "pods/a", "created": 1, "modified": 1, "value": "\"text\"" }),
        serde_json::json!({ "key": "raw", "created": 3, "modified": 3, "valueHex": "ff00" }),
        serde_json::json!({ "key": "pods/b", "error": "has a wrong checksum" }),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_lost_record_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let store = open(folder.path());
        put(&store, "a", "1").await;
        put(&store, "b", "1").await;
    });
    tamper(folder.path(), |disk| {
        let mut group = Group::default();
        group.delete(b"ka");
        disk.write(group).unwrap();
    });
    let error = refused(folder.path()).to_string();
    assert!(error.contains("knows of 2 records, 1 are there"), "{error}");
}

#[test]
fn check_and_export_make_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("state");
    let is_missing = |error| matches!(error, OpenError::Missing { path } if path == missing);
    assert!(is_missing(SledStore::check(&missing).unwrap_err()));
    assert!(is_missing(SledStore::export(&missing, &mut Vec::new()).unwrap_err()));
    assert!(!missing.exists());
}

fn refused(path: &Path) -> OpenError {
    SledStore::open(path, Options::default()).expect_err("it was opened")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn tamper(folder: &Path, tampering: impl FnOnce(&Disk)) {
    tampering(&Disk::open(&folder.join("data.1")).unwrap());
}

fn value_of(disk: &Disk, wanted: &[u8]) -> Vec<u8> {
    let mut found = None;
    disk.scan(|key, value| {
        if key == wanted {
            found = Some(value.to_vec());
        }
    })
    .unwrap();
    found.unwrap()
}
