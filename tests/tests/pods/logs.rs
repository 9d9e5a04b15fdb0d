// SPDX-License-Identifier: GPL-3.0-or-later
//! What a pod's command wrote.

use netlab_tests::{Lab, wait_until};

#[test]
fn logs_are_whole_and_can_be_cut() {
    let lab = Lab::new("logs");
    lab.run("count", &["--", "sh", "-c", "seq 1 5000; exec sleep 1000"]);
    wait_until("all is written", || lab.ctl(&["logs", "count"]).stdout.ends_with("5000\n"));
    let expected: String = (1..=5000).map(|i| format!("{i}\n")).collect();
    assert_eq!(lab.ctl(&["logs", "count"]).ok(), expected);
    assert_eq!(lab.ctl(&["logs", "count", "--tail=2"]).ok(), "4999\n5000\n");
    assert_eq!(lab.ctl(&["logs", "count", "--tail=0"]).ok(), "");
    let stamped = lab.ctl(&["logs", "count", "--tail=1", "--timestamps"]).ok();
    let (time, line) = stamped.split_once(' ').unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && line == "5000\n", "{stamped}");
}

#[test]
fn what_a_command_writes_to_its_standard_error_is_in_the_log() {
    let lab = Lab::new("stderr");
    lab.run("web", &["--", "sh", "-c", "echo out; echo err >&2; exec sleep 1000"]);
    // Two pipes: which of both lines comes first is open.
    wait_until("both lines are there", || {
        let log = lab.ctl(&["logs", "web"]).stdout;
        let mut lines: Vec<_> = log.lines().collect();
        lines.sort_unstable();
        lines == ["err", "out"]
    });
}

#[test]
fn a_followed_log_gives_lines_as_they_come_and_ends_with_the_pod() {
    let lab = Lab::new("follow");
    let script = "i=0; while read line; do i=$((i+1)); echo $i $line; done < /tmp/in";
    lab.run(
        "echo",
        &["--", "sh", "-c", &format!("mkfifo /tmp/in; echo begin; exec 3<>/tmp/in; {script}")],
    );
    let mut follow = lab.ctl_spawn(&["logs", "-f", "echo"]);
    follow.close_stdin();
    follow.wait_for("begin\n");
    for (number, word) in ["one", "two"].iter().enumerate() {
        lab.ctl(&["exec", "echo", "--", "sh", "-c", &format!("echo {word} > /tmp/in")]).ok();
        follow.wait_for(&format!("{} {word}\n", number + 1));
    }
    lab.ctl(&["delete", "pod", "echo", "--now"]).ok();
    assert_eq!(follow.wait(), (0, "begin\n1 one\n2 two\n".to_owned()));
}

#[test]
fn the_log_of_the_run_before_the_last_restart_is_kept() {
    let lab = Lab::builder("previous").config("restart-delay-ms = 10").start();
    let none = lab.run(
        "web",
        &["--", "sh", "-c", "echo run $(cat /proc/sys/kernel/random/uuid); exec sleep 1000"],
    );
    assert!(none.contains("pod/web created"), "{none}");
    wait_until("it wrote", || lab.ctl(&["logs", "web"]).stdout.starts_with("run "));
    let first = lab.ctl(&["logs", "web"]).ok();
    let refused = lab.ctl(&["logs", "web", "--previous"]);
    assert!(!refused.is_ok() && refused.stdout.is_empty(), "{refused}");
    lab.ctl(&["exec", "web", "--", "sh", "-c", "kill -9 $(pidof sleep)"]);
    lab.wait_for_pod("web", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1);
    wait_until("the second run wrote", || {
        let now = lab.ctl(&["logs", "web"]).stdout;
        now.starts_with("run ") && now != first
    });
    assert_eq!(lab.ctl(&["logs", "web", "--previous"]).ok(), first);
}

#[test]
fn logs_of_a_selection_name_their_pods() {
    let lab = Lab::new("prefix");
    lab.run("w", &["--replicas=3", "--", "sh", "-c", "hostname; exec sleep 1000"]);
    wait_until("all wrote", || lab.ctl(&["logs", "-l", "app=w"]).stdout.lines().count() == 3);
    let log = lab.ctl(&["logs", "-l", "app=w", "--prefix"]).ok();
    for i in 0..3 {
        assert!(
            log.lines()
                .any(|line| line.contains(&format!("w-{i}")) && line.ends_with(&format!(" w-{i}"))),
            "{log}"
        );
    }
}

#[test]
fn a_log_outlives_the_daemon() {
    let mut lab = Lab::new("logsdown");
    lab.run("tick", &["--", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"]);
    wait_until("it wrote", || lab.ctl(&["logs", "tick"]).stdout.contains("3\n"));
    let lines = |lab: &Lab| lab.ctl(&["logs", "tick"]).ok().lines().count();
    let before = lines(&lab);
    lab.kill9();
    let file = || {
        lab.netns_exec(&[
            "sh",
            "-c",
            "cat \"$0\"/logs/*/* | wc -l",
            lab.state_dir().to_str().unwrap(),
        ])
        .ok()
        .trim()
        .parse::<usize>()
        .unwrap()
    };
    let down = file();
    wait_until("it writes while no daemon is there", || file() > down + 5);
    lab.start();
    let log = lab.ctl(&["logs", "tick"]).ok();
    let numbers: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.len() > before + 5);
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "no line is missing or doubled");
}
