//! The window fills the screen, also where nobody manages windows.
//!
//! A window manager makes a fullscreen window as large as the screen. Plain X has none: a window that is born fullscreen
//! stays there as small as winit's default, and nobody says so. So the window is born with a size and a place of its own,
//! takes the screen's as soon as that is known, and asks to be fullscreen only then.

use bevy::{
    prelude::*,
    window::{Monitor, MonitorSelection, PrimaryMonitor, PrimaryWindow, WindowMode, WindowPosition},
};

/// Fills the screen.
pub fn plugin(app: &mut App) {
    app.add_systems(Update, fill);
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Filled {
    #[default]
    No,
    /// The window was told its size.
    Sized,
    Fullscreen,
}

fn fill(
    mut filled: Local<Filled>,
    monitor: Option<Single<&Monitor, With<PrimaryMonitor>>>,
    window: Option<Single<&mut Window, With<PrimaryWindow>>>,
) {
    let (Some(monitor), Some(mut window)) = (monitor, window) else { return };
    *filled = match *filled {
        Filled::No => {
            window.position = WindowPosition::At(monitor.physical_position);
            window.resolution.set_physical_resolution(monitor.physical_width, monitor.physical_height);
            Filled::Sized
        }
        Filled::Sized => {
            window.mode = WindowMode::BorderlessFullscreen(MonitorSelection::Primary);
            Filled::Fullscreen
        }
        Filled::Fullscreen => Filled::Fullscreen,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_the_screens_size_before_it_asks_to_be_fullscreen() {
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, plugin));
        let window = app.world_mut().spawn((PrimaryWindow, Window::default())).id();
        app.update();
        assert_eq!(app.world().get::<Window>(window).unwrap().mode, WindowMode::Windowed, "no screen yet");
        app.world_mut().spawn((
            PrimaryMonitor,
            Monitor {
                name: None,
                physical_width: 2160,
                physical_height: 3840,
                physical_position: IVec2::new(100, 0),
                refresh_rate_millihertz: None,
                scale_factor: 1.0,
                video_modes: Vec::new(),
            },
        ));
        app.update();
        let shown = app.world().get::<Window>(window).unwrap();
        assert_eq!((shown.mode, shown.physical_size()), (WindowMode::Windowed, UVec2::new(2160, 3840)));
        assert_eq!(shown.position, WindowPosition::At(IVec2::new(100, 0)));
        app.update();
        let shown = app.world().get::<Window>(window).unwrap();
        assert_eq!(shown.mode, WindowMode::BorderlessFullscreen(MonitorSelection::Primary));
    }
}
