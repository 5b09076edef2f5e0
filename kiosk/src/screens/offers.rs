//! The offers screen: what the store has today. Says honestly when the hub has told nothing.
//!
//! Sends intents and nothing else.

use bevy::prelude::*;

use super::{Screen, chrome};
use crate::{
    i18n::Words,
    link::StoreFacts,
    theme::{Theme, widgets},
};

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Offers), spawn);
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Offers, |page| {
        chrome::title(page, theme, "offers-title", "offers-note");
        widgets::notice(page, theme, Words::key("offers-away"), Words::key("offers-away-note"));
        page.spawn(Node { flex_grow: 1.0, ..default() });
        chrome::footer(page, theme, |_| {});
    });
}
