// SPDX-License-Identifier: GPL-3.0-or-later
//! `svc expose` and `expose`: makes a service and returns when every node leads to its pods.

use std::ops::ControlFlow;

use clap::Args;
use netlab_api::client::{ApplyOptions, Collection, Selectors};
use netlab_api::endpoint_slice::SERVICE_NAME_LABEL;
use netlab_api::resource::Kind;
use netlab_api::service::ServiceType;
use netlab_api::{Node, Object, Pod, Reason, Service};

use super::spec::{PortWish, ServiceFlags};
use super::{listen, protocol, selected, target_port, warn};
use crate::apply::WriteArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::progress::{self, Bound, Progress};
use crate::wait::follow::{Change, follow};
use crate::{by_hand, output, target, wait};

#[derive(Debug, Args)]
pub(crate) struct ExposeArgs {
    /// The pods with label app=NAME, for a service of that name; or `pod NAME`, whose labels and
    /// ports it then takes
    #[arg(value_name = "NAME", required = true, num_args = 1..)]
    words: Vec<String>,
    /// Name of the service, where it is to be another
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    flags: ServiceFlags,
    #[command(flatten)]
    write: WriteArgs,
}

/// What is exposed.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    /// The pods that a selector finds.
    Name(String),
    /// One pod, and those with the same labels.
    Pod(String),
}

impl Subject {
    fn read(words: &[String]) -> Result<Subject, Failure> {
        let words: Vec<&str> = words.iter().flat_map(|word| word.splitn(2, '/')).collect();
        words.last().map_or(Ok(()), |name| target::check_name(name))?;
        match words[..] {
            [name] => Ok(Subject::Name(name.to_owned())),
            [kind, name] => match target::kind(kind)? {
                Kind::Pod => Ok(Subject::Pod(name.to_owned())),
                kind => Err(Failure::usage(format!("cannot expose a {}", kind.singular()))
                    .with_hint(format!("`netlabctl svc expose {name} --port 80` exposes the pods with label app={name}"))),
            },
            _ => Err(Failure::usage("expose makes one service at a time")),
        }
    }
}

pub(crate) async fn expose(context: &Context, args: ExposeArgs) -> Result<(), Failure> {
    let mut flags = args.flags;
    let name = match Subject::read(&args.words)? {
        Subject::Name(name) => {
            like_name(&mut flags, &name);
            args.name.unwrap_or(name)
        }
        Subject::Pod(name) => {
            let found = context.client.get(&context.pod(&name)).await;
            let Object::Pod(pod) = (match found {
                Ok(object) => object,
                Err(error) => return Err(context.explain(error, &context.pod(&name)).await),
            }) else {
                return Err(Failure::failed("the server answered with another kind than a pod"));
            };
            like_pod(&mut flags, &pod)?;
            args.name.unwrap_or(name)
        }
    };
    let service = flags.service(&name, &context.namespace)?;
    make(context, service, &args.write, "exposed").await
}

/// Selects the pods that are called so, whatever the service is called.
fn like_name(flags: &mut ServiceFlags, name: &str) {
    flags.selector.get_or_insert_with(|| format!("app={name}"));
}

/// Fills in what the flags leave open by what a pod has.
fn like_pod(flags: &mut ServiceFlags, pod: &Pod) -> Result<(), Failure> {
    let name = &pod.metadata.name;
    let labels = &pod.metadata.labels;
    if flags.selector.is_none() {
        if labels.is_empty() {
            return Err(Failure::failed(format!(
                "pod/{name} has no labels, by which a service would find it"
            ))
            .with_hint(format!(
                "`netlabctl label pod {name} app={name}` gives it one, then expose it"
            )));
        }
        let pairs: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        flags.selector = Some(pairs.join(","));
    }
    if flags.labels.is_empty() {
        flags.labels = labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    }
    if flags.port.is_empty() {
        flags.port = pod
            .spec
            .ports
            .iter()
            .map(|port| PortWish {
                name: port.name.clone(),
                port: port.container_port,
                target: None,
                protocol: Some(port.protocol),
            })
            .collect();
        if flags.port.is_empty() && !flags.headless {
            return Err(Failure::usage(format!(
                "pod/{name} says nothing of its ports, and there is no --port"
            ))
            .with_hint("write `--port 80`, or `--port 80:8080` where it listens at 8080"));
        }
    }
    Ok(())
}

/// Makes a service, waits until it is programmed, and tells how it is reached and what speaks
/// against it.
pub(crate) async fn make(
    context: &Context,
    service: Service,
    write: &WriteArgs,
    done: &str,
) -> Result<(), Failure> {
    if context.explain && write.is_dry() {
        return by_hand::print_made(context, &[Object::Service(service)]).await;
    }
    if write.is_client_only() {
        write.say(&[(Object::Service(service), done)]);
        return Ok(());
    }
    let name = service.metadata.name.clone();
    let options = ApplyOptions { create: true, dry_run: write.is_dry() };
    let answer = match context.client.apply(&[Object::Service(service)], options).await {
        Ok(answer) => answer,
        Err(error) => {
            let exists = error.is(Reason::AlreadyExists);
            let failure = Failure::from(error);
            return Err(match exists {
                true => failure.with_hint(format!(
                    "`netlabctl edit svc {name}` changes the one there is, `netlabctl delete svc {name}` removes it"
                )),
                false => failure,
            });
        }
    };
    let Some(Object::Service(made)) = answer.items.into_iter().next().map(|item| item.object)
    else {
        return Err(Failure::failed("the server did not answer with the service"));
    };
    if write.is_dry() {
        write.say(&[(Object::Service(made), done)]);
        return Ok(());
    }
    write.settle.programmed(context, answer.revision).await?;
    let pods = super::pods(context, &made).await?;
    if !write.settle.no_wait && leads_somewhere(&made, &pods) {
        endpoints(context, &made, write).await?;
    }
    write.say(&[(Object::Service(made.clone()), done)]);
    if matches!(write.output, Format::Table | Format::Wide) {
        output::line(&reach(&made));
    }
    let nodes = context.client.list_as::<Node>(None, &Selectors::default()).await?.items;
    let mut warnings = warn::warnings(&made, &pods, &nodes);
    if !write.settle.no_wait {
        let ready = ready_pods(&made, &pods);
        warnings.extend(listen::warnings(context, &made, &ready).await);
    }
    for warning in warnings {
        output::note(&format!("warning: {warning}"));
    }
    by_hand::print_made(context, &[Object::Service(made)]).await
}

fn ready_pods<'a>(service: &Service, pods: &'a [Pod]) -> Vec<&'a Pod> {
    selected(service, pods).into_iter().filter(|pod| warn::takes_connections(pod)).collect()
}

/// Whether a pod will be an endpoint of the service.
fn leads_somewhere(service: &Service, pods: &[Pod]) -> bool {
    let ready = ready_pods(service, pods);
    let ports = &service.spec.ports;
    ready.iter().any(|pod| {
        warn::has_family(service, pod) && ports.iter().any(|port| target_port(port, pod).is_some())
    })
}

/// Waits until a pod is an endpoint of the service, and until the nodes know.
async fn endpoints(context: &Context, service: &Service, write: &WriteArgs) -> Result<(), Failure> {
    let progress = Progress::of(format!("service/{}", service.metadata.name));
    progress.set("its endpoints are looked for");
    let bound = Bound {
        timeout: write.settle.timeout,
        late: format!("timed out waiting for endpoints of service/{}", service.metadata.name),
        left: "the service stays, and gets its endpoints without you".to_owned(),
    };
    let collection = Collection::new(Kind::EndpointSlice, service.metadata.namespace.as_deref());
    let selectors = Selectors::labels(format!("{SERVICE_NAME_LABEL}={}", service.metadata.name));
    let work = async {
        let has_ready = |object: &Object| {
            matches!(object, Object::EndpointSlice(slice)
                if slice.endpoints.iter().any(|endpoint| endpoint.conditions.is_ready()))
        };
        let mut step = |change: Change| {
            let found = match &change {
                Change::Present(objects) => objects.iter().any(has_ready),
                Change::Changed(object) => has_ready(object),
                Change::Gone(_) => false,
            };
            match found {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        follow(context, &collection, &selectors, None, &mut step).await?;
        let revision = context.client.version().await?.revision;
        wait::programmed(context, revision, write.settle.timeout, &progress).await
    };
    progress::wait(&bound, &progress, work).await
}

/// How a service is reached, in a line.
fn reach(service: &Service) -> String {
    let spec = &service.spec;
    if spec.kind == ServiceType::ExternalName {
        return format!(
            "it is an alias of {}, for pods that look up its name",
            spec.external_name.as_deref().unwrap_or_default()
        );
    }
    if service.is_headless() {
        return "it has no address of its own: its pods are reached at theirs".to_owned();
    }
    let ports: Vec<String> = spec
        .ports
        .iter()
        .map(|port| format!("{}/{}", port.port, protocol(port.protocol)))
        .collect();
    let ports = ports.join(", ");
    let addresses: Vec<String> = service.cluster_ips().map(|ip| ip.to_string()).collect();
    let mut text = match addresses.is_empty() {
        true => format!("it has no address yet, and port {ports}"),
        false => format!("pods and nodes reach it at {}, port {ports}", addresses.join(" and ")),
    };
    let node_ports: Vec<String> =
        spec.ports.iter().filter_map(|port| port.node_port).map(|port| port.to_string()).collect();
    if !node_ports.is_empty() {
        text += &format!("; others at port {} of each node", node_ports.join(", "));
    }
    let ingress = service.status.load_balancer.ingress.iter().map(|ingress| ingress.ip);
    if spec.kind == ServiceType::LoadBalancer && service.status.load_balancer.ingress.is_empty() {
        text += "; its load balancer's address is pending";
    }
    let outside: Vec<String> =
        ingress.chain(spec.external_ips.iter().copied()).map(|ip| ip.to_string()).collect();
    if !outside.is_empty() {
        text += &format!("; others at {}, port {ports}", outside.join(" and "));
    }
    text
}

#[cfg(test)]
mod tests;
