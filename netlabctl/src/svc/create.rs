// SPDX-License-Identifier: GPL-3.0-or-later
//! `create service clusterip|nodeport|loadbalancer|externalname`, as kubectl has it.

use clap::{Args, Subcommand};
use netlab_api::pod::Protocol;
use netlab_api::service::ServiceType;

use super::expose;
use super::spec::{self, PortWish, ServiceFlags};
use crate::apply::WriteArgs;
use crate::context::Context;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum CreateServiceCommand {
    /// A service that clients inside the cluster reach
    #[command(name = "clusterip")]
    ClusterIp(TypedArgs),
    /// Besides, at a port of every node
    #[command(name = "nodeport")]
    NodePort(TypedArgs),
    /// Besides, at an address of its own
    #[command(name = "loadbalancer")]
    LoadBalancer(TypedArgs),
    /// An alias of a name elsewhere
    #[command(name = "externalname")]
    ExternalName(TypedArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TypedArgs {
    /// Its name; it selects the pods with label app=NAME
    name: String,
    /// Ports: `80` or `80:8080`, of which the second is the pods'
    #[arg(long, value_name = "PORT:TARGET", value_delimiter = ',', value_parser = spec::port)]
    tcp: Vec<PortWish>,
    /// Its address in the service network, or `None`
    #[arg(long, value_name = "IP")]
    clusterip: Option<String>,
    /// Port of every node
    #[arg(long, value_name = "PORT")]
    node_port: Option<u16>,
    /// The name that it is an alias of
    #[arg(long, value_name = "NAME")]
    external_name: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(crate) async fn create(
    context: &Context,
    command: CreateServiceCommand,
) -> Result<(), Failure> {
    let (kind, args) = match command {
        CreateServiceCommand::ClusterIp(args) => (ServiceType::ClusterIp, args),
        CreateServiceCommand::NodePort(args) => (ServiceType::NodePort, args),
        CreateServiceCommand::LoadBalancer(args) => (ServiceType::LoadBalancer, args),
        CreateServiceCommand::ExternalName(args) => (ServiceType::ExternalName, args),
    };
    if kind == ServiceType::ExternalName && args.external_name.is_none() {
        return Err(Failure::usage("--external-name is missing").with_hint(
            "it says of which name the service is an alias: --external-name example.org",
        ));
    }
    let flags = ServiceFlags {
        kind: Some(kind),
        port: args.tcp.iter().map(named).collect(),
        protocol: Some(Protocol::Tcp),
        cluster_ip: args.clusterip,
        node_port: args.node_port.into_iter().collect(),
        external_name: args.external_name,
        ..ServiceFlags::default()
    };
    let service = flags.service(&args.name, &context.namespace)?;
    expose::make(context, service, &args.write, "created").await
}

/// Called after its numbers, as kubectl calls it.
fn named(wish: &PortWish) -> PortWish {
    let target = match &wish.target {
        None => wish.port.to_string(),
        Some(netlab_api::pod::PortRef::Number(number)) => number.to_string(),
        Some(netlab_api::pod::PortRef::Name(name)) => name.clone(),
    };
    PortWish {
        name: Some(wish.name.clone().unwrap_or_else(|| format!("{}-{target}", wish.port))),
        ..wish.clone()
    }
}
