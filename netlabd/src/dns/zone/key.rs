// SPDX-License-Identifier: GPL-3.0-or-later
//! What the zone calls an object.

use std::sync::Arc;

use smallvec::SmallVec;

/// `namespace.name` in lower case. Neither has a dot in it.
pub(super) type Key = Arc<[u8]>;

/// A key as it is looked for. Most are short enough to lie in the map itself: to read one elsewhere
/// would take longer than everything else that an answer needs of the zone.
pub(super) type Near = SmallVec<[u8; 24]>;

/// A name as it is compared.
pub(super) fn lower(text: &str) -> Box<[u8]> {
    text.as_bytes().to_ascii_lowercase().into()
}

/// The key of an object.
pub(super) fn key(namespace: &str, name: &str) -> Key {
    [namespace.as_bytes(), b".", name.as_bytes()].concat().to_ascii_lowercase().into()
}

/// Namespace and name of a key.
pub(super) fn parts(key: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(key);
    let (namespace, name) = text.split_once('.').unwrap_or(("", &text));
    (namespace.to_owned(), name.to_owned())
}
