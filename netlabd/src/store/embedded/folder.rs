// SPDX-License-Identifier: GPL-3.0-or-later
//! The state folder: one daemon at a time, and one known format.
//!
//! ```text
//!   lock      flock'd while a daemon runs; holds its pid
//!   format    the version of everything else
//!   newest    the newest revision that was acknowledged, to notice that the database lost some
//!   data.N    the database; the highest N counts
//!   building  a database in the making, of no worth before it is renamed to data.N
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::OpenError;

/// The version of the folder's layout and of the records.
const FORMAT: u32 = 1;

/// How long the lock of a daemon that was killed may live on in its children.
const HANDOVER: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A folder that is ours until dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Takes the folder, and makes it if `create` is set and it is not there.
    ///
    /// The format is looked at before anything is written: a folder of a newer netlabd stays as it is.
    pub(super) fn take(path: &Path, create: bool) -> Result<Self, OpenError> {
        let known = read_format(path)?;
        let missing = || OpenError::Missing { path: path.to_owned() };
        if !create && !path.exists() {
            return Err(missing());
        }
        if create {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
                .map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
        }
        let folder = Self { path: path.to_owned(), _lock: lock(path)? };
        // Someone else may have made the folder between the look and the lock.
        if !known && !read_format(path)? {
            if let Some(data) = folder.generations()?.first() {
                return Err(OpenError::MissingFormat {
                    path: path.join("format"),
                    data: folder.data(*data),
                });
            }
            if !create {
                return Err(missing());
            }
            folder.write_format()?;
        }
        Ok(folder)
    }

    /// The numbers of the databases in the folder, ascending.
    pub(super) fn generations(&self) -> Result<Vec<u64>, OpenError> {
        let failed = |source| OpenError::Folder { path: self.path.clone(), source };
        let mut found = Vec::new();
        for item in fs::read_dir(&self.path).map_err(failed)? {
            let name = item.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("data."));
            found.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The database of one generation.
    pub(super) fn data(&self, generation: u64) -> PathBuf {
        self.path.join(format!("data.{generation}"))
    }

    /// The newest revision.
    pub(super) fn newest(&self) -> PathBuf {
        self.path.join("newest")
    }

    /// Where a new database is made.
    pub(super) fn building(&self) -> PathBuf {
        self.path.join("building")
    }

    /// Makes names in the folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn write_format(&self) -> Result<(), OpenError> {
        let path = self.path.join("format");
        let temporary = self.path.join("format.new");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(format!("{FORMAT}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            self.sync()
        };
        write().map_err(|source| OpenError::Folder { path: path.clone(), source })
    }
}

/// Whether there is a format that we know; an error when there is one that we do not.
fn read_format(folder: &Path) -> Result<bool, OpenError> {
    let path = folder.join("format");
    let mut text = Vec::new();
    // No format is longer than a number: do not read a file that someone else put there whole.
    match File::open(&path).and_then(|file| file.take(64).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(OpenError::Folder { path, source }),
    }
    let text = String::from_utf8_lossy(&text);
    match text.trim_end().parse::<u32>() {
        Ok(FORMAT) => Ok(true),
        Ok(found) if found > FORMAT => {
            Err(OpenError::NewerFormat { path: folder.to_owned(), found, known: FORMAT })
        }
        _ => Err(OpenError::UnreadableFormat { path, text: text.escape_debug().to_string() }),
    }
}

/// Waits a moment for the lock: a child that a killed daemon was just spawning holds a copy of it
/// until its exec.
fn lock(folder: &Path) -> Result<Flock<File>, OpenError> {
    let deadline = Instant::now() + HANDOVER;
    loop {
        match try_lock(folder) {
            Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                std::thread::sleep(LOOK_AGAIN);
            }
            outcome => return outcome,
        }
    }
}

fn try_lock(folder: &Path) -> Result<Flock<File>, OpenError> {
    let path = folder.join("lock");
    let failed = |source| OpenError::Folder { path: path.clone(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            // The lock is what counts, the pid only helps people; a full disk does not hinder a start.
            let _ = lock
                .set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| writeln!(lock, "{}", std::process::id()));
            Ok(lock)
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            Err(OpenError::InUse { path: folder.to_owned(), pid: pid.trim().parse().ok() })
        }
        Err((_, errno)) => Err(failed(errno.into())),
    }
}
