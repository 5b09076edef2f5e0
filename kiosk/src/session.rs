//! A visitor's session: begins with a touch, ends by button or after a time without one, and leaves nothing behind.
//!
//! Owns the session's number. Work that takes time is tagged with it, so that a result for a visitor who has left is
//! dropped. Whoever holds something of a visitor drops it on [`SessionEnded`].

use std::time::Duration;

use bevy::{
    picking::events::{Pointer, Press},
    prelude::*,
};

use crate::{
    i18n::{I18n, Locale},
    screens::Screen,
};

/// Ends sessions.
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Session>()
        .add_observer(|_: On<Pointer<Press>>, mut session: ResMut<Session>| session.idle = Duration::ZERO)
        .add_observer(end)
        .add_systems(Update, end_when_idle);
}

/// Which visit a piece of work belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionId(u64);

/// The visit that goes on now.
#[derive(Resource, Debug)]
pub struct Session {
    id: SessionId,
    idle: Duration,
    /// The visit ends after this long without a touch.
    pub idle_max: Duration,
    /// Every visitor starts with this language.
    pub locale: Locale,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            id: SessionId(0),
            idle: Duration::ZERO,
            idle_max: Duration::from_secs(60),
            locale: Locale::default(),
        }
    }
}

impl Session {
    /// The visit that goes on now.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }
}

/// Ask for the end of the session.
#[derive(Event, Debug, Clone, Copy)]
pub struct EndSession;

/// The session has ended: forget everything that it held.
#[derive(Event, Debug, Clone, Copy)]
pub struct SessionEnded;

fn end(
    _: On<EndSession>,
    mut session: ResMut<Session>,
    mut i18n: ResMut<I18n>,
    mut next: ResMut<NextState<Screen>>,
    mut commands: Commands,
) {
    session.id.0 += 1;
    session.idle = Duration::ZERO;
    i18n.set_locale(session.locale);
    next.set(Screen::Attract);
    commands.trigger(SessionEnded);
}

fn end_when_idle(
    time: Res<Time<Real>>,
    screen: Res<State<Screen>>,
    mut session: ResMut<Session>,
    mut commands: Commands,
) {
    if *screen.get() == Screen::Attract {
        session.bypass_change_detection().idle = Duration::ZERO;
        return;
    }
    session.bypass_change_detection().idle += time.delta();
    if session.idle_max <= session.idle {
        commands.trigger(EndSession);
    }
}
