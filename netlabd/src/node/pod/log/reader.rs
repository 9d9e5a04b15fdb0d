// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads a pod's log files, also while they are written and rotated.
//!
//! The reader never blocks. [`LogReader::read`] gives what is there now; at the end it gives
//! nothing, and the descriptor of [`LogReader::as_fd`] (inotify on the folder) becomes readable
//! when there may be more. An async server puts that descriptor into an `AsyncFd` and calls
//! `read` whenever it is readable; a blocking one calls [`LogReader::wait`].

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::{Stream, file_name, parse_file_name};

/// How much is read from a file at once.
const CHUNK: usize = 64 << 10;

/// What to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The run before the last start of the command instead of the present one.
    pub previous: bool,
    /// Only this many lines from the end.
    pub tail: Option<usize>,
    /// Only records from this time on.
    pub since: Option<Timestamp>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Only this stream.
    pub stream: Option<Stream>,
}

/// What can go wrong with reading a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no run before this one.
    #[error("no previous run of the command in `{dir}`: it has not been restarted")]
    NoPrevious {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder cannot be watched.
    #[error(
        "failed to watch the log folder `{dir}`: has the pod been started, and is \
             fs.inotify.max_user_instances reached?"
    )]
    Watch {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A file cannot be read.
    #[error("failed to read the log `{path}`")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LogError {
    /// Whether there is no log: the pod has not been started, or has had no run before.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            LogError::NoPrevious { .. } => true,
            LogError::Watch { source, .. } => *source == Errno::ENOENT,
            LogError::Read { source, .. } => source.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// A place in a pod's log.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    run: u32,
    query: LogQuery,
    watch: Inotify,
    file: Option<File>,
    /// The beginning of a record whose end has not been written yet.
    unfinished: Vec<u8>,
    /// The last record of each stream that was given out was the beginning of a longer line.
    inside_line: [bool; 2],
    /// Lines still to be passed over before the tail begins.
    skip: usize,
}

impl LogReader {
    /// Finds the run to read. A pod that has written nothing yet has an empty log.
    ///
    /// # Errors
    /// When there is no previous run, or the folder cannot be read or watched.
    pub fn open(dir: &Path, query: LogQuery) -> Result<Self, LogError> {
        let watching = |source| LogError::Watch { dir: dir.to_owned(), source };
        // Before the first look, so that nothing falls between the two.
        let watch =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(watching)?;
        let events =
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        watch.add_watch(dir, events).map_err(watching)?;
        let latest = latest_run(dir)?;
        let run = match (query.previous, latest) {
            (false, latest) => latest.unwrap_or(0),
            (true, Some(latest)) if latest > 0 && has_run(dir, latest - 1)? => latest - 1,
            (true, _) => return Err(LogError::NoPrevious { dir: dir.to_owned() }),
        };
        let mut reader = LogReader {
            dir: dir.to_owned(),
            run,
            query,
            watch,
            file: None,
            unfinished: Vec::new(),
            inside_line: [false; 2],
            skip: 0,
        };
        if let Some(tail) = reader.query.tail {
            reader.seek_tail(tail)?;
        }
        Ok(reader)
    }

    /// The run that is read: the restart count it belongs to.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Appends what is there to `out`, about 64 KiB at most, and returns how many bytes that
    /// were. `Ok(0)` is the end for now.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&mut self, out: &mut Vec<u8>) -> Result<usize, LogError> {
        self.drain_events();
        let before = out.len();
        let mut chunk = vec![0; CHUNK];
        while out.len() == before {
            if self.file.is_none() {
                self.file = self.open_oldest()?;
            }
            let Some(file) = &mut self.file else { break };
            let count = file.read(&mut chunk).map_err(|source| self.failed(source))?;
            if count == 0 {
                if !self.advance()? {
                    break;
                }
                continue;
            }
            self.take(&chunk[..count], out);
        }
        Ok(out.len() - before)
    }

    /// Whether the command has been started again since, so that this run gets no more records.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn is_superseded(&self) -> Result<bool, LogError> {
        Ok(latest_run(&self.dir)?.is_some_and(|latest| latest > self.run))
    }

    /// Blocks until there may be more to read; false when `timeout` passed before.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&self, timeout: Duration) -> Result<bool, LogError> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(source) => Err(LogError::Watch { dir: self.dir.clone(), source }),
        }
    }

    /// Only the fact that something happened counts; what happened is seen by looking.
    fn drain_events(&self) {
        while self.watch.read_events().is_ok_and(|events| !events.is_empty()) {}
    }

    /// At the end of a file: on to the next younger one, if this one has been rotated.
    fn advance(&mut self) -> Result<bool, LogError> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let path = self.dir.join(file_name(self.run, 0));
        let failed = |source| LogError::Read { path: path.clone(), source };
        let inode = file.metadata().map_err(failed)?.ino();
        let files = files_of_run(&self.dir, self.run)?;
        match files.iter().position(|found| found.inode == inode) {
            Some(index) if index + 1 == files.len() => return Ok(false),
            Some(index) => {
                // What was written between our last read and the rotation.
                let position = file.stream_position().map_err(failed)?;
                if file.metadata().map_err(failed)?.len() > position {
                    return Ok(true);
                }
                self.file = files[index + 1].open()?;
            }
            // Rotated away: the oldest that is left is nearest.
            None => self.file = files.first().map_or(Ok(None), LogFile::open)?,
        }
        self.unfinished.clear();
        Ok(self.file.is_some())
    }

    fn open_oldest(&self) -> Result<Option<File>, LogError> {
        files_of_run(&self.dir, self.run)?.first().map_or(Ok(None), LogFile::open)
    }

    /// Goes to the file in which the last `tail` lines begin, and counts those before them.
    fn seek_tail(&mut self, tail: usize) -> Result<(), LogError> {
        let mut lines = 0;
        for found in files_of_run(&self.dir, self.run)?.iter().rev() {
            let Some(mut file) = found.open()? else { continue };
            let failed = |source| LogError::Read { path: found.path.clone(), source };
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(failed)?;
            lines += text
                .split_inclusive(|&byte| byte == b'\n')
                .filter_map(Record::parse)
                .filter(|record| record.whole && self.is_wanted(record))
                .count();
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            self.file = Some(file);
            if lines >= tail {
                break;
            }
        }
        self.skip = lines.saturating_sub(tail);
        Ok(())
    }

    fn take(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let mut pending = std::mem::take(&mut self.unfinished);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            if !line.ends_with(b"\n") {
                pending.extend_from_slice(line);
            } else if pending.is_empty() {
                self.give(line, out);
            } else {
                pending.extend_from_slice(line);
                self.give(&pending, out);
                pending.clear();
            }
        }
        self.unfinished = pending;
    }

    fn give(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(record) = Record::parse(line) else { return };
        if !self.is_wanted(&record) {
            return;
        }
        if self.skip > 0 {
            self.skip -= usize::from(record.whole);
            return;
        }
        let inside = &mut self.inside_line[record.stream as usize];
        if self.query.timestamps && !*inside {
            out.extend_from_slice(record.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(record.text);
        if record.whole {
            out.push(b'\n');
        }
        *inside = !record.whole;
    }

    fn is_wanted(&self, record: &Record<'_>) -> bool {
        let late_enough = self
            .query
            .since
            .is_none_or(|since| record.time.parse::<Timestamp>().is_ok_and(|time| time >= since));
        late_enough && self.query.stream.is_none_or(|stream| stream == record.stream)
    }

    fn failed(&self, source: io::Error) -> LogError {
        LogError::Read { path: self.dir.join(file_name(self.run, 0)), source }
    }
}

impl AsFd for LogReader {
    /// Readable when there may be more to read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

/// One line of a log file.
struct Record<'a> {
    time: &'a str,
    stream: Stream,
    whole: bool,
    text: &'a [u8],
}

impl<'a> Record<'a> {
    /// `None` for what is no record.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.strip_suffix(b"\n")?.splitn(4, |&byte| byte == b' ');
        let time = str::from_utf8(parts.next()?).ok()?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let whole = match parts.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Record { time, stream, whole, text: parts.next()? })
    }
}

struct LogFile {
    path: PathBuf,
    age: u32,
    inode: u64,
}

impl LogFile {
    /// `None` when it has been removed or renamed since it was found.
    fn open(&self) -> Result<Option<File>, LogError> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LogError::Read { path: self.path.clone(), source }),
        }
    }
}

/// A run's files, the oldest first.
fn files_of_run(dir: &Path, wanted: u32) -> Result<Vec<LogFile>, LogError> {
    let mut files = Vec::new();
    for (run, age, entry) in log_files(dir)? {
        // Gone since: rotated away.
        if run == wanted
            && let Ok(meta) = entry.metadata()
        {
            files.push(LogFile { path: entry.path(), age, inode: meta.ino() });
        }
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.age));
    Ok(files)
}

fn latest_run(dir: &Path) -> Result<Option<u32>, LogError> {
    Ok(log_files(dir)?.iter().map(|(run, ..)| *run).max())
}

fn has_run(dir: &Path, wanted: u32) -> Result<bool, LogError> {
    Ok(log_files(dir)?.iter().any(|(run, ..)| *run == wanted))
}

fn log_files(dir: &Path) -> Result<Vec<(u32, u32, fs::DirEntry)>, LogError> {
    let failed = |source| LogError::Read { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some((run, age)) = entry.file_name().to_str().and_then(parse_file_name) {
            found.push((run, age, entry));
        }
    }
    Ok(found)
}
