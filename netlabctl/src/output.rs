// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes to stdout and stderr. Rendering (in the submodules) is pure; only this file writes.

pub(crate) mod age;
pub(crate) mod columns;
pub(crate) mod format;
pub(crate) mod jsonpath;
pub(crate) mod pod_status;
pub(crate) mod table;

use std::io::{ErrorKind, Write};

use crate::terminal;

/// What a shell reports of a program that SIGPIPE ended: nobody reads on, so nobody is told.
const BROKEN_PIPE: i32 = 128 + 13;

/// What stands after a line that only says what would be, as kubectl has it; `how` is the value of
/// `--dry-run`.
pub(crate) fn dry_run(how: Option<&str>) -> &'static str {
    match how {
        Some("server") => " (server dry run)",
        Some("client") => " (dry run)",
        _ => "",
    }
}

/// Writes a line to stdout.
pub(crate) fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

/// Writes text to stdout as it is.
pub(crate) fn text(text: &str) {
    bytes(text.as_bytes());
}

/// Writes bytes to stdout. When nobody reads them any more the program ends, as `SIGPIPE` would
/// end it; the signal itself stays ignored so that a daemon that hangs up is an error with words.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            note(&format!("error: failed to write the output: {error}"));
            terminal::leave(crate::failure::FAILED);
        }
        terminal::leave(BROKEN_PIPE);
    }
}

/// Writes a line to stderr.
pub(crate) fn note(text: &str) {
    raw_error(format!("{text}\n").as_bytes());
}

/// Writes bytes to stderr. Nobody can be told when that fails.
pub(crate) fn raw_error(bytes: &[u8]) {
    std::io::stderr().lock().write_all(bytes).ok();
}
