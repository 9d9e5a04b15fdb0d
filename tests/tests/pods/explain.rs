// SPDX-License-Identifier: GPL-3.0-or-later
//! `--explain`: the lines that do by hand what a command does.

use netlab_tests::Lab;

#[test]
fn a_command_prints_what_does_the_same_by_hand() {
    let lab = Lab::new("explain");
    let told = lab.ctl(&["pod", "run", "web", "-l", "app=web", "--port=80", "--explain"]).ok();
    let address = &lab.pod_ips("web")[0];
    let pin = std::fs::read_link(lab.pod_netns("web")).unwrap();
    let link = format!("nl{}", pin.file_name().unwrap().to_str().unwrap());
    assert!(told.starts_with("pod/web created\n# pod default/web, on node n1\n"), "{told}");
    for line in [
        format!("ip -n default_web address replace {address}/32 dev eth0\n"),
        format!("ip route replace {address}/32 dev {link} proto 110\n"),
        format!("sysctl -qw net/ipv4/conf/{link}/rp_filter=1\n"),
    ] {
        assert!(told.contains(&line), "{line}\n{told}");
    }
    let told = lab.ctl(&["expose", "web", "--port=80", "--explain"]).ok();
    let service = "\n# service default/web, on node n1\n";
    assert!(told.contains(service) && told.contains("\nnft -f - <<'RULES'\n"), "{told}");
    assert!(told.contains(&format!(": {address} . 80")), "{told}");

    let dry = lab.ctl(&["delete", "pod", "web", "--dry-run=server", "--explain"]).ok();
    let removal = format!("ip link del dev {link}\nip netns del default_web\n");
    assert_eq!(dry, format!("# pod default/web, on node n1\n{removal}"));
    let told = lab.ctl(&["delete", "pod", "--all", "--now", "--explain"]).ok();
    assert!(told.starts_with("pod \"web\" deleted"), "{told}");
    assert!(told.ends_with(&dry), "{told}");
    let told = lab.ctl(&["svc", "rm", "web", "--explain"]).ok();
    assert!(told.contains("delete element ip netlab"), "{told}");

    let told = lab.ctl(&["proxy", "mode", "iptables", "--explain"]).ok();
    assert!(told.contains("KUBE-SERVICES") && told.contains("dev nlsvc"), "{told}");
    let told = lab.ctl(&["network", "mode", "vxlan", "--explain"]).ok();
    assert!(told.contains("ip route add blackhole 10.42.0.0/26"), "{told}");
    let refused = lab.ctl(&["get", "pods", "--explain"]).fails(2);
    assert!(refused.contains("--explain does not apply"), "{refused}");
    let dry = lab.ctl(&["pod", "run", "db", "--dry-run=client", "--explain"]).ok();
    assert_eq!(dry, "# pod default/db: it is not there, so nothing of it has a name yet\n");
}
