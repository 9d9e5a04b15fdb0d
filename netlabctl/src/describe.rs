// SPDX-License-Identifier: GPL-3.0-or-later
//! `describe`: one object with all that is known of it, and what happened to it.

mod service;
pub(crate) mod text;

use clap::Args;
use netlab_api::client::Selectors;
use netlab_api::resource::Kind;
use netlab_api::{Event, Node, Object, Pod, Time};

use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::columns;
use crate::svc;
use crate::target::{Found, Target};

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// TYPE, TYPE NAME… or TYPE/NAME…
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Those with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
}

pub(crate) async fn describe(context: &Context, args: DescribeArgs) -> Result<(), Failure> {
    let target = Target::parse(&args.words)?;
    let selectors = Selectors::labels(args.selector.unwrap_or_default());
    let found = context.find(&target, &selectors, args.all_namespaces).await?;
    if found.objects.is_empty() && found.missing.is_empty() {
        context.tell_none_found(&target.kinds(), args.all_namespaces).await;
    }
    for (index, object) in found.objects.iter().enumerate() {
        if index > 0 {
            output::text("\n\n");
        }
        let events = events_of(context, object).await?;
        let now = Time::now();
        output::text(&match object {
            Object::Pod(pod) => text::pod(pod, &events, now),
            Object::Node(node) => text::node(node, &pods_of(context, node).await?, &events, now),
            Object::Service(service) => {
                let slices = svc::slices(context, service).await?;
                let pods = svc::pods(context, service).await?;
                service::service(service, &slices, &pods, &events, now)
            }
            Object::EndpointSlice(slice) => service::slice(slice, &events, now),
            Object::Namespace(namespace) => text::namespace(namespace, &events, now),
            Object::IpamBlock(block) => text::block(block),
            Object::Event(event) => text::event(event),
        });
    }
    Found::finish(&found.missing)
}

/// What happened to an object, the newest last; nothing of an earlier object of its name.
async fn events_of(context: &Context, object: &Object) -> Result<Vec<Event>, Failure> {
    if matches!(object.kind(), Kind::Event | Kind::IpamBlock) {
        return Ok(Vec::new());
    }
    let metadata = object.metadata();
    let selectors = Selectors {
        fields: format!(
            "involvedObject.kind={},involvedObject.name={}",
            object.kind().name(),
            metadata.name
        ),
        ..Selectors::default()
    };
    let list = context.client.list_as::<Event>(metadata.namespace.as_deref(), &selectors).await?;
    let mut events = list.items;
    events.retain(|event| {
        let uid = &event.involved_object.uid;
        uid.is_empty() || *uid == metadata.uid
    });
    events.sort_by_key(columns::last_seen);
    Ok(events)
}

async fn pods_of(context: &Context, node: &Node) -> Result<Vec<Pod>, Failure> {
    let fields = format!("spec.nodeName={}", node.metadata.name);
    let selectors = Selectors { fields, ..Selectors::default() };
    Ok(context.client.list_as::<Pod>(None, &selectors).await?.items)
}
