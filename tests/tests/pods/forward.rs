// SPDX-License-Identifier: GPL-3.0-or-later
//! Ports of this machine that lead into pods by `netlabctl port-forward`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netlab_tests::forwarding::{Forwarding, assert_echoes};
use netlab_tests::{Lab, command, wait_until};
use nix::sys::signal::Signal;

/// What `curl` gets through a port of this machine.
fn curl(port: u16) -> command::Output {
    command::run(std::process::Command::new("curl").args([
        "-sS",
        "--max-time",
        "5",
        &format!("http://127.0.0.1:{port}/"),
    ]))
}

fn answering(listen: &str, answer: &str) -> [String; 3] {
    let system = format!("SYSTEM:read request; echo HTTP/1.0 200 OK; echo; echo {answer}");
    ["socat".to_owned(), listen.to_owned(), system]
}

fn run(lab: &Lab, name: &str, listen: &str, probe: &[&str]) {
    let words = answering(listen, name);
    let words = words.iter().map(String::as_str);
    let words: Vec<&str> = probe.iter().copied().chain(["--"]).chain(words).collect();
    lab.run(name, &words);
}

#[test]
fn a_port_leads_to_what_listens_in_the_pod_on_loopback_and_elsewhere() {
    let lab = Lab::new("forward");
    run(&lab, "hidden", "TCP4-LISTEN:8080,bind=127.0.0.1,fork,reuseaddr", &[]);
    run(&lab, "six", "TCP6-LISTEN:8080,bind=[::1],fork,reuseaddr", &[]);
    run(&lab, "open", "TCP4-LISTEN:8080,fork,reuseaddr", &["--ready=tcp:8080"]);
    for pod in ["hidden", "six", "open"] {
        let subject = format!("pod/{pod}");
        let forwarding =
            Forwarding::start(&mut lab.netlabctl(&["port-forward", &subject, ":8080"]));
        let port = forwarding.port(8080);
        // Without a probe nobody has waited until it listens.
        wait_until("the pod answers", || curl(port).stdout.trim() == pod);
        forwarding.program.wait_for(&format!("Handling connection for {port}"));
        forwarding.program.signal(Signal::SIGINT);
        let (code, output) = forwarding.program.wait();
        assert_eq!(code, 0, "{output}");
    }
    // A server on the pod's own address alone is found as well.
    let ip = lab.pod_ips("open")[0].clone();
    let listen = format!("TCP4-LISTEN:9090,bind={ip},fork,reuseaddr");
    let words = answering(&listen, "narrow");
    let words: Vec<&str> =
        ["exec", "open", "--"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let _server = lab.ctl_spawn(&words);
    let forwarding =
        Forwarding::start(&mut lab.netlabctl(&["port-forward", "open", ":9090", ":8080"]));
    wait_until("it answers", || curl(forwarding.port(9090)).stdout.trim() == "narrow");
    assert_eq!(curl(forwarding.port(8080)).ok().trim(), "open");
}

#[test]
fn much_data_and_the_end_of_it_pass_through_unchanged() {
    let lab = Lab::new("forwards");
    lab.run("cat", &["--ready=tcp:7", "--", "socat", "TCP6-LISTEN:7,ipv6only=0,fork", "EXEC:cat"]);
    let forwarding = Forwarding::start(&mut lab.netlabctl(&["port-forward", "cat", ":7"]));
    let port = forwarding.port(7);
    let talk = || std::thread::spawn(move || assert_echoes(port, 4_000_000));
    let talks: Vec<_> = (0..4).map(|_| talk()).collect();
    for talk in talks {
        talk.join().unwrap();
    }
}

/// An interrupt is heard whatever is being done when it comes.
#[test]
fn ctrl_c_ends_it_at_once_under_load() {
    const ROUNDS: u64 = 50;
    let lab = Lab::new("forwardend");
    lab.run("cat", &["--ready=tcp:7", "--", "socat", "TCP6-LISTEN:7,ipv6only=0,fork", "EXEC:cat"]);
    for round in 0..ROUNDS {
        let mut command = lab.netlabctl(&["port-forward", "cat", ":7", ":81"]);
        let forwarding = Forwarding::start(&mut command);
        let ports = [forwarding.port(7), forwarding.port(81)];
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = ports.into_iter().cycle().take(6).map(|port| {
            let is_over = is_over.clone();
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    // Nothing listens at port 81, which takes the program longer.
                    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                    let _ = stream.write_all(b"x").and_then(|()| stream.read(&mut [0; 1]));
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        let handled = || forwarding.program.output().matches("Handling connection").count() as u64;
        // Each round at another moment.
        wait_until("connections are taken", || handled() > round);
        forwarding.program.signal(Signal::SIGINT);
        let (code, output) = forwarding.program.wait();
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        assert_eq!(code, 0, "round {round}: {output}");
    }
}

#[test]
fn what_nobody_takes_is_told_and_a_pod_that_goes_ends_it() {
    let lab = Lab::new("forwardno");
    lab.run("web", &[]);
    let missing = lab.ctl(&["port-forward", "pod/nobody", "8080"]).fails(3);
    assert!(missing.contains("pods \"nobody\" not found"), "{missing}");
    let forwarding = Forwarding::start(&mut lab.netlabctl(&["port-forward", "web", ":81"]));
    let port = forwarding.port(81);
    assert!(!curl(port).is_ok());
    forwarding.program.wait_for("cannot connect to port 81 of pod \"web\"");
    let taken = lab.ctl(&["port-forward", "web", &format!("{port}:81")]).fails(1);
    assert!(taken.contains("unable to listen") && taken.contains("`:81`"), "{taken}");
    lab.ctl(&["delete", "pod", "web", "--force"]).ok();
    assert!(!curl(port).is_ok());
    let (code, output) = forwarding.program.wait();
    assert!(code != 0 && output.contains("lost connection to pod"), "{code}: {output}");
}
