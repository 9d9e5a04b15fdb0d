// SPDX-License-Identifier: GPL-3.0-or-later
//! What a command is about: `pods`, `pods,nodes`, `pod web db`, `pod/web node/n1`.

use netlab_api::client::{Client, ClientError, Collection, ObjectRef, Selectors};
use netlab_api::resource::Kind;

use crate::context::Context;
use crate::failure::{Failure, NOT_FOUND};
use crate::output;

/// What a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// All objects of these kinds.
    Kinds(Vec<Kind>),
    /// These objects, in this order.
    Named(Vec<(Kind, String)>),
}

impl Target {
    /// Reads the words after a verb.
    pub(crate) fn parse(words: &[String]) -> Result<Target, Failure> {
        let Some(first) = words.first() else {
            return Err(unnamed_type());
        };
        if words.iter().any(|word| word.contains('/')) {
            return words
                .iter()
                .map(|word| slash_name(word))
                .collect::<Result<_, _>>()
                .map(Target::Named);
        }
        let kinds = kinds(first)?;
        let names = &words[1..];
        names.iter().try_for_each(|name| check_name(name))?;
        match names {
            [] => Ok(Target::Kinds(kinds)),
            names => Ok(Target::Named(
                kinds
                    .iter()
                    .flat_map(|kind| names.iter().map(|name| (*kind, name.clone())))
                    .collect(),
            )),
        }
    }

    /// The types that it is about, each once.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = match self {
            Target::Kinds(kinds) => kinds.clone(),
            Target::Named(named) => named.iter().map(|(kind, _)| *kind).collect(),
        };
        kinds.sort();
        kinds.dedup();
        kinds
    }

    /// Reads the words after a verb that is about exactly one object.
    pub(crate) fn one(words: &[String], verb: &str) -> Result<(Kind, String), Failure> {
        match Target::parse(words)? {
            Target::Named(mut named) if named.len() == 1 => Ok(named.remove(0)),
            Target::Named(_) => Err(Failure::usage(format!("{verb} takes one object"))),
            Target::Kinds(_) => Err(Failure::usage(format!(
                "{verb} needs a name: write `netlabctl {verb} {}/NAME`",
                words[0]
            ))),
        }
    }
}

/// Refuses the name that an unset variable leaves: the path of no name is that of all objects.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    match name.is_empty() {
        true => Err(Failure::usage("resource name may not be empty")
            .with_hint("there is an empty word where the name stands: is a variable not set?")),
        false => Ok(()),
    }
}

/// Reads `pods`, `po,no`, `all`.
fn kinds(word: &str) -> Result<Vec<Kind>, Failure> {
    let mut found = Vec::new();
    for word in word.split(',').filter(|word| !word.is_empty()) {
        let kinds = match word {
            // As in kubectl: what runs, not what describes.
            "all" => vec![Kind::Pod, Kind::Service],
            word => vec![kind(word)?],
        };
        for kind in kinds {
            if !found.contains(&kind) {
                found.push(kind);
            }
        }
    }
    match found.is_empty() {
        true => Err(unnamed_type()),
        false => Ok(found),
    }
}

fn unnamed_type() -> Failure {
    Failure::usage("you must say which type of object").with_hint(format!("types: {}", known()))
}

/// Reads one type.
pub(crate) fn kind(word: &str) -> Result<Kind, Failure> {
    Kind::from_word(word).ok_or_else(|| {
        let failure =
            Failure::new(1, format!("error: the server doesn't have a resource type \"{word}\""));
        failure.with_hint(match near(word) {
            Some(hint) => hint,
            None => format!("types: {}; a name stands after its type: `pod {word}`", known()),
        })
    })
}

fn near(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "deploy" | "deployment" | "deployments" | "rs" | "replicaset" | "replicasets" | "sts"
        | "statefulset" | "statefulsets" | "ds" | "daemonset" | "daemonsets" => {
            return Some(
                "netlab has pods, and nothing that makes them: `netlabctl pod run NAME --replicas 3`"
                    .to_owned(),
            );
        }
        "ep" | "endpoints" => return Some("did you mean `endpointslices`?".to_owned()),
        "netpol" | "networkpolicy" | "networkpolicies" => {
            return Some(format!(
                "network policies are not in this version yet; types: {}",
                known()
            ));
        }
        "cm"
        | "configmap"
        | "configmaps"
        | "secret"
        | "secrets"
        | "pv"
        | "pvc"
        | "persistentvolume"
        | "persistentvolumes"
        | "persistentvolumeclaim"
        | "persistentvolumeclaims"
        | "sa"
        | "serviceaccount"
        | "serviceaccounts"
        | "ing"
        | "ingress"
        | "ingresses"
        | "job"
        | "jobs"
        | "cj"
        | "cronjob"
        | "cronjobs"
        | "crd"
        | "customresourcedefinition"
        | "customresourcedefinitions"
        | "sc"
        | "storageclass"
        | "storageclasses"
        | "quota"
        | "hpa"
        | "pdb"
        | "role"
        | "roles"
        | "rolebinding"
        | "rolebindings" => {
            return Some(format!(
                "netlab is the network of pods, and has no such thing; types: {}",
                known()
            ));
        }
        "container" | "containers" => return Some("did you mean `pods`?".to_owned()),
        "ippool" | "ippools" | "ipam" | "block" => {
            return Some("did you mean `ipamblocks`?".to_owned());
        }
        _ => {}
    }
    let words = Kind::ALL.iter().flat_map(|kind| [kind.plural(), kind.singular()]);
    let nearest = words
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len() / 2);
    nearest.map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

fn known() -> String {
    let words: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| format!("{} ({})", kind.plural(), kind.short_names().join(", ")))
        .collect();
    words.join(", ")
}

/// Reads `pod/web`.
fn slash_name(word: &str) -> Result<(Kind, String), Failure> {
    match word.split_once('/') {
        Some((type_word, name)) if !name.is_empty() && !name.contains('/') => {
            Ok((kind(type_word)?, name.to_owned()))
        }
        Some(_) => Err(Failure::usage(format!(
            "arguments in resource/name form must have a single resource and name, and `{word}` has not"
        ))),
        None => Err(Failure::usage(
            "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form",
        )
        .with_hint(format!("`netlabctl get pod/web pod/db`, or `netlabctl get pod web db`; `{word}` stands alone"))),
    }
}

/// The pod and the words after it, where the pod is one word and `pod web` may have been typed for
/// `pod/web`.
pub(crate) fn joined(words: &[String]) -> (String, &[String]) {
    match words {
        [kind, name, rest @ ..] if Kind::from_word(kind) == Some(Kind::Pod) => {
            (format!("{kind}/{name}"), rest)
        }
        [pod, rest @ ..] => (pod.clone(), rest),
        [] => (String::new(), words),
    }
}

/// Reads the name of a pod where only a pod can stand: `web`, `pod/web`, `pods/web`.
pub(crate) fn pod_name(word: &str) -> Result<String, Failure> {
    let (kind, name) = match word.split_once('/') {
        Some((namespace, pod))
            if Kind::from_word(namespace).is_none() && near(namespace).is_none() =>
        {
            let message = format!("`{namespace}` in `{word}` is no type of objects");
            return Err(Failure::usage(message).with_hint(format!(
                "a pod of another namespace is named by `-n {namespace}`, and then `{pod}`"
            )));
        }
        Some(_) => slash_name(word)?,
        None => (Kind::Pod, word.to_owned()),
    };
    check_name(&name)?;
    match kind {
        Kind::Pod => Ok(name),
        kind => Err(Failure::usage(format!("`{word}` is a {}, not a pod", kind.singular()))),
    }
}

impl Context {
    /// Says that there is nothing of these types.
    pub(crate) async fn tell_none_found(&self, kinds: &[Kind], all_namespaces: bool) {
        match !all_namespaces && kinds.iter().all(|kind| kind.is_namespaced()) {
            true => self.tell_nothing_found().await,
            false => output::note("No resources found"),
        }
    }

    /// Says that the namespace holds nothing of the kind, and when there is no such namespace.
    pub(crate) async fn tell_nothing_found(&self) {
        output::note(&format!("No resources found in {} namespace.", self.namespace));
        if let Some(hint) = homeless(&self.client, &self.namespace).await {
            output::note(&format!("hint: {hint}"));
        }
    }

    /// Names an object in the namespace of the command.
    pub(crate) fn object(&self, kind: Kind, name: &str) -> ObjectRef {
        ObjectRef::new(kind, Some(&self.namespace), name)
    }

    /// Names a pod in the namespace of the command.
    pub(crate) fn pod(&self, name: &str) -> ObjectRef {
        self.object(Kind::Pod, name)
    }

    /// An error about an object; one that was not found tells where there is one of that name.
    pub(crate) async fn explain(&self, error: ClientError, object: &ObjectRef) -> Failure {
        let missing = error.is_not_found();
        let failure = Failure::from(error);
        match missing && failure.hints.is_empty() && object.namespace.is_some() {
            true => match elsewhere(self, object).await {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            },
            false => failure,
        }
    }

    /// The objects that a target and selectors name, and the first that was not there.
    pub(crate) async fn find(
        &self,
        target: &Target,
        selectors: &Selectors,
        all_namespaces: bool,
    ) -> Result<Found, Failure> {
        let mut found = Found::default();
        match target {
            Target::Kinds(kinds) => {
                let namespace = Some(self.namespace.as_str()).filter(|_| !all_namespaces);
                for kind in kinds {
                    let collection = Collection::new(*kind, namespace);
                    let list = self.client.list(&collection, selectors).await?;
                    found.revision = list.metadata.resource_version.parse().ok();
                    found.objects.extend(list.items);
                }
            }
            Target::Named(_) if all_namespaces => {
                return Err(Failure::usage(
                    "a resource cannot be retrieved by name across all namespaces",
                )
                .with_hint("name the namespace with -n, or select with -l or --field-selector metadata.name=NAME"));
            }
            Target::Named(_) if *selectors != Selectors::default() => {
                return Err(Failure::usage("name cannot be provided when a selector is specified"));
            }
            Target::Named(named) => {
                for (kind, name) in named {
                    let object = self.object(*kind, name);
                    match self.client.get(&object).await {
                        Ok(object) => found.objects.push(object),
                        Err(error) if error.is_not_found() => {
                            found.missing.push(self.explain(error, &object).await);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(found)
    }
}

/// What [`Context::find`] found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) objects: Vec<netlab_api::Object>,
    /// The revision of the last list.
    pub(crate) revision: Option<u64>,
    pub(crate) missing: Vec<Failure>,
}

impl Found {
    /// Reports what was missing; an error when anything was.
    pub(crate) fn finish(missing: &[Failure]) -> Result<(), Failure> {
        for failure in missing {
            failure.report();
        }
        if missing.is_empty() { Ok(()) } else { Err(Failure::silent(NOT_FOUND)) }
    }
}

/// Where there is an object of that name, or that the namespace is not there.
async fn elsewhere(context: &Context, object: &ObjectRef) -> Option<String> {
    let client = &context.client;
    let namespace = object.namespace.as_deref()?;
    let named = Selectors::name(&object.name);
    let everywhere = client.list(&Collection::new(object.kind, None), &named).await.ok()?;
    let other = everywhere.items.iter().find_map(|found| found.metadata().namespace.clone());
    if let Some(other) = other.filter(|other| other != namespace) {
        let there = format!("there is one in namespace `{other}`");
        if namespace == context.namespace {
            return Some(format!("{there}: add `-n {other}`"));
        }
        // The object names its namespace itself, in a file or in `shop/web:/path`: `-n` would choose
        // no other.
        return Some(match homeless(client, namespace).await {
            Some(_) => format!("{there}, and no namespace `{namespace}`"),
            None => there,
        });
    }
    homeless(client, namespace).await
}

/// That there is no such namespace, and what to do.
pub(crate) async fn homeless(client: &Client, namespace: &str) -> Option<String> {
    let home = ObjectRef::new(Kind::Namespace, None, namespace);
    match client.get(&home).await {
        Err(error) if error.is_not_found() => Some(format!(
            "there is no namespace `{namespace}`: `netlabctl get namespaces` lists those there are, `netlabctl create namespace {namespace}` makes it"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Target, Failure> {
        Target::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn targets_are_written_as_in_kubectl() {
        let named = |kind, name: &str| (kind, name.to_owned());
        assert_eq!(parse(&["po,no,pods"]), Ok(Target::Kinds(vec![Kind::Pod, Kind::Node])));
        assert_eq!(parse(&["all"]), Ok(Target::Kinds(vec![Kind::Pod, Kind::Service])));
        assert_eq!(
            parse(&["pod", "a", "b"]),
            Ok(Target::Named(vec![named(Kind::Pod, "a"), named(Kind::Pod, "b")]))
        );
        assert_eq!(
            parse(&["pod/a", "node/n1"]),
            Ok(Target::Named(vec![named(Kind::Pod, "a"), named(Kind::Node, "n1")]))
        );
    }

    #[track_caller]
    fn refuses(words: &[&str], code: i32, part: &str) {
        let failure = parse(words).expect_err("refused");
        let text = format!("{}\n{}", failure.message, failure.hints.join("\n"));
        assert!(text.contains(part), "{text}");
        assert_eq!(failure.code, code, "{text}");
    }

    #[test]
    fn mistakes_are_answered_with_what_to_do() {
        refuses(&["deploy"], 1, "error: the server doesn't have a resource type \"deploy\"");
        refuses(&["deploy"], 1, "pod run NAME --replicas 3");
        refuses(&["pdos"], 1, "did you mean `pods`?");
        refuses(&["netpol"], 1, "not in this version yet");
        refuses(&["configmaps"], 1, "has no such thing");
        refuses(&["web"], 1, "a name stands after its type: `pod web`");
        refuses(&["quark"], 1, "types: namespaces (ns), nodes (no), pods (po)");
        refuses(&["pod", "pod/web"], 2, "no need to specify a resource type");
        refuses(&["pod/a/b"], 2, "`pod/a/b` has not");
        refuses(&[], 2, "which type of object");
        refuses(&[""], 2, "which type of object");
        refuses(&[",", "web"], 2, "which type of object");
    }

    #[test]
    fn no_name_is_not_every_name() {
        refuses(&["pod", ""], 2, "resource name may not be empty");
        refuses(&["pod", "web", ""], 2, "is a variable not set?");
        refuses(&["pod/"], 2, "`pod/` has not");
        for word in ["", "pod/", "/"] {
            assert!(pod_name(word).is_err(), "{word}");
        }
    }

    #[test]
    fn a_target_has_each_type_once() {
        let kinds = |words: &[&str]| parse(words).expect("a target").kinds();
        assert_eq!(kinds(&["pod", "a", "b"]), [Kind::Pod]);
        assert_eq!(kinds(&["pod/a", "node/n1", "pod/b"]), [Kind::Node, Kind::Pod]);
    }
}
