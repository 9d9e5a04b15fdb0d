// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(unsafe_code, reason = "the runtime is promised that a descriptor stays open")]
//! Hears when something is taken out of a folder, so that nobody has to look every other second.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Something may be taken out of a folder, or the folder itself away.
#[derive(Debug)]
pub struct Removal {
    inotify: AsyncFd<OwnedFd>,
}

impl Removal {
    /// Hears of what happens to a folder from here on. To be called within the runtime.
    ///
    /// # Errors
    /// When the folder is not there, or the kernel grants no more watches.
    pub(super) fn watch(folder: &Path) -> io::Result<Removal> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let removal = AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        inotify.add_watch(folder, removal)?;
        // SAFETY: the descriptor is owned by what it is moved into, which closes it only once the
        // runtime has let go of it.
        let inotify =
            unsafe { AsyncFd::register_with_interest(inotify.into(), Interest::READABLE) };
        Ok(Removal { inotify: inotify.map_err(|error| error.into_parts().1)? })
    }

    /// Waits until something is. What it was is not told: whoever hears of it looks.
    pub async fn wait(&self) {
        // An error is the runtime's end.
        let _ = self.inotify.readable().await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[tokio::test]
    async fn what_is_taken_away_is_heard_of_and_what_is_made_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let [here, there] = [folder.join("file"), dir.path().join("file")];

        let removal = Removal::watch(&folder).unwrap();
        fs::write(&here, "").unwrap();
        let mut heard = [PollFd::new(removal.inotify.get_ref().as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut heard, PollTimeout::ZERO).unwrap(), 0);
        fs::rename(&here, &there).unwrap();
        removal.wait().await;

        fs::rename(&there, &here).unwrap();
        let removal = Removal::watch(&folder).unwrap();
        fs::remove_file(&here).unwrap();
        removal.wait().await;

        let removal = Removal::watch(&folder).unwrap();
        fs::remove_dir(&folder).unwrap();
        removal.wait().await;
        assert!(Removal::watch(&folder).is_err());
    }
}
