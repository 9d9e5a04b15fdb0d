// SPDX-License-Identifier: GPL-3.0-or-later
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::{TempDir, tempdir};

use super::writer::MAX_TEXT;
use super::*;
use crate::node::pod::config::LogConfig;

fn writer(dir: &Path, max_bytes: u64, max_files: u32) -> LogWriter {
    let config = LogConfig { dir: dir.to_owned(), max_bytes, max_files };
    let mut writer = LogWriter::new(File::open(dir).unwrap().into(), &config);
    writer.begin(0);
    writer
}

fn log(max_bytes: u64, max_files: u32) -> (TempDir, LogWriter) {
    let dir = tempdir().unwrap();
    let writer = writer(dir.path(), max_bytes, max_files);
    (dir, writer)
}

fn out(writer: &mut LogWriter, text: &str) {
    writer.write(Stream::Stdout, text.as_bytes(), Timestamp::now());
}

fn read_all(reader: &mut LogReader) -> String {
    let mut text = Vec::new();
    while reader.read(&mut text).unwrap() > 0 {}
    String::from_utf8(text).unwrap()
}

fn read(dir: &Path, query: LogQuery) -> String {
    read_all(&mut LogReader::open(dir, query).unwrap())
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn records_have_the_format_of_the_container_runtime_interface() {
    let (dir, mut log) = log(1 << 20, 5);
    let time: Timestamp = "2026-11-22T10:00:00.1234Z".parse().unwrap();
    log.write(Stream::Stdout, b"one\ntw", time);
    log.write(Stream::Stderr, b"oops\n\n", time);
    log.write(Stream::Stdout, b"o\n", time);
    assert_eq!(
        fs::read_to_string(dir.path().join("0.log")).unwrap(),
        "2026-11-22T10:00:00.123400000Z stdout F one\n\
         2026-11-22T10:00:00.123400000Z stderr F oops\n\
         2026-11-22T10:00:00.123400000Z stderr F \n\
         2026-11-22T10:00:00.123400000Z stdout F two\n"
    );
    let timestamps = LogQuery { timestamps: true, ..LogQuery::default() };
    assert!(read(dir.path(), timestamps).starts_with("2026-11-22T10:00:00.123400000Z one\n"));
    let stderr = LogQuery { stream: Some(Stream::Stderr), ..LogQuery::default() };
    assert_eq!(read(dir.path(), stderr), "oops\n\n");
}

#[test]
fn long_lines_are_written_in_parts_and_read_as_one() {
    let (dir, mut log) = log(1 << 20, 5);
    for length in [MAX_TEXT - 1, MAX_TEXT, MAX_TEXT + 1, 3 * MAX_TEXT + 7] {
        let line = format!("{}\n", "x".repeat(length));
        // In pieces of an odd size, as a pipe gives them.
        for piece in line.as_bytes().chunks(4999) {
            log.write(Stream::Stdout, piece, Timestamp::now());
        }
    }
    let lengths: Vec<_> = read(dir.path(), LogQuery::default()).lines().map(str::len).collect();
    assert_eq!(lengths, [MAX_TEXT - 1, MAX_TEXT, MAX_TEXT + 1, 3 * MAX_TEXT + 7]);
    let file = fs::read_to_string(dir.path().join("0.log")).unwrap();
    let tags: Vec<_> = file.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(tags, ["F", "F", "P", "F", "P", "P", "P", "F"]);
}

#[test]
fn a_last_line_without_an_end_is_kept() {
    let (dir, mut log) = log(1 << 20, 5);
    out(&mut log, "no end");
    assert_eq!(read(dir.path(), LogQuery::default()), "");
    log.end();
    assert_eq!(read(dir.path(), LogQuery::default()), "no end\n");
}

#[test]
fn files_are_rotated_by_size_and_the_oldest_is_removed() {
    let (dir, mut log) = log(1000, 3);
    for number in 0..100 {
        out(&mut log, &format!("line {number}\n"));
    }
    assert_eq!(names(dir.path()), ["0.log", "0.log.1", "0.log.2"]);
    for name in names(dir.path()) {
        assert!(fs::metadata(dir.path().join(&name)).unwrap().len() <= 1000, "{name}");
    }
    let text = read(dir.path(), LogQuery::default());
    let numbers: Vec<u32> = text.lines().map(|line| line[5..].parse().unwrap()).collect();
    assert!(numbers.len() > 40, "{numbers:?}");
    assert_eq!(numbers, (100 - numbers.len() as u32..100).collect::<Vec<_>>());
}

#[test]
fn tail_and_since_count_across_rotated_files() {
    let (dir, mut log) = log(300, 5);
    for number in 0..20 {
        let time = Timestamp::from_second(1_800_000_000 + number).unwrap();
        log.write(Stream::Stdout, format!("{number}\n").as_bytes(), time);
    }
    let tail = |count| read(dir.path(), LogQuery { tail: Some(count), ..LogQuery::default() });
    assert_eq!(tail(0), "");
    assert_eq!(tail(2), "18\n19\n");
    assert_eq!(tail(15).lines().count(), 15);
    assert_eq!(tail(1000).lines().last(), Some("19"));
    let since = Timestamp::from_second(1_800_000_017).unwrap();
    let query = LogQuery { since: Some(since), ..LogQuery::default() };
    assert_eq!(read(dir.path(), query), "17\n18\n19\n");
}

#[test]
fn a_reader_follows_across_rotation_without_loss() {
    let (dir, mut log) = log(2000, 5);
    let mut reader = LogReader::open(dir.path(), LogQuery::default()).unwrap();
    let mut seen = String::new();
    for number in 0..2000 {
        out(&mut log, &format!("{number}\n"));
        if number % 7 == 0 {
            assert!(reader.wait(Duration::from_secs(10)).unwrap(), "no event for {number}");
            seen += &read_all(&mut reader);
        }
    }
    seen += &read_all(&mut reader);
    let expected: String = (0..2000).map(|number| format!("{number}\n")).collect();
    assert_eq!(seen, expected);
    assert!(!reader.wait(Duration::ZERO).unwrap(), "an event is left at the end");
}

#[test]
fn the_run_before_is_kept_and_older_ones_are_not() {
    let (dir, mut log) = log(1000, 3);
    let previous = LogQuery { previous: true, ..LogQuery::default() };
    assert!(matches!(
        LogReader::open(dir.path(), previous.clone()),
        Err(LogError::NoPrevious { .. })
    ));
    let missing = LogReader::open(&dir.path().join("missing"), LogQuery::default());
    assert!(missing.unwrap_err().is_not_found());
    let reader = LogReader::open(dir.path(), LogQuery::default()).unwrap();
    for run in 0..4 {
        log.begin(run);
        out(&mut log, &format!("run {run}\n"));
        log.end();
    }
    assert_eq!(names(dir.path()), ["2.log", "3.log"]);
    assert_eq!(read(dir.path(), previous), "run 2\n");
    assert_eq!(read(dir.path(), LogQuery::default()), "run 3\n");
    assert!(reader.is_superseded().unwrap());
}

#[test]
fn a_full_disk_drops_whole_records_and_nothing_else() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_owned();
    // The mount is in a mount namespace of this thread and goes with it.
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        mount(Some("t"), &path, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
        let mut log = writer(&path, 1 << 20, 5);
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..200 {
            out(&mut log, &line);
        }
        let dropped = log.dropped();
        assert!(dropped > 100, "{dropped}");
        let text = fs::read_to_string(path.join("0.log")).unwrap();
        assert!(text.ends_with('\n'));
        assert!(text.lines().all(|line| line.len() == 1039), "a torn line");
        assert_eq!(text.lines().count() as u64 + dropped, 200);
        // Room again, and so records again.
        fs::write(path.join("0.log"), "").unwrap();
        log.begin(1);
        out(&mut log, "again\n");
        assert_eq!(read(&path, LogQuery::default()), "again\n");
        assert_eq!(log.dropped(), dropped);
    })
    .join()
    .unwrap();
}
