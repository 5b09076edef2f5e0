//! Motion, and how often a frame is drawn: 60 in a second while something moves, hardly any while nobody is there.
//!
//! Owns [`Pace`]: whoever needs frames asks anew in each frame, and the most urgent wish decides when the next one comes.
//! Owns [`Motion`]: where a processor draws instead of a graphics card, everything stands still, for a frame costs a
//! tenth of a second there.

use std::time::Duration;

use bevy::{
    picking::events::{Pointer, Press, Release},
    prelude::*,
    render::renderer::RenderAdapterInfo,
    ui::Pressed,
    winit::{UpdateMode, WinitSettings},
};

use super::{Colour, Ground, Look};
use crate::session::{Session, SessionEnded};

/// Until the next frame while something moves: 60 in a second.
pub const FLUENT: Duration = Duration::from_millis(16);
/// Until the next frame while a visitor waits for something.
pub const WAITING: Duration = Duration::from_millis(100);
/// Until the next frame while a visitor is there and nothing happens.
const CALM: Duration = Duration::from_secs(1);
/// Until the next frame while nobody is there; live figures are at most this old.
const ASLEEP: Duration = Duration::from_secs(3);
/// After a touch frames follow one another for this long, so that what it causes is seen at once.
const AFTER_TOUCH: Duration = Duration::from_millis(500);
/// At start frames follow one another for this long: pipelines compile and fonts are read.
const AFTER_START: Duration = Duration::from_secs(6);

/// How long a screen takes to appear.
const ENTER: Duration = Duration::from_millis(260);
/// How far it rises meanwhile, in pixels of the design.
const ENTER_RISE: f32 = 28.0;
/// A pressed button is this much smaller.
const PRESSED_SCALE: f32 = 0.975;

pub(super) fn plugin(app: &mut App) {
    app.init_resource::<Pace>()
        .init_resource::<Motion>()
        .add_observer(|_: On<Pointer<Press>>, mut pace: ResMut<Pace>| pace.stay_awake(AFTER_TOUCH))
        .add_observer(|_: On<Pointer<Release>>, mut pace: ResMut<Pace>| pace.stay_awake(AFTER_TOUCH))
        .add_observer(|_: On<SessionEnded>, mut pace: ResMut<Pace>| pace.stay_awake(AFTER_TOUCH))
        .add_systems(Startup, choose)
        .add_systems(Update, (press, enter))
        .add_systems(Last, keep_pace);
}

/// When the next frame is wanted.
#[derive(Resource, Debug)]
pub struct Pace {
    wanted: Duration,
    awake: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { wanted: ASLEEP, awake: AFTER_START }
    }
}

impl Pace {
    /// Wants the next frame within `wait`; holds for one frame.
    pub fn within(&mut self, wait: Duration) {
        self.wanted = self.wanted.min(wait);
    }

    /// Wants frames for this long.
    pub fn stay_awake(&mut self, time: Duration) {
        self.awake = self.awake.max(time);
    }

    /// How long until the next frame, after `passed` since the last one; wishes are used up.
    fn settle(&mut self, passed: Duration) -> Duration {
        self.awake = self.awake.saturating_sub(passed);
        let wanted = std::mem::replace(&mut self.wanted, ASLEEP);
        if self.awake.is_zero() { wanted } else { wanted.min(FLUENT) }
    }
}

/// Whether anything moves by itself.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Motion {
    /// Everything is where it belongs, at once.
    #[default]
    Still,
    /// Screens rise, ornaments drift.
    Full,
}

/// A graphics card moves things; a processor that stands in for one does not.
fn choose(
    adapter: Option<Res<RenderAdapterInfo>>,
    settings: Option<Res<WinitSettings>>,
    mut motion: ResMut<Motion>,
) {
    // Bevy does not give the type's name out, so its own word for it is read.
    let has_card = adapter.is_some_and(|adapter| format!("{:?}", adapter.device_type) != "Cpu");
    // Without a window a picture is taken, and that is of things at rest.
    *motion = if has_card && settings.is_some() { Motion::Full } else { Motion::Still };
}

fn keep_pace(
    time: Res<Time<Real>>,
    session: Option<Res<Session>>,
    mut pace: ResMut<Pace>,
    settings: Option<ResMut<WinitSettings>>,
) {
    if let Some(session) = session.filter(|session| session.is_open()) {
        pace.within(if session.leaving_in().is_some() { WAITING * 2 } else { CALM });
    }
    let wait = pace.settle(time.delta());
    let Some(mut settings) = settings else { return };
    // Whoever measures frames draws as fast as it can, and gives the pace back afterwards.
    if settings.focused_mode == UpdateMode::Continuous {
        return;
    }
    let mode = UpdateMode::reactive(wait);
    if settings.focused_mode != mode {
        settings.focused_mode = mode;
        settings.unfocused_mode = mode;
    }
}

/// From 0 to 1: fast at first, then softer.
#[must_use]
pub fn ease_out(at: f32) -> f32 {
    1.0 - (1.0 - at.clamp(0.0, 1.0)).powi(3)
}

/// From 0 to 1: soft at both ends.
#[must_use]
pub fn ease_in_out(at: f32) -> f32 {
    let at = at.clamp(0.0, 1.0);
    at * at * (3.0 - 2.0 * at)
}

/// A screen that appears: it rises, and a veil of its ground fades away above it.
#[derive(Component, Debug, Clone, Copy, Default)]
#[require(UiTransform)]
pub struct Entering {
    passed: Duration,
}

/// The veil of a screen that appears.
#[derive(Component)]
pub struct EnterVeil;

fn enter(
    time: Res<Time<Real>>,
    motion: Res<Motion>,
    look: Res<Look>,
    mut pace: ResMut<Pace>,
    mut pages: Query<(Entity, &mut Entering, &mut UiTransform, Option<&Children>)>,
    mut veils: Query<(&Ground, &mut BackgroundColor), With<EnterVeil>>,
    mut commands: Commands,
) {
    for (page, mut entering, mut transform, children) in &mut pages {
        entering.passed += time.delta();
        let at = entering.passed.as_secs_f32() / ENTER.as_secs_f32();
        let is_over = *motion == Motion::Still || 1.0 <= at;
        let left = if is_over { 0.0 } else { 1.0 - ease_out(at) };
        transform.set_if_neq(UiTransform::from_xy(px(0), px(ENTER_RISE * left)));
        for child in children.into_iter().flatten() {
            if let Ok((ground, mut colour)) = veils.get_mut(*child) {
                colour.0 = ground.0.of(*look).with_alpha(left);
                if is_over {
                    commands.entity(*child).despawn();
                }
            }
        }
        if is_over {
            commands.entity(page).remove::<Entering>();
        } else {
            pace.within(FLUENT);
        }
    }
}

/// What makes a page appear: put it in as its last child.
pub fn veil(page: &mut ChildSpawnerCommands, ground: Colour) {
    page.spawn((
        EnterVeil,
        Pickable::IGNORE,
        ZIndex(10),
        Node {
            position_type: PositionType::Absolute,
            left: px(0),
            top: px(0),
            width: percent(100),
            height: percent(100),
            ..default()
        },
        Ground(ground),
    ));
}

/// The grounds of something that can be pressed.
#[derive(Component, Debug, Clone, Copy)]
#[require(UiTransform)]
pub struct PressColours {
    /// At rest.
    pub rest: Colour,
    /// Under a finger.
    pub pressed: Colour,
}

/// What is under a finger changes its colour and gives way a little.
fn press(
    mut pressed: Query<(&PressColours, Option<&mut Ground>, &mut UiTransform), Added<Pressed>>,
    mut released: RemovedComponents<Pressed>,
    mut all: Query<(&PressColours, Option<&mut Ground>, &mut UiTransform), Without<Pressed>>,
) {
    for (colours, ground, mut transform) in &mut pressed {
        if let Some(mut ground) = ground {
            ground.0 = colours.pressed;
        }
        transform.scale = Vec2::splat(PRESSED_SCALE);
    }
    for entity in released.read() {
        if let Ok((colours, ground, mut transform)) = all.get_mut(entity) {
            if let Some(mut ground) = ground {
                ground.0 = colours.rest;
            }
            transform.scale = Vec2::ONE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_wish_decides_and_is_used_up() {
        let mut pace = Pace { wanted: ASLEEP, awake: Duration::ZERO };
        pace.within(CALM);
        pace.within(WAITING);
        assert_eq!(pace.settle(FLUENT), WAITING);
        assert_eq!(pace.settle(FLUENT), ASLEEP);
        pace.stay_awake(FLUENT * 2);
        assert_eq!(pace.settle(FLUENT), FLUENT);
        assert_eq!(pace.settle(FLUENT), ASLEEP);
    }

    #[test]
    fn motion_begins_and_ends_where_it_should() {
        for ease in [ease_out, ease_in_out] {
            assert_eq!((ease(0.0), ease(1.0), ease(7.0)), (0.0, 1.0, 1.0));
            assert!((1..100).all(|step| {
                let at = |step: u8| f32::from(step) / 100.0;
                ease(at(step - 1)) <= ease(at(step))
            }));
        }
    }
}
