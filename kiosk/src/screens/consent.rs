//! The question before the camera looks: what is measured, where the picture stays, yes or no. Both answers are
//! equally large, and everything else goes on without consent.
//!
//! Reads [`Wanted`]; sends [`Intent::Agree`] and [`Intent::Decline`] and nothing else.

use bevy::prelude::*;

use super::{
    Screen, chrome,
    route::{Feature, Intent, Wanted, sends},
};
use crate::{
    i18n::Words,
    link::StoreFacts,
    theme::{
        Colour, Theme,
        icon::{self, Icon},
        space,
        widgets::{self, ButtonKind},
    },
};

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Consent), spawn);
}

/// What is looked at, which depends on what the visitor wants.
fn purpose(wanted: Wanted) -> &'static str {
    match wanted.0 {
        Some(Feature::Origin) => "consent-origin",
        Some(Feature::TryOn) => "consent-try-on",
        _ => "consent-skin",
    }
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>, wanted: Res<Wanted>) {
    let theme = &*theme;
    let purpose = purpose(*wanted);
    chrome::page(&mut commands, theme, &facts, Screen::Consent, |page| {
        if theme.is_wide() {
            let side = || Node {
                flex_grow: 1.0,
                flex_basis: px(0),
                min_width: px(0),
                justify_content: JustifyContent::Center,
                ..widgets::column(space::CARD)
            };
            page.spawn(Node {
                flex_grow: 1.0,
                min_height: px(0),
                align_items: AlignItems::Stretch,
                ..widgets::row(space::EDGE)
            })
            .with_children(|body| {
                body.spawn(side()).with_children(|question| {
                    emblem(question, 260);
                    chrome::title(question, theme, "consent-title", "consent-note");
                    answers(question, theme);
                });
                body.spawn(side()).with_children(|told| promises(told, theme, purpose));
            });
        } else {
            page.spawn(Node { flex_grow: 1.0, ..default() });
            emblem(page, 300);
            chrome::title(page, theme, "consent-title", "consent-note");
            promises(page, theme, purpose);
            page.spawn(Node { flex_grow: 1.6, ..default() });
            answers(page, theme);
        }
        chrome::footer(page, theme, |_| {});
    });
}

fn emblem(parent: &mut ChildSpawnerCommands, side: u16) {
    icon::disc(parent, Icon::Shield, side, Colour::BrandSoft, Colour::Brand, Colour::AccentInk);
}

fn promises(parent: &mut ChildSpawnerCommands, theme: &Theme, purpose: &'static str) {
    parent.spawn(widgets::card()).with_children(|card| {
        chrome::point(card, theme, Icon::Eye, Words::key(purpose));
        chrome::point(card, theme, Icon::Lock, Words::key("consent-memory"));
        chrome::point(card, theme, Icon::Leave, Words::key("consent-choice"));
    });
}

fn answers(parent: &mut ChildSpawnerCommands, theme: &Theme) {
    parent.spawn(Node { flex_shrink: 0.0, ..widgets::column(space::LINE) }).with_children(|answers| {
        widgets::wide_button(answers, theme, "Agree", ButtonKind::Primary, Words::key("consent-agree"))
            .observe(sends(Intent::Agree));
        widgets::wide_button(answers, theme, "Decline", ButtonKind::Quiet, Words::key("consent-decline"))
            .observe(sends(Intent::Decline));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        screens::testing::{activate, at, screen_app},
        session::{Consent, Session},
    };

    #[test]
    fn agreeing_leads_on_and_declining_leads_home() {
        let mut app = screen_app(Screen::Home);
        activate(&mut app, "TryOn");
        activate(&mut app, "Agree");
        assert_eq!(at(&app), Screen::TryOn);

        let mut app = screen_app(Screen::Home);
        activate(&mut app, "TryOn");
        activate(&mut app, "Decline");
        assert_eq!(at(&app), Screen::Home);
        assert_eq!(app.world().resource::<Session>().consent(), Consent::Declined);
    }
}
