//! The graphics device: how it is opened, what is drawn on it, and what becomes of it when it is lost.
//!
//! Owns: the device's settings, the policy for its errors. Does not own: textures of visitors (`textures`).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bevy::{
    core_pipeline::core_2d::prepare_core_2d_depth_textures,
    ecs::schedule::ScheduleCleanupPolicy,
    prelude::*,
    render::{
        Render, RenderApp, RenderStartup,
        error_handler::{ErrorType, RenderError, RenderErrorHandler, RenderErrorPolicy},
        renderer::RenderDevice,
        settings::{MemoryHints, RenderCreation, WgpuSettings},
    },
};

use crate::exits;

/// Draws the interface alone, and outlives a lost device. Needs the renderer before it.
pub(crate) fn plugin(app: &mut App) {
    app.insert_resource(RenderErrorHandler(on_render_error));
    if let Some(render) = app.get_sub_app_mut(RenderApp) {
        without_depth(render.world_mut());
        render.add_systems(RenderStartup, |mut commands: Commands| commands.remove_resource::<Renewing>());
    }
}

/// Whether there is another graphics device than in the frame before: images without data in this world are to be
/// painted again.
pub(crate) fn is_device_new(device: Option<Res<RenderDevice>>) -> bool {
    device.is_some_and(|device| device.is_changed())
}

/// The interface lies in no scene: a depth of the screen's size would be cleared in each frame and never be asked.
/// Without one, the passes of the scene do not run.
fn without_depth(world: &mut World) {
    let removed = world.schedule_scope(Render, |world, schedule| {
        schedule.remove_systems_in_set(
            prepare_core_2d_depth_textures,
            world,
            ScheduleCleanupPolicy::RemoveSystemsOnly,
        )
    });
    if let Err(error) = removed {
        warn!("a screen of memory goes to a depth that nobody needs: {error}");
    }
}

/// Devices that may be lost within [`LATELY`] before the process starts anew.
const LOSSES_MAX: usize = 3;
/// Frames that may fail within [`LATELY`] before the device is taken for lost.
const FAULTS_MAX: usize = 20;
const LATELY: Duration = Duration::from_secs(60);

/// How the graphics device is opened: in small blocks of memory, since a kiosk is a few textures on a small machine.
#[must_use]
pub fn settings() -> RenderCreation {
    WgpuSettings { memory_hints: MemoryHints::MemoryUsage, ..default() }.into()
}

/// When something went wrong lately.
#[derive(Default)]
struct Recent(VecDeque<Instant>);

impl Recent {
    /// Counts one more at `now`; how many there are.
    fn count(&mut self, now: Instant) -> usize {
        self.0.retain(|then| now.saturating_duration_since(*then) < LATELY);
        self.0.push_back(now);
        self.0.len()
    }
}

/// What becomes of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// One frame was lost; the next one may be whole.
    GoOn,
    /// Another device is made.
    Renew,
    /// The process ends and is started anew.
    End,
}

/// What went wrong with the graphics device lately. In the main world, which outlives it.
#[derive(Resource, Default)]
struct Troubles {
    losses: Recent,
    faults: Recent,
}

impl Troubles {
    fn remedy(&mut self, error: ErrorType, is_renewing: bool, now: Instant) -> Remedy {
        match error {
            // What the lost device still said. To go on would be to go on with that one.
            ErrorType::Validation if is_renewing => Remedy::Renew,
            ErrorType::Validation if self.faults.count(now) <= FAULTS_MAX => Remedy::GoOn,
            ErrorType::Validation | ErrorType::DeviceLost if self.losses.count(now) <= LOSSES_MAX => {
                self.faults = Recent::default();
                Remedy::Renew
            }
            ErrorType::Validation | ErrorType::DeviceLost | ErrorType::OutOfMemory | ErrorType::Internal => {
                Remedy::End
            }
        }
    }
}

/// In the render world: a device was lost, and the next one does not draw yet.
#[derive(Resource)]
struct Renewing;

/// A lost device is made anew. Where that does not help, the process ends with a code of its own and is started anew:
/// a screen that no longer changes would lie to its visitor.
fn on_render_error(error: &RenderError, world: &mut World, render: &mut World) -> RenderErrorPolicy {
    let is_renewing = render.contains_resource::<Renewing>();
    let remedy = world.get_resource_or_init::<Troubles>().remedy(error.ty, is_renewing, Instant::now());
    error!("rendering failed: {:?}: {} ({remedy:?})", error.ty, error.description);
    match remedy {
        Remedy::GoOn => RenderErrorPolicy::Ignore,
        Remedy::Renew => {
            render.insert_resource(Renewing);
            RenderErrorPolicy::Recover(settings())
        }
        Remedy::End => {
            world.write_message(AppExit::from_code(exits::BLIND));
            RenderErrorPolicy::StopRendering
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_made_anew_a_few_times_and_then_the_process_is() {
        let mut troubles = Troubles::default();
        let start = Instant::now();
        let mut lost = |now| troubles.remedy(ErrorType::DeviceLost, false, now);
        let remedies: Vec<_> = (0..5).map(|_| lost(start)).collect();
        assert_eq!(remedies, [Remedy::Renew, Remedy::Renew, Remedy::Renew, Remedy::End, Remedy::End]);
        assert_eq!(lost(start + LATELY), Remedy::Renew, "that was long ago");
        assert_eq!(troubles.remedy(ErrorType::OutOfMemory, false, start), Remedy::End);
    }

    #[test]
    fn a_failed_frame_is_lived_with_and_a_screen_that_fails_for_good_is_not() {
        let mut troubles = Troubles::default();
        let start = Instant::now();
        let mut failed = |is_renewing| troubles.remedy(ErrorType::Validation, is_renewing, start);
        assert_eq!(failed(true), Remedy::Renew, "the lost device's last words do not bring it back");
        assert!((0..FAULTS_MAX).all(|_| failed(false) == Remedy::GoOn));
        assert_eq!(failed(false), Remedy::Renew);
        let ended = (0..(LOSSES_MAX + 1) * (FAULTS_MAX + 1)).any(|_| failed(false) == Remedy::End);
        assert!(ended, "another device did not help either");
    }
}
