// SPDX-License-Identifier: GPL-3.0-or-later
//! Sums what threads counted when somebody looks.

use std::fmt::Error;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::{
    Count, Counters, FAMILIES, FIRST_MICROS, PLUGINS, PROTOCOLS, RCODES, SERVER, SIZES, TIMES,
    TYPES, Threads, ZONE, lock,
};
use crate::dns::record::Rcode;

type Label<'a> = (&'a str, &'a str);

const BASE: [Label<'static>; 3] = [("server", SERVER), ("zone", ZONE), ("view", "")];

/// Reads the counters of all threads.
#[derive(Debug)]
pub(super) struct Sum(pub(super) Arc<Mutex<Threads>>);

impl Collector for Sum {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let sum = lock(&self.0).sum();
        requests(&sum, &mut encoder)?;
        responses(&sum, &mut encoder)?;
        let mut metric = encoder.encode_descriptor(
            "dns_do_requests",
            "Queries that ask for signatures",
            None,
            MetricType::Counter,
        )?;
        counter(&mut metric, &BASE, sum.dnssec.load(Relaxed))?;

        let mut metric = encoder.encode_descriptor(
            "dns_request_duration_seconds",
            "Time that queries took",
            None,
            MetricType::Histogram,
        )?;
        let bounds = (0..TIMES).map(|at| (FIRST_MICROS << at) as f64 / 1e6);
        let seconds = sum.time_sum.load(Relaxed) as f64 / 1e9;
        histogram(&mut metric, &BASE, seconds, bounds, &sum.times)?;
        for (name, help, sizes) in [
            ("dns_request_size_bytes", "Sizes of queries", &sum.request_sizes),
            ("dns_response_size_bytes", "Sizes of responses", &sum.response_sizes),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (protocol, (counts, total)) in PROTOCOLS.iter().zip(sizes) {
                if counts.iter().all(|count| count.load(Relaxed) == 0) {
                    continue;
                }
                let labels = [BASE[0], BASE[1], BASE[2], ("proto", protocol)];
                let bounds = SIZES.iter().map(|&bound| bound as f64);
                histogram(&mut metric, &labels, total.load(Relaxed) as f64, bounds, counts)?;
            }
        }
        Ok(())
    }
}

fn requests(sum: &Counters, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let mut metric =
        encoder.encode_descriptor("dns_requests", "Queries", None, MetricType::Counter)?;
    for (protocol, families) in PROTOCOLS.iter().zip(&sum.requests) {
        for (family, kinds) in FAMILIES.iter().zip(families) {
            let names = TYPES.iter().map(|(_, name)| *name).chain(["other"]);
            for (kind, count) in names.zip(kinds) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let own = [("proto", *protocol), ("family", *family), ("type", kind)];
                    let labels = [BASE[0], BASE[1], BASE[2], own[0], own[1], own[2]];
                    counter(&mut metric, &labels, count)?;
                }
            }
        }
    }
    Ok(())
}

fn responses(sum: &Counters, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let mut metric =
        encoder.encode_descriptor("dns_responses", "Responses", None, MetricType::Counter)?;
    for (plugin, rcodes) in PLUGINS.iter().zip(&sum.responses) {
        for (rcode, count) in (0u16..).zip(rcodes) {
            let count = count.load(Relaxed);
            if count > 0 {
                let name = match usize::from(rcode) {
                    RCODES => "other".to_owned(),
                    _ => Rcode(rcode).to_string(),
                };
                let labels = [BASE[0], BASE[1], BASE[2], ("rcode", &name), ("plugin", plugin)];
                counter(&mut metric, &labels, count)?;
            }
        }
    }
    Ok(())
}

fn counter(metric: &mut MetricEncoder<'_>, labels: &[Label<'_>], value: u64) -> Result<(), Error> {
    ConstCounter::new(value).encode(metric.encode_family(&labels)?)
}

fn histogram(
    metric: &mut MetricEncoder<'_>,
    labels: &[Label<'_>],
    sum: f64,
    bounds: impl Iterator<Item = f64>,
    counts: &[Count],
) -> Result<(), Error> {
    let counts: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
    let total = counts.iter().sum();
    // The last one is without bound.
    let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
    metric
        .encode_family(&labels)?
        .encode_histogram::<[Label<'static>; 0]>(sum, total, &buckets, None)?;
    Ok(())
}
