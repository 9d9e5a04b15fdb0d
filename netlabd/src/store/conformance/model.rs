// SPDX-License-Identifier: GPL-3.0-or-later
//! Random transactions against the simplest store that can be right.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Factory, Subject, run};
use crate::store::{CommitError, Entry, Expected, Revision, Transaction, Write};

/// Few keys, so that transactions meet.
fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a/1", "a/2", "b", "b/1", "ü"]).prop_map(str::to_owned)
}

#[derive(Clone, Debug)]
enum Wish {
    Absent,
    Exists,
    /// At the revision that the key has, or one that it has not.
    At {
        right: bool,
    },
}

#[derive(Clone, Debug)]
struct Step {
    checks: Vec<(String, Wish)>,
    writes: Vec<(String, Option<Vec<u8>>)>,
}

fn step() -> impl Strategy<Value = Step> {
    let wish = prop_oneof![
        Just(Wish::Absent),
        Just(Wish::Exists),
        any::<bool>().prop_map(|right| Wish::At { right }),
    ];
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..8));
    (prop::collection::vec((key(), wish), 0..2), prop::collection::btree_map(key(), value, 0..4))
        .prop_map(|(checks, writes)| Step { checks, writes: writes.into_iter().collect() })
}

/// The store without disk, threads and history.
#[derive(Default)]
struct Model {
    revision: Revision,
    entries: BTreeMap<String, Entry>,
}

impl Model {
    fn commit(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Revision, (String, Option<Revision>)> {
        for check in &transaction.checks {
            let observed = self.entries.get(&check.key).map(|entry| entry.modified);
            let holds = match check.expected {
                Expected::Absent => observed.is_none(),
                Expected::Exists => observed.is_some(),
                Expected::At(revision) => observed.is_some_and(|observed| observed == revision),
            };
            if !holds {
                return Err((check.key.clone(), observed));
            }
        }
        let next = Revision(self.revision.0 + 1);
        for write in &transaction.writes {
            match write {
                Write::Put { key, value } => {
                    let created = self.entries.get(key).map_or(next, |entry| entry.created);
                    let (key, value) = (key.clone(), value.clone());
                    let entry = Entry::new(key.as_str(), &*value, created, next);
                    self.entries.insert(key, entry);
                    self.revision = next;
                }
                Write::Delete { key } => {
                    if self.entries.remove(key).is_some() {
                        self.revision = next;
                    }
                }
            }
        }
        Ok(self.revision)
    }

    fn transaction(&self, step: Step) -> Transaction {
        let mut transaction = Transaction::new();
        for (key, wish) in step.checks {
            let modified = self.entries.get(&key).map_or(Revision::ZERO, |entry| entry.modified);
            let expected = match wish {
                Wish::Absent => Expected::Absent,
                Wish::Exists => Expected::Exists,
                Wish::At { right: true } => Expected::At(modified),
                Wish::At { right: false } => Expected::At(Revision(modified.0 + 1)),
            };
            transaction = transaction.check(key, expected);
        }
        for (key, value) in step.writes {
            transaction = match value {
                Some(value) => transaction.put(key, Bytes::from(value)),
                None => transaction.delete(key),
            };
        }
        transaction
    }
}

pub(crate) fn agrees_with_a_model(factory: Factory) {
    let mut runner =
        TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    runner
        .run(&prop::collection::vec(step(), 1..40), |steps| {
            run(async { compare(factory, steps).await });
            Ok(())
        })
        .unwrap();
}

async fn compare(factory: Factory, steps: Vec<Step>) {
    let Subject { store, _keep } = factory();
    let mut model = Model::default();
    let mut watch = store.watch("a", Revision::ZERO).await.unwrap();
    let mut watched: BTreeMap<String, Entry> = BTreeMap::new();
    for step in steps {
        let transaction = model.transaction(step);
        let expected = model.commit(&transaction);
        match (store.commit(transaction).await, expected) {
            (Ok(observed), Ok(expected)) => assert_eq!(observed, expected),
            (Err(CommitError::Conflict { key, observed, .. }), Err(expected)) => {
                assert_eq!((key, observed), expected);
            }
            (observed, expected) => panic!("{observed:?}, where {expected:?} was expected"),
        }
        for prefix in ["", "a", "a/", "ü", "c"] {
            let listing = store.list(prefix).await.unwrap();
            let expected = model.entries.values().filter(|entry| entry.key.starts_with(prefix));
            assert_eq!(listing.revision, model.revision);
            assert!(listing.entries.iter().eq(expected), "{prefix}: {listing:?}");
        }
        for key in ["a", "a/1", "b"] {
            assert_eq!(store.get(key).await.unwrap().as_ref(), model.entries.get(key));
        }
    }
    while {
        let batch = watch.try_batch().unwrap();
        for change in batch.changes {
            let key = change.key().to_owned();
            match change {
                crate::store::Change::Put { entry, before } => {
                    assert_eq!(watched.insert(key, entry), before);
                }
                crate::store::Change::Delete { last, .. } => {
                    assert_eq!(watched.remove(&key), Some(last));
                }
            }
        }
        batch.revision < model.revision
    } {
        tokio::task::yield_now().await;
    }
    model.entries.retain(|key, _| key.starts_with('a'));
    assert_eq!(watched, model.entries);
}
