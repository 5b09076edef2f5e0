//! The question before a session ends by itself: are you still there? Any touch is an answer.
//!
//! Reads [`Session`]; lies above every screen but the attract screen, where nobody needs to be asked.

use std::time::Duration;

use bevy::{prelude::*, ui::GlobalZIndex, ui_widgets::Activate};

use super::{
    Screen,
    route::{Intent, sends},
};
use crate::{
    i18n::Words,
    session::Session,
    theme::{
        Colour, Ground, Theme, Type, space,
        widgets::{self, ButtonKind},
    },
};

/// Above everything that a screen shows.
const ABOVE: GlobalZIndex = GlobalZIndex(100);

pub(super) fn plugin(app: &mut App) {
    app.add_systems(Update, ask);
}

/// The whole question.
#[derive(Component)]
struct Question;

/// The seconds that are left.
#[derive(Component)]
struct Seconds;

fn ask(
    mut commands: Commands,
    theme: Res<Theme>,
    screen: Res<State<Screen>>,
    session: Res<Session>,
    question: Option<Single<Entity, With<Question>>>,
    mut seconds: Query<&mut Words, With<Seconds>>,
) {
    let left = session.leaving_in().filter(|_| *screen.get() != Screen::Attract);
    match (left, question) {
        (None, None) => {}
        (None, Some(question)) => commands.entity(*question).despawn(),
        (Some(left), None) => spawn(&mut commands, &theme, left),
        (Some(left), Some(_)) => {
            for mut words in &mut seconds {
                words.set_if_neq(countdown(left));
            }
        }
    }
}

fn countdown(left: Duration) -> Words {
    // A second that has begun is still there.
    let seconds = left.as_millis().div_ceil(1000);
    Words::key("idle-left").with("seconds", seconds.to_string())
}

fn spawn(commands: &mut Commands, theme: &Theme, left: Duration) {
    commands
        .spawn((
            Name::new("Idle"),
            Question,
            ABOVE,
            Node {
                position_type: PositionType::Absolute,
                width: percent(100),
                height: percent(100),
                padding: UiRect::all(px(space::EDGE)),
                align_items: AlignItems::Center,
                justify_content: JustifyContent::Center,
                ..default()
            },
            Ground(Colour::Veil),
        ))
        .with_children(|veil| {
            veil.spawn(widgets::sheet()).with_children(|card| {
                card.spawn(widgets::text(theme, Type::Title, Colour::Ink, Words::key("idle-title")));
                card.spawn((Seconds, widgets::text(theme, Type::Body, Colour::InkSoft, countdown(left))));
                widgets::button(card, theme, "Stay", ButtonKind::Primary, Words::key("idle-stay"))
                    .observe(|_: On<Activate>, mut session: ResMut<Session>| session.touch());
                widgets::button(card, theme, "Leave", ButtonKind::Quiet, Words::key("end"))
                    .observe(sends(Intent::Finish));
            });
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::testing::{activate, at, named, screen_app};

    /// An app whose visitor has not moved for `seconds`.
    fn forgotten(screen: Screen, seconds: usize) -> App {
        let mut app = screen_app(screen);
        app.world_mut().resource_mut::<Session>().touch();
        for _ in 0..seconds {
            app.update();
        }
        app
    }

    #[test]
    fn the_question_comes_before_the_end_and_counts_down() {
        let mut app = forgotten(Screen::Offers, 47);
        assert!(named(&mut app, "Idle").is_some());
        assert_eq!(at(&app), Screen::Offers);
        for _ in 0..14 {
            app.update();
        }
        assert_eq!(at(&app), Screen::Attract);
        app.update();
        assert!(named(&mut app, "Idle").is_none());
    }

    #[test]
    fn whoever_stays_goes_on_where_they_were() {
        let mut app = forgotten(Screen::Offers, 50);
        activate(&mut app, "Stay");
        assert!(named(&mut app, "Idle").is_none());
        for _ in 0..20 {
            app.update();
        }
        assert_eq!(at(&app), Screen::Offers);
    }

    #[test]
    fn nobody_is_asked_before_the_first_screen() {
        let mut app = forgotten(Screen::Attract, 50);
        assert!(named(&mut app, "Idle").is_none());
    }
}
