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
        Render, RenderApp,
        error_handler::{ErrorType, RenderError, RenderErrorHandler, RenderErrorPolicy},
        render_resource::PollType,
        renderer::RenderDevice,
        settings::{MemoryHints, RenderCreation, WgpuSettings},
    },
    window::RequestRedraw,
};

use crate::exits;

/// Draws the interface alone, and outlives a lost device. Needs the renderer before it.
pub(crate) fn plugin(app: &mut App) {
    app.insert_resource(RenderErrorHandler(on_render_error))
        .init_resource::<Troubles>()
        .add_systems(First, renew);
    if let Some(render) = app.get_sub_app_mut(RenderApp) {
        without_depth(render.world_mut());
    }
}

/// Loses the graphics device once, this long after the start: a drill of what a driver does when it breaks down.
#[derive(Debug, Clone, Copy)]
pub struct DrillPlugin {
    /// Time between the start and the loss.
    pub after: Duration,
}

#[derive(Default)]
enum Drill {
    #[default]
    Waits,
    Lost(RenderDevice),
    Over,
}

impl Plugin for DrillPlugin {
    fn build(&self, app: &mut App) {
        let after = self.after;
        let lose = move |time: Res<Time<Real>>,
                         device: Option<Res<RenderDevice>>,
                         mut drill: Local<Drill>,
                         mut redraw: MessageWriter<RequestRedraw>| {
            let Some(device) = device else { return };
            match &*drill {
                Drill::Waits if after <= time.elapsed() => {
                    warn!("drill: the graphics device is lost");
                    device.wgpu_device().destroy();
                    *drill = Drill::Lost(device.clone());
                }
                Drill::Lost(_) if device.is_changed() => *drill = Drill::Over,
                // A driver reports a loss by itself; this one is reported to whoever asks.
                Drill::Lost(lost) => {
                    if let Err(error) = lost.poll(PollType::Poll) {
                        debug!("the lost device says: {error}");
                    }
                }
                Drill::Waits => {}
                Drill::Over => return,
            }
            redraw.write(RequestRedraw);
        };
        app.add_systems(Last, lose);
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
/// How long another device may take to come.
const RENEWAL_MAX: Duration = Duration::from_secs(20);

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
    /// A device was lost then, and the next one is not there yet.
    renewing_since: Option<Instant>,
}

impl Troubles {
    fn remedy(&mut self, error: ErrorType, now: Instant) -> Remedy {
        let remedy = self.judge(error, now);
        if remedy == Remedy::Renew {
            self.renewing_since.get_or_insert(now);
        }
        remedy
    }

    fn is_given_up(&self, now: Instant) -> bool {
        self.renewing_since.is_some_and(|since| RENEWAL_MAX <= now.saturating_duration_since(since))
    }

    fn judge(&mut self, error: ErrorType, now: Instant) -> Remedy {
        match error {
            // What the lost device still said. To go on would be to go on with that one.
            ErrorType::Validation if self.renewing_since.is_some() => Remedy::Renew,
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

/// A lost device is made anew. Where that does not help, the process ends with a code of its own and is started anew:
/// a screen that no longer changes would lie to its visitor.
fn on_render_error(error: &RenderError, world: &mut World, _render: &mut World) -> RenderErrorPolicy {
    let remedy = world.resource_mut::<Troubles>().remedy(error.ty, Instant::now());
    error!("rendering failed: {:?}: {} ({remedy:?})", error.ty, error.description);
    match remedy {
        Remedy::GoOn => RenderErrorPolicy::Ignore,
        Remedy::Renew => RenderErrorPolicy::Recover(settings()),
        Remedy::End => {
            world.write_message(AppExit::from_code(exits::BLIND));
            RenderErrorPolicy::StopRendering
        }
    }
}

/// Waits for the next device, frame by frame: a calm screen draws none by itself.
fn renew(
    device: Option<Res<RenderDevice>>,
    mut troubles: ResMut<Troubles>,
    mut redraw: MessageWriter<RequestRedraw>,
    mut exit: MessageWriter<AppExit>,
) {
    // Asked in each frame, else the first device of all would look new.
    let is_new = is_device_new(device);
    if troubles.renewing_since.is_none() {
        return;
    }
    redraw.write(RequestRedraw);
    if is_new {
        info!("another graphics device draws");
        troubles.renewing_since = None;
    } else if troubles.is_given_up(Instant::now()) {
        error!("no other graphics device came within {} s", RENEWAL_MAX.as_secs());
        exit.write(AppExit::from_code(exits::BLIND));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_made_anew_a_few_times_and_then_the_process_is() {
        let mut troubles = Troubles::default();
        let start = Instant::now();
        let mut lost = |now| troubles.remedy(ErrorType::DeviceLost, now);
        let remedies: Vec<_> = (0..5).map(|_| lost(start)).collect();
        assert_eq!(remedies, [Remedy::Renew, Remedy::Renew, Remedy::Renew, Remedy::End, Remedy::End]);
        assert_eq!(lost(start + LATELY), Remedy::Renew, "that was long ago");
        assert_eq!(troubles.remedy(ErrorType::OutOfMemory, start), Remedy::End);
    }

    #[test]
    fn a_failed_frame_is_lived_with_and_a_screen_that_fails_for_good_is_not() {
        let mut troubles = Troubles::default();
        let start = Instant::now();
        let failed = |troubles: &mut Troubles| troubles.remedy(ErrorType::Validation, start);
        assert!((0..FAULTS_MAX).all(|_| failed(&mut troubles) == Remedy::GoOn));
        assert_eq!(failed(&mut troubles), Remedy::Renew);
        assert_eq!(failed(&mut troubles), Remedy::Renew, "the lost device's last words do not bring it back");
        let ended = (0..(LOSSES_MAX + 1) * (FAULTS_MAX + 1)).any(|_| {
            troubles.renewing_since = None;
            failed(&mut troubles) == Remedy::End
        });
        assert!(ended, "another device did not help either");
    }

    #[test]
    fn a_device_that_never_comes_is_not_waited_for_for_ever() {
        let mut troubles = Troubles::default();
        let start = Instant::now();
        assert!(!troubles.is_given_up(start + RENEWAL_MAX), "none was lost");
        assert_eq!(troubles.remedy(ErrorType::DeviceLost, start), Remedy::Renew);
        let later = start + RENEWAL_MAX / 2;
        assert_eq!(troubles.remedy(ErrorType::Validation, later), Remedy::Renew);
        assert!(!troubles.is_given_up(later));
        assert!(troubles.is_given_up(start + RENEWAL_MAX), "its last words are no new beginning");
    }
}
