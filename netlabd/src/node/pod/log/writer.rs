// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes a command's output to its log files. It works on a descriptor of the folder, for the
//! pod's root does not show the folder.
//!
//! Nothing here fails: a record that cannot be written is dropped and counted, and what was
//! written of it is taken back, so that a full disk neither stops the command nor tears a line.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use nix::dir::Dir;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Stream, file_name, parse_file_name};
use crate::node::pod::config::LogConfig;

/// A longer line is written in parts; the limit of kubelet and containerd.
pub(super) const MAX_TEXT: usize = 16 << 10;

/// The log of one pod.
pub(crate) struct LogWriter {
    dir: OwnedFd,
    max_bytes: u64,
    max_files: u32,
    run: u32,
    file: Option<File>,
    size: u64,
    dropped: u64,
    /// Beginnings of lines whose ends have not come yet.
    unfinished: [Vec<u8>; 2],
    /// Records on their way to the file.
    buffer: Vec<u8>,
    buffered: u64,
}

impl LogWriter {
    pub(crate) fn new(dir: OwnedFd, config: &LogConfig) -> Self {
        LogWriter {
            dir,
            max_bytes: config.max_bytes,
            max_files: config.max_files.max(1),
            run: 0,
            file: None,
            size: 0,
            dropped: 0,
            unfinished: [Vec::new(), Vec::new()],
            buffer: Vec::new(),
            buffered: 0,
        }
    }

    /// Begins the log of a run and removes those before the last one.
    pub(crate) fn begin(&mut self, run: u32) {
        self.run = run;
        self.file = None;
        self.open();
        self.remove_runs_before(run.saturating_sub(1));
    }

    /// Ends the log of a run; a last line without an end is written as it is.
    pub(crate) fn end(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let text = std::mem::take(&mut self.unfinished[stream as usize]);
            if !text.is_empty() {
                self.record(stream, 'F', &text, &format_time(Timestamp::now()));
            }
        }
        self.flush();
        self.file = None;
        // A pod may hold its namespaces for long after its command ended.
        self.buffer = Vec::new();
    }

    /// How many records could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds output as it came; lines need not be whole.
    pub(crate) fn write(&mut self, stream: Stream, mut text: &[u8], now: Timestamp) {
        let time = format_time(now);
        let mut line = std::mem::take(&mut self.unfinished[stream as usize]);
        while !text.is_empty() {
            let end = text.iter().position(|&byte| byte == b'\n');
            let part = &text[..end.unwrap_or(text.len())];
            let room = MAX_TEXT - line.len();
            if part.len() > room {
                line.extend_from_slice(&part[..room]);
                self.record(stream, 'P', &line, &time);
                line.clear();
                text = &text[room..];
                continue;
            }
            if end.is_none() {
                line.extend_from_slice(part);
                break;
            }
            if line.is_empty() {
                self.record(stream, 'F', part, &time);
            } else {
                line.extend_from_slice(part);
                self.record(stream, 'F', &line, &time);
                line.clear();
            }
            text = &text[part.len() + 1..];
        }
        self.unfinished[stream as usize] = line;
        self.flush();
    }

    fn record(&mut self, stream: Stream, tag: char, text: &[u8], time: &str) {
        let length = (time.len() + stream.as_str().len() + text.len() + 5) as u64;
        let before = self.size + self.buffer.len() as u64;
        if before > 0 && before + length > self.max_bytes {
            self.flush();
            self.rotate();
        }
        // Writing to a Vec cannot fail.
        let _ = write!(self.buffer, "{time} {} {tag} ", stream.as_str());
        self.buffer.extend_from_slice(text);
        self.buffer.push(b'\n');
        self.buffered += 1;
    }

    fn flush(&mut self) {
        if self.buffered == 0 {
            return;
        }
        if self.file.is_none() {
            self.open();
        }
        let written = match &mut self.file {
            None => false,
            Some(file) => {
                let written = file.write_all(&self.buffer).is_ok();
                if !written {
                    // Shrinking needs no room, so this works on a full disk.
                    let _ = file.set_len(self.size);
                }
                written
            }
        };
        if written {
            self.size += self.buffer.len() as u64;
        } else {
            self.dropped += self.buffered;
        }
        self.buffer.clear();
        self.buffered = 0;
    }

    fn open(&mut self) {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_CLOEXEC;
        let name = file_name(self.run, 0);
        let mode = Mode::from_bits_truncate(0o640);
        self.file = openat(&self.dir, name.as_str(), flags, mode).ok().map(File::from);
        self.size =
            self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
    }

    fn rotate(&mut self) {
        if self.size == 0 {
            return;
        }
        self.file = None;
        if self.max_files == 1 {
            let name = file_name(self.run, 0);
            let _ = unlinkat(&self.dir, name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        // The oldest is overwritten by the one after it.
        for age in (0..self.max_files - 1).rev() {
            let (from, to) = (file_name(self.run, age), file_name(self.run, age + 1));
            let _ = renameat(&self.dir, from.as_str(), &self.dir, to.as_str());
        }
        self.open();
    }

    fn remove_runs_before(&self, first: u32) {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut dir) = Dir::openat(&self.dir, ".", flags, Mode::empty()) else { return };
        for entry in dir.iter().flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if parse_file_name(name).is_some_and(|(run, _)| run < first) {
                let _ = unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir);
            }
        }
    }
}

fn format_time(time: Timestamp) -> String {
    format!("{time:.9}")
}
