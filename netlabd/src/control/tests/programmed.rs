// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::view::{NodeReport, ProgrammedReport};

use super::*;
use crate::control::plane::ControlPlane;

const AT_ONCE: Duration = Duration::ZERO;

impl Lab {
    async fn programmed(&self, timeout: Duration) -> Result<u64, ApiError> {
        let revision = self.control.revision().await.unwrap();
        self.control.programmed(revision, timeout).await.map(|programmed| programmed.revision)
    }

    async fn report(&self, node: &str, revision: Revision) {
        let programmed = ProgrammedReport { revision: revision.0, failures: Vec::new() };
        let report = NodeReport { programmed: Some(programmed), ..NodeReport::default() };
        self.control.report(node, report).await.unwrap();
    }
}

#[test]
fn only_what_nodes_program_is_waited_for() {
    run(async {
        let lab = Lab::new().await;
        let _view = lab.control.view("n1", None).await.unwrap();
        lab.create(namespace("shop")).await.unwrap();
        // There is a name of it.
        lab.programmed(AT_ONCE).await.unwrap_err();
        lab.report("n1", lab.control.revision().await.unwrap()).await;
        let mut status = node_status(true);
        status.node_info.kernel_version = "7.0".to_owned();
        lab.control.register_node("n1", status).await.unwrap();
        lab.programmed(AT_ONCE).await.unwrap();
        let made = lab.run("web").await;
        lab.programmed(AT_ONCE).await.unwrap_err();
        lab.report("n1", made.metadata.resource_version.parse().unwrap()).await;
        // A status is news from the kernel, not for it.
        let status = netlab_api::pod::PodStatus::default();
        let update = PodStatusUpdate { pod: PodIdentity::of(&made), status };
        lab.control.update_pod_statuses("n1", vec![update]).await.unwrap();
        lab.programmed(AT_ONCE).await.unwrap();
        lab.delete(&pod_key("web")).await.unwrap();
        lab.programmed(AT_ONCE).await.unwrap_err();
    });
}

#[test]
fn a_wait_that_ends_too_early_names_the_nodes_that_lag() {
    run(async {
        let lab = Lab::new().await;
        lab.register("n2", true).await;
        lab.register("n3", true).await;
        lab.run("web").await;
        let newest = lab.control.revision().await.unwrap();
        lab.report("n1", newest).await;
        lab.report("n3", Revision(1)).await;
        let error = lab.programmed(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.reason, Reason::Timeout);
        let lagging = "lagging: n2 (at revision 0), n3 (at revision 1)";
        assert!(error.message.ends_with(lagging), "{error}");
    });
}

#[test]
fn a_wait_ends_with_the_last_report() {
    run(async {
        let lab = Lab::new().await;
        lab.register("n2", true).await;
        lab.run("web").await;
        let newest = lab.control.revision().await.unwrap();
        let control = lab.control.clone();
        let waiting = tokio::spawn(async move { control.programmed(newest, DEADLINE).await });
        lab.report("n1", newest).await;
        lab.report("n2", newest).await;
        let programmed = waiting.await.unwrap().unwrap();
        assert_eq!(programmed.revision, newest.0);
        let names: Vec<_> = programmed.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["n1", "n2"]);
    });
}

#[test]
fn a_node_that_is_not_ready_is_not_waited_for_even_if_it_was() {
    run(async {
        let lab = Lab::new().await;
        lab.register("n2", false).await;
        lab.run("web").await;
        let newest = lab.control.revision().await.unwrap();
        lab.report("n1", newest).await;
        lab.programmed(AT_ONCE).await.unwrap();
        lab.register("n2", true).await;
        lab.control.feed.caught_up(lab.control.revision().await.unwrap()).await;
        let control = lab.control.clone();
        let waiting = tokio::spawn(async move { control.programmed(newest, DEADLINE).await });
        while lab.control.feed.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        lab.register("n2", false).await;
        waiting.await.unwrap().unwrap();
    });
}

#[test]
fn the_future_is_not_waited_for() {
    run(async {
        let lab = Lab::new().await;
        let future = lab.control.revision().await.unwrap().next();
        let error = lab.control.programmed(future, DEADLINE).await.unwrap_err();
        assert_eq!(error.reason, Reason::BadRequest);
    });
}

#[test]
fn a_change_is_programmed_when_its_endpoints_are() {
    run(async {
        let lab = Lab::new().await;
        let mut view = lab.control.view("n1", None).await.unwrap();
        view.next().await.unwrap();
        lab.report("n1", lab.control.revision().await.unwrap()).await;
        let service = json!({
            "kind": "Service",
            "metadata": { "name": "web" },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
        });
        let made = lab.create(object(service)).await.unwrap();
        let revision: Revision = made.metadata().resource_version.parse().unwrap();
        let with_slices = lab.control.endpoints.settled(revision).await;
        assert!(with_slices > revision);
        lab.report("n1", revision).await;
        lab.control.programmed(revision, AT_ONCE).await.unwrap_err();
        lab.report("n1", with_slices).await;
        let programmed = lab.control.programmed(revision, AT_ONCE).await.unwrap();
        assert_eq!(programmed.revision, revision.0);
    });
}
