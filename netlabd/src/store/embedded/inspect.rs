// SPDX-License-Identifier: GPL-3.0-or-later
//! A look at a store that no daemon has open: what is damaged, and what can still be read.

use std::fmt;
use std::io;
use std::path::Path;

use serde_json::json;

use super::OpenError;
use super::disk::Disk;
use super::folder::Folder;
use super::load::{self, Scan};
use super::record;

/// Something wrong in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The damaged record.
    pub key: String,
    /// What is wrong with it, as the end of a sentence that begins with the key.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record `{}` {}", self.key, self.problem)
    }
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Records with their value.
    pub entries: usize,
    /// Records of which only the damage could be told.
    pub damaged: usize,
}

pub(super) fn check(path: &Path) -> Result<Vec<Finding>, OpenError> {
    Ok(scan(path)?.findings)
}

pub(super) fn export(path: &Path, out: &mut dyn io::Write) -> Result<Exported, OpenError> {
    let scan = scan(path)?;
    let exported = Exported { entries: scan.entries.len(), damaged: scan.findings.len() };
    write(&scan, out).map_err(|source| OpenError::Export { source })?;
    Ok(exported)
}

fn write(scan: &Scan, out: &mut dyn io::Write) -> io::Result<()> {
    for entry in scan.entries.values() {
        let mut line = json!({
            "key": &*entry.key,
            "created": entry.created.0,
            "modified": entry.modified.0,
        });
        match std::str::from_utf8(&entry.value) {
            Ok(text) => line["value"] = text.into(),
            Err(_) => line["valueHex"] = hex(&entry.value).into(),
        }
        writeln!(out, "{line}")?;
    }
    for finding in &scan.findings {
        writeln!(out, "{}", json!({ "key": finding.key, "error": finding.problem }))?;
    }
    out.flush()
}

fn scan(path: &Path) -> Result<Scan, OpenError> {
    let folder = Folder::take(path, false)?;
    let Some(&generation) = folder.generations()?.last() else {
        return Ok(Scan::default());
    };
    let data = folder.data(generation);
    let failed = |source| OpenError::Database { path: data.clone(), source };
    let disk = Disk::open(&data).map_err(failed)?;
    let mut scan = load::scan(&disk).map_err(failed)?;
    if let Some(head) = scan.head
        && let Some(acknowledged) = load::rolled_back(&folder, head.revision)?
    {
        let problem =
            format!("is at revision {}, though {acknowledged} was written", head.revision);
        scan.findings.push(Finding { key: record::display_key(record::HEAD_KEY), problem });
    }
    Ok(scan)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
