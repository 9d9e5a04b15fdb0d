// SPDX-License-Identifier: GPL-3.0-or-later
//! `edit`: an object in the user's editor, and back.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use netlab_api::Object;
use netlab_api::client::ObjectRef;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::format;
use crate::target::Target;
use crate::wait::SettleArgs;
use crate::{output, wait};

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// TYPE/NAME or TYPE NAME
    #[arg(required = true, value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    settle: SettleArgs,
}

pub(crate) async fn edit(context: &Context, args: EditArgs) -> Result<(), Failure> {
    let (kind, name) = Target::one(&args.words, "edit")?;
    let reference = context.object(kind, &name);
    let object = match context.client.get(&reference).await {
        Ok(object) => object,
        Err(error) => return Err(context.explain(error, &reference).await),
    };
    let before = format::yaml(&format::to_value(&object));
    let draft = Draft::new(&reference.slash_name().replace('/', "-"), &before)?;
    draft.edit()?;
    let after = draft.read()?;
    if after.trim().is_empty() || after == before {
        draft.remove();
        output::line("Edit cancelled, no changes made.");
        return Ok(());
    }
    let edited: Object = match serde_yaml_ng::from_str(&after) {
        Ok(edited) => edited,
        Err(error) => {
            return Err(draft
                .kept(Failure::failed(format!("the draft is no {}: {error}", kind.singular()))));
        }
    };
    if !is_same(&object, &edited) {
        return Err(draft.kept(renamed(&object, &edited)));
    }
    // The revision that was edited goes along: who changed it meanwhile is not overwritten.
    let answer = match context.client.replace(&edited, false).await {
        Ok(answer) => answer,
        Err(error) => return Err(draft.kept(Failure::from(error))),
    };
    draft.remove();
    if wait::lives_on_nodes(kind) {
        let revision = answer.metadata().resource_version.parse().unwrap_or_default();
        args.settle.programmed(context, revision).await?;
    }
    output::line(&format!("{} edited", answer.slash_name()));
    Ok(())
}

/// Whether two states are of one object.
fn is_same(object: &Object, edited: &Object) -> bool {
    ObjectRef::of(object) == ObjectRef::of(edited)
}

fn renamed(object: &Object, edited: &Object) -> Failure {
    Failure::failed(format!(
        "an edit changes neither kind nor name nor namespace: the draft of {} is of {}",
        full_name(object),
        full_name(edited),
    ))
}

/// `pod/web in namespace shop`.
fn full_name(object: &Object) -> String {
    match &object.metadata().namespace {
        Some(namespace) => format!("{} in namespace {namespace}", object.slash_name()),
        None => object.slash_name(),
    }
}

/// A file of the user's alone, removed unless its content was refused.
struct Draft(PathBuf);

impl Draft {
    fn new(name: &str, text: &str) -> Result<Draft, Failure> {
        let path =
            std::env::temp_dir().join(format!("netlabctl-edit-{name}-{}.yaml", std::process::id()));
        // Created anew and for the user alone: others share the folder.
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let draft = Draft(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| draft.fail("write", e))?;
        Ok(draft)
    }

    fn fail(&self, verb: &str, error: std::io::Error) -> Failure {
        Failure::failed(format!("failed to {verb} the draft `{}`: {error}", self.0.display()))
    }

    /// Runs the editor; a shell reads the variable, which may hold arguments.
    fn edit(&self) -> Result<(), Failure> {
        let editor = ["NETLAB_EDITOR", "KUBE_EDITOR", "VISUAL", "EDITOR"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .unwrap_or_else(|| "vi".to_owned());
        let status = Command::new("sh")
            .args(["-c", &format!("{editor} \"$1\""), "sh"])
            .arg::<&Path>(&self.0)
            .status()
            .map_err(|error| self.fail("edit", error))?;
        match status.success() {
            true => Ok(()),
            false => Err(self.kept(
                Failure::failed(format!("the editor `{editor}` ended with {status}"))
                    .with_hint("EDITOR=nano netlabctl edit … chooses another"),
            )),
        }
    }

    fn read(&self) -> Result<String, Failure> {
        std::fs::read_to_string(&self.0).map_err(|error| self.fail("read", error))
    }

    fn remove(&self) {
        std::fs::remove_file(&self.0).ok();
    }

    /// The failure, with word of where the user's work is.
    fn kept(&self, failure: Failure) -> Failure {
        let path = self.0.display();
        failure.with_hint(format!(
            "a copy of your changes is in `{path}`: once it is corrected, `netlabctl replace -f {path}` tries again"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_became_another_is_told_by_both_names() {
        let object = |name: &str, namespace: &str| -> Object {
            serde_json::from_value(serde_json::json!({
                "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
            }))
            .unwrap()
        };
        assert!(is_same(&object("c", "default"), &object("c", "default")));
        assert!(!is_same(&object("c", "default"), &object("c", "shop")));
        assert!(!is_same(&object("c", "default"), &object("c9", "default")));
        assert_eq!(
            renamed(&object("c", "default"), &object("c9", "default")).message,
            "error: an edit changes neither kind nor name nor namespace: the draft of pod/c in \
             namespace default is of pod/c9 in namespace default"
        );
    }
}
