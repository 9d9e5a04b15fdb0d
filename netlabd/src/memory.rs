// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(unsafe_code, reason = "malloc is told through the C library")]
//! How the daemon uses memory.

pub use alike::Alike;

mod alike;

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

/// Gives memory that is free, but held back by malloc, to the kernel; and lets go of the program's
/// code, most of which runs only at the start or for a request of its kind.
///
/// A burst of a thousand pods leaves three times the memory behind that is used afterwards. Takes
/// some milliseconds; to be called when nobody waits.
pub fn give_back() {
    let_go_of_code();
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes the arena's lock itself and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Unmaps the pages of the program's code. What runs next is mapped again from the kernel's cache,
/// sixteen pages at a time: 13 MB are resident after a start, a quarter of it in a daemon at rest.
fn let_go_of_code() {
    let Some((first, last)) = own_code() else { return };
    // SAFETY: the mapping is the program's file, may not be written and never was: what is mapped
    // again is the same. Threads that run in it wait for the page they are in.
    unsafe {
        libc::madvise(first as *mut libc::c_void, last - first, libc::MADV_DONTNEED);
    }
}

/// The bounds of the program's code.
fn own_code() -> Option<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let here = let_go_of_code as fn() as usize;
    maps.lines().filter_map(code_of).find(|(first, last)| (*first..*last).contains(&here))
}

/// The bounds of a mapping of proc_pid_maps(5), if it is a private one of code.
fn code_of(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (bounds, mode) = (words.next()?, words.next()?);
    let (first, last) = bounds.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    (mode == "r-xp").then_some((parse(first)?, parse(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_runs_on_without_its_code_in_memory() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let here = let_go_of_code as fn() as usize;
            let mut is_here = false;
            for line in text.lines() {
                if let Some((first, last)) = code_of(line) {
                    is_here = (first..last).contains(&here);
                } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| is_here) {
                    return size.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap();
                }
            }
            panic!("no code is mapped");
        };
        // All of it is there, whatever ran until now.
        let (first, last) = own_code().unwrap();
        for page in (first..last).step_by(4096) {
            // SAFETY: the mapping is the program's code, which stays and may be read.
            unsafe { std::ptr::read_volatile(page as *const u8) };
        }
        let before = resident();
        give_back();
        let after = resident();
        assert!(after < before / 2, "{after} kB of {before} kB");
    }

    #[test]
    fn only_code_is_let_go() {
        let code = "00540000-014d3000 r-xp 0033f000 fe:00 6259077    /usr/sbin/netlabd";
        assert_eq!(code_of(code), Some((0x54_0000, 0x14d_3000)));
        for other in
            ["00200000-00540000 r--p 0 fe:00 1 /a", "7f00-7f10 rw-p 0 00:00 0", "Rss: 4 kB"]
        {
            assert_eq!(code_of(other), None);
        }
    }
}
