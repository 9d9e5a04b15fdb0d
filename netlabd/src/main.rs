//! netlabd
fn main() {}
