// SPDX-License-Identifier: GPL-3.0-or-later
//! From the disk to memory: opens the newest database of a folder and reads all of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, Group};
use super::folder::Folder;
use super::record::{self, Head};
use super::{Finding, OpenError, witness};
use crate::store::{Entry, Revision};

/// How many entries are written at once into a new database.
const BUILD_PART: usize = 256;

/// The database that counts.
pub(super) struct Loaded {
    pub(super) disk: Disk,
    pub(super) generation: u64,
    pub(super) head: Head,
}

/// Everything in a database.
type Entries = BTreeMap<Arc<str>, Entry>;

/// What a look at every record found.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) head: Option<Head>,
    pub(super) entries: Entries,
    pub(super) findings: Vec<Finding>,
}

/// Opens the folder's database, or makes the first one.
pub(super) fn load(folder: &Folder) -> Result<(Loaded, Entries), OpenError> {
    let generations = folder.generations()?;
    let Some((&generation, older)) = generations.split_last() else {
        return create(folder);
    };
    let path = folder.data(generation);
    let failed = |source| OpenError::Database { path: path.clone(), source };
    let disk = Disk::open(&path).map_err(failed)?;
    let scan = scan(&disk).map_err(failed)?;
    if let Some(finding) = scan.findings.into_iter().next() {
        return Err(OpenError::Corrupt { path, key: finding.key, problem: finding.problem });
    }
    let head = scan.head.unwrap_or_default();
    if let Some(acknowledged) = rolled_back(folder, head.revision)? {
        let (observed, witness) = (head.revision, folder.newest());
        return Err(OpenError::RolledBack { path, observed, acknowledged, witness });
    }
    // Only now, with a newer one that is whole: these are what a rebuild left behind.
    for &generation in older {
        remove(&folder.data(generation));
    }
    remove(&folder.building());
    Ok((Loaded { disk, generation, head }, scan.entries))
}

/// The newest acknowledged revision, if it is newer than `observed`.
pub(super) fn rolled_back(
    folder: &Folder,
    observed: Revision,
) -> Result<Option<Revision>, OpenError> {
    let path = folder.newest();
    match witness::read(&path) {
        Ok(acknowledged) => Ok(acknowledged.filter(|acknowledged| *acknowledged > observed)),
        Err(source) => Err(OpenError::Folder { path, source }),
    }
}

/// Makes a database under a name that does not count, and gives it one that does when it is whole.
///
/// When this fails, the generation is not there. The new name is not durable yet.
pub(super) fn build(
    folder: &Folder,
    generation: u64,
    head: Head,
    entries: &[Entry],
) -> io::Result<()> {
    let building = folder.building();
    match fs::remove_dir_all(&building) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let disk = Disk::open(&building)?;
    // In parts, which is safe while the name does not count, and does not take the memory twice.
    for part in entries.chunks(BUILD_PART) {
        let mut group = Group::default();
        for entry in part {
            group.put(&record::entry_key(&entry.key), record::encode(entry));
        }
        disk.write(group)?;
    }
    let mut last = Group::default();
    last.put(record::HEAD_KEY, head.encode());
    disk.write(last)?;
    disk.sync_names()?;
    // Closed, because sled keeps the path it was opened with.
    drop(disk);
    fs::rename(&building, folder.data(generation))
}

/// Reads every record and judges it.
pub(super) fn scan(disk: &Disk) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut observed = Head::default();
    let mut newest = observed.revision;
    let mut entries = Vec::new();
    disk.scan(|key, value| {
        let problem = if key == record::HEAD_KEY {
            match Head::decode(value) {
                Ok(head) => {
                    scan.head = Some(head);
                    return;
                }
                Err(problem) => problem,
            }
        } else {
            match record::decode(key, value) {
                Ok(entry) => {
                    observed.add(&entry);
                    newest = newest.max(entry.modified);
                    entries.push((Arc::clone(&entry.key), entry));
                    return;
                }
                Err(problem) => problem,
            }
        };
        scan.findings.push(Finding { key: record::display_key(key), problem: problem.to_owned() });
    })?;
    // They came in order: made at once, the tree takes less time, and has no empty places.
    scan.entries = entries.into_iter().collect();
    scan.judge_head(observed, newest.0);
    Ok(scan)
}

impl Scan {
    /// Whether the records are those that the head knows of. Damaged ones explain a difference.
    fn judge_head(&mut self, observed: Head, newest: u64) {
        let found =
            |problem: String| Finding { key: record::display_key(record::HEAD_KEY), problem };
        if !self.findings.is_empty() {
            return;
        }
        match self.head {
            None => self.findings.push(found("is missing".to_owned())),
            Some(head) if head.revision.0 < newest => self.findings.push(found(format!(
                "is at revision {}, older than a record at {newest}",
                head.revision
            ))),
            Some(head) if head.count != observed.count => self.findings.push(found(format!(
                "knows of {} records, {} are there",
                head.count, observed.count
            ))),
            Some(head) if head.sum != observed.sum => {
                self.findings.push(found("does not fit the records' checksums".to_owned()));
            }
            Some(_) => {}
        }
    }
}

fn create(folder: &Folder) -> Result<(Loaded, Entries), OpenError> {
    let generation = 1;
    let head = Head::default();
    let path = folder.data(generation);
    let disk = build(folder, generation, head, &[])
        .and_then(|()| folder.sync())
        .and_then(|()| Disk::open(&path))
        .map_err(|source| OpenError::Database { path, source })?;
    Ok((Loaded { disk, generation, head }, Entries::new()))
}

/// What stays costs space and nothing else, so a failure is no reason to stop.
pub(super) fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "failed to remove an old database");
        }
    }
}
