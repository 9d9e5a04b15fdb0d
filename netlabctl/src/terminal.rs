// SPDX-License-Identifier: GPL-3.0-or-later
//! The terminal in raw mode, restored on every way out: return, error, panic, signal, and a pipe
//! that nobody reads.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// The terminal's settings before raw mode, while raw mode lasts.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode, until dropped.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Puts the terminal of stdin into raw mode: keys go to the command, Ctrl-C too.
    pub(crate) fn enter() -> Result<Raw, Failure> {
        let fail =
            |error| Failure::failed(format!("failed to put the terminal into raw mode: {error}"));
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).map_err(fail)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Kept before it is changed, so that there is no moment without a way back.
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let guard = Raw(());
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).map_err(fail)?;
        Ok(guard)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &before).ok();
    }
}

/// Ends the program with the terminal as it was found.
pub(crate) fn leave(code: i32) -> ! {
    restore();
    std::io::stdout().flush().ok();
    std::process::exit(code)
}

/// Whether stdin is a terminal.
pub(crate) fn is_stdin() -> bool {
    std::io::stdin().is_terminal()
}

/// Columns and rows of the terminal, of whichever standard stream is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    terminal_size::terminal_size().map(|(columns, rows)| (columns.0, rows.0))
}

/// Whether the terminal only prints: no colours, and no line is drawn over another.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|name| name == "dumb")
}
