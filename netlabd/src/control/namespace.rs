// SPDX-License-Identifier: GPL-3.0-or-later
//! The end of namespaces, and of all that is in them.

use netlab_api::namespace::NamespacePhase;
use netlab_api::resource::{Kind, Object};
use netlab_api::{ApiError, Namespace, Pod, Service, Time};

use super::cluster::{DeleteOptions, ObjectKey};
use super::draft::{Draft, decode, decode_entry};
use super::{Control, delete_pod, eviction, remove, service};

impl Control {
    /// Deletes the namespace's services at once and its pods, and with the last of these itself.
    pub(super) async fn delete_namespace(
        &self,
        draft: &mut Draft<'_>,
        namespace: &mut Namespace,
        options: &DeleteOptions,
        now: Time,
    ) -> Result<(), ApiError> {
        let key = ObjectKey::of(&namespace.clone().into());
        let mut lives_on = false;
        for entry in self.entries(Kind::Pod, Some(&key.name)).await?.entries {
            let pod: Pod = decode_entry(&entry)?;
            let pod_key = ObjectKey::of(&pod.into());
            let Some(Object::Pod(mut pod)) = draft.get(&pod_key).await? else { continue };
            let before = pod.clone();
            // It would have no namespace to be made anew in.
            eviction::cancel(&mut pod);
            delete_pod(draft, &before, &mut pod, options, now);
            lives_on |= pod.spec.node_name.is_some();
        }
        self.remove_services(draft, &key.name).await?;
        if !lives_on {
            remove(draft, &key);
            return self.remove_events(draft, &key.name).await;
        }
        let before = namespace.clone();
        namespace.status.phase = NamespacePhase::Terminating;
        namespace.metadata.deletion_timestamp.get_or_insert(now);
        if *namespace != before {
            draft.put(&namespace.clone().into());
        }
        Ok(())
    }

    /// Removes all services of a namespace, and all slices of endpoints.
    async fn remove_services(
        &self,
        draft: &mut Draft<'_>,
        namespace: &str,
    ) -> Result<(), ApiError> {
        for entry in self.entries(Kind::Service, Some(namespace)).await?.entries {
            let listed: Service = decode_entry(&entry)?;
            // As it is now: it may have got another address since it was listed.
            let Some(found) = draft.get_as(Some(namespace), &listed.metadata.name).await? else {
                continue;
            };
            service::release(draft, &found).await?;
            remove(draft, &ObjectKey::of(&found.into()));
        }
        for entry in self.entries(Kind::EndpointSlice, Some(namespace)).await?.entries {
            remove(draft, &ObjectKey::of(&decode(Kind::EndpointSlice, &entry)?));
        }
        Ok(())
    }

    pub(super) async fn remove_events(
        &self,
        draft: &mut Draft<'_>,
        namespace: &str,
    ) -> Result<(), ApiError> {
        for entry in self.entries(Kind::Event, Some(namespace)).await?.entries {
            draft.delete(&ObjectKey::of(&decode(Kind::Event, &entry)?));
        }
        Ok(())
    }
}
