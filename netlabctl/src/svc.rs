// SPDX-License-Identifier: GPL-3.0-or-later
//! `svc`: services, and what they stand for.

pub(crate) mod create;
pub(crate) mod expose;
pub(crate) mod listen;
pub(crate) mod spec;
pub(crate) mod warn;

use netlab_api::client::Selectors;
use netlab_api::endpoint_slice::SERVICE_NAME_LABEL;
use netlab_api::labels::Selector;
use netlab_api::pod::{PortRef, Protocol};
use netlab_api::resource::Kind;
use netlab_api::service::ServicePort;
use netlab_api::{EndpointSlice, Pod, Service};

use crate::context::Context;
use crate::failure::Failure;
use crate::target;

/// `TCP`.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    protocol.as_str()
}

/// The port of `pod` at which connections to `port` of a service end; `None` when the service
/// names a port that the pod does not have.
pub(crate) fn target_port(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        None => Some(port.port),
        Some(PortRef::Number(number)) => Some(*number),
        Some(PortRef::Name(name)) => pod
            .spec
            .ports
            .iter()
            .find(|own| own.name.as_ref() == Some(name) && own.protocol == port.protocol)
            .map(|own| own.container_port),
    }
}

/// The name of a service, given as `web` or `svc/web`.
pub(crate) fn name_of(word: &str) -> Result<&str, Failure> {
    let Some((kind, name)) = word.split_once('/') else {
        return target::check_name(word).map(|()| word);
    };
    match target::kind(kind)? {
        Kind::Service if !name.is_empty() => Ok(name),
        _ => {
            Err(Failure::usage(format!("`{word}` is no service")).with_hint("`web`, or `svc/web`"))
        }
    }
}

/// The pods that the selector of a service finds; none without a selector.
pub(crate) fn selected<'a>(service: &Service, pods: &'a [Pod]) -> Vec<&'a Pod> {
    if service.spec.selector.is_empty() {
        return Vec::new();
    }
    let selector = Selector::from_labels(&service.spec.selector);
    pods.iter().filter(|pod| selector.matches(&pod.metadata.labels)).collect()
}

/// The slices of a service.
pub(crate) async fn slices(
    context: &Context,
    service: &Service,
) -> Result<Vec<EndpointSlice>, Failure> {
    let name = &service.metadata.name;
    let selectors = Selectors::labels(format!("{SERVICE_NAME_LABEL}={name}"));
    let namespace = service.metadata.namespace.as_deref();
    Ok(context.client.list_as::<EndpointSlice>(namespace, &selectors).await?.items)
}

/// The pods of the namespace of a service.
pub(crate) async fn pods(context: &Context, service: &Service) -> Result<Vec<Pod>, Failure> {
    let namespace = service.metadata.namespace.as_deref();
    Ok(context.client.list_as::<Pod>(namespace, &Selectors::default()).await?.items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_with_its_type_or_without() {
        for word in ["web", "svc/web", "service/web", "services/web"] {
            assert_eq!(name_of(word).unwrap(), "web", "{word}");
        }
        for word in ["pod/web", "svc/", "nothing/web"] {
            assert!(name_of(word).is_err(), "{word}");
        }
    }
}
