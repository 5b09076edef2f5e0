//! `storehub-kiosk`: the kiosk on a screen, or one screen as a picture file.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use bevy::{
    prelude::*,
    window::{MonitorSelection, WindowMode, WindowResolution},
    winit::{UpdateMode, WinitSettings},
};
use clap::Parser;
use kiosk::{
    KioskPlugin, config::Config, equip, i18n::Locale, measure::MeasurePlugin, screens::Screen, shot,
};

/// The kiosk of a store: skin analysis, origin tracing, and the store right now.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// The configuration; `kiosk.example.toml` is complete and commented.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The first screen: attract, home, consent, skin, origin, try-on, pick-up, offers, staff or fault.
    #[arg(long, value_name = "NAME", value_parser = screen)]
    screen: Option<Screen>,
    /// Renders the screen to a PNG without a window, prints what it says as one line of JSON, and ends.
    #[arg(long, value_name = "FILE.png")]
    shot: Option<PathBuf>,
    /// Speaks this language instead of the configured one: zh-CN or en.
    #[arg(long, value_name = "TAG", value_parser = locale)]
    locale: Option<Locale>,
    /// A window instead of the whole screen.
    #[arg(long)]
    windowed: bool,
    /// Draws as fast as it can for these seconds, prints how long frames took as one line of JSON, and goes on.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    measure: Option<u64>,
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
    match run(Arguments::parse()) {
        Ok(AppExit::Success) => ExitCode::SUCCESS,
        Ok(AppExit::Error(_)) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("storehub-kiosk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<AppExit> {
    let mut config = Config::load(&arguments.config)?;
    if let Some(locale) = arguments.locale {
        config.display.locale = locale;
    }
    let screen = arguments.screen.unwrap_or_default();
    if let Some(path) = &arguments.shot {
        let said = shot::take(&config, screen, path).context("no picture was taken")?;
        println!("{said}");
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
        mode: if arguments.windowed {
            WindowMode::Windowed
        } else {
            WindowMode::BorderlessFullscreen(MonitorSelection::Primary)
        },
        ..default()
    };
    let mut app = App::new();
    app.add_plugins(DefaultPlugins.set(WindowPlugin { primary_window: Some(window), ..default() }))
        // A kiosk that nobody touches draws four frames a second: enough for live figures, and it stays cool.
        .insert_resource(WinitSettings {
            focused_mode: UpdateMode::reactive(Duration::from_millis(250)),
            unfocused_mode: UpdateMode::reactive(Duration::from_millis(250)),
        })
        .add_plugins(KioskPlugin)
        .add_systems(Startup, |mut commands: Commands| {
            commands.spawn((Camera2d, Msaa::Off, IsDefaultUiCamera));
        });
    equip(&mut app, &config, screen)?;
    if let Some(seconds) = arguments.measure {
        app.add_plugins(MeasurePlugin { measured: Duration::from_secs(seconds) });
    }
    Ok(app.run())
}
