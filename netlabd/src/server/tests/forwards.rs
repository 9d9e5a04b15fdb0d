// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections that are forwarded to pods.

use super::*;

const FORWARD: &str = "/v1/namespaces/default/pods/web/portforward";

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.pod("web", json!({})).await;
    lab
}

/// Asks for a connection, and answers it with the head of the answer.
async fn forward(lab: &Lab, query: &str, first: &str) -> (UnixStream, String) {
    let mut stream = lab.connect().await;
    let request = format!(
        "POST {FORWARD}{query} HTTP/1.1\r\nhost: n\r\nconnection: Upgrade\r\n\
         upgrade: netlab-portforward/1\r\n\r\n{first}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("a head"));
    }
    (stream, String::from_utf8(head).expect("text").to_lowercase())
}

#[tokio::test]
async fn a_forwarded_connection_passes_bytes_and_their_end_on_in_both_directions() {
    let lab = lab().await;
    let (mut stream, head) = forward(&lab, "?port=7", "sent with the request, ").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: netlab-portforward/1\r\n"), "{head}");
    stream.write_all(b"sent later").await.expect("sent");
    stream.shutdown().await.expect("the end is sent");
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("an answer and its end");
    assert_eq!(answer, "sent with the request, sent later");
    lab.metric_becomes("netlab_api_forwards", 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_connection_with_it() {
    let lab = lab().await;
    let (stream, _) = forward(&lab, "?port=7", "").await;
    assert_eq!(lab.pods.forwarded.load(Ordering::SeqCst), 0);
    drop(stream);
    within(async {
        while lab.pods.forwarded.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    lab.metric_becomes("netlab_api_forwards", 0).await;
}

#[tokio::test]
async fn what_cannot_be_forwarded_is_an_error_and_no_upgrade() {
    let lab = lab().await;
    for (query, status) in [("?port=9", 409), ("", 400), ("?port=0", 400), ("?port=x", 400)] {
        let (_, head) = forward(&lab, query, "").await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{query}: {head}");
    }
    let plain = lab.post(&format!("{FORWARD}?port=7"), &json!({})).await;
    plain.refused(Reason::BadRequest, &["upgraded connection"]);
}
