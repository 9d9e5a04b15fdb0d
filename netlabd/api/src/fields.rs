// SPDX-License-Identifier: GPL-3.0-or-later
//! Field selectors: `metadata.name=web,status.phase!=Running`.

use std::fmt;
use std::str::FromStr;

use crate::resource::{Kind, Object};

/// Conditions on fields of an object, all of which must hold; the default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    field: Field,
    negated: bool,
    value: String,
}

/// The fields that can be selected on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    NodeName,
    PodPhase,
    Unschedulable,
    InvolvedKind,
    InvolvedName,
    InvolvedNamespace,
    InvolvedUid,
    Reason,
    Type,
}

/// Why a text is no field selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A part has no operator.
    #[error(
        "cannot read `{part}` in field selector `{selector}`: write FIELD=VALUE or FIELD!=VALUE, \
         such as `status.phase!=Running`"
    )]
    Syntax {
        /// The whole text.
        selector: String,
        /// The part without an operator.
        part: String,
    },
    /// No kind can be selected by this field.
    #[error("field `{field}` cannot be selected on: use one of {known}")]
    UnknownField {
        /// The field.
        field: String,
        /// The fields that can, as a list.
        known: String,
    },
    /// The kind has no such field.
    #[error("{plural} cannot be selected by field `{field}`: use one of {known}")]
    WrongKind {
        /// The kind's plural.
        plural: &'static str,
        /// The field.
        field: String,
        /// The fields that can, as a list.
        known: String,
    },
}

impl FieldSelector {
    /// Reads a selector as kubectl's `--field-selector` takes it; the empty text selects
    /// everything. Whether a kind has the fields, [`FieldSelector::check`] says.
    pub fn parse(text: &str) -> Result<FieldSelector, FieldSelectorError> {
        let mut requirements = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (field, negated, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, true, value)
            } else if let Some((field, value)) = part.split_once("==") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, false, value)
            } else {
                let (selector, part) = (text.to_owned(), part.to_owned());
                return Err(FieldSelectorError::Syntax { selector, part });
            };
            let field = field.trim();
            let field =
                Field::ALL.into_iter().find(|known| known.path() == field).ok_or_else(|| {
                    FieldSelectorError::UnknownField {
                        field: field.to_owned(),
                        known: listed(|_| true),
                    }
                })?;
            requirements.push(Requirement { field, negated, value: value.trim().to_owned() });
        }
        Ok(FieldSelector { requirements })
    }

    /// [`FieldSelector::parse`] and [`FieldSelector::check`] in one.
    pub fn parse_for(kind: Kind, text: &str) -> Result<FieldSelector, FieldSelectorError> {
        let selector = FieldSelector::parse(text)?;
        selector.check(kind)?;
        Ok(selector)
    }

    /// Whether objects of `kind` can be selected so.
    pub fn check(&self, kind: Kind) -> Result<(), FieldSelectorError> {
        match self.requirements.iter().find(|r| !r.field.is_of(kind)) {
            None => Ok(()),
            Some(requirement) => Err(FieldSelectorError::WrongKind {
                plural: kind.plural(),
                field: requirement.field.path().to_owned(),
                known: listed(|field| field.is_of(kind)),
            }),
        }
    }

    /// Whether `object` is selected. A field that its kind lacks is the empty text.
    pub fn matches(&self, object: &Object) -> bool {
        self.requirements.iter().all(|r| (r.field.value_of(object) == r.value) != r.negated)
    }

    /// Whether it has no condition.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The name that it asks for, when it asks for one.
    pub fn name(&self) -> Option<&str> {
        let pin = self.requirements.iter().find(|r| r.field == Field::Name && !r.negated)?;
        Some(&pin.value)
    }
}

impl FromStr for FieldSelector {
    type Err = FieldSelectorError;

    fn from_str(text: &str) -> Result<FieldSelector, FieldSelectorError> {
        FieldSelector::parse(text)
    }
}

/// What [`FieldSelector::parse`] reads back as an equal selector.
impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { field, negated, value }) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if *negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{value}", field.path())?;
        }
        Ok(())
    }
}

impl Field {
    const ALL: [Field; 11] = [
        Field::Name,
        Field::Namespace,
        Field::NodeName,
        Field::PodPhase,
        Field::Unschedulable,
        Field::InvolvedKind,
        Field::InvolvedName,
        Field::InvolvedNamespace,
        Field::InvolvedUid,
        Field::Reason,
        Field::Type,
    ];

    fn path(self) -> &'static str {
        match self {
            Field::Name => "metadata.name",
            Field::Namespace => "metadata.namespace",
            Field::NodeName => "spec.nodeName",
            Field::PodPhase => "status.phase",
            Field::Unschedulable => "spec.unschedulable",
            Field::InvolvedKind => "involvedObject.kind",
            Field::InvolvedName => "involvedObject.name",
            Field::InvolvedNamespace => "involvedObject.namespace",
            Field::InvolvedUid => "involvedObject.uid",
            Field::Reason => "reason",
            Field::Type => "type",
        }
    }

    fn is_of(self, kind: Kind) -> bool {
        match self {
            Field::Name => true,
            Field::Namespace => kind.is_namespaced(),
            Field::NodeName => kind == Kind::Pod,
            Field::PodPhase => matches!(kind, Kind::Pod | Kind::Namespace),
            Field::Unschedulable => kind == Kind::Node,
            _ => kind == Kind::Event,
        }
    }

    fn value_of(self, object: &Object) -> String {
        let metadata = object.metadata();
        match (self, object) {
            (Field::Name, _) => metadata.name.clone(),
            (Field::Namespace, _) => metadata.namespace.clone().unwrap_or_default(),
            (Field::NodeName, Object::Pod(pod)) => pod.spec.node_name.clone().unwrap_or_default(),
            (Field::PodPhase, Object::Pod(pod)) => format!("{:?}", pod.status.phase),
            (Field::PodPhase, Object::Namespace(ns)) => format!("{:?}", ns.status.phase),
            (Field::Unschedulable, Object::Node(node)) => node.spec.unschedulable.to_string(),
            (Field::InvolvedKind, Object::Event(event)) => event.involved_object.kind.clone(),
            (Field::InvolvedName, Object::Event(event)) => event.involved_object.name.clone(),
            (Field::InvolvedNamespace, Object::Event(event)) => {
                event.involved_object.namespace.clone()
            }
            (Field::InvolvedUid, Object::Event(event)) => event.involved_object.uid.clone(),
            (Field::Reason, Object::Event(event)) => event.reason.clone(),
            (Field::Type, Object::Event(event)) => format!("{:?}", event.kind),
            _ => String::new(),
        }
    }
}

fn listed(wanted: impl Fn(Field) -> bool) -> String {
    let paths = Field::ALL.into_iter().filter(|f| wanted(*f)).map(|f| format!("`{}`", f.path()));
    paths.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::PodPhase;
    use crate::{Namespace, Pod};

    fn pod() -> Object {
        let mut pod = Pod::default();
        pod.metadata.name = "web".to_owned();
        pod.metadata.namespace = Some("shop".to_owned());
        pod.spec.node_name = Some("n1".to_owned());
        pod.status.phase = PodPhase::Running;
        Object::Pod(pod)
    }

    #[test]
    fn fields_of_a_pod_are_compared() {
        let matching = [
            "",
            "metadata.name=web",
            "metadata.name==web, metadata.namespace = shop",
            "spec.nodeName=n1,status.phase=Running",
            "spec.nodeName!=n2,spec.nodeName!=",
        ];
        for text in matching {
            let selector = FieldSelector::parse(text).expect("parses");
            assert!(selector.matches(&pod()), "{text}");
            assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }
        for text in ["metadata.name=db", "metadata.name!=web", "status.phase=", "reason=Started"] {
            assert!(!FieldSelector::parse(text).expect("parses").matches(&pod()), "{text}");
        }
    }

    #[test]
    fn a_namespace_has_a_phase_too() {
        let selector = FieldSelector::parse_for(Kind::Namespace, "status.phase=Active");
        assert!(selector.expect("parses").matches(&Object::Namespace(Namespace::default())));
    }

    #[test]
    fn a_pinned_name_is_known() {
        let name = |text| FieldSelector::parse(text).expect("parses").name().map(str::to_owned);
        assert_eq!(name("status.phase=Running,metadata.name=web"), Some("web".to_owned()));
        assert_eq!(name("metadata.name!=web"), None);
        assert_eq!(name(""), None);
    }

    #[test]
    fn unknown_fields_are_refused_with_those_that_exist() {
        let error = FieldSelector::parse("spec.color=red").expect_err("is refused").to_string();
        assert!(
            error.starts_with(
                "field `spec.color` cannot be selected on: use one of `metadata.name`"
            )
        );
        assert!(error.contains("`involvedObject.uid`"), "{error}");
        let error = FieldSelector::parse_for(Kind::Node, "spec.nodeName=n1").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "nodes cannot be selected by field `spec.nodeName`: use one of `metadata.name`, \
             `spec.unschedulable`"
        );
        let error = FieldSelector::parse("web").expect_err("is refused").to_string();
        assert!(error.starts_with("cannot read `web` in field selector `web`: write"), "{error}");
    }
}
