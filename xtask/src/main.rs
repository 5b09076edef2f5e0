//! `cargo xtask setup | demo | test | bench | tidy | shots | models`: the only scripts of this repository.
//!
//! Owns: what a machine needs before Storehub builds (packages, ONNX Runtime, the screen font, cargo tools), the order of
//! the checks, and starting the product's processes for a demonstration. Does not own: anything that the product does.
//!
//! # Invariants
//!
//! - Compiles in seconds on a bare toolchain: few small dependencies, none of ours.
//! - Nothing is installed that is already there, and nothing that needs an administrator without saying so.
//! - What it starts, it stops.

mod bench;
mod check;
mod children;
mod demo;
mod display;
mod models;
mod places;
mod seeding;
mod setup;
mod shots;
mod steps;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::places::Places;

const USAGE: &str = "\
cargo xtask COMMAND

  setup                              install what is missing on this machine, and only that
  demo [--headless] [--seconds N]    the whole of Storehub with a simulated store, until Ctrl-C
       [--dir DIR] [--speed N] [--seed N]
  test                               everything that must hold before a change is taken
  bench [intake|outage|kiosk|all]    measure beside what one would pick instead, in one run
       [--dev] [--seconds N] [--rounds N]
  bench codes                        codes and poses on photographs and drawn frames; makes docs/codes-report.md anew
  bench skin [--work DIR]            the skin analysis on evaluation pictures; makes docs/skin-report.md anew
  tidy                               only the rules about sources and dependencies
  shots [--goldens]                  make docs/screenshots/*.png anew, or the pictures that the kiosk's tests compare with
  models [--work DIR]                every network made anew from our own code, hours on one core; what is there is kept
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let Some((command, rest)) = args.split_first() else {
        bail!("a command is missing\n\n{USAGE}");
    };
    let places = Places::find()?;
    match command.as_str() {
        "setup" => {
            no_arguments(command, rest)?;
            setup::run(&places, setup::Extent::ALL)
        }
        "test" => {
            no_arguments(command, rest)?;
            check::run(&places)
        }
        "tidy" => {
            no_arguments(command, rest)?;
            tidy::run(&places)
        }
        "demo" => demo::run(&places, &demo::Options::parse(rest)?),
        "bench" => bench::run(&places, rest),
        "models" => models::run(&places, rest),
        "shots" => match rest {
            [] => shots::run(&places),
            [flag] if flag == "--goldens" => shots::goldens(&places),
            [other, ..] => bail!("`shots` takes `--goldens` or nothing, found `{other}`"),
        },
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("`{other}` is no command\n\n{USAGE}"),
    }
}

fn no_arguments(command: &str, rest: &[String]) -> Result<()> {
    match rest.first() {
        Some(extra) => bail!("`{command}` takes no argument, found `{extra}`"),
        None => Ok(()),
    }
}
