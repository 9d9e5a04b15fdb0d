// SPDX-License-Identifier: GPL-3.0-or-later
//! The newest acknowledged revision, kept beside the database.
//!
//! When a part of sled's log is damaged, sled takes the part before it for everything there is and
//! opens an older state without a word. Only something outside of the log can tell.
//!
//! The file is written after the database is durable and is not synced itself. So after a power cut
//! it may be some seconds old, and it never names a revision that the database should not have.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::store::Revision;

/// 20 digits, a space, 8 hexadecimal digits of a CRC32, a newline: always the same length, so that
/// it is overwritten in place, even on a full disk.
const LENGTH: usize = 30;

/// The open file.
pub(super) struct Witness(Option<File>);

impl Witness {
    /// Opens the file at `path`, and makes it if it is not there. Without it the store works too.
    pub(super) fn open(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        match options.write(true).create(true).truncate(false).mode(0o600).open(path) {
            Ok(file) => Self(Some(file)),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "failed to open the newest revision");
                Self(None)
            }
        }
    }

    /// Notes that `revision` is durable.
    pub(super) fn note(&self, revision: Revision) {
        if let Some(file) = &self.0
            && let Err(error) = file.write_all_at(line(revision).as_bytes(), 0)
        {
            tracing::debug!(%error, "failed to note the newest revision");
        }
    }
}

/// What the file at `path` says; `None` when it is not there or is damaged itself.
pub(super) fn read(path: &Path) -> io::Result<Option<Revision>> {
    let mut bytes = [0; LENGTH];
    match File::open(path).and_then(|file| file.read_exact_at(&mut bytes, 0)) {
        Ok(()) => {}
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => return Ok(None),
            _ => return Err(error),
        },
    }
    let text = String::from_utf8_lossy(&bytes);
    let revision = text.get(..20).and_then(|digits| digits.parse::<Revision>().ok());
    Ok(revision.filter(|revision| line(*revision) == text))
}

fn line(revision: Revision) -> String {
    let digits = format!("{:020}", revision.0);
    let crc = crc32fast::hash(digits.as_bytes());
    format!("{digits} {crc:08x}\n")
}
