// SPDX-License-Identifier: GPL-3.0-or-later
//! Archives on their way: packed from the disk, and unpacked to it without leaving the target.
//!
//! What a pod sends is not trusted: an entry that would land outside the target, and anything but
//! files and folders, is passed over with a warning, as kubectl does.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use bytes::{Buf, Bytes};
use tar::{Archive, Builder, EntryType};
use tokio::sync::mpsc;

/// Reads pieces as they come. For a thread that may block.
#[derive(Debug)]
pub(crate) struct ChannelReader {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl ChannelReader {
    pub(crate) fn new(receiver: mpsc::Receiver<Bytes>) -> ChannelReader {
        ChannelReader { receiver, piece: Bytes::new() }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Writes pieces as they are taken. For a thread that may block.
#[derive(Debug)]
pub(crate) struct ChannelWriter {
    sender: mpsc::Sender<Bytes>,
}

impl ChannelWriter {
    pub(crate) fn new(sender: mpsc::Sender<Bytes>) -> ChannelWriter {
        ChannelWriter { sender }
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self.sender.blocking_send(Bytes::copy_from_slice(buffer)) {
            Ok(()) => Ok(buffer.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Packs a file or a folder under the name `base`. Gives warnings.
pub(crate) fn pack(local: &Path, base: &str, writer: impl Write) -> io::Result<Vec<String>> {
    let mut builder = Builder::new(io::BufWriter::with_capacity(32 * 1024, writer));
    builder.follow_symlinks(false);
    let mut warnings = Vec::new();
    // A command that ended early reads no more: its exit code says why, not this.
    match add(&mut builder, local, Path::new(base), &mut warnings)
        .and_then(|()| builder.into_inner()?.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(warnings),
    }
}

fn add<W: Write>(
    builder: &mut Builder<W>,
    local: &Path,
    name: &Path,
    warnings: &mut Vec<String>,
) -> io::Result<()> {
    let told = |error: io::Error| {
        io::Error::new(error.kind(), format!("failed to read `{}`: {error}", local.display()))
    };
    let kind = fs::symlink_metadata(local).map_err(told)?.file_type();
    if kind.is_dir() {
        builder.append_dir(name, local)?;
        let mut entries =
            fs::read_dir(local).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(told)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            add(builder, &entry.path(), &name.join(entry.file_name()), warnings)?;
        }
    } else if kind.is_file() || kind.is_symlink() {
        builder.append_path_with_name(local, name)?;
    } else {
        warnings.push(format!("`{}` is no file and no folder: passed over", local.display()));
    }
    Ok(())
}

/// Unpacks an archive of one file or folder to `target`. Gives warnings.
pub(crate) fn unpack(reader: impl Read, target: &Path) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    let mut archive = Archive::new(reader);
    let told = |error: io::Error| format!("failed to read the archive: {error}");
    let mut any = false;
    for entry in archive.entries().map_err(told)? {
        let mut entry = entry.map_err(told)?;
        let name = entry.path().map_err(told)?.into_owned();
        let Some(inside) = inside(&name) else {
            warnings.push(format!("`{}` would leave the target: passed over", name.display()));
            continue;
        };
        let path = match inside.as_os_str().is_empty() {
            true => target.to_owned(),
            false => target.join(inside),
        };
        let told = |error: io::Error| format!("failed to write `{}`: {error}", path.display());
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&path).map_err(told)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
                {
                    fs::create_dir_all(folder).map_err(told)?;
                }
                // Set-id bits of a file that a pod made are not for this machine.
                let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
                let mut file = create(&path, mode).map_err(told)?;
                io::copy(&mut entry, &mut file).map_err(told)?;
            }
            EntryType::Symlink => {
                warnings.push(format!(
                    "`{}` is a symbolic link, which might lead outside: passed over",
                    name.display()
                ));
                continue;
            }
            _ => {
                warnings
                    .push(format!("`{}` is no file and no folder: passed over", name.display()));
                continue;
            }
        }
        any = true;
    }
    if any || !warnings.is_empty() { Ok(warnings) } else { Err("the pod sent nothing".to_owned()) }
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)
}

/// What follows the first part of an entry's name; nothing when the name leads outside.
fn inside(name: &Path) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => parts.push(component.as_os_str()),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.into_iter().skip(1).filter(|part| *part != ".").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with an entry of any name and type, which `Builder` would refuse to write.
    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_folder_survives_the_way_there_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("a");
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::write(from.join("x"), "x").unwrap();
        fs::write(from.join("deep/er/y"), vec![7; 100_000]).unwrap();
        let mut packed = Vec::new();
        assert_eq!(pack(&from, "b", &mut packed).unwrap(), Vec::<String>::new());
        let to = folder.path().join("c");
        assert_eq!(unpack(&packed[..], &to), Ok(Vec::new()));
        assert_eq!(fs::read_to_string(to.join("x")).unwrap(), "x");
        assert_eq!(fs::read(to.join("deep/er/y")).unwrap(), vec![7; 100_000]);
    }

    #[test]
    fn one_file_takes_the_name_of_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("t");
        let packed = archive(&[("hosts", EntryType::Regular, "h")]);
        assert_eq!(unpack(&packed[..], &target), Ok(Vec::new()));
        assert_eq!(fs::read_to_string(&target).unwrap(), "h");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&target).unwrap().permissions());
        assert_eq!(mode & 0o7000, 0, "set-id bits do not travel");
    }

    #[test]
    fn nothing_leaves_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("in/t");
        let packed = archive(&[
            ("t/../../evil", EntryType::Regular, "e"),
            ("../evil", EntryType::Regular, "e"),
            ("/tmp/netlabctl-evil", EntryType::Regular, "e"),
            ("t/link", EntryType::Symlink, ""),
            ("t/device", EntryType::Char, ""),
            ("t/good", EntryType::Regular, "g"),
        ]);
        let warnings = unpack(&packed[..], &target).unwrap();
        assert_eq!(warnings.len(), 5, "{warnings:?}");
        assert_eq!(fs::read_to_string(target.join("good")).unwrap(), "g");
        assert!(!folder.path().join("evil").exists() && !folder.path().join("in/evil").exists());
        assert!(!Path::new("/tmp/netlabctl-evil").exists());
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    }

    #[test]
    fn an_archive_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let packed = archive(&[("t", EntryType::Regular, "content")]);
        assert!(unpack(&packed[..514], &folder.path().join("t")).is_err());
        assert!(unpack(&b""[..], &folder.path().join("t")).is_err());
    }
}
