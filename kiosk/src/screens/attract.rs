//! The attract screen: one promise, what is true in the store right now, and an invitation to touch.
//!
//! Reads [`StoreFacts`]; sends intents and nothing else.

use bevy::{prelude::*, ui_widgets};

use super::{
    Screen, chrome,
    figures::figures,
    route::{Intent, sends},
};
use crate::{
    i18n::Words,
    link::StoreFacts,
    theme::{Colour, Edge, Fade, Ground, Theme, Type, space, widgets},
};

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Attract), spawn);
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    commands
        .spawn((
            Name::new("Start"),
            DespawnOnExit(Screen::Attract),
            ui_widgets::Button,
            Node {
                width: percent(100),
                height: percent(100),
                padding: UiRect::all(px(space::EDGE)),
                overflow: Overflow::clip(),
                ..widgets::column(space::CARD)
            },
            Fade(Colour::NightDeep, Colour::Night),
        ))
        .observe(sends(Intent::Start))
        .with_children(|page| {
            rings(page);
            chrome::header(page, theme, &facts, true);
            page.spawn(Node { flex_grow: 1.0, ..default() });
            page.spawn(widgets::column(space::LINE)).with_children(|hero| {
                hero.spawn((
                    Node { width: px(120), height: px(6), margin: UiRect::bottom(px(20)), ..default() },
                    Ground(Colour::Accent),
                ));
                for line in ["attract-see", "attract-try", "attract-trust"] {
                    hero.spawn(widgets::text(theme, Type::Display, Colour::OnNight, Words::key(line)));
                }
                hero.spawn((
                    Node { max_width: px(860), margin: UiRect::top(px(20)), ..default() },
                    widgets::text(theme, Type::Body, Colour::OnNightSoft, Words::key("attract-note")),
                ));
            });
            page.spawn(Node { flex_grow: 1.4, ..default() });
            page.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(
                |facts_row| {
                    figures(facts_row, theme, &facts, true);
                },
            );
            page.spawn((
                Node {
                    width: percent(100),
                    min_height: px(132),
                    margin: UiRect::top(px(space::LINE)),
                    border_radius: BorderRadius::MAX,
                    justify_content: JustifyContent::Center,
                    ..widgets::row(0.0)
                },
                Ground(Colour::Accent),
            ))
            .with_children(|invitation| {
                invitation.spawn(widgets::centred(
                    theme,
                    Type::Heading,
                    Colour::OnAccent,
                    Words::key("attract-touch"),
                ));
            });
        });
}

/// Thin circles behind the words: a globe's horizon, and the way around it.
fn rings(page: &mut ChildSpawnerCommands) {
    for (size, right, top) in [(980.0, -420.0, 120.0), (700.0, -280.0, 260.0), (430.0, -145.0, 395.0)] {
        page.spawn((
            Pickable::IGNORE,
            Node {
                position_type: PositionType::Absolute,
                right: px(right),
                top: px(top),
                width: px(size),
                height: px(size),
                border: UiRect::all(px(2)),
                border_radius: BorderRadius::MAX,
                ..default()
            },
            Edge(Colour::Accent),
        ));
    }
    for (right, top, size) in [(58.0, 420.0, 18.0), (262.0, 700.0, 26.0), (420.0, 250.0, 14.0)] {
        page.spawn((
            Pickable::IGNORE,
            Node {
                position_type: PositionType::Absolute,
                right: px(right),
                top: px(top),
                width: px(size),
                height: px(size),
                border_radius: BorderRadius::MAX,
                ..default()
            },
            Ground(Colour::Accent),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::testing::{activate, at, named, screen_app};

    #[test]
    fn a_touch_leads_home() {
        let mut app = screen_app(Screen::Attract);
        activate(&mut app, "Start");
        assert_eq!(at(&app), Screen::Home);
        assert!(named(&mut app, "Start").is_none(), "the screen was left behind");
    }

    #[test]
    fn the_language_can_be_chosen_before_anything_else() {
        let mut app = screen_app(Screen::Attract);
        activate(&mut app, "Language");
        assert_eq!(at(&app), Screen::Attract);
        assert_eq!(app.world().resource::<crate::i18n::I18n>().locale(), crate::i18n::Locale::En);
    }
}
