// SPDX-License-Identifier: GPL-3.0-or-later
//! `patch`: changes an object by a merge patch (RFC 7396).

use std::path::PathBuf;

use clap::Args;
use netlab_api::client::{ObjectRef, Selectors};
use serde_json::Value;

use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::target::{Found, Target};
use crate::wait::{self, SettleArgs};

#[derive(Debug, Args)]
pub(crate) struct PatchArgs {
    /// TYPE NAME… or TYPE/NAME…
    #[arg(required = true, value_name = "TYPE NAME")]
    words: Vec<String>,
    /// The change, as JSON or YAML: '{"metadata":{"labels":{"app":"web"}}}'; null removes
    #[arg(short, long, required_unless_present = "patch_file", conflicts_with = "patch_file")]
    patch: Option<String>,
    /// A file that holds the change
    #[arg(long, value_name = "FILE")]
    patch_file: Option<PathBuf>,
    /// How the change is meant; `strategic` is taken as `merge`: lists are replaced whole
    #[arg(long = "type", value_parser = ["merge", "strategic", "json"], default_value = "merge")]
    kind: String,
    /// `server`: say what would be, and change nothing
    #[arg(long, value_parser = ["server", "none"])]
    dry_run: Option<String>,
    #[command(flatten)]
    settle: SettleArgs,
}

pub(crate) async fn patch(context: &Context, args: PatchArgs) -> Result<(), Failure> {
    if args.kind == "json" {
        return Err(Failure::usage("there are no JSON patches, only merge patches").with_hint(
            "write the fields as they shall be: `-p '{\"metadata\":{\"labels\":{\"app\":\"web\"}}}'`",
        ));
    }
    let change = match &args.patch_file {
        Some(path) => read(&std::fs::read_to_string(path).map_err(|error| {
            Failure::failed(format!("failed to read `{}`: {error}", path.display()))
        })?)?,
        None => read(args.patch.as_deref().unwrap_or_default())?,
    };
    let target = Target::parse(&args.words)?;
    if matches!(target, Target::Kinds(_)) {
        return Err(Failure::usage("patch needs a name")
            .with_hint(format!("`netlabctl patch {} NAME -p …`", args.words[0])));
    }
    let dry_run = args.dry_run.as_deref() == Some("server");
    let found = context.find(&target, &Selectors::default(), false).await?;
    for object in &found.objects {
        let reference = ObjectRef::of(object);
        let answer = context.client.patch(&reference, &change, dry_run).await?;
        let revision = |object: &netlab_api::Object| object.metadata().resource_version.clone();
        let changed = revision(&answer) != revision(object);
        if changed && !dry_run && wait::lives_on_nodes(reference.kind) {
            args.settle.programmed(context, revision(&answer).parse().unwrap_or_default()).await?;
        }
        let what = if changed || dry_run { "patched" } else { "patched (no change)" };
        let suffix = output::dry_run(args.dry_run.as_deref());
        output::line(&format!("{} {what}{suffix}", answer.slash_name()));
    }
    Found::finish(&found.missing)
}

/// Reads a patch: JSON is YAML too.
fn read(text: &str) -> Result<Value, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("the patch cannot be read: {why}")).with_hint(
            "write it in single quotes: `-p '{\"metadata\":{\"labels\":{\"app\":\"web\"}}}'`",
        )
    };
    let value: Value = serde_yaml_ng::from_str(text).map_err(|error| wrong(error.to_string()))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(wrong("it is no map of fields".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_is_a_map_in_json_or_yaml() {
        let expected = json!({ "metadata": { "labels": { "app": "web", "old": null } } });
        let text = r#"{"metadata":{"labels":{"app":"web","old":null}}}"#;
        assert_eq!(read(text), Ok(expected.clone()));
        assert_eq!(read("metadata:\n  labels: { app: web, old: null }\n"), Ok(expected));
        for wrong in ["", "x", "[1]", "{\"a\":"] {
            assert_eq!(read(wrong).expect_err(wrong).code, crate::failure::USAGE, "{wrong}");
        }
    }
}
