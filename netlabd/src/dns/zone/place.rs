// SPDX-License-Identifier: GPL-3.0-or-later
//! A name below the cluster's domain, taken apart.

use crate::dns::name::Labels;

/// Most labels that say what a name is: `pin._zone.web.default.svc`, and one more that shows that
/// there are others. The name of a zone may have any number.
const MOST: usize = 6;

/// What a name means, by its shape alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The domain itself.
    Apex,
    /// `dns-version`.
    Version,
    /// `ns.dns`, the name server.
    Server,
    /// `svc`, `pod` or `dns`, which have names below and nothing of their own.
    Branch,
    /// `default.svc`.
    ServicesOf(&'a [u8]),
    /// `web.default.svc`, and perhaps something of it.
    Service { namespace: &'a [u8], service: &'a [u8], part: Part<'a> },
    /// `default.pod`.
    PodsOf(&'a [u8]),
    /// `10-42-0-5.default.pod`.
    Pod { namespace: &'a [u8], pod: &'a [u8] },
    /// Nothing that has a meaning.
    Nothing,
}

/// What of a service is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The service itself.
    Whole,
    /// `web-0.web…`.
    Endpoint(&'a [u8]),
    /// `_http._tcp.web…`, without the underscores.
    Port { port: &'a [u8], protocol: &'a [u8] },
    /// `a.pin._zone.web…`; the zone in wire form, as labels of zones may have dots.
    InZone { zone: &'a [u8], only: bool },
    /// `_zone.web…` and `pin._zone.web…`, which have names below.
    ZoneBranch,
}

impl<'a> Place<'a> {
    /// Takes labels apart that stand before the domain, in wire form.
    pub(super) fn of(before: &'a [u8], zonal: bool) -> Place<'a> {
        let mut labels: [&[u8]; MOST] = [&[]; MOST];
        let mut count = 0;
        for label in Labels::of(before) {
            if count >= MOST {
                // The last ones matter.
                labels.rotate_left(1);
            }
            labels[count.min(MOST - 1)] = label;
            count += 1;
        }
        let is_longer = count > MOST;
        // From the right, as the tree is.
        let labels = &mut labels[..count.min(MOST)];
        labels.reverse();
        match *labels {
            [] => Place::Apex,
            [one] if is(one, "dns-version") => Place::Version,
            [one] if is(one, "svc") || is(one, "pod") || is(one, "dns") => Place::Branch,
            [one, two] if is(one, "dns") && is(two, "ns") => Place::Server,
            [one, namespace] if is(one, "svc") => Place::ServicesOf(namespace),
            [one, namespace] if is(one, "pod") => Place::PodsOf(namespace),
            [one, namespace, pod] if is(one, "pod") => Place::Pod { namespace, pod },
            [one, namespace, service, anchor, rule, _]
                if is(one, "svc") && zonal && is(anchor, "_zone") && is_rule(rule) =>
            {
                let after = [one, namespace, service, anchor, rule];
                let after: usize = after.iter().map(|label| 1 + label.len()).sum();
                let part =
                    Part::InZone { zone: &before[..before.len() - after], only: is(rule, "pin") };
                Place::Service { namespace, service, part }
            }
            _ if is_longer => Place::Nothing,
            [one, namespace, service, ref rest @ ..] if is(one, "svc") => match part(rest, zonal) {
                Some(part) => Place::Service { namespace, service, part },
                None => Place::Nothing,
            },
            _ => Place::Nothing,
        }
    }
}

fn is(label: &[u8], word: &str) -> bool {
    label.eq_ignore_ascii_case(word.as_bytes())
}

/// Which endpoints are meant: those of a zone alone, or others if it has none.
fn is_rule(label: &[u8]) -> bool {
    is(label, "pin") || is(label, "prefer")
}

/// Labels left of a service, from the right; not those of a zone.
fn part<'a>(labels: &[&'a [u8]], zonal: bool) -> Option<Part<'a>> {
    Some(match *labels {
        [] => Part::Whole,
        [one] if zonal && is(one, "_zone") => Part::ZoneBranch,
        [endpoint] => Part::Endpoint(endpoint),
        [one, rule] if zonal && is(one, "_zone") && is_rule(rule) => Part::ZoneBranch,
        [protocol, port] => Part::Port { port: bare(port), protocol: bare(protocol) },
        _ => return None,
    })
}

/// Without the underscore that labels of ports and protocols have (RFC 2782); CoreDNS takes them
/// without one, too.
fn bare(label: &[u8]) -> &[u8] {
    label.strip_prefix(b"_").unwrap_or(label)
}
