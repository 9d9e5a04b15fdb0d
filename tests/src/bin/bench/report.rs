// SPDX-License-Identifier: GPL-3.0-or-later
//! What was measured: a Markdown table for people, JSON with every sample for everything else.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

use crate::command;

/// From this many samples on the 99th percentile says more than the extremes.
const MANY_SAMPLES: usize = 50;

/// All measures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rows: Vec<Row>,
}

/// Where it was measured. The absolute figures mean little without it.
#[derive(Debug, Serialize)]
struct Machine {
    /// Seconds since 1970.
    time: u64,
    date: String,
    netlab: String,
    kernel: String,
    processors: usize,
    model: String,
    /// Runnable processes of the last minute: others were at work when it is not near 0.
    load_before: f64,
    load_after: f64,
    optimised: bool,
}

/// One way to do one thing.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    measure: String,
    how: String,
    unit: Unit,
    samples: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
}

/// What a sample counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "MB")]
    Megabytes,
    #[serde(rename = "B")]
    Bytes,
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "x")]
    Factor,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "1/s")]
    PerSecond,
}

impl Row {
    /// Times of one way to do `measure`; the first row of a measure is what others compare to.
    pub(crate) fn times(measure: &str, how: &str, unit: Unit, times: &[Duration]) -> Row {
        let factor = if unit == Unit::Milliseconds { 1e3 } else { 1.0 };
        let samples = times.iter().map(|time| time.as_secs_f64() * factor).collect();
        Row { measure: measure.to_owned(), how: how.to_owned(), unit, samples, target: None }
    }

    /// Samples in their unit.
    pub(crate) fn of(measure: &str, how: &str, unit: Unit, samples: &[f64]) -> Row {
        let (measure, how, samples) = (measure.to_owned(), how.to_owned(), samples.to_vec());
        Row { measure, how, unit, samples, target: None }
    }

    /// Sizes in bytes.
    pub(crate) fn sizes(measure: &str, how: &str, sizes: &[u64]) -> Row {
        let samples = sizes.iter().map(|size| *size as f64 / 1e6).collect();
        let (measure, how) = (measure.to_owned(), how.to_owned());
        Row { measure, how, unit: Unit::Megabytes, samples, target: None }
    }

    /// Bytes of something small; an average may have a fraction, and noise be below zero.
    pub(crate) fn bytes(measure: &str, how: &str, bytes: f64) -> Row {
        let (measure, how) = (measure.to_owned(), how.to_owned());
        Row { measure, how, unit: Unit::Bytes, samples: vec![bytes.max(0.0)], target: None }
    }

    /// A share in percent.
    pub(crate) fn percent(measure: &str, how: &str, percent: f64) -> Row {
        let (measure, how) = (measure.to_owned(), how.to_owned());
        Row { measure, how, unit: Unit::Percent, samples: vec![percent], target: None }
    }

    /// Medians of rounds in milliseconds.
    pub(crate) fn milliseconds(measure: &str, how: &str, samples: &[f64]) -> Row {
        Row::of(measure, how, Unit::Milliseconds, samples)
    }

    /// How many times as much as something else.
    pub(crate) fn factors(measure: &str, how: &str, samples: &[f64]) -> Row {
        Row::of(measure, how, Unit::Factor, samples)
    }

    /// With an upper bound for the median.
    pub(crate) fn target(mut self, target: f64) -> Row {
        self.target = Some(target);
        self
    }

    /// The middle one of its samples.
    pub(crate) fn median(&self) -> f64 {
        quantile(&self.samples, 0.5)
    }

    fn spread(&self) -> String {
        if self.samples.len() < 2 {
            return String::new();
        }
        if self.samples.len() >= MANY_SAMPLES {
            return format!("p99 {}", figure(quantile(&self.samples, 0.99)));
        }
        let (least, most) = (quantile(&self.samples, 0.0), quantile(&self.samples, 1.0));
        format!("{} to {}", figure(least), figure(most))
    }

    fn verdict(&self) -> (String, &'static str) {
        let Some(target) = self.target else { return Default::default() };
        let verdict = if self.median() <= target { "pass" } else { "MISS" };
        (format!("≤ {} {}", figure(target), self.unit), verdict)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Megabytes => "MB",
            Unit::Bytes => "B",
            Unit::Percent => "%",
            Unit::Factor => "x",
            Unit::Microseconds => "us",
            Unit::PerSecond => "1/s",
        })
    }
}

impl Report {
    /// An empty report on the machine as it is now.
    ///
    /// # Errors
    /// When the daemon to be measured cannot be asked for its version.
    pub(crate) fn new(bin_dir: &Path) -> anyhow::Result<Report> {
        let version = command::run(Command::new(bin_dir.join("netlabd")).arg("--version"))?;
        let date = command::run(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let machine = Machine {
            time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            date: date.stdout.trim().to_owned(),
            netlab: version.stdout.trim().to_owned(),
            kernel: kernel.trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            model: model.and_then(|line| line.split(": ").nth(1)).unwrap_or_default().to_owned(),
            load_before: load(),
            load_after: load(),
            optimised: !cfg!(debug_assertions),
        };
        Ok(Report { machine, rows: Vec::new() })
    }

    /// Notes a measure, and says so at once: a run takes minutes.
    pub(crate) fn add(&mut self, row: Row) {
        let (median, unit, spread) = (figure(row.median()), row.unit, row.spread());
        eprintln!("  {}: {}: {median} {unit} {spread}", row.measure, row.how);
        self.rows.push(row);
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes all samples to a new file in `dir`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&mut self, dir: &Path) -> anyhow::Result<PathBuf> {
        self.machine.load_after = load();
        let path = dir.join(format!("{}.json", self.machine.time));
        let text = serde_json::to_string_pretty(self).context("failed to encode the report")?;
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(path)
    }

    /// How many times as much as the first row of the same measure.
    fn ratio(&self, row: &Row) -> String {
        let first = self.rows.iter().find(|it| it.measure == row.measure);
        match first.map(Row::median) {
            Some(base) if base > 0.0 && first.is_some_and(|first| first.how != row.how) => {
                format!("× {}", figure(row.median() / base))
            }
            _ => String::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { date, netlab, kernel, processors, model, load_before, .. } = &self.machine;
        writeln!(f, "{date}, {netlab}, Linux {kernel}, {processors} × {model}")?;
        writeln!(f, "load before: {load_before}, after: {}\n", load())?;
        if !self.machine.optimised {
            writeln!(f, "not optimised: figures of a debug build mean nothing\n")?;
        }
        let mut cells: Vec<[String; 8]> = vec![
            ["measure", "how", "n", "median", "spread", "ratio", "target", ""].map(str::to_owned),
        ];
        let mut last = "";
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        // What belongs together was not always measured together.
        rows.sort_by_key(|row| self.rows.iter().position(|it| it.measure == row.measure));
        for row in rows {
            let (target, verdict) = row.verdict();
            // The measure is named once.
            let measure = if row.measure == last { "" } else { &row.measure };
            last = &row.measure;
            cells.push([
                measure.to_owned(),
                row.how.clone(),
                row.samples.len().to_string(),
                format!("{} {}", figure(row.median()), row.unit),
                row.spread(),
                self.ratio(row),
                target,
                verdict.to_owned(),
            ]);
        }
        let width = |column: usize| {
            cells.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; 8] = std::array::from_fn(width);
        for (number, line) in cells.iter().enumerate() {
            let padded: Vec<String> =
                line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "| {} |", padded.join(" | "))?;
            if number == 0 {
                let rules: Vec<String> =
                    widths.iter().map(|width| "-".repeat(*width + 2)).collect();
                writeln!(f, "|{}|", rules.join("|"))?;
            }
        }
        let (targets, missed) = self.rows.iter().fold((0, 0), |(all, missed), row| {
            let verdict = row.verdict().1;
            (all + usize::from(!verdict.is_empty()), missed + usize::from(verdict == "MISS"))
        });
        write!(f, "\n{} of {targets} targets met", targets - missed)
    }
}

/// The sample below which a share of all lies, by the nearest rank.
fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(last)).copied().unwrap_or_default()
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

/// The load of the last minute, of all processes on the machine.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: Vec<Row>) -> Report {
        let machine = Machine {
            time: 0,
            date: "today".to_owned(),
            netlab: "netlabd 0".to_owned(),
            kernel: "6".to_owned(),
            processors: 2,
            model: "a machine".to_owned(),
            load_before: 0.0,
            load_after: 0.0,
            optimised: true,
        };
        Report { machine, rows }
    }

    fn row(how: &str, milliseconds: &[u64]) -> Row {
        let times: Vec<_> = milliseconds.iter().map(|ms| Duration::from_millis(*ms)).collect();
        Row::times("thing", how, Unit::Milliseconds, &times)
    }

    #[test]
    fn quantiles_are_samples() {
        let samples = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!(quantile(&samples, 0.0), 1.0);
        assert_eq!(quantile(&samples, 0.5), 3.0);
        assert_eq!(quantile(&samples, 1.0), 5.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.5), 50.0);
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_median_over_its_target_is_a_miss() {
        let text = report(vec![row("ours", &[3, 4, 5]).target(4.0)]).to_string();
        assert!(text.contains("| ≤ 4.00 ms | pass |"), "{text}");
        assert!(text.ends_with("1 of 1 targets met"), "{text}");
        let text = report(vec![row("ours", &[3, 5, 5]).target(4.0)]).to_string();
        assert!(text.contains("| ≤ 4.00 ms | MISS |"), "{text}");
        assert!(text.ends_with("0 of 1 targets met"), "{text}");
    }

    #[test]
    fn others_are_compared_with_the_first_of_a_measure() {
        let text = report(vec![row("ours", &[2]), row("theirs", &[26])]).to_string();
        let line = text.lines().find(|line| line.contains("theirs")).unwrap();
        assert!(line.contains("× 13.0"), "{text}");
        assert_eq!(text.matches('×').count(), 2, "one is the machine's: {text}");
    }

    #[test]
    fn rows_of_one_measure_stand_together() {
        let other = Row::percent("other", "any", 1.0);
        let text = report(vec![row("ours", &[2]), other, row("theirs", &[26])]).to_string();
        let place = |word: &str| text.find(word).unwrap();
        assert!(place("ours") < place("theirs") && place("theirs") < place("other"), "{text}");
    }

    #[test]
    fn figures_have_three_digits() {
        let figures = [0.0, 0.0491, 0.99, 1.0, 12.34, 99.96, 1234.5].map(figure);
        assert_eq!(figures, ["0", "0.049", "0.990", "1.00", "12.3", "100", "1234"]);
    }
}
