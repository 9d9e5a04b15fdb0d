// SPDX-License-Identifier: GPL-3.0-or-later

use std::fmt::Display;
use std::str::FromStr;

use super::*;

#[track_caller]
fn same<T: FromStr<Err = String> + Display>(texts: &[&str]) {
    for text in texts {
        let read = text.parse::<T>().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(&read.to_string(), text);
    }
}

#[track_caller]
fn refused<T: FromStr<Err = String>>(texts: &[&str]) {
    for text in texts {
        let error = text.parse::<T>().err().unwrap_or_else(|| panic!("`{text}` was read"));
        assert!(error.contains(&format!("`{text}`")), "{error}");
    }
}

#[test]
fn quantities_read_back_what_they_print() {
    same::<Rate>(&["10mbit", "512kbit", "1gbit", "1500kbit"]);
    same::<Percent>(&["1%", "0.5%", "100%", "0.0001%"]);
    same::<Span>(&["50ms", "2s", "250us", "60s"]);
    assert_eq!("1.5s".parse(), Ok(Span(1_500_000)));
    assert_eq!("1m".parse(), Ok(Span(60_000_000)));
    refused::<Rate>(&["", "10", "mbit", "-1mbit", "1bit", "NaNmbit", "9999999gbit"]);
    refused::<Percent>(&["", "1", "101%", "-1%", "NaN%"]);
    refused::<Span>(&["", "5", "ms", "-1s", "2h", "infs"]);
}

#[test]
fn targets_and_sources_read_back_what_they_print() {
    same::<ProbeTarget>(&[
        "http://web/",
        "http://web:8080/a?b=c",
        "http://[fd42::1]:8080/",
        "tcp://web-0.default:80",
        "udp://10.42.0.1:53",
        "icmp://web",
        "icmp://[fd42::1]",
    ]);
    same::<TestSource>(&["pod/client", "pod/shop/client", "host/laptop", "node/n1"]);
    assert_eq!(
        "http://web".parse::<ProbeTarget>().map(|t| t.to_string()),
        Ok("http://web/".into())
    );
    assert_eq!("ping://a".parse(), Ok(ProbeTarget::Icmp { host: "a".to_owned() }));
    refused::<ProbeTarget>(&[
        "",
        "web",
        "http://",
        "https://web/",
        "tcp://web",
        "tcp://web:80/x",
        "udp://web:0",
        "icmp://web:7",
        "http://web:99999/",
        "http://web/a b",
        "http://web/\r\nX: y",
    ]);
    refused::<TestSource>(&["client", "pod/", "pod/a/b/c", "svc/web", "/"]);
}

#[test]
fn outcomes_meet_what_is_expected_of_them() {
    same::<Expectation>(&["ok", "200", "timeout", "refused", "unreachable", "unknown-name"]);
    refused::<Expectation>(&["", "OK!", "99", "600"]);
    assert!(Expectation::Ok.is_met_by(Expectation::Status(302)));
    assert!(!Expectation::Ok.is_met_by(Expectation::Status(404)));
    assert!(!Expectation::Status(200).is_met_by(Expectation::Ok));
    assert!(Expectation::Timeout.is_met_by(Expectation::Timeout));
}

#[test]
fn a_lab_that_says_nothing_has_a_node_on_a_network() {
    let lab = Lab::default().completed();
    assert_eq!(lab.machines().collect::<Vec<_>>(), ["n1"]);
    assert_eq!(lab.networks_of(&None, &[]), ["lan"]);
}
