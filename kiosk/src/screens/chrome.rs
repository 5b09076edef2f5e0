//! What every screen has around its content: paper, a header with brand, hub badge and language, and a way back.

use bevy::{prelude::*, ui_widgets::Activate};

use super::Screen;
use crate::{
    i18n::{I18n, Words},
    link::{LinkState, StoreFacts},
    session::EndSession,
    theme::{
        self, Theme, Type, space,
        widgets::{self, ButtonKind},
    },
};

/// Keeps the badge true.
pub(super) fn plugin(app: &mut App) {
    app.add_systems(Update, show_link);
}

/// The word that says whether the hub is there.
#[derive(Component)]
pub(super) struct HubBadge;

/// A screen on paper; `build` fills it below the header.
pub(super) fn page(
    commands: &mut Commands,
    theme: &Theme,
    facts: &StoreFacts,
    screen: Screen,
    build: impl FnOnce(&mut ChildSpawnerCommands),
) {
    commands
        .spawn((
            Name::new("Page"),
            DespawnOnExit(screen),
            Node {
                width: percent(100),
                height: percent(100),
                padding: UiRect::all(px(space::EDGE)),
                overflow: Overflow::clip(),
                ..widgets::column(space::CARD)
            },
            BackgroundColor(theme::PAPER),
        ))
        .with_children(|page| {
            header(page, theme, facts, false);
            build(page);
        });
}

/// Brand, badge and language.
pub(super) fn header(parent: &mut ChildSpawnerCommands, theme: &Theme, facts: &StoreFacts, is_on_jade: bool) {
    let (ink, kind) =
        if is_on_jade { (theme::IVORY, ButtonKind::OnJade) } else { (theme::JADE, ButtonKind::Quiet) };
    parent.spawn(Node { width: percent(100), flex_shrink: 0.0, ..widgets::row(space::LINE) }).with_children(
        |header| {
            mark(header);
            header.spawn(widgets::text(theme, Type::Label, ink, Words::key("brand")));
            header.spawn(Node { flex_grow: 1.0, ..default() });
            header
                .spawn((
                    Name::new("Status"),
                    bevy::ui_widgets::Button,
                    Node {
                        min_height: px(theme::TOUCH_PX_MIN),
                        padding: UiRect::horizontal(px(16)),
                        ..widgets::row(12.0)
                    },
                ))
                .with_children(|badge| {
                    badge.spawn((
                        HubDot,
                        Node { width: px(16), height: px(16), border_radius: BorderRadius::MAX, ..default() },
                        BackgroundColor(link_look(facts.link).1),
                    ));
                    badge.spawn((
                        HubBadge,
                        widgets::text(
                            theme,
                            Type::Caption,
                            if is_on_jade { theme::IVORY_SOFT } else { theme::INK_SOFT },
                            Words::key(link_look(facts.link).0),
                        ),
                    ));
                })
                .observe(|_: On<Activate>, mut next: ResMut<NextState<Screen>>| next.set(Screen::Fault));
            widgets::button(header, theme, "Language", kind, Words::key("other-language"))
                .observe(|_: On<Activate>, mut i18n: ResMut<I18n>| i18n.toggle());
        },
    );
}

/// The dot beside the badge.
#[derive(Component)]
pub(super) struct HubDot;

fn link_look(link: LinkState) -> (&'static str, Color) {
    match link {
        LinkState::Online => ("hub-online", theme::GOOD),
        LinkState::Connecting => ("hub-connecting", theme::GOLD),
        LinkState::Alone | LinkState::Offline => ("hub-offline", theme::CAUTION),
    }
}

fn show_link(
    facts: Res<StoreFacts>,
    mut words: Query<&mut Words, With<HubBadge>>,
    mut dots: Query<&mut BackgroundColor, With<HubDot>>,
) {
    if !facts.is_changed() {
        return;
    }
    let (key, colour) = link_look(facts.link);
    for mut words in &mut words {
        words.set_if_neq(Words::key(key));
    }
    for mut dot in &mut dots {
        dot.set_if_neq(BackgroundColor(colour));
    }
}

/// The house's mark: a ring with a pearl.
fn mark(parent: &mut ChildSpawnerCommands) {
    parent
        .spawn((
            Node {
                width: px(56),
                height: px(56),
                border: UiRect::all(px(4)),
                border_radius: BorderRadius::MAX,
                align_items: AlignItems::Center,
                justify_content: JustifyContent::Center,
                ..default()
            },
            BorderColor::all(theme::GOLD),
        ))
        .with_children(|ring| {
            ring.spawn((
                Node { width: px(20), height: px(20), border_radius: BorderRadius::MAX, ..default() },
                BackgroundColor(theme::GOLD),
            ));
        });
}

/// The lower edge: what to do next and the way home, where a seated visitor can reach it.
pub(super) fn footer(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    build: impl FnOnce(&mut ChildSpawnerCommands),
) {
    parent.spawn(Node { width: percent(100), flex_shrink: 0.0, ..widgets::row(space::LINE) }).with_children(
        |footer| {
            build(footer);
            footer.spawn(Node { flex_grow: 1.0, ..default() });
            widgets::button(footer, theme, "Home", ButtonKind::Quiet, Words::key("home"))
                .observe(|_: On<Activate>, mut next: ResMut<NextState<Screen>>| next.set(Screen::Home));
            widgets::button(footer, theme, "End", ButtonKind::Quiet, Words::key("end"))
                .observe(|_: On<Activate>, mut commands: Commands| commands.trigger(EndSession));
        },
    );
}

/// A title with a line of explanation.
pub(super) fn title(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    title: &'static str,
    note: &'static str,
) {
    parent.spawn(Node { flex_shrink: 0.0, ..widgets::column(space::TIGHT / 2.0) }).with_children(|head| {
        head.spawn(widgets::text(theme, Type::Title, theme::INK, Words::key(title)));
        head.spawn(widgets::text(theme, Type::Body, theme::INK_SOFT, Words::key(note)));
    });
}
