// SPDX-License-Identifier: GPL-3.0-or-later
//! What a drain would do, and whether it can. Pure.

use std::fmt::Write as _;

use netlab_api::{Node, Pod};

use crate::failure::Failure;

/// Names that a message lists before it counts the rest.
const NAMED: usize = 5;

/// Nodes to drain, and what it means.
#[derive(Debug)]
pub(super) struct Plan {
    /// The nodes to drain.
    pub(super) targets: Vec<Node>,
    /// All others.
    others: Vec<Node>,
    /// Pods of the nodes to drain.
    pods: Vec<Pod>,
}

impl Plan {
    pub(super) fn new(targets: Vec<Node>, all: Vec<Node>, pods: Vec<Pod>) -> Plan {
        let is_target =
            |node: &Node| targets.iter().any(|target| target.metadata.name == node.metadata.name);
        let others = all.into_iter().filter(|node| !is_target(node)).collect();
        Plan { targets, others, pods }
    }

    /// Why it cannot be done without losing pods, if so.
    pub(super) fn refusal(&self) -> Option<Failure> {
        let homeless = self.homeless();
        if homeless.is_empty() {
            return None;
        }
        let targets: Vec<_> =
            self.targets.iter().map(|node| format!("{:?}", node.metadata.name)).collect();
        let (noun, targets) = match &targets[..] {
            [one] => ("node", one.clone()),
            several => ("nodes", several.join(", ")),
        };
        let reasons: Vec<_> = self
            .others
            .iter()
            .map(|node| format!("{} {}", node.metadata.name, why_not(node)))
            .collect();
        let why = match reasons.is_empty() {
            true => "there is no other node for its pods".to_owned(),
            false => format!("no other node takes its pods: {}", some_of(&reasons)),
        };
        let mut failure = Failure::failed(format!("unable to drain {noun} {targets}: {why}"));
        let cordoned = self.others.iter().find(|n| n.is_ready() && n.spec.unschedulable);
        if let Some(node) = cordoned {
            failure = failure.with_hint(format!(
                "`netlabctl uncordon {}` lets it take them",
                node.metadata.name
            ));
        }
        let (pods, them) = match homeless.len() {
            1 => ("the pod".to_owned(), "it"),
            count => (format!("the {count} pods"), "them"),
        };
        Some(failure.with_hint(format!(
            "nothing was changed; --force deletes {pods}, and nothing makes {them} anew: {}",
            some_of(&homeless)
        )))
    }

    /// What `--force` has to say, in kubectl's words.
    pub(super) fn warning(&self) -> String {
        format!("Warning: deleting Pods that no other node takes: {}", self.homeless().join(", "))
    }

    /// The lines of a dry run.
    pub(super) fn told(&self, suffix: &str) -> String {
        let mut text = String::new();
        for node in &self.targets {
            let already = if node.spec.unschedulable { "already " } else { "" };
            let name = &node.metadata.name;
            writeln!(text, "node/{name} {already}cordoned{suffix}")
                .expect("writing to a string never fails");
        }
        let deletes = !self.homeless().is_empty();
        for node in &self.targets {
            let name = &node.metadata.name;
            let here = |pod: &&Pod| pod.spec.node_name.as_ref() == Some(name);
            for pod in self.pods.iter().filter(here) {
                let verb = if deletes { "deleting" } else { "evicting" };
                writeln!(text, "{verb} pod {}{suffix}", full_name(pod))
                    .expect("writing to a string never fails");
            }
            writeln!(text, "node/{name} drained{suffix}").expect("writing to a string never fails");
        }
        text
    }

    /// Pods that would be made anew, when no node would have them.
    fn homeless(&self) -> Vec<String> {
        if self.others.iter().any(takes_pods) {
            return Vec::new();
        }
        let moves = |pod: &&Pod| !pod.is_finished() && pod.metadata.deletion_timestamp.is_none();
        self.pods.iter().filter(moves).map(full_name).collect()
    }
}

fn takes_pods(node: &Node) -> bool {
    node.is_ready() && !node.spec.unschedulable && node.metadata.deletion_timestamp.is_none()
}

fn why_not(node: &Node) -> &'static str {
    match node {
        node if node.metadata.deletion_timestamp.is_some() => "is being deleted",
        node if !node.is_ready() => "is not ready",
        _ => "is cordoned",
    }
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name)
}

/// `a, b, c, d, e and 3 more`.
fn some_of(names: &[String]) -> String {
    let text = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{from_value, json};

    use super::*;

    fn node(name: &str, ready: &str, unschedulable: bool) -> Node {
        from_value(json!({
            "metadata": { "name": name }, "spec": { "unschedulable": unschedulable },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    fn pod(name: &str, phase: &str) -> Pod {
        from_value(json!({
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "nodeName": "n1" }, "status": { "phase": phase },
        }))
        .unwrap()
    }

    fn plan(others: Vec<Node>, pods: Vec<Pod>) -> Plan {
        let n1 = node("n1", "True", false);
        let all = [vec![n1.clone()], others].concat();
        Plan::new(vec![n1], all, pods)
    }

    #[track_caller]
    fn refuses(plan: &Plan, expected: Expect) {
        let failure = plan.refusal().expect("a refusal");
        expected.assert_eq(&format!("{}\n{}\n", failure.message, failure.hints.join("\n")));
    }

    #[test]
    fn a_node_is_not_drained_when_no_other_takes_its_pods() {
        refuses(
            &plan(vec![], vec![pod("web", "Running"), pod("job", "Succeeded")]),
            expect![[r#"
                error: unable to drain node "n1": there is no other node for its pods
                nothing was changed; --force deletes the pod, and nothing makes it anew: default/web
            "#]],
        );
        let others = vec![
            node("n2", "True", true),
            node("n3", "Unknown", false),
            node("n4", "Unknown", true),
        ];
        let pods = (0..7).map(|number| pod(&format!("web-{number}"), "Running")).collect();
        let plan = plan(others, pods);
        refuses(
            &plan,
            expect![[r#"
                error: unable to drain node "n1": no other node takes its pods: n2 is cordoned, n3 is not ready, n4 is not ready
                `netlabctl uncordon n2` lets it take them
                nothing was changed; --force deletes the 7 pods, and nothing makes them anew: default/web-0, default/web-1, default/web-2, default/web-3, default/web-4 and 2 more
            "#]],
        );
    }

    #[test]
    fn a_node_is_drained_when_another_takes_its_pods_or_none_has_to_move() {
        let other = || vec![node("n2", "True", false)];
        assert_eq!(plan(other(), vec![pod("web", "Running")]).refusal(), None);
        assert_eq!(plan(vec![], vec![pod("job", "Succeeded")]).refusal(), None);
        assert_eq!(plan(vec![], vec![]).refusal(), None);
    }

    #[test]
    fn nodes_that_are_drained_together_take_none_of_each_others_pods() {
        let nodes = ["n1", "n2"].map(|name| node(name, "True", false)).to_vec();
        let plan = Plan::new(nodes.clone(), nodes, vec![pod("web", "Running")]);
        refuses(
            &plan,
            expect![[r#"
                error: unable to drain nodes "n1", "n2": there is no other node for its pods
                nothing was changed; --force deletes the pod, and nothing makes it anew: default/web
            "#]],
        );
    }

    #[test]
    fn a_dry_run_tells_what_would_be() {
        let other = vec![node("n2", "True", false)];
        let text = plan(other, vec![pod("web", "Running")]).told(" (dry run)");
        expect![[r#"
            node/n1 cordoned (dry run)
            evicting pod default/web (dry run)
            node/n1 drained (dry run)
        "#]]
        .assert_eq(&text);
    }
}
