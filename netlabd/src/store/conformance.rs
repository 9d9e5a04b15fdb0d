// SPDX-License-Identifier: GPL-3.0-or-later
//! What every store must do, as tests over a factory of empty stores.
//!
//! [`conformance!`] makes one `#[test]` of each function here. Nothing asks more of a store than the
//! trait promises, so that the same suite holds for one that lives on other machines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::{
    Change, CommitError, Entry, Expected, Revision, Store, Transaction, Watch, WatchError,
};

pub(crate) mod memory;
mod model;

pub(crate) use model::agrees_with_a_model;

/// A store, and what must live as long as it (a folder, a server).
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) _keep: Box<dyn std::any::Any + Send>,
}

/// Makes an empty store.
pub(crate) type Factory = fn() -> Subject;

/// No answer after so long is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Watches that a store must tell to list again do so before this many small changes.
const ENOUGH_TO_COMPACT: u64 = 20_000;

/// One `#[test]` for each requirement, on the stores that the factory makes.
macro_rules! conformance {
    ($factory:expr) => {
        $crate::store::conformance::conformance!(@each $factory;
            revisions_go_up_by_transaction
            entries_know_when_they_were_made_and_written
            a_transaction_that_changes_nothing_makes_no_revision
            checks_hold_or_name_the_conflict
            a_conflict_writes_nothing_of_many_keys
            malformed_transactions_are_refused
            a_list_is_in_key_order_and_of_its_prefix_only
            a_list_of_several_prefixes_is_that_of_each
            a_list_never_shows_half_a_transaction
            of_many_rivals_exactly_one_wins_each_round
            a_watch_begins_right_after_its_list
            a_watch_hears_deletes_with_the_last_value
            a_watch_batch_holds_whole_transactions
            a_watch_is_cancel_safe
            a_watch_follows_writes_outside_of_its_prefix
            watches_miss_and_repeat_nothing_under_concurrent_writers
            a_watch_from_the_future_is_refused
            a_watch_from_a_forgotten_past_is_told_to_list
            a_slow_watch_is_told_to_list
            agrees_with_a_model
        );
    };
    (@each $factory:expr; $($name:ident)*) => {
        $(#[test] fn $name() { $crate::store::conformance::$name($factory); })*
    };
}
pub(crate) use conformance;

/// Runs `test` on several threads, so that what may race does.
pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE * 3, test).await.expect("the test hangs") });
}

pub(crate) async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    store.commit(Transaction::new().put(key, value.to_owned())).await.unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("nothing happened in time")
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.key).collect()
}

pub(crate) fn revisions_go_up_by_transaction(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        assert_eq!(store.revision().await.unwrap(), Revision::ZERO);
        let first = put(&*store, "a", "1").await;
        let both = Transaction::new().put("b", "1").put("c", "1").delete("a");
        let second = store.commit(both).await.unwrap();
        assert!(Revision::ZERO < first && first < second, "{first} {second}");
        assert_eq!(store.revision().await.unwrap(), second);
        for key in ["b", "c"] {
            assert_eq!(store.get(key).await.unwrap().unwrap().modified, second);
        }
        assert_eq!(store.get("a").await.unwrap(), None);
    });
}

pub(crate) fn entries_know_when_they_were_made_and_written(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let made = put(&*store, "a", "1").await;
        let written = put(&*store, "a", "2").await;
        let entry = store.get("a").await.unwrap().unwrap();
        assert_eq!((&*entry.key, &*entry.value), ("a", &b"2"[..]));
        assert_eq!((entry.created, entry.modified), (made, written));

        let same = put(&*store, "a", "2").await;
        assert!(same > written, "an equal value is a change too");

        store.commit(Transaction::new().delete("a")).await.unwrap();
        let again = put(&*store, "a", "").await;
        let entry = store.get("a").await.unwrap().unwrap();
        assert_eq!((entry.created, entry.modified), (again, again));
        assert!(entry.value.is_empty());
    });
}

pub(crate) fn a_transaction_that_changes_nothing_makes_no_revision(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let revision = put(&*store, "a", "1").await;
        let nothing = [
            Transaction::new(),
            Transaction::new().check("a", Expected::Exists),
            Transaction::new().delete("b").delete("c"),
        ];
        for transaction in nothing {
            assert_eq!(store.commit(transaction).await.unwrap(), revision);
        }
        assert_eq!(store.revision().await.unwrap(), revision);
    });
}

pub(crate) fn checks_hold_or_name_the_conflict(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let old = put(&*store, "there", "1").await;
        let now = put(&*store, "there", "2").await;
        let cases = [
            ("there", Expected::Exists, Some(now), true),
            ("there", Expected::At(now), Some(now), true),
            ("there", Expected::At(old), Some(now), false),
            ("there", Expected::Absent, Some(now), false),
            ("gone", Expected::Absent, None, true),
            ("gone", Expected::Exists, None, false),
            ("gone", Expected::At(now), None, false),
        ];
        for (name, wanted, seen, ok) in cases {
            let outcome = store.commit(Transaction::new().check(name, wanted)).await;
            match outcome {
                Ok(revision) => {
                    assert!(ok, "{name} {wanted}");
                    assert_eq!(revision, now);
                }
                Err(CommitError::Conflict { key, expected, observed }) => {
                    assert!(!ok, "{name} {wanted}");
                    assert_eq!((&*key, expected, observed), (name, wanted, seen));
                }
                Err(error) => panic!("{name} {wanted}: {error}"),
            }
        }
    });
}

pub(crate) fn a_conflict_writes_nothing_of_many_keys(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let revision = put(&*store, "a", "1").await;
        let before = store.list("").await.unwrap();
        let transaction = Transaction::new()
            .check("a", Expected::At(revision))
            .check("b", Expected::Exists)
            .put("a", "2")
            .put("c", "2")
            .delete("a2");
        let error = store.commit(transaction).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
        assert!(error.to_string().contains("`b`"), "{error}");
        assert_eq!(store.list("").await.unwrap(), before);
    });
}

pub(crate) fn malformed_transactions_are_refused(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let bad = [
            Transaction::new().put("a", "1").put("a", "2"),
            Transaction::new().put("a", "1").delete("a"),
            Transaction::new().put("", "1"),
            Transaction::new().delete(""),
        ];
        for transaction in bad {
            let error = store.commit(transaction).await.unwrap_err();
            assert!(matches!(error, CommitError::Malformed { .. }), "{error}");
        }
        assert_eq!(store.revision().await.unwrap(), Revision::ZERO);
    });
}

pub(crate) fn a_list_is_in_key_order_and_of_its_prefix_only(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        for key in ["pods/b", "pods/a", "pods0", "pod", "nodes/a", "pods/ä", "pods/a/1", "pods/"] {
            put(&*store, key, key).await;
        }
        let listing = store.list("pods/").await.unwrap();
        assert_eq!(keys(&listing.entries), ["pods/", "pods/a", "pods/a/1", "pods/b", "pods/ä"]);
        assert_eq!(listing.revision, store.revision().await.unwrap());
        assert_eq!(store.list("").await.unwrap().entries.len(), 8);
        assert_eq!(keys(&store.list("pods/z").await.unwrap().entries), [""; 0]);
    });
}

pub(crate) fn a_list_of_several_prefixes_is_that_of_each(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        for key in ["pods/b", "pods/a", "applied/pods/a", "settings/network", "nodes/a", "pods0"] {
            put(&*store, key, key).await;
        }
        let listing = store.list_each(&["pods/", "none/", "nodes/", "settings/network"]).await;
        let listing = listing.unwrap();
        assert_eq!(keys(&listing.entries), ["pods/a", "pods/b", "nodes/a", "settings/network"]);
        assert_eq!(listing.revision, store.revision().await.unwrap());
        assert!(store.list_each(&[]).await.unwrap().entries.is_empty());
    });
}

pub(crate) fn a_list_never_shows_half_a_transaction(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let all = (0..10).fold(Transaction::new(), |transaction, n| {
                        transaction.put(format!("k{n}"), round.to_string())
                    });
                    store.commit(all).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        };
        let mut seen = BTreeSet::new();
        while seen.len() < 50 {
            let listing = store.list("k").await.unwrap();
            let values: BTreeSet<_> = listing.entries.iter().map(|e| e.value.clone()).collect();
            assert!(values.len() <= 1, "{values:?}");
            let newest = listing.entries.iter().map(|entry| entry.modified).max();
            assert_eq!(newest.unwrap_or_default(), listing.revision);
            assert!(seen.last().is_none_or(|last| *last <= listing.revision), "went back");
            seen.insert(listing.revision);
            tokio::task::yield_now().await;
        }
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
    });
}

pub(crate) fn of_many_rivals_exactly_one_wins_each_round(factory: Factory) {
    const RIVALS: u64 = 8;
    const ROUNDS: u64 = 25;
    run(async {
        let Subject { store, _keep } = factory();
        put(&*store, "counter", "0").await;
        let rivals: Vec<_> = (0..RIVALS)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut won = 0;
                    while won < ROUNDS {
                        let entry = store.get("counter").await.unwrap().unwrap();
                        let count: u64 =
                            std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                        let next = Transaction::new()
                            .check("counter", Expected::At(entry.modified))
                            .put("counter", (count + 1).to_string());
                        match store.commit(next).await {
                            Ok(_) => won += 1,
                            Err(error) => assert!(error.is_conflict(), "{error}"),
                        }
                    }
                })
            })
            .collect();
        for rival in rivals {
            rival.await.unwrap();
        }
        let count = store.get("counter").await.unwrap().unwrap().value.clone();
        assert_eq!(*count, *(RIVALS * ROUNDS).to_string().as_bytes());
    });
}

pub(crate) fn a_watch_begins_right_after_its_list(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        put(&*store, "a", "1").await;
        let listing = store.list("").await.unwrap();
        let second = put(&*store, "a", "2").await;
        let mut watch = store.watch("", listing.revision).await.unwrap();
        let third = put(&*store, "b", "3").await;
        for (key, value, revision) in [("a", "2", second), ("b", "3", third)] {
            let change = soon(watch.next()).await.unwrap();
            assert_eq!((change.key(), change.revision()), (key, revision));
            assert_eq!(*change.entry().value, *value.as_bytes());
        }
        let batch = watch.try_batch().unwrap();
        assert_eq!((batch.revision, batch.changes), (third, vec![]));
    });
}

pub(crate) fn a_watch_hears_deletes_with_the_last_value(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let made = put(&*store, "a", "last").await;
        let mut watch = store.watch("a", made).await.unwrap();
        let revision = store.commit(Transaction::new().delete("a")).await.unwrap();
        let last = Entry::new("a", *b"last", made, made);
        let change = soon(watch.next()).await.unwrap();
        assert_eq!(change.revision(), revision);
        assert_eq!(change, Change::Delete { revision, last });
    });
}

pub(crate) fn a_watch_batch_holds_whole_transactions(factory: Factory) {
    const KEYS: usize = 7;
    run(async {
        let Subject { store, _keep } = factory();
        let mut watch = store.watch("", Revision::ZERO).await.unwrap();
        for _ in 0..300 {
            let all = (0..KEYS).fold(Transaction::new(), |t, n| t.put(format!("k{n}"), "x"));
            store.commit(all).await.unwrap();
        }
        let newest = store.revision().await.unwrap();
        let mut at = Revision::ZERO;
        while at < newest {
            let batch = soon(watch.next_batch()).await.unwrap();
            let mut sizes: BTreeMap<Revision, usize> = BTreeMap::new();
            for change in &batch.changes {
                assert!(change.revision() > at);
                *sizes.entry(change.revision()).or_default() += 1;
            }
            assert!(sizes.values().all(|size| *size == KEYS), "{sizes:?}");
            assert_eq!(sizes.last_key_value().map(|(revision, _)| *revision), Some(batch.revision));
            at = batch.revision;
        }
    });
}

pub(crate) fn a_watch_is_cancel_safe(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let mut watch = store.watch("", Revision::ZERO).await.unwrap();
        let mut heard = Vec::new();
        for n in 0..100 {
            // Dropped while it waits, and again while there may be something.
            for _ in 0..2 {
                tokio::select! {
                    biased;
                    change = watch.next() => heard.push(change.unwrap().revision()),
                    () = tokio::task::yield_now() => {}
                }
            }
            put(&*store, "a", &n.to_string()).await;
        }
        while heard.len() < 100 {
            heard.push(soon(watch.next()).await.unwrap().revision());
        }
        assert!(heard.is_sorted_by(|a, b| a < b), "{heard:?}");
    });
}

pub(crate) fn a_watch_follows_writes_outside_of_its_prefix(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let mut watch = store.watch("mine/", Revision::ZERO).await.unwrap();
        let others = put(&*store, "other/a", "1").await;
        let quiet = async {
            loop {
                let batch = watch.try_batch().unwrap();
                assert_eq!(batch.changes, vec![]);
                if batch.revision >= others {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(quiet).await;
        let mine = put(&*store, "mine/a", "1").await;
        let change = soon(watch.next()).await.unwrap();
        assert_eq!((change.key(), change.revision()), ("mine/a", mine));
    });
}

pub(crate) fn watches_miss_and_repeat_nothing_under_concurrent_writers(factory: Factory) {
    const WRITERS: usize = 6;
    const EACH: usize = 100;
    run(async {
        let Subject { store, _keep } = factory();
        let mut early = store.watch("w", Revision::ZERO).await.unwrap();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for n in 0..EACH {
                        let both = Transaction::new()
                            .put(format!("w{writer}/a"), n.to_string())
                            .put(format!("w{writer}/b{n}"), "x");
                        store.commit(both).await.unwrap();
                    }
                })
            })
            .collect();
        // Begins somewhere in the middle; with its list it must know as much as the early one.
        let middle = store.list("w").await.unwrap();
        let mut late = store.watch("w", middle.revision).await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        let end = store.list("w").await.unwrap();
        let from_start = follow(&mut early, BTreeMap::new(), Revision::ZERO, end.revision).await;
        let listed = middle.entries.into_iter().map(|entry| (entry.key.to_string(), entry));
        let from_middle = follow(&mut late, listed.collect(), middle.revision, end.revision).await;
        let truth: BTreeMap<_, _> =
            end.entries.into_iter().map(|entry| (entry.key.to_string(), entry)).collect();
        assert_eq!(truth.len(), WRITERS * (EACH + 1));
        assert_eq!(from_start, truth);
        assert_eq!(from_middle, truth);
    });
}

/// What a watcher knows that applies each change up to `end`, checking that each fits.
async fn follow(
    watch: &mut Watch,
    mut known: BTreeMap<String, Entry>,
    mut at: Revision,
    end: Revision,
) -> BTreeMap<String, Entry> {
    while at < end {
        let batch = soon(watch.next_batch()).await.unwrap();
        for change in batch.changes {
            // Each transaction of this test makes a revision with two changes in the prefix.
            assert!(change.revision() == at || change.revision() == at.next(), "gap after {at}");
            at = change.revision();
            let Change::Put { entry, before: told } = change else {
                panic!("nobody deleted: {change:?}")
            };
            let before = known.insert(entry.key.to_string(), entry.clone());
            assert_eq!(before, told);
            if let Some(before) = before {
                assert_eq!(before.created, entry.created);
                assert!(before.modified < entry.modified, "repeated");
            } else {
                assert_eq!(entry.created, entry.modified, "its making was missed");
            }
        }
    }
    known
}

pub(crate) fn a_watch_from_the_future_is_refused(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let newest = put(&*store, "a", "1").await;
        match store.watch("", newest.next()).await {
            Err(WatchError::Future { from, revision }) => {
                assert_eq!((from, revision), (newest.next(), newest));
            }
            other => panic!("{:?}", other.map(|_| "a watch")),
        }
    });
}

pub(crate) fn a_watch_from_a_forgotten_past_is_told_to_list(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        write_until(&*store, async || store.watch("", Revision(1)).await.err()).await;
        let Err(WatchError::Compacted { from, oldest }) = store.watch("", Revision(1)).await else {
            panic!("it was compacted, and is no more");
        };
        assert_eq!(from, Revision(1));
        // What it was told to begin from works, and has what comes after it.
        let mut watch = store.watch("", oldest).await.unwrap();
        assert_eq!(soon(watch.next()).await.unwrap().revision(), oldest.next());
    });
}

pub(crate) fn a_slow_watch_is_told_to_list(factory: Factory) {
    run(async {
        let Subject { store, _keep } = factory();
        let mut slow = store.watch("", Revision::ZERO).await.unwrap();
        let first = put(&*store, "a", "1").await;
        assert_eq!(soon(slow.next()).await.unwrap().revision(), first);
        write_until(&*store, async || store.watch("", first).await.err()).await;
        let mut at = first;
        let error = loop {
            match soon(slow.next()).await {
                // What was fetched before it fell behind may still come, in order.
                Ok(change) => {
                    assert_eq!(change.revision(), at.next());
                    at = change.revision();
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, WatchError::Compacted { .. }), "{error}");
        let again = soon(slow.next()).await.unwrap_err();
        assert!(matches!(again, WatchError::Compacted { .. }), "the error does not stay: {again}");
        let listing = store.list("").await.unwrap();
        assert!(store.watch("", listing.revision).await.is_ok());
    });
}

/// Writes, in groups, until `compacted` says that the past is forgotten.
async fn write_until(store: &dyn Store, compacted: impl AsyncFn() -> Option<WatchError>) {
    for round in 0..ENOUGH_TO_COMPACT / 100 {
        let writes = (0..100).map(|n| put(store, "filler", if n % 2 == 0 { "x" } else { "y" }));
        futures_util::future::join_all(writes).await;
        match compacted().await {
            None => {}
            Some(WatchError::Compacted { .. }) => return,
            Some(error) => panic!("round {round}: {error}"),
        }
    }
    panic!("the history seems to have no bound");
}
