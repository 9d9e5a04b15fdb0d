// SPDX-License-Identifier: GPL-3.0-or-later
//! `lab test` and `lab graph`.

use std::fs;

use netlab_tests::VirtualLab;
use netlab_tests::command::run;

use crate::SMALL;

fn tests(tests: &[(&str, &str, &str)]) -> String {
    let test = |(from, to, expect): &(&str, &str, &str)| {
        format!(
            "[[test]]\nfrom = \"{from}\"\nto = \"{to}\"\nexpect = \"{expect}\"\nwithin = \"5s\"\n"
        )
    };
    tests.iter().map(test).collect()
}

#[test]
fn each_outcome_is_told_from_the_others() {
    let udp = "[[pod]]\nname = \"echo\"\ncommand = [\"socat\", \"UDP6-RECVFROM:7,fork,ipv6only=0\", \"PIPE\"]\n";
    let all = tests(&[
        ("pod/client", "http://web:8080/", "200"),
        ("pod/client", "http://web:8080/", "ok"),
        ("pod/client", "http://web:8080/nothing", "404"),
        ("pod/client", "http://web/", "refused"),
        ("pod/client", "tcp://web.default:8080", "ok"),
        ("pod/client", "icmp://web", "ok"),
        ("pod/client", "icmp://[fd44::2]", "ok"),
        ("pod/client", "icmp://laptop", "ok"),
        ("pod/client", "udp://echo:7", "ok"),
        ("pod/client", "udp://web:9", "refused"),
        ("pod/client", "http://nobody.invalid/", "unknown-name"),
        ("host/laptop", "icmp://n1", "ok"),
        ("host/laptop", "tcp://n1:1", "refused"),
        ("node/n1", "tcp://172.30.0.77:80", "timeout"),
    ]);
    let lab = VirtualLab::new("outcomes", &format!("{SMALL}{udp}{all}"));
    lab.up().ok();
    lab.inside(&lab.pin("laptop"), &["ip", "route", "add", "unreachable", "198.51.100.0/24"]).ok();
    let told = lab.ctl(&["lab", "test"]).ok();
    assert!(told.contains("14 passed, 0 failed"), "{told}");
    let file = lab.dir().join("more.toml");
    let more = tests(&[("host/laptop", "tcp://198.51.100.1:80", "unreachable")]);
    fs::write(
        &file,
        format!("[lab]\nname = \"{}\"\n[[host]]\nname = \"laptop\"\n{more}", lab.name),
    )
    .unwrap();
    let told = run(&mut lab.netlabctl(&["lab", "test", "more.toml"])).ok();
    assert!(told.contains("1 passed, 0 failed"), "{told}");
}

#[test]
fn a_test_that_fails_ends_with_1_and_says_why() {
    let wrong = "[[test]]\nname = \"the <web> is shut\"\nfrom = \"pod/client\"\n\
                 to = \"http://web:8080/\"\nexpect = \"refused\"\nwithin = \"100ms\"\n";
    let right = tests(&[("pod/client", "http://web:8080/", "200")]);
    let lab = VirtualLab::new("failing", &format!("{SMALL}{wrong}{right}"));
    lab.up().ok();
    let failed = lab.ctl(&["lab", "test", "--junit", "report.xml"]);
    assert_eq!(failed.code, 1, "{failed}");
    assert!(failed.stdout.contains("FAIL  the <web> is shut"), "{failed}");
    assert!(failed.stdout.contains("expected refused, and it is 200"), "{failed}");
    let report = fs::read_to_string(lab.dir().join("report.xml")).unwrap();
    assert!(report.contains("tests=\"2\" failures=\"1\""), "{report}");
    assert!(report.contains("name=\"the &lt;web&gt; is shut\""), "{report}");
    lab.write(SMALL);
    lab.up().ok();
    let none = lab.ctl(&["lab", "test"]).fails(2);
    assert!(none.contains("has no tests"), "{none}");
}

/// What a daemon would refuse to start with is told with its place, and nothing is started.
#[test]
fn what_is_wrong_with_names_is_told_before_anything_is_made() {
    let lab = VirtualLab::new("misnamed", "");
    for (dns, words) in [
        (
            "[lab.dns]\nttl = 99999\n",
            &["lab.toml:4:7", "ttl = 99999", "      ^^^^^ choose 0 to 3600"],
        ),
        (
            "[lab.dns.forward]\npolicy = 'sequentiel'\n",
            &["lab.toml:4:10", "'sequentiel'", "^^^^^^^^^^^^ did you mean `sequential`?"],
        ),
        (
            "[lab.dns.hosts]\n'web.example' = ['192.0.2.7']\n",
            &["lab.toml:4:1", "'web.example' =", "^^^^^^^^^^^^^ write `\"192.0.2.7\""],
        ),
        (
            "[lab.dns.cache]\nserv-stale = true\n",
            &["lab.toml:4:1", "unknown field", "^^^^^^^^^^ did you mean `serve-stale`?"],
        ),
    ] {
        lab.write(&format!("[lab]\n{dns}"));
        for verb in [&["lab", "up", "lab.toml"][..], &["lab", "up", "--dry-run", "lab.toml"]] {
            let told = run(&mut lab.netlabctl(verb)).fails(1);
            assert!(words.iter().all(|word| told.contains(word)), "{told}");
        }
        assert!(!lab.labs().exists(), "something was made of {dns}");
    }
}

#[test]
fn a_lab_is_drawn_with_its_pods_and_without_being_up() {
    let lab = VirtualLab::new("drawn", SMALL);
    let plain = run(&mut lab.netlabctl(&["lab", "graph", "lab.toml"])).ok();
    assert!(plain.contains("node n1 (eth0)  172.30.0.2 fd44::2"), "{plain}");
    assert!(!plain.contains("pod web"), "{plain}");
    lab.up().ok();
    for (format, word) in [
        ("ascii", "pod web  10.42.0."),
        ("mermaid", "graph TD"),
        ("dot", "graph \""),
        ("svg", "<svg "),
    ] {
        let drawn = lab.ctl(&["lab", "graph", "--format", format]).ok();
        assert!(drawn.contains(word) && drawn.contains("web"), "{drawn}");
    }
}
