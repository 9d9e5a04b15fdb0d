// SPDX-License-Identifier: GPL-3.0-or-later
//! The database on disk, and all that is particular about sled 0.34.
//!
//! - Its flush ends in sync_file_range(2), which promises nothing about a power cut: neither file
//!   metadata nor the drive's cache are written. So we call fdatasync(2) on its file ourselves.
//! - Values too large for its segments go to files of their own, which it never syncs. We do.
//! - After an I/O error it refuses all further work until it is opened again.
//! - When it is opened it writes a snapshot of its page table. When that is cut short, by a crash or
//!   a full disk, no later open succeeds before the half file is removed.
//! - When it is dropped, its threads may hold its file, and the lock on it, for a moment more.
//! - Some errors are panics, even when it is opened or dropped. They stop here and become errors.

use std::any::Any;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// sled's cache of its own pages, in bytes. Reads never come here, so it serves writes alone.
const CACHE_BYTES: u64 = 2 << 20;

/// How long a dropped database may keep its lock; it takes microseconds unless sled hangs.
const UNLOCK_TIMEOUT: Duration = Duration::from_secs(2);
const UNLOCK_POLL: Duration = Duration::from_millis(1);

/// An open database.
pub(super) struct Disk {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    /// sled's file, for fdatasync.
    file: File,
    path: PathBuf,
}

/// Writes that reach the disk together or not at all.
#[derive(Default)]
pub(super) struct Group(sled::Batch);

impl Group {
    pub(super) fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.0.insert(key, value);
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

impl Disk {
    /// Opens the database in the folder `path`, which is made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        wait_until_unlocked(&path.join("db"))?;
        remove_half_snapshots(path)?;
        let db = guard(|| config.open())?;
        let file = File::open(path.join("db"));
        let mut disk = Self { db: Some(db), file: File::open("/dev/null")?, path: path.to_owned() };
        disk.file = file?;
        Ok(disk)
    }

    /// Writes `group` and waits until it is durable.
    pub(super) fn write(&self, group: Group) -> io::Result<()> {
        let db = self.db()?;
        guard(|| {
            db.apply_batch(group.0)?;
            db.flush()
        })?;
        self.file.sync_data()?;
        self.sync_large_values()
    }

    /// Makes the names of the database's files durable. Needed once, after it was made.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        File::open(self.path.join("conf"))?.sync_all()?;
        self.file.sync_all()?;
        for entry in fs::read_dir(&self.path)? {
            File::open(entry?.path())?.sync_all()?;
        }
        File::open(&self.path)?.sync_all()
    }

    /// Calls `visit` with every key and value, in key order.
    pub(super) fn scan(&self, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let db = self.db()?;
        guard(|| {
            for item in db.iter() {
                let (key, value) = item?;
                visit(&key, &value);
            }
            Ok(())
        })
    }

    /// How many bytes the database takes on disk.
    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync_large_values(&self) -> io::Result<()> {
        let folder = self.path.join("blobs");
        let mut found = false;
        for entry in fs::read_dir(&folder)? {
            File::open(entry?.path())?.sync_data()?;
            found = true;
        }
        if found { File::open(&folder)?.sync_all() } else { Ok(()) }
    }

    fn db(&self) -> io::Result<&sled::Db> {
        self.db.as_ref().ok_or_else(|| io::Error::other("BUG: the database is being dropped"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let db = self.db.take();
        if let Err(error) = guard(|| {
            drop(db);
            Ok(())
        }) {
            tracing::warn!(%error, path = %self.path.display(), "failed to close the database");
        }
    }
}

/// Removes the snapshots that sled began to write. It would take one for whole and call the database
/// corrupt; the one before it is still there.
fn remove_half_snapshots(path: &Path) -> io::Result<()> {
    for item in fs::read_dir(path)? {
        let item = item?;
        let name = item.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(item.path())?;
        }
    }
    Ok(())
}

/// Waits for sled's own lock: `path` may have been open in this process a moment ago. Other processes
/// are kept away by the folder's lock.
fn wait_until_unlocked(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + UNLOCK_TIMEOUT;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_unlocks_when_dropped) => return Ok(()),
            Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = back,
            Err((_, errno)) => return Err(errno.into()),
        }
        std::thread::sleep(UNLOCK_POLL);
    }
}

/// Runs sled with its panics and errors made into I/O errors.
fn guard<T>(run: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    // Unwind safe: after any error the database is dropped and opened anew.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(as_the_kernel_said(error)),
        Ok(Err(error @ sled::Error::Corruption { .. })) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Ok(Err(error)) => Err(io::Error::other(error)),
        Err(panic) => Err(io::Error::other(format!("the database panicked: {}", message(&*panic)))),
    }
}

/// sled hands some errors out as copies, which have the kernel's words as Rust debugs them and no
/// number any more.
fn as_the_kernel_said(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    match error.kind() {
        io::ErrorKind::StorageFull => Errno::ENOSPC.into(),
        io::ErrorKind::QuotaExceeded => Errno::EDQUOT.into(),
        _ => error,
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = guard(|| -> sled::Result<()> { panic!("page {} is gone", 7) }).unwrap_err();
        assert_eq!(error.to_string(), "the database panicked: page 7 is gone");
    }

    #[test]
    fn a_full_disk_is_told_in_the_kernels_words_though_sled_copied_the_error() {
        for full in [Errno::ENOSPC, Errno::EDQUOT] {
            let error = sled::Error::Io(full.into());
            let copied = guard(|| -> sled::Result<()> { Err(error.clone()) }).unwrap_err();
            assert_eq!(copied.to_string(), io::Error::from(full).to_string());
        }
    }

    #[test]
    fn a_half_snapshot_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let mut group = Group::default();
        group.put(b"a", vec![1]);
        Disk::open(folder.path()).unwrap().write(group).unwrap();
        fs::write(folder.path().join("snap.FFFFFFFFFFFFFFF0.generating"), "half").unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        let mut found = Vec::new();
        disk.scan(|key, value| found.push((key.to_vec(), value.to_vec()))).unwrap();
        assert_eq!(found, [(b"a".to_vec(), vec![1])]);
    }
}
