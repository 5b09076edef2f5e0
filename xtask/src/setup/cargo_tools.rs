//! `cargo nextest` and `cargo deny`, compiled into the cache folder when the machine has none.

use anyhow::Result;

use crate::{places::Places, steps};

/// Each tool with its pinned version.
const TOOLS: [(&str, &str); 2] = [("nextest", "0.9.143"), ("deny", "0.20.2")];

/// Compiles the missing tools. Minutes each on two cores, once per machine.
pub(super) fn install(places: &Places) -> Result<()> {
    for (name, version) in TOOLS {
        if let Some(path) = places.which(&format!("cargo-{name}")) {
            println!("    cargo {name}: {}", path.display());
            continue;
        }
        println!("    cargo {name}: missing, compiling version {version} (minutes, once)");
        let mut install = places.cargo();
        install.args(["install", "--quiet", "--locked", &format!("cargo-{name}@{version}"), "--root"]);
        install.arg(places.cache.join("tools"));
        install.arg("--target-dir").arg(places.cache.join("tools/build"));
        // They work for seconds; what counts is how long they take to build.
        install.args(["--config", "profile.release.lto=false", "--config", "profile.release.opt-level=1"]);
        install.args([
            "--config",
            "profile.release.debug=false",
            "--config",
            "profile.release.codegen-units=16",
        ]);
        steps::call(&mut install)?;
        let build = places.cache.join("tools/build");
        std::fs::remove_dir_all(&build).ok();
    }
    Ok(())
}
