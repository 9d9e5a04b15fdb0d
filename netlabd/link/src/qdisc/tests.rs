// SPDX-License-Identifier: GPL-3.0-or-later

use serde_json::Value;

use super::*;
use crate::{
    Request, mark,
    testing::{Node, run_in},
};

fn shown(node: &Node) -> Value {
    let output = run_in(&node.netns, "tc -j qdisc show dev lo");
    serde_json::from_slice::<Value>(&output.stdout).unwrap()[0].clone()
}

fn set(kind: QdiscKind) -> Request {
    Request::SetQdisc(Qdisc { dev: mark::LOOPBACK_INDEX, kind })
}

#[test]
fn a_rate_is_set_replaced_and_taken_away() {
    let mut node = Node::new();
    for rate in [8_000_000u64, 1_000_000_000, 100_000_000_000] {
        node.socket.request(set(QdiscKind::Tbf { rate })).unwrap();
        let found = shown(&node);
        assert_eq!(found["kind"], "tbf");
        assert_eq!(found["options"]["rate"], rate / 8, "{found}");
        let least = found["options"]["burst"].as_u64().unwrap();
        assert!(least >= LEAST_BURST * 9 / 10, "{found}");
    }
    node.socket.request(Request::DelQdisc(mark::LOOPBACK_INDEX)).unwrap();
    assert_eq!(shown(&node)["kind"], "noqueue");
}

#[test]
fn the_text_is_what_tc_accepts() {
    let node = Node::new();
    let rate = set(QdiscKind::Tbf { rate: 10_000_000 }).to_string();
    let words = rate.replace("dev 1 ", "dev lo ");
    assert!(run_in(&node.netns, &words).status.success(), "{words}");
    assert_eq!(shown(&node)["options"]["rate"], 1_250_000);
    let netem = QdiscKind::Netem(Netem {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(5),
        loss: 10_000,
        duplicate: 5_000,
        reorder: 250_000,
        rate: 8_000_000,
    });
    assert_eq!(
        netem.to_string(),
        "netem limit 10000 delay 50000us 5000us loss 1% duplicate 0.5% reorder 25% rate 8000000bit"
    );
}

#[test]
fn packets_are_late_or_the_kernel_has_no_netem() {
    let mut node = Node::new();
    let netem = Netem {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(5),
        loss: 10_000,
        ..Netem::default()
    };
    match node.socket.request(set(QdiscKind::Netem(netem))) {
        Ok(()) => {
            let found = shown(&node);
            assert_eq!(found["kind"], "netem");
            assert_eq!(found["options"]["delay"]["delay"], 0.05, "{found}");
            assert_eq!(found["options"]["delay"]["jitter"], 0.005, "{found}");
            assert_eq!(found["options"]["loss-random"]["loss"], 0.01, "{found}");
        }
        Err(error) => {
            println!("skipped: sch_netem");
            assert!(error.kernel_error().is_some_and(|error| error.is_not_found()), "{error}");
        }
    }
}

#[test]
fn shares_are_parts_of_the_largest_number() {
    assert_eq!((share(0), share(500_000), share(1_000_000)), (0, u32::MAX / 2, u32::MAX));
}
