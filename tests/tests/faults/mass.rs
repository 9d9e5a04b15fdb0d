// SPDX-License-Identifier: GPL-3.0-or-later
//! Three hundred pods, and a daemon that is killed in the middle of them.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::audit::uid;
use crate::daemon::{Lab, is_ready, wait_for};

const PODS: usize = 300;

fn apply_many(lab: &Lab) {
    let items: Vec<_> = (0..PODS).map(|n| lab.pod_object(&format!("m{n}"))).collect();
    lab.client().post("/v1/apply", &json!({ "items": items })).unwrap().ok();
}

fn wait_all_ready(lab: &Lab) {
    wait_for("all pods are ready", || {
        let pods = lab.pods();
        let ready = pods.values().filter(|pod| is_ready(pod)).count();
        sleep(Duration::from_millis(50));
        if ready == PODS { Ok(()) } else { Err(format!("{ready} of {}", pods.len())) }
    });
}

fn wait_none(lab: &Lab) {
    wait_for("all pods are gone", || {
        sleep(Duration::from_millis(50));
        match lab.pods().len() {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        }
    });
}

#[test]
fn three_hundred_pods_converge_although_the_daemon_is_killed() {
    let mut lab = Lab::started("mass");
    apply_many(&lab);
    wait_for("some pods run", || {
        let ready = lab.pods().values().filter(|pod| is_ready(pod)).count();
        if ready > PODS / 4 { Ok(()) } else { Err(ready.to_string()) }
    });
    lab.restart();
    wait_all_ready(&lab);
    let pods = lab.audit();
    assert_eq!(pods.len(), PODS);
    let processes: Vec<_> = pods.values().map(|pod| lab.process(pod).unwrap()).collect();
    lab.restart();
    let again = lab.audit();
    let same: Vec<_> = again.values().map(|pod| lab.process(pod).unwrap()).collect();
    assert_eq!(processes, same);
    lab.client().delete("/v1/namespaces/default/pods?gracePeriodSeconds=0").unwrap().ok();
    wait_for("some pods are gone", || {
        let left = lab.pods().len();
        if left < PODS { Ok(()) } else { Err(left.to_string()) }
    });
    lab.restart();
    wait_none(&lab);
    assert!(lab.audit().is_empty());
    lab.finish();
}

#[test]
fn pods_that_are_deleted_while_they_start_leave_nothing() {
    let mut lab = Lab::started("startdel");
    for round in 0..3 {
        apply_many(&lab);
        let uids: Vec<_> = lab.pods().values().map(uid).collect();
        assert_eq!(uids.len(), PODS);
        let grace = if round == 1 { "" } else { "?gracePeriodSeconds=0" };
        lab.client().delete(&format!("/v1/namespaces/default/pods{grace}")).unwrap().ok();
        if round == 2 {
            lab.restart();
        }
        wait_none(&lab);
        assert!(lab.audit().is_empty());
    }
    lab.finish();
}
