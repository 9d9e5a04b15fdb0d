// SPDX-License-Identifier: GPL-3.0-or-later
//! How the daemon is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Every pod's PID 1 is this program. In a position-independent one the loader writes an address
    // into each of some 20,000 places of `.data.rel.ro`, which makes 0.4 MB private to each
    // process; at a fixed address these pages are the file's, and shared by all pods.
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bin=netlabd=-no-pie");
    }
}
