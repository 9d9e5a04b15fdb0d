// SPDX-License-Identifier: GPL-3.0-or-later
//! How failures are logged, as CoreDNS's plugin `errors` does: a line each, or the number of those
//! that are alike from time to time (`[[dns.errors.consolidate]]`).
//!
//! [`Consolidation`] is a state machine with the time passed in; [`ErrorLog`] is the one that runs.

use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use regex::Regex;
use thiserror::Error;
use tokio::sync::Notify;

use super::config::Errors;
use super::mnemonic::{go_duration, type_name};
use super::name::Name;
use super::record::{Rcode, RecordType};

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// `error`
    Error,
    /// `warning`
    Warning,
    /// `info`
    Info,
    /// `debug`
    Debug,
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Level, ()> {
        match text {
            "error" => Ok(Level::Error),
            "warning" => Ok(Level::Warning),
            "info" => Ok(Level::Info),
            "debug" => Ok(Level::Debug),
            _ => Err(()),
        }
    }
}

/// A rule that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct ConsolidateError {
    /// Which of them, from 0.
    pub index: usize,
    /// The key in it: `pattern` or `level`.
    pub key: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

/// What is to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// What CoreDNS writes after `[ERROR] `.
    pub text: String,
}

impl Line {
    /// Writes it to the daemon's log.
    pub fn write(&self) {
        match self.level {
            Level::Error => tracing::error!(target: "dns::errors", "{}", self.text),
            Level::Warning => tracing::warn!(target: "dns::errors", "{}", self.text),
            Level::Info => tracing::info!(target: "dns::errors", "{}", self.text),
            Level::Debug => tracing::debug!(target: "dns::errors", "{}", self.text),
        }
    }
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Regex,
    period: Duration,
    level: Level,
    show_first: bool,
    count: u64,
    until: Option<Instant>,
}

/// Failures that are counted, and since when.
#[derive(Debug, Clone, Default)]
pub struct Consolidation {
    rules: Vec<Rule>,
}

impl Consolidation {
    /// Reads the rules.
    ///
    /// # Errors
    /// When a pattern is no regular expression, or a level none.
    pub fn new(config: &Errors) -> Result<Consolidation, ConsolidateError> {
        let rules = config.consolidate.iter().enumerate().map(|(index, rule)| {
            let error = |key, problem: String| ConsolidateError { index, key, problem };
            Ok(Rule {
                pattern: Regex::new(&rule.pattern).map_err(|e| error("pattern", e.to_string()))?,
                period: rule.duration,
                level: rule.level.parse().map_err(|()| {
                    error("level", "is not one of error, warning, info, debug".to_owned())
                })?,
                show_first: rule.show_first,
                count: 0,
                until: None,
            })
        });
        Ok(Consolidation { rules: rules.collect::<Result<_, _>>()? })
    }

    /// A failure at `now`: the line that is to be logged at once, if any.
    pub fn note(
        &mut self,
        now: Instant,
        rcode: Rcode,
        name: &Name,
        kind: RecordType,
        error: &str,
    ) -> Option<Line> {
        let line = |level| {
            let name = name.to_string().to_ascii_lowercase();
            let text = format!("plugin/errors: {} {name} {}: {error}", rcode.0, type_name(kind));
            Some(Line { level, text })
        };
        let Some(rule) = self.rules.iter_mut().find(|rule| rule.pattern.is_match(error)) else {
            return line(Level::Error);
        };
        rule.count += 1;
        if rule.count > 1 {
            return None;
        }
        rule.until = Some(now + rule.period);
        if rule.show_first { line(rule.level) } else { None }
    }

    /// When [`due`](Consolidation::due) has something next.
    pub fn next(&self) -> Option<Instant> {
        self.rules.iter().filter_map(|rule| rule.until).min()
    }

    /// Lines about the periods that have ended by `now`.
    pub fn due(&mut self, now: Instant) -> Vec<Line> {
        self.ended(|until| until <= now)
    }

    /// Lines about all periods, for the end.
    pub fn rest(&mut self) -> Vec<Line> {
        self.ended(|_| true)
    }

    fn ended(&mut self, has_ended: impl Fn(Instant) -> bool) -> Vec<Line> {
        let mut lines = Vec::new();
        for rule in &mut self.rules {
            if !rule.until.is_some_and(&has_ended) {
                continue;
            }
            rule.until = None;
            let count = std::mem::take(&mut rule.count);
            // The only one was told already.
            if rule.show_first && count == 1 {
                continue;
            }
            let text = format!(
                "plugin/errors: {count} errors like '{}' occurred in last {}",
                rule.pattern,
                go_duration(rule.period)
            );
            lines.push(Line { level: rule.level, text });
        }
        lines
    }
}

/// Logs failures.
#[derive(Debug, Default)]
pub struct ErrorLog {
    state: Mutex<Consolidation>,
    changed: Notify,
}

impl ErrorLog {
    /// One with the rules of the configuration.
    ///
    /// # Errors
    /// Those of [`Consolidation::new`].
    pub fn new(config: &Errors) -> Result<ErrorLog, ConsolidateError> {
        Ok(ErrorLog { state: Mutex::new(Consolidation::new(config)?), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, Consolidation> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A query failed.
    pub fn note(&self, rcode: Rcode, name: &Name, kind: RecordType, error: &str) {
        let (line, began) = {
            let mut state = self.state();
            let before = state.next();
            let line = state.note(Instant::now(), rcode, name, kind, error);
            (line, state.next() != before)
        };
        if let Some(line) = line {
            line.write();
        }
        if began {
            self.changed.notify_one();
        }
    }

    /// Logs what was counted, when it is time. Runs until dropped; sleeps while there is nothing.
    pub async fn run(&self) {
        loop {
            // Outside of the `match`, which would hold the lock.
            let next = self.state().next();
            match next {
                None => self.changed.notified().await,
                Some(next) => tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = self.changed.notified() => {}
                },
            }
            let lines = self.state().due(Instant::now());
            lines.iter().for_each(Line::write);
        }
    }

    /// Logs what was counted so far: at the end, and before rules change.
    pub fn flush(&self) {
        let lines = self.state().rest();
        lines.iter().for_each(Line::write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::config::Consolidate;

    fn rules(rules: &[(&str, &str, bool)]) -> Errors {
        let rule = |&(pattern, level, show_first): &(&str, &str, bool)| Consolidate {
            duration: Duration::from_secs(30),
            pattern: pattern.to_owned(),
            level: level.to_owned(),
            show_first,
        };
        Errors { consolidate: rules.iter().map(rule).collect() }
    }

    fn note(state: &mut Consolidation, now: Instant, error: &str) -> Option<Line> {
        let name = "Example.org.".parse().unwrap();
        state.note(now, Rcode::SERVFAIL, &name, RecordType::A, error)
    }

    #[test]
    fn a_failure_is_a_line() {
        let mut state = Consolidation::default();
        let line = note(&mut state, Instant::now(), "no healthy upstream").unwrap();
        assert_eq!(line.text, "plugin/errors: 2 example.org. A: no healthy upstream");
        assert_eq!(line.level, Level::Error);
        assert_eq!(state.next(), None);
    }

    #[test]
    fn those_that_are_alike_are_counted() {
        let mut state = Consolidation::new(&rules(&[
            ("^read .*timeout$", "warning", false),
            ("read", "info", true),
        ]))
        .unwrap();
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(note(&mut state, start, "read udp timeout"), None);
        }
        let first = note(&mut state, start, "read refused").unwrap();
        assert_eq!(first.text, "plugin/errors: 2 example.org. A: read refused");
        assert_eq!(first.level, Level::Info);
        assert!(note(&mut state, start, "other").is_some());

        let end = start + Duration::from_secs(30);
        assert_eq!(state.next(), Some(end));
        assert!(state.due(end - Duration::from_millis(1)).is_empty());
        let lines = state.due(end);
        assert_eq!(lines.len(), 1, "the only one that was shown is not counted again");
        assert_eq!(
            lines[0].text,
            "plugin/errors: 3 errors like '^read .*timeout$' occurred in last 30s"
        );
        assert_eq!(lines[0].level, Level::Warning);
        assert!(state.due(end).is_empty());

        assert!(note(&mut state, end, "read refused").is_some(), "a new period shows its first");
        assert_eq!(note(&mut state, end, "read refused"), None);
        assert_eq!(
            state.rest()[0].text,
            "plugin/errors: 2 errors like 'read' occurred in last 30s"
        );
    }

    #[test]
    fn a_rule_that_is_none_is_told() {
        let error = Consolidation::new(&rules(&[("a", "error", false), ("(", "error", false)]));
        assert_eq!((error.clone().unwrap_err().index, error.unwrap_err().key), (1, "pattern"));
        let error = Consolidation::new(&rules(&[("a", "loud", false)])).unwrap_err();
        assert_eq!(error.key, "level");
    }
}
