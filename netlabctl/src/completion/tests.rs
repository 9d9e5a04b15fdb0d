// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

#[track_caller]
fn wanted(line: &str) -> Wanted {
    let command = cli::command();
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    Line::read(&command, &words).wanted(&command)
}

#[track_caller]
fn offers(line: &str, word: &str) {
    match wanted(line) {
        Wanted::Words(words) => assert!(words.iter().any(|w| w == word), "{line}: {words:?}"),
        other => panic!("{line}: {other:?}"),
    }
}

fn names(kind: Kind, prefix: &str) -> Wanted {
    Wanted::Names { kind, prefix: prefix.to_owned(), suffix: "" }
}

#[test]
fn verbs_types_flags_and_values_are_offered() {
    offers("", "get");
    offers("po", "pod");
    offers("pod ", "run");
    offers("get ", "pods");
    offers("get --sh", "--show-labels");
    offers("get pods --", "--namespace");
    offers("get pods -o ", "wide");
    offers("completion ", "fish");
    offers("create ", "namespace");
    offers("run web --restart ", "Never");
    offers("events --for ", "pod/");
    offers("network mode ", "host-gw");
    offers("node ", "drain");
    offers("svc ", "expose");
    offers("svc expose web --type ", "NodePort");
    offers("svc expose web --external-traffic-policy ", "Local");
    offers("proxy mode ", "iptables");
    offers("proxy show --as ", "nftables");
    offers("get fl", "flows");
    offers("create service ", "nodeport");
    offers("port-forward s", "svc/");
}

#[test]
fn names_come_from_the_daemon() {
    assert_eq!(wanted("get pods "), names(Kind::Pod, ""));
    assert_eq!(wanted("get pods web d"), names(Kind::Pod, ""));
    assert_eq!(wanted("describe no/"), names(Kind::Node, "no/"));
    assert_eq!(wanted("exec -it "), names(Kind::Pod, ""));
    assert_eq!(wanted("-n shop logs -f "), names(Kind::Pod, ""));
    assert_eq!(wanted("get pods -n "), names(Kind::Namespace, ""));
    assert_eq!(wanted("run web --node "), names(Kind::Node, ""));
    assert_eq!(wanted("drain n1 "), names(Kind::Node, ""));
    assert_eq!(wanted("node drain --force "), names(Kind::Node, ""));
    assert_eq!(wanted("delete node "), names(Kind::Node, ""));
    assert_eq!(wanted("wait --for=delete node/"), names(Kind::Node, "node/"));
    assert_eq!(wanted("events --for pod/"), names(Kind::Pod, "pod/"));
    assert_eq!(wanted("svc rm "), names(Kind::Service, ""));
    assert_eq!(wanted("proxy show "), names(Kind::Service, ""));
    assert_eq!(wanted("proxy show svc/"), names(Kind::Service, "svc/"));
    assert_eq!(wanted("get flows --service "), names(Kind::Service, ""));
    assert_eq!(wanted("port-forward "), names(Kind::Pod, ""));
    assert_eq!(wanted("port-forward svc/"), names(Kind::Service, "svc/"));
    assert_eq!(wanted("expose pod "), names(Kind::Pod, ""));
    assert_eq!(wanted("--lab "), Wanted::Labs);
    assert_eq!(wanted("lab down "), Wanted::LabsOrFiles);
    assert_eq!(wanted("--lab shop host exec "), Wanted::Machines);
    assert_eq!(wanted("node partition n1 "), Wanted::Machines);
}

#[test]
fn what_is_not_ours_is_left_to_the_shell() {
    assert_eq!(wanted("exec web -- ca"), Wanted::Files);
    assert_eq!(wanted("apply -f "), Wanted::Files);
}

#[test]
fn the_namespace_on_the_line_is_the_one_asked() {
    let command = cli::command();
    let read = |line: &str| {
        Line::read(&command, &line.split(' ').map(str::to_owned).collect::<Vec<_>>()).namespace
    };
    assert_eq!(read("-n shop get pods "), Some("shop".to_owned()));
    assert_eq!(read("get --namespace=shop pods "), Some("shop".to_owned()));
}
