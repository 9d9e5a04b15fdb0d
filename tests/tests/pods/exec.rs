// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands run in pods by `netlabctl exec`.

use netlab_tests::pty::Terminal;
use netlab_tests::{Lab, wait_until};
use nix::sys::signal::Signal;

#[test]
fn exec_keeps_output_and_error_apart_and_passes_the_exit_code_on() {
    let lab = Lab::new("exec");
    lab.run("web", &["--env=A=1", "--workdir=/usr"]);
    let output = lab.ctl(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((output.code, output.stdout.as_str()), (7, "out\n"));
    assert!(output.stderr.starts_with("err\n"), "{output}");
    let inside = lab.ctl(&["exec", "web", "--", "sh", "-c", "hostname; echo $A; pwd; tty"]);
    assert_eq!(inside.stdout, "web\n1\n/usr\nnot a tty\n");
    let missing = lab.ctl(&["exec", "web", "--", "/no/such"]).fails(127);
    assert!(missing.contains("/no/such"), "{missing}");
    let killed = lab.ctl(&["exec", "web", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code, 137, "{killed}");
    let nowhere = lab.ctl(&["exec", "nobody", "--", "true"]);
    assert!(nowhere.code != 0 && nowhere.stderr.contains("nobody"), "{nowhere}");
}

#[test]
fn exec_passes_much_input_and_output_through_unchanged() {
    let lab = Lab::new("stdin");
    lab.run("web", &[]);
    let input: String = (0..200_000).map(|i| format!("{i} of many lines\n")).collect();
    let output = lab.ctl_with_input(&["exec", "-i", "web", "--", "cat"], &input);
    assert!(output.is_ok() && output.stdout == input, "{} bytes came", output.stdout.len());
    let ended = lab.ctl_with_input(&["exec", "-i", "web", "--", "wc", "-l"], &input);
    assert_eq!(ended.ok().trim(), "200000", "the end of the input is passed on");
    let without = lab.ctl_with_input(&["exec", "web", "--", "wc", "-c"], "lost");
    assert_eq!(without.ok().trim(), "0", "without -i there is none");
}

#[test]
fn a_terminal_is_a_terminal_with_the_size_of_ones_own() {
    let lab = Lab::new("tty");
    lab.run("web", &[]);
    let words = ["exec", "-it", "web", "--", "sh"];
    let mut terminal = Terminal::spawn(&lab.netlabctl(&words), 91, 33);
    terminal.write(b"tty; stty size; PS1=; echo a''b\n");
    terminal.wait_for("/dev/pts/");
    terminal.wait_for("33 91");
    terminal.wait_for("ab\r\n");
    terminal.resize(120, 40);
    wait_until("the new size arrives", || {
        terminal.write(b"stty size\n");
        terminal.screen().contains("40 120")
    });
    // Ctrl-C ends the command inside, not the session.
    terminal.write(b"sleep 1000\n");
    wait_until("sleep runs", || lab.ctl(&["exec", "web", "--", "pidof", "sleep"]).is_ok());
    terminal.write(b"\x03");
    wait_until("sleep ends", || !lab.ctl(&["exec", "web", "--", "pidof", "sleep"]).is_ok());
    terminal.write(b"exit 5\n");
    assert_eq!(terminal.wait(), 5);
}

#[test]
fn a_command_ends_with_the_client_that_started_it() {
    let lab = Lab::new("hangup");
    lab.run("web", &[]);
    let running = || {
        lab.ctl(&["exec", "web", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])
            .stdout
            .contains("sleep 7531")
    };
    let client = lab.ctl_spawn(&["exec", "-i", "web", "--", "sleep", "7531"]);
    wait_until("the command runs", running);
    client.signal(Signal::SIGKILL);
    wait_until("the command is gone", || !running());
}

#[test]
fn run_with_rm_gives_the_exit_code_and_leaves_no_pod() {
    let lab = Lab::new("rm");
    let output = lab
        .ctl_with_input(&["run", "once", "-i", "--rm", "--", "sh", "-c", "cat; exit 3"], "input");
    assert_eq!((output.code, output.stdout.as_str()), (3, "input"), "{output}");
    lab.get("/v1/namespaces/default/pods/once").error(404, "NotFound");
}

#[test]
fn a_command_may_be_as_long_as_the_kernel_takes() {
    let lab = Lab::new("long");
    lab.run("web", &[]);
    let numbers: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut words = vec!["exec", "web", "--", "echo"];
    words.extend(numbers.iter().map(String::as_str));
    assert_eq!(lab.ctl(&words).ok(), numbers.join(" ") + "\n");
    // One argument may have 128 KiB; a script is passed like that.
    let script = "# nothing\n".repeat(13_000) + "cat; exit 4";
    let output = lab.ctl_with_input(&["exec", "-i", "web", "--", "sh", "-c", &script], "input");
    assert_eq!((output.code, output.stdout.as_str()), (4, "input"), "{}", output.stderr);
    for words in [vec!["get", "pod", &script[..70_000]], vec!["get", "pods", "-l", &script]] {
        let refused = lab.ctl(&words).fails(1);
        assert!(refused.starts_with("error: the request is too long"), "{}", &refused[..200]);
    }
}

#[test]
fn run_with_rm_leaves_no_pod_when_the_daemon_was_killed_meanwhile() {
    let mut lab = Lab::new("rm-kill");
    let words = ["run", "once", "-i", "--rm", "--", "sh", "-c", "echo begin; exec sleep 1000"];
    let run = lab.ctl_spawn(&words);
    run.wait_for("begin");
    lab.kill9();
    // Whether it asks before or after this, it finds nobody at first.
    lab.start();
    let (code, output) = run.wait();
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("the exec session broke off"), "{output}");
    assert!(output.contains("pod \"once\" deleted") && !output.contains("DELETE"), "{output}");
    lab.get("/v1/namespaces/default/pods/once").error(404, "NotFound");
}

#[test]
fn a_run_that_removes_its_pod_does_not_say_that_the_pod_stays() {
    let lab = Lab::new("rm-left");
    let phase = ["-o", "jsonpath={.status.phase}"];
    let runs = |pod: &str| {
        wait_until("its command runs", || {
            lab.ctl(&["get", "pod", pod, phase[0], phase[1]]).stdout == "Running"
        });
    };
    let run = lab.ctl_spawn(&["run", "once", "--rm", "--ready=exec:false", "--", "sleep", "1000"]);
    runs("once");
    run.signal(Signal::SIGINT);
    let (code, output) = run.wait();
    assert_eq!(code, 130, "{output}");
    assert!(output.contains("pod \"once\" deleted"), "{output}");
    assert!(output.contains("interrupted: pod/once was not ready yet"), "{output}");
    let run = lab.ctl_spawn(&["run", "other", "--ready=exec:false", "--", "sleep", "1000"]);
    runs("other");
    lab.ctl(&["delete", "pod", "other", "--now"]).ok();
    let (code, output) = run.wait();
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("deleted") && !output.contains("stays"), "{output}");
}
