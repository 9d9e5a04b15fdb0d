// SPDX-License-Identifier: GPL-3.0-or-later
//! The names as netlab's own daemon gets them: as objects, through its API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::catalogue::Catalogue;
use super::server;
use crate::api::{Api, revision};
use crate::sandbox::{RUN_DIR, state_dir};

/// Objects of one request: some MiB are the most that the daemon takes.
const TOGETHER: usize = 200;

/// After so long at rest the daemon has given back what it used for a while.
pub(super) const REST: Duration = Duration::from_secs(3);

/// A configuration that differs from the default in whom is asked for names outside.
///
/// # Errors
/// When it cannot be written.
pub(super) fn config() -> anyhow::Result<PathBuf> {
    let path = state_dir()?.join("names.toml");
    let text = format!("[dns.forward]\nto = [\"{}\"]\n", server::UPSTREAM);
    std::fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
    Ok(path)
}

/// Gives the daemon all objects of a catalogue and waits until they are programmed.
///
/// # Errors
/// When it refuses.
pub(super) fn apply(catalogue: &Catalogue) -> anyhow::Result<()> {
    let mut api = Api::connect(&Path::new(RUN_DIR).join("netlabd.sock"))?;
    for objects in catalogue.objects().chunks(TOGETHER) {
        let answer = api.json("POST", "/v1/apply", &json!({ "items": objects }).to_string())?;
        api.programmed(revision(&answer)?)?;
    }
    Ok(())
}
