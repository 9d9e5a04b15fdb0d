// SPDX-License-Identifier: GPL-3.0-or-later
//! Who may talk to the server, whatever the socket's mode says.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;

/// The user `nobody`, and a group that no user of this machine is in.
const NOBODY: &str = "65534";
const GROUP: u32 = 54_321;

/// A server whose socket somebody has opened to all.
async fn loose(group: Option<u32>) -> Lab {
    let lab = Lab::with(Setting { group, ..Setting::default() }).await;
    set_permissions(lab.folder.path(), Permissions::from_mode(0o755)).expect("ours");
    set_permissions(&lab.socket, Permissions::from_mode(0o666)).expect("ours");
    lab
}

/// What curl gets, run by `nobody` with these groups.
async fn ask_as_nobody(lab: &Lab, groups: &[&str]) -> String {
    let mut args = vec!["--reuid", NOBODY, "--regid", NOBODY];
    args.extend_from_slice(groups);
    let url = "http://netlab/livez";
    args.extend_from_slice(&["curl", "-sS", "--unix-socket", text_of(&lab.socket), url]);
    run("setpriv", &args).await
}

fn refusal(answer: &str) -> ApiError {
    let error: ApiError = serde_json::from_str(answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
    assert_eq!(error.reason, Reason::Forbidden);
    error
}

#[tokio::test]
async fn a_stranger_is_told_how_to_become_a_member() {
    let lab = loose(Some(GROUP)).await;
    let error = refusal(&ask_as_nobody(&lab, &["--clear-groups"]).await);
    assert!(error.message.contains("neither root nor in group"), "{error}");
    let hint = error.hint.expect("a hint");
    assert!(hint.contains("sudo usermod -aG") && hint.contains("then log in again"), "{hint}");
    assert_eq!(lab.metric("netlab_api_peers_refused_total").await, 1);
}

#[tokio::test]
async fn members_of_the_group_may_by_any_of_their_groups() {
    let lab = loose(Some(GROUP)).await;
    let group = GROUP.to_string();
    assert_eq!(ask_as_nobody(&lab, &["--groups", &group]).await, "ok\n");
    // More groups than are first made room for.
    let many: Vec<String> = (60_000..60_100).map(|gid| gid.to_string()).collect();
    let with = format!("{},{group}", many.join(","));
    assert_eq!(ask_as_nobody(&lab, &["--groups", &with]).await, "ok\n");
    refusal(&ask_as_nobody(&lab, &["--groups", &many.join(",")]).await);
}

#[tokio::test]
async fn without_a_group_only_root_may() {
    let lab = loose(None).await;
    let error = refusal(&ask_as_nobody(&lab, &["--clear-groups"]).await);
    assert!(error.to_string().contains("groupadd netlab"), "{error}");
    assert_eq!(lab.get("/livez").await.text(), "ok\n");
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let lab = Lab::with(Setting { limits, ..Setting::default() }).await;
    let first = lab.connect().await;
    let _second = lab.connect().await;
    lab.get("/livez").await.refused(Reason::TooManyRequests, &["2 connections"]);
    drop(first);
    within(async {
        while lab.get("/livez").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
