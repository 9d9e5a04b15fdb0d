// SPDX-License-Identifier: GPL-3.0-or-later
//! `doctor`: the daemon's checks; and where the daemon cannot be reached, what can be seen from
//! here.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use netlab_api::client::Transport;
use netlab_api::wire::{DoctorCheck, DoctorOutcome};
use nix::unistd::{Gid, Group, getegid, geteuid, getgroups};

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::output;
use crate::output::table::{Look, Table};

/// Exits with 1 when a check failed.
pub(crate) async fn doctor(context: &Context) -> Result<(), Failure> {
    let (checks, unreachable) = match context.client.doctor().await {
        Ok(report) => {
            let mut checks = vec![check(
                "daemon",
                DoctorOutcome::Ok,
                format!("netlabd answers on {}", context.client.transport()),
            )];
            checks.extend(report.checks);
            (checks, None)
        }
        Err(error) => {
            let looked_at = match context.client.transport() {
                Transport::Unix(socket) => local(socket),
                Transport::Other(_) => Vec::new(),
            };
            (looked_at, Some(Failure::from(error)))
        }
    };
    output::text(&render(&checks, context.colour));
    match unreachable {
        Some(failure) => Err(failure),
        None if checks.iter().any(|c| c.outcome == DoctorOutcome::Failed) => {
            Err(Failure::silent(FAILED))
        }
        None => Ok(()),
    }
}

fn render(checks: &[DoctorCheck], colour: bool) -> String {
    let mut table = Table::new(&["CHECK", "STATUS", "FINDING"]);
    for check in checks {
        let status = match check.outcome {
            DoctorOutcome::Ok => "ok",
            DoctorOutcome::Warning => "warning",
            DoctorOutcome::Failed => "failed",
        };
        table.rows.push(vec![check.name.clone(), status.to_owned(), check.message.clone()]);
    }
    let text = table.render(Look { headers: true, colour }, &mut Vec::new());
    let mut lines = text.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    // Each fix stands under its finding.
    for (line, check) in lines.zip(checks) {
        out += &format!("{line}\n");
        if let Some(fix) = check.fix.as_ref().filter(|_| check.outcome != DoctorOutcome::Ok) {
            out += &format!("   fix: {fix}\n");
        }
    }
    out
}

fn check(name: &str, outcome: DoctorOutcome, message: impl Into<String>) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), outcome, message: message.into(), fix: None }
}

fn failed(name: &str, message: impl Into<String>, fix: &str) -> DoctorCheck {
    DoctorCheck { fix: Some(fix.to_owned()), ..check(name, DoctorOutcome::Failed, message) }
}

fn local(socket: &Path) -> Vec<DoctorCheck> {
    vec![socket_check(socket), group_check(), binary_check(), cgroup_check(), namespace_check()]
}

fn socket_check(socket: &Path) -> DoctorCheck {
    let path = socket.display();
    match std::fs::metadata(socket) {
        Ok(metadata) if metadata.file_type().is_socket() => failed(
            "socket",
            format!("{path} is there, and cannot be used: netlabd is gone, or you may not"),
            "start netlabd again (`systemctl restart netlabd` or `netlabd`), or see the group below",
        ),
        Ok(_) => failed("socket", format!("{path} is no socket"), "name netlabd's with --socket"),
        Err(error) => failed(
            "socket",
            format!("{path}: {error}"),
            "start netlabd: `systemctl start netlabd` or `netlabd`; or name its socket with --socket",
        ),
    }
}

fn group_check() -> DoctorCheck {
    if geteuid().is_root() {
        return check("group", DoctorOutcome::Ok, "you are root");
    }
    match Group::from_name("netlab") {
        Ok(Some(group)) if is_member(group.gid) => {
            check("group", DoctorOutcome::Ok, "you are in group netlab")
        }
        Ok(Some(_)) => failed(
            "group",
            "you are neither root nor in group netlab",
            "sudo usermod -aG netlab $USER, then log in again; note that the group is as good as root",
        ),
        _ => failed(
            "group",
            "there is no group netlab, so that only root may use netlab",
            "sudo groupadd --system netlab && sudo usermod -aG netlab $USER, then restart netlabd and log in again",
        ),
    }
}

fn is_member(gid: Gid) -> bool {
    getegid() == gid || getgroups().is_ok_and(|groups| groups.contains(&gid))
}

fn binary_check() -> DoctorCheck {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).chain(beside).collect();
    folders.push("/usr/local/sbin".into());
    match folders.iter().map(|folder| folder.join("netlabd")).find(|file| file.is_file()) {
        Some(file) => {
            check("netlabd", DoctorOutcome::Ok, format!("{} is installed", file.display()))
        }
        None => {
            failed("netlabd", "there is no netlabd in PATH", "install netlab, or build it: make")
        }
    }
}

fn cgroup_check() -> DoctorCheck {
    match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => check("cgroup", DoctorOutcome::Ok, "cgroup v2 is mounted"),
        false => failed(
            "cgroup",
            "cgroup v2 is not mounted on /sys/fs/cgroup: limits of pods cannot be held",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ),
    }
}

fn namespace_check() -> DoctorCheck {
    match Path::new("/proc/self/ns/net").exists() {
        true => check("netns", DoctorOutcome::Ok, "the kernel has network namespaces"),
        false => failed(
            "netns",
            "the kernel has no network namespaces",
            "use a kernel with CONFIG_NET_NS=y",
        ),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_fix_stands_under_what_it_mends() {
        let checks = [
            check("daemon", DoctorOutcome::Ok, "netlabd answers"),
            failed("forwarding", "net.ipv4.ip_forward is 0", "sysctl -w net.ipv4.ip_forward=1"),
        ];
        expect![[r#"
            CHECK        STATUS   FINDING
            daemon       ok       netlabd answers
            forwarding   failed   net.ipv4.ip_forward is 0
               fix: sysctl -w net.ipv4.ip_forward=1
        "#]]
        .assert_eq(&render(&checks, false));
    }

    #[test]
    fn a_missing_socket_is_seen_without_a_daemon() {
        let checks = local(Path::new("/nonexistent/netlabd.sock"));
        assert_eq!(checks[0].outcome, DoctorOutcome::Failed);
        assert!(checks[0].fix.as_ref().is_some_and(|fix| fix.contains("systemctl start netlabd")));
    }
}
