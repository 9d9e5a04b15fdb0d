// SPDX-License-Identifier: GPL-3.0-or-later
//! The log of a pod's command, in the format of the Container Runtime Interface:
//!
//! ```text
//! 2026-11-22T10:00:00.123456789Z stdout F a whole line
//! 2026-11-22T10:00:00.123456789Z stderr P the beginning of a line over 16 KiB
//! ```
//!
//! One file for one run of the command, `<restartCount>.log`; a file that grew too large becomes
//! `<restartCount>.log.1`, that one `.2`, and so on. The files of the run before are kept, older
//! ones are not. PID 1 writes, the daemon reads ([`LogReader`]).

pub mod reader;
mod writer;

pub use reader::{LogError, LogQuery, LogReader};
pub(super) use writer::LogWriter;

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
}

impl Stream {
    /// The name in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// The name of a run's file; `age` 0 is the one that is written to.
fn file_name(run: u32, age: u32) -> String {
    match age {
        0 => format!("{run}.log"),
        _ => format!("{run}.log.{age}"),
    }
}

/// Run and age out of a file's name.
fn parse_file_name(name: &str) -> Option<(u32, u32)> {
    let (run, rest) = name.split_once(".log")?;
    let age = match rest.strip_prefix('.') {
        Some(age) => age.parse().ok()?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    Some((run.parse().ok()?, age))
}

#[cfg(test)]
mod tests;
