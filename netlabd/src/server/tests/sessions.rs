// SPDX-License-Identifier: GPL-3.0-or-later
//! Exec and logs.

use std::sync::atomic::Ordering;

use netlab_api::exec::ExecCommand;
use serde_json::json;

use super::*;

const EXEC: &str = "/v1/namespaces/default/pods/web/exec";

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.pod("web", json!({})).await;
    lab
}

/// Starts a command and answers the upgraded connection.
async fn exec(lab: &Lab, query: &str) -> UnixStream {
    let mut stream = lab.connect().await;
    let request = format!(
        "POST {EXEC}?{query} HTTP/1.1\r\nhost: n\r\nconnection: Upgrade\r\n\
         upgrade: netlab-exec/1\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: netlab-exec/1\r\n"), "{head}");
    stream
}

async fn say(stream: &mut UnixStream, frame: Frame) {
    let mut bytes = bytes::BytesMut::new();
    frame.encode(&mut bytes);
    stream.write_all(&bytes).await.expect("sent");
}

async fn becomes(counter: &AtomicUsize, wanted: usize) {
    within(async {
        while counter.load(Ordering::SeqCst) != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn exec_carries_input_output_size_and_exit_code() {
    let lab = lab().await;
    let query = "command=cat&command=a%20b&stdin=true&tty=true&columns=100&rows=30";
    let mut stream = exec(&lab, query).await;
    say(&mut stream, Frame::Stdin(Bytes::from_static(b"hello"))).await;
    assert_eq!(frame(&mut stream).await, Some(Frame::Stdout(Bytes::from_static(b"hello"))));
    say(&mut stream, Frame::Resize { columns: 90, rows: 20 }).await;
    assert_eq!(frame(&mut stream).await, Some(Frame::Stderr(Bytes::from_static(b"90x20"))));
    say(&mut stream, Frame::StdinClosed).await;
    assert_eq!(frame(&mut stream).await, Some(Frame::Exit(7)));
    assert_eq!(frame(&mut stream).await, None, "nothing follows the exit code");
    let request = lab.pods.requests.lock().expect("no panic")[0].clone();
    let command = vec!["cat".to_owned(), "a b".to_owned()];
    assert_eq!(request, ExecRequest { command, stdin: true, terminal: Some((100, 30)) });
    lab.metric_becomes("netlab_api_exec_sessions", 0).await;
}

/// The head of an exec with this query and body.
fn with_body(query: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {EXEC}?{query} HTTP/1.1\r\nhost: n\r\nconnection: Upgrade, close\r\n\
         upgrade: netlab-exec/1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn a_long_command_comes_in_the_body_and_frames_follow_it() {
    let lab = lab().await;
    let command = vec!["cat".to_owned(), "a\n".repeat(300_000)];
    let body = serde_json::to_string(&ExecCommand { command: command.clone() }).expect("JSON");
    let mut bytes = bytes::BytesMut::from(&with_body("stdin=true", &body)[..]);
    Frame::Stdin(Bytes::from_static(b"early")).encode(&mut bytes);
    Frame::StdinClosed.encode(&mut bytes);
    let answer = lab.raw(&bytes).await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let mut frames = bytes::BytesMut::from(&answer[end..]);
    let first = Frame::decode(&mut frames).expect("a frame");
    assert_eq!(first, Some(Frame::Stdout(Bytes::from_static(b"early"))));
    assert_eq!(Frame::decode(&mut frames).expect("a frame"), Some(Frame::Exit(7)));
    let request = lab.pods.requests.lock().expect("no panic")[0].clone();
    assert_eq!(request, ExecRequest { command, stdin: true, terminal: None });
}

#[tokio::test]
async fn a_command_is_said_once() {
    let lab = lab().await;
    for (query, body, wanted) in [
        ("command=ls", r#"{"command":["ls"]}"#, "in the query and in the body"),
        ("stdin=true", r#"{"command":[]}"#, "`command` is missing"),
        ("stdin=true", r#"{"cmd":["ls"]}"#, "unknown field `cmd`"),
    ] {
        let answer = lab.raw(&with_body(query, body)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(wanted), "{answer}");
    }
}

#[tokio::test]
async fn frames_that_arrive_with_the_request_are_not_lost() {
    let lab = lab().await;
    let mut bytes = bytes::BytesMut::from(
        format!(
            "POST {EXEC}?command=cat HTTP/1.1\r\nhost: n\r\nconnection: keep-alive, Upgrade\r\n\
             upgrade: netlab-exec/1\r\n\r\n"
        )
        .as_bytes(),
    );
    Frame::Stdin(Bytes::from_static(b"early")).encode(&mut bytes);
    Frame::StdinClosed.encode(&mut bytes);
    let answer = lab.raw(&bytes).await;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let mut frames = bytes::BytesMut::from(&answer[end..]);
    let first = Frame::decode(&mut frames).expect("a frame");
    assert_eq!(first, Some(Frame::Stdout(Bytes::from_static(b"early"))));
    assert_eq!(Frame::decode(&mut frames).expect("a frame"), Some(Frame::Exit(7)));
}

#[tokio::test]
async fn a_client_that_goes_takes_its_command_along() {
    let lab = lab().await;
    let stream = exec(&lab, "command=cat").await;
    drop(stream);
    becomes(&lab.pods.killed, 1).await;
    // Also when the command takes no input, and unread input lies before the end.
    let mut stream = exec(&lab, "command=stuck").await;
    let chunk = Bytes::from(vec![b'x'; 65_536]);
    let mut bytes = bytes::BytesMut::new();
    Frame::Stdin(chunk).encode(&mut bytes);
    // Until the socket takes no more.
    while tokio::time::timeout(Duration::from_millis(200), stream.write_all(&bytes)).await.is_ok() {
    }
    assert_eq!(lab.pods.killed.load(Ordering::SeqCst), 1);
    drop(stream);
    becomes(&lab.pods.killed, 2).await;
    // And when it never stops writing.
    let stream = exec(&lab, "command=flood").await;
    drop(stream);
    becomes(&lab.pods.killed, 3).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_command_and_fills_no_memory() {
    let lab = lab().await;
    let mut stream = exec(&lab, "command=flood").await;
    let mut before = usize::MAX;
    within(async {
        // It stands still once the socket's buffers and a few frames are full.
        while before != lab.pods.flooded.load(Ordering::SeqCst) {
            before = lab.pods.flooded.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert!(before < 64, "{before} frames of 64 KiB were taken for a client that reads none");
    for _ in 0..before + 20 {
        let Some(Frame::Stdout(data)) = frame(&mut stream).await else { panic!("no output") };
        assert_eq!(data.len(), 65_536);
    }
    assert!(lab.pods.flooded.load(Ordering::SeqCst) > before, "reading sets it going again");
}

#[tokio::test]
async fn a_client_that_sends_nonsense_is_cut_off() {
    let lab = lab().await;
    for (round, nonsense) in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 255, 255, 255, 255], &[1, 0, 0, 0, 1, 65]]
            .into_iter()
            .enumerate()
    {
        let mut stream = exec(&lab, "command=cat").await;
        stream.write_all(nonsense).await.expect("sent");
        becomes(&lab.pods.killed, round + 1).await;
        assert_eq!(frame(&mut stream).await, None);
    }
}

#[tokio::test]
async fn an_exec_that_cannot_start_is_an_ordinary_error() {
    let lab = lab().await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "netlab-exec/1")];
    let post = |path: String, headers: &'static [(&'static str, &'static str)]| {
        let lab = &lab;
        async move { lab.send("POST", &path, headers, "").await }
    };
    let reply = post(format!("{EXEC}?command=cat"), &[]).await;
    reply.refused(Reason::BadRequest, &["upgraded connection", "Upgrade: netlab-exec/1"]);
    let reply =
        post(format!("{EXEC}?command=cat"), &[("connection", "upgrade"), ("upgrade", "h2c")]).await;
    reply.refused(Reason::BadRequest, &["netlab-exec/1"]);
    let reply = lab.send("POST", EXEC, &upgrade, "").await;
    reply.refused(Reason::BadRequest, &["`command` is missing"]);
    let reply = lab.send("POST", &format!("{EXEC}?command=nope"), &upgrade, "").await;
    reply.refused(Reason::Conflict, &["the pod is not running"]);
    let gone = EXEC.replace("web", "gone");
    let reply = lab.send("POST", &format!("{gone}?command=cat"), &upgrade, "").await;
    reply.refused(Reason::NotFound, &["pods \"gone\" not found"]);
    let reply = lab.send("POST", &format!("{EXEC}?command=cat&rows=99999"), &upgrade, "").await;
    reply.refused(Reason::BadRequest, &["`rows`", "99999"]);
}

#[tokio::test]
async fn sessions_end_when_the_time_to_finish_is_over() {
    let session_drain = Duration::from_millis(300);
    let limits = Limits { session_drain, ..Limits::default() };
    let mut lab = Lab::with(Setting { limits, ..Setting::default() }).await;
    lab.pod("web", json!({})).await;
    let mut stream = exec(&lab, "command=cat").await;
    let log = "/v1/namespaces/default/pods/web/log?follow=true";
    let log = lab.open("GET", log, &[], "").await;
    lab.stop();
    let stopped = std::time::Instant::now();
    // While there is time, a session works.
    say(&mut stream, Frame::Stdin(Bytes::from_static(b"still here"))).await;
    let said = frame(&mut stream).await;
    assert_eq!(said, Some(Frame::Stdout(Bytes::from_static(b"still here"))));
    let (mut log, mut text) = (log.into_body(), Vec::new());
    let is_cut = loop {
        match within(log.frame()).await {
            Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().expect("data")),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert_eq!(text, b"one\ntwo\n", "what there was is sent");
    assert!(is_cut, "a log that goes on is not at its end");
    assert_eq!(frame(&mut stream).await, None);
    becomes(&lab.pods.killed, 1).await;
    within(&mut lab.server).await.expect("the server ends");
    let took = stopped.elapsed();
    assert!(took >= session_drain, "the session was cut after {took:?}");
    assert!(took < Limits::default().drain, "requests get longer, but there were none: {took:?}");
    assert_eq!(lab.readiness.missing(), Vec::<String>::new());
    assert!(UnixStream::connect(&lab.socket).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_log_is_text_and_takes_the_parameters_of_the_documentation() {
    let lab = lab().await;
    let path = "/v1/namespaces/default/pods/web/log";
    let reply = lab
        .get(&format!("{path}?tailLines=10&timestamps=true&previous=true&sinceSeconds=60"))
        .await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "one\ntwo\n"));
    assert!(reply.header("content-type").starts_with("text/plain"));
    let wanted = LogRequest {
        follow: false,
        tail: Some(10),
        since: Some(Duration::from_secs(60)),
        timestamps: true,
        previous: true,
    };
    assert_eq!(lab.pods.logs.lock().expect("no panic")[0], wanted);
    lab.get(&format!("{path}?tailLines=-1")).await.refused(Reason::BadRequest, &["`-1`"]);
}
