// SPDX-License-Identifier: GPL-3.0-or-later
use std::fs;
use std::path::Path;

use super::*;
use crate::store::HistoryLimits;

/// A writer whose store has the keys `a`, `b` and `c`.
fn writer(path: &Path) -> Writer {
    let folder = Folder::take(path, true).unwrap();
    let (loaded, entries) = load::load(&folder).unwrap();
    let limits = HistoryLimits::default();
    let state = Arc::new(State::new(loaded.head.revision, entries, limits));
    let announce = watch::channel(loaded.head.revision).0;
    let refusal = watch::channel(None).0;
    let mut writer = Writer::new(folder, loaded, state, announce, refusal, u64::MAX);
    let transaction = Transaction::new().put("a", "1").put("b", "1").put("c", "1");
    let (answer, mut answered) = oneshot::channel();
    writer.write_group(vec![Request { transaction, answer }]);
    assert_eq!(answered.try_recv().unwrap().unwrap(), Revision(1));
    writer
}

fn assert_says_what_memory_says(disk: &Disk, writer: &Writer) {
    let scan = load::scan(disk).unwrap();
    assert_eq!(scan.findings, []);
    assert_eq!(scan.head, Some(writer.head));
    let entries: Vec<_> = scan.entries.into_values().collect();
    assert_eq!(entries, writer.state.list("").entries);
    assert_eq!(entries.len(), 3);
}

#[test]
fn what_was_refused_but_reached_the_disk_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path());
    let mut refused = Group::default();
    refused.put(&record::entry_key("new"), b"x".to_vec());
    refused.put(&record::entry_key("a"), b"x".to_vec());
    refused.delete(&record::entry_key("b"));
    refused.put(record::HEAD_KEY, Head { revision: Revision(2), ..writer.head }.encode());
    writer.disk.take().unwrap().write(refused).unwrap();
    let disk = writer.reopen().unwrap();
    assert_eq!(writer.generation, 1);
    assert_says_what_memory_says(&disk, &writer);
}

#[test]
fn what_is_written_after_the_database_was_opened_again_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path());
    writer.tidy();
    assert_says_what_memory_says(writer.disk.as_ref().unwrap(), &writer);
    let (answer, mut answered) = oneshot::channel();
    let transaction = Transaction::new().put("a", "2");
    writer.write_group(vec![Request { transaction, answer }]);
    assert_eq!(answered.try_recv().unwrap().unwrap(), Revision(2));
    assert_says_what_memory_says(writer.disk.as_ref().unwrap(), &writer);
}

#[test]
fn a_database_that_does_not_open_any_more_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path());
    drop(writer.disk.take());
    fs::write(folder.path().join("data.1/snap.FFFFFFFFFFFFFFFF"), "garbage").unwrap();
    let disk = writer.reopen().unwrap();
    assert_eq!(writer.generation, 2);
    assert!(!folder.path().join("data.1").exists());
    assert_says_what_memory_says(&disk, &writer);
}
