//! The staff's screen, behind a PIN. Says honestly that none is set up.
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
    app.add_systems(OnEnter(Screen::Staff), spawn);
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Staff, |page| {
        chrome::title(page, theme, "staff-title", "staff-note");
        widgets::notice(page, theme, Words::key("staff-away"), Words::key("staff-away-note"));
        page.spawn(Node { flex_grow: 1.0, ..default() });
        chrome::footer(page, theme, |_| {});
    });
}
