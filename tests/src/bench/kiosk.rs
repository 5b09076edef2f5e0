//! The kiosk's start, frames, memory and idle cost, beside the least that Bevy can show and beside the same picture as a
//! page in Chromium's kiosk mode. All three draw on a virtual display of the same size.
//!
//! *First content* is when the display shows more than a plain ground, read from the display's own memory, so that it
//! means the same for every contender. Frames are counted inside of each contender while it draws as fast as it can;
//! memory (proportional set size) and idle cost are read from the operating system, over the whole tree of processes.

mod page;
mod processes;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, timeout},
};

use crate::{
    bench::report,
    harness::{Display, program},
};
use page::Page;

/// Screens that can be shown without a hub and a visitor.
const SCREENS: [&str; 4] = ["attract", "home", "skin", "origin"];
/// How long frames are counted.
const COUNTED: Duration = Duration::from_secs(5);
/// The contenders warm up for two seconds before; the rest is for slow machines.
const FRAMES_LIMIT: Duration = Duration::from_secs(60);
const FIRST_CONTENT_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// After the frames, before idle cost is read.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);

/// What one contender took.
#[derive(Debug)]
struct Measured {
    name: String,
    first_content: Duration,
    frames: Value,
    memory_mib: f64,
    idle_percent: f64,
}

/// Runs every contender once.
///
/// # Errors
/// When there is no Xvfb, or a contender cannot be started or shows nothing.
pub async fn run() -> Result<()> {
    let dir = TempDir::new().context("failed to make a folder")?;
    let config = dir.path().join("kiosk.toml");
    fs::write(&config, configuration()?).context("failed to write the kiosk's configuration")?;
    let mut all = Vec::new();
    for screen in SCREENS {
        let display = Display::start(dir.path()).await?;
        let mut kiosk = Command::new(program("storehub-kiosk"));
        kiosk.args([
            "--windowed",
            "--screen",
            screen,
            "--measure",
            &COUNTED.as_secs().to_string(),
            "--config",
        ]);
        kiosk.arg(&config).envs(service_environment());
        all.push(native(&format!("kiosk, {screen}"), kiosk, &display).await?);
    }
    {
        let display = Display::start(dir.path()).await?;
        let mut hello = Command::new(program("hello"));
        hello.arg(font()?);
        all.push(native("plain Bevy, one line of text", hello, &display).await?);
    }
    match chromium(dir.path()).await? {
        Some(measured) => all.push(measured),
        None => println!("chromium is not installed: not compared with (`cargo xtask setup`)"),
    }
    show(&all)
}

/// What the service gives the kiosk beside its configuration.
fn service_environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    const SERVICE: &str = include_str!("../../../kiosk/packaging/storehub-kiosk.service");
    let settings = SERVICE.lines().filter_map(|line| line.strip_prefix("Environment="));
    settings.flat_map(str::split_whitespace).filter_map(|setting| setting.split_once('='))
}

/// A program of ours that says its frames on standard output.
async fn native(name: &str, mut command: Command, display: &Display) -> Result<Measured> {
    println!("{name}");
    command
        .env("DISPLAY", display.name())
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("failed to start {name}"))?;
    let first_content = first_content(name, display, started).await?;
    let stdout = child.stdout.take().context("standard output is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = timeout(FRAMES_LIMIT, lines.next_line())
        .await
        .with_context(|| format!("{name} did not say its frames within {FRAMES_LIMIT:?}"))??
        .with_context(|| format!("{name} ended before it said its frames"))?;
    let frames = serde_json::from_str(&line).with_context(|| format!("{name} said `{line}`"))?;
    finish(name, first_content, frames, child).await
}

async fn chromium(dir: &Path) -> Result<Option<Measured>> {
    let name = "Chromium, the home screen as a page";
    let display = Display::start(dir).await?;
    let page = Page::serve(COUNTED).await?;
    let mut command = Command::new("chromium");
    command
        .args(["--kiosk", "--no-sandbox", "--no-first-run", "--disable-quic", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"])
        .args(["--window-position=0,0", "--window-size=1080,1920", "--force-device-scale-factor=1"])
        .arg(format!("--user-data-dir={}", dir.join("chromium").display()))
        .arg(page.url())
        .env("DISPLAY", display.name())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let started = Instant::now();
    let Ok(child) = command.spawn() else { return Ok(None) };
    println!("{name}");
    let first_content = first_content(name, &display, started).await?;
    let frames = timeout(FRAMES_LIMIT, page.frames())
        .await
        .with_context(|| format!("the page did not say its frames within {FRAMES_LIMIT:?}"))??;
    finish(name, first_content, frames, child).await.map(Some)
}

async fn first_content(name: &str, display: &Display, started: Instant) -> Result<Duration> {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    while started.elapsed() < FIRST_CONTENT_LIMIT {
        looks.tick().await;
        if display.has_content()? {
            return Ok(started.elapsed());
        }
    }
    bail!("{name} showed nothing within {FIRST_CONTENT_LIMIT:?}")
}

/// Idle cost and memory, then the end of its processes.
async fn finish(name: &str, first_content: Duration, frames: Value, mut child: Child) -> Result<Measured> {
    let root = child.id().with_context(|| format!("{name} has ended"))?;
    tokio::time::sleep(SETTLE).await;
    let before = processes::cpu(root);
    tokio::time::sleep(IDLE).await;
    let spent = processes::cpu(root).saturating_sub(before);
    let memory = processes::memory_bytes(root);
    ensure!(child.try_wait()?.is_none(), "{name} ended while it was idle");
    child.kill().await.with_context(|| format!("failed to end {name}"))?;
    #[expect(clippy::cast_precision_loss, reason = "bytes of a few processes")]
    let memory_mib = memory as f64 / f64::from(1 << 20);
    let idle_percent = 100.0 * spent.as_secs_f64() / IDLE.as_secs_f64();
    Ok(Measured { name: name.to_owned(), first_content, frames, memory_mib, idle_percent })
}

fn show(all: &[Measured]) -> Result<()> {
    let number =
        |value: &Value| value.as_f64().map_or_else(|| "none".to_owned(), |value| format!("{value:.1}"));
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            vec![
                one.name.clone(),
                format!("{:.2}", one.first_content.as_secs_f64()),
                number(&one.frames["p50_ms"]),
                number(&one.frames["p99_ms"]),
                format!("{:.0}", one.memory_mib),
                format!("{:.1}", one.idle_percent),
            ]
        })
        .collect();
    println!(
        "\nkiosk: 1080 x 1920, no window manager, {} s of frames, {} s idle\n",
        COUNTED.as_secs(),
        IDLE.as_secs()
    );
    println!(
        "{}",
        report::table(
            &["", "first content s", "frame p50 ms", "frame p99 ms", "memory MiB", "idle % of a core"],
            &rows
        )
    );
    let result = json!({
        "bench": "kiosk",
        "contenders": all.iter().map(|one| json!({
            "name": one.name,
            "first_content_s": one.first_content.as_secs_f64(),
            "frames": one.frames,
            "memory_mib": one.memory_mib,
            "idle_percent_of_a_core": one.idle_percent,
        })).collect::<Vec<_>>(),
    });
    let path = report::write("kiosk", &result).context("failed to write the result")?;
    println!("written to {}", path.display());
    Ok(())
}

fn workspace() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the workspace")
}

/// A kiosk that stands alone, with the demonstration's pictures before its camera.
fn configuration() -> Result<String> {
    let root = workspace()?;
    let mut example: toml::Table = fs::read_to_string(root.join("kiosk/kiosk.example.toml"))
        .context("failed to read the example")?
        .parse()?;
    example.remove("hub");
    let text = example.to_string();
    // Paths of the example are relative to its own folder.
    Ok(text
        .replace("\"../", &format!("\"{}/", root.display()))
        .replace("file:../", &format!("file:{}/", root.display())))
}

/// The kiosk's own font, so that both have the same letters to load.
fn font() -> Result<PathBuf> {
    let cache = std::env::var_os("STOREHUB_CACHE").map_or_else(
        || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/storehub")),
        |path| Some(path.into()),
    );
    let font = cache.context("HOME is not set")?.join("fonts/NotoSansCJKsc-Regular.otf");
    ensure!(font.is_file(), "`{}` is missing; `cargo xtask setup` makes it", font.display());
    Ok(font)
}
