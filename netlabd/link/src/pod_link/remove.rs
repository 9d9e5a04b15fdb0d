// SPDX-License-Identifier: GPL-3.0-or-later
//! Removal of many pod links at once.

use std::path::Path;

use super::{PodLinkError, PodLinkId};
use crate::{
    Batch, KernelError, LinkChange, RouteSocket,
    mark::DOOMED_LINK_GROUP,
    netns::{list_pins, unpin},
};

/// The pod links that are pinned in a folder, sorted. Files with other names are not ours and
/// are left out.
///
/// # Errors
/// [`PodLinkError::List`] when the folder cannot be read.
pub fn list_pod_links(pin_dir: &Path) -> Result<Vec<PodLinkId>, PodLinkError> {
    let names = list_pins(pin_dir).map_err(|source| PodLinkError::List { source })?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// Removes the links of these pods with their routes and neighbours, and the pins of their
/// namespaces. `socket` is one of the node's namespace. What is not there is success, so it can
/// be repeated after a crash at any point.
///
/// A link that goes takes its other end along; a namespace goes once no process, socket or
/// [`crate::Netns`] holds it.
///
/// # Errors
/// All that failed; the rest is removed all the same.
pub fn remove_pod_links(
    socket: &mut RouteSocket,
    pin_dir: &Path,
    ids: &[PodLinkId],
) -> Result<(), Vec<PodLinkError>> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut errors = Vec::new();
    // Links before pins: after a crash in between, the pins still say what there is to remove.
    let mut batch = Batch::new();
    for id in ids {
        batch.set_link(LinkChange {
            group: Some(DOOMED_LINK_GROUP),
            ..LinkChange::of(id.host_name())
        });
    }
    batch.del_link_group(DOOMED_LINK_GROUP);
    let removed = socket
        .send(&batch)
        .and_then(|outcome| Ok(outcome.ignore(KernelError::is_not_found).check()?));
    if let Err(source) = removed {
        errors.push(PodLinkError::RemoveLinks { count: ids.len(), source });
    }
    for id in ids {
        if let Err(source) = unpin(&id.pin(pin_dir)) {
            errors.push(PodLinkError::Netns { id: *id, source });
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
