// SPDX-License-Identifier: GPL-3.0-or-later
//! The folder `pki` of the state directory: keys and certificates, PEM, mode 0600.
//!
//! ```text
//!   ca.crt                 the authority's certificate, on every node
//!   ca.key                 its key, on the server alone: who has it is the cluster
//!   node.crt, node.key     what this daemon shows to others
//!   joined.json            on a node that joined: where its server is, and the cluster's networks
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Certificate of the authority.
pub(super) const CA_CERTIFICATE: &str = "ca.crt";
/// Key of the authority.
pub(super) const CA_KEY: &str = "ca.key";
/// Certificate of this daemon.
pub(super) const NODE_CERTIFICATE: &str = "node.crt";
/// Key of this daemon.
pub(super) const NODE_KEY: &str = "node.key";
/// Where this daemon joined.
pub(super) const JOINED: &str = "joined.json";

/// The folder.
#[derive(Debug, Clone)]
pub struct Pki {
    folder: PathBuf,
}

/// Why a file of the folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// It cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("failed to write `{path}`: is the disk full?")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

impl Pki {
    /// The folder below a state directory; made when something is first written.
    pub fn of(state_dir: &Path) -> Pki {
        Pki { folder: state_dir.join("pki") }
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file's content, if there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<String>, PkiError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PkiError::Read { path, source }),
        }
    }

    /// Writes a file, readable by root alone. A crash leaves the old content or the new, and once
    /// this returns the new one survives a power cut.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, name: &str, content: &str) -> Result<(), PkiError> {
        self.try_write(name, content)
            .map_err(|source| PkiError::Write { path: self.path(name), source })
    }

    fn try_write(&self, name: &str, content: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let new = self.path(&format!(".{name}.new"));
        // One that a crash left behind may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.path(name))?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_roots_alone_and_replaces_what_was_there() {
        let state = tempfile::tempdir().unwrap();
        let pki = Pki::of(state.path());
        assert!(pki.read(CA_KEY).unwrap().is_none());
        pki.write(CA_KEY, "one").unwrap();
        // As a crash between two steps leaves it.
        fs::write(pki.path(".ca.key.new"), "half").unwrap();
        pki.write(CA_KEY, "two").unwrap();
        assert_eq!(pki.read(CA_KEY).unwrap().as_deref(), Some("two"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&pki.path(CA_KEY)), 0o600);
        assert_eq!(mode(&state.path().join("pki")), 0o700);
        assert_eq!(fs::read_dir(state.path().join("pki")).unwrap().count(), 1);
    }
}
