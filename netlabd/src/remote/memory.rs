// SPDX-License-Identifier: GPL-3.0-or-later
//! What a joined node last saw of its cluster, kept on disk: so that it starts its pods and mends
//! its network also when its server is not there.
//!
//! ```text
//!   view ──► snapshot, changes ──► Memory ──(a moment later)──► view.json
//!   start, no server ◄── snapshot as it was ◄──────────────────────┘
//! ```
//!
//! What the file says may be old. It is used until the server answers, and then replaced.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netlab_api::view::{ViewEvent, ViewSnapshot};

/// Name of the file, in the state folder.
const VIEW_FILE: &str = "view.json";

/// What is seen is written so much later, with what comes meanwhile.
const DELAY: Duration = Duration::from_millis(500);

/// What a node last saw.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    view: Option<ViewSnapshot>,
    /// It is going to be written.
    is_due: bool,
}

impl Memory {
    pub(super) fn of(state_dir: &Path) -> Arc<Memory> {
        Arc::new(Memory { path: state_dir.join(VIEW_FILE), seen: Mutex::default() })
    }

    /// What an earlier daemon saw last; `None` when there is nothing of use.
    pub(super) fn recall(&self) -> Option<ViewSnapshot> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot be read");
                return None;
            }
        };
        match serde_json::from_slice(&text) {
            Ok(view) => Some(view),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot be understood");
                None
            }
        }
    }

    /// This node is none of the cluster's any more.
    pub(super) fn forget(&self) {
        self.lock().view = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot be removed");
            }
            _ => {}
        }
    }

    /// Takes in what is seen. To be called within the runtime.
    pub(super) fn see(self: &Arc<Self>, event: &ViewEvent) {
        let mut seen = self.lock();
        match event {
            ViewEvent::Snapshot(snapshot) => seen.view = Some((**snapshot).clone()),
            ViewEvent::Changes(changes) => {
                // A view that goes on from a revision after a restart builds on what was recalled.
                let before = seen.view.take();
                let Some(mut view) = before.or_else(|| self.recall()) else { return };
                view.apply(changes.clone());
                seen.view = Some(view);
            }
            ViewEvent::Ping | ViewEvent::Dial { .. } => return,
        }
        if std::mem::replace(&mut seen.is_due, true) {
            return;
        }
        let memory = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            let written = tokio::task::spawn_blocking(move || memory.write()).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "what this node saw is not kept");
            }
        });
    }

    fn write(&self) -> io::Result<()> {
        let text = {
            let mut seen = self.lock();
            seen.is_due = false;
            let Some(view) = &seen.view else { return Ok(()) };
            serde_json::to_vec(view)?
        };
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use netlab_api::view::{ViewChange, ViewChanges, ViewNode};

    use super::*;

    fn changes(revision: u64, node: &str) -> ViewEvent {
        let node = ViewNode { name: node.to_owned(), ..ViewNode::default() };
        ViewEvent::Changes(ViewChanges { revision, changes: vec![ViewChange::Node(node)] })
    }

    #[tokio::test]
    async fn what_was_seen_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::of(dir.path());
        assert!(memory.recall().is_none());
        memory.see(&ViewEvent::Snapshot(Box::new(ViewSnapshot {
            revision: 3,
            ..Default::default()
        })));
        memory.see(&changes(4, "n1"));
        memory.write().unwrap();
        let later = Memory::of(dir.path());
        assert_eq!(later.recall().unwrap().revision, 4);
        later.see(&changes(5, "n2"));
        later.write().unwrap();
        let names = Memory::of(dir.path()).recall().unwrap();
        let names: Vec<_> = names.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["n1", "n2"]);
    }

    #[tokio::test]
    async fn what_was_forgotten_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::of(dir.path());
        memory.see(&ViewEvent::Snapshot(Box::default()));
        memory.write().unwrap();
        memory.forget();
        memory.write().unwrap();
        assert!(Memory::of(dir.path()).recall().is_none());
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(VIEW_FILE), "{\"revision\":").unwrap();
        assert!(Memory::of(dir.path()).recall().is_none());
    }
}
