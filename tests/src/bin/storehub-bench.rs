//! `storehub-bench`: measured in a moment; see `bench/`.

fn main() {}
