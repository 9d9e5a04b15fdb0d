// SPDX-License-Identifier: GPL-3.0-or-later
//! Waits: bounded, told of on a terminal when they take long, and left by Ctrl-C with a word on
//! what goes on without us.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Failure, INTERRUPTED};
use crate::{output, terminal};

/// Waits shorter than this are not told of.
const QUIET: Duration = Duration::from_millis(500);
/// How often the line moves.
const TICK: Duration = Duration::from_millis(200);

/// What a wait is waiting for at present, for the progress line and the message at its end.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Whom the text is about, where the message at the end names it already.
    subject: String,
    text: RefCell<String>,
}

impl Progress {
    /// Of one object, which [`Bound::late`] names too.
    pub(crate) fn of(subject: impl Into<String>) -> Progress {
        Progress { subject: subject.into(), ..Progress::default() }
    }

    /// Says what is waited for now.
    pub(crate) fn set(&self, text: impl Into<String>) {
        *self.text.borrow_mut() = text.into();
    }

    /// What is waited for now.
    pub(crate) fn get(&self) -> String {
        self.text.borrow().clone()
    }

    /// The text with whom it is about, for a line that stands alone.
    fn line(&self) -> String {
        match (self.subject.as_str(), self.text.borrow()) {
            ("", text) => text.clone(),
            (subject, text) if text.is_empty() => subject.to_owned(),
            (subject, text) => format!("{subject}: {text}"),
        }
    }
}

/// How a wait is bounded, and what its end is called.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    /// How long at most.
    pub(crate) timeout: Duration,
    /// What a timeout says, before what is missing.
    pub(crate) late: String,
    /// What Ctrl-C says: what goes on without us.
    pub(crate) left: String,
}

/// The time that a command has, from when it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    started: Instant,
    /// All of the time.
    pub(crate) timeout: Duration,
}

impl Deadline {
    /// It begins now.
    pub(crate) fn new(timeout: Duration) -> Deadline {
        Deadline { started: Instant::now(), timeout }
    }

    /// What is left of the time.
    pub(crate) fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }
}

/// Awaits the answer to a request that changes something. It comes at once from a daemon that is
/// well, so nothing is drawn, and Ctrl-C just ends the program.
pub(crate) async fn answer<T>(
    deadline: Deadline,
    request: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(deadline.left(), request).await.unwrap_or_else(|_| {
        Err(Failure::timed_out(format!(
            "timed out after {}: netlabd does not answer; the request was sent and may still be carried out",
            human(deadline.timeout)
        )))
    })
}

/// A time in words.
pub(crate) fn human(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{} ms", time.as_millis());
    }
    output::age::human(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// Awaits `work` within bounds.
pub(crate) async fn wait<T>(
    bound: &Bound,
    progress: &Progress,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let started = Instant::now();
    let deadline = tokio::time::sleep(bound.timeout);
    let mut ticks = tokio::time::interval_at(started + QUIET, TICK);
    let shown = is_drawn();
    let mut line = Line { drawn: false };
    // One for the whole wait: a Ctrl-C between two of them would be heard by none.
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(work, deadline, interrupt);
    loop {
        tokio::select! {
            // Work that is done counts, even when the time is up as well.
            biased;
            done = &mut work => {
                line.clear();
                return done;
            }
            () = &mut deadline => {
                line.clear();
                let missing = progress.get();
                let missing = if missing.is_empty() { String::new() } else { format!(": {missing}") };
                return Err(Failure::timed_out(format!("{}{missing}", bound.late)));
            }
            interrupt = &mut interrupt => {
                line.clear();
                interrupt.ok();
                return Err(Failure::new(INTERRUPTED, format!("interrupted: {}", bound.left)));
            }
            _ = ticks.tick(), if shown => line.draw(&progress.line(), started.elapsed()),
        }
    }
}

/// Moves to the beginning of the line and clears it.
const CLEAR: &[u8] = b"\r\x1b[K";

fn is_drawn() -> bool {
    std::io::stderr().is_terminal() && !terminal::is_dumb()
}

/// Makes room for a line of text where the progress may be drawn.
pub(crate) fn clear_line() {
    if is_drawn() {
        output::raw_error(CLEAR);
    }
}

/// One line of stderr, drawn over and over.
struct Line {
    drawn: bool,
}

impl Line {
    fn draw(&mut self, text: &str, since: Duration) {
        self.drawn = true;
        let width = terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        let line = format!("{:.0}s  {text}", since.as_secs_f64().floor());
        let line: String = line.chars().take(width.saturating_sub(1)).collect();
        output::raw_error(format!("\r\x1b[K{line}").as_bytes());
    }

    fn clear(&mut self) {
        if self.drawn {
            output::raw_error(CLEAR);
        }
        self.drawn = false;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::TIMED_OUT;

    #[tokio::test]
    async fn a_daemon_that_does_not_answer_ends_the_command_in_its_time() {
        let deadline = Deadline::new(Duration::from_millis(1));
        let never = std::future::pending::<Result<(), Failure>>();
        let failure = answer(deadline, never).await.expect_err("late");
        assert_eq!(
            failure.message,
            "error: timed out after 1 ms: netlabd does not answer; the request was sent and may still be carried out"
        );
        assert_eq!(failure.code, TIMED_OUT);
        assert_eq!(deadline.left(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_wait_that_is_late_tells_what_is_missing() {
        let progress = Progress::of("pod/web");
        progress.set("Ready is False");
        let bound = Bound {
            timeout: Duration::from_millis(1),
            late: "timed out waiting for pod/web".to_owned(),
            left: String::new(),
        };
        let never = std::future::pending::<Result<(), Failure>>();
        let failure = wait(&bound, &progress, never).await.expect_err("late");
        assert_eq!(failure.message, "error: timed out waiting for pod/web: Ready is False");
        assert_eq!(progress.line(), "pod/web: Ready is False");
        assert_eq!(failure.code, TIMED_OUT);
    }
}
