// SPDX-License-Identifier: GPL-3.0-or-later
//! The files of the workspace.

use std::fs;
use std::path::Path;

/// What stands at the top of each file.
pub(crate) const LICENCE: &str = concat!("SPDX-License", "-Identifier: GPL-3.0-or-later");

/// A file.
pub(crate) struct Source {
    /// From the workspace's root on.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All Rust files.
pub(crate) fn sources() -> Vec<Source> {
    let mut found = all();
    found.retain(|file| file.path.ends_with(".rs"));
    assert!(found.len() > 100, "only {} files: is this the workspace?", found.len());
    found
}

/// All files that are written in a language with comments.
pub(crate) fn all() -> Vec<Source> {
    found(|name| name.ends_with(".rs") || name.ends_with(".sh") || name == "Cargo.toml")
}

/// All documents.
pub(crate) fn documents() -> Vec<Source> {
    found(|name| name.ends_with(".md"))
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace has a root")
}

fn found(is_wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be read").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            // Manifests of tests are input, as users write it.
            let skip = ["target", ".git", "manifests"].contains(&&*name);
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !skip {
                folders.push(path);
            } else if is_wanted(&name) {
                let text = fs::read_to_string(&path).expect("a source can be read");
                let path = path.strip_prefix(root()).expect("it was found below the root");
                found.push(Source { path: path.display().to_string(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
