// SPDX-License-Identifier: GPL-3.0-or-later
//! The flags of `svc expose`, and the service that they describe.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use netlab_api::Service;
use netlab_api::pod::{PortRef, Protocol};
use netlab_api::service::{
    ClientIpConfig, IpFamily, IpFamilyPolicy, NO_CLUSTER_IP, ServicePort, ServiceType,
    SessionAffinity, SessionAffinityConfig, TrafficDistribution, TrafficPolicy,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;
use crate::run::spec::{pair, port_number};

/// Flags that say what a service is like.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServiceFlags {
    /// Labels of its pods: `app=web,tier=front`; `''` for none [default: app=NAME]
    #[arg(long, value_name = "K=V")]
    pub(crate) selector: Option<String>,
    /// Its ports: `80`, `80/udp`, `80:8080`, `http:80:8080/tcp` (NAME:PORT:TARGET/PROTOCOL)
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = port)]
    pub(crate) port: Vec<PortWish>,
    /// Port of the pods, a number or a name, where --port does not say [default: the same]
    #[arg(long, value_name = "PORT", value_parser = target)]
    pub(crate) target_port: Option<PortRef>,
    /// Protocol of the ports that do not say
    #[arg(long, ignore_case = true, value_parser = word::<Protocol>(&["TCP", "UDP", "SCTP"]))]
    pub(crate) protocol: Option<Protocol>,
    /// Who reaches it [default: ClusterIP]
    #[arg(long = "type", ignore_case = true, value_parser = word::<ServiceType>(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]))]
    pub(crate) kind: Option<ServiceType>,
    /// No address of its own: its name leads to the pods' addresses
    #[arg(long, conflicts_with = "cluster_ip")]
    pub(crate) headless: bool,
    /// Its address in the service network, or `None` [default: a free one]
    #[arg(long, value_name = "IP", visible_alias = "clusterip")]
    pub(crate) cluster_ip: Option<String>,
    /// Port of every node, once for each port [default: a free one]
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = port_number)]
    pub(crate) node_port: Vec<u16>,
    /// Addresses outside of the cluster's networks whose packets arrive at nodes
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub(crate) external_ip: Vec<IpAddr>,
    /// The name that it is an alias of (type ExternalName)
    #[arg(long, value_name = "NAME")]
    pub(crate) external_name: Option<String>,
    /// The load balancer's address, if the pool has it
    #[arg(long, value_name = "IP")]
    pub(crate) load_balancer_ip: Option<IpAddr>,
    /// Networks whose clients the load balancer's address serves [default: all]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) source_range: Vec<String>,
    /// Whether a client stays with the pod that it got
    #[arg(long, ignore_case = true, value_parser = word::<SessionAffinity>(&["ClientIP", "None"]))]
    pub(crate) session_affinity: Option<SessionAffinity>,
    /// For how many seconds it stays [default: 10800]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) affinity_timeout: Option<u32>,
    /// Which pods clients in the cluster get: any, or those of their node alone
    #[arg(long, ignore_case = true, value_parser = word::<TrafficPolicy>(&["Cluster", "Local"]))]
    pub(crate) internal_traffic_policy: Option<TrafficPolicy>,
    /// Which pods clients outside get: any, or those of the node they reach alone
    #[arg(long, ignore_case = true, value_parser = word::<TrafficPolicy>(&["Cluster", "Local"]))]
    pub(crate) external_traffic_policy: Option<TrafficPolicy>,
    /// Which pods are preferred
    #[arg(long, ignore_case = true, value_parser = word::<TrafficDistribution>(&["PreferClose", "PreferSameZone", "PreferSameNode"]))]
    pub(crate) traffic_distribution: Option<TrafficDistribution>,
    /// Pods that are not ready count as ready
    #[arg(long)]
    pub(crate) publish_not_ready: bool,
    /// Addresses of one family or of both
    #[arg(long, ignore_case = true, value_parser = word::<IpFamilyPolicy>(&["SingleStack", "PreferDualStack", "RequireDualStack"]))]
    pub(crate) ip_family_policy: Option<IpFamilyPolicy>,
    /// Families of its addresses, in order
    #[arg(long, ignore_case = true, value_delimiter = ',', value_parser = word::<IpFamily>(&["IPv4", "IPv6"]))]
    pub(crate) ip_families: Vec<IpFamily>,
    /// Labels of the service itself [default: app=NAME]
    #[arg(short = 'l', long, value_name = "K=V", value_delimiter = ',', value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Annotations
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub(crate) annotations: Vec<(String, String)>,
}

/// A port as the command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortWish {
    pub(crate) name: Option<String>,
    pub(crate) port: u16,
    pub(crate) target: Option<PortRef>,
    pub(crate) protocol: Option<Protocol>,
}

/// Reads the words of an enumeration of the API, in any case.
pub(crate) fn word<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).map(|typed| {
        let word = words.iter().find(|word| word.eq_ignore_ascii_case(&typed));
        let word = word.expect("clap has compared it with the same words");
        serde_json::from_value(Value::from(*word)).expect("the words are the API's")
    })
}

impl ServiceFlags {
    /// The service of this name that the flags describe.
    pub(crate) fn service(&self, name: &str, namespace: &str) -> Result<Service, Failure> {
        let mut service = Service::default();
        service.metadata.name = name.to_owned();
        service.metadata.namespace = Some(namespace.to_owned());
        service.metadata.labels = match self.labels.is_empty() {
            true => own_label(name),
            false => self.labels.iter().cloned().collect(),
        };
        service.metadata.annotations = self.annotations.iter().cloned().collect();
        let kind = self.kind_of_service();
        let spec = &mut service.spec;
        spec.kind = kind;
        spec.ports = self.ports(kind)?;
        spec.selector = match &self.selector {
            _ if kind == ServiceType::ExternalName => BTreeMap::new(),
            None => own_label(name),
            Some(text) => selector(text)?,
        };
        spec.cluster_ip = match self.headless {
            true => Some(NO_CLUSTER_IP.to_owned()),
            false => self.cluster_ip.as_deref().map(cluster_ip),
        };
        spec.external_ips.clone_from(&self.external_ip);
        spec.external_name.clone_from(&self.external_name);
        spec.load_balancer_ip = self.load_balancer_ip;
        spec.load_balancer_source_ranges.clone_from(&self.source_range);
        spec.session_affinity = match (self.session_affinity, self.affinity_timeout) {
            (None, Some(_)) => SessionAffinity::ClientIp,
            (affinity, _) => affinity.unwrap_or_default(),
        };
        spec.session_affinity_config = self.affinity_timeout.map(|seconds| SessionAffinityConfig {
            client_ip: Some(ClientIpConfig { timeout_seconds: Some(seconds) }),
        });
        spec.internal_traffic_policy = self.internal_traffic_policy;
        spec.external_traffic_policy = self.external_traffic_policy;
        spec.traffic_distribution = self.traffic_distribution;
        spec.publish_not_ready_addresses = self.publish_not_ready;
        spec.ip_family_policy = self.ip_family_policy;
        spec.ip_families.clone_from(&self.ip_families);
        Ok(service)
    }

    /// The type that is said, or that the other flags make sense with.
    fn kind_of_service(&self) -> ServiceType {
        self.kind.unwrap_or_else(|| {
            if self.external_name.is_some() {
                ServiceType::ExternalName
            } else if self.load_balancer_ip.is_some() || !self.source_range.is_empty() {
                ServiceType::LoadBalancer
            } else if !self.node_port.is_empty() {
                ServiceType::NodePort
            } else {
                ServiceType::ClusterIp
            }
        })
    }

    fn is_headless(&self) -> bool {
        self.headless || self.cluster_ip.as_deref().map(cluster_ip).as_deref() == Some("None")
    }

    fn ports(&self, kind: ServiceType) -> Result<Vec<ServicePort>, Failure> {
        if self.port.is_empty() {
            return match kind == ServiceType::ExternalName || self.is_headless() {
                true => Ok(Vec::new()),
                false => Err(Failure::usage("a service needs a port")
                    .with_hint("write `--port 80`, or `--port 80:8080` where pods listen at 8080")),
            };
        }
        if self.node_port.len() > self.port.len() {
            return Err(Failure::usage(format!(
                "--node-port is given {} times, --port {}: one of each belong together",
                self.node_port.len(),
                self.port.len()
            )));
        }
        let several = self.port.len() > 1;
        let ports = self.port.iter().enumerate().map(|(index, wish)| ServicePort {
            // As `kubectl expose` calls them.
            name: wish.name.clone().or_else(|| several.then(|| format!("port-{}", index + 1))),
            protocol: wish.protocol.or(self.protocol).unwrap_or_default(),
            app_protocol: None,
            port: wish.port,
            target_port: wish.target.clone().or_else(|| self.target_port.clone()),
            node_port: self.node_port.get(index).copied(),
        });
        Ok(ports.collect())
    }
}

fn own_label(name: &str) -> BTreeMap<String, String> {
    netlab_api::Pod::default_labels(name)
}

/// `None` in any case.
fn cluster_ip(text: &str) -> String {
    match text.eq_ignore_ascii_case(NO_CLUSTER_IP) {
        true => NO_CLUSTER_IP.to_owned(),
        false => text.to_owned(),
    }
}

/// Reads `app=web,tier=front`: a service selects by equality alone.
fn selector(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = text.split(',').filter(|part| !part.is_empty()).map(|part| {
        match part.split_once('=') {
            Some((key, value)) if !key.is_empty() && !key.ends_with('!') => {
                Ok((key.to_owned(), value.trim_start_matches('=').to_owned()))
            }
            _ => Err(Failure::usage(format!("--selector has `{part}`, which is no `KEY=VALUE`"))
                .with_hint("a service selects pods that have each of its labels, as in `--selector app=web,tier=front`")),
        }
    });
    pairs.collect()
}

/// Reads `80`, `80/udp`, `80:8080`, `web:80`, `web:80:http/tcp`.
pub(crate) fn port(text: &str) -> Result<PortWish, String> {
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, None),
        Some((ports, word)) => (ports, Some(protocol(word)?)),
    };
    let parts: Vec<&str> = ports.split(':').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (name, number, target_text) = match parts[..] {
        [number] => (None, number, None),
        [number, to] if is_number(number) => (None, number, Some(to)),
        [name, number] => (Some(name), number, None),
        [name, number, to] => (Some(name), number, Some(to)),
        _ => {
            return Err(format!(
                "`{text}` has too many parts: write NAME:PORT:TARGET/PROTOCOL, of which PORT is enough"
            ));
        }
    };
    Ok(PortWish {
        name: name.filter(|name| !name.is_empty()).map(str::to_owned),
        port: service_port(number)?,
        target: target_text.filter(|to| !to.is_empty()).map(target).transpose()?,
        protocol,
    })
}

fn service_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!(
            "`{text}` is no port: write a number from 1 to 65535, as in `--port 80`, `--port 53/udp` or `--port http:80:8080`"
        )),
        Ok(port) => Ok(port),
    }
}

/// Reads the number or the name of a port of a pod.
pub(crate) fn target(text: &str) -> Result<PortRef, String> {
    match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => port_number(text).map(PortRef::Number),
        false => Ok(PortRef::Name(text.to_owned())),
    }
}

fn protocol(word: &str) -> Result<Protocol, String> {
    match word.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        _ => Err(format!("`{word}` is no protocol: tcp, udp or sctp, as in `53/udp`")),
    }
}

#[cfg(test)]
mod tests;
