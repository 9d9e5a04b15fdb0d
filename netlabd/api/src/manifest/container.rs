// SPDX-License-Identifier: GPL-3.0-or-later
//! Kubernetes' list of containers: a pod of netlab has one, whose fields are the pod's own.

use std::ops::Range;

use super::diagnostic::Report;
use super::tree::{Entry, Node, Value};
use crate::schema;

/// Fields of a container that are fields of netlab's pod.
pub(crate) const CONTAINER_FIELDS: [&str; 8] = [
    "args",
    "command",
    "env",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resources",
    "workingDir",
];

/// The `spec` with the fields of its one container beside its own. `None` after a fault.
///
/// Fields that are no pod's come along too, to be told as unsupported or unknown.
pub(super) fn fold(report: &mut Report<'_>, mut spec: Entry) -> Option<Entry> {
    let Value::Mapping(entries) = &mut spec.value.value else { return Some(spec) };
    let Some(position) = entries.iter().position(|entry| entry.key == "containers") else {
        return Some(spec);
    };
    let containers = entries.remove(position).value;
    let items = match &containers.value {
        Value::Null => return Some(spec),
        Value::Sequence(items) => items,
        _ => {
            let message = format!("`containers` must be a list, not {}", containers.describe());
            fault(report, &containers.span, message, "write a `-` in front of the container");
            return None;
        }
    };
    let container = match items.as_slice() {
        [] => return Some(spec),
        [Node { value: Value::Mapping(container), .. }] => container,
        [other] => {
            let message =
                format!("a container must be a table of fields, not {}", other.describe());
            fault(report, &other.span, message, "for example `- command: [\"sleep\", \"60\"]`");
            return None;
        }
        [_, second, ..] => {
            let message = format!("a pod has one container, not {}", items.len());
            fault(report, &second.span, message, "make it a pod of its own");
            return None;
        }
    };
    for entry in container.iter().filter(|entry| entry.key != "name") {
        let key = entry.key.as_str();
        if let Some(twin) = entries.iter().find(|own| own.key == key) {
            let line = report.line(twin.key_span.start);
            let message = format!("`{key}` is given for the pod and for its container");
            let label = format!("first given in line {line}: remove one of the two");
            fault(report, &entry.key_span, message, &label);
        } else if is_pod_field(key) && !CONTAINER_FIELDS.contains(&key) {
            let message = format!("`{key}` is a field of the pod, not of its container");
            let label = "move it out of `containers`, into `spec`";
            fault(report, &entry.key_span, message, label);
        } else {
            entries.push(entry.clone());
        }
    }
    Some(spec)
}

/// Whether a pod's spec has the field.
pub(super) fn is_pod_field(key: &str) -> bool {
    let properties = schema::definitions().get("PodSpec").and_then(|d| d.get("properties"));
    properties.is_some_and(|properties| properties.get(key).is_some())
}

fn fault(report: &mut Report<'_>, span: &Range<usize>, message: String, label: &str) {
    report.error(span.clone(), message).field("spec.containers").label(label);
}
