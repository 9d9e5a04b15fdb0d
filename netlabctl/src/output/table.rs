// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables with kubectl's spacing: three blanks between columns, none after the last.

use std::fmt::Write as _;

/// Blanks between columns.
const GAP: usize = 3;
/// Width below which no column falls, gap included.
const MIN_WIDTH: usize = 6;

/// Rows under headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) headers: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// What to print besides the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) headers: bool,
    pub(crate) colour: bool,
}

impl Table {
    pub(crate) fn new(headers: &[&str]) -> Table {
        Table { headers: headers.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    /// The table as text. `widths` are grown as needed and kept, so that rows that come later (a
    /// watch) stand under those that came before.
    pub(crate) fn render(&self, look: Look, widths: &mut Vec<usize>) -> String {
        widths.resize(self.headers.len().max(widths.len()), 0);
        let headers = look.headers.then_some(&self.headers);
        for row in headers.into_iter().chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max((columns_of(cell) + GAP).max(MIN_WIDTH));
            }
        }
        let mut text = String::new();
        for (line, row) in headers.into_iter().chain(&self.rows).enumerate() {
            for (index, cell) in row.iter().enumerate() {
                let blanks = match index + 1 == row.len() {
                    true => 0,
                    false => widths[index] - columns_of(cell),
                };
                let is_header = look.headers && line == 0;
                let colour = match look.colour && !is_header && self.headers[index] == "STATUS" {
                    true => colour_of(cell),
                    false => "",
                };
                let reset = if colour.is_empty() { "" } else { "\x1b[0m" };
                write!(text, "{colour}{cell}{reset}{:blanks$}", "")
                    .expect("writing to a string never fails");
            }
            text.push('\n');
        }
        text
    }
}

/// Columns that a cell takes on a terminal; control characters take none and are not printed by
/// anything that fills a table.
fn columns_of(cell: &str) -> usize {
    cell.chars().count()
}

/// Green for what is as it should be, yellow for what is on its way, red for the rest.
fn colour_of(status: &str) -> &'static str {
    match status {
        "Running" | "Ready" | "Active" | "Completed" | "Succeeded" | "ok" => "\x1b[32m",
        "Pending" | "ContainerCreating" | "Terminating" | "warning" => "\x1b[33m",
        status if status.starts_with("Ready,") => "\x1b[33m",
        _ => "\x1b[31m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATUS", "AGE"]);
        table.rows.push(vec!["web".into(), "Running".into(), "5s".into()]);
        table.rows.push(vec!["database-0".into(), "Error".into(), "3m20s".into()]);
        table
    }

    #[test]
    fn columns_stand_as_in_kubectl() {
        let look = Look { headers: true, colour: false };
        assert_eq!(
            table().render(look, &mut Vec::new()),
            "NAME         STATUS    AGE\n\
             web          Running   5s\n\
             database-0   Error     3m20s\n"
        );
    }

    #[test]
    fn later_rows_stand_under_the_earlier_ones() {
        let mut widths = Vec::new();
        table().render(Look { headers: true, colour: false }, &mut widths);
        let mut later = Table::new(&["NAME", "STATUS", "AGE"]);
        later.rows.push(vec!["web".into(), "Error".into(), "6s".into()]);
        assert_eq!(later.render(Look::default(), &mut widths), "web          Error     6s\n");
    }

    #[test]
    fn colours_change_no_column() {
        let plain = table().render(Look { headers: true, colour: false }, &mut Vec::new());
        let coloured = table().render(Look { headers: true, colour: true }, &mut Vec::new());
        assert!(coloured.contains("\x1b[32mRunning\x1b[0m"), "{coloured:?}");
        let stripped =
            ["\x1b[32m", "\x1b[31m", "\x1b[0m"].iter().fold(coloured, |t, c| t.replace(c, ""));
        assert_eq!(stripped, plain);
    }
}
