// SPDX-License-Identifier: GPL-3.0-or-later
//! From inside the pod to a running command: environment, working directory, privileges, exec.
//! The same for the pod's own command and for one that is run beside it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, execve};
use serde::{Deserialize, Serialize};

use super::config::InitConfig;
use super::status::{
    REASON_COMMAND_NOT_EXECUTABLE, REASON_COMMAND_NOT_FOUND, REASON_START_ERROR,
    REASON_WORKING_DIR_NOT_FOUND,
};
use super::sys;

/// What containers have as `PATH` unless they say otherwise.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The container default: `CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP
/// NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP`. Numbers from
/// linux/capability.h, set from moby's `daemon/pkg/oci/caps/defaults.go`.
const CAPABILITIES: u64 = capability_mask(&[0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]);

/// A command, ready to be executed by a forked child.
pub(super) struct Prepared {
    argv: Vec<CString>,
    env: Vec<CString>,
    path: String,
    working_dir: String,
}

/// Why a command was not executed, in the words of the pod's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartFailure {
    /// What a shell would exit with.
    pub(super) exit_code: i32,
    /// One word.
    pub(super) reason: String,
    /// The sentence to it.
    pub(super) message: String,
}

impl Prepared {
    /// A command in the pod of `config`. `term` is for one that has a terminal.
    pub(super) fn new(
        config: &InitConfig,
        argv: &[String],
        term: Option<&str>,
    ) -> Result<Self, StartFailure> {
        let mut env = BTreeMap::from([
            ("PATH", DEFAULT_PATH),
            ("HOME", "/root"),
            ("HOSTNAME", config.hostname.as_str()),
        ]);
        env.extend(term.map(|term| ("TERM", term)));
        env.extend(config.env.iter().map(|var| (var.name.as_str(), var.value.as_str())));
        let path = env.get("PATH").copied().unwrap_or_default().to_owned();
        let env: Result<_, _> =
            env.iter().map(|(name, value)| c_string(&format!("{name}={value}"))).collect();
        let argv: Result<_, _> = argv.iter().map(|arg| c_string(arg)).collect();
        Ok(Prepared {
            argv: argv?,
            env: env?,
            path,
            working_dir: config.working_dir.clone().unwrap_or_else(|| "/".to_owned()),
        })
    }

    /// Becomes the command. Returns only when that fails; the process is good for nothing but
    /// exiting then, for its privileges are gone.
    pub(super) fn exec(&self) -> StartFailure {
        // Before the privileges go: a working directory may be readable for root only.
        if let Err(error) = chdir(self.working_dir.as_str()) {
            return StartFailure::new(
                128,
                REASON_WORKING_DIR_NOT_FOUND,
                format!(
                    "cannot enter the working directory `{}`: {}: does it exist in the pod's root?",
                    self.working_dir,
                    error.desc()
                ),
            );
        }
        if let Err((what, error)) = drop_privileges() {
            return StartFailure::new(
                128,
                REASON_START_ERROR,
                format!("failed to {what}: {}", error.desc()),
            );
        }
        self.search()
    }

    /// As execvp(3), with the pod's `PATH` instead of our own.
    fn search(&self) -> StartFailure {
        let Some(name) = self.argv.first() else {
            return StartFailure::new(127, REASON_COMMAND_NOT_FOUND, "the command is empty".into());
        };
        let text = name.to_string_lossy();
        if text.contains('/') {
            let error = self.exec_file(name);
            return self.explain(&text, &text, error);
        }
        let mut denied = None;
        for folder in self.path.split(':').filter(|_| !text.is_empty()) {
            let folder = if folder.is_empty() { "." } else { folder };
            let candidate = format!("{folder}/{text}");
            let Ok(file) = CString::new(candidate.as_str()) else { continue };
            let error = self.exec_file(&file);
            let absent = matches!(error, Errno::ENOENT | Errno::ENOTDIR);
            if error == Errno::EACCES || (absent && Path::new(&candidate).exists()) {
                denied.get_or_insert((candidate, error));
            } else if !absent {
                return self.explain(&text, &candidate, error);
            }
        }
        match denied {
            Some((candidate, error)) => self.explain(&text, &candidate, error),
            None => self.explain(&text, &text, Errno::ENOENT),
        }
    }

    fn exec_file(&self, file: &CStr) -> Errno {
        let Err(error) = execve(file, &self.argv, &self.env);
        if error != Errno::ENOEXEC {
            return error;
        }
        // A script without `#!` is for the shell, POSIX says.
        let mut argv = vec![c"/bin/sh".to_owned(), file.to_owned()];
        argv.extend(self.argv.iter().skip(1).cloned());
        match execve(c"/bin/sh", &argv, &self.env) {
            Err(Errno::ENOENT) => Errno::ENOEXEC,
            Err(error) => error,
        }
    }

    fn explain(&self, name: &str, file: &str, error: Errno) -> StartFailure {
        let absent = matches!(error, Errno::ENOENT | Errno::ENOTDIR);
        if absent && !Path::new(file).exists() {
            let message = if name.contains('/') {
                format!("command `{name}` was not found: does it exist in the pod's root?")
            } else {
                format!(
                    "command `{name}` was not found in PATH `{}`: is it installed in the pod's \
                     root?",
                    self.path
                )
            };
            return StartFailure::new(127, REASON_COMMAND_NOT_FOUND, message);
        }
        let why = if absent {
            "its interpreter or loader is missing in the pod's root".to_owned()
        } else {
            format!("{}: is it an executable file for this machine?", error.desc())
        };
        StartFailure::new(
            126,
            REASON_COMMAND_NOT_EXECUTABLE,
            format!("command `{file}` cannot be executed: {why}"),
        )
    }
}

impl StartFailure {
    fn new(exit_code: i32, reason: &str, message: String) -> Self {
        StartFailure { exit_code, reason: reason.to_owned(), message }
    }

    /// A system call before the exec failed.
    pub(super) fn system(what: &str, error: Errno) -> Self {
        StartFailure::new(128, REASON_START_ERROR, format!("failed to {what}: {}", error.desc()))
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Undoes what a forked child inherits and a command must not: blocked and ignored signals.
pub(super) fn reset_signals() -> Result<(), Errno> {
    // Rust's runtime ignores it.
    sys::set_default_action(Signal::SIGPIPE)?;
    SigSet::all().thread_unblock()
}

/// Makes three descriptors the standard streams.
pub(super) fn set_standard_streams(
    input: impl AsFd,
    output: impl AsFd,
    error: impl AsFd,
) -> Result<(), Errno> {
    nix::unistd::dup2_stdin(input)?;
    nix::unistd::dup2_stdout(output)?;
    nix::unistd::dup2_stderr(error)
}

/// The bounding set goes as well, so that no file in the pod can give a capability back.
fn drop_privileges() -> Result<(), (&'static str, Errno)> {
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    prctl::set_no_new_privs().map_err(|error| ("set no_new_privs", error))?;
    sys::limit_capabilities(CAPABILITIES).map_err(|error| ("drop capabilities", error))
}

fn c_string(text: &str) -> Result<CString, StartFailure> {
    CString::new(text).map_err(|_| {
        StartFailure::new(
            128,
            REASON_START_ERROR,
            format!("command and environment cannot hold a NUL byte: {text:?}"),
        )
    })
}

const fn capability_mask(numbers: &[u32]) -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < numbers.len() {
        mask |= 1 << numbers[index];
        index += 1;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capabilities_are_those_that_containers_show() {
        // `CapEff` of /proc/self/status in a container that docker started without options.
        assert_eq!(CAPABILITIES, 0xa804_25fb);
    }
}
