// SPDX-License-Identifier: GPL-3.0-or-later
//! The files that `-f` names: read, and turned into objects.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use netlab_api::manifest::{Manifest, Options, Source, parse};
use netlab_api::{Object, Pod, Service};

use crate::context::Context;
use crate::failure::Failure;
use crate::output;

/// Extensions of manifests; other files of a folder are passed over.
const EXTENSIONS: [&str; 4] = ["toml", "yaml", "yml", "json"];

/// Flags of every verb that reads files.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FileArgs {
    /// Files, folders, or `-` for stdin; TOML, YAML or JSON
    #[arg(short, long, value_name = "FILE", value_delimiter = ',')]
    pub(crate) filename: Vec<PathBuf>,
    /// Read folders within folders too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Warn of fields that netlab does not have, rather than refuse them
    #[arg(long)]
    ignore_unsupported: bool,
}

/// Reads all objects of the files, in order.
pub(crate) fn read(context: &Context, args: &FileArgs) -> Result<Vec<Object>, Failure> {
    if args.filename.is_empty() {
        return Err(Failure::usage("must specify -f")
            .with_hint("`-f FILE`, `-f FOLDER`, or `-f -` for stdin"));
    }
    let mut files = Vec::new();
    for path in &args.filename {
        if path.is_dir() {
            folder(path, args.recursive, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        return Err(Failure::failed(format!(
            "there are no files to read in {}: manifests end in .toml, .yaml, .yml or .json",
            list(&args.filename)
        )));
    }
    let mut objects = Vec::new();
    let mut broken = Vec::new();
    for path in &files {
        match file(context, path, args.ignore_unsupported) {
            Ok(found) => objects.extend(found),
            // All files are read, so that all mistakes are told at once.
            Err(failure) => broken.push(failure),
        }
    }
    if let Some(last) = broken.pop() {
        broken.iter().for_each(Failure::report);
        return Err(last);
    }
    if objects.is_empty() {
        return Err(Failure::failed(format!("no objects passed in {}", list(&files))));
    }
    Ok(objects)
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn folder(path: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let fail =
        |error| Failure::failed(format!("failed to read folder `{}`: {error}", path.display()));
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        entries.push(entry.map_err(fail)?.path());
    }
    entries.sort();
    for entry in entries {
        let is_manifest = entry
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| EXTENSIONS.contains(&extension));
        if entry.is_dir() {
            if recursive {
                folder(&entry, recursive, files)?;
            }
        } else if is_manifest {
            files.push(entry);
        }
    }
    Ok(())
}

fn file(context: &Context, path: &Path, ignore_unsupported: bool) -> Result<Vec<Object>, Failure> {
    objects(context, &source(path)?, ignore_unsupported)
}

/// All that a file says, the lab with it; warnings go to stderr.
pub(crate) fn whole(
    context: &Context,
    path: &Path,
    ignore_unsupported: bool,
) -> Result<Manifest, Failure> {
    manifest(context, &source(path)?, ignore_unsupported)
}

fn source(path: &Path) -> Result<Source, Failure> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        ("stdin".to_owned(), read.map(|_| bytes))
    } else {
        (path.display().to_string(), std::fs::read(path))
    };
    let bytes = bytes.map_err(|error| {
        let failure = Failure::failed(format!("failed to read `{name}`: {error}"));
        match name.starts_with("http://") || name.starts_with("https://") {
            true => failure.with_hint(format!(
                "`curl -sSLf {name} | netlabctl apply -f -` reads from the web"
            )),
            false => failure,
        }
    })?;
    Source::from_bytes(&name, bytes).map_err(|wrong| Failure::new(1, wrong.to_string()))
}

/// The objects of one source; warnings go to stderr.
pub(crate) fn objects(
    context: &Context,
    source: &Source,
    ignore_unsupported: bool,
) -> Result<Vec<Object>, Failure> {
    let manifest = manifest(context, source, ignore_unsupported)?;
    Ok(manifest.objects.into_iter().map(|located| located.value).collect())
}

fn manifest(
    context: &Context,
    source: &Source,
    ignore_unsupported: bool,
) -> Result<Manifest, Failure> {
    let options = Options {
        ignore_unsupported,
        default_namespace: context.namespace.clone(),
        ..Options::default()
    };
    let manifest = parse(source, &options)
        .map_err(|wrong| Failure::new(1, wrong.to_string().trim_end().to_owned()))?;
    for warning in &manifest.warnings {
        output::note(warning.to_string().trim_end());
    }
    let objects = manifest.objects.iter().map(|located| &located.value);
    if context.namespace_given
        && let Some(other) = objects.clone().find_map(|object| {
            object.metadata().namespace.as_deref().filter(|own| *own != context.namespace)
        })
    {
        return Err(Failure::failed(format!(
            "the namespace from the provided object \"{other}\" does not match the namespace \"{}\": you must pass '--namespace={other}' to perform this operation",
            context.namespace
        )));
    }
    Ok(manifest)
}

/// An object without what only the server says: as a file would hold it.
pub(crate) fn bare(mut object: Object) -> Object {
    let metadata = object.metadata_mut();
    metadata.uid.clear();
    metadata.resource_version.clear();
    metadata.generation = 0;
    metadata.creation_timestamp = None;
    match &mut object {
        Object::Pod(Pod { status, .. }) => *status = Default::default(),
        Object::Service(Service { status, .. }) => *status = Default::default(),
        _ => {}
    }
    object
}
