// SPDX-License-Identifier: GPL-3.0-or-later
use expect_test::expect;
use netlab_api::{EndpointSlice, Service};
use serde_json::json;

use super::base::BaseConfig;
use super::*;
use crate::node::proxy::classic;
use crate::node::proxy::port::{NodeFacts, plan_service};
use crate::node::proxy::select::Endpoints;

pub(crate) fn config() -> BaseConfig {
    BaseConfig {
        pod_networks: vec!["10.42.0.0/16".parse().unwrap(), "fd42::/48".parse().unwrap()],
        service_networks: vec!["10.43.0.0/16".parse().unwrap(), "fd43::/112".parse().unwrap()],
        ..BaseConfig::default()
    }
}

/// A service `default/web` with this spec, its endpoints `10.42.0.1` on this node and `10.42.1.2`
/// on another.
fn plans(spec: serde_json::Value, endpoints: &[(&str, &str)]) -> Vec<PortPlan> {
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": spec,
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }] } },
    }))
    .unwrap();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "addressType": "IPv4",
        "ports": [{ "port": 8080 }],
        "endpoints": endpoints.iter().map(|(address, node)| json!({
            "addresses": [address], "conditions": { "ready": true }, "nodeName": node,
        })).collect::<Vec<_>>(),
    }))
    .unwrap();
    let node = NodeFacts { name: "n1".to_owned(), zone: None };
    plan_service(&service, &Endpoints::of([&slice]), &node)
}

const TWO: &[(&str, &str)] = &[("10.42.0.1", "n1"), ("10.42.1.2", "n2")];

fn text(spec: serde_json::Value, endpoints: &[(&str, &str)]) -> String {
    let table = TableName::own(Family::Ip);
    let plans = plans(spec, endpoints);
    let mut text = String::new();
    for port in &plans {
        text += &Piece::build_all([plan(port, &config().pod_networks)], &table).to_string();
        text += &format!("shared: {:?}\n", shared(port));
    }
    text
}

fn classic_text(spec: serde_json::Value, endpoints: &[(&str, &str)]) -> String {
    let table = TableName::own(Family::Ip);
    let plans = plans(spec, endpoints);
    let trunk = classic::trunk(Family::Ip, &plans, &config());
    let own = plans
        .iter()
        .map(|port| Piece::build_all([classic::plan(port, &config())], &table).to_string());
    own.collect::<String>() + &Piece::build_all([trunk], &table).to_string()
}

fn cluster_ip() -> serde_json::Value {
    json!({ "clusterIP": "10.43.0.7", "ports": [{ "port": 80, "targetPort": 8080 }] })
}

fn with(mut spec: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn balancer() -> serde_json::Value {
    with(
        cluster_ip(),
        json!({
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "loadBalancerSourceRanges": ["198.51.100.0/24"],
            "ports": [{ "port": 80, "targetPort": 8080, "nodePort": 30080 }],
        }),
    )
}

#[test]
fn a_plain_service_is_elements_only() {
    expect![[r#"
        add element ip netlab endpoints { 10.43.0.7 . tcp . 80 . 0 : 10.42.0.1 . 8080, 10.43.0.7 . tcp . 80 . 1 : 10.42.1.2 . 8080 }
        add element ip netlab service-counts { 10.43.0.7 . tcp . 80 comment "default/web" : 4e4c:2 }
        shared: [Class(Cluster, 2), ClusterIp(10.43.0.7), Hairpin(Tcp, 10.42.0.1:8080)]
    "#]].assert_eq(&text(cluster_ip(), TWO));
    expect![[r#"
        add element ip netlab reject-services { 10.43.0.7 . tcp . 80 comment "default/web" }
        shared: [ClusterIp(10.43.0.7)]
    "#]]
    .assert_eq(&text(cluster_ip(), &[]));
}

#[test]
fn a_service_that_needs_more_has_chains_of_its_own() {
    expect![[r#"
        add map ip netlab local-PFISGYVC-default/web/tcp/-endpoints { typeof numgen random mod 2 : ip daddr . th dport; comment "default/web"; }
        add map ip netlab service-PFISGYVC-default/web/tcp/-endpoints { typeof numgen random mod 2 : ip daddr . th dport; comment "default/web"; }
        add chain ip netlab external-PFISGYVC-default/web/tcp/ { comment "default/web: clients outside"; }
        add chain ip netlab firewall-PFISGYVC-default/web/tcp/ { comment "default/web: source ranges"; }
        add chain ip netlab local-PFISGYVC-default/web/tcp/ { comment "default/web: any endpoint"; }
        add chain ip netlab service-PFISGYVC-default/web/tcp/ { comment "default/web: any endpoint"; }
        add rule ip netlab external-PFISGYVC-default/web/tcp/ ip saddr 10.42.0.0/16 goto service-PFISGYVC-default/web/tcp/ comment "pods: any endpoint"
        add rule ip netlab external-PFISGYVC-default/web/tcp/ fib saddr type local meta mark set meta mark | 0x00004000 goto service-PFISGYVC-default/web/tcp/ comment "this node: any endpoint, by the node's address"
        add rule ip netlab external-PFISGYVC-default/web/tcp/ goto local-PFISGYVC-default/web/tcp/ comment "others: endpoints of this node, which see the client's address"
        add rule ip netlab firewall-PFISGYVC-default/web/tcp/ ip saddr 198.51.100.0/24 return comment "may"
        add rule ip netlab firewall-PFISGYVC-default/web/tcp/ drop comment "others may not"
        add rule ip netlab local-PFISGYVC-default/web/tcp/ meta l4proto tcp dnat ip to numgen random mod 1 map @local-PFISGYVC-default/web/tcp/-endpoints comment "any endpoint"
        add rule ip netlab service-PFISGYVC-default/web/tcp/ meta l4proto tcp dnat ip to numgen random mod 2 map @service-PFISGYVC-default/web/tcp/-endpoints comment "any endpoint"
        add element ip netlab endpoints { 10.43.0.7 . tcp . 80 . 0 : 10.42.0.1 . 8080, 10.43.0.7 . tcp . 80 . 1 : 10.42.1.2 . 8080 }
        add element ip netlab firewalls { 192.0.2.9 . tcp . 80 comment "default/web" : goto firewall-PFISGYVC-default/web/tcp/ }
        add element ip netlab local-PFISGYVC-default/web/tcp/-endpoints { 0 : 10.42.0.1 . 8080 }
        add element ip netlab nodeport-chains { tcp . 30080 comment "default/web" : goto external-PFISGYVC-default/web/tcp/ }
        add element ip netlab service-PFISGYVC-default/web/tcp/-endpoints { 0 : 10.42.0.1 . 8080, 1 : 10.42.1.2 . 8080 }
        add element ip netlab service-chains { 192.0.2.9 . tcp . 80 comment "default/web" : goto external-PFISGYVC-default/web/tcp/ }
        add element ip netlab service-counts { 10.43.0.7 . tcp . 80 comment "default/web" : 4e4c:2 }
        shared: [Class(Cluster, 2), ClusterIp(10.43.0.7), Hairpin(Tcp, 10.42.0.1:8080)]
    "#]].assert_eq(&text(balancer(), TWO));
    let sticky = json!({ "sessionAffinity": "ClientIP" });
    expect![[r#"
        add set ip netlab affinity-EMFO2TR7-default/web/tcp/__10.42.0.1/8080 { type ipv4_addr; size 65536; flags dynamic,timeout; timeout 3h; comment "default/web"; }
        add set ip netlab affinity-P2EKQVFT-default/web/tcp/__10.42.1.2/8080 { type ipv4_addr; size 65536; flags dynamic,timeout; timeout 3h; comment "default/web"; }
        add map ip netlab service-PFISGYVC-default/web/tcp/-choices { typeof numgen random mod 2 : verdict; comment "default/web"; }
        add chain ip netlab endpoint-EMFO2TR7-default/web/tcp/__10.42.0.1/8080 { comment "default/web: 10.42.0.1:8080"; }
        add chain ip netlab endpoint-P2EKQVFT-default/web/tcp/__10.42.1.2/8080 { comment "default/web: 10.42.1.2:8080"; }
        add chain ip netlab service-PFISGYVC-default/web/tcp/ { comment "default/web: any endpoint"; }
        add rule ip netlab endpoint-EMFO2TR7-default/web/tcp/__10.42.0.1/8080 update @affinity-EMFO2TR7-default/web/tcp/__10.42.0.1/8080 { ip saddr } comment "the client stays here from now on"
        add rule ip netlab endpoint-EMFO2TR7-default/web/tcp/__10.42.0.1/8080 meta l4proto tcp dnat to 10.42.0.1:8080 comment "this endpoint"
        add rule ip netlab endpoint-P2EKQVFT-default/web/tcp/__10.42.1.2/8080 update @affinity-P2EKQVFT-default/web/tcp/__10.42.1.2/8080 { ip saddr } comment "the client stays here from now on"
        add rule ip netlab endpoint-P2EKQVFT-default/web/tcp/__10.42.1.2/8080 meta l4proto tcp dnat to 10.42.1.2:8080 comment "this endpoint"
        add rule ip netlab service-PFISGYVC-default/web/tcp/ ip saddr @affinity-EMFO2TR7-default/web/tcp/__10.42.0.1/8080 goto endpoint-EMFO2TR7-default/web/tcp/__10.42.0.1/8080 comment "came before"
        add rule ip netlab service-PFISGYVC-default/web/tcp/ ip saddr @affinity-P2EKQVFT-default/web/tcp/__10.42.1.2/8080 goto endpoint-P2EKQVFT-default/web/tcp/__10.42.1.2/8080 comment "came before"
        add rule ip netlab service-PFISGYVC-default/web/tcp/ numgen random mod 2 vmap @service-PFISGYVC-default/web/tcp/-choices comment "new: any endpoint"
        add element ip netlab service-PFISGYVC-default/web/tcp/-choices { 0 : goto endpoint-EMFO2TR7-default/web/tcp/__10.42.0.1/8080, 1 : goto endpoint-P2EKQVFT-default/web/tcp/__10.42.1.2/8080 }
        add element ip netlab service-chains { 10.43.0.7 . tcp . 80 comment "default/web" : goto service-PFISGYVC-default/web/tcp/ }
        shared: [ClusterIp(10.43.0.7), Hairpin(Tcp, 10.42.0.1:8080)]
    "#]].assert_eq(&text(with(cluster_ip(), sticky), TWO));
}

#[test]
fn the_classic_layout_is_that_of_kube_proxy() {
    expect![[r#"
        add chain ip netlab KUBE-EXT-LOLE4ISW44XBNF3G { comment "default/web external destinations"; }
        add chain ip netlab KUBE-FW-LOLE4ISW44XBNF3G { comment "default/web source ranges"; }
        add chain ip netlab KUBE-SEP-SE3QDN2EPKCHOV5U { comment "default/web -> 10.42.1.2:8080"; }
        add chain ip netlab KUBE-SEP-ZSPYAQL7Z5POLOYU { comment "default/web -> 10.42.0.1:8080"; }
        add chain ip netlab KUBE-SVC-LOLE4ISW44XBNF3G { comment "default/web"; }
        add chain ip netlab KUBE-SVL-LOLE4ISW44XBNF3G { comment "default/web"; }
        add rule ip netlab KUBE-EXT-LOLE4ISW44XBNF3G ip saddr 10.42.0.0/16 jump KUBE-SVC-LOLE4ISW44XBNF3G comment "pod traffic for default/web external destinations"
        add rule ip netlab KUBE-EXT-LOLE4ISW44XBNF3G fib saddr type local jump KUBE-MARK-MASQ comment "masquerade LOCAL traffic for default/web external destinations"
        add rule ip netlab KUBE-EXT-LOLE4ISW44XBNF3G fib saddr type local jump KUBE-SVC-LOLE4ISW44XBNF3G comment "route LOCAL traffic for default/web external destinations"
        add rule ip netlab KUBE-EXT-LOLE4ISW44XBNF3G jump KUBE-SVL-LOLE4ISW44XBNF3G comment "default/web"
        add rule ip netlab KUBE-FW-LOLE4ISW44XBNF3G ip saddr 198.51.100.0/24 jump KUBE-EXT-LOLE4ISW44XBNF3G comment "default/web loadbalancer IP"
        add rule ip netlab KUBE-SEP-SE3QDN2EPKCHOV5U ip saddr 10.42.1.2/32 jump KUBE-MARK-MASQ comment "default/web"
        add rule ip netlab KUBE-SEP-SE3QDN2EPKCHOV5U meta l4proto tcp dnat to 10.42.1.2:8080 comment "default/web"
        add rule ip netlab KUBE-SEP-ZSPYAQL7Z5POLOYU ip saddr 10.42.0.1/32 jump KUBE-MARK-MASQ comment "default/web"
        add rule ip netlab KUBE-SEP-ZSPYAQL7Z5POLOYU meta l4proto tcp dnat to 10.42.0.1:8080 comment "default/web"
        add rule ip netlab KUBE-SVC-LOLE4ISW44XBNF3G ip saddr != 10.42.0.0/16 ip daddr 10.43.0.7/32 meta l4proto tcp th dport 80 jump KUBE-MARK-MASQ comment "default/web cluster IP"
        add rule ip netlab KUBE-SVC-LOLE4ISW44XBNF3G numgen random mod 2 0 jump KUBE-SEP-ZSPYAQL7Z5POLOYU comment "default/web -> 10.42.0.1:8080, probability 0.5000000000"
        add rule ip netlab KUBE-SVC-LOLE4ISW44XBNF3G jump KUBE-SEP-SE3QDN2EPKCHOV5U comment "default/web -> 10.42.1.2:8080"
        add rule ip netlab KUBE-SVL-LOLE4ISW44XBNF3G jump KUBE-SEP-ZSPYAQL7Z5POLOYU comment "default/web -> 10.42.0.1:8080"
        add chain ip netlab KUBE-NODEPORTS { comment "all node ports, one after the other"; }
        add chain ip netlab KUBE-SERVICES { comment "all services, one after the other"; }
        add chain ip netlab filter/KUBE-EXTERNAL-SERVICES { comment "other addresses that cannot be reached"; }
        add chain ip netlab filter/KUBE-PROXY-FIREWALL { comment "load balancers with source ranges"; }
        add chain ip netlab filter/KUBE-SERVICES { comment "cluster IPs that cannot be reached"; }
        add rule ip netlab KUBE-NODEPORTS meta l4proto tcp th dport 30080 jump KUBE-EXT-LOLE4ISW44XBNF3G comment "default/web"
        add rule ip netlab KUBE-SERVICES ip daddr 10.43.0.7/32 meta l4proto tcp th dport 80 jump KUBE-SVC-LOLE4ISW44XBNF3G comment "default/web cluster IP"
        add rule ip netlab KUBE-SERVICES ip daddr 192.0.2.9/32 meta l4proto tcp th dport 80 jump KUBE-FW-LOLE4ISW44XBNF3G comment "default/web external IP"
        add rule ip netlab KUBE-SERVICES fib daddr type local ip daddr != 127.0.0.0/8 jump KUBE-NODEPORTS comment "node ports, at any address of this node"
        add rule ip netlab filter/KUBE-PROXY-FIREWALL ip daddr 192.0.2.9/32 meta l4proto tcp th dport 80 drop comment "default/web traffic not accepted by KUBE-FW-LOLE4ISW44XBNF3G"
        add rule ip netlab filter/KUBE-SERVICES ip daddr 10.43.0.7/32 reject comment "no port of the service"
        add rule ip netlab filter/KUBE-SERVICES ip daddr 10.43.0.0/16 fib daddr type != local drop comment "no service has this address"
    "#]].assert_eq(&classic_text(balancer(), TWO));
}

#[test]
fn the_base_is_the_same_whatever_services_there_are() {
    expect![[r#"
        add table ip netlab { comment "netlabd keeps this table as it needs it"; }
        add map ip netlab service-counts { type ipv4_addr . inet_proto . inet_service : classid; comment "how many endpoints, and for whom"; }
        add map ip netlab endpoints { typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport; comment "which endpoints"; }
        add map ip netlab nodeport-counts { type inet_proto . inet_service : classid; comment "how many endpoints, of node ports"; }
        add map ip netlab nodeport-endpoints { typeof meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport; comment "which endpoints, of node ports"; }
        add map ip netlab balance { type classid : verdict; comment "chains that choose among endpoints"; }
        add map ip netlab service-chains { type ipv4_addr . inet_proto . inet_service : verdict; comment "services with chains of their own"; }
        add map ip netlab nodeport-chains { type inet_proto . inet_service : verdict; comment "node ports with chains of their own"; }
        add map ip netlab firewalls { type ipv4_addr . inet_proto . inet_service : verdict; comment "load balancers with source ranges"; }
        add set ip netlab cluster-ips { type ipv4_addr; comment "cluster IPs in use"; }
        add set ip netlab reject-services { type ipv4_addr . inet_proto . inet_service; comment "services without endpoints"; }
        add set ip netlab drop-services { type ipv4_addr . inet_proto . inet_service; comment "services whose endpoints are all elsewhere"; }
        add set ip netlab reject-nodeports { type inet_proto . inet_service; comment "node ports without endpoints"; }
        add set ip netlab drop-nodeports { type inet_proto . inet_service; comment "node ports whose endpoints are all elsewhere"; }
        add set ip netlab hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service; comment "endpoints of this node, from and to themselves"; }
        add chain ip netlab services { comment "what leads to endpoints"; }
        add chain ip netlab nodeports { comment "the same, by port alone"; }
        add chain ip netlab service-endpoints-check { comment "services that cannot be reached"; }
        add chain ip netlab nodeport-endpoints-check { comment "node ports that cannot be reached"; }
        add chain ip netlab cluster-ips-check { comment "cluster IPs with nothing there"; }
        add chain ip netlab firewall-check { comment "load balancers with source ranges"; }
        add chain ip netlab filter-prerouting-pre-dnat { type filter hook prerouting priority -110; policy accept; comment "before addresses are translated"; }
        add chain ip netlab filter-output-pre-dnat { type filter hook output priority -110; policy accept; comment "before addresses are translated"; }
        add chain ip netlab filter-input { type filter hook input priority filter; policy accept; comment "packets for this node"; }
        add chain ip netlab filter-forward { type filter hook forward priority filter; policy accept; comment "packets on their way"; }
        add chain ip netlab filter-output { type filter hook output priority filter; policy accept; comment "packets of this node"; }
        add chain ip netlab masquerading { comment "connections whose answers must come back to this node"; }
        add chain ip netlab nat-prerouting { type nat hook prerouting priority dstnat; policy accept; comment "packets of pods and from outside"; }
        add chain ip netlab nat-output { type nat hook output priority -100; policy accept; comment "packets of this node"; }
        add chain ip netlab nat-postrouting { type nat hook postrouting priority srcnat; policy accept; comment "source addresses of connections to services"; }
        add rule ip netlab services ip saddr != 10.42.0.0/16 ip daddr @cluster-ips meta mark set meta mark | 0x00004000 comment "no pod: answers must come back here"
        add rule ip netlab services ip daddr . meta l4proto . th dport vmap @service-chains comment "a chain of its own?"
        add rule ip netlab services meta priority set ip daddr . meta l4proto . th dport map @service-counts comment "how many endpoints?"
        add rule ip netlab services meta priority vmap @balance comment "choose one of so many"
        add rule ip netlab services fib daddr type local ip daddr != 127.0.0.0/8 goto nodeports comment "node ports, at any address of this node"
        add rule ip netlab nodeports meta l4proto . th dport vmap @nodeport-chains comment "a chain of its own?"
        add rule ip netlab nodeports meta priority set meta l4proto . th dport map @nodeport-counts comment "how many endpoints?"
        add rule ip netlab nodeports meta priority vmap @balance comment "choose one of so many"
        add rule ip netlab service-endpoints-check ip daddr . meta l4proto . th dport @drop-services drop comment "the endpoints are elsewhere"
        add rule ip netlab service-endpoints-check ip daddr . meta l4proto . th dport @reject-services reject comment "there are none"
        add rule ip netlab nodeport-endpoints-check meta l4proto . th dport @drop-nodeports drop comment "the endpoints are elsewhere"
        add rule ip netlab nodeport-endpoints-check meta l4proto . th dport @reject-nodeports reject comment "there are none"
        add rule ip netlab cluster-ips-check ip daddr @cluster-ips reject comment "no port of the service"
        add rule ip netlab cluster-ips-check ip daddr 10.43.0.0/16 fib daddr type != local drop comment "no service has this address"
        add rule ip netlab firewall-check ip daddr . meta l4proto . th dport vmap @firewalls comment "source ranges?"
        add rule ip netlab filter-prerouting-pre-dnat ct state new jump firewall-check comment "may the client?"
        add rule ip netlab filter-output-pre-dnat ct state new jump firewall-check comment "may the client?"
        add rule ip netlab filter-input ct state new jump nodeport-endpoints-check comment "is there an endpoint?"
        add rule ip netlab filter-input ct state new jump service-endpoints-check comment "is there an endpoint?"
        add rule ip netlab filter-forward ct state invalid ip saddr 10.42.0.0/16 meta l4proto tcp drop comment "an answer that nobody could translate"
        add rule ip netlab filter-forward ct state new jump service-endpoints-check comment "is there an endpoint?"
        add rule ip netlab filter-forward ct state new jump cluster-ips-check comment "is there a service?"
        add rule ip netlab filter-output ct state new jump service-endpoints-check comment "is there an endpoint?"
        add rule ip netlab filter-output ct state new jump cluster-ips-check comment "is there a service?"
        add rule ip netlab masquerading meta mark & 0x00004000 == 0x00004000 meta mark set meta mark ^ 0x00004000 masquerade fully-random comment "marked on their way to a service"
        add rule ip netlab masquerading ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random comment "a pod that reached itself through a service"
        add rule ip netlab nat-prerouting jump services comment "is it a service?"
        add rule ip netlab nat-output jump services comment "is it a service?"
        add rule ip netlab nat-postrouting jump masquerading comment "whose answers must come back?"
    "#]].assert_eq(&base::base(Family::Ip, &config()).to_string());
    expect![[r#"
        add table ip6 netlab { comment "netlabd keeps this table as it needs it"; }
        add chain ip6 netlab KUBE-MARK-MASQ { comment "marks packets for KUBE-POSTROUTING"; }
        add chain ip6 netlab KUBE-POSTROUTING { comment "connections whose answers must come back to this node"; }
        add chain ip6 netlab PREROUTING { type nat hook prerouting priority dstnat; policy accept; comment "packets of pods and from outside"; }
        add chain ip6 netlab OUTPUT { type nat hook output priority -100; policy accept; comment "packets of this node"; }
        add chain ip6 netlab POSTROUTING { type nat hook postrouting priority srcnat; policy accept; comment "source addresses of connections to services"; }
        add chain ip6 netlab filter/INPUT { type filter hook input priority filter; policy accept; comment "packets for this node"; }
        add chain ip6 netlab filter/FORWARD { type filter hook forward priority filter; policy accept; comment "packets on their way"; }
        add chain ip6 netlab filter/OUTPUT { type filter hook output priority filter; policy accept; comment "packets of this node"; }
        add rule ip6 netlab KUBE-MARK-MASQ meta mark set meta mark | 0x00004000 comment "to be masqueraded"
        add rule ip6 netlab KUBE-POSTROUTING meta mark & 0x00004000 != 0x00004000 return comment "not marked"
        add rule ip6 netlab KUBE-POSTROUTING meta mark set meta mark ^ 0x00004000 comment "the mark has done its work"
        add rule ip6 netlab KUBE-POSTROUTING masquerade fully-random comment "kubernetes service traffic requiring SNAT"
        add rule ip6 netlab PREROUTING jump KUBE-SERVICES comment "kubernetes service portals"
        add rule ip6 netlab OUTPUT jump KUBE-SERVICES comment "kubernetes service portals"
        add rule ip6 netlab POSTROUTING jump KUBE-POSTROUTING comment "kubernetes postrouting rules"
        add rule ip6 netlab filter/INPUT ct state new jump filter/KUBE-PROXY-FIREWALL comment "kubernetes load balancer firewall"
        add rule ip6 netlab filter/INPUT ct state new jump filter/KUBE-EXTERNAL-SERVICES comment "kubernetes externally-visible service portals"
        add rule ip6 netlab filter/FORWARD ct state invalid ip6 saddr fd42::/48 meta l4proto tcp drop comment "an answer that nobody could translate"
        add rule ip6 netlab filter/FORWARD ct state new jump filter/KUBE-PROXY-FIREWALL comment "kubernetes load balancer firewall"
        add rule ip6 netlab filter/FORWARD ct state new jump filter/KUBE-SERVICES comment "kubernetes service portals"
        add rule ip6 netlab filter/FORWARD ct state new jump filter/KUBE-EXTERNAL-SERVICES comment "kubernetes externally-visible service portals"
        add rule ip6 netlab filter/OUTPUT ct state new jump filter/KUBE-PROXY-FIREWALL comment "kubernetes load balancer firewall"
        add rule ip6 netlab filter/OUTPUT ct state new jump filter/KUBE-SERVICES comment "kubernetes service portals"
        add rule ip6 netlab filter/OUTPUT ct state new jump filter/KUBE-EXTERNAL-SERVICES comment "kubernetes externally-visible service portals"
    "#]].assert_eq(&classic::base(Family::Ip6, &config()).to_string());
    let table = TableName::own(Family::Ip);
    let mut text = String::new();
    for way in [Way::Cluster, Way::External, Way::NodePort] {
        text += &Piece::build_all([balance(Family::Ip, way, 3)], &table).to_string();
    }
    expect![[r#"
        add chain ip netlab balance-3 { comment "one of 3 endpoints"; }
        add rule ip netlab balance-3 meta priority set none comment "the class has done its work"
        add rule ip netlab balance-3 dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints comment "any endpoint"
        add rule ip netlab balance-3 dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints comment "that one is gone just now"
        add element ip netlab balance { 4e4c:3 : goto balance-3 }
        add chain ip netlab external-3 { comment "clients outside, one of 3 endpoints"; }
        add rule ip netlab external-3 meta mark set meta mark | 0x00004000 comment "answers must come back here"
        add rule ip netlab external-3 goto balance-3 comment "any endpoint"
        add element ip netlab balance { 4e4d:3 : goto external-3 }
        add chain ip netlab nodeport-3 { comment "clients of a node port, one of 3 endpoints"; }
        add rule ip netlab nodeport-3 meta mark set meta mark | 0x00004000 comment "answers must come back here"
        add rule ip netlab nodeport-3 meta priority set none comment "the class has done its work"
        add rule ip netlab nodeport-3 dnat ip to meta l4proto . th dport . numgen random mod 3 map @nodeport-endpoints comment "any endpoint"
        add rule ip netlab nodeport-3 dnat ip to meta l4proto . th dport . numgen random mod 1 map @nodeport-endpoints comment "that one is gone just now"
        add element ip netlab balance { 4e4e:3 : goto nodeport-3 }
    "#]].assert_eq(&text);
}
