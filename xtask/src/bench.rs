//! `cargo xtask bench`: builds what is measured with optimisation, then hands over to `storehub-bench`; the skin analysis,
//! codes and poses, which need no process of the product, are measured by `skin` and `codes`.

mod codes;
mod skin;

use anyhow::Result;

use crate::{places::Places, setup, steps};

/// Builds what is measured and the load generator (nothing else) and runs the bench with the arguments given.
///
/// `--dev` measures the development build: the kiosk's release build compiles Bevy once more.
pub(crate) fn run(places: &Places, rest: &[String]) -> Result<()> {
    if let Some((first, rest)) = rest.split_first()
        && first == "skin"
    {
        return skin::run(places, rest);
    }
    if let [first] = rest
        && first == "codes"
    {
        return codes::run(places);
    }
    let is_dev = rest.iter().any(|argument| argument == "--dev");
    let rest: Vec<&String> = rest.iter().filter(|argument| *argument != "--dev").collect();
    // The name comes first where there is one; without it, everything is measured.
    let name = rest.first().map_or("all", |first| if first.starts_with('-') { "all" } else { first });
    let with_kiosk = matches!(name, "kiosk" | "all");
    setup::run(places, setup::Extent { browser: with_kiosk, screen: with_kiosk, ..setup::Extent::BENCH })?;
    let mut build = places.cargo();
    build.args(["build", "--locked"]);
    if !is_dev {
        build.arg("--release");
    }
    if with_kiosk && is_dev {
        // The selection of the tests, so that the build is shared with them.
        build.args(["--workspace", "--all-targets"]);
    } else if with_kiosk {
        // Tests are not run here, so they are not linked with optimisation.
        build.args(["--workspace", "--bins"]);
    } else {
        build.args(["--bins", "-p", "storehub-gateway", "-p", "storehub-hq", "-p", "e2e"]);
    }
    steps::call(&mut build)?;
    let profile = if is_dev { "debug" } else { "release" };
    let mut bench = places.command(places.program(profile, "storehub-bench"));
    steps::call(bench.args(rest))
}
