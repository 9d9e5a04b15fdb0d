// SPDX-License-Identifier: GPL-3.0-or-later
//! How errors of the daemon become text, at the edges: statuses, events, answers, the log.

/// An error with all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
