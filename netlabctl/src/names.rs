// SPDX-License-Identifier: GPL-3.0-or-later
//! `dns`: how names are looked up, which there are, and who asks for them.

mod log;
mod query;
mod records;

use std::time::Duration;

use clap::Subcommand;
use netlab_api::dns::DnsRecord;

use crate::context::Context;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// Look up a name, and show every name that is tried on the way
    ///
    /// Names are tried as a resolver does: a name with fewer dots than `ndots` in each search domain
    /// first, any other as it is first. Without --from the search domains are those of a pod of the
    /// namespace. BY says who answered: zone (the cluster's own names), hosts, cache, or the address
    /// of an upstream.
    Query(query::QueryArgs),
    /// Show the questions that a node, or one pod, asked and how they were answered
    Log(log::LogArgs),
    /// List the records of the cluster's zone, each with the object that it comes from
    Records(records::RecordsArgs),
}

pub(crate) async fn dns(context: &Context, command: DnsCommand) -> Result<(), Failure> {
    match command {
        DnsCommand::Query(args) => query::query(context, args).await,
        DnsCommand::Log(args) => log::log(context, args).await,
        DnsCommand::Records(args) => records::records(context, args).await,
    }
}

/// What a record says; its type first when it is not the one that was asked for.
fn said(record: &DnsRecord, asked: &str) -> String {
    match record.kind == asked {
        true => record.data.clone(),
        false => format!("{} {}", record.kind, record.data),
    }
}

/// A short time with three digits at most: `12µs`, `1.3ms`, `2.05s`.
fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros}µs"),
        1_000..10_000 => format!("{:.1}ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{}ms", micros / 1_000),
        _ => format!("{:.2}s", Duration::from_micros(micros).as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_have_few_digits() {
        let times = [0, 12, 999, 1_340, 45_600, 2_050_000].map(took);
        assert_eq!(times, ["0µs", "12µs", "999µs", "1.3ms", "45ms", "2.05s"]);
    }
}
