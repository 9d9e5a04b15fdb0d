// SPDX-License-Identifier: GPL-3.0-or-later
//! Ports that are forwarded to pods of other nodes.

use std::io::Read;
use std::net::TcpStream;

use netlab_tests::Cluster;
use netlab_tests::forwarding::{Forwarding, assert_echoes};

#[test]
fn a_port_is_forwarded_from_any_node_to_a_pod_of_another_on_its_loopback() {
    let cluster = Cluster::builder("fwd").start();
    let listen = "TCP4-LISTEN:7,bind=127.0.0.1,fork,reuseaddr";
    let words = ["--ready=exec:ss -Hltn | grep 127.0.0.1:7", "--", "socat", listen, "EXEC:cat"];
    cluster.run_on("n3", "cat", &words);
    for node in cluster.nodes() {
        let forwarding = Forwarding::start(&mut node.netlabctl(&["port-forward", "cat", ":7"]));
        println!("by way of {}", node.node_name);
        assert_echoes(forwarding.port(7), 500_000);
        let refused = Forwarding::start(&mut node.netlabctl(&["port-forward", "cat", ":8"]));
        let mut stream = TcpStream::connect(("127.0.0.1", refused.port(8))).unwrap();
        // Closed or reset, nothing comes.
        let mut came = Vec::new();
        let _ = stream.read_to_end(&mut came);
        assert!(came.is_empty());
        refused.program.wait_for("cannot connect to port 8 of pod \"cat\"");
    }
}
