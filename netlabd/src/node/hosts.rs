// SPDX-License-Identifier: GPL-3.0-or-later
//! `/etc/hosts` of pods: one file for each namespace, with every pod of it. Pure, but for
//! [`HostsFiles`], which puts files in place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use smallvec::SmallVec;

/// Name of the file in a namespace's folder.
pub const HOSTS_FILE: &str = "hosts";

/// What a pod contributes to the hosts file of its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsEntry {
    /// Its addresses.
    pub addresses: SmallVec<[IpAddr; 2]>,
    /// Its host name, where it is not the pod's name.
    pub hostname: Option<String>,
    /// The subdomain under which it has a name in the cluster, if it has one.
    pub subdomain: Option<String>,
}

/// The text of a namespace's hosts file in a cluster of this domain; `pods` by name. Whoever asks
/// for a pod's full name gets the first of a line, as kubelet writes it.
pub fn plan_hosts(namespace: &str, domain: &str, pods: &BTreeMap<String, HostsEntry>) -> String {
    let mut text = String::from(
        "# Kept by netlabd: every pod of the namespace.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for (name, entry) in pods {
        for address in &entry.addresses {
            let _ = write!(text, "{address}\t");
            if let Some(subdomain) = &entry.subdomain {
                let hostname = entry.hostname.as_ref().unwrap_or(name);
                let _ = write!(text, "{hostname}.{subdomain}.{namespace}.svc.{domain} ");
            }
            let _ = write!(text, "{name} {name}.{namespace}");
            if let Some(hostname) = &entry.hostname {
                let _ = write!(text, " {hostname}");
            }
            text.push('\n');
        }
    }
    text
}

/// Where the files are: `hosts/<namespace>/hosts`. Pods see the folder, so a file that is renamed
/// into place is seen at once and never half written.
#[derive(Debug, Clone)]
pub struct HostsFiles {
    dir: PathBuf,
}

impl HostsFiles {
    /// Keeps files below `dir`.
    pub fn new(dir: PathBuf) -> HostsFiles {
        HostsFiles { dir }
    }

    /// The folder that pods of a namespace see.
    pub fn dir_of(&self, namespace: &str) -> PathBuf {
        self.dir.join(namespace)
    }

    /// Puts a namespace's file in place, unless it is so already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, namespace: &str, text: &str) -> io::Result<()> {
        let dir = self.dir_of(namespace);
        let path = dir.join(HOSTS_FILE);
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        fs::create_dir_all(&dir)?;
        let temporary = dir.join(".hosts");
        fs::write(&temporary, text)?;
        fs::rename(&temporary, &path)
    }

    /// Removes a namespace's file and folder; not there is fine.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn remove(&self, namespace: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.dir_of(namespace)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Namespaces that have a file.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_is_found_by_name_by_qualified_name_and_by_host_name() {
        let entry = |addresses: &[&str], hostname: Option<&str>| HostsEntry {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            hostname: hostname.map(str::to_owned),
            subdomain: None,
        };
        let cache =
            HostsEntry { subdomain: Some("caches".to_owned()), ..entry(&["10.42.0.3"], None) };
        let pods = BTreeMap::from([
            ("web-0".to_owned(), entry(&["10.42.0.1", "fd42::1"], None)),
            ("db".to_owned(), entry(&["10.42.0.2"], Some("postgres"))),
            ("cache".to_owned(), cache),
        ]);
        let text = plan_hosts("shop", "cluster.local", &pods);
        let pods: Vec<_> = text.lines().filter(|line| line.contains(".shop")).collect();
        assert_eq!(
            pods,
            [
                "10.42.0.3\tcache.caches.shop.svc.cluster.local cache cache.shop",
                "10.42.0.2\tdb db.shop postgres",
                "10.42.0.1\tweb-0 web-0.shop",
                "fd42::1\tweb-0 web-0.shop"
            ]
        );
        assert!(text.contains("127.0.0.1\tlocalhost\n"));
    }

    #[test]
    fn an_unchanged_file_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = HostsFiles::new(dir.path().join("hosts"));
        files.put("default", "a\n").unwrap();
        let inode = |files: &HostsFiles| {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(files.dir_of("default").join(HOSTS_FILE)).unwrap().ino()
        };
        let before = inode(&files);
        files.put("default", "a\n").unwrap();
        assert_eq!(inode(&files), before);
        files.put("default", "b\n").unwrap();
        assert_ne!(inode(&files), before);
        assert_eq!(files.list().unwrap(), ["default"]);
        files.remove("default").unwrap();
        files.remove("default").unwrap();
        assert!(files.list().unwrap().is_empty());
    }
}
