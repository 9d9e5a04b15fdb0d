// SPDX-License-Identifier: GPL-3.0-or-later
//! Which files the documents name.
//!
//! Paths are looked for in code spans and links, outside of blocks of code: what stands there are
//! commands and drawings.

use std::path::{Path, PathBuf};

use crate::files;

/// A document, without its blocks of code.
pub(crate) struct Document {
    /// From the workspace's root on.
    pub(crate) path: String,
    lines: Vec<String>,
}

/// A line of a table of ARCHITECTURE.md's code map.
pub(crate) struct Row {
    /// What it is about, from the workspace's root on.
    pub(crate) modules: Vec<String>,
    /// Nouns in its description.
    pub(crate) nouns: Vec<String>,
}

impl Document {
    /// All documents.
    pub(crate) fn all() -> Vec<Document> {
        let found: Vec<_> = files::documents()
            .into_iter()
            .map(|file| Document { path: file.path, lines: prose(&file.text) })
            .collect();
        assert!(found.len() > 10, "only {} documents: is this the workspace?", found.len());
        found
    }

    /// Where its links lead that lead to files, from the workspace's root on.
    pub(crate) fn links(&self) -> Vec<PathBuf> {
        let folder = Path::new(&self.path).parent().unwrap_or(Path::new(""));
        let mut links = Vec::new();
        for part in self.lines.iter().flat_map(|line| line.split("](").skip(1)) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                links.push(folder.join(target));
            }
        }
        links
    }

    /// Code spans that are paths with a folder in them.
    pub(crate) fn paths(&self) -> Vec<String> {
        let is_path = |span: &String| {
            let mut names = span.trim_end_matches('/').split('/');
            names.clone().count() > 1 && names.all(is_file_name)
        };
        self.lines.iter().flat_map(|line| spans(line)).filter(is_path).collect()
    }

    /// The lines of the code map: of the tables in the section of this title, the cells of the
    /// first column, and nouns of the second. A table that a line ending in `(FOLDER):` introduces
    /// is about that folder.
    pub(crate) fn code_map(&self, title: &str) -> Vec<Row> {
        let section = self.lines.iter().skip_while(|line| *line != title).skip(1);
        let mut folder = String::new();
        let mut rows = Vec::new();
        for line in section.take_while(|line| !line.starts_with("## ")) {
            let mut cells = line.strip_prefix('|').into_iter().flat_map(|line| line.split(" | "));
            let (Some(first), Some(second)) = (cells.next(), cells.next()) else {
                if line.ends_with("):") {
                    folder = spans(line).pop().unwrap_or_default();
                }
                continue;
            };
            let modules: Vec<String> = spans(first);
            // Neighbours of the first are named by their last name alone.
            let beside = modules.first().and_then(|first| first.rsplit_once('/'));
            let whole = |module: &String| match beside {
                Some((beside, _)) if !module.contains('/') => format!("{folder}{beside}/{module}"),
                _ => format!("{folder}{module}"),
            };
            let modules: Vec<String> = modules.iter().map(whole).collect();
            if !modules.is_empty() {
                let nouns = spans(second).into_iter().filter(|span| is_noun(span)).collect();
                rows.push(Row { modules, nouns });
            }
        }
        rows
    }
}

/// Lines outside of blocks of code.
fn prose(text: &str) -> Vec<String> {
    let mut is_code = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    };
    text.lines().filter(is_prose).map(str::to_owned).collect()
}

/// What stands between backticks.
fn spans(line: &str) -> Vec<String> {
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_file_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '.')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
}

fn is_noun(span: &str) -> bool {
    !span.is_empty() && span.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn paths_links_and_nouns_are_found_where_they_stand() {
    let text = "See [it](../a.md#b), `node/pod/log/`, `/v1/x`, `10.0.0.0/8`.\n```\n`no/path`\n```\n\
                ## Map\nIn it (`src/`):\n\n| m | is |\n|---|---|\n| `a/b`, `c` | `plan`, `Plan` | |\n## End\n| `x` | | |";
    let document = Document { path: "docs/x.md".into(), lines: prose(text) };
    assert_eq!(document.links(), [Path::new("docs/../a.md")]);
    assert_eq!(document.paths(), ["node/pod/log/", "a/b"]);
    let rows = document.code_map("## Map");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].modules, ["src/a/b", "src/a/c"]);
    assert_eq!(rows[0].nouns, ["plan"]);
}
