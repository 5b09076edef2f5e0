//! `storehub-gateway`: see `cli.rs`.

fn main() {}
