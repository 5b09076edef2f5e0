//! `cargo xtask setup`: what is missing on this machine, and only that. Quick when nothing is.
//!
//! Packages of the distribution are installed when an administrator runs it; anybody else gets the exact command to run.
//! Everything else goes into the cache folder.

mod cargo_tools;
mod font;
mod onnx;
mod packages;

use anyhow::Result;

use crate::places::Places;

/// What a command is going to need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// The browser, for the staff page's journeys and the screenshots.
    pub(crate) browser: bool,
    /// A virtual display and a software renderer, for the kiosk.
    pub(crate) screen: bool,
    /// Mosquitto, to measure beside.
    pub(crate) mosquitto: bool,
    /// `cargo nextest` and `cargo deny`.
    pub(crate) cargo_tools: bool,
    /// ONNX Runtime; a screen brings it along.
    pub(crate) networks: bool,
}

impl Extent {
    /// Everything.
    pub(crate) const ALL: Self =
        Self { browser: true, screen: true, mosquitto: true, cargo_tools: true, networks: true };
    /// `cargo xtask test`.
    pub(crate) const TEST: Self = Self { mosquitto: false, ..Self::ALL };
    /// `cargo xtask demo`.
    pub(crate) const DEMO: Self = Self { screen: true, mosquitto: false, ..Self::BENCH };
    /// `cargo xtask bench`.
    pub(crate) const BENCH: Self =
        Self { browser: false, screen: false, mosquitto: true, cargo_tools: false, networks: false };
    /// `cargo xtask bench skin`.
    pub(crate) const NETWORKS: Self = Self { mosquitto: false, networks: true, ..Self::BENCH };
}

/// Installs what is missing.
pub(crate) fn run(places: &Places, extent: Extent) -> Result<()> {
    packages::install(places, extent)?;
    if extent.screen || extent.networks {
        onnx::install(places)?;
    }
    if extent.screen {
        font::install(places)?;
    }
    if extent.cargo_tools {
        cargo_tools::install(places)?;
    }
    Ok(())
}
