// SPDX-License-Identifier: GPL-3.0-or-later
//! The database does not grow with the number of writes.

use std::fs;

use super::*;

#[test]
fn overwriting_does_not_grow_the_database() {
    const LIMIT: u64 = 2 << 20;
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let options = Options { rebuild_bytes: LIMIT, ..Options::default() };
        let store = SledStore::open(folder.path(), options).unwrap();
        for round in 0..40 {
            let writes = (0..50).map(|n| {
                let transaction = Transaction::new()
                    .put(format!("k{n}"), vec![round; 4000])
                    .put("last", [round].to_vec());
                store.commit(transaction)
            });
            for outcome in futures_util::future::join_all(writes).await {
                outcome.unwrap();
            }
            // One group may pass the limit before the writer looks.
            let size = databases(folder.path());
            let (_, bytes) = size[size.len() - 1];
            assert!(bytes <= LIMIT + (1 << 20), "round {round}: {size:?}");
        }
        let expected = store.list("").await.unwrap();
        assert_eq!(expected.entries.len(), 51);
        drop(store);
        let left = databases(folder.path());
        assert!(matches!(left[..], [(generation, _)] if generation > 1), "{left:?}");
        assert!(!folder.path().join("building").exists());
        assert_eq!(open(folder.path()).list("").await.unwrap(), expected);
    });
}

#[test]
fn what_an_interrupted_rebuild_left_is_removed_and_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let store = open(folder.path());
        put(&store, "a", "1").await;
        drop(store);
        // Killed in the building of the next one, and after the last one, before its removal.
        fs::create_dir(folder.path().join("building")).unwrap();
        fs::write(folder.path().join("building/db"), "half").unwrap();
        fs::create_dir(folder.path().join("data.0")).unwrap();
        let store = open(folder.path());
        assert_eq!(*store.get("a").await.unwrap().unwrap().value, *b"1");
        assert!(!folder.path().join("building").exists());
        assert_eq!(databases(folder.path()).len(), 1);
    });
}

/// Generation and size of each database in the folder.
fn databases(folder: &Path) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder).unwrap() {
        let item = item.unwrap();
        if let Some(generation) = item.file_name().to_str().unwrap().strip_prefix("data.") {
            // Gone again when it is removed while we look.
            let size = fs::metadata(item.path().join("db")).map_or(0, |metadata| metadata.len());
            found.push((generation.parse().unwrap(), size));
        }
    }
    found.sort_unstable();
    found
}
