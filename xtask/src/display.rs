//! Somewhere for the kiosk to show itself: the user's display, or a virtual one.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{children::Children, places::Places};

/// Display numbers that are tried.
const NUMBERS: std::ops::Range<u32> = 90..120;
/// A kiosk's portrait screen.
const SCREEN: &str = "1080x1920x24";

/// The display of the user, if there is one.
pub(crate) fn of_user() -> Option<String> {
    env::var("DISPLAY").ok().filter(|display| !display.is_empty())
}

/// Starts a virtual display; gives its name.
pub(crate) fn start_virtual(places: &Places, children: &mut Children) -> Result<String> {
    if places.which("Xvfb").is_none() {
        bail!(
            "there is no display and no Xvfb to make one: install the package xvfb, or leave the kiosk out with --headless"
        );
    }
    let free = |number: &u32| !Path::new(&socket(*number)).exists();
    let number = NUMBERS.into_iter().find(free).context("every virtual display number is taken")?;
    let display = format!(":{number}");
    let mut xvfb = places.command("Xvfb");
    xvfb.args([&display, "-screen", "0", SCREEN, "-nolisten", "tcp"]);
    children.start("xvfb", &mut xvfb)?;
    let pause = crate::children::StopSign::default();
    for _ in 0..100 {
        children.check()?;
        if fs::metadata(socket(number)).is_ok() {
            return Ok(display);
        }
        pause.wait(std::time::Duration::from_millis(100));
    }
    bail!("the virtual display {display} did not come up within 10 s")
}

/// Where an X server keeps its socket.
fn socket(number: u32) -> String {
    env::temp_dir().join(format!(".X11-unix/X{number}")).display().to_string()
}
