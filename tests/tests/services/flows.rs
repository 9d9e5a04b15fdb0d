// SPDX-License-Identifier: GPL-3.0-or-later
//! What becomes of flows that are under way when endpoints change: rows 24 and 26.

use serde_json::json;

use crate::agent::{Agent, Ask};
use crate::offer::offer;
use crate::stage::{Layout, Place, Stage};

/// Port of clients that keep theirs.
const OWN_PORT: u16 = 20_000;

#[track_caller]
fn answer(agent: &mut Agent, ask: &Ask) -> String {
    let found = agent.ask(ask);
    assert_eq!(found.len(), 1, "{found:?}");
    let answer = found.into_keys().next().unwrap();
    answer.split(' ').next().unwrap().to_owned()
}

#[test]
fn flows_of_udp_follow_the_endpoints_and_those_of_tcp_stay() {
    let mut stage = Stage::bare("flows", Layout::Nftables, "");
    for layout in Layout::ALL {
        stage.switch(layout);
        for family in [0, 1] {
            follow(&mut stage, family);
        }
    }
}

fn follow(stage: &mut Stage, family: usize) {
    let spec = || json!({ "type": "LoadBalancer", "externalIPs": crate::offer::OUTER });
    stage.provide(&[offer("web", spec(), &["s1"])]);
    let door = Ask::udp(&stage.main_addresses("n3")[family]).at(stage.node_port("web", "udp"));
    let clients = [
        (Place::Pod("c1"), Ask::udp(&stage.cluster_ip("web", family))),
        (Place::Pod("c3"), Ask::udp(&stage.balancer_ip("web", family))),
        (Place::Node("n2"), Ask::udp(&stage.cluster_ip("web", family))),
        (Place::Host("laptop"), Ask::udp(crate::offer::OUTER[family])),
        (Place::Host("desk"), door),
    ];
    // Silence is what must not come.
    let clients =
        clients.map(|(place, ask)| (place, Ask { source: Some(OWN_PORT), timeout: 2.0, ..ask }));
    let all_get = |stage: &Stage, what: &str, wanted: &str| {
        for (place, ask) in &clients {
            let got = answer(&mut stage.agent(*place), ask);
            assert_eq!(got, wanted, "{what}: {place:?} to {}", ask.to);
        }
    };
    all_get(stage, "at first", "s1");
    let kept = Ask::tcp(&stage.cluster_ip("web", family));
    assert!(stage.agent(Place::Pod("c2")).open("kept", &kept).starts_with("s1 "));
    stage.provide(&[offer("web", spec(), &["s1", "s2", "s3"])]);
    for _ in 0..5 {
        all_get(stage, "one that serves is kept", "s1");
    }
    stage.provide(&[offer("web", spec(), &["s2"])]);
    all_get(stage, "the endpoint is another", "s2");
    assert_eq!(stage.agent(Place::Pod("c2")).talk("kept", "still there?"), "still there?");
    stage.provide(&[offer("web", spec(), &[])]);
    all_get(stage, "there is none", "refused");
    assert_eq!(stage.agent(Place::Pod("c2")).talk("kept", "and now?"), "and now?");
    stage.provide(&[offer("web", spec(), &["s3"])]);
    all_get(stage, "there is one again", "s3");
    stage.agent(Place::Pod("c2")).close("kept");
    let address = stage.cluster_ip("web", family);
    for part in ["v4", "v6"] {
        stage.delete("endpointslices", &format!("web-{part}"));
    }
    stage.delete("services", "web");
    for node in stage.cluster.nodes() {
        let words = ["conntrack", "-L", "-p", "udp", "-f", ["ipv4", "ipv6"][family]];
        let flows = node.netns_exec(&words).ok();
        let left: Vec<&str> = flows.lines().filter(|it| it.contains(&address)).collect();
        assert!(left.is_empty(), "on {}: {left:?}", node.node_name);
    }
}

/// Sends a segment of TCP that belongs to no window: addresses, ports and the number are given.
const STRAY: &str = r"
import socket, struct, sys
source, target = sys.argv[1:3]
ports = [int(word) for word in sys.argv[3:5]]
family = socket.AF_INET6 if ':' in source else socket.AF_INET
def total(data):
    data += b'\0' * (len(data) % 2)
    value = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while value >> 16:
        value = (value & 0xffff) + (value >> 16)
    return value
addresses = socket.inet_pton(family, source) + socket.inet_pton(family, target)
# ACK and PSH, far outside of any window.
head = lambda check: struct.pack('!HHIIBBHHH', *ports, 0x70000000, 0x10000000, 5 << 4, 0x18, 512, check, 0)
body = b'stray'
pseudo = addresses + struct.pack('!II', len(head(0)) + len(body), socket.IPPROTO_TCP)
check = ~total(pseudo + head(0) + body) & 0xffff
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.bind((source, 0))
for _ in range(10):
    raw.sendto(head(check) + body, (target, 0))
";

#[test]
fn a_segment_that_nobody_can_place_does_not_end_a_connection() {
    let mut stage = Stage::bare("stray", Layout::Nftables, "");
    stage.provide(&[offer("web", json!({}), &["s2"])]);
    for layout in Layout::ALL {
        stage.switch(layout);
        for family in [0, 1] {
            let mut client = stage.agent(Place::Pod("c1"));
            let to = stage.cluster_ip("web", family);
            let ask = Ask { source: Some(OWN_PORT), ..Ask::tcp(&to) };
            client.open("kept", &ask);
            let (server, own) = (&stage.addresses("s2")[family], &stage.addresses("c1")[family]);
            let before = resets(&stage);
            let port = OWN_PORT.to_string();
            let words = ["python3", "-c", STRAY, server, own, "8080", &port];
            stage.cluster.pod_exec("s2", &words).ok();
            assert_eq!(client.talk("kept", "still there?"), "still there?");
            assert_eq!(resets(&stage), before, "the client answered what was not for it");
            client.close("kept");
        }
    }
}

/// Resets that the client sent to segments of no connection of its own.
fn resets(stage: &Stage) -> u64 {
    let text = stage.cluster.pod_exec("c1", &["cat", "/proc/self/net/snmp"]).ok();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let position = names.split(' ').position(|name| name == "OutRsts").unwrap();
    values.split(' ').nth(position).unwrap().parse().unwrap()
}
