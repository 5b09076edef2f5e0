//! Touches that are shorter than a frame: what comes after a press waits for the next frame.
//!
//! The picking library sends a release to what the pointer was over *one frame before*. A finger that comes and goes
//! within one frame, which takes a tenth of a second where a processor draws, would press a button for ever and
//! activate nothing. So of each pointer a frame sees at most one press and nothing behind it.

use std::collections::{HashSet, VecDeque};

use bevy::{
    ecs::message::MessageCursor,
    picking::{
        PickingSystems,
        pointer::{PointerAction, PointerInput},
    },
    prelude::*,
};

use crate::theme::motion::{FLUENT, Pace};

/// Inputs that wait; a finger that does more within a frame is none.
const WAITING_MAX: usize = 256;

/// Lets touches of any length through.
pub(crate) fn plugin(app: &mut App) {
    app.add_systems(
        First,
        part.in_set(PickingSystems::PostInput).run_if(resource_exists::<Messages<PointerInput>>),
    );
}

fn part(
    mut inputs: ResMut<Messages<PointerInput>>,
    mut cursor: Local<MessageCursor<PointerInput>>,
    mut waiting: Local<VecDeque<PointerInput>>,
    pace: Option<ResMut<Pace>>,
) {
    let fresh = cursor.read(&inputs).cloned();
    let all: Vec<PointerInput> = waiting.drain(..).chain(fresh).collect();
    if all.is_empty() {
        return;
    }
    inputs.clear();
    let mut pressed = HashSet::new();
    for input in all {
        if pressed.contains(&input.pointer_id) && waiting.len() < WAITING_MAX {
            waiting.push_back(input);
            continue;
        }
        if matches!(input.action, PointerAction::Press(_)) {
            pressed.insert(input.pointer_id);
        }
        inputs.write(input);
    }
    cursor.clear(&inputs);
    if !waiting.is_empty()
        && let Some(mut pace) = pace
    {
        pace.stay_awake(FLUENT);
    }
}

#[cfg(test)]
mod tests {
    use bevy::{
        camera::NormalizedRenderTarget,
        picking::pointer::{Location, PointerButton, PointerId},
    };

    use super::*;

    #[derive(Resource, Default)]
    struct Heard(Vec<Vec<&'static str>>);

    fn hear(mut inputs: MessageReader<PointerInput>, mut heard: ResMut<Heard>) {
        let words = inputs.read().map(|input| match input.action {
            PointerAction::Press(_) => "press",
            PointerAction::Release(_) => "release",
            PointerAction::Move { .. } => "move",
            _ => "other",
        });
        heard.0.push(words.collect());
    }

    #[test]
    fn a_tap_within_one_frame_is_a_press_and_then_a_release() {
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, plugin))
            .add_message::<PointerInput>()
            .init_resource::<Heard>()
            .add_systems(PreUpdate, hear);
        let mut send = |actions: &[PointerAction]| {
            for action in actions {
                let target = NormalizedRenderTarget::None { width: 1, height: 1 };
                let location = Location { target, position: Vec2::ZERO };
                app.world_mut().write_message(PointerInput::new(PointerId::Mouse, location, *action));
            }
            app.update();
        };
        let to = PointerAction::Move { delta: Vec2::ONE };
        let (press, release) =
            (PointerAction::Press(PointerButton::Primary), PointerAction::Release(PointerButton::Primary));
        send(&[to, press, release, press, release]);
        (0..3).for_each(|_| send(&[]));
        send(&[to, to]);
        let expected: [&[&str]; 5] =
            [&["move", "press"], &["release", "press"], &["release"], &[], &["move", "move"]];
        assert_eq!(app.world().resource::<Heard>().0, expected);
    }
}
