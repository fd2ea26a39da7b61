//! The `tranche` command.

fn main() {}
