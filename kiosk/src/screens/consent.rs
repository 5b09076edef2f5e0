//! The question before the camera looks: what is measured, where the picture stays, yes or no.
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
        Colour, Theme, Type, space,
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
    chrome::page(&mut commands, theme, &facts, Screen::Consent, |page| {
        chrome::title(page, theme, "consent-title", "consent-note");
        page.spawn(widgets::card()).with_children(|card| {
            for key in [purpose(*wanted), "consent-memory", "consent-choice"] {
                card.spawn(widgets::text(theme, Type::Body, Colour::Ink, Words::key(key)));
            }
        });
        page.spawn(Node { flex_grow: 1.0, ..default() });
        page.spawn(Node { flex_shrink: 0.0, ..widgets::row(space::LINE) }).with_children(|answers| {
            widgets::button(answers, theme, "Agree", ButtonKind::Primary, Words::key("consent-agree"))
                .observe(sends(Intent::Agree));
            widgets::button(answers, theme, "Decline", ButtonKind::Quiet, Words::key("consent-decline"))
                .observe(sends(Intent::Decline));
        });
        chrome::footer(page, theme, |_| {});
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
