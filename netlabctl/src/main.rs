//! netlabctl
fn main() {}
