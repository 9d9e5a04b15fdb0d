// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes that no client means: whatever comes, the connection ends and the daemon lives.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

/// Sends bytes and answers the status, if there was an answer at all.
async fn status(lab: &Lab, bytes: &[u8]) -> Option<u16> {
    let answer = lab.raw(bytes).await;
    let text = String::from_utf8_lossy(&answer);
    let mut words = text.strip_prefix("HTTP/1.1 ")?.split(' ');
    words.next()?.parse().ok()
}

#[tokio::test]
async fn malformed_requests_are_refused_and_end_the_connection() {
    let limits = Limits { arrival: Duration::from_millis(300), ..Limits::default() };
    let lab = Lab::with(Setting { limits, ..Setting::default() }).await;
    let long_uri = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    let long_header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(200_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    let close = "connection: close\r\n\r\n";
    let mut surprises = Vec::new();
    for (bytes, wanted) in [
        (&b"\0\0\0\0\0\0\r\n\r\n"[..], Some(400)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Some(400)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
        (b"GET / HTTP/9.9\r\n\r\n", Some(400)),
        (b"GET\r\n\r\n", Some(400)),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", Some(400)),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", Some(400)),
        (b"POST /v1/apply HTTP/1.1\r\ncontent-length: -1\r\n\r\n", Some(400)),
        (b"POST /v1/apply HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Some(400)),
        (b"POST /v1/apply HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Some(400)),
        (long_uri.as_bytes(), Some(414)),
        (long_header.as_bytes(), Some(431)),
        (many_headers.as_bytes(), Some(431)),
        (format!("OPTIONS * HTTP/1.1\r\n{close}").as_bytes(), Some(404)),
        (format!("CONNECT netlab:80 HTTP/1.1\r\n{close}").as_bytes(), Some(404)),
        (format!("GET http://x/livez HTTP/1.1\r\n{close}").as_bytes(), Some(200)),
        (format!("GET /livez?a=%zz&&== HTTP/1.1\r\n{close}").as_bytes(), Some(200)),
        // Not a whole request: dropped when its time is over.
        (b"", None),
        (b"GET / HT", None),
        (b"GET / HTTP/1.1\r\nx: y", None),
    ] {
        let found = status(&lab, bytes).await;
        if found != wanted {
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
            surprises.push(format!("{start:?}: {found:?}, not {wanted:?}"));
        }
    }
    assert_eq!(surprises, Vec::<String>::new());
    assert_eq!(lab.get("/livez").await.status, 200);
    lab.metric_becomes("netlab_api_connections", 1).await;
}

/// A client that never stops its head, one byte at a time, does not hold its connection.
#[tokio::test]
async fn a_head_that_dribbles_in_is_dropped() {
    let limits = Limits { arrival: Duration::from_millis(300), ..Limits::default() };
    let lab = Lab::with(Setting { limits, ..Setting::default() }).await;
    let mut stream = lab.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("sent");
    within(async {
        while stream.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    lab.metric_becomes("netlab_api_connections", 1).await;
}

#[tokio::test]
async fn a_truncated_body_is_no_write() {
    let lab = Lab::new().await;
    let head =
        "POST /v1/namespaces/default/pods HTTP/1.1\r\nhost: n\r\ncontent-length: 500\r\n\r\n";
    let mut stream = lab.connect().await;
    let bytes = format!("{head}{{\"metadata\":{{\"name\":\"web\"}}}}");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("closed");
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert_eq!(lab.get("/v1/pods").await.json()["items"], serde_json::json!([]));
}

/// Heads and bodies near to real ones, with pieces cut out, doubled and replaced.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "X"]);
    let path = prop_oneof![
        prop::sample::select(vec![
            "/v1/pods",
            "/v1/namespaces/default/pods/web",
            "/v1/namespaces/default/pods/web/log?tailLines=1",
            "/v1/namespaces/default/pods/web/exec?command=cat",
            "/v1/apply",
            "/v1/programmed?revision=1&timeoutSeconds=0",
            "/openapi.json",
        ])
        .prop_map(str::to_owned),
        "/[a-z0-9/%.{}?&=*-]{0,40}",
    ];
    let header = prop_oneof![
        Just("connection: Upgrade\r\nupgrade: netlab-exec/1\r\n".to_owned()),
        Just("content-type: application/merge-patch+json\r\n".to_owned()),
        "[a-z-]{0,12}: ?[ -~]{0,30}\r\n",
    ];
    let body = prop_oneof![
        Just("{\"metadata\":{\"name\":\"web\",\"labels\":{\"a\":\"b\"}}}".to_owned()),
        Just("{\"items\":[{\"kind\":\"Pod\",\"metadata\":{\"name\":\"web\"}}]}".to_owned()),
        "[\\[\\]{}\":,a-z0-9 ]{0,60}",
    ];
    let request = (method, path, prop::collection::vec(header, 0..4), body).prop_map(
        |(method, path, headers, body)| {
            let length = body.len();
            let headers = headers.concat();
            format!(
                "{method} {path} HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\
                 content-length: {length}\r\n{headers}\r\n{body}"
            )
            .into_bytes()
        },
    );
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..4);
    (request, edits).prop_map(|(mut bytes, edits)| {
        for (place, byte, what) in edits {
            let place = place.index(bytes.len());
            match what {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.drain(place..)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    })
}

#[test]
fn the_daemon_survives_anything() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let limits = Limits { arrival: Duration::from_millis(200), ..Limits::default() };
    let lab = runtime.block_on(Lab::with(Setting { limits, ..Setting::default() }));
    // PROPTEST_CASES asks for more.
    let mut config = ProptestConfig::default();
    config.cases = config.cases.max(600);
    let (cases, answered) = (config.cases, std::cell::Cell::new(0));
    let mut runner = TestRunner::new(config);
    let input = prop_oneof![4 => requests(), 1 => prop::collection::vec(any::<u8>(), 0..200)];
    let outcome = runner.run(&input, |bytes| {
        runtime.block_on(async {
            let mut stream = lab.connect().await;
            let _ = stream.write_all(&bytes).await;
            let mut answer = Vec::new();
            // What is no whole request, or became an exec, ends when the client ends it.
            let patience = Duration::from_millis(30);
            let reading = stream.read_to_end(&mut answer);
            if tokio::time::timeout(patience, reading).await.is_err() {
                let _ = stream.shutdown().await;
                let _ = within(stream.read_to_end(&mut answer)).await;
            }
            answered.set(answered.get() + usize::from(!answer.is_empty()));
            prop_assert!(
                answer.is_empty() || answer.starts_with(b"HTTP/1."),
                "{}",
                String::from_utf8_lossy(&answer)
            );
            let internal = b"HTTP/1.1 500";
            prop_assert!(!answer.starts_with(internal), "{}", String::from_utf8_lossy(&answer));
            Ok(())
        })
    });
    outcome.expect("no input is answered with a defect");
    assert!(answered.get() > cases as usize / 2, "only {} were answered", answered.get());
    runtime.block_on(async {
        assert_eq!(lab.get("/livez").await.status, 200);
        lab.metric_becomes("netlab_api_connections", 1).await;
    });
}
