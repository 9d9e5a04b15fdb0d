// SPDX-License-Identifier: GPL-3.0-or-later
//! What is acknowledged survives SIGKILL at any instant, and nothing survives by halves.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

const ROUNDS: usize = 25;
const TASKS: usize = 4;

/// So low that the database is made anew again and again, and some kills fall into that.
const REBUILD_BYTES: u64 = 1 << 20;

#[test]
fn acknowledged_writes_survive_kill() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return count(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut known = [0; TASKS];
    let mut newest = Revision::ZERO;
    for round in 0..ROUNDS {
        let mut process = child("crash::acknowledged_writes_survive_kill", &path)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        // The instant is arbitrary on purpose; no outcome depends on it being any one.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        let count = 1 + (nanos / 1000 % 300) as usize;
        let before: Vec<_> = lines.by_ref().take(count).map(Result::unwrap).collect();
        assert_eq!(before.len(), count, "the child ended before it was killed");
        process.kill().unwrap();
        let mut acknowledged = known;
        for line in before.into_iter().chain(lines.map(Result::unwrap)) {
            // The last line may be cut off by the kill.
            let Some(line) = line.strip_suffix('.') else { continue };
            let numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
            acknowledged[numbers[0] as usize] = numbers[1];
            newest = newest.max(Revision(numbers[2]));
        }
        assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGKILL), "round {round}");
        assert_ne!(acknowledged, known, "round {round} wrote nothing");

        run(async {
            let store = open(&path);
            for task in 0..TASKS {
                let found = read(&store, task).await;
                let least = acknowledged[task];
                assert!(
                    found == least || found == least + 1,
                    "round {round}: task {task} is at {found}, it heard {least}"
                );
                known[task] = found;
            }
            let revision = store.revision().await.unwrap();
            assert!(revision >= newest, "round {round}: {revision} after {newest}");
            newest = revision;
        });
    }
}

/// The child: counts until it is killed.
fn count(path: &Path) {
    run(async {
        let options = Options { rebuild_bytes: REBUILD_BYTES, ..Options::default() };
        let store = Arc::new(SledStore::open(path, options).unwrap());
        let tasks = (0..TASKS).map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut n = read(&store, task).await;
                loop {
                    n += 1;
                    let value = format!("{n} {}", "x".repeat(2000));
                    let all = ["a", "b", "c"]
                        .iter()
                        .fold(Transaction::new(), |t, key| {
                            t.put(format!("{task}/{key}"), value.clone())
                        })
                        .put(format!("{task}/only/{n}"), n.to_string())
                        .delete(format!("{task}/only/{}", n - 1));
                    let revision = store.commit(all).await.unwrap();
                    // One write, so that a line is whole or cut but never mixed with another.
                    let line = format!("{task} {n} {revision}.\n");
                    std::io::stderr().write_all(line.as_bytes()).unwrap();
                }
            })
        });
        futures_util::future::join_all(tasks).await;
    });
}

/// Where a task's counter stands, after a look that no transaction of it is torn.
async fn read(store: &SledStore, task: usize) -> u64 {
    let entries = store.list(&format!("{task}/")).await.unwrap().entries;
    let number = |value: &[u8]| -> u64 {
        let text = std::str::from_utf8(value).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    if entries.is_empty() {
        return 0;
    }
    let numbers: Vec<_> = entries.iter().map(|entry| number(&entry.value)).collect();
    assert_eq!(numbers, [numbers[0]; 4], "task {task} is torn");
    assert_eq!(*entries[3].key, format!("{task}/only/{}", numbers[0]));
    assert!(entries.iter().all(|entry| entry.modified == entries[0].modified));
    numbers[0]
}
