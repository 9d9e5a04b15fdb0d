// SPDX-License-Identifier: GPL-3.0-or-later
//! Which pod and which of its ports a forwarding leads to. Pure: from objects alone.

use std::str::FromStr;

use netlab_api::endpoint_slice::Endpoint;
use netlab_api::pod::{PortRef, Protocol};
use netlab_api::resource::Kind;
use netlab_api::service::{ServicePort, ServiceType};
use netlab_api::{EndpointSlice, Pod, Service};

use crate::failure::Failure;
use crate::svc::protocol;
use crate::svc::spec;
use crate::target;

/// What is forwarded to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A pod, by its name.
    Pod(String),
    /// A pod behind the service of this name.
    Service(String),
}

impl Subject {
    pub(super) fn read(word: &str) -> Result<Subject, Failure> {
        let Some((kind, name)) = word.split_once('/') else {
            target::check_name(word)?;
            return Ok(Subject::Pod(word.to_owned()));
        };
        target::check_name(name)?;
        match target::kind(kind)? {
            Kind::Pod => Ok(Subject::Pod(name.to_owned())),
            Kind::Service => Ok(Subject::Service(name.to_owned())),
            kind => Err(Failure::usage(format!("cannot forward to a {}", kind.singular()))
                .with_hint("`netlabctl port-forward pod/NAME 8080:80`, or `svc/NAME`")),
        }
    }
}

/// `8080:80`: a port here and one there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Here; 0 for any.
    pub(super) local: u16,
    /// There, as the pod or the service calls it.
    pub(super) remote: PortRef,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Pair, String> {
        let (local, remote) = match text.split_once(':') {
            Some((local, remote)) => (Some(local), remote),
            None => (None, text),
        };
        let wrong = || format!("`{text}` is no pair of ports: write `8080:80`, `80` or `:80`");
        let remote = spec::target(remote).map_err(|_| wrong())?;
        if remote == PortRef::Name(String::new()) {
            return Err(wrong());
        }
        let local = match (local, &remote) {
            (Some(""), _) => 0,
            (Some(local), _) => local.parse().map_err(|_| wrong())?,
            (None, PortRef::Number(number)) => *number,
            // Kubectl takes the number that the name stands for; any is as good, and always free.
            (None, PortRef::Name(_)) => 0,
        };
        Ok(Pair { local, remote })
    }
}

/// A pod, and a port of it for each pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) pod: String,
    pub(super) ports: Vec<u16>,
}

/// A pod that was named.
pub(super) fn at_pod(pod: &Pod, pairs: &[Pair]) -> Result<Aim, Failure> {
    let name = &pod.metadata.name;
    if pod.is_finished() {
        return Err(Failure::failed(format!("pod/{name} is not running: its command has ended")));
    }
    let ports = pairs.iter().map(|pair| match &pair.remote {
        PortRef::Number(number) => Ok(*number),
        PortRef::Name(wanted) => {
            let own = pod.spec.ports.iter().find(|port| port.name.as_ref() == Some(wanted));
            own.map(|port| port.container_port).ok_or_else(|| {
                Failure::failed(format!("pod/{name} has no port named `{wanted}`"))
                    .with_hint("name it by its number")
            })
        }
    });
    Ok(Aim { pod: name.clone(), ports: ports.collect::<Result<_, _>>()? })
}

/// A pod that takes connections of a service, and the ports at which it does.
pub(super) fn at_service(
    service: &Service,
    slices: &[EndpointSlice],
    pairs: &[Pair],
) -> Result<Aim, Failure> {
    let name = &service.metadata.name;
    if service.spec.kind == ServiceType::ExternalName {
        return Err(Failure::failed(format!(
            "service/{name} is an alias of {}, and no pods are behind it",
            service.spec.external_name.as_deref().unwrap_or_default()
        )));
    }
    let wanted = pairs.iter().map(|pair| port(service, pair)).collect::<Result<Vec<_>, _>>()?;
    // Endpoints whose named ports have other numbers are in another slice.
    for slice in slices {
        let numbers = wanted.iter().map(|port| {
            slice.ports.iter().find(|own| own.name() == port.name()).and_then(|own| own.port)
        });
        let Some(ports) = numbers.collect::<Option<Vec<u16>>>() else { continue };
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.is_ready());
        let pod = ready
            .filter_map(|endpoint| endpoint.target_ref.as_ref())
            .find(|target| target.kind == Kind::Pod.name());
        if let Some(pod) = pod {
            return Ok(Aim { pod: pod.name.clone(), ports });
        }
    }
    let ready = |endpoint: &Endpoint| endpoint.conditions.is_ready();
    if slices.iter().flat_map(|slice| &slice.endpoints).any(ready)
        && service.spec.selector.is_empty()
    {
        return Err(Failure::failed(format!(
            "the endpoints of service/{name} are addresses and no pods: connections can be forwarded to pods alone"
        )));
    }
    Err(Failure::failed(format!("no pod takes connections of service/{name}")).with_hint(format!(
        "`netlabctl describe svc {name}` tells which there are, and why none does"
    )))
}

fn port<'a>(service: &'a Service, pair: &Pair) -> Result<&'a ServicePort, Failure> {
    let name = &service.metadata.name;
    let found = service.spec.ports.iter().find(|port| match &pair.remote {
        PortRef::Number(number) => port.port == *number && port.protocol == Protocol::Tcp,
        PortRef::Name(wanted) => port.name() == wanted,
    });
    let remote = match &pair.remote {
        PortRef::Number(number) => number.to_string(),
        PortRef::Name(name) => name.clone(),
    };
    match found {
        Some(port) if port.protocol == Protocol::Tcp => Ok(port),
        Some(port) => Err(Failure::failed(format!(
            "port {remote} of service/{name} is {}: only TCP can be forwarded",
            protocol(port.protocol)
        ))),
        None => {
            let ports: Vec<_> = service
                .spec
                .ports
                .iter()
                .map(|port| format!("{}/{}", port.port, protocol(port.protocol)))
                .collect();
            Err(Failure::failed(format!("service/{name} does not have a service port {remote}"))
                .with_hint(format!("it has {}", ports.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn pair(text: &str) -> Pair {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn web() -> Service {
        from_value(json!({
            "metadata": { "name": "web" },
            "spec": { "selector": { "app": "web" }, "ports": [
                { "name": "http", "port": 80, "targetPort": "http" },
                { "name": "dns", "port": 53, "protocol": "UDP" },
            ]},
        }))
        .unwrap()
    }

    fn slice(port: u16, ready: bool, pod: &str) -> EndpointSlice {
        from_value(json!({
            "metadata": { "name": pod },
            "ports": [{ "name": "http", "port": port }, { "name": "dns", "port": 53, "protocol": "UDP" }],
            "endpoints": [{
                "addresses": ["10.42.0.5"], "conditions": { "ready": ready },
                "targetRef": { "kind": "Pod", "name": pod },
            }],
        }))
        .unwrap()
    }

    #[test]
    fn ports_are_written_as_in_kubectl() {
        assert_eq!(pair("8080:80"), Pair { local: 8080, remote: PortRef::Number(80) });
        assert_eq!(pair("80"), Pair { local: 80, remote: PortRef::Number(80) });
        assert_eq!(pair(":80"), Pair { local: 0, remote: PortRef::Number(80) });
        assert_eq!(pair("8080:http").remote, PortRef::Name("http".to_owned()));
        for text in ["", ":", "x:80", "8080:", "80:80:80", "8080:0"] {
            assert!(text.parse::<Pair>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_service_leads_to_a_ready_pod_at_that_pods_own_port() {
        let slices = [slice(8080, false, "web-0"), slice(9090, true, "web-1")];
        let aim = at_service(&web(), &slices, &[pair("8080:80"), pair(":http")]).unwrap();
        assert_eq!(aim, Aim { pod: "web-1".to_owned(), ports: vec![9090, 9090] });
    }

    #[test]
    fn a_service_that_leads_nowhere_says_why() {
        let refused = |slices: &[EndpointSlice], text: &str| {
            let failure = at_service(&web(), slices, &[pair(text)]).expect_err(text);
            format!("{} {}", failure.message, failure.hints.join(" "))
        };
        let ready = [slice(8080, true, "web-0")];
        assert!(refused(&[slice(8080, false, "web-0")], "80").contains("describe svc web"));
        assert!(refused(&ready, "81").contains("it has 80/TCP, 53/UDP"));
        assert!(refused(&ready, ":dns").contains("only TCP"));
        let mut foreign = web();
        foreign.spec.selector.clear();
        let mut address = slice(8080, true, "web-0");
        address.endpoints[0].target_ref = None;
        let failure = at_service(&foreign, &[address], &[pair("80")]).expect_err("no pod");
        assert!(failure.message.contains("addresses and no pods"), "{failure:?}");
        let mut alias = web();
        alias.spec.kind = ServiceType::ExternalName;
        assert!(at_service(&alias, &ready, &[pair("80")]).is_err());
    }

    #[test]
    fn a_pod_lends_the_names_of_its_ports() {
        let pod: Pod = from_value(json!({
            "metadata": { "name": "web" },
            "spec": { "ports": [{ "name": "http", "containerPort": 8080 }] },
        }))
        .unwrap();
        let aim = at_pod(&pod, &[pair("80:http"), pair("99")]).unwrap();
        assert_eq!(aim, Aim { pod: "web".to_owned(), ports: vec![8080, 99] });
        assert!(at_pod(&pod, &[pair(":metrics")]).is_err());
    }

    #[test]
    fn what_is_forwarded_to_is_a_pod_or_a_service() {
        let read = |word: &str| Subject::read(word).unwrap();
        assert_eq!(read("web"), Subject::Pod("web".to_owned()));
        assert_eq!(read("po/web"), Subject::Pod("web".to_owned()));
        assert_eq!(read("svc/web"), Subject::Service("web".to_owned()));
        assert!(Subject::read("node/n1").is_err());
    }
}
