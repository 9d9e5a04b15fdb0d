// SPDX-License-Identifier: GPL-3.0-or-later
//! Which pod has which link: one symbolic link a pod, `netns/default_web` → `../pins/<id>`.
//!
//! `nsenter --net=/run/netlab/netns/default_web` works for people, and the daemon that starts
//! after a crash reads the same names. `_` cannot occur in a pod's or namespace's name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use netlab_link::PodLinkId;

/// Names of pods' network namespaces.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Keeps records in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: PathBuf) -> io::Result<Records> {
        fs::create_dir_all(&dir)?;
        // Records that were being replaced when a daemon was killed.
        for entry in fs::read_dir(&dir)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                accept_missing(fs::remove_file(entry.path()))?;
            }
        }
        Ok(Records { dir })
    }

    fn path(&self, pod: &str) -> PathBuf {
        record_path(&self.dir, pod)
    }

    /// The link that `pod` has.
    pub fn get(&self, pod: &str) -> Option<PodLinkId> {
        recorded_link(&self.dir, pod)
    }

    /// Notes that `pod` (`namespace/name`) has link `id`, in place of any other.
    ///
    /// # Errors
    /// When the symbolic link cannot be made.
    pub fn set(&self, pod: &str, id: PodLinkId) -> io::Result<()> {
        let path = self.path(pod);
        let target = Path::new("../pins").join(id.to_string());
        match symlink(&target, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
        let temporary = self.dir.join(format!(".{id}"));
        accept_missing(fs::remove_file(&temporary))?;
        symlink(&target, &temporary)?;
        fs::rename(&temporary, &path)
    }

    /// Forgets a pod; one that is not known is fine.
    ///
    /// # Errors
    /// When the symbolic link cannot be removed.
    pub fn remove(&self, pod: &str) -> io::Result<()> {
        accept_missing(fs::remove_file(self.path(pod)))
    }

    /// All records, by pod (`namespace/name`). What does not look like one is left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> io::Result<BTreeMap<String, PodLinkId>> {
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let (Ok(name), Ok(target)) =
                (entry.file_name().into_string(), fs::read_link(entry.path()))
            else {
                continue;
            };
            if let (Some((namespace, pod)), Some(id)) = (name.split_once('_'), link_of(&target)) {
                records.insert(format!("{namespace}/{pod}"), id);
            }
        }
        Ok(records)
    }
}

/// Path of a pod's record in `dir`; entering it enters the pod's network namespace.
pub fn record_path(dir: &Path, pod: &str) -> PathBuf {
    dir.join(pod.replacen('/', "_", 1))
}

/// The link that is recorded in `dir` for a pod.
pub fn recorded_link(dir: &Path, pod: &str) -> Option<PodLinkId> {
    link_of(&fs::read_link(record_path(dir, pod)).ok()?)
}

/// The link that a record's target names.
fn link_of(target: &Path) -> Option<PodLinkId> {
    target.file_name()?.to_str()?.parse().ok()
}

fn accept_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_again_replaced_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path().join("netns")).unwrap();
        let (first, second) = (PodLinkId::from_bits(1), PodLinkId::from_bits(2));
        records.set("default/web-0", first).unwrap();
        records.set("default/web-0", second).unwrap();
        records.set("kube-system/dns", first).unwrap();
        let listed = records.list().unwrap();
        let expected =
            [("default/web-0".to_owned(), second), ("kube-system/dns".to_owned(), first)];
        assert_eq!(listed, BTreeMap::from(expected));
        assert_eq!(
            fs::read_link(dir.path().join("netns/default_web-0")).unwrap(),
            Path::new("../pins/00000000002")
        );
        records.remove("default/web-0").unwrap();
        records.remove("default/web-0").unwrap();
        assert_eq!(records.list().unwrap().len(), 1);
    }
}
