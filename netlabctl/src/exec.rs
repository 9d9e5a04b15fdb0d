// SPDX-License-Identifier: GPL-3.0-or-later
//! `exec`: runs a command in a pod, with the terminal when asked.

use bytes::Bytes;
use clap::Args;
use netlab_api::client::{ClientError, ExecInput, ExecOptions, ExecOutput, ObjectRef};
use netlab_api::exec::Frame;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::terminal::{self, Raw};
use crate::{output, target};

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The pod
    // What follows it without `--` is taken too, so that the answer can be the right line.
    #[arg(value_name = "POD", required = true, num_args = 1..)]
    words: Vec<String>,
    /// Send stdin to the command
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Accepted for kubectl's sake; a pod has one container
    #[arg(short = 'c', long = "container", hide = true)]
    _container: Option<String>,
    /// The command and its arguments, after `--`
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn exec(context: &Context, args: ExecArgs) -> Result<(), Failure> {
    let name = target::pod_name(&target::joined(&args.words).0)?;
    if args.words.len() > 1 {
        return Err(stray(&args));
    }
    if args.command.is_empty() {
        return Err(Failure::usage("you must specify at least one command for the container")
            .with_hint(format!("`netlabctl exec -it {name} -- sh` opens a shell")));
    }
    let pod = context.pod(&name);
    let code = session(context, &pod, args.command, args.stdin, args.tty).await?;
    if code == 0 {
        return Ok(());
    }
    // A command that failed has said so itself; kubectl adds this line, for scripts' logs.
    if !args.tty {
        output::note(&format!("command terminated with exit code {code}"));
    }
    Err(Failure::silent(code))
}

/// Words stand between the pod and `--`: a name after its type, or the beginning of the command.
fn stray(args: &ExecArgs) -> Failure {
    let flags = match (args.stdin, args.tty) {
        (true, true) => "-it ",
        (true, false) => "-i ",
        (false, true) => "-t ",
        (false, false) => "",
    };
    let (pod, rest) = target::joined(&args.words);
    let command = rest.iter().chain(&args.command).map(String::as_str).collect::<Vec<_>>();
    let failure = match rest.is_empty() {
        true => Failure::usage(format!("the pod is one word: `{pod}`")),
        false => Failure::usage("the command stands after `--`"),
    };
    let command = if command.is_empty() { "CMD".to_owned() } else { command.join(" ") };
    failure.with_hint(format!("`netlabctl exec {flags}{pod} -- {command}`"))
}

/// Runs a command in a pod with this program's stdin, stdout and stderr; gives its exit code.
pub(crate) async fn session(
    context: &Context,
    pod: &ObjectRef,
    command: Vec<String>,
    stdin: bool,
    tty: bool,
) -> Result<i32, Failure> {
    let terminal = match tty {
        true if stdin && !terminal::is_stdin() => {
            output::note("Unable to use a TTY - input is not a terminal or the right kind of file");
            None
        }
        true => Some(terminal::size().unwrap_or((80, 24))),
        false => None,
    };
    let options = ExecOptions { command, stdin, terminal };
    let (input, mut from_command) = open(context, pod, &options).await?;
    let raw = match terminal {
        Some(_) if stdin => Some(Raw::enter()?),
        _ => None,
    };
    let sender = tokio::spawn(send(input, stdin, terminal.is_some()));
    let done = receive(&mut from_command, raw.is_some()).await;
    sender.abort();
    // The terminal is itself again before anything is said of an error.
    drop(raw);
    done
}

/// Opens a session; a pod that is not there is told as everywhere.
pub(crate) async fn open(
    context: &Context,
    pod: &ObjectRef,
    options: &ExecOptions,
) -> Result<(ExecInput, ExecOutput), Failure> {
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    match context.client.exec(namespace, &pod.name, options).await {
        Ok(session) => Ok(session),
        Err(error) => Err(context.explain(error, pod).await),
    }
}

/// Passes stdin and the window's size on, until the session ends.
async fn send(mut input: ExecInput, stdin: bool, resizes: bool) -> Result<(), ClientError> {
    let mut resized = signal(SignalKind::window_change()).ok().filter(|_| resizes);
    let mut reader = tokio::io::stdin();
    let mut buffer = vec![0; 16 * 1024];
    let mut open = stdin;
    loop {
        tokio::select! {
            () = next(&mut resized), if resized.is_some() => {
                if let Some((columns, rows)) = terminal::size() {
                    input.send(Frame::Resize { columns, rows }).await?;
                }
            }
            read = reader.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => {
                    open = false;
                    input.send(Frame::StdinClosed).await?;
                }
                Ok(read) => {
                    input.send(Frame::Stdin(Bytes::copy_from_slice(&buffer[..read]))).await?;
                }
            },
            // The session needs this half even when there is nothing to send.
            else => std::future::pending().await,
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Prints what comes from the command until its exit code comes.
async fn receive(from_command: &mut ExecOutput, raw: bool) -> Result<i32, Failure> {
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut terminate = signal(SignalKind::terminate()).ok();
    // In raw mode Ctrl-C is a byte for the command; else it ends us, and with us the command.
    let mut interrupt = signal(SignalKind::interrupt()).ok().filter(|_| !raw);
    loop {
        let frame = tokio::select! {
            frame = from_command.next() => frame?,
            () = next(&mut hangup) => return Err(Failure::silent(128 + 1)),
            () = next(&mut terminate) => return Err(Failure::silent(128 + 15)),
            () = next(&mut interrupt) => return Err(Failure::silent(128 + 2)),
        };
        match frame {
            Some(Frame::Stdout(bytes)) => output::bytes(&bytes),
            Some(Frame::Stderr(bytes)) => output::raw_error(&bytes),
            Some(Frame::Exit(code)) => return Ok(code),
            Some(_) => {}
            None => return Err(ClientError::ExecClosed { source: None }.into()),
        }
    }
}

/// Runs a command that takes no input and collects what it says.
pub(crate) async fn quiet(
    context: &Context,
    pod: &ObjectRef,
    command: &[&str],
) -> Result<(i32, Vec<u8>), Failure> {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let options = ExecOptions { command, stdin: false, terminal: None };
    let (_input, mut output) = open(context, pod, &options).await?;
    let mut said = Vec::new();
    loop {
        match output.next().await? {
            Some(Frame::Stdout(bytes)) => said.extend_from_slice(&bytes),
            Some(Frame::Exit(code)) => return Ok((code, said)),
            Some(_) => {}
            None => return Err(Failure::new(FAILED, "error: the exec session broke off")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], command: &[&str], line: &str) {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let args = ExecArgs {
            words: owned(words),
            stdin: true,
            tty: false,
            _container: None,
            command: owned(command),
        };
        assert_eq!(stray(&args).hints, [line]);
    }

    #[test]
    fn stray_words_are_put_where_they_belong() {
        check(&["web", "ls", "/"], &[], "`netlabctl exec -i web -- ls /`");
        check(&["web", "ls"], &["-l"], "`netlabctl exec -i web -- ls -l`");
        check(&["pod", "web"], &["ls"], "`netlabctl exec -i pod/web -- ls`");
        check(&["pod", "web"], &[], "`netlabctl exec -i pod/web -- CMD`");
        check(&["pods", "web", "ls"], &[], "`netlabctl exec -i pods/web -- ls`");
    }
}
