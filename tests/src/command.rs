// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs programs and tells all about those that fail.

use std::fmt;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a program wrote, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line.
    pub line: String,
    /// Exit code; 128 and the signal's number for one that a signal ended.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the exit code is 0.
    pub fn is_ok(&self) -> bool {
        self.code == 0
    }

    /// Asserts success and returns standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.is_ok(), "{self}");
        self.stdout
    }

    /// Asserts this exit code, which is not 0, and returns standard error.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert!(self.code == code && code != 0, "exit code {code} expected of {self}");
        self.stderr
    }

    /// Asserts success and reads standard output as JSON. Nothing at all is `null`: `ip -j` writes
    /// nothing for an empty list.
    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        if text.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { line, code, stdout, stderr } = self;
        write!(f, "`{line}`, exit code {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Runs a command to its end with this on standard input.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Output {
    let line = line(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("failed to run {line}: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let output = std::thread::scope(|scope| {
        // Beside the reading of the output, or both would wait for each other.
        scope.spawn(move || {
            // A program that does not read all of it is fine.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output()
    });
    let output = output.unwrap_or_else(|error| panic!("failed to wait for {line}: {error}"));
    finished(line, &output)
}

/// Runs a command to its end, with nothing on standard input.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let line = line(command);
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("failed to run {line}: {error}"));
    finished(line, &output)
}

/// Words to a command.
///
/// # Panics
/// When there are none.
pub fn command(words: &[&str]) -> Command {
    let (program, args) = words.split_first().expect("a command has a program");
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn finished(line: String, output: &std::process::Output) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let status = output.status;
    Output {
        line,
        code: status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
