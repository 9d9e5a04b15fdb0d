// SPDX-License-Identifier: GPL-3.0-or-later
//! `--explain`: the lines that a person would type on a node for what a command does.

use netlab_api::client::{ClientError, Collection, ObjectRef, Selectors};
use netlab_api::resource::Kind;
use netlab_api::script::Script;
use netlab_api::{Object, Reason};

use crate::context::Context;
use crate::failure::Failure;
use crate::output;

/// Prints the lines for objects that were made or changed, if they were asked for.
pub(crate) async fn print_made(context: &Context, objects: &[Object]) -> Result<(), Failure> {
    if context.explain {
        let objects: Vec<ObjectRef> = objects.iter().map(ObjectRef::of).collect();
        output::text(&text(context, &objects, |script| script.make).await?);
    }
    Ok(())
}

/// The lines for objects that are about to go, if they were asked for. They are to be read before
/// the objects go, and printed after.
pub(crate) async fn removal(context: &Context, objects: &[ObjectRef]) -> Result<String, Failure> {
    if !context.explain {
        return Ok(String::new());
    }
    let mut all = Vec::new();
    for object in objects {
        all.extend(going_along(context, object).await?);
        all.push(object.clone());
    }
    text(context, &all, |script| script.remove).await
}

/// Prints the lines for all that a node does with packets to services, if they were asked for.
pub(crate) async fn print_proxy(context: &Context) -> Result<(), Failure> {
    if context.explain {
        let script = context.client.explain_proxy().await?;
        output::text(&told("services", script.make, &script.node));
    }
    Ok(())
}

/// Prints the lines that lead to the pods of other nodes, if they were asked for.
pub(crate) async fn print_network(context: &Context) -> Result<(), Failure> {
    if context.explain {
        let script = context.client.explain_network().await?;
        output::text(&told("ways to other nodes", script.make, &script.node));
    }
    Ok(())
}

/// What goes with an object: what is in a namespace, and the pods of a node.
async fn going_along(context: &Context, object: &ObjectRef) -> Result<Vec<ObjectRef>, Failure> {
    let name = object.name.as_str();
    let of_node = Selectors { fields: format!("spec.nodeName={name}"), ..Selectors::default() };
    let parts = match object.kind {
        Kind::Namespace => [Kind::Service, Kind::Pod]
            .map(|kind| (Collection::new(kind, Some(name)), Selectors::default()))
            .to_vec(),
        Kind::Node => vec![(Collection::new(Kind::Pod, None), of_node)],
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for (collection, selectors) in parts {
        let objects = context.client.list(&collection, &selectors).await?.items;
        found.extend(objects.iter().map(ObjectRef::of));
    }
    Ok(found)
}

async fn text(
    context: &Context,
    objects: &[ObjectRef],
    which: fn(Script) -> String,
) -> Result<String, Failure> {
    let mut text = String::new();
    for object in objects {
        let ObjectRef { kind, namespace, name } = object;
        let of = namespace.as_deref().unwrap_or_default();
        let title = format!("{} {}", kind.singular(), [of, name].join("/").trim_start_matches('/'));
        let answer = match kind {
            Kind::Pod => context.client.explain_pod(of, name).await,
            Kind::Service => context.client.explain_service(of, name).await,
            _ => {
                text.push_str(&format!("# {title}: nothing in a kernel is its own\n"));
                continue;
            }
        };
        text.push_str(&match answer {
            Ok(script) => {
                let node = script.node.clone();
                told(&title, which(script), &node)
            }
            // What was done stays done, whether it can be told or not.
            Err(error) => format!("# {title}: {}\n", unknown(error)?),
        });
    }
    Ok(text)
}

/// Why there are no lines for an object, unless that is an error of its own.
fn unknown(error: ClientError) -> Result<String, Failure> {
    if error.is(Reason::NotFound) {
        return Ok("it is not there, so nothing of it has a name yet".to_owned());
    }
    match error {
        ClientError::Api(error) if error.reason == Reason::Conflict => Ok(error.message),
        error => Err(error.into()),
    }
}

fn told(title: &str, lines: String, node: &str) -> String {
    let nothing = if lines.is_empty() { "# nothing to do\n" } else { "" };
    format!("# {title}, on node {node}\n{lines}{nothing}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_begins_with_the_object_and_never_says_nothing() {
        assert_eq!(
            told("pod default/web", "ip netns add x\n".to_owned(), "n1"),
            "# pod default/web, on node n1\nip netns add x\n"
        );
        assert_eq!(
            told("service default/web", String::new(), "n1"),
            "# service default/web, on node n1\n# nothing to do\n"
        );
    }
}
