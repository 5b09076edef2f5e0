//! The questions for those who want no camera, and what follows from the answers at once.
//!
//! Reads and writes [`Answers`] and nothing else.

use bevy::{prelude::*, ui_widgets::Activate};

use super::{Screen, choice, chrome};
use crate::{
    care::{Answers, rules::Wish},
    i18n::Words,
    link::StoreFacts,
    session::{Age, Session},
    theme::{
        Colour, Edge, Theme, Type, space,
        widgets::{self, ButtonKind},
    },
};

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Care), spawn).add_systems(Update, choose.run_if(in_state(Screen::Care)));
}

/// The button of a wish.
#[derive(Component)]
struct WishButton(Wish);

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>, session: Res<Session>) {
    let is_child = session.age() == Some(Age::TooYoung);
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Care, |page| {
        chrome::title(page, theme, "care-title", "care-note");
        let wide = theme.is_wide();
        let body = Node {
            flex_direction: if wide { FlexDirection::Row } else { FlexDirection::Column },
            row_gap: px(space::CARD),
            column_gap: px(space::CARD),
            flex_grow: 1.0,
            min_height: px(0),
            ..default()
        };
        page.spawn(body).with_children(|body| {
            let side =
                if wide { Node { width: percent(42), ..widgets::column(0.0) } } else { widgets::column(0.0) };
            body.spawn(Node { flex_shrink: 0.0, ..side })
                .with_children(|side| questions(side, theme, is_child));
            let place =
                Node { flex_grow: 1.0, flex_basis: px(0), min_height: px(0), ..widgets::column(space::LINE) };
            widgets::scroller(body, theme, place, |results| choice::panel(results, theme));
        });
        chrome::footer(page, theme, |_| {});
    });
}

fn questions(parent: &mut ChildSpawnerCommands, theme: &Theme, is_child: bool) {
    parent.spawn(widgets::card()).with_children(|card| {
        card.spawn(widgets::text(theme, Type::Heading, Colour::Ink, Words::key("care-question")));
        card.spawn(Node {
            flex_wrap: FlexWrap::Wrap,
            row_gap: px(space::TIGHT),
            ..widgets::row(space::TIGHT)
        })
        .with_children(|chips| {
            for (name, wish) in [
                "Wish moisture",
                "Wish calm",
                "Wish matt",
                "Wish even",
                "Wish smooth",
                "Wish sun",
                "Wish clean",
            ]
            .into_iter()
            .zip(Wish::ALL)
            .filter(|(_, wish)| !is_child || wish.suits_children())
            {
                let words = Words::key(format!("wish-{}", wish.name()));
                let mut chip = widgets::button(chips, theme, name, ButtonKind::Quiet, words);
                chip.entry::<Node>().and_modify(|mut node| {
                    node.padding = UiRect::axes(px(26), px(12));
                    node.border = UiRect::all(px(4));
                });
                chip.insert(WishButton(wish))
                    .observe(move |_: On<Activate>, mut answers: ResMut<Answers>| answers.toggle(wish));
            }
        });
    });
}

/// Shows which wishes are named.
fn choose(answers: Res<Answers>, mut buttons: Query<(&WishButton, &mut Edge)>) {
    for (button, mut edge) in &mut buttons {
        let colour = if answers.has(button.0) { Colour::Accent } else { Colour::QuietEdge };
        edge.set_if_neq(Edge(colour));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        care::{Choice, rules::Because},
        i18n::I18n,
        screens::{
            states::care_for_skin,
            testing::{activate, at, screen_app, shown},
        },
        session::EndSession,
    };

    #[test]
    fn answers_choose_products_at_once_and_are_forgotten_with_the_visitor() {
        let mut app = screen_app(Screen::Care);
        care_for_skin(&mut app);
        app.update();
        let first = |app: &App| app.world().resource::<Choice>().suggestions[0].clone();
        assert_eq!(first(&app).because, Because::Everybody);
        activate(&mut app, "Wish calm");
        assert_eq!(first(&app).because, Because::Said(Wish::Calm));
        let place = app.world().resource::<I18n>().say(&choice::place(&first(&app)));
        assert!(shown(&mut app).contains(&place), "{:?}", shown(&mut app));
        activate(&mut app, "Wish calm");
        assert_eq!(first(&app).because, Because::Everybody);
        activate(&mut app, "Wish sun");
        app.world_mut().trigger(EndSession);
        app.update();
        app.update();
        assert_eq!(at(&app), Screen::Attract);
        assert_eq!(*app.world().resource::<Answers>(), Answers::default());
    }
}
