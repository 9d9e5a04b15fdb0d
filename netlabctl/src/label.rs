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
    /// `server`: say what would be, and change nothing
    #[arg(long, value_parser = ["server", "none"])]
    dry_run: Option<String>,
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
    check(&changes, field.path)?;
    let target = Target::parse(&words)?;
    if matches!(target, Target::Kinds(_)) && args.selector.is_none() && !args.all {
        return Err(Failure::usage(
            "one or more objects must be named, or selected with -l or --all",
        ));
    }
    let selectors = Selectors::labels(args.selector.unwrap_or_default());
    let found = context.find(&target, &selectors, false).await?;
    if found.objects.is_empty() && found.missing.is_empty() {
        context.tell_none_found(&target.kinds(), false).await;
    }
    let dry_run = args.dry_run.as_deref() == Some("server");
    let suffix = output::dry_run(args.dry_run.as_deref());
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
                output::note(&format!("{} \"{}\" not found.", singular(field.path), change.key));
            }
        }
        let patch = plan(present, &changes, args.overwrite, field.path)?;
        let Some(patch) = patch else {
            output::line(&format!("{name} not {}{suffix}", field.set));
            continue;
        };
        let reference = ObjectRef::of(object);
        let patch = json!({ "metadata": { field.path: patch } });
        let answer = context.client.patch(&reference, &patch, dry_run).await?;
        if !dry_run && wait::lives_on_nodes(reference.kind) {
            newest = newest.max(answer.metadata().resource_version.parse().ok());
        }
        let removed_only = changes.iter().all(|change| change.value.is_none());
        let done = if removed_only { field.removed } else { field.set };
        output::line(&format!("{name} {done}{suffix}"));
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

/// Refuses to set and to remove the same at once: which of the two is meant?
fn check(changes: &[Change], what: &str) -> Result<(), Failure> {
    let is_set =
        |key: &str| changes.iter().any(|change| change.key == key && change.value.is_some());
    let removed = changes.iter().filter(|change| change.value.is_none());
    match removed.map(|change| &change.key).find(|key| is_set(key)) {
        Some(key) => Err(Failure::usage(format!(
            "can not both modify and remove {} \"{key}\" in the same command",
            singular(what)
        ))),
        None => Ok(()),
    }
}

/// `label` of `labels`.
fn singular(what: &str) -> &str {
    what.trim_end_matches('s')
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
    fn nothing_is_set_and_removed_at_once() {
        let refused = check(&changes(&["x=1", "a=b", "a-"]), "labels").expect_err("refused");
        assert!(refused.message.contains("modify and remove label \"a\""), "{}", refused.message);
        assert_eq!(check(&changes(&["a=b", "b-"]), "labels"), Ok(()));
    }

    #[test]
    fn a_change_needs_a_key() {
        assert!(Change::parse("=x").is_err());
        assert!(Change::parse("-").is_err());
    }
}
