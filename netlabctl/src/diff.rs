// SPDX-License-Identifier: GPL-3.0-or-later
//! `diff`: what `apply` would change, as a unified diff.

use clap::Args;
use netlab_api::Object;
use netlab_api::client::{ApplyOptions, ObjectRef};
use netlab_api::manifest::SOURCE_ANNOTATION;
use similar::TextDiff;

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::manifest::{self, FileArgs};
use crate::output;
use crate::output::format;

/// Exit code of what failed: 1 says that something differs, as diff(1) has it.
const TROUBLE: i32 = 2;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    files: FileArgs,
}

/// Exits with 0 when nothing would change, with 1 when something would, and with more when it
/// cannot be told.
pub(crate) async fn diff(context: &Context, args: DiffArgs) -> Result<(), Failure> {
    let text = difference(context, &args).await.map_err(trouble)?;
    if text.is_empty() {
        return Ok(());
    }
    output::text(&text);
    Err(Failure::silent(FAILED))
}

/// A failure that is not taken for a difference.
fn trouble(mut failure: Failure) -> Failure {
    if failure.code == FAILED {
        failure.code = TROUBLE;
    }
    failure
}

/// What `apply` would change, as a unified diff.
async fn difference(context: &Context, args: &DiffArgs) -> Result<String, Failure> {
    let objects = manifest::read(context, &args.files)?;
    let options = ApplyOptions { create: false, dry_run: true };
    let answer = context.client.apply(&objects, options).await?;
    let mut text = String::new();
    for item in answer.items {
        let reference = ObjectRef::of(&item.object);
        let live = match context.client.get(&reference).await {
            Ok(live) => Some(live),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        text += &unified(live, item.object);
    }
    Ok(text)
}

/// The difference of two states of an object; empty when there is none. What only the server says
/// is no difference, and neither is the file and line that an object comes from.
fn unified(live: Option<Object>, wanted: Object) -> String {
    let namespace = wanted.metadata().namespace.clone().unwrap_or_default();
    let name = format!("{}.{namespace}.{}", wanted.kind().singular(), wanted.metadata().name);
    let yaml = |object: Object| {
        let mut object = manifest::bare(object);
        object.metadata_mut().annotations.remove(SOURCE_ANNOTATION);
        format::yaml(&format::to_value(&object))
    };
    let (live, wanted) = (live.map(yaml).unwrap_or_default(), yaml(wanted));
    if live == wanted {
        return String::new();
    }
    TextDiff::from_lines(&live, &wanted)
        .unified_diff()
        .header(&format!("live/{name}"), &format!("merged/{name}"))
        .to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn pod(image: &str, revision: &str) -> Object {
        serde_json::from_value(json!({
            "kind": "Pod",
            "metadata": { "name": "web", "namespace": "default", "labels": { "app": image },
                          "resourceVersion": revision },
        }))
        .unwrap()
    }

    #[test]
    fn only_what_a_file_can_say_is_a_difference() {
        assert_eq!(unified(Some(pod("a", "1")), pod("a", "7")), "");
        expect![[r#"
            --- live/pod.default.web
            +++ merged/pod.default.web
            @@ -2,7 +2,7 @@
             kind: Pod
             metadata:
               labels:
            -    app: a
            +    app: b
               name: web
               namespace: default
             spec:
        "#]]
        .assert_eq(&unified(Some(pod("a", "1")), pod("b", "1")));
    }

    #[test]
    fn an_object_that_moved_within_its_file_is_no_difference() {
        let at = |line: &str| {
            let mut object = pod("a", "1");
            object.metadata_mut().annotations.insert(SOURCE_ANNOTATION.into(), line.into());
            object
        };
        assert_eq!(unified(Some(at("stdin:1")), at("a.toml:1")), "");
        assert_eq!(unified(Some(pod("a", "1")), at("a.toml:1")), "");
    }

    #[test]
    fn a_failure_is_not_taken_for_a_difference() {
        assert_eq!(trouble(Failure::failed("x")).code, TROUBLE);
        assert_eq!(trouble(Failure::timed_out("x")).code, crate::failure::TIMED_OUT);
    }

    #[test]
    fn an_object_that_is_not_there_yet_is_all_new() {
        let text = unified(None, pod("a", ""));
        assert!(text.lines().skip(3).all(|line| line.starts_with('+')), "{text}");
        assert!(text.contains("+  name: web\n"), "{text}");
    }
}
