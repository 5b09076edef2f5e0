//! `cargo xtask bench`: builds what is measured with optimisation, then hands over to `storehub-bench`.

use anyhow::Result;

use crate::{places::Places, setup, steps};

/// Builds the services and the load generator (nothing else) and runs the bench with the arguments given.
pub(crate) fn run(places: &Places, rest: &[String]) -> Result<()> {
    setup::run(places, setup::Extent::BENCH)?;
    let mut build = places.cargo();
    build.args(["build", "--release", "--locked", "--bins"]);
    build.args(["-p", "storehub-gateway", "-p", "storehub-hq", "-p", "e2e"]);
    steps::call(&mut build)?;
    let mut bench = places.command(places.program("release", "storehub-bench"));
    steps::call(bench.args(rest))
}
