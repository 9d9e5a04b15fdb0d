// SPDX-License-Identifier: GPL-3.0-or-later
//! A full disk refuses writes, loses none that it took, and is over when there is space again.

use std::fs::{self, File};
use std::io::{self, Write};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::store::{CommitError, Listing};

const ROUNDS: usize = 6;

#[test]
fn a_full_disk_is_told_and_gotten_over() {
    let Some(folder) = std::env::var_os(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        let output =
            child("full::a_full_disk_is_told_and_gotten_over", folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        // Without this, a child that ran no test at all would pass.
        assert!(said.contains("child done"), "{said}");
        return;
    };
    let folder = Path::new(&folder);
    mount_small(folder);
    let state = folder.join("state");
    for round in 0..ROUNDS {
        // Every other round the daemon is restarted before there is space again.
        let restart = round % 2 == 1;
        run(async { fill_and_free(&folder.join("filler"), &state, round, restart).await });
    }
    eprintln!("child done");
}

async fn fill_and_free(filler: &Path, state: &Path, round: usize, restart: bool) {
    let mut store = open(state);
    for n in 0..20 {
        put(&store, &format!("small/{n}"), &format!("{round}")).await;
    }
    let mut watch = store.watch("", store.revision().await.unwrap()).await.unwrap();
    fill(filler);

    // sled may have some room left in its file, so the first few can still succeed.
    let error = loop {
        let big = Transaction::new().put("big", vec![round as u8; 60_000]).delete("small/0");
        match store.commit(big).await {
            Ok(_) => assert!(!watch.try_batch().unwrap().changes.is_empty()),
            Err(error) => break error,
        }
    };
    assert!(error.is_disk_full(), "{error:?}");
    assert!(error.to_string().contains("free some disk space"), "{error}");
    // The first refusal as all later ones, for which there are others' words.
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, io::Error::from_raw_os_error(nix::libc::ENOSPC).to_string());
    let mut refusal = store.refusal();
    let told = refusal.borrow_and_update().clone();
    assert_eq!(told, Some(format!("{source}: free some disk space")));

    let truth = store.list("").await.unwrap();
    let many = (0..50).map(|n| {
        let transaction = Transaction::new()
            .put("small/1", "refused")
            .put(format!("refused/{n}"), vec![1; 20_000])
            .delete("small/2");
        store.commit(transaction)
    });
    for outcome in futures_util::future::join_all(many).await {
        assert!(outcome.is_err_and(|error: CommitError| error.is_disk_full()));
    }
    assert_eq!(store.list("").await.unwrap(), truth, "readers see what was refused");
    assert_eq!(watch.try_batch().unwrap().changes, []);
    assert_eq!(store.revision().await.unwrap(), truth.revision);

    if restart {
        drop(store);
        for _ in 0..3 {
            let error = SledStore::open(state, Options::default()).unwrap_err();
            assert!(error.to_string().ends_with("free some disk space"), "{error:?}");
        }
        fs::remove_file(filler).unwrap();
        store = open(state);
        assert_eq!(store.list("").await.unwrap(), truth, "round {round}");
    } else {
        fs::remove_file(filler).unwrap();
        if round == 0 {
            // Nobody writes, and yet it is known to be over.
            let over = refusal.wait_for(Option::is_none);
            tokio::time::timeout(Duration::from_secs(30), over).await.unwrap().unwrap();
        }
    }
    let revision = put(&store, "after", "space").await;
    assert_eq!(revision, truth.revision.next());
    assert_eq!(*store.refusal().borrow(), None);
    let expected = store.list("").await.unwrap();
    drop(store);
    assert_eq!(reopened(state).await, expected, "round {round}");
    assert_eq!(SledStore::check(state).unwrap(), []);
}

async fn reopened(state: &Path) -> Listing {
    open(state).list("").await.unwrap()
}

/// A disk of a few MB that only this process sees.
fn mount_small(folder: &Path) {
    let none: Option<&str> = None;
    // Threads started from here on are in the new namespace too: the store's, sled's and tokio's.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("size=8m")).unwrap();
}

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    loop {
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}
