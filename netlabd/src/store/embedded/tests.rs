// SPDX-License-Identifier: GPL-3.0-or-later
//! The embedded store: the conformance suite, and what is its own.

use std::sync::Arc;

use super::{Options, SledStore};
use crate::store::conformance::{Subject, conformance};

mod suite {
    use super::*;

    conformance!(empty);

    fn empty() -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(&folder.path().join("state"), Options::default()).unwrap();
        Subject { store: Arc::new(store), _keep: Box::new(folder) }
    }
}
