// SPDX-License-Identifier: GPL-3.0-or-later
//! The embedded store: the conformance suite, and what is its own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::{OpenError, Options, SledStore};
use crate::store::conformance::{Subject, conformance, put, run};
use crate::store::{Revision, Store, Transaction};

mod crash;
mod damage;
mod folder;
mod full;
mod growth;

mod suite {
    use super::*;

    conformance!(empty);

    fn empty() -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("state"));
        Subject { store: Arc::new(store), _keep: Box::new(folder) }
    }
}

/// Set in the process that a test starts from itself, to the folder it shall work in.
const CHILD: &str = "NETLAB_TEST_STORE_CHILD";

fn open(path: &Path) -> SledStore {
    SledStore::open(path, Options::default()).unwrap()
}

/// This very test as a process of its own, which can be killed and have its own mounts.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("store::embedded::tests::{test}");
    command.args(["--exact", &name, "--nocapture"]).env(CHILD, folder);
    command
}
