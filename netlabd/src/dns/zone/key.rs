// SPDX-License-Identifier: GPL-3.0-or-later
//! What the zone calls an object.

use std::sync::Arc;

/// `namespace.name` in lower case. Neither has a dot in it.
pub(super) type Key = Arc<[u8]>;

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
