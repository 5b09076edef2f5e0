//! `storehub-kiosk`: the kiosk on a screen, or one screen as a picture file.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use bevy::{prelude::*, render::RenderPlugin, window::WindowResolution, winit::WinitSettings};
use clap::{Parser, Subcommand};
use kiosk::{
    KioskPlugin,
    care::slip::{SLIP_BYTES_MAX, public_key, verify},
    check::{self, Finding, Outcome},
    config::{Config, ConfigError},
    equip, exits, graphics,
    i18n::Locale,
    logbook::log_plugin,
    measure::MeasurePlugin,
    screens::Screen,
    shot,
    staff::pin::Pin,
    theme::Look,
    watchdog::Heart,
};
use zeroize::Zeroizing;
use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped: pictures, codes and names of a visitor pass through libraries that know nothing of visitors.
#[global_allocator]
static WIPED_WHEN_FREED: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

/// The kiosk of a store: skin analysis, origin tracing, and the store right now.
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration; `kiosk.example.toml` is complete and commented.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// The first screen: attract, home, consent, skin, origin, try-on, pick-up, offers, staff or fault.
    #[arg(long, value_name = "NAME", value_parser = screen)]
    screen: Option<Screen>,
    /// Renders the screen to a PNG without a window, prints what it says as one line of JSON, and ends.
    #[arg(long, value_name = "FILE.png", value_parser = png)]
    shot: Option<PathBuf>,
    /// With `--shot`: shows pick-up or staff in a state, with an invented order; a wrong one names those that there are.
    #[arg(long, value_name = "STATE", requires = "shot")]
    state: Option<String>,
    /// Speaks this language instead of the configured one: zh-CN or en.
    #[arg(long, value_name = "TAG", value_parser = locale)]
    locale: Option<Locale>,
    /// Begins in high contrast.
    #[arg(long)]
    high_contrast: bool,
    /// A window instead of the whole screen.
    #[arg(long)]
    windowed: bool,
    /// Prints what the screen says and where it can be touched as one line of JSON, whenever that changes.
    #[arg(long, conflicts_with = "shot")]
    say: bool,
    /// Draws as fast as it can for these seconds, prints how long frames took as one line of JSON, and goes on.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    measure: Option<u64>,
    /// A drill: loses the graphics device once, these seconds after the start.
    #[arg(long, value_name = "SECONDS", conflicts_with = "shot", value_parser = clap::value_parser!(u64).range(1..=3600))]
    lose_graphics_after: Option<u64>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Asks for the staff's PIN and prints the line for `[staff]` in the configuration.
    StaffPin,
    /// Reads the text of a visitor's slip from standard input and says until when it holds, or why it does not.
    Slip {
        /// The configuration of the kiosk that has signed it.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Says what would keep the kiosk from starting and which feature would be missing, without a screen. A kiosk that
    /// runs meanwhile connects anew to its hub.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One line of JSON for each finding.
        #[arg(long)]
        json: bool,
    },
}

fn screen(name: &str) -> Result<Screen, String> {
    let known: Vec<_> = Screen::ALL.iter().map(|screen| screen.name()).collect();
    Screen::parse(name).ok_or_else(|| format!("known are {}", known.join(", ")))
}

fn locale(tag: &str) -> Result<Locale, String> {
    let known: Vec<_> = Locale::ALL.iter().map(|locale| locale.tag()).collect();
    Locale::parse(tag).ok_or_else(|| format!("known are {}", known.join(", ")))
}

fn main() -> ExitCode {
    if let Err(error) = vision::start_quietly() {
        let _ = writeln!(
            io::stderr(),
            "storehub-kiosk: failed to start without reports of ONNX Runtime: {error}"
        );
        return ExitCode::FAILURE;
    }
    match run(Arguments::parse()) {
        Ok(AppExit::Success) => ExitCode::SUCCESS,
        Ok(AppExit::Error(code)) => ExitCode::from(code.get()),
        Err(error) => {
            // Nobody may be reading.
            let _ = writeln!(io::stderr(), "storehub-kiosk: {}", lines(&format!("{error:#}")));
            match error.downcast_ref::<ConfigError>() {
                Some(_) => ExitCode::from(exits::MISCONFIGURED),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// Asks twice on a terminal, without showing the digits; reads one line where there is none.
fn staff_pin() -> anyhow::Result<()> {
    let pin = if std::io::stdin().is_terminal() {
        let ask = |prompt| {
            let text = rpassword::prompt_password(prompt).map(Zeroizing::new);
            Ok::<_, anyhow::Error>(Pin::parse(text.context("the PIN cannot be read")?.trim())?)
        };
        let pin = ask("PIN, 4 to 8 digits: ")?;
        if ask("Once more: ")? != pin {
            bail!("the two PINs are not the same");
        }
        pin
    } else {
        let mut line = Zeroizing::new(String::with_capacity(64));
        std::io::stdin().lock().take(64).read_line(&mut line).context("the PIN cannot be read")?;
        Pin::parse(line.trim())?
    };
    writeln!(io::stdout(), "pin_hash = \"{}\"", pin.hash()?).context("nobody reads the hash")
}

/// Says whether the slip on standard input holds.
fn slip(config: &Config) -> anyhow::Result<()> {
    let folder =
        config.data_dir.as_deref().context("`kiosk.data_dir` is needed: without it no key is kept")?;
    let key = public_key(folder)?;
    let mut text = String::new();
    let bytes_max = 4 * SLIP_BYTES_MAX;
    io::stdin()
        .lock()
        .take(bytes_max as u64 + 1)
        .read_to_string(&mut text)
        .context("the slip cannot be read")?;
    if bytes_max < text.len() {
        bail!("this is no slip: it is longer than {bytes_max} bytes");
    }
    let until = verify(&text, &key, jiff::Timestamp::now())?;
    writeln!(io::stdout(), "the slip holds until {until}").context("nobody reads the answer")
}

fn check(file: &Path, json: bool) -> anyhow::Result<AppExit> {
    let (findings, code) = match Config::load(file) {
        Ok(config) => (check::findings(file, &config), AppExit::error()),
        Err(error) => {
            let words = format!("{:#}", anyhow::Error::from(error));
            let finding = Finding { what: "config", outcome: Outcome::Bad, words };
            (vec![finding], AppExit::from_code(exits::MISCONFIGURED))
        }
    };
    let mut out = io::stdout().lock();
    for Finding { what, outcome, words } in &findings {
        let outcome = match outcome {
            Outcome::Good => "ok",
            Outcome::Warning => "warning",
            Outcome::Bad => "bad",
        };
        if json {
            writeln!(out, "{}", serde_json::json!({ "check": what, "outcome": outcome, "message": words }))?;
        } else {
            writeln!(out, "{outcome:<8} {what}: {}", lines(words))?;
        }
    }
    let is_bad = findings.iter().any(|finding| finding.outcome == Outcome::Bad);
    Ok(if is_bad { code } else { AppExit::Success })
}

/// Lines of which none but the first begins with what stands in a file's name or a value, and nothing that moves a cursor.
fn lines(text: &str) -> String {
    let is_moving = |letter: char| letter.is_control() || vision::is_bidi_control(letter);
    let lines = text.trim_end().split('\n').map(|line| line.replace(is_moving, "\u{fffd}"));
    lines.collect::<Vec<_>>().join("\n         ")
}

fn png(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    let is_png = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
    if is_png { Ok(path) } else { Err("a name that ends in .png is needed".to_owned()) }
}

fn run(arguments: Arguments) -> anyhow::Result<AppExit> {
    match arguments.command {
        Some(Command::StaffPin) => {
            staff_pin()?;
            return Ok(AppExit::Success);
        }
        Some(Command::Slip { config }) => {
            slip(&Config::load(&config)?)?;
            return Ok(AppExit::Success);
        }
        Some(Command::Check { config, json }) => return check(&config, json),
        None => {}
    }
    exits::forbid_core_dumps();
    let path = arguments.config.context("`--config FILE` is needed")?;
    let mut config = Config::load(&path)?;
    if let Some(locale) = arguments.locale {
        config.display.locale = locale;
    }
    let screen = arguments.screen.unwrap_or_default();
    let look = if arguments.high_contrast { Look::HighContrast } else { Look::Light };
    if let Some(path) = &arguments.shot {
        let said = shot::take(&config, screen, arguments.state.as_deref(), look, path)
            .context("no picture was taken")?;
        writeln!(io::stdout(), "{said}").context("nobody reads what the screen says")?;
        return Ok(AppExit::Success);
    }
    if std::env::var_os("DISPLAY").is_none_or(|display| display.is_empty()) {
        bail!(
            "there is no display (DISPLAY is not set); start an X server, or use --screen NAME --shot FILE.png"
        );
    }
    let (width, height) = config.display.orientation.size();
    let window = Window {
        title: "Storehub".to_owned(),
        resolution: WindowResolution::new(width, height),
        decorations: arguments.windowed,
        ..default()
    };
    let mut app = App::new();
    let log = log_plugin(&mut app, config.log.as_ref())?;
    let plugins = DefaultPlugins
        .set(WindowPlugin { primary_window: Some(window), ..default() })
        .set(RenderPlugin { render_creation: graphics::settings(), ..default() })
        .set(log);
    app.add_plugins(plugins)
        // From the first frame on the pace is what moves and who is there (`theme::motion`).
        .insert_resource(WinitSettings::desktop_app())
        .add_plugins(KioskPlugin)
        .add_systems(Startup, |mut commands: Commands| {
            commands.spawn((Camera2d, Msaa::Off, IsDefaultUiCamera));
        });
    if !arguments.windowed {
        app.add_plugins(kiosk::window::plugin);
    }
    exits::log_panics_and_end();
    app.insert_resource(Heart::start().context("the watchdog's thread cannot be started")?);
    equip(&mut app, &config, screen)?;
    app.insert_resource(look);
    if arguments.say {
        app.add_plugins(kiosk::said::aloud);
    }
    if let Some(seconds) = arguments.measure {
        app.add_plugins(MeasurePlugin { measured: Duration::from_secs(seconds) });
    }
    if let Some(seconds) = arguments.lose_graphics_after {
        app.add_plugins(graphics::DrillPlugin { after: Duration::from_secs(seconds) });
    }
    Ok(app.run())
}
