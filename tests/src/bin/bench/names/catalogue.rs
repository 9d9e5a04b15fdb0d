// SPDX-License-Identifier: GPL-3.0-or-later
//! Which names there are, and how each server is told of them.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use netlab_api::endpoint_slice::{Endpoint, EndpointPort, SERVICE_NAME_LABEL};
use netlab_api::service::ServicePort;
use netlab_api::{EndpointSlice, Object, ObjectMeta, Service, pod};
use tempfile::NamedTempFile;

/// The cluster's domain.
pub(super) const DOMAIN: &str = "cluster.local";

/// A domain that is not the cluster's.
pub(super) const ELSEWHERE: &str = "example.com";

/// Endpoints of a headless service, each with a host name: two records of it.
const ENDPOINTS: u32 = 50;

/// What is to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Catalogue {
    /// Services with a cluster IP of each family.
    Services { count: u32 },
    /// Headless services.
    Headless { services: u32 },
    /// Names that are not the cluster's, as their own server knows them.
    Outside(Outside),
    /// The same as others know them, who have to ask.
    Forwarded,
}

/// Names that are not the cluster's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outside {
    /// How many.
    pub(super) count: u32,
}

impl Default for Outside {
    fn default() -> Outside {
        // As many as CoreDNS' cache, and so netlab's, keeps.
        Outside { count: 9_000 }
    }
}

impl fmt::Display for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Catalogue::Services { count } => write!(f, "names of {count} services"),
            Catalogue::Headless { services } => {
                write!(f, "{} records", services * ENDPOINTS * 2)
            }
            Catalogue::Outside(_) | Catalogue::Forwarded => f.write_str("names outside"),
        }
    }
}

/// A name and an address of it.
struct Address {
    /// Without the domain.
    name: String,
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
}

impl Catalogue {
    /// Headless services that have about so many records together.
    pub(super) fn headless(records: u32) -> Catalogue {
        Catalogue::Headless { services: (records / (ENDPOINTS * 2)).max(1) }
    }

    /// The domain of its names.
    pub(super) fn domain(&self) -> &'static str {
        match self {
            Catalogue::Services { .. } | Catalogue::Headless { .. } => DOMAIN,
            Catalogue::Outside(_) | Catalogue::Forwarded => ELSEWHERE,
        }
    }

    fn addresses(&self) -> Vec<Address> {
        match *self {
            Catalogue::Services { count } => (0..count)
                .map(|number| Address {
                    name: format!("s{number}.default.svc"),
                    v4: cluster_ip(number),
                    v6: Some(cluster_ip6(number)),
                })
                .collect(),
            Catalogue::Headless { services } => {
                let endpoints = (0..services)
                    .flat_map(|service| (0..ENDPOINTS).map(move |number| (service, number)));
                let records = endpoints.flat_map(|(service, number)| {
                    let v4 = endpoint(service, number);
                    let of_service = format!("h{service}.default.svc");
                    let of_endpoint = format!("e{number}.{of_service}");
                    [of_service, of_endpoint].map(|name| Address { name, v4, v6: None })
                });
                records.collect()
            }
            Catalogue::Outside(Outside { count }) => (0..count)
                .map(|number| Address {
                    name: format!("www{number}"),
                    v4: Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number),
                    v6: None,
                })
                .collect(),
            Catalogue::Forwarded => Vec::new(),
        }
    }

    /// As objects of netlab.
    pub(super) fn objects(&self) -> Vec<Object> {
        match *self {
            Catalogue::Services { count } => {
                (0..count).map(|number| Object::from(service(number))).collect()
            }
            Catalogue::Headless { services } => (0..services).flat_map(headless).collect(),
            Catalogue::Outside(_) | Catalogue::Forwarded => Vec::new(),
        }
    }

    /// As a zone in the form of RFC 1035.
    pub(super) fn zone(&self) -> String {
        let domain = self.domain();
        let mut text = format!(
            "$ORIGIN {domain}.\n$TTL 30\n@ SOA ns.dns.{domain}. hostmaster.{domain}. 1 7200 1800 \
             86400 30\n@ NS ns.dns\nns.dns A 192.0.2.1\n"
        );
        for Address { name, v4, v6 } in self.addresses() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} A {v4}");
            if let Some(v6) = v6 {
                let _ = writeln!(text, "{name} AAAA {v6}");
            }
        }
        text
    }

    /// As lines of unbound's configuration.
    pub(super) fn local_data(&self) -> String {
        let domain = self.domain();
        let mut text = format!("local-zone: \"{domain}.\" static\n");
        for Address { name, v4, v6 } in self.addresses() {
            let _ = writeln!(text, "local-data: \"{name}.{domain}. 30 A {v4}\"");
            if let Some(v6) = v6 {
                let _ = writeln!(text, "local-data: \"{name}.{domain}. 30 AAAA {v6}\"");
            }
        }
        text
    }

    /// As lines of hosts(5).
    pub(super) fn hosts(&self) -> String {
        let domain = self.domain();
        let mut text = String::new();
        for Address { name, v4, v6 } in self.addresses() {
            let _ = writeln!(text, "{v4} {name}.{domain}");
            if let Some(v6) = v6 {
                let _ = writeln!(text, "{v6} {name}.{domain}");
            }
        }
        text
    }

    /// Names that are asked for, all of which have an IPv4 address. Those of headless services are
    /// the names of endpoints: one address each, as for the others.
    pub(super) fn asked(&self) -> Vec<String> {
        let is_asked = |address: &Address| {
            !matches!(self, Catalogue::Headless { .. }) || address.name.starts_with('e')
        };
        let asked: Vec<Address> = self.addresses().into_iter().filter(is_asked).collect();
        // In an order that has nothing to do with where they stand.
        let step = 7919;
        let count = asked.len();
        (0..count)
            .map(|turn| format!("{}.{}.", asked[turn * step % count].name, self.domain()))
            .collect()
    }

    /// A file of questions for dnsperf.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn questions(&self) -> anyhow::Result<NamedTempFile> {
        let mut file = NamedTempFile::new().context("failed to make a file of questions")?;
        let lines: String = self.asked().iter().map(|name| format!("{name} A\n")).collect();
        file.write_all(lines.as_bytes()).context("failed to write questions")?;
        Ok(file)
    }
}

fn cluster_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 43, 1, 0)) + number)
}

fn cluster_ip6(number: u32) -> Ipv6Addr {
    let first = u128::from(Ipv6Addr::new(0xfd43, 0, 0, 0, 0, 0, 0, 0x0100));
    Ipv6Addr::from(first + u128::from(number))
}

fn endpoint(service: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 1)) + service * ENDPOINTS + number)
}

fn service(number: u32) -> Service {
    let mut service = Service { metadata: meta(format!("s{number}")), ..Service::default() };
    service.spec.cluster_ip = Some(cluster_ip(number).to_string());
    service.spec.cluster_ips =
        vec![cluster_ip(number).to_string(), cluster_ip6(number).to_string()];
    service.spec.ip_family_policy = Some(netlab_api::service::IpFamilyPolicy::RequireDualStack);
    service.spec.ports = vec![port()];
    service
}

fn headless(number: u32) -> [Object; 2] {
    let name = format!("h{number}");
    let mut service = Service { metadata: meta(name.clone()), ..Service::default() };
    service.spec.cluster_ip = Some("None".to_owned());
    service.spec.ports = vec![port()];
    let mut metadata = meta(name.clone());
    metadata.labels.insert(SERVICE_NAME_LABEL.to_owned(), name);
    let endpoints = (0..ENDPOINTS).map(|turn| Endpoint {
        addresses: vec![endpoint(number, turn).to_string()],
        hostname: Some(format!("e{turn}")),
        ..Endpoint::default()
    });
    let slice = EndpointSlice {
        metadata,
        endpoints: endpoints.collect(),
        ports: vec![EndpointPort {
            name: Some("http".to_owned()),
            port: Some(80),
            ..EndpointPort::default()
        }],
        ..EndpointSlice::default()
    };
    [Object::from(service), Object::from(slice)]
}

fn port() -> ServicePort {
    ServicePort {
        name: Some("http".to_owned()),
        protocol: pod::Protocol::Tcp,
        app_protocol: None,
        port: 80,
        target_port: None,
        node_port: None,
    }
}

fn meta(name: String) -> ObjectMeta {
    ObjectMeta { name, namespace: Some("default".to_owned()), ..ObjectMeta::default() }
}
