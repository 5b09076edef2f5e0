//! `storehub-gateway`: see `cli.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::cli::main()
}
