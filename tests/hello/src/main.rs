//! The least that Bevy can show in a window: what the kiosk's start, frames and memory are compared with.

use std::time::Duration;

use bevy::{prelude::*, window::WindowResolution};
use kiosk::measure::MeasurePlugin;

fn main() -> AppExit {
    let font = std::env::args_os().nth(1).map(|path| std::fs::read(path).expect("the font can be read"));
    let window = Window { resolution: WindowResolution::new(1080, 1920), ..default() };
    App::new()
        .add_plugins(DefaultPlugins.set(WindowPlugin { primary_window: Some(window), ..default() }))
        .add_plugins(MeasurePlugin { measured: Duration::from_secs(5) })
        .add_systems(Startup, move |mut commands: Commands, mut fonts: ResMut<Assets<Font>>| {
            commands.spawn((Camera2d, Msaa::Off));
            let font = font.clone().map(|bytes| fonts.add(Font::from_bytes(bytes)));
            let face =
                font.map_or_else(TextFont::default, |font| TextFont { font: font.into(), ..default() });
            commands.spawn((Text::new("Hello, world"), face));
        })
        .run()
}
