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

/// Controllers that limits of pods need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

fn cgroup_check() -> DoctorCheck {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_version_two = |mount: &Path| {
        std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
    };
    cgroups(&mounts, of_version_two)
}

/// Looks for each controller in version 1, where the mount names its controllers, and version 2, where
/// `of_version_two` has to be asked: netlabd takes either. The format is that of
/// `proc_pid_mountinfo(5)`.
fn cgroups(mountinfo: &str, of_version_two: impl Fn(&Path) -> String) -> DoctorCheck {
    let mut found: Vec<(String, &str)> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let mut source = source.split(' ');
        match (source.next(), source.nth(1), mount.split(' ').nth(4)) {
            (Some("cgroup"), Some(options), _) => {
                found.extend(options.split(',').map(|it| (it.to_owned(), "v1")));
            }
            (Some("cgroup2"), _, Some(path)) => {
                let controllers = of_version_two(Path::new(path));
                found.extend(controllers.split_whitespace().map(|it| (it.to_owned(), "v2")));
            }
            _ => {}
        }
    }
    let (mut told, mut missing) = (Vec::new(), Vec::new());
    for wanted in CONTROLLERS {
        match found.iter().find(|(controller, _)| controller == wanted) {
            Some((_, version)) => told.push(format!("{wanted} ({version})")),
            None => missing.push(wanted),
        }
    }
    if missing.is_empty() {
        let message = format!("controllers for limits of pods: {}", told.join(", "));
        return check("cgroup", DoctorOutcome::Ok, message);
    }
    failed(
        "cgroup",
        format!("no cgroup is mounted with {}: such limits cannot be held", missing.join(", ")),
        "mount cgroup v2 with these controllers on /sys/fs/cgroup, as systemd does",
    )
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
    fn limits_can_be_held_by_either_version_of_cgroups() {
        let v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                  32 31 0:29 / /sys/fs/cgroup/cpu rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
                  40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let both = format!("{v1}{v2}");
        let look = |mountinfo: &str, controllers: &'static str| {
            let found = cgroups(mountinfo, |mount| {
                assert_eq!(mount, Path::new("/sys/fs/cgroup/unified"));
                controllers.to_owned()
            });
            (found.outcome, found.message)
        };
        let (outcome, message) = look(&both, "pids io\n");
        assert_eq!(outcome, DoctorOutcome::Ok);
        assert!(message.ends_with("cpu (v1), memory (v1), pids (v2)"), "{message}");
        assert_eq!(look(v2, "cpuset cpu io memory pids\n").0, DoctorOutcome::Ok);
        let (outcome, message) = look(&both, "");
        assert_eq!(outcome, DoctorOutcome::Failed);
        assert!(message.contains("with pids:"), "{message}");
        assert!(look("", "").1.contains("with cpu, memory, pids:"));
    }

    #[test]
    fn a_missing_socket_is_seen_without_a_daemon() {
        let checks = local(Path::new("/nonexistent/netlabd.sock"));
        assert_eq!(checks[0].outcome, DoctorOutcome::Failed);
        assert!(checks[0].fix.as_ref().is_some_and(|fix| fix.contains("systemctl start netlabd")));
    }
}
