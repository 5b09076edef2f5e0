//! `cargo xtask shots`: the pictures of the README, made from the running product; and those that tests compare with.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    children::{Children, StopSign, get_json},
    demo,
    places::Places,
    seeding::Seeding,
    setup, steps,
};

/// How long the store must be busy until a page is worth a picture.
const BUSY_MAX: Duration = Duration::from_secs(90);
const SENSORS_MIN: usize = 18;
/// Picture files are made within this time each.
const SHOT_MAX: Duration = Duration::from_secs(120);
/// Virtual time that a page may use before its picture: its first events have arrived by then.
const PAGE_BUDGET_MS: u32 = 4_000;
const SCREENS: [&str; 8] = ["attract", "home", "skin", "care", "origin", "try-on", "pick-up", "offers"];
const LANGUAGES: [(&str, &str); 2] = [("zh", "zh-CN"), ("en", "en")];

/// Makes every picture anew.
pub(crate) fn run(places: &Places) -> Result<()> {
    setup::run(places, setup::Extent { mosquitto: false, cargo_tools: false, ..setup::Extent::ALL })?;
    let places = &demo::build(places, true)?;
    let folder = places.root.join("docs/screenshots");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    let sign = StopSign::of_user()?;
    let dir = std::env::temp_dir().join(format!("storehub-shots-{}", std::process::id()));
    let seeding = Seeding::in_dir(places, &dir)?;
    let mut children = Children::new(seeding.dir(), sign.clone());
    let addresses = demo::start(&seeding, &mut children, 60, 7)?;
    wait_until_busy(&mut children, &addresses.hub_http, &sign)?;

    for (short, tag) in LANGUAGES {
        let url = format!("http://{}/?lang={tag}", addresses.hub_http);
        page(places, seeding.dir(), &url, tag, 1500, &folder.join(format!("staff-{short}.png")))?;
    }
    let url = format!("http://{}/", addresses.hq_http);
    page(places, seeding.dir(), &url, "en", 480, &folder.join("hq.png"))?;

    seeding.kiosk(&addresses.hub_mqtt)?;
    for screen in SCREENS {
        for (short, tag) in LANGUAGES {
            let file = folder.join(format!("kiosk-{screen}-{short}.png"));
            let mut shot = seeding.program("storehub-kiosk");
            shot.args(["--config", "kiosk.toml", "--screen", screen, "--locale", tag, "--shot"]).arg(&file);
            println!("    {}", steps::shown(&shot));
            children.start("kiosk-shot", &mut shot)?;
            children.wait("kiosk-shot", SHOT_MAX)?;
            made(&file)?;
        }
    }
    children.stop();
    fs::remove_dir_all(&dir).ok();
    Ok(())
}

/// Makes the pictures anew that the kiosk's tests compare with.
pub(crate) fn goldens(places: &Places) -> Result<()> {
    setup::run(places, setup::Extent { browser: false, mosquitto: false, ..setup::Extent::ALL })?;
    let folder = places.root.join("kiosk/goldens");
    if folder.exists() {
        // A state that is gone leaves no picture behind.
        fs::remove_dir_all(&folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    let mut tests = places.cargo();
    tests.args([
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "-E",
        "package(storehub-kiosk) & test(/goldens::every/)",
    ]);
    steps::call(tests.env("STOREHUB_REMAKE_GOLDENS", "1"))?;
    println!("    look at `{}` before you commit it", folder.display());
    Ok(())
}

fn wait_until_busy(children: &mut Children, hub_http: &str, sign: &StopSign) -> Result<()> {
    let looks = BUSY_MAX.as_secs();
    for _ in 0..looks {
        children.check()?;
        let store = get_json(hub_http, "/api/store").unwrap_or_default();
        let sensors = store["sensors"].as_array().map_or(0, Vec::len);
        let people = store["traffic"]["count_in"].as_u64().unwrap_or(0);
        if SENSORS_MIN <= sensors && 20 <= people {
            return Ok(());
        }
        if sign.wait(Duration::from_secs(1)) {
            bail!("stopped");
        }
    }
    bail!("the simulated store was not busy within {BUSY_MAX:?}")
}

/// A page as a picture that is `height` pixels high.
fn page(places: &Places, dir: &Path, url: &str, language: &str, height: u32, file: &Path) -> Result<()> {
    let mut chromium: Command = places.command("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.args(["--disable-dev-shm-usage", "--hide-scrollbars"]);
    chromium.arg(format!("--window-size=1280,{height}"));
    chromium.args([&format!("--lang={language}"), &format!("--accept-lang={language}")]);
    chromium.arg(format!("--user-data-dir={}", dir.join("browser").display()));
    chromium
        .arg(format!("--timeout={PAGE_BUDGET_MS}"))
        .arg(format!("--screenshot={}", file.display()))
        .arg(url);
    let line = steps::shown(&chromium);
    println!("    {line}");
    let output = chromium.output().context("failed to start chromium")?;
    if !output.status.success() {
        bail!("`{line}` ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    made(file)
}

fn made(file: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("no picture was written to `{}`", file.display()))?;
    if !bytes.starts_with(b"\x89PNG") {
        bail!("`{}` is no PNG", file.display());
    }
    println!("    {} ({} KiB)", file.display(), bytes.len() / 1024);
    Ok(())
}
