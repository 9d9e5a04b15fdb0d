// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs that are run to their end, and what they cost.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// What a program that succeeded has written, and the time from before its start to after its end.
pub(crate) struct Done {
    pub(crate) stdout: String,
    pub(crate) took: Duration,
}

/// Runs a program.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Done> {
    run_with(command, "")
}

/// Runs a program that reads `input`.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn run_with(command: &mut Command, input: &str) -> anyhow::Result<Done> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("failed to feed {command:?}"))?;
    }
    let output = child.wait_with_output().with_context(|| format!("failed to read {command:?}"))?;
    let took = began.elapsed();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}): {}{stdout}", output.status, stderr);
    }
    Ok(Done { stdout, took })
}
