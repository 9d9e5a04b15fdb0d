// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings below `/proc/sys` of a network namespace.
//!
//! Names are written with slashes, as paths: `net/ipv4/conf/eth0.5/forwarding`. Dots would be
//! ambiguous, since names of interfaces may hold them. What `/proc/sys/net` shows depends on the
//! thread that looks, so looking and writing is done on a thread inside the namespace.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{IfName, Netns, NetnsError};

/// A setting that was changed, and what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The name, with slashes.
    pub name: String,
    /// What it was.
    pub previous: String,
}

/// Reads a setting, without the final newline.
///
/// # Errors
/// [`SysctlError::Read`], with [`SysctlError::is_not_found`] when the kernel has no such one.
pub fn read(netns: &Netns, name: &str) -> Result<String, SysctlError> {
    netns.run(|| read_here(name)).map_err(|source| SysctlError::Enter { source })?
}

/// Writes a setting only when it differs, and says what it was. None when it was right.
///
/// # Errors
/// [`SysctlError::Read`] or [`SysctlError::Write`].
pub fn ensure(netns: &Netns, name: &str, value: &str) -> Result<Option<String>, SysctlError> {
    netns.run(|| ensure_here(name, value)).map_err(|source| SysctlError::Enter { source })?
}

/// Lets a namespace forward IPv6 between these uplinks and the pods, and says what was changed.
/// Idempotent.
///
/// A packet is forwarded (`ip6_forward`) when `net.ipv6.conf.all.forwarding` is set or, since
/// Linux 6.17, when `force_forwarding` of the interface it came in by is. The interface's own
/// `forwarding` has never meant that: it makes the interface a router's, which no longer takes
/// a default route from router advertisements unless `accept_ra` is 2.
///
/// - Since 6.17 `force_forwarding` of the uplinks is set here, that of pod links by
///   [`crate::PodLinkPool`], and nothing else of the machine changes.
/// - Before, `accept_ra` of every interface that has it at 1 is set to 2, and then
///   `all.forwarding`, in that order: the other way round, the kernel forgets the default routes
///   that it learned.
///
/// IPv4 needs only `forwarding` of the interface a packet comes in by. [`crate::PodLink`] sets
/// that of pod links; `net/ipv4/conf/UPLINK/forwarding` is set here.
///
/// # Errors
/// [`SysctlError`] when `/proc/sys` is read-only or an uplink is not there.
pub fn ensure_forwarding(netns: &Netns, uplinks: &[IfName]) -> Result<Vec<Changed>, SysctlError> {
    let ensure = || write_plan(plan_forwarding_here(uplinks)?);
    netns.run(ensure).map_err(|source| SysctlError::Enter { source })?
}

/// A setting that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The name, with slashes.
    pub name: String,
    /// What it is.
    pub previous: String,
    /// What it must be.
    pub wanted: &'static str,
}

/// What [`ensure_forwarding`] would change, in the order in which it must be changed.
///
/// # Errors
/// As [`ensure_forwarding`].
pub fn plan_forwarding(netns: &Netns, uplinks: &[IfName]) -> Result<Vec<Wanted>, SysctlError> {
    netns.run(|| plan_forwarding_here(uplinks)).map_err(|source| SysctlError::Enter { source })?
}

fn plan_forwarding_here(uplinks: &[IfName]) -> Result<Vec<Wanted>, SysctlError> {
    let mut plan = Vec::new();
    for uplink in uplinks {
        want(&mut plan, format!("net/ipv4/conf/{uplink}/forwarding"), "1")?;
    }
    if !path("net/ipv6").exists() {
        // Booted with `ipv6.disable=1`, or built without.
        return Ok(plan);
    }
    if path("net/ipv6/conf/all/force_forwarding").exists() {
        // One below the smallest MTU of IPv6 has no settings of it, and none of its packets.
        let has_v6 = |uplink: &&IfName| path(&format!("net/ipv6/conf/{uplink}")).exists();
        for uplink in uplinks.iter().filter(has_v6) {
            want(&mut plan, format!("net/ipv6/conf/{uplink}/force_forwarding"), "1")?;
        }
    } else {
        plan_all_forwarding(&mut plan)?;
    }
    Ok(plan)
}

/// The way of kernels before 6.17: all interfaces become a router's.
fn plan_all_forwarding(plan: &mut Vec<Wanted>) -> Result<(), SysctlError> {
    if read_here("net/ipv6/conf/all/forwarding")? != "1" {
        for interface in interfaces()? {
            let name = format!("net/ipv6/conf/{interface}/accept_ra");
            if read_here(&name).is_ok_and(|value| value == "1") {
                want(plan, name, "2")?;
            }
        }
    }
    want(plan, "net/ipv6/conf/all/forwarding".to_owned(), "1")
}

fn want(plan: &mut Vec<Wanted>, name: String, wanted: &'static str) -> Result<(), SysctlError> {
    let previous = read_here(&name)?;
    if previous != wanted {
        plan.push(Wanted { name, previous, wanted });
    }
    Ok(())
}

fn write_plan(plan: Vec<Wanted>) -> Result<Vec<Changed>, SysctlError> {
    let mut changed = Vec::new();
    for Wanted { name, wanted, .. } in plan {
        let previous = ensure_here(&name, wanted)?;
        changed.extend(previous.map(|previous| Changed { name, previous }));
    }
    Ok(changed)
}

/// The interfaces that have IPv6 settings.
fn interfaces() -> Result<Vec<String>, SysctlError> {
    let dir = path("net/ipv6/conf");
    let failed = |source| SysctlError::Read { name: "net/ipv6/conf".to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        // `all` is no interface. `default` is for those to come, which are routers' too once
        // `all.forwarding` is set, so it counts.
        if name != "all" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// As [`ensure`], in the namespace of the calling thread.
pub(crate) fn ensure_here(name: &str, value: &str) -> Result<Option<String>, SysctlError> {
    let previous = read_here(name)?;
    if previous == value {
        return Ok(None);
    }
    fs::write(path(name), value).map_err(|source| SysctlError::Write {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })?;
    Ok(Some(previous))
}

fn read_here(name: &str) -> Result<String, SysctlError> {
    match fs::read_to_string(path(name)) {
        Ok(text) => Ok(text.trim_end_matches('\n').to_owned()),
        Err(source) => Err(SysctlError::Read { name: name.to_owned(), source }),
    }
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// A setting could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The namespace could not be entered.
    #[error("failed to look at the settings of a network namespace")]
    Enter {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// The setting could not be read.
    #[error("failed to read sysctl `{name}`")]
    Read {
        /// The name, with slashes.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The setting could not be written.
    #[error("failed to set sysctl `{name}` to `{value}`: is `/proc/sys` read-only?")]
    Write {
        /// The name, with slashes.
        name: String,
        /// What it should be.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SysctlError {
    /// The kernel has no such setting, or the interface in its name is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
            Self::Enter { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
