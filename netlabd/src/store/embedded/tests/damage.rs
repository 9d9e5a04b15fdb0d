// SPDX-License-Identifier: GPL-3.0-or-later
//! A database that the disk damaged is refused, or the damage is where nothing is.

use std::fs;

use super::*;
use crate::store::Listing;

#[test]
fn flipped_bytes_never_lose_a_record_unnoticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut truth = None;
    run(async {
        let store = open(folder.path());
        for n in 0..60 {
            let key = format!("k{}", n % 20);
            let transaction = match n % 7 {
                6 => Transaction::new().delete(key),
                _ => Transaction::new().put(key, vec![b'a' + n; 300]).put("last", vec![n]),
            };
            store.commit(transaction).await.unwrap();
        }
        truth = store.list("").await.ok();
    });
    let truth = truth.unwrap();
    let database = fs::read(folder.path().join("data.1/db")).unwrap();
    let used = database.iter().rposition(|byte| *byte != 0).unwrap();
    let mut refused = 0;
    for at in (0..used).step_by(used / 150) {
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        let mut bytes = database.clone();
        bytes[at] ^= 0x55;
        fs::write(damaged.path().join("data.1/db"), bytes).unwrap();
        match SledStore::open(damaged.path(), Options::default()) {
            Ok(store) => assert_eq!(content(&store), truth, "byte {at}"),
            Err(OpenError::Folder { .. }) => panic!("byte {at}: not the folder's fault"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "no byte mattered");
}

#[test]
fn a_database_older_than_what_was_acknowledged_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    run(async {
        put(&open(folder.path()), "a", "1").await;
        copy(&folder.path().join("data.1"), old.path());
        put(&open(folder.path()), "a", "2").await;
    });
    fs::remove_dir_all(folder.path().join("data.1")).unwrap();
    fs::create_dir(folder.path().join("data.1")).unwrap();
    copy(old.path(), &folder.path().join("data.1"));

    let error = SledStore::open(folder.path(), Options::default()).unwrap_err().to_string();
    assert!(error.contains("is at revision 1, though revision 2 was written"), "{error}");
    let findings = SledStore::check(folder.path()).unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    fs::remove_file(folder.path().join("newest")).unwrap();
    assert_eq!(content(&open(folder.path())).revision, Revision(1));
}

fn content(store: &SledStore) -> Listing {
    let mut content = None;
    run(async { content = Some(store.list("").await.unwrap()) });
    content.unwrap()
}

fn copy(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&item.path(), &to);
        } else {
            fs::copy(item.path(), to).unwrap();
        }
    }
}
