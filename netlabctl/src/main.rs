// SPDX-License-Identifier: GPL-3.0-or-later
//! `netlabctl`: drives a `netlabd` as kubectl drives a cluster.
//!
//! Nouns make things, verbs do the rest; columns, flags and messages are kubectl's. One file a
//! verb; rendering is pure and lives in `output`.

mod annotate;
mod api_resources;
mod apply;
mod by_hand;
mod cli;
mod completion;
mod context;
mod cordon;
mod cp;
mod delete;
mod describe;
mod diff;
mod doctor;
mod drain;
mod duration;
mod edit;
mod events;
mod exec;
mod explain;
mod failure;
mod forward;
mod get;
mod host;
mod lab;
mod label;
mod logs;
mod manifest;
mod mistakes;
mod names;
mod network;
mod output;
mod patch;
mod progress;
mod proxy;
mod run;
mod scale;
mod status;
mod svc;
mod target;
mod terminal;
mod token;
mod version;
mod wait;

use std::ffi::OsString;

use crate::context::Context;
use crate::failure::Failure;

fn main() {
    let words: Vec<OsString> = std::env::args_os().collect();
    let code = match start(&words) {
        Ok(()) => 0,
        Err(failure) => {
            failure.report();
            failure.code
        }
    };
    terminal::leave(code)
}

fn start(words: &[OsString]) -> Result<(), Failure> {
    if let Some(words) = completion::asked(words) {
        return runtime()?.block_on(completion::complete(words));
    }
    let cli = match cli::parse(words) {
        Ok(cli) => cli,
        Err(error) => return Err(mistakes::explain(&error, words)),
    };
    if cli.global.explain && !cli.command.is_explained() {
        return Err(Failure::usage("--explain does not apply to this command").with_hint(
            "it is for those that change a kernel: pod run, scale, svc expose, apply, create, delete, proxy mode, network mode",
        ));
    }
    let context = Context::new(&cli.global, cli.command.is_own())?;
    runtime()?.block_on(cli::dispatch(&context, cli.command))
}

/// One thread: a command mostly waits, and starting threads costs more than it would save.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::failed(format!("failed to start the runtime: {error}")))?;
    Ok(Runtime(Some(runtime)))
}

/// A runtime that does not wait for a thread that still reads stdin.
struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("taken only by drop").block_on(future)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
