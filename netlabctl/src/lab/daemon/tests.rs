// SPDX-License-Identifier: GPL-3.0-or-later

use netlab_api::manifest::{Options, Source, parse};

use super::*;

fn configured(file: &str, node: &str) -> String {
    let source = Source { name: "shop.toml".to_owned(), text: file.to_owned() };
    let lab = parse(&source, &Options::default()).unwrap().lab.unwrap_or_default();
    let plan = super::super::plan::plan("shop", &lab, None).unwrap();
    config(&Folder::of("shop"), &plan, node)
}

#[test]
fn what_a_lab_says_of_services_is_for_its_server() {
    let file = "[lab]\nproxyMode = 'iptables'\n\
                loadBalancerPools = ['172.30.0.240/28', 'fd44::240/124']\n\
                [[node]]\nname = 'n1'\n[[node]]\nname = 'n2'\n";
    let server = configured(file, "n1");
    // A key after a section would belong to it.
    let tail = "proxy-mode = \"iptables\"\n[load-balancer]\n\
                pools = [\"172.30.0.240/28\", \"fd44::240/124\"]\n";
    assert!(server.ends_with(tail), "{server}");
    let member = configured(file, "n2");
    assert!(!member.contains("proxy-mode") && !member.contains("load-balancer"), "{member}");
}

#[test]
fn a_lab_that_says_nothing_of_services_leaves_them_to_the_daemon() {
    let server = configured("[[node]]\nname = 'n1'\n", "n1");
    assert!(!server.contains("proxy-mode") && !server.contains("load-balancer"), "{server}");
}

#[test]
fn what_a_lab_says_of_names_is_for_its_server_word_by_word() {
    let file = "[lab]\nloadBalancerPools = ['172.30.0.240/28']\n\
                [lab.dns]\nttl = 30\n\
                [lab.dns.forward]\nto = ['192.0.2.1:53']\n\
                [lab.dns.hosts]\n'192.0.2.7' = ['db.example.com']\n\
                [[lab.dns.rewrite]]\nfrom = 'a.test'\nto = 'b.test'\n\
                [[node]]\nname = 'n1'\n[[node]]\nname = 'n2'\n";
    let server = configured(file, "n1");
    let said: toml::Table = server.parse().unwrap();
    let wanted: toml::Table = file.parse().unwrap();
    assert_eq!(said["dns"], wanted["lab"]["dns"], "{server}");
    assert!(said["load-balancer"].get("dns").is_none() && said.get("join").is_none(), "{server}");
    assert!(!configured(file, "n2").contains("dns"));
}
