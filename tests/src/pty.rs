// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs on a terminal of their own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};

use nix::pty::{Winsize, openpty};

use crate::command::{command, run};
use crate::wait::poll;

/// A program whose standard streams are one terminal. Killed on drop.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a command in a session of its own on a terminal of this size.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(program: &Command, columns: u16, rows: u16) -> Terminal {
        // Signals of a terminal go to those alone whom it controls.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        let set = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
        session.envs(set);
        if let Some(dir) = program.get_current_dir() {
            session.current_dir(dir);
        }
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal can be opened");
        let copy = || pty.slave.try_clone().expect("a descriptor can be copied");
        session.stdin(copy()).stdout(copy()).stderr(copy());
        let child = session.spawn().unwrap_or_else(|error| panic!("{program:?}: {error}"));
        // These hold the other end, which must close for the end to be seen.
        drop((session, pty.slave));
        let screen = Arc::new(Mutex::new(Vec::new()));
        read_all(&pty.master, screen.clone());
        Terminal { child, master: File::from(pty.master), screen }
    }

    /// Types.
    pub fn write(&mut self, keys: &[u8]) {
        self.master.write_all(keys).expect("the terminal is open");
    }

    /// Changes the size of the terminal.
    #[track_caller]
    pub fn resize(&self, columns: u16, rows: u16) {
        let terminal = format!("/proc/{}/fd/0", self.child.id());
        let (columns, rows) = (columns.to_string(), rows.to_string());
        run(&mut command(&["stty", "-F", &terminal, "cols", &columns, "rows", &rows])).ok();
    }

    /// All that the terminal was sent so far.
    pub fn screen(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Waits until the terminal was sent this.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let mut last = String::new();
        let deadline = std::time::Instant::now() + crate::wait::TIMEOUT;
        while !last.contains(text) {
            assert!(std::time::Instant::now() < deadline, "no `{text}` on the screen: {last}");
            std::thread::sleep(std::time::Duration::from_millis(10));
            last = self.screen();
        }
    }

    /// Waits for the program's end and returns its exit code.
    #[track_caller]
    pub fn wait(mut self) -> i32 {
        let status = poll("end of the program on the terminal", || {
            self.child.try_wait().expect("a child can be waited for")
        });
        status.code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads until the other end closes, so that the program never waits for a reader.
fn read_all(master: &OwnedFd, screen: Arc<Mutex<Vec<u8>>>) {
    let mut master = File::from(master.try_clone().expect("a descriptor can be copied"));
    std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = master.read(&mut part) {
            let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
            screen.extend_from_slice(&part[..length]);
        }
    });
}
