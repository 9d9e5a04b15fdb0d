// SPDX-License-Identifier: GPL-3.0-or-later
//! Stored objects in decoded form, for kinds of which every decision looks at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use netlab_api::{ApiError, Resource};

use super::draft::decode_entry;
use crate::store::{Entry, Revision};

/// The objects of one kind as they were last listed; what was not listed again is forgotten, so
/// that it never outgrows the store.
pub(super) struct Decoded<T>(Mutex<Listed<T>>);

/// Key to object, and the revision at which it was decoded.
type Listed<T> = HashMap<Arc<str>, (Revision, Arc<T>)>;

impl<T> Default for Decoded<T> {
    fn default() -> Decoded<T> {
        Decoded(Mutex::default())
    }
}

impl<T: Resource> Decoded<T> {
    /// The objects of all entries of the kind. Only those that changed are decoded.
    pub(super) fn all(&self, entries: &[Entry]) -> Result<Vec<Arc<T>>, ApiError> {
        // After a panic the map is as it was: it is replaced whole.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut listed = HashMap::with_capacity(entries.len());
        let mut objects = Vec::with_capacity(entries.len());
        for entry in entries {
            let object = match known.get(&entry.key) {
                Some((revision, object)) if *revision == entry.modified => object.clone(),
                _ => Arc::new(decode_entry::<T>(entry)?),
            };
            listed.insert(entry.key.clone(), (entry.modified, object.clone()));
            objects.push(object);
        }
        *known = listed;
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use netlab_api::Namespace;

    use super::*;

    fn entry(name: &str, modified: u64) -> Entry {
        let value = format!("{{\"metadata\":{{\"name\":\"{name}\"}}}}");
        Entry::new(format!("namespaces/{name}"), value.as_bytes(), Revision(1), Revision(modified))
    }

    #[test]
    fn what_did_not_change_is_shared_and_what_is_gone_is_forgotten() {
        let decoded = Decoded::<Namespace>::default();
        let first = decoded.all(&[entry("a", 1), entry("b", 2)]).unwrap();
        let second = decoded.all(&[entry("a", 1), entry("b", 3)]).unwrap();
        assert!(Arc::ptr_eq(&first[0], &second[0]));
        assert!(!Arc::ptr_eq(&first[1], &second[1]));
        assert_eq!(second[1].metadata.resource_version, "3");
        decoded.all(&[entry("b", 3)]).unwrap();
        assert_eq!(
            decoded.0.lock().unwrap().keys().map(|key| &**key).collect::<Vec<_>>(),
            ["namespaces/b"]
        );
    }
}
