// SPDX-License-Identifier: GPL-3.0-or-later
//! What a pod sees and what it cannot reach.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use netlabd::node::pod::config::Root;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::lab::{Lab, entries, wait_until};

#[test]
fn the_nodes_root_cannot_be_written_and_the_pods_own_folders_can() {
    let lab = Lab::new();
    let marker = format!("netlab-test-{}", std::process::id());
    let output = lab.script(&format!(
        "for d in / /usr /root /var /home /sys /proc/sys; do
           touch $d/{marker} 2>/dev/null && echo wrote $d
         done
         for d in /tmp /run /var/tmp /dev /dev/shm /etc; do
           touch $d/{marker} || echo cannot write $d
         done
         mount -o remount,rw / 2>/dev/null && echo remounted
         (echo 1 > /proc/sys/net/ipv4/ip_forward) 2>/dev/null && echo sysctl
         echo done"
    ));
    assert_eq!(output, "done\n");
    for dir in ["/", "/usr", "/tmp", "/run", "/etc", "/dev", "/dev/shm"] {
        assert!(!Path::new(dir).join(&marker).exists(), "{dir} of the node was written");
    }
}

#[test]
fn a_device_node_made_in_a_pod_opens_nothing() {
    let lab = Lab::new();
    let output = lab.script(
        "for d in /tmp /run /var/tmp /dev /dev/shm /etc; do
           mknod $d/z c 1 5 || echo no mknod in $d
           head -c 1 $d/z >/dev/null 2>&1 && echo opened $d/z
         done
         head -c 4 /dev/zero | od -An -tx1",
    );
    assert_eq!(output, " 00 00 00 00\n");
}

#[test]
fn the_command_has_the_privileges_and_environment_of_a_container() {
    let lab = Lab::new();
    let output = lab.script(
        "grep -E '^(Cap|NoNewPrivs|SigBlk|Umask)' /proc/self/status
         echo path=$PATH home=$HOME host=$HOSTNAME greeting=$GREETING pwd=$(pwd)
         env | cut -d= -f1 | sort | tr '\\n' ' '",
    );
    let expected = "\
Umask:\t0022
SigBlk:\t0000000000000000
CapInh:\t0000000000000000
CapPrm:\t00000000a80425fb
CapEff:\t00000000a80425fb
CapBnd:\t00000000a80425fb
CapAmb:\t0000000000000000
NoNewPrivs:\t1
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin home=/root host=script-host \
greeting=hello pwd=/
GREETING HOME HOSTNAME PATH PWD \n";
    assert_eq!(output, expected);
}

#[test]
fn a_closed_pipe_ends_the_command_as_everywhere() {
    let lab = Lab::new();
    // Rust programs ignore SIGPIPE, and what they start would, too.
    let output = lab.script("(seq 1000000; echo $? > /tmp/code) | head -n 1; cat /tmp/code");
    assert_eq!(output, "1\n141\n");
}

#[test]
fn kernel_interfaces_are_masked_as_in_a_container() {
    let lab = Lab::new();
    let output = lab.script(
        "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do
           [ -e $f ] && [ -n \"$(head -c 1 $f)\" ] && echo shown $f
         done
         for d in /proc/scsi /proc/acpi /sys/firmware; do
           [ -n \"$(ls $d 2>/dev/null)\" ] && echo shown $d
         done
         (echo h > /proc/sysrq-trigger) 2>/dev/null && echo sysrq
         ls /proc/sys/net/ipv4/ip_forward",
    );
    assert_eq!(output, "/proc/sys/net/ipv4/ip_forward\n");
}

#[test]
fn all_namespaces_are_the_pods_own_and_the_network_is_the_one_given() {
    let lab = Lab::new();
    let output = lab.script(
        "hostname; cat /etc/hostname; cat /proc/1/comm; ls /proc | grep -c '^[0-9]'
         readlink /proc/self/ns/net /proc/self/ns/pid /proc/self/ns/mnt /proc/self/ns/uts
         readlink /proc/self/ns/ipc /proc/self/ns/cgroup; cat /proc/self/cgroup | grep pids",
    );
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..3], ["script-host", "script-host", "netlab-pod"]);
    // PID 1, the shell, ls and grep.
    assert_eq!(lines[3], "4");
    assert_eq!(lines[4], format!("net:[{}]", lab.netns_inode()));
    for (line, name) in lines[5..10].iter().zip(["pid", "mnt", "uts", "ipc", "cgroup"]) {
        let ours = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(line.starts_with(name), "{line}");
        assert_ne!(Path::new(line), ours);
    }
    assert!(lines[10].ends_with(":/"), "the cgroup's path shows: {}", lines[10]);
}

#[test]
fn the_pods_root_user_cannot_reach_the_node_through_pid_1() {
    let lab = Lab::new();
    let output = lab.script(
        "for f in /proc/1/fd/*; do readlink $f; cat $f; ls -A $f/; done 2>/dev/null; readlink /proc/1/exe /proc/1/cwd /proc/1/root
         cat /proc/1/environ 2>/dev/null; ls /run/netlab-hosts; ls -A /run",
    );
    assert_eq!(output, "default\nlock\nnetlab-hosts\n");
}

#[test]
fn etc_is_private_and_the_hosts_file_follows_the_node() {
    let lab = Lab::new();
    let config = lab.config(
        "etc",
        &[
            "/bin/sh",
            "-c",
            "cat /etc/resolv.conf; echo extra > /etc/extra; getent hosts localhost; echo ready
             until getent hosts db | grep -q 10.42.0.7; do :; done; echo seen",
        ],
    );
    lab.runtime.start(&config).unwrap();
    lab.wait_for_log("etc", "ready");
    let hosts = lab.dir.path().join("hosts");
    std::fs::write(hosts.join("new"), "127.0.0.1 localhost\n10.42.0.7 db\n").unwrap();
    std::fs::rename(hosts.join("new"), hosts.join("default")).unwrap();
    lab.wait_for_log("etc", "seen");
    assert!(lab.log("etc", Default::default()).starts_with("nameserver 10.43.0.10\n"));
    assert!(!Path::new("/etc/extra").exists());
}

#[test]
fn mounts_of_the_node_are_carried_over_read_only() {
    let lab = Lab::new();
    let mut config = lab.config("mounts", &["/bin/sh", "-c", "grep -c . /proc/self/mountinfo"]);
    let without: u32 = lab.output(&config).trim().parse().unwrap();
    config.uid = "more".into();
    config.cgroups = vec![];
    config.log.dir = lab.log_dir("more");
    // A folder of the root file system stands for a mount: what counts is that it is bound.
    config.root = Root::Host {
        mounts: ["/", "/proc", "/usr", "/run/lock", "/no/such/mount"].map(Into::into).into(),
    };
    config.args = vec![];
    config.command[2] =
        "grep -c . /proc/self/mountinfo; touch /usr/netlab-x 2>/dev/null || echo refused".into();
    assert_eq!(lab.output(&config), format!("{}\nrefused\n", without + 1));
}

#[test]
fn nothing_a_pod_mounts_shows_on_a_node_that_shares_its_mounts() {
    // As systemd sets nodes up, in a mount namespace of this thread.
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none).unwrap();
        let mounts = || std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let before = mounts();
        assert!(before.lines().all(|line| line.contains(" shared:")), "{before}");
        let lab = Lab::new();
        let output = lab.script("grep -c shared: /proc/self/mountinfo");
        assert_eq!(output, "0\n");
        assert_eq!(mounts(), before);
        lab.runtime.remove("script", crate::lab::TIMEOUT).unwrap();
        assert_eq!(mounts(), before);
    })
    .join()
    .unwrap();
}

#[test]
fn a_root_folder_is_pivoted_into_and_never_changed() {
    let lab = Lab::new();
    // What means something to overlayfs is in the name on purpose.
    let root = lab.dir.path().join("root, with:odd=name");
    make_root(&root);
    let before = snapshot(&root);
    let mut config = lab.config(
        "rootfs",
        &["/bin/sh", "-c", "echo changed > /etc/motd; echo new > /new; ls /; cat /etc/hostname"],
    );
    config.root = Root::Dir(root.clone());
    let output = lab.output(&config);
    assert_eq!(
        output.split_whitespace().collect::<Vec<_>>(),
        [
            "bin",
            "dev",
            "etc",
            "lib",
            "lib64",
            "new",
            "proc",
            "run",
            "sys",
            "tmp",
            "usr",
            "var",
            "rootfs-host"
        ]
        .into_iter()
        .filter(|name| *name != "usr" || root.join("usr").exists())
        .collect::<Vec<_>>()
    );
    assert_eq!(snapshot(&root), before);
}

#[test]
fn links_in_a_root_folder_do_not_lead_out_of_it() {
    let lab = Lab::new();
    let root = lab.dir.path().join("root");
    make_root(&root);
    let trap = lab.dir.path().join("trap");
    std::fs::create_dir_all(&trap).unwrap();
    for name in ["etc", "run", "tmp"] {
        let _ = std::fs::remove_dir_all(root.join(name));
        symlink(&trap, root.join(name)).unwrap();
    }
    let mut config = lab.config("links", &["/bin/sh", "-c", "echo > /tmp/x; echo > /etc/y"]);
    config.root = Root::Dir(root);
    // Whether such a folder can be a root is one question; that the node is untouched another.
    let _ = lab.runtime.start(&config);
    wait_until(
        || !lab.is_alive("links") || lab.runtime.status("links").unwrap().is_some(),
        || "no status".into(),
    );
    lab.runtime.remove("links", crate::lab::TIMEOUT).unwrap();
    assert_eq!(entries(&trap), [""; 0]);
}

#[test]
fn a_root_that_is_missing_is_an_error_that_names_it() {
    let lab = Lab::new();
    let mut config = lab.config("missing", &["/bin/true"]);
    config.root = Root::Dir("/no/such/root".into());
    let error = lab.runtime.start(&config).unwrap_err().to_string();
    assert_eq!(
        error,
        "failed to start pod `default/missing`: failed to make the pod's root: failed to open the \
         pod's root folder `/no/such/root`: No such file or directory (os error 2)"
    );
    assert!(!lab.is_alive("missing"));
}

/// A root with a shell and what it needs.
fn make_root(root: &Path) {
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/motd"), "before\n").unwrap();
    for program in ["sh", "ls", "cat"] {
        let from = format!("/bin/{program}");
        std::fs::copy(&from, root.join("bin").join(program)).unwrap();
        let libraries = Command::new("ldd").arg(&from).output().unwrap();
        for word in String::from_utf8(libraries.stdout).unwrap().split_whitespace() {
            if word.starts_with('/') {
                let target = root.join(word.trim_start_matches('/'));
                std::fs::create_dir_all(target.parent().unwrap()).unwrap();
                std::fs::copy(word, target).unwrap();
            }
        }
    }
}

fn snapshot(root: &Path) -> String {
    let script = "find . -printf '%p %m %T@ %s\\n' | sort; cat etc/motd";
    let output = Command::new("/bin/sh").args(["-c", script]).current_dir(root).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
