//! A visitor's session: begins with a touch, ends by button or after a time without one, and leaves nothing behind.
//!
//! Owns the session's number, the visitor's consent and the time since the last sign of life. Work that takes time is
//! tagged with the number, so that a result for a visitor who has left is dropped. Whoever holds something of a
//! visitor drops it on [`SessionEnded`]. Knows no screen: the route listens to [`SessionEnded`] too.

use std::time::Duration;

use bevy::{
    picking::events::{Pointer, Press},
    prelude::*,
};

use crate::i18n::{I18n, Locale};

/// Longest warning before a session ends by itself; a short patience warns for its last third.
const WARNING_MAX: Duration = Duration::from_secs(15);

/// China's law on personal information wants a guardian's word below (PIPL, article 31).
pub const AGE_MIN: u8 = 14;

/// Ends sessions.
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Session>()
        .add_observer(|_: On<Pointer<Press>>, mut session: ResMut<Session>| session.touch())
        .add_observer(end)
        .add_systems(Update, end_when_idle);
}

/// Which visit a piece of work belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionId(u64);

/// Whether the visitor allows the camera to look, for this visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consent {
    /// Nobody has asked.
    #[default]
    Unasked,
    /// Yes, until the visit ends.
    Given,
    /// No; asking again is allowed when the visitor wants a feature that looks.
    Declined,
}

/// Whether the visitor is old enough to say whether a camera may look; nobody's age is ever guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Yes, by his own word.
    OldEnough,
    /// No.
    TooYoung,
}

/// The visit that goes on now.
#[derive(Resource, Debug)]
pub struct Session {
    id: SessionId,
    is_open: bool,
    idle: Duration,
    consent: Consent,
    age: Option<Age>,
    /// The visit ends after this long without a touch.
    pub idle_max: Duration,
    /// Every visitor starts with this language.
    pub locale: Locale,
    /// From this age on a visitor may say whether a camera may look.
    pub age_min: u8,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            id: SessionId(0),
            is_open: false,
            idle: Duration::ZERO,
            consent: Consent::Unasked,
            age: None,
            idle_max: Duration::from_secs(60),
            locale: Locale::default(),
            age_min: AGE_MIN,
        }
    }
}

impl Session {
    /// The visit that goes on now.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whether somebody is there: from the first touch to the end.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// A sign of life: a touch, or something that the visitor waits for has happened.
    pub fn touch(&mut self) {
        self.is_open = true;
        self.idle = Duration::ZERO;
    }

    /// The visitor seems to have left: asks now, and not only when he has touched nothing for long.
    pub fn ask(&mut self) {
        self.idle = self.idle.max(self.idle_max.saturating_sub(self.warning()));
    }

    fn warning(&self) -> Duration {
        WARNING_MAX.min(self.idle_max / 3)
    }

    /// Whether the camera may look.
    #[must_use]
    pub fn consent(&self) -> Consent {
        self.consent
    }

    /// Takes the visitor's answer; it holds until the visit ends.
    pub fn answer(&mut self, consent: Consent) {
        self.consent = consent;
    }

    /// What the visitor has said of his age.
    #[must_use]
    pub fn age(&self) -> Option<Age> {
        self.age
    }

    /// Takes the visitor's word for his age; it holds until the visit ends. Who is too young has declined.
    pub fn is_of(&mut self, age: Age) {
        self.age = Some(age);
        if age == Age::TooYoung {
            self.consent = Consent::Declined;
        }
    }

    /// Whoever is there next answers for himself.
    pub fn forget_answers(&mut self) {
        (self.consent, self.age) = (Consent::Unasked, None);
    }

    /// How long until the visit ends by itself, once that is near enough to be said.
    #[must_use]
    pub fn leaving_in(&self) -> Option<Duration> {
        let left = self.idle_max.saturating_sub(self.idle);
        (self.is_open && left <= self.warning()).then_some(left)
    }
}

/// Ask for the end of the session.
#[derive(Event, Debug, Clone, Copy)]
pub struct EndSession;

/// The session has ended: forget everything that it held.
#[derive(Event, Debug, Clone, Copy)]
pub struct SessionEnded;

fn end(_: On<EndSession>, mut session: ResMut<Session>, mut i18n: ResMut<I18n>, mut commands: Commands) {
    session.id.0 += 1;
    session.is_open = false;
    session.idle = Duration::ZERO;
    session.forget_answers();
    i18n.set_locale(session.locale);
    commands.trigger(SessionEnded);
}

fn end_when_idle(time: Res<Time<Real>>, mut session: ResMut<Session>, mut commands: Commands) {
    if !session.is_open {
        return;
    }
    session.bypass_change_detection().idle += time.delta();
    if session.idle_max <= session.idle {
        commands.trigger(EndSession);
    }
}

#[cfg(test)]
mod tests {
    use bevy::time::TimeUpdateStrategy;

    use super::*;

    /// An app in which each update is one second.
    fn app() -> App {
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, crate::i18n::plugin, plugin))
            .insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_secs(1)));
        app.update();
        app
    }

    fn session(app: &mut App) -> Mut<'_, Session> {
        app.world_mut().resource_mut::<Session>()
    }

    #[test]
    fn a_forgotten_session_warns_and_then_forgets_the_visitor() {
        let mut app = app();
        session(&mut app).touch();
        session(&mut app).is_of(Age::OldEnough);
        session(&mut app).answer(Consent::Given);
        app.world_mut().resource_mut::<I18n>().set_locale(Locale::En);
        let before = session(&mut app).id();
        for _ in 0..44 {
            app.update();
        }
        assert_eq!(session(&mut app).leaving_in(), None);
        app.update();
        assert_eq!(session(&mut app).leaving_in(), Some(Duration::from_secs(15)));
        for _ in 0..15 {
            app.update();
        }
        let session = session(&mut app);
        assert_ne!(session.id(), before);
        assert_eq!((session.is_open(), session.consent(), session.age()), (false, Consent::Unasked, None));
        assert_eq!(app.world().resource::<I18n>().locale(), Locale::ZhCn);
    }

    #[test]
    fn a_sign_of_life_takes_the_warning_back() {
        let mut app = app();
        session(&mut app).touch();
        for _ in 0..50 {
            app.update();
        }
        assert!(session(&mut app).leaving_in().is_some());
        session(&mut app).touch();
        assert_eq!(session(&mut app).leaving_in(), None);
    }

    #[test]
    fn nobody_is_sent_away_before_somebody_came() {
        let mut app = app();
        let before = session(&mut app).id();
        for _ in 0..200 {
            app.update();
        }
        assert_eq!(session(&mut app).id(), before);
    }
}
