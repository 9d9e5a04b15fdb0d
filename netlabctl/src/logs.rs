// SPDX-License-Identifier: GPL-3.0-or-later
//! `logs`: what a pod's command printed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::future::try_join_all;
use netlab_api::Pod;
use netlab_api::client::{LogOptions, ObjectRef, Selectors};

use crate::context::Context;
use crate::failure::Failure;
use crate::{duration, output, target};

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The pod
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// Go on as lines come
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines [default: all; 10 with -l]
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only lines younger than this: 5m
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    since: Option<Duration>,
    /// The time before each line
    #[arg(long)]
    timestamps: bool,
    /// The lines of the run before the last restart
    #[arg(short, long)]
    previous: bool,
    /// Those with these labels
    #[arg(short = 'l', long, conflicts_with = "pod")]
    selector: Option<String>,
    /// The pod's name before each line
    #[arg(long)]
    prefix: bool,
    /// Accepted for kubectl's sake; a pod has one container
    #[arg(short = 'c', long = "container", hide = true)]
    _container: Option<String>,
    /// Accepted for kubectl's sake
    #[arg(long = "all-containers", hide = true)]
    _all_containers: bool,
}

/// Lines of each pod when several are asked for; kubectl's.
const TAIL_OF_EACH: u64 = 10;

pub(crate) async fn logs(context: &Context, args: LogsArgs) -> Result<(), Failure> {
    let tail = match args.tail {
        Some(lines) => u64::try_from(lines).ok(),
        None => args.selector.as_ref().map(|_| TAIL_OF_EACH),
    };
    let options = LogOptions {
        follow: args.follow,
        tail_lines: tail,
        since_seconds: args.since.map(|since| since.as_secs()),
        timestamps: args.timestamps,
        previous: args.previous,
    };
    let pods = match (&args.pod, args.selector) {
        (Some(word), _) => vec![context.pod(&target::pod_name(word)?)],
        (None, Some(labels)) => {
            let selectors = Selectors::labels(labels);
            let list = context.client.list_as::<Pod>(Some(&context.namespace), &selectors).await?;
            if list.items.is_empty() {
                context.tell_nothing_found().await;
            }
            list.items.iter().map(|pod| context.pod(&pod.metadata.name)).collect()
        }
        (None, None) => {
            return Err(Failure::usage("you must name a pod, or select with -l")
                .with_hint("`netlabctl logs web`, `netlabctl logs -l app=web`"));
        }
    };
    if args.follow {
        let streams = pods.iter().map(|pod| stream(context, pod, &options, args.prefix));
        try_join_all(streams).await?;
    } else {
        for pod in &pods {
            stream(context, pod, &options, args.prefix).await?;
        }
    }
    Ok(())
}

async fn stream(
    context: &Context,
    pod: &ObjectRef,
    options: &LogOptions,
    prefix: bool,
) -> Result<(), Failure> {
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let mut log = match context.client.logs(namespace, &pod.name, options).await {
        Ok(log) => log,
        Err(error) => return Err(context.explain(error, pod).await),
    };
    let prefix = if prefix { format!("[pod/{}] ", pod.name) } else { String::new() };
    let mut rest = BytesMut::new();
    while let Some(piece) = log.next().await? {
        // Whole lines only: those of several pods do not mix.
        let lines = whole_lines(&mut rest, &piece, prefix.as_bytes());
        if !lines.is_empty() {
            output::bytes(&lines);
        }
    }
    if !rest.is_empty() {
        output::bytes(&[prefix.as_bytes(), &rest, b"\n"].concat());
    }
    Ok(())
}

/// The lines that `piece` completes, each after `prefix`; what is no whole line stays in `rest`.
fn whole_lines(rest: &mut BytesMut, piece: &Bytes, prefix: &[u8]) -> Vec<u8> {
    rest.extend_from_slice(piece);
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
        return Vec::new();
    };
    let lines = rest.split_to(end + 1);
    if prefix.is_empty() {
        return lines.to_vec();
    }
    lines.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [prefix, line].concat()).collect()
}

/// The last lines of a pod's log, for an error message; nothing when there is no log.
pub(crate) async fn last_lines(context: &Context, pod: &ObjectRef, lines: u64) -> Vec<String> {
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let options = LogOptions { tail_lines: Some(lines), ..LogOptions::default() };
    let Ok(mut log) = context.client.logs(namespace, &pod.name, &options).await else {
        return Vec::new();
    };
    let mut text = Vec::new();
    while let Ok(Some(piece)) = log.next().await {
        text.extend_from_slice(&piece);
    }
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_printed_whole() {
        let mut rest = BytesMut::new();
        assert_eq!(whole_lines(&mut rest, &Bytes::from_static(b"a\nb"), b""), b"a\n");
        assert_eq!(whole_lines(&mut rest, &Bytes::from_static(b"c"), b""), b"");
        assert_eq!(whole_lines(&mut rest, &Bytes::from_static(b"\nd\n"), b"> "), b"> bc\n> d\n");
        assert!(rest.is_empty());
    }
}
