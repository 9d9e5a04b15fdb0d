// SPDX-License-Identifier: GPL-3.0-or-later
//! `label`: sets (`app=web`) and removes (`app-`) labels; `annotate` shares it.

use std::collections::BTreeMap;

use clap::Args;
use netlab_api::ObjectMeta;
use netlab_api::client::{ObjectRef, Selectors};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::target::{Found, Target};
use crate::wait::{self, SettleArgs};

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// TYPE NAME… or TYPE/NAME…, then KEY=VALUE to set and KEY- to remove
    #[arg(required = true, value_name = "TYPE NAME KEY=VALUE|KEY-")]
    words: Vec<String>,
    /// Change values that are set already
    #[arg(long)]
    overwrite: bool,
    /// Those with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Only show what is set
    #[arg(long)]
    list: bool,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    settle: SettleArgs,
}

/// Which map of the metadata, and how kubectl speaks of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) path: &'static str,
    pub(crate) set: &'static str,
    pub(crate) removed: &'static str,
    pub(crate) of: fn(&ObjectMeta) -> &BTreeMap<String, String>,
}

/// Labels, in kubectl's words.
pub(crate) const LABELS: Field =
    Field { path: "labels", set: "labeled", removed: "unlabeled", of: |metadata| &metadata.labels };

pub(crate) async fn change(
    context: &Context,
    args: ChangeArgs,
    field: Field,
) -> Result<(), Failure> {
    let is_change = |word: &String| word.contains('=') || word.ends_with('-');
    let (changes, words): (Vec<_>, Vec<_>) = args.words.into_iter().partition(is_change);
    let changes = changes.iter().map(|word| Change::parse(word)).collect::<Result<Vec<_>, _>>()?;
    if changes.is_empty() && !args.list {
        return Err(Failure::usage(format!("at least one change of {} is required", field.path))
            .with_hint("write `KEY=VALUE` to set, `KEY-` to remove"));
    }
    let target = Target::parse(&words)?;
    if matches!(target, Target::Kinds(_)) && args.selector.is_none() && !args.all {
        return Err(Failure::usage(
            "one or more objects must be named, or selected with -l or --all",
        ));
    }
    let selectors = Selectors::labels(args.selector.unwrap_or_default());
    let found = context.find(&target, &selectors, false).await?;
    let mut newest = None;
    for object in &found.objects {
        let name = object.slash_name();
        let present = (field.of)(object.metadata());
        if args.list {
            if found.objects.len() > 1 {
                output::line(&format!("Listing {} for {name}:", field.path));
            }
            present.iter().for_each(|(key, value)| output::line(&format!("{key}={value}")));
        }
        if changes.is_empty() {
            continue;
        }
        for change in changes.iter().filter(|change| change.value.is_none()) {
            if !present.contains_key(&change.key) {
                let one = field.path.trim_end_matches('s');
                output::note(&format!("{one} \"{}\" not found.", change.key));
            }
        }
        let patch = plan(present, &changes, args.overwrite, field.path)?;
        let Some(patch) = patch else {
            output::line(&format!("{name} not {}", field.set));
            continue;
        };
        let reference = ObjectRef::of(object);
        let patch = json!({ "metadata": { field.path: patch } });
        let answer = context.client.patch(&reference, &patch, false).await?;
        if wait::lives_on_nodes(reference.kind) {
            newest = newest.max(answer.metadata().resource_version.parse().ok());
        }
        let removed_only = changes.iter().all(|change| change.value.is_none());
        output::line(&format!("{name} {}", if removed_only { field.removed } else { field.set }));
    }
    // Labels decide which pods are behind a service.
    if let Some(revision) = newest {
        args.settle.programmed(context, revision).await?;
    }
    Found::finish(&found.missing)
}

/// One change; no value removes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    key: String,
    value: Option<String>,
}

impl Change {
    fn parse(word: &str) -> Result<Change, Failure> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (word.strip_suffix('-').unwrap_or(word), None),
        };
        if key.is_empty() {
            return Err(Failure::usage(format!(
                "`{word}` has no key: write `KEY=VALUE` or `KEY-`"
            )));
        }
        Ok(Change { key: key.to_owned(), value })
    }
}

/// The merge patch that makes the changes; nothing when they are so already.
fn plan(
    present: &BTreeMap<String, String>,
    changes: &[Change],
    overwrite: bool,
    what: &str,
) -> Result<Option<Value>, Failure> {
    let mut patch = Map::new();
    for Change { key, value } in changes {
        let now = present.get(key);
        if now == value.as_ref() {
            continue;
        }
        if let (Some(now), Some(_), false) = (now, value, overwrite) {
            return Err(Failure::failed(format!(
                "'{key}' already has a value ({now}), and --overwrite is false"
            ))
            .with_hint(format!("add --overwrite to change {what} that are set")));
        }
        patch.insert(key.clone(), value.clone().map_or(Value::Null, Value::String));
    }
    Ok((!patch.is_empty()).then_some(Value::Object(patch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present() -> BTreeMap<String, String> {
        BTreeMap::from([("app".to_owned(), "web".to_owned())])
    }

    fn changes(words: &[&str]) -> Vec<Change> {
        words.iter().map(|word| Change::parse(word).unwrap()).collect()
    }

    #[test]
    fn a_patch_holds_only_what_changes() {
        let plan = |words: &[&str], overwrite| {
            plan(&present(), &changes(words), overwrite, "labels").map_err(|f| f.message)
        };
        assert_eq!(plan(&["tier=front", "app=web"], false), Ok(Some(json!({ "tier": "front" }))));
        assert_eq!(plan(&["app-", "old-"], false), Ok(Some(json!({ "app": null }))));
        assert_eq!(plan(&["app=web", "old-"], false), Ok(None));
        assert_eq!(plan(&["app=db"], true), Ok(Some(json!({ "app": "db" }))));
        assert_eq!(
            plan(&["app=db"], false),
            Err("error: 'app' already has a value (web), and --overwrite is false".to_owned())
        );
    }

    #[test]
    fn a_change_needs_a_key() {
        assert!(Change::parse("=x").is_err());
        assert!(Change::parse("-").is_err());
    }
}
