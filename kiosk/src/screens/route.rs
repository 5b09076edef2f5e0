//! Who leads where: the one table of transitions, and the one place that sets the state.
//!
//! A screen triggers an [`Intent`]; [`next`] decides. Invariants: from every screen [`Intent::Finish`] leads to the
//! attract screen, and from every other screen [`Intent::Home`] leads home; no screen before which the camera looks at
//! the visitor is entered without consent; whatever ends the session leads to the attract screen.

use bevy::{prelude::*, ui_widgets::Activate};

use super::Screen;
use crate::{
    camera::Camera,
    consent::ConsentText,
    session::{Age, Consent, EndSession, Session, SessionEnded},
};

/// Carries intents out.
pub(super) fn plugin(app: &mut App) {
    app.init_resource::<Wanted>().add_observer(go).add_observer(leave);
}

/// Something that the kiosk can do for a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// What the visitor's skin looks like.
    Skin,
    /// What suits it, by what the visitor says: the way without a camera.
    Care,
    /// Where a product comes from.
    Origin,
    /// How a product would look.
    TryOn,
    /// An order that waits in a locker.
    PickUp,
    /// What the store has today.
    Offers,
}

impl Feature {
    /// All features.
    pub const ALL: [Self; 6] =
        [Self::Skin, Self::Care, Self::Origin, Self::TryOn, Self::PickUp, Self::Offers];

    /// Its screen.
    #[must_use]
    pub fn screen(self) -> Screen {
        match self {
            Self::Skin => Screen::Skin,
            Self::Care => Screen::Care,
            Self::Origin => Screen::Origin,
            Self::TryOn => Screen::TryOn,
            Self::PickUp => Screen::PickUp,
            Self::Offers => Screen::Offers,
        }
    }
}

/// What the visitor wants. Screens trigger it; it always counts as a sign of life.
#[derive(Event, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Begin.
    Start,
    /// This feature.
    Choose(Feature),
    /// The visitor is old enough to say whether a camera may look.
    OldEnough,
    /// The visitor is not.
    TooYoung,
    /// The camera may look.
    Agree,
    /// It may not.
    Decline,
    /// One step back.
    Back,
    /// The home screen.
    Home,
    /// The end of the visit.
    Finish,
    /// How the kiosk is.
    Status,
    /// The staff's screen.
    Staff,
}

/// What a transition depends on besides the screen and the intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// The visitor's answer.
    pub consent: Consent,
    /// Whether the visitor may answer at all.
    pub age: Option<Age>,
    /// What the visitor wanted when the question was put.
    pub wanted: Option<Feature>,
    /// Whether products are seen by a camera of their own, which no visitor stands before.
    pub has_product_camera: bool,
}

impl Conditions {
    /// Whether the camera sees the visitor while this feature runs.
    fn films(self, feature: Feature) -> bool {
        match feature {
            Feature::Skin | Feature::TryOn => true,
            Feature::Origin => !self.has_product_camera,
            Feature::Care | Feature::PickUp | Feature::Offers => false,
        }
    }

    /// Where a wish for a feature leads.
    fn entry(self, feature: Feature) -> Screen {
        if self.films(feature) && self.consent != Consent::Given { Screen::Consent } else { feature.screen() }
    }
}

/// The table: where an intent leads from a screen. An intent that a screen does not know leaves everything as it is.
#[must_use]
pub fn next(at: Screen, intent: Intent, conditions: Conditions) -> Screen {
    match (at, intent) {
        (_, Intent::Finish) => Screen::Attract,
        (_, Intent::Status) => Screen::Fault,
        (_, Intent::Staff) => Screen::Staff,

        (Screen::Attract, Intent::Start | Intent::Home) => Screen::Home,
        (Screen::Attract, Intent::Back) => Screen::Attract,

        (Screen::Consent, Intent::Agree) if conditions.age == Some(Age::OldEnough) => {
            conditions.wanted.map_or(Screen::Home, Feature::screen)
        }
        // Who wants no camera is asked instead.
        (Screen::Consent, Intent::Decline) if conditions.wanted == Some(Feature::Skin) => Screen::Care,
        (Screen::Consent, Intent::Decline) => Screen::Home,

        // Whoever stands before the staff's screen leaves it first.
        (Screen::Staff, Intent::Choose(_)) => Screen::Staff,
        (_, Intent::Choose(feature)) => conditions.entry(feature),

        (_, Intent::Back | Intent::Home) => Screen::Home,
        (_, Intent::Start | Intent::OldEnough | Intent::TooYoung | Intent::Agree | Intent::Decline) => at,
    }
}

/// Where a kiosk begins that was told to begin at `screen`: a feature that films puts its question first.
#[must_use]
pub fn admit(screen: Screen, conditions: Conditions) -> (Screen, Wanted) {
    let feature = Feature::ALL.into_iter().find(|feature| feature.screen() == screen);
    (feature.map_or(screen, |feature| conditions.entry(feature)), Wanted(feature))
}

/// What the visitor wanted last; the consent screen says what it would do.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted(pub Option<Feature>);

/// What holds now.
#[must_use]
pub fn conditions(session: &Session, wanted: Wanted, camera: &Camera) -> Conditions {
    Conditions {
        consent: session.consent(),
        age: session.age(),
        wanted: wanted.0,
        has_product_camera: camera.has_product_camera(),
    }
}

/// What a button observes that means one intent.
pub fn sends(intent: Intent) -> impl Fn(On<Activate>, Commands) + Send + Sync + 'static {
    move |_, mut commands| commands.trigger(intent)
}

/// What a button observes that asks a feature for something, as long as the visitor stays: a touch in the very frame in
/// which the visit ends asks for nothing, because its answer would be there for the next visitor.
pub fn asks<E>(event: E) -> impl Fn(On<Activate>, Res<NextState<Screen>>, Commands) + Send + Sync + 'static
where
    E: for<'a> Event<Trigger<'a>: Default> + Copy,
{
    move |_, next, mut commands| {
        if matches!(*next, NextState::Unchanged) {
            commands.trigger(event);
        }
    }
}

fn go(
    intent: On<Intent>,
    state: Res<State<Screen>>,
    mut next_state: ResMut<NextState<Screen>>,
    mut session: ResMut<Session>,
    mut wanted: ResMut<Wanted>,
    camera: Res<Camera>,
    mut commands: Commands,
) {
    let intent = *intent;
    if intent == Intent::Finish {
        commands.trigger(EndSession);
        return;
    }
    let at = heading(&state, &next_state);
    session.touch();
    let to = next(at, intent, conditions(&session, *wanted, &camera));
    match intent {
        Intent::OldEnough if at == Screen::Consent => session.is_of(Age::OldEnough),
        Intent::TooYoung if at == Screen::Consent => session.is_of(Age::TooYoung),
        Intent::Agree if at == Screen::Consent && session.age() == Some(Age::OldEnough) => {
            info!("a visitor agreed to {}", ConsentText::current());
            session.answer(Consent::Given);
        }
        Intent::Decline if at == Screen::Consent => session.answer(Consent::Declined),
        // Whoever comes after the staff is asked anew.
        Intent::Staff => session.forget_answers(),
        Intent::Choose(feature) => wanted.0 = Some(feature),
        _ => {}
    }
    if to != at {
        next_state.set(to);
    }
}

fn leave(
    _: On<SessionEnded>,
    state: Res<State<Screen>>,
    mut next_state: ResMut<NextState<Screen>>,
    mut wanted: ResMut<Wanted>,
) {
    wanted.0 = None;
    if heading(&state, &next_state) != Screen::Attract {
        next_state.set(Screen::Attract);
    }
}

/// Where the visitor will be: two touches in one frame are two steps, not one.
fn heading(state: &State<Screen>, next: &NextState<Screen>) -> Screen {
    match next {
        NextState::Unchanged => *state.get(),
        NextState::Pending(screen) | NextState::PendingIfNeq(screen) => *screen,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const INTENTS: [Intent; 16] = [
        Intent::Start,
        Intent::Choose(Feature::Skin),
        Intent::Choose(Feature::Care),
        Intent::Choose(Feature::Origin),
        Intent::Choose(Feature::TryOn),
        Intent::Choose(Feature::PickUp),
        Intent::Choose(Feature::Offers),
        Intent::OldEnough,
        Intent::TooYoung,
        Intent::Agree,
        Intent::Decline,
        Intent::Back,
        Intent::Home,
        Intent::Finish,
        Intent::Status,
        Intent::Staff,
    ];

    fn all_conditions() -> impl Iterator<Item = Conditions> {
        let answers = [Consent::Unasked, Consent::Given, Consent::Declined];
        let wishes = || Feature::ALL.into_iter().map(Some).chain([None]);
        let ages = [None, Some(Age::TooYoung), Some(Age::OldEnough)];
        answers.into_iter().flat_map(move |consent| {
            wishes().flat_map(move |wanted| {
                ages.into_iter().flat_map(move |age| {
                    [false, true].map(|has_product_camera| Conditions {
                        consent,
                        age,
                        wanted,
                        has_product_camera,
                    })
                })
            })
        })
    }

    #[test]
    fn no_screen_is_a_dead_end() {
        for conditions in all_conditions() {
            for at in Screen::ALL {
                assert_eq!(next(at, Intent::Finish, conditions), Screen::Attract, "{at:?}");
                assert_eq!(next(at, Intent::Home, conditions), Screen::Home, "{at:?}");
                let back = next(at, Intent::Back, conditions);
                assert!([Screen::Home, Screen::Attract].contains(&back), "{at:?} leads back to {back:?}");
            }
        }
    }

    #[test]
    fn every_screen_can_be_reached_by_touch() {
        let mut seen = BTreeSet::from([Screen::Attract.name()]);
        let mut open = vec![Screen::Attract];
        while let Some(at) = open.pop() {
            for (conditions, intent) in
                all_conditions().flat_map(|conditions| INTENTS.map(|intent| (conditions, intent)))
            {
                let to = next(at, intent, conditions);
                if seen.insert(to.name()) {
                    open.push(to);
                }
            }
        }
        assert_eq!(seen.len(), Screen::ALL.len(), "{seen:?}");
    }

    #[test]
    fn nobody_is_filmed_who_did_not_agree() {
        for conditions in all_conditions().filter(|conditions| conditions.consent != Consent::Given) {
            for at in Screen::ALL {
                for intent in INTENTS.into_iter().filter(|intent| *intent != Intent::Agree) {
                    let to = next(at, intent, conditions);
                    let filmed = [Feature::Skin, Feature::TryOn, Feature::Origin]
                        .into_iter()
                        .filter(|feature| conditions.films(*feature))
                        .any(|feature| feature.screen() == to);
                    assert!(to == at || !filmed, "{at:?} leads to {to:?} by {intent:?} with {conditions:?}");
                }
            }
            assert_eq!(admit(Screen::Skin, conditions), (Screen::Consent, Wanted(Some(Feature::Skin))));
        }
    }

    #[test]
    fn an_answer_leads_to_what_was_wanted_or_home() {
        for feature in Feature::ALL {
            let conditions = Conditions { wanted: Some(feature), age: Some(Age::OldEnough), ..default() };
            assert_eq!(next(Screen::Consent, Intent::Agree, conditions), feature.screen());
            let without = if feature == Feature::Skin { Screen::Care } else { Screen::Home };
            assert_eq!(next(Screen::Consent, Intent::Decline, conditions), without);
            for age in [None, Some(Age::TooYoung)] {
                let conditions = Conditions { age, ..conditions };
                assert_eq!(next(Screen::Consent, Intent::Agree, conditions), Screen::Consent, "{age:?}");
            }
        }
        let apart = Conditions { has_product_camera: true, ..default() };
        assert_eq!(next(Screen::Home, Intent::Choose(Feature::Origin), apart), Screen::Origin);
    }

    #[test]
    fn an_answer_that_nobody_asked_for_changes_nothing() {
        for at in Screen::ALL.into_iter().filter(|at| *at != Screen::Consent) {
            for intent in [Intent::OldEnough, Intent::TooYoung, Intent::Agree, Intent::Decline] {
                assert_eq!(next(at, intent, Conditions::default()), at);
            }
        }
    }

    mod in_the_app {
        use super::*;
        use crate::screens::testing::{at, screen_app};

        #[test]
        fn consent_is_asked_once_and_forgotten_with_the_visitor() {
            let mut app = screen_app(Screen::Home);
            let mut send = |intent: Intent| {
                app.world_mut().trigger(intent);
                app.update();
                app.update();
                (at(&app), app.world().resource::<Session>().consent())
            };
            assert_eq!(send(Intent::Choose(Feature::Skin)), (Screen::Consent, Consent::Unasked));
            assert_eq!(send(Intent::Agree), (Screen::Consent, Consent::Unasked), "of whatever age");
            assert_eq!(send(Intent::OldEnough), (Screen::Consent, Consent::Unasked));
            assert_eq!(send(Intent::Agree), (Screen::Skin, Consent::Given));
            assert_eq!(send(Intent::Back), (Screen::Home, Consent::Given));
            assert_eq!(send(Intent::Choose(Feature::TryOn)), (Screen::TryOn, Consent::Given));
            assert_eq!(send(Intent::Finish), (Screen::Attract, Consent::Unasked));
            assert_eq!(send(Intent::Start), (Screen::Home, Consent::Unasked));
            assert_eq!(send(Intent::Choose(Feature::Skin)), (Screen::Consent, Consent::Unasked));
            assert_eq!(send(Intent::TooYoung), (Screen::Consent, Consent::Declined));
            assert_eq!(send(Intent::Agree), (Screen::Consent, Consent::Declined));
            assert_eq!(send(Intent::Decline), (Screen::Care, Consent::Declined));
        }

        #[test]
        fn two_touches_in_one_frame_are_two_steps_and_the_end_wins() {
            let mut app = screen_app(Screen::Attract);
            app.world_mut().trigger(Intent::Start);
            app.world_mut().trigger(Intent::Choose(Feature::Offers));
            app.update();
            assert_eq!(at(&app), Screen::Offers);
            app.world_mut().trigger(Intent::Finish);
            app.world_mut().flush();
            app.world_mut().trigger(Intent::Agree);
            app.update();
            assert_eq!(at(&app), Screen::Attract);
        }
    }
}
