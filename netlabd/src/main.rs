// SPDX-License-Identifier: GPL-3.0-or-later
//! The `netlabd` binary: the daemon, and the two programs that it spawns for its pods.

use std::process::ExitCode;

use netlabd::node::pod;

fn main() -> ExitCode {
    // Before anything else: these two may have no second thread, and a pod waits for them.
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|name| name.to_str()) {
        Some("pod-init") => return pod::init::main(args),
        Some("pod-exec") => return pod::exec::main(args),
        _ => {}
    }
    ExitCode::SUCCESS
}
