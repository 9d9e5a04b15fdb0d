// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that documents and examples show: each can be typed as it stands there.

use std::ffi::OsString;
use std::path::Path;

use super::parse;

/// The commands of a document: lines of its blocks of code, or with `mark` lines that begin with it.
/// What a person does not type is left out: prompts, variables, comments, and what the shell does
/// with the output.
fn commands(text: &str, mark: Option<&str>) -> Vec<Vec<OsString>> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            continue;
        }
        let line = match mark {
            Some(mark) => line.strip_prefix(mark),
            None => is_code.then_some(line),
        };
        let Some(line) = line else { continue };
        let prompt = line.split_once("$ ").filter(|(host, _)| !host.contains(' '));
        let line = prompt.map_or(line, |(_, line)| line).trim_start();
        let line = line.strip_prefix("# ").unwrap_or(line);
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        // An arrow follows where it is part of a drawing.
        if line.starts_with("netlabctl ") && !line.starts_with("netlabctl ─") {
            found.push(words(line));
        }
    }
    found
}

/// The words of a line, as a shell takes it apart, until something follows that is not the
/// command's.
fn words(line: &str) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    // A word may be empty: `''`.
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut spaces = 0;
    for c in line.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == ' ' => {
                spaces += 1;
                // A remark stands apart.
                if spaces > 1 {
                    break;
                }
                words.extend(word.take().map(OsString::from));
                continue;
            }
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if "|>#;&".contains(c) => break,
            None => word.get_or_insert_default().push(c),
        }
        spaces = 0;
    }
    words.extend(word.map(OsString::from));
    words
}

#[test]
fn every_command_in_the_documents_and_examples_can_be_typed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace has a root");
    let files = |folder: &str| std::fs::read_dir(root.join(folder)).expect("a folder can be read");
    let documents = files("docs").chain(files(".")).flatten().map(|entry| entry.path());
    let documents = documents.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let examples = files("examples").flatten().map(|entry| entry.path());
    let examples = examples.filter(|path| path.extension().is_none_or(|it| it != "sh"));
    let marked = documents.map(|path| (path, None)).chain(examples.map(|path| (path, Some("#  "))));
    let mut typed = 0;
    let mut wrong = Vec::new();
    for (path, mark) in marked {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        for words in commands(&text, mark) {
            typed += 1;
            if let Err(error) = parse(&words)
                && error.use_stderr()
            {
                wrong.push(format!("{}: {words:?}: {error}", path.display()));
            }
        }
    }
    assert!(typed > 100, "only {typed} commands: are these the documents?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
