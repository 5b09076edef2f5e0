//! The questions before the camera looks: whether the visitor is old enough to answer, then what is measured, where the
//! picture stays, yes or no. Answers of a question are equally large, and everything else goes on without consent.
//!
//! Reads [`Wanted`] and [`Session`]; sends intents and nothing else.

use std::time::Duration;

use bevy::{prelude::*, ui::InteractionDisabled};

use super::{
    Screen, chrome,
    route::{Feature, Intent, Wanted, sends},
};
use crate::{
    consent::ConsentText,
    i18n::Words,
    link::StoreFacts,
    session::{Age, Session},
    theme::{
        Colour, Theme, Type,
        icon::{self, Icon},
        motion::{self, Pace},
        space,
        widgets::{self, ButtonKind, Moment, Mood},
    },
};

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Consent), spawn)
        .add_systems(Update, (ask, take_answers).chain().run_if(in_state(Screen::Consent)));
}

/// Where the question is put, and which one stands there since when.
#[derive(Component, Default)]
struct Slot(Option<(Question, Duration)>);

/// So long a new question takes no answer: the second tap of a double one was meant for the question before.
const READING_MIN: Duration = Duration::from_millis(900);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Whether the visitor may answer the next one.
    Age,
    /// Whether the camera may look.
    Consent,
    /// None: the camera stays off.
    Nothing,
}

impl Question {
    fn next(session: &Session) -> Self {
        match session.age() {
            None => Self::Age,
            Some(Age::OldEnough) => Self::Consent,
            Some(Age::TooYoung) => Self::Nothing,
        }
    }
}

/// What is looked at, which depends on what the visitor wants.
fn purpose(wanted: Wanted) -> &'static str {
    match wanted.0 {
        Some(Feature::Origin) => "consent-origin",
        Some(Feature::TryOn) => "consent-try-on",
        _ => "consent-skin",
    }
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Consent, |page| {
        page.spawn((
            Slot::default(),
            Node { flex_grow: 1.0, min_height: px(0), ..widgets::column(space::CARD) },
        ));
        chrome::footer(page, theme, |_| {});
    });
}

fn ask(
    mut commands: Commands,
    theme: Res<Theme>,
    wanted: Res<Wanted>,
    session: Res<Session>,
    time: Res<Time<Real>>,
    slot: Single<(Entity, &mut Slot)>,
) {
    let (entity, mut slot) = slot.into_inner();
    let question = Question::next(&session);
    if slot.0.is_some_and(|(asked, _)| asked == question) && !wanted.is_changed() {
        return;
    }
    slot.0 = Some((question, time.elapsed()));
    let theme = &*theme;
    let age = Words::count(session.age_min);
    commands.entity(entity).despawn_children().with_children(|slot| match question {
        Question::Age => {
            sides(
                slot,
                theme,
                ["age-title", "age-note"],
                |told| {
                    chrome::point(told, theme, Icon::Help, Words::key("age-why").with("age", age.clone()));
                    chrome::point(told, theme, Icon::Eye, Words::key("age-no-guess"));
                },
                |answers| {
                    for (name, key, intent) in [
                        ("OldEnough", "age-old-enough", Intent::OldEnough),
                        ("TooYoung", "age-too-young", Intent::TooYoung),
                    ] {
                        let words = Words::key(key).with("age", age.clone());
                        widgets::wide_button(answers, theme, name, ButtonKind::Quiet, words)
                            .insert((Answer, InteractionDisabled))
                            .observe(sends(intent));
                    }
                },
            );
        }
        Question::Consent => {
            sides(
                slot,
                theme,
                ["consent-title", "consent-note"],
                |told| {
                    chrome::point(told, theme, Icon::Eye, Words::key(purpose(*wanted)));
                    chrome::point(told, theme, Icon::Lock, Words::key("consent-memory"));
                    chrome::point(told, theme, Icon::Leave, Words::key("consent-choice"));
                    let version =
                        Words::key("consent-version").with("version", ConsentText::current().to_string());
                    told.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, version));
                },
                |answers| {
                    let decline =
                        if wanted.0 == Some(Feature::Skin) { "consent-questions" } else { "consent-decline" };
                    for (name, kind, key, intent) in [
                        ("Agree", ButtonKind::Primary, "consent-agree", Intent::Agree),
                        ("Decline", ButtonKind::Quiet, decline, Intent::Decline),
                    ] {
                        widgets::wide_button(answers, theme, name, kind, Words::key(key))
                            .insert((Answer, InteractionDisabled))
                            .observe(sends(intent));
                    }
                },
            );
        }
        Question::Nothing => {
            let (title, body) = (Words::key("too-young-title"), Words::key("too-young-note"));
            let moment = Moment { name: "TooYoungNotice", drawn: Icon::Help, mood: Mood::Calm, title, body };
            widgets::moment(slot, theme, moment, |_| {});
            if wanted.0 == Some(Feature::Skin) {
                let words = Words::key("consent-questions");
                widgets::wide_button(slot, theme, "Decline", ButtonKind::Primary, words)
                    .insert((Answer, InteractionDisabled))
                    .observe(sends(Intent::Decline));
            }
        }
    });
}

/// Lets the question be answered once it has stood there for a moment.
fn take_answers(
    mut commands: Commands,
    slot: Single<&Slot>,
    time: Res<Time<Real>>,
    pace: Option<ResMut<Pace>>,
    answers: Query<Entity, (With<Answer>, With<InteractionDisabled>)>,
) {
    if answers.is_empty() {
        return;
    }
    // Nothing else moves meanwhile.
    if let Some(mut pace) = pace {
        pace.within(motion::WAITING);
    }
    if slot.0.is_some_and(|(_, since)| READING_MIN <= time.elapsed().saturating_sub(since)) {
        for answer in &answers {
            commands.entity(answer).remove::<InteractionDisabled>();
        }
    }
}

/// The button of an answer.
#[derive(Component)]
struct Answer;

/// A question: its title, what must be known to answer it, and the answers; side by side where the screen lies.
fn sides(
    slot: &mut ChildSpawnerCommands,
    theme: &Theme,
    [title, note]: [&'static str; 2],
    told: impl FnOnce(&mut ChildSpawnerCommands),
    answers: impl FnOnce(&mut ChildSpawnerCommands),
) {
    let choices = || Node { flex_shrink: 0.0, ..widgets::column(space::LINE) };
    if !theme.is_wide() {
        slot.spawn(Node { flex_grow: 1.0, ..default() });
        emblem(slot, 300);
        chrome::title(slot, theme, title, note);
        slot.spawn(widgets::card()).with_children(told);
        slot.spawn(Node { flex_grow: 1.6, ..default() });
        slot.spawn(choices()).with_children(answers);
        return;
    }
    let side = || Node {
        flex_grow: 1.0,
        flex_basis: px(0),
        min_width: px(0),
        justify_content: JustifyContent::Center,
        ..widgets::column(space::CARD)
    };
    slot.spawn(Node {
        flex_grow: 1.0,
        min_height: px(0),
        align_items: AlignItems::Stretch,
        ..widgets::row(space::EDGE)
    })
    .with_children(|body| {
        body.spawn(side()).with_children(|question| {
            emblem(question, 260);
            chrome::title(question, theme, title, note);
            question.spawn(choices()).with_children(answers);
        });
        body.spawn(side()).with_children(|body| {
            body.spawn(widgets::card()).with_children(told);
        });
    });
}

fn emblem(parent: &mut ChildSpawnerCommands, side: u16) {
    icon::disc(parent, Icon::Shield, side, Colour::BrandSoft, Colour::Brand, Colour::AccentInk);
}

#[cfg(test)]
mod tests {
    use bevy::time::TimeUpdateStrategy;

    use super::*;
    use crate::{
        screens::testing::{activate, at, named, screen_app},
        session::Consent,
    };

    #[test]
    fn agreeing_leads_on_and_declining_leads_home() {
        for (answer, to, consent) in
            [("Agree", Screen::TryOn, Consent::Given), ("Decline", Screen::Home, Consent::Declined)]
        {
            let mut app = screen_app(Screen::Home);
            activate(&mut app, "TryOn");
            assert!(named(&mut app, answer).is_none(), "first the age");
            activate(&mut app, "OldEnough");
            activate(&mut app, answer);
            assert_eq!((at(&app), app.world().resource::<Session>().consent()), (to, consent));
        }
    }

    #[test]
    fn the_second_tap_of_a_double_one_answers_nothing() {
        let mut app = screen_app(Screen::Home);
        app.insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_millis(100)));
        activate(&mut app, "TryOn");
        for _ in 0..10 {
            app.update();
        }
        activate(&mut app, "OldEnough");
        let rests = |app: &mut App| {
            let agree = named(app, "Agree").unwrap();
            app.world().get::<InteractionDisabled>(agree).is_some()
        };
        assert!(rests(&mut app));
        for _ in 0..10 {
            app.update();
        }
        assert!(!rests(&mut app));
    }

    #[test]
    fn who_wants_no_camera_or_is_too_young_for_one_is_asked_instead() {
        for age in ["OldEnough", "TooYoung"] {
            let mut app = screen_app(Screen::Home);
            activate(&mut app, "Skin");
            activate(&mut app, age);
            activate(&mut app, "Decline");
            assert_eq!(
                (at(&app), app.world().resource::<Session>().consent()),
                (Screen::Care, Consent::Declined)
            );
            activate(&mut app, "Wish sun");
            assert_eq!(at(&app), Screen::Care);
        }
    }

    #[test]
    fn who_is_too_young_meets_no_question_that_leads_to_a_camera() {
        let mut app = screen_app(Screen::Home);
        activate(&mut app, "TryOn");
        activate(&mut app, "TooYoung");
        assert!(named(&mut app, "Agree").is_none() && named(&mut app, "OldEnough").is_none());
        activate(&mut app, "Home");
        activate(&mut app, "Skin");
        assert!(named(&mut app, "Agree").is_none());
        assert_eq!(at(&app), Screen::Consent);
    }
}
