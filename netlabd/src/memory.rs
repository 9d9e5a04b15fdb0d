// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(unsafe_code, reason = "malloc is told through the C library")]
//! How the daemon uses memory.

/// Lets all threads share one arena of malloc.
///
/// glibc gives each thread its own, and the store's and server's short-lived buffers leave holes
/// in all of them: measured, 34 MB resident instead of 21 MB with 3,000 records. To be called
/// before the first thread is started.
pub fn keep_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) may be called at any time; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
