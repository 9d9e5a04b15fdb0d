// SPDX-License-Identifier: GPL-3.0-or-later
//! `cp`: files and folders from and to a pod, by a `tar` that runs in the pod, as kubectl does it.

pub(crate) mod archive;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use netlab_api::client::{ExecOptions, ObjectRef};
use netlab_api::exec::Frame;
use netlab_api::resource::Kind;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::cp::archive::{ChannelReader, ChannelWriter};
use crate::failure::{FAILED, Failure};
use crate::{exec, output};

/// Pieces of an archive on their way between the connection and the disk.
const PIECES: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// A file or folder; [NAMESPACE/]POD:PATH in a pod
    #[arg(value_name = "FROM")]
    from: String,
    /// Where to; [NAMESPACE/]POD:PATH in a pod
    #[arg(value_name = "TO")]
    to: String,
    /// Accepted for kubectl's sake; a pod has one container
    #[arg(short = 'c', long = "container", hide = true)]
    _container: Option<String>,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Local(PathBuf),
    Pod { pod: ObjectRef, path: String },
}

pub(crate) async fn cp(context: &Context, args: CpArgs) -> Result<(), Failure> {
    let from = End::parse(&args.from, &context.namespace)?;
    let to = End::parse(&args.to, &context.namespace)?;
    match (from, to) {
        (End::Pod { pod, path }, End::Local(local)) => download(context, &pod, &path, &local).await,
        (End::Local(local), End::Pod { pod, path }) => upload(context, &local, &pod, &path).await,
        (End::Local(_), End::Local(_)) => Err(Failure::usage("one of the two must be in a pod")
            .with_hint("write `POD:/path`, as in `netlabctl cp web:/etc/hosts hosts`")),
        (End::Pod { .. }, End::Pod { .. }) => {
            Err(Failure::usage("one of the two must be a local file")
                .with_hint("copy to a local file first, and from there to the other pod"))
        }
    }
}

impl End {
    fn parse(text: &str, namespace: &str) -> Result<End, Failure> {
        let Some((head, path)) = text.split_once(':') else {
            return Ok(End::Local(PathBuf::from(text)));
        };
        // A local file may have a colon in its name: `./a:b`.
        if head.starts_with(['.', '/']) {
            return Ok(End::Local(PathBuf::from(text)));
        }
        let (namespace, name) = head.split_once('/').unwrap_or((namespace, head));
        if name.is_empty() || namespace.is_empty() || name.contains('/') {
            return Err(Failure::usage(format!("`{text}` names no pod")).with_hint(
                "write `POD:/path` or `NAMESPACE/POD:/path`; a local file with a colon as `./a:b`",
            ));
        }
        if path.is_empty() {
            return Err(Failure::usage("filepath can not be empty")
                .with_hint(format!("write `{head}:/path`")));
        }
        let pod = ObjectRef::new(Kind::Pod, Some(namespace), name);
        Ok(End::Pod { pod, path: path.to_owned() })
    }
}

/// Folder and last part of a path in a pod: `/etc` and `hosts`; `/` and `.` of `/`.
fn split(path: &str) -> (&str, &str) {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        _ if trimmed.is_empty() => ("/", "."),
        Some(("", base)) => ("/", base),
        Some((folder, base)) => (folder, base),
        None => (".", trimmed),
    }
}

async fn download(
    context: &Context,
    pod: &ObjectRef,
    path: &str,
    local: &Path,
) -> Result<(), Failure> {
    let (_, base) = split(path);
    // As cp does it: into a folder that is there, else under the name given.
    let target = match local.is_dir() && base != "." {
        true => local.join(base),
        false => local.to_owned(),
    };
    // A link that is named is followed, as cp does: `/etc/hosts` of every pod is one.
    let resolved = resolve(context, pod, path).await?;
    let (folder, base) = split(resolved.as_deref().unwrap_or(path));
    let command = ["tar", "cf", "-", "-C", folder, "--", base].map(str::to_owned).to_vec();
    let options = ExecOptions { command, stdin: false, terminal: None };
    let (_input, mut session) = exec::open(context, pod, &options).await?;
    let (pieces, receiver) = mpsc::channel::<Bytes>(PIECES);
    let unpack =
        tokio::task::spawn_blocking(move || archive::unpack(ChannelReader::new(receiver), &target));
    let mut complaints = Vec::new();
    let mut pieces = Some(pieces);
    let code = loop {
        match session.next().await? {
            Some(Frame::Stdout(bytes)) => {
                // The other side is gone when it failed; its error is told below.
                if let Some(sender) = &pieces
                    && sender.send(bytes).await.is_err()
                {
                    break 0;
                }
            }
            Some(Frame::Stderr(bytes)) => complaints.extend_from_slice(&bytes),
            Some(Frame::Exit(code)) => {
                pieces = None;
                break code;
            }
            Some(_) => {}
            None => return Err(Failure::new(FAILED, "error: the exec session broke off")),
        }
    };
    drop(pieces);
    let unpacked = unpack.await.map_err(Failure::failed)?;
    refused(code, &complaints)?;
    for warning in unpacked.map_err(Failure::failed)? {
        output::note(&format!("warning: {warning}"));
    }
    Ok(())
}

/// Where a path in a pod leads; nothing where it leads nowhere, which `tar` will say better.
async fn resolve(
    context: &Context,
    pod: &ObjectRef,
    path: &str,
) -> Result<Option<String>, Failure> {
    let (code, said) = exec::quiet(context, pod, &["readlink", "-e", "--", path]).await?;
    let resolved = String::from_utf8(said).ok().filter(|_| code == 0);
    Ok(resolved.and_then(|text| text.strip_suffix('\n').map(str::to_owned)))
}

async fn upload(
    context: &Context,
    local: &Path,
    pod: &ObjectRef,
    path: &str,
) -> Result<(), Failure> {
    if let Err(error) = std::fs::symlink_metadata(local) {
        return Err(Failure::failed(format!("failed to read `{}`: {error}", local.display())));
    }
    let into_folder = path.ends_with('/')
        || matches!(exec::quiet(context, pod, &["test", "-d", path]).await?, (0, _));
    let target = match (into_folder, local.file_name().and_then(|name| name.to_str())) {
        (true, Some(name)) => format!("{}/{name}", path.trim_end_matches('/')),
        _ => path.to_owned(),
    };
    let (folder, base) = split(&target);
    let command = ["tar", "xmf", "-", "-C", folder].map(str::to_owned).to_vec();
    let options = ExecOptions { command, stdin: true, terminal: None };
    let (mut input, mut session) = exec::open(context, pod, &options).await?;
    let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES);
    let (local, base) = (local.to_owned(), base.to_owned());
    let pack = tokio::task::spawn_blocking(move || {
        archive::pack(&local, &base, ChannelWriter::new(sender))
    });
    let sending = async {
        while let Some(piece) = pieces.recv().await {
            // A command that ended reads no more; its exit code says why.
            if input.send(Frame::Stdin(piece)).await.is_err() {
                break;
            }
        }
        input.send(Frame::StdinClosed).await.ok();
        drop(pieces);
        std::future::pending::<()>().await;
    };
    let mut complaints = Vec::new();
    let receiving = async {
        loop {
            match session.next().await? {
                Some(Frame::Exit(code)) => return Ok::<_, Failure>(code),
                Some(Frame::Stderr(bytes) | Frame::Stdout(bytes)) => complaints.extend(bytes),
                Some(_) => {}
                None => return Err(Failure::new(FAILED, "error: the exec session broke off")),
            }
        }
    };
    let code = tokio::select! {
        code = receiving => code?,
        () = sending => unreachable!("BUG: sending never returns"),
    };
    refused(code, &complaints)?;
    for warning in pack.await.map_err(Failure::failed)?.map_err(Failure::failed)? {
        output::note(&format!("warning: {warning}"));
    }
    Ok(())
}

/// What the `tar` in the pod said when it failed.
fn refused(code: i32, complaints: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(complaints);
    match code {
        0 => Ok(()),
        126 | 127 => {
            Err(Failure::failed(format!("`tar` cannot be run in the pod: {}", text.trim()))
                .with_hint("cp needs a `tar` in the pod's root: put one into its rootfs"))
        }
        code => Err(Failure::failed(format!(
            "tar in the pod ended with exit code {code}: {}",
            text.trim()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_written_as_in_kubectl() {
        let parse = |text: &str| End::parse(text, "default");
        let pod = |namespace: &str, path: &str| End::Pod {
            pod: ObjectRef::new(Kind::Pod, Some(namespace), "web"),
            path: path.to_owned(),
        };
        assert_eq!(parse("web:/etc/hosts"), Ok(pod("default", "/etc/hosts")));
        assert_eq!(parse("shop/web:a"), Ok(pod("shop", "a")));
        for local in ["hosts", "./a:b", "/tmp/a:b", "../x"] {
            assert_eq!(parse(local), Ok(End::Local(local.into())));
        }
        for wrong in [":/etc", "web:", "a/b/c:/x", "/:x/"] {
            assert!(parse(wrong).is_err() || wrong.starts_with('/'), "{wrong}");
        }
    }

    #[test]
    fn a_path_has_a_folder_and_a_last_part() {
        assert_eq!(split("/etc/hosts"), ("/etc", "hosts"));
        assert_eq!(split("/etc/"), ("/", "etc"));
        assert_eq!(split("/"), ("/", "."));
        assert_eq!(split("a/b"), ("a", "b"));
        assert_eq!(split("a"), (".", "a"));
    }
}
