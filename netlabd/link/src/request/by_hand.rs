// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests as lines for a shell: names of links in place of their numbers, and `sysctl` where
//! iproute2 has no words.

use super::Request;
use crate::{IfIndex, LinkChange};

impl Request {
    /// The lines that a person types for it, where `name` knows the names of links; one that it
    /// does not know stays a number.
    pub fn by_hand(&self, name: impl Fn(IfIndex) -> Option<String>) -> Vec<String> {
        let Self::SetLink(change @ LinkChange { ipv4_router: Some(reverse_path), .. }) = self
        else {
            return vec![named(&self.to_string(), name)];
        };
        let link = named(&change.link.to_string(), &name);
        let rest = LinkChange { ipv4_router: None, ..change.clone() };
        let mut lines = vec![
            format!("sysctl -qw net/ipv4/conf/{link}/forwarding=1"),
            format!("sysctl -qw net/ipv4/conf/{link}/rp_filter={}", *reverse_path as i32),
        ];
        if rest != LinkChange::of(change.link.clone()) {
            lines.push(named(&Self::SetLink(rest).to_string(), name));
        }
        lines
    }
}

/// Words that are numbers of links, as [`IfIndex`] prints them, become names.
fn named(line: &str, name: impl Fn(IfIndex) -> Option<String>) -> String {
    let word = |word: &str| {
        let number = word.strip_prefix("if").and_then(|digits| digits.parse().ok());
        number.and_then(|number| name(IfIndex::new(number))).unwrap_or_else(|| word.to_owned())
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReversePath;

    #[test]
    fn links_have_their_names_and_what_ip_cannot_say_is_a_sysctl() {
        let change = |ipv4_router| LinkChange {
            ipv4_router,
            up: Some(true),
            alias: Some("a/if7".to_owned()),
            ..LinkChange::of(IfIndex::new(7))
        };
        let name = |index: IfIndex| (index.get() == 7).then(|| "eth7".to_owned());
        let plain = Request::SetLink(change(None)).by_hand(name);
        assert_eq!(plain, ["ip link set dev eth7 alias \"a/if7\" up"]);
        let routed = Request::SetLink(change(Some(ReversePath::Loose))).by_hand(name);
        assert_eq!(
            routed,
            [
                "sysctl -qw net/ipv4/conf/eth7/forwarding=1",
                "sysctl -qw net/ipv4/conf/eth7/rp_filter=2",
                plain[0].as_str(),
            ]
        );
        assert_eq!(Request::DelQdisc(IfIndex::new(8)).by_hand(name), ["tc qdisc del dev if8 root"]);
    }
}
