//! The pick-up screen: an order that waits in a locker. Says honestly that staff hand it out here.
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
    app.add_systems(OnEnter(Screen::PickUp), spawn);
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::PickUp, |page| {
        chrome::title(page, theme, "pick-up-title", "pick-up-note");
        widgets::notice(page, theme, Words::key("pick-up-away"), Words::key("pick-up-away-note"));
        page.spawn(Node { flex_grow: 1.0, ..default() });
        chrome::footer(page, theme, |_| {});
    });
}
