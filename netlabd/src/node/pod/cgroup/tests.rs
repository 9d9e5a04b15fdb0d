// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

const HYBRID: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

#[test]
fn both_versions_are_found_in_mountinfo() {
    let found: Vec<_> = parse_mountinfo(HYBRID)
        .into_iter()
        .map(|h| (h.mount, h.version, h.controllers.into_iter().collect::<Vec<_>>()))
        .collect();
    let at = |name: &str| PathBuf::from(format!("/sys/fs/cgroup/{name}"));
    assert_eq!(
        found,
        [
            (at("cpu,cpuacct"), Version::One, vec!["cpu".to_owned(), "cpuacct".to_owned()]),
            (at("pids"), Version::One, vec!["pids".to_owned()]),
            (at("systemd"), Version::One, vec![]),
            (at("unified"), Version::Two, vec![]),
        ]
    );
}

#[test]
fn a_limit_without_its_controller_is_an_error_that_names_it() {
    let none = Cgroups { hierarchies: vec![], folder: "netlab-x".into() };
    assert_eq!(none.ensure("u", &Limits::default()).unwrap(), Vec::<PathBuf>::new());
    let error =
        none.ensure("u", &Limits { memory_bytes: Some(1 << 20), ..Limits::default() }).unwrap_err();
    assert!(error.to_string().starts_with("no cgroup controller `memory`"), "{error}");
}

#[test]
fn version_two_is_written_as_the_kernel_documents_it() {
    let limits = Limits { cpu_millis: Some(250), memory_bytes: Some(64 << 20), pids: Some(32) };
    let text = |controller| settings(controller, &limits, Version::Two);
    assert_eq!(text("cpu"), [("cpu.max", "25000 100000".to_owned(), true)]);
    assert_eq!(text("memory")[0], ("memory.max", "67108864".to_owned(), true));
    assert_eq!(text("pids"), [("pids.max", "32".to_owned(), true)]);
}

#[test]
fn version_two_hands_controllers_down_folder_by_folder() {
    let mount = tempfile::tempdir().unwrap();
    let parent = mount.path().join("netlab-x");
    fs::create_dir(&parent).unwrap();
    for folder in [mount.path(), &parent] {
        fs::write(folder.join("cgroup.subtree_control"), "cpu\n").unwrap();
    }
    let hierarchy = Hierarchy {
        mount: mount.path().to_owned(),
        version: Version::Two,
        controllers: ["cpu", "pids"].map(str::to_owned).into(),
    };
    let cgroups = Cgroups { hierarchies: vec![hierarchy], folder: "netlab-x".into() };
    let limits = Limits { cpu_millis: Some(1500), pids: Some(9), ..Limits::default() };
    let pod = parent.join("u");
    assert_eq!(cgroups.ensure("u", &limits).unwrap(), [pod.join("cgroup.procs")]);
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(text(&mount.path().join("cgroup.subtree_control")), "+pids");
    assert_eq!(text(&parent.join("cgroup.subtree_control")), "+pids");
    assert_eq!(text(&pod.join("cpu.max")), "150000 100000");
    assert_eq!(text(&pod.join("pids.max")), "9");
    assert_eq!(cgroups.list().unwrap(), ["u"]);
    let memory = Limits { memory_bytes: Some(1), ..Limits::default() };
    let error = cgroups.ensure("u", &memory).unwrap_err();
    assert!(matches!(error, CgroupError::NoController { controller: "memory", .. }));
}

#[test]
fn run_directories_that_end_alike_get_folders_of_their_own() {
    let name = |path| mark::cgroup_name(Path::new(path));
    assert!(name("/run/netlab").starts_with("netlab-netlab-"));
    assert_ne!(name("/tmp/a/run"), name("/tmp/b/run"));
}
