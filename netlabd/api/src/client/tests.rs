// SPDX-License-Identifier: GPL-3.0-or-later
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::exec::Frame;
use crate::resource::Kind;
use crate::wire::WatchEvent;

/// Answers requests on a socket by the bytes a test gives, so that a test can say exactly what a
/// server sends and when it hangs up.
struct Server {
    folder: PathBuf,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// `answer` maps the head of a request to what is sent, and whether the connection stays.
    fn new(name: &str, answer: fn(&str) -> (String, bool)) -> Server {
        let folder =
            std::env::temp_dir().join(format!("netlab-client-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let listener = UnixListener::bind(folder.join("s")).expect("bind");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(converse(stream, answer));
            }
        });
        Server { folder, connections }
    }

    fn client(&self) -> Client {
        Client::new(Transport::Unix(self.folder.join("s")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

async fn converse(mut stream: UnixStream, answer: fn(&str) -> (String, bool)) {
    let mut seen = String::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => seen.push_str(&String::from_utf8_lossy(&piece[..read])),
        }
        if seen.contains("\r\n\r\n") {
            let (bytes, keep) = answer(&seen);
            seen.clear();
            if stream.write_all(bytes.as_bytes()).await.is_err() || !keep {
                return;
            }
        }
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const VERSION: &str = r#"{"version":"1","node":"n1","revision":7}"#;

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let server = Server::new("reuse", |_| (ok(VERSION), true));
    let client = server.client();
    for _ in 0..3 {
        assert_eq!(client.version().await.expect("version").revision, 7);
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
    let server = Server::new("replace", |_| (ok(VERSION), false));
    let client = server.client();
    for _ in 0..3 {
        client.version().await.expect("version");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_missing_socket_says_how_to_start_the_daemon() {
    let client = Client::new(Transport::Unix(Path::new("/nonexistent/s").to_owned()));
    let error = client.version().await.expect_err("no socket");
    assert!(error.is_unreachable());
    let text = error.to_string();
    assert!(text.contains("systemctl start netlabd") && text.contains("--socket"), "{text}");
}

#[tokio::test]
async fn a_connection_closed_midway_is_told_from_a_refusal() {
    let server = Server::new("midway", |head| {
        if head.starts_with("GET /v1/version") {
            ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned(), false)
        } else {
            (String::new(), false)
        }
    });
    let client = server.client();
    let midway = client.version().await.expect_err("cut");
    assert!(matches!(midway, ClientError::ClosedMidway { .. }), "{midway:?}");
    let closed = client.doctor().await.expect_err("cut");
    assert!(matches!(closed, ClientError::Closed { .. }), "{closed:?}");
}

#[tokio::test]
async fn the_apis_own_error_is_passed_through() {
    let server = Server::new("api", |head| {
        assert!(head.starts_with("GET /v1/namespaces/default/pods/a%2Fb HTTP"), "{head}");
        let body = r#"{"code":404,"reason":"NotFound","message":"pods \"a\" not found"}"#;
        (format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{body}", body.len()), true)
    });
    let wanted = ObjectRef::new(Kind::Pod, Some("default"), "a/b");
    let error = server.client().get(&wanted).await.expect_err("not found");
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "pods \"a\" not found");
}

#[tokio::test]
async fn an_answer_of_another_program_is_named_as_such() {
    let server = Server::new("foreign", |_| {
        ("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\nnope".to_owned(), true)
    });
    let error = server.client().version().await.expect_err("foreign");
    assert!(error.to_string().contains("another program"), "{error}");
}

#[tokio::test]
async fn a_watch_reads_lines_however_they_are_cut() {
    let server = Server::new("watch", |head| {
        assert!(head.contains("?watch=true&resourceVersion=5 "), "{head}");
        let pieces = [
            "{\"type\":\"ADDED\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"met",
            "adata\":{\"name\":\"web\"}}}\n\n{\"type\":\"BOOKMARK\",\"object\":{\"resourceVersion\":\"9\"}}\n",
            "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"reason\":\"Expired\",\"message\":\"late\"}}\n",
        ];
        let mut answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        for piece in pieces {
            answer += &format!("{:x}\r\n{piece}\r\n", piece.len());
        }
        (answer + "0\r\n\r\n", true)
    });
    let collection = Collection::new(Kind::Pod, Some("default"));
    let client = server.client();
    let mut watch = client.watch(&collection, &Selectors::default(), Some(5)).await.expect("watch");
    let first = watch.next().await.expect("event");
    assert!(
        matches!(&first, Some(WatchEvent::Added(o)) if o.metadata().name == "web"),
        "{first:?}"
    );
    let second = watch.next().await.expect("event");
    assert!(
        matches!(&second, Some(WatchEvent::Bookmark(b)) if b.resource_version == "9"),
        "{second:?}"
    );
    assert!(watch.next().await.expect_err("expired").is_expired());
    assert_eq!(watch.next().await.expect("end"), None);
}

#[tokio::test]
async fn an_exec_session_carries_frames_both_ways() {
    let server = Server::new("exec", |head| {
        if head.starts_with("POST") {
            assert!(head.contains("/web/exec?stdin=true&command=echo&command=a%20b "), "{head}");
            assert!(head.to_ascii_lowercase().contains("upgrade: netlab-exec/1"), "{head}");
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: netlab-exec/1\r\n\r\n";
            (format!("{switch}\x01\0\0\0\x02hi"), true)
        } else {
            // The frame of the client ends as a head does, so that it is answered.
            assert_eq!(head, "\0\0\0\0\x06in\r\n\r\n");
            ("\x03\0\0\0\x04\0\0\0\x05".to_owned(), false)
        }
    });
    let command = vec!["echo".to_owned(), "a b".to_owned()];
    let options = ExecOptions { command, stdin: true, terminal: None };
    let client = server.client();
    let (mut input, mut output) = client.exec("default", "web", &options).await.expect("exec");
    assert_eq!(output.next().await.expect("frame"), Some(Frame::Stdout("hi".into())));
    input.send(Frame::Stdin("in\r\n\r\n".into())).await.expect("sent");
    assert_eq!(output.next().await.expect("frame"), Some(Frame::Exit(5)));
    assert_eq!(output.next().await.expect("end"), None);
}

#[tokio::test]
async fn a_list_is_read_with_and_without_the_kind_of_its_items() {
    let server = Server::new("list", |_| {
        (
            ok(r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"4"},
                   "items":[{"metadata":{"name":"a"}},{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"}}]}"#),
            true,
        )
    });
    let pods =
        server.client().list_as::<crate::Pod>(None, &Selectors::default()).await.expect("list");
    let names: Vec<_> = pods.items.iter().map(|pod| pod.metadata.name.as_str()).collect();
    assert_eq!((names, pods.metadata.resource_version.as_str()), (vec!["a", "b"], "4"));
}

#[tokio::test]
async fn a_command_too_long_for_the_query_goes_into_the_body() {
    let server = Server::new("long", |head| {
        assert!(head.contains("/web/exec?stdin=true HTTP"), "{}", &head[..200]);
        let length = "content-length: 70016\r\n";
        assert!(head.to_ascii_lowercase().contains(length), "{}", &head[..400]);
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: netlab-exec/1\r\n\r\n";
        (format!("{switch}\x03\0\0\0\x04\0\0\0\x05"), false)
    });
    let command = vec!["x".repeat(70_000)];
    let options = ExecOptions { command, stdin: true, terminal: None };
    let (_input, mut output) =
        server.client().exec("default", "web", &options).await.expect("exec");
    assert_eq!(output.next().await.expect("frame"), Some(Frame::Exit(5)));
}

#[tokio::test]
async fn a_request_too_long_for_its_first_line_is_refused_with_words() {
    let server = Server::new("too-long", |_| (String::new(), false));
    let wanted = ObjectRef::new(Kind::Pod, Some("default"), &"a".repeat(70_000));
    let error = server.client().get(&wanted).await.expect_err("too long");
    let text = error.to_string();
    assert!(text.contains("70028 bytes, and 65534 is the most"), "{text}");
    assert_eq!(server.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_told_of_unless_it_was_asked_to_wait() {
    let server = Server::new("silent", |_| (String::new(), true));
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let tell = Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let time = Duration::from_millis(1);
    let client = server.client().with_patience(Patience { time, tell });
    let a_while = Duration::from_millis(100);
    let silence = tokio::time::timeout(a_while, client.version()).await;
    assert!(silence.is_err(), "the wait goes on");
    assert_eq!(told.load(Ordering::Relaxed), 1);
    let wait = client.programmed(1, Duration::from_secs(60));
    assert!(tokio::time::timeout(a_while, wait).await.is_err());
    assert_eq!(told.load(Ordering::Relaxed), 1);
}
