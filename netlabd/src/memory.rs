// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(unsafe_code, reason = "malloc is told through the C library")]
//! How the daemon uses memory.

/// From this size on, an allocation is a mapping of its own.
///
/// Fixed, because glibc else raises it, up to 32 MiB, to whatever was freed last. From then on
/// large buffers, such as a list of a thousand pods on its way to a client, cut holes into the heap,
/// and the tables of a store that is opened again, which are mostly never touched, are zeroed there
/// byte by byte and so become resident: 6 MB. Above the 128 KiB in which netlink answers are
/// received: these come and go with every pod, and a mapping costs page faults each time.
const MAPPED_BYTES: libc::c_int = 256 << 10;

/// How much may lie free at the heap's end before it goes back to the kernel by itself.
const FREE_END_BYTES: libc::c_int = 1 << 20;

/// Sets malloc up for a process that lives for months.
///
/// All threads share one arena: glibc gives each thread its own, and the store's and server's
/// short-lived buffers leave holes in all of them: measured, 34 MB resident instead of 21 MB with
/// 3,000 records. Large allocations stay out of it. To be called before the first thread is started.
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) may be called at any time; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_END_BYTES);
    }
}

/// Gives memory that is free, but held back by malloc, to the kernel.
///
/// A burst of a thousand pods leaves three times the memory behind that is used afterwards. Takes
/// some milliseconds; to be called when nobody waits.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes the arena's lock itself and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
