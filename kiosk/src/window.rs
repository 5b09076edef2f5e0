//! The window fills the screen, also where nobody manages windows.
//!
//! A window manager makes a fullscreen window as large as the screen. Plain X has none: the wish is not heard, and the
//! window stays as small as it began. There the window is sized and placed by itself.

use std::time::Duration;

use bevy::{
    prelude::*,
    window::{Monitor, PrimaryMonitor, PrimaryWindow, WindowMode, WindowPosition},
};

/// A window manager has done its part by then.
const SETTLED: Duration = Duration::from_secs(1);

/// Fills the screen.
pub fn plugin(app: &mut App) {
    app.add_systems(Update, fill);
}

fn fill(
    time: Res<Time<Real>>,
    monitor: Option<Single<&Monitor, With<PrimaryMonitor>>>,
    window: Option<Single<&mut Window, With<PrimaryWindow>>>,
) {
    let (Some(monitor), Some(mut window)) = (monitor, window) else { return };
    let is_fullscreen = matches!(window.mode, WindowMode::BorderlessFullscreen(_));
    if !is_fullscreen || time.elapsed() < SETTLED || window.physical_size() == monitor.physical_size() {
        return;
    }
    info!("nobody manages windows here: the kiosk sizes its own to {}", monitor.physical_size());
    window.mode = WindowMode::Windowed;
    window.decorations = false;
    window.position = WindowPosition::At(monitor.physical_position);
    window.resolution.set_physical_resolution(monitor.physical_width, monitor.physical_height);
}

#[cfg(test)]
mod tests {
    use bevy::{time::TimeUpdateStrategy, window::MonitorSelection};

    use super::*;

    fn mode_after(window: (u32, u32), monitor: (u32, u32)) -> (WindowMode, UVec2) {
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, plugin))
            .insert_resource(TimeUpdateStrategy::ManualDuration(SETTLED));
        app.world_mut().spawn((
            PrimaryMonitor,
            Monitor {
                name: None,
                physical_width: monitor.0,
                physical_height: monitor.1,
                physical_position: IVec2::ZERO,
                refresh_rate_millihertz: None,
                scale_factor: 1.0,
                video_modes: Vec::new(),
            },
        ));
        let mode = WindowMode::BorderlessFullscreen(MonitorSelection::Primary);
        let mut shown = Window { mode, ..default() };
        shown.resolution.set_physical_resolution(window.0, window.1);
        app.world_mut().spawn((PrimaryWindow, shown));
        app.update();
        app.update();
        app.update();
        let window = app.world_mut().query::<&Window>().single(app.world()).unwrap();
        (window.mode, window.physical_size())
    }

    #[test]
    fn a_window_that_nobody_manages_is_made_as_large_as_the_screen() {
        assert_eq!(mode_after((800, 600), (1080, 1920)), (WindowMode::Windowed, UVec2::new(1080, 1920)));
    }

    #[test]
    fn a_window_that_fills_its_screen_is_left_alone() {
        let (mode, _) = mode_after((1080, 1920), (1080, 1920));
        assert_eq!(mode, WindowMode::BorderlessFullscreen(MonitorSelection::Primary));
    }
}
