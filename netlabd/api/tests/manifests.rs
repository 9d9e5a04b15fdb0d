// SPDX-License-Identifier: GPL-3.0-or-later
//! Files as people write them: each bad one with the exact text that they get to see.
//!
//! `UPDATE_GOLDEN=1` writes the texts anew; read them before you keep them. A file whose first
//! line holds `--ignore-unsupported` is read with that option.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use netlab_api::manifest::{Manifest, Options, Source, parse};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of manifests can be read")
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "txt"))
        .collect();
    files.sort();
    files
}

fn source(path: &Path) -> Result<Source, String> {
    let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let bytes = fs::read(path).expect("the manifest can be read");
    Source::from_bytes(name, bytes).map_err(|error| error.to_string())
}

fn options(source: &Source) -> Options {
    let first = source.text.lines().next().unwrap_or_default();
    let ignore_unsupported = first.contains("--ignore-unsupported");
    Options { ignore_unsupported, ..Options::default() }
}

/// Compares with the text beside `path`, or writes it.
fn compare(path: &Path, found: &str, differing: &mut Vec<String>) {
    let golden = PathBuf::from(format!("{}.txt", path.display()));
    let found = format!("{found}\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &found).expect("the golden text can be written");
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    if expected != found {
        differing.push(format!("{}\nexpected:\n{expected}\nfound:\n{found}", golden.display()));
    }
}

#[test]
fn each_bad_manifest_is_refused_with_its_text() {
    let mut differing = Vec::new();
    let files = files("bad");
    assert!(files.len() >= 50, "only {} bad manifests were found", files.len());
    for path in files {
        let refused = match source(&path) {
            Err(error) => error,
            Ok(source) => match parse(&source, &options(&source)) {
                Err(error) => error.to_string(),
                Ok(_) => panic!("{} was accepted", path.display()),
            },
        };
        compare(&path, &refused, &mut differing);
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn each_good_manifest_means_its_objects() {
    let mut differing = Vec::new();
    for path in files("good") {
        let source = source(&path).expect("a good manifest is UTF-8");
        let manifest = parse(&source, &options(&source))
            .unwrap_or_else(|error| panic!("{}\n{error}", path.display()));
        compare(&path, &summary(&manifest), &mut differing);
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

fn summary(manifest: &Manifest) -> String {
    let mut text = String::new();
    if let Some(lab) = &manifest.lab {
        writeln!(text, "lab {lab:?}").expect("a string takes all");
    }
    for object in &manifest.objects {
        let json = serde_json::to_string_pretty(&object.value).expect("an object serialises");
        writeln!(text, "{}:{} {json}", object.file, object.line).expect("a string takes all");
    }
    for warning in &manifest.warnings {
        writeln!(text, "{warning}").expect("a string takes all");
    }
    text
}
