//! `storehub-bench`: measures the product beside what a user would pick instead. `cargo xtask bench` builds it and calls it.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use e2e::bench::{intake, kiosk, load::Load, outage};

/// Measures the product beside what a user would pick instead.
#[derive(Debug, Parser)]
#[command(name = "storehub-bench")]
struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    bench: Bench,
    /// Seconds measured per contender and round.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Turns of every contender.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    publishers: usize,
    /// Unacknowledged messages per connection.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bench {
    /// Durable intake.
    Intake,
    /// Headquarters away and the hub killed.
    Outage,
    /// The kiosk's start, frames, memory and idle cost.
    Kiosk,
    /// All of them.
    All,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storehub-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let load = Load {
        publishers: arguments.publishers,
        in_flight: arguments.in_flight,
        measured: Duration::from_secs(arguments.seconds),
    };
    if matches!(arguments.bench, Bench::Intake | Bench::All) {
        intake::run(load, arguments.rounds).await?;
    }
    if matches!(arguments.bench, Bench::Outage | Bench::All) {
        outage::run().await?;
    }
    if matches!(arguments.bench, Bench::Kiosk | Bench::All) {
        kiosk::run().await?;
    }
    Ok(())
}
