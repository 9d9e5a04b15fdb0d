// SPDX-License-Identifier: GPL-3.0-or-later

use expect_test::expect;
use netlab_api::manifest::{Options, Source, parse};

use super::*;

fn drawn(format: GraphFormat) -> String {
    let text = "[[network]]\nname='rack1'\n[[network]]\nname='rack2'\n\
                [[node]]\nname='n1'\nnetworks=['rack1','rack2']\n\
                [[node]]\nname='n2'\nnetwork='rack2'\n[[host]]\nname='laptop'\n";
    let source = Source { name: "racks.toml".to_owned(), text: text.to_owned() };
    let lab = parse(&source, &Options::default()).unwrap().lab.unwrap();
    let plan = super::super::plan::plan("racks", &lab, None).unwrap();
    let pod = |name: &str, node: &str, ip: &str| DrawnPod {
        name: name.to_owned(),
        node: node.to_owned(),
        addresses: vec![ip.to_owned()],
    };
    let pods = [pod("web-0", "n1", "10.42.0.1"), pod("shop/web-1", "n1", "10.42.0.2")];
    draw(&plan, &pods, format)
}

#[test]
fn a_terminal_gets_a_tree() {
    expect![[r#"
        lab racks (auto)
        ├─ rack1  172.30.0.0/24 fd44::/64
        │  ├─ router  172.30.0.1 fd44::1
        │  ├─ node n1 (eth0)  172.30.0.2 fd44::2
        │  │  ├─ pod web-0  10.42.0.1
        │  │  └─ pod shop/web-1  10.42.0.2
        │  └─ host laptop (eth0)  172.30.0.3 fd44::3
        └─ rack2  172.30.1.0/24 fd44:0:0:1::/64
           ├─ router  172.30.1.1 fd44:0:0:1::1
           ├─ node n1 (eth1)  172.30.1.2 fd44:0:0:1::2
           └─ node n2 (eth0)  172.30.1.3 fd44:0:0:1::3
    "#]]
    .assert_eq(&drawn(GraphFormat::Ascii));
}

#[test]
fn markdown_gets_mermaid() {
    expect![[r#"
        graph TD
          router{{router}}
          net_rack1(["rack1<br/>172.30.0.0/24 fd44::/64"])
          router --- net_rack1
          net_rack2(["rack2<br/>172.30.1.0/24 fd44:0:0:1::/64"])
          router --- net_rack2
          m_n1["node n1<br/>172.30.0.2"]
          net_rack1 --- m_n1
          net_rack2 --- m_n1
          pod_web_0("web-0<br/>10.42.0.1")
          m_n1 --- pod_web_0
          pod_shop__web_1("shop/web-1<br/>10.42.0.2")
          m_n1 --- pod_shop__web_1
          m_n2["node n2<br/>172.30.1.3"]
          net_rack2 --- m_n2
          m_laptop[/"host laptop<br/>172.30.0.3"/]
          net_rack1 --- m_laptop
    "#]]
    .assert_eq(&drawn(GraphFormat::Mermaid));
}

#[test]
fn graphviz_gets_dot() {
    expect![[r#"
        graph "racks" {
          node [fontname="sans-serif"];
          router [shape=diamond];
          net_rack1 [shape=ellipse, label="rack1\n172.30.0.0/24 fd44::/64"];
          router -- net_rack1;
          net_rack2 [shape=ellipse, label="rack2\n172.30.1.0/24 fd44:0:0:1::/64"];
          router -- net_rack2;
          m_n1 [shape=box, label="node n1\n172.30.0.2\nfd44::2\n172.30.1.2\nfd44:0:0:1::2"];
          net_rack1 -- m_n1 [label="eth0"];
          net_rack2 -- m_n1 [label="eth1"];
          pod_web_0 [shape=box, style=rounded, label="web-0\n10.42.0.1"];
          m_n1 -- pod_web_0;
          pod_shop__web_1 [shape=box, style=rounded, label="shop/web-1\n10.42.0.2"];
          m_n1 -- pod_shop__web_1;
          m_n2 [shape=box, label="node n2\n172.30.1.3\nfd44:0:0:1::3"];
          net_rack2 -- m_n2 [label="eth0"];
          m_laptop [shape=house, label="host laptop\n172.30.0.3\nfd44::3"];
          net_rack1 -- m_laptop [label="eth0"];
        }
    "#]]
    .assert_eq(&drawn(GraphFormat::Dot));
}

#[test]
fn a_picture_has_a_box_for_each_thing_and_a_line_for_each_cable() {
    let svg = drawn(GraphFormat::Svg);
    assert_eq!(svg.matches("<rect ").count(), 2 + 3 + 2);
    assert_eq!(svg.matches("<line ").count(), 4 + 2);
    assert!(svg.contains(">shop/web-1</text>") && svg.ends_with("</svg>\n"), "{svg}");
}
