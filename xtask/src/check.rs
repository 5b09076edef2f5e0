//! `cargo xtask test`: everything that must hold before a change is taken, cheapest first.

use std::{fs, path::PathBuf};

use anyhow::Result;

use crate::{places::Places, setup, steps, steps::Steps, tidy};

/// Runs all checks; stops at the first that fails and says what to do.
pub(crate) fn run(places: &Places) -> Result<()> {
    let mut steps = Steps::default();
    steps.step("setup", "install what it names and run `cargo xtask setup` again", || {
        setup::run(places, setup::Extent::TEST).map(|()| None)
    })?;
    steps.step("format", "run `cargo fmt`", || {
        steps::call(places.cargo().args(["fmt", "--all", "--check"])).map(|()| None)
    })?;
    steps.step("tidy", "each line above names a file and the rule", || tidy::run(places).map(|()| None))?;
    steps.step("dependencies", "see deny.toml: remove the crate, or allow it there with a reason", || {
        deny(places)
    })?;
    steps.step(
        "clippy",
        "mend each warning, or `#[expect(lint, reason = …)]` where it is wrong",
        || {
            let mut clippy = places.cargo();
            clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
            steps::call(&mut clippy).map(|()| None)
        },
    )?;
    steps.step("tests", "run one with `cargo nextest run -p CRATE NAME`", || {
        // Journeys start the product's programs, which a test run alone does not build. All targets at once, so that
        // both see the same features and nothing is compiled twice.
        steps::call(places.cargo().args(["build", "--workspace", "--all-targets", "--locked"]))?;
        steps::call(places.cargo().args(["nextest", "run", "--workspace", "--locked"])).map(|()| None)
    })?;
    steps.summary();
    Ok(())
}

fn deny(places: &Places) -> Result<Option<String>> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"));
    let database = cargo_home.join("advisory-dbs");
    let has_database = fs::read_dir(&database).is_ok_and(|mut entries| entries.next().is_some());
    // Offline, so that only the check's own verdict can fail it; on a new machine nothing has been downloaded yet.
    steps::call(places.cargo().args(["fetch", "--locked"]))?;
    let mut command = places.cargo();
    command.args(["deny", "--offline", "--locked", "--log-level", "error", "check"]);
    command.args(["bans", "licenses", "sources"]);
    let note = if has_database {
        command.arg("advisories");
        None
    } else {
        Some(format!(
            "advisories not checked: no database in `{}`; `cargo deny fetch` gets one",
            database.display()
        ))
    };
    steps::call(&mut command)?;
    Ok(note)
}
