// SPDX-License-Identifier: GPL-3.0-or-later
//! Waiting for what will come: by looking again until a deadline, never by a fixed time.

use std::time::{Duration, Instant};

/// How long anything may take on a slow and busy machine. It only passes when a test fails.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks until there is something, and returns it.
///
/// # Panics
/// When nothing has come by the [`TIMEOUT`].
#[track_caller]
pub fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out after {TIMEOUT:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Looks until it is so, and returns how long that took.
///
/// # Panics
/// When it is not so by the [`TIMEOUT`].
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let since = Instant::now();
    poll(what, || is_so().then_some(()));
    since.elapsed()
}
