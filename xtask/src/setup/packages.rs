//! Packages of Debian 12 (and what is derived from it).

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, Result, bail};

use crate::{places::Places, setup::Extent, steps};

/// A package and the program that shows it is there by another way; without one, dpkg is asked.
struct Package {
    name: &'static str,
    program: Option<&'static str>,
}

const fn program(name: &'static str, program: &'static str) -> Package {
    Package { name, program: Some(program) }
}

const fn library(name: &'static str) -> Package {
    Package { name, program: None }
}

/// A C and C++ compiler for SQLite and the code reader, and what fetches ONNX Runtime.
const BUILD: [Package; 4] = [
    program("build-essential", "c++"),
    program("cmake", "cmake"),
    program("pkg-config", "pkg-config"),
    program("python3-pip", "pip3"),
];
const BROWSER: [Package; 2] = [program("chromium", "chromium"), program("chromium-driver", "chromedriver")];
/// The kiosk: X11 client libraries that winit loads at start, a Vulkan loader and driver, the font and what takes one
/// face out of it, a virtual display and a finger for it.
const SCREEN: [Package; 11] = [
    library("fonts-noto-cjk"),
    program("libharfbuzz-bin", "hb-subset"),
    library("libvulkan1"),
    library("libx11-xcb1"),
    library("libxcursor1"),
    library("libxi6"),
    library("libxkbcommon-x11-0"),
    library("libxrandr2"),
    library("mesa-vulkan-drivers"),
    program("xvfb", "Xvfb"),
    program("xdotool", "xdotool"),
];
const MOSQUITTO: [Package; 1] = [program("mosquitto", "mosquitto")];

/// Installs the packages that are missing, or says which command would.
pub(super) fn install(places: &Places, extent: Extent) -> Result<()> {
    let mut wanted: Vec<&Package> = BUILD.iter().collect();
    if extent.browser {
        wanted.extend(&BROWSER);
    }
    if extent.screen {
        wanted.extend(&SCREEN);
    }
    if extent.mosquitto {
        wanted.extend(&MOSQUITTO);
    }
    let missing = missing(places, &wanted)?;
    if missing.is_empty() {
        println!("    packages: all {} are there", wanted.len());
        return Ok(());
    }
    println!("    packages: missing {}", missing.join(", "));
    if places.which("apt-get").is_none() {
        bail!(
            "this machine has no apt-get: install what provides these Debian packages by hand: {}",
            missing.join(" ")
        );
    }
    if !is_administrator()? {
        bail!(
            "packages are missing and installing them needs an administrator. Run this and start again:\n\n    \
             sudo apt-get update && sudo apt-get install --no-install-recommends -y {}\n",
            missing.join(" ")
        );
    }
    let mut update = places.command("apt-get");
    steps::call(update.args(["update", "-q"]))?;
    let mut install = places.command("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "-q", "-y", "--no-install-recommends"]).args(&missing);
    steps::call(&mut install)
}

fn missing(places: &Places, wanted: &[&Package]) -> Result<Vec<&'static str>> {
    let unseen: Vec<&'static str> = wanted
        .iter()
        .filter(|package| package.program.is_none_or(|program| places.which(program).is_none()))
        .map(|package| package.name)
        .collect();
    if unseen.is_empty() {
        return Ok(unseen);
    }
    if places.which("dpkg-query").is_none() {
        println!("    packages: no dpkg here, cannot tell whether these are there: {}", unseen.join(", "));
        return Ok(Vec::new());
    }
    let output = places
        .command("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(&unseen)
        .output()
        .context("failed to start dpkg-query")?;
    // It fails when any package is unknown and still lists the others.
    let installed: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix(" installed").map(str::to_owned))
        .collect();
    Ok(unseen.into_iter().filter(|name| !installed.contains(*name)).collect())
}

fn is_administrator() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("failed to start `id`")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim() == "0")
}
