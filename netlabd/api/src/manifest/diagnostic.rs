// SPDX-License-Identifier: GPL-3.0-or-later
//! What is wrong with a file, and where, as a person wants to see it.

use std::fmt;
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use super::Source;

/// Errors that are shown of one file; who has more mends these first.
const MOST_ERRORS: usize = 20;

/// Columns of a source line that are shown around the place, so that a file of one long line
/// stays readable.
const WINDOW: usize = 100;

/// Columns of a tab, as shown.
const TAB: &str = "    ";

/// One fault of a file, or a warning.
///
/// ```text
/// error: unknown field `readynessProbe` in pod `web`
///   --> web.toml:7:1
///    |
///  7 | readynessProbe = { httpGet = { port = 8080 } }
///    | ^^^^^^^^^^^^^^ did you mean `readinessProbe`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the file can be carried out nevertheless.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub place: Place,
    /// What to do about it; stands beside the place.
    pub label: Option<String>,
    /// Path of the field, as `spec.readinessProbe.httpGet.port`, when it is about one.
    pub field: Option<String>,
}

/// Weight of a [`Diagnostic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be carried out.
    Error,
    /// It can.
    Warning,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters from the column on that are meant, at least 1.
    pub length: usize,
    /// The whole line.
    pub text: String,
}

/// All that is wrong with a file, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    /// At least one error; warnings too.
    pub items: Vec<Diagnostic>,
    /// Further errors, beyond those that are shown.
    pub omitted: usize,
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{item}")?;
        }
        match self.omitted {
            0 => Ok(()),
            1 => f.write_str("\n\nand 1 more error"),
            more => write!(f, "\n\nand {more} more errors"),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column, length, text } = &self.place;
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let Excerpt { text, before, under } = excerpt(text, *column - 1, *length);
        writeln!(f, "{severity}: {}", self.message)?;
        writeln!(f, "{margin} --> {file}:{line}:{column}")?;
        writeln!(f, " {margin} |")?;
        writeln!(f, " {number} | {text}")?;
        write!(f, " {margin} | {}{}", " ".repeat(before), "^".repeat(under))?;
        match &self.label {
            Some(label) => write!(f, " {label}"),
            None => Ok(()),
        }
    }
}

/// A line as shown, with the columns before and under the carets.
struct Excerpt {
    text: String,
    before: usize,
    under: usize,
}

/// `start` and `length` count characters of `line`.
fn excerpt(line: &str, start: usize, length: usize) -> Excerpt {
    let shown: Vec<(String, usize)> = line.chars().map(shown).collect();
    let width = |cells: &[(String, usize)]| cells.iter().map(|(_, width)| width).sum::<usize>();
    let start = start.min(shown.len());
    let end = (start + length).min(shown.len());
    let mut first = 0;
    let mut last = shown.len();
    if width(&shown) > WINDOW {
        let mut columns = 0;
        first = start;
        while first > 0 && columns < WINDOW / 4 {
            first -= 1;
            columns += shown[first].1;
        }
        last = start;
        columns = 0;
        while last < shown.len() && columns < WINDOW {
            columns += shown[last].1;
            last += 1;
        }
    }
    let (head, tail) =
        (if first > 0 { "…" } else { "" }, if last < shown.len() { "…" } else { "" });
    let middle: String = shown[first..last].iter().map(|(text, _)| text.as_str()).collect();
    Excerpt {
        text: format!("{head}{middle}{tail}").trim_end().to_owned(),
        before: head.chars().count() + width(&shown[first..start]),
        under: width(&shown[start..end.min(last).max(start)]).max(1),
    }
}

/// How a character is shown, and how many columns that takes. Control characters never reach a
/// terminal.
fn shown(character: char) -> (String, usize) {
    match character {
        '\t' => (TAB.to_owned(), TAB.len()),
        c => match c.width() {
            Some(width) => (c.to_string(), width),
            None => (char::REPLACEMENT_CHARACTER.to_string(), 1),
        },
    }
}

/// Collects what is wrong with one file.
#[derive(Debug)]
pub(super) struct Report<'a> {
    source: &'a Source,
    /// Byte at which each line starts.
    lines: Vec<usize>,
    items: Vec<(usize, Diagnostic)>,
    errors: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source) -> Report<'a> {
        let breaks = source.text.match_indices('\n').map(|(at, _)| at + 1);
        Report {
            source,
            lines: std::iter::once(0).chain(breaks).collect(),
            items: Vec::new(),
            errors: 0,
        }
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: String) -> &mut Diagnostic {
        self.push(Severity::Error, span, message)
    }

    pub(super) fn warning(&mut self, span: Range<usize>, message: String) -> &mut Diagnostic {
        self.push(Severity::Warning, span, message)
    }

    fn push(&mut self, severity: Severity, span: Range<usize>, message: String) -> &mut Diagnostic {
        self.errors += usize::from(severity == Severity::Error);
        let place = self.place(&span);
        let diagnostic = Diagnostic { severity, message, place, label: None, field: None };
        self.items.push((span.start, diagnostic));
        &mut self.items.last_mut().expect("one was just pushed").1
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub(super) fn error_count(&self) -> usize {
        self.errors
    }

    /// Line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).max(1)
    }

    /// The text of a place.
    pub(super) fn text(&self, span: &Range<usize>) -> &'a str {
        self.source.text.get(span.clone()).unwrap_or_default().trim()
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let text = &self.source.text;
        let at = |byte: usize| text.floor_char_boundary(byte);
        let line = self.line(at(span.start));
        let start = self.lines[line - 1];
        let end = self.lines.get(line).copied().unwrap_or(text.len());
        let whole = text[start..end].trim_end_matches(['\n', '\r']);
        let from = at(span.start).clamp(start, start + whole.len());
        let to = at(span.end).clamp(from, start + whole.len());
        Place {
            file: self.source.name.clone(),
            line,
            column: text[start..from].chars().count() + 1,
            length: text[from..to].trim_end().chars().count().max(1),
            text: whole.to_owned(),
        }
    }

    pub(super) fn into_warnings(self) -> Vec<Diagnostic> {
        self.into_diagnostics().items
    }

    pub(super) fn into_diagnostics(mut self) -> Diagnostics {
        self.items.sort_by_key(|(at, _)| *at);
        let count = self.error_count();
        let mut errors = 0;
        let items = self.items.into_iter().map(|(_, item)| item).filter(|item| {
            errors += usize::from(item.severity == Severity::Error);
            item.severity == Severity::Warning || errors <= MOST_ERRORS
        });
        Diagnostics { items: items.collect(), omitted: count.saturating_sub(MOST_ERRORS) }
    }
}

impl Diagnostic {
    pub(super) fn label(&mut self, label: impl Into<String>) -> &mut Diagnostic {
        self.label = Some(label.into());
        self
    }

    pub(super) fn field(&mut self, field: impl Into<String>) -> &mut Diagnostic {
        self.field = Some(field.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, span: Range<usize>, expected: &str) {
        let source = Source { name: "a.toml".to_owned(), text: text.to_owned() };
        let mut report = Report::new(&source);
        report.error(span, "bad".to_owned()).label("here");
        let shown = report.into_diagnostics().to_string();
        assert_eq!(shown.strip_prefix("error: bad\n").expect("headed"), expected);
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        check("a\nbc = 1\n", 2..4, "  --> a.toml:2:1\n   |\n 2 | bc = 1\n   | ^^ here");
        check("ab", 2..2, "  --> a.toml:1:3\n   |\n 1 | ab\n   |   ^ here");
        check("", 0..0, "  --> a.toml:1:1\n   |\n 1 | \n   | ^ here");
        check("a\r\nb\r\n", 3..99, "  --> a.toml:2:1\n   |\n 2 | b\n   | ^ here");
    }

    #[test]
    fn the_caret_counts_columns_not_bytes() {
        check(
            "\tä日 = x",
            9..10,
            "  --> a.toml:1:7\n   |\n 1 |     ä日 = x\n   |           ^ here",
        );
        check("\x1b[1m", 1..4, "  --> a.toml:1:2\n   |\n 1 | \u{fffd}[1m\n   |  ^^^ here");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let expected = format!(
            "  --> a.toml:1:501\n   |\n 1 | …{}X{}…\n   | {}^ here",
            "a".repeat(25),
            "b".repeat(99),
            " ".repeat(26)
        );
        check(&text, 500..501, &expected);
    }

    #[test]
    fn errors_beyond_the_first_twenty_are_counted() {
        let source = Source { name: "a".to_owned(), text: "abc".to_owned() };
        let mut report = Report::new(&source);
        for _ in 0..22 {
            report.error(0..1, "bad".to_owned());
        }
        let found = report.into_diagnostics();
        assert_eq!((found.items.len(), found.omitted), (20, 2));
        assert!(found.to_string().ends_with("and 2 more errors"));
    }
}
