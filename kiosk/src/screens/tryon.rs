//! The try-on screen: how a product would look. Says honestly that this kiosk cannot show it.
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
    app.add_systems(OnEnter(Screen::TryOn), spawn);
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::TryOn, |page| {
        chrome::title(page, theme, "try-on-title", "try-on-note");
        widgets::notice(page, theme, Words::key("try-on-away"), Words::key("try-on-away-note"));
        page.spawn(Node { flex_grow: 1.0, ..default() });
        chrome::footer(page, theme, |_| {});
    });
}
