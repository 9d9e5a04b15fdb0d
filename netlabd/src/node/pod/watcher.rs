// SPDX-License-Identifier: GPL-3.0-or-later
//! One thread that hears when a pod's PID 1 writes a status or ends.
//!
//! Pods are not children of the daemon, so there is no SIGCHLD: a pidfd tells of the end
//! (pidfd_open(2)), and an inotify watch on the one folder of status files of the rest. Both wait
//! in one epoll, which costs nothing while nothing happens.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// What was heard of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Its status file was put in place.
    Status {
        /// The pod's uid.
        uid: String,
    },
    /// Its PID 1 has ended, and with it all its processes.
    Ended {
        /// The pod's uid.
        uid: String,
    },
    /// Something was missed: look at every pod.
    Missed,
}

/// Token of the inotify descriptor in the epoll; processes count up from 1.
const STATUS_TOKEN: u64 = 0;

/// Hears of pods until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    processes: Mutex<Processes>,
}

#[derive(Debug, Default)]
struct Processes {
    next_token: u64,
    by_token: HashMap<u64, (Arc<str>, OwnedFd)>,
}

impl Watcher {
    /// Hears of status files in `status_dir` and of the processes that [`Watcher::add`] names.
    /// `tell` is called from the watcher's own thread and returns false when nobody listens any
    /// more, which ends the thread.
    ///
    /// # Errors
    /// When the kernel grants no epoll or inotify instance.
    pub fn start(
        status_dir: &Path,
        tell: impl Fn(Heard) -> bool + Send + 'static,
    ) -> io::Result<Watcher> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(status_dir, AddWatchFlags::IN_MOVED_TO)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&inotify, EpollEvent::new(EpollFlags::EPOLLIN, STATUS_TOKEN))?;
        let shared = Arc::new(Shared { epoll, processes: Mutex::default() });
        let watched = shared.clone();
        thread::Builder::new()
            .name("pod-watcher".to_owned())
            .spawn(move || watched.listen(&inotify, &tell))?;
        Ok(Watcher { shared })
    }

    /// Hears of the end of the process behind `pidfd`, once.
    ///
    /// # Errors
    /// When the kernel grants no more watches.
    pub fn add(&self, uid: Arc<str>, pidfd: OwnedFd) -> io::Result<()> {
        let mut processes = self.shared.processes();
        processes.next_token += 1;
        let token = processes.next_token;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
        self.shared.epoll.add(&pidfd, EpollEvent::new(interest, token))?;
        processes.by_token.insert(token, (uid, pidfd));
        Ok(())
    }
}

impl Shared {
    fn processes(&self) -> std::sync::MutexGuard<'_, Processes> {
        // Insert and remove leave the map whole at every point.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, inotify: &Inotify, tell: &dyn Fn(Heard) -> bool) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => {
                    tracing::error!(%errno, "the watcher of pods ends");
                    return;
                }
            };
            for event in &events[..count] {
                let heard = match event.data() {
                    STATUS_TOKEN => statuses(inotify),
                    token => self.ended(token).into_iter().collect(),
                };
                if !heard.into_iter().all(tell) {
                    return;
                }
            }
        }
    }

    fn ended(&self, token: u64) -> Option<Heard> {
        let (uid, pidfd) = self.processes().by_token.remove(&token)?;
        // Closing it would do, unless a copy of it were still open somewhere.
        let _ = self.epoll.delete(pidfd.as_fd());
        Some(Heard::Ended { uid: uid.to_string() })
    }
}

fn statuses(inotify: &Inotify) -> Vec<Heard> {
    let Ok(events) = inotify.read_events() else { return Vec::new() };
    let mut heard = Vec::with_capacity(events.len());
    for event in events {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            heard.push(Heard::Missed);
        } else if let Some(name) = event.name.as_ref().and_then(|name| name.to_str())
            && let Some(uid) = name.strip_suffix(".json")
            && !uid.starts_with('.')
        {
            heard.push(Heard::Status { uid: uid.to_owned() });
        }
    }
    heard
}
