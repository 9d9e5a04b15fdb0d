// SPDX-License-Identifier: GPL-3.0-or-later
//! `logs`: what a pod's command printed.

use std::cell::Cell;
use std::cmp::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use netlab_api::client::{ClientError, LogOptions, LogStream, ObjectRef, Selectors};
use netlab_api::{Pod, Reason, Time};

use crate::context::Context;
use crate::failure::Failure;
use crate::wait::follow::{RECONNECT, may_retry};
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

/// Said once while the daemon is away.
const AWAY: &str = "netlabd closed the log: it goes on as soon as netlabd is back";
/// Length of a time in a log: `2026-11-22T10:00:00.123456789Z`.
const TIME_LENGTH: usize = 30;
/// Seconds by which the clocks of this machine and of a pod's node may differ.
const CLOCKS: u64 = 60;

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
        let told = Cell::new(false);
        let follows = pods.iter().map(|pod| follow(context, pod, &options, args.prefix, &told));
        try_join_all(follows).await?;
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
    let prefix = prefix_of(pod, prefix);
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

fn prefix_of(pod: &ObjectRef, prefix: bool) -> String {
    if prefix { format!("[pod/{}] ", pod.name) } else { String::new() }
}

/// Prints a log as it grows, until the command ends. A daemon that restarts meanwhile is waited
/// for, and the log goes on where it was. `told`: whether it was said that the daemon is away.
async fn follow(
    context: &Context,
    pod: &ObjectRef,
    options: &LogOptions,
    prefix: bool,
    told: &Cell<bool>,
) -> Result<(), Failure> {
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let prefix = prefix_of(pod, prefix);
    let mut place = Place { began: Time::now(), last: None, passed: 0 };
    let mut reached = false;
    loop {
        let wanted = place.options(options, reached, Time::now());
        match context.client.logs(namespace, &pod.name, &wanted).await {
            Ok(log) => {
                reached = true;
                told.set(false);
                match read(log, &mut place, options.timestamps, &prefix).await {
                    Ok(()) => return Ok(()),
                    Err(error) if may_retry(&error, true) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // The pod went while nobody listened.
            Err(error) if reached && error.is_not_found() => return Ok(()),
            // The daemon is away, or that of the pod's node.
            Err(error)
                if reached && (may_retry(&error, true) || error.is(Reason::ServiceUnavailable)) => {
            }
            Err(error) => return Err(context.explain(error, pod).await),
        }
        if !told.replace(true) {
            output::note(AWAY);
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Prints a followed log from its `place` on until its end.
async fn read(
    mut log: LogStream,
    place: &mut Place,
    timestamps: bool,
    prefix: &str,
) -> Result<(), ClientError> {
    let mut again = place.passed;
    // Half a line that is cut off comes again.
    let mut rest = BytesMut::new();
    while let Some(piece) = log.next().await? {
        let lines = whole_lines(&mut rest, &piece, b"");
        output::bytes(&place.advance(&lines, &mut again, timestamps, prefix));
    }
    if !rest.is_empty() {
        rest.extend_from_slice(b"\n");
        output::bytes(&place.advance(&rest, &mut again, timestamps, prefix));
    }
    Ok(())
}

/// How far a log was read. The log's own times tell: they never go back as long as the node's
/// clock does not.
#[derive(Debug)]
struct Place {
    /// When the reading began.
    began: Time,
    /// The time of the last line, as the log writes it: of equal length, so that text compares as
    /// time does.
    last: Option<String>,
    /// How many lines of just that time were read.
    passed: usize,
}

impl Place {
    /// What to ask for: at first as it is `wanted`, and `again` what came since.
    fn options(&self, wanted: &LogOptions, again: bool, now: Time) -> LogOptions {
        // The times are needed to find the place again.
        let wanted = LogOptions { timestamps: true, ..wanted.clone() };
        if !again {
            return wanted;
        }
        let age = |time: Time| now.seconds_since(time).max(0.0).ceil() as u64;
        let last = self.last.as_ref().and_then(|last| last.parse::<Timestamp>().ok());
        let since = match last {
            // What was read is passed over by its time, not by the clock of this machine.
            Some(last) => Some(age(Time::from(last)) + CLOCKS),
            None if wanted.tail_lines.is_some() => Some(age(self.began)),
            None => wanted.since_seconds,
        };
        LogOptions { tail_lines: None, since_seconds: since, ..wanted }
    }

    /// The lines of `text` that were not read yet, each after `prefix`, with or without its time.
    /// `again` counts down those of the last time that come again.
    fn advance(
        &mut self,
        text: &[u8],
        again: &mut usize,
        timestamps: bool,
        prefix: &str,
    ) -> Vec<u8> {
        let mut lines = Vec::with_capacity(text.len());
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let (time, rest) = time_of(line);
            if let Some(time) = time {
                match self.last.as_deref().map(|last| time.cmp(last)) {
                    Some(Ordering::Less) if *again > 0 => continue,
                    Some(Ordering::Equal) if *again > 0 => {
                        *again -= 1;
                        continue;
                    }
                    Some(Ordering::Equal) => self.passed += 1,
                    _ => {
                        *again = 0;
                        self.last = Some(time.to_owned());
                        self.passed = 1;
                    }
                }
            }
            lines.extend_from_slice(prefix.as_bytes());
            lines.extend_from_slice(if timestamps { line } else { rest });
        }
        lines
    }
}

/// A line's time, if it begins with one, and what follows.
fn time_of(line: &[u8]) -> (Option<&str>, &[u8]) {
    let Some((time, rest)) = line.split_at_checked(TIME_LENGTH) else { return (None, line) };
    let is_time = time.ends_with(b"Z") && time[10] == b'T' && time[19] == b'.';
    match (str::from_utf8(time), rest.strip_prefix(b" ")) {
        (Ok(time), Some(rest)) if is_time => (Some(time), rest),
        _ => (None, line),
    }
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

    fn at(second: u32, text: &str) -> String {
        format!("2026-11-22T10:00:{second:02}.000000001Z {text}\n")
    }

    fn place() -> Place {
        Place { began: Time::now(), last: None, passed: 0 }
    }

    #[test]
    fn a_log_goes_on_where_it_was_cut() {
        let mut place = place();
        let first = [at(1, "a"), at(2, "b"), at(2, "c")].concat();
        assert_eq!(place.advance(first.as_bytes(), &mut 0, false, ""), b"a\nb\nc\n");
        let mut again = place.passed;
        let second = [at(1, "a"), at(2, "b"), at(2, "c"), at(2, "d"), at(3, "e")].concat();
        let (one, two) = second.as_bytes().split_at(first.len());
        assert_eq!(place.advance(one, &mut again, false, "> "), b"");
        assert_eq!(place.advance(two, &mut again, false, "> "), b"> d\n> e\n");
        // A clock that was set back loses nothing once the place is found.
        assert_eq!(
            place.advance(at(1, "f").as_bytes(), &mut again, true, ""),
            at(1, "f").as_bytes()
        );
    }

    #[test]
    fn a_log_whose_last_lines_are_rotated_away_goes_on_with_what_is_left() {
        let mut place = place();
        place.advance(at(2, "b").as_bytes(), &mut 0, false, "");
        let later = [at(3, "e"), at(3, "f")].concat();
        assert_eq!(place.advance(later.as_bytes(), &mut 1, false, ""), b"e\nf\n");
    }

    #[test]
    fn what_is_asked_for_again_begins_before_the_last_line() {
        let now = Time::from("2026-11-22T10:00:09Z".parse::<Timestamp>().unwrap());
        let began = Time::from("2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap());
        let mut place = Place { began, last: None, passed: 0 };
        let wanted = LogOptions { follow: true, tail_lines: Some(0), ..LogOptions::default() };
        let first = place.options(&wanted, false, now);
        assert_eq!((first.tail_lines, first.since_seconds), (Some(0), None));
        let again = place.options(&wanted, true, now);
        assert_eq!((again.tail_lines, again.since_seconds), (None, Some(9)));
        place.advance(at(4, "x").as_bytes(), &mut 0, false, "");
        assert_eq!(place.options(&wanted, true, now).since_seconds, Some(5 + CLOCKS));
    }
}
