//! What every screen has around its content: paper, a header with brand, hub badge, contrast and language, and a foot
//! with the ways back, where a seated visitor can reach them.

use std::time::Duration;

use bevy::{
    picking::events::{Cancel, Out, Pointer, Press, Release},
    prelude::*,
    ui_widgets::Activate,
};

use super::{
    Screen,
    route::{Intent, sends},
};
use crate::{
    i18n::{I18n, Words},
    link::{LinkState, StoreFacts},
    theme::{
        self, Colour, Ground, Look, Theme, Type,
        icon::{self, Icon},
        motion::{self, Pace},
        space,
        widgets::{self, ButtonKind},
    },
};

/// Keeps the badge true.
pub(super) fn plugin(app: &mut App) {
    app.add_systems(Update, (show_link, hold));
}

/// The word that says whether the hub is there.
#[derive(Component)]
struct HubBadge;

/// The dot beside the badge; on the dark ground it is brighter.
#[derive(Component)]
struct HubDot {
    is_on_night: bool,
}

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
            Ground(Colour::Paper),
            motion::Entering::default(),
        ))
        .with_children(|page| {
            header(page, theme, facts, false);
            build(page);
            motion::veil(page, Colour::Paper);
        });
}

/// Brand, badge, contrast and language.
pub(super) fn header(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    facts: &StoreFacts,
    is_on_night: bool,
) {
    let (ink, soft, kind) = if is_on_night {
        (Colour::OnNight, Colour::OnNightSoft, ButtonKind::OnNight)
    } else {
        (Colour::Brand, Colour::InkSoft, ButtonKind::Quiet)
    };
    parent.spawn(Node { width: percent(100), flex_shrink: 0.0, ..widgets::row(space::TIGHT) }).with_children(
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
                        HubDot { is_on_night },
                        Pickable::IGNORE,
                        Node {
                            width: px(16),
                            height: px(16),
                            flex_shrink: 0.0,
                            border_radius: BorderRadius::MAX,
                            ..default()
                        },
                        Ground(link_colour(facts.link, is_on_night)),
                    ));
                    badge.spawn((
                        HubBadge,
                        Pickable::IGNORE,
                        widgets::text(theme, Type::Caption, soft, Words::key(link_key(facts.link))),
                    ));
                })
                .observe(sends(Intent::Status));
            widgets::round_button(header, "Contrast", kind, Icon::Contrast)
                .observe(|_: On<Activate>, mut look: ResMut<Look>| *look = look.other());
            widgets::icon_button(
                header,
                theme,
                "Language",
                kind,
                Icon::Language,
                Words::key("other-language"),
            )
            .observe(|_: On<Activate>, mut i18n: ResMut<I18n>| i18n.toggle());
        },
    );
}

fn link_key(link: LinkState) -> &'static str {
    match link {
        LinkState::Online => "hub-online",
        LinkState::Connecting => "hub-connecting",
        LinkState::Alone | LinkState::Offline => "hub-offline",
    }
}

fn link_colour(link: LinkState, is_on_night: bool) -> Colour {
    match (link, is_on_night) {
        (LinkState::Online, false) => Colour::Good,
        (LinkState::Online, true) => Colour::OnNight,
        (LinkState::Alone | LinkState::Offline, false) => Colour::Caution,
        (LinkState::Connecting | LinkState::Alone | LinkState::Offline, _) => Colour::Accent,
    }
}

fn show_link(
    facts: Res<StoreFacts>,
    mut words: Query<&mut Words, With<HubBadge>>,
    mut dots: Query<(&HubDot, &mut Ground)>,
) {
    if !facts.is_changed() {
        return;
    }
    for mut words in &mut words {
        words.set_if_neq(Words::key(link_key(facts.link)));
    }
    for (dot, mut ground) in &mut dots {
        ground.set_if_neq(Ground(link_colour(facts.link, dot.is_on_night)));
    }
}

/// Staff hold the mark for this long; a visitor who rests a hand there finds at most a question for a PIN.
const STAFF_HOLD: Duration = Duration::from_secs(4);

/// The house's mark: a ring with a pearl. A finger that stays on it for [`STAFF_HOLD`] leads to the staff's screen.
#[derive(Component, Default)]
struct Mark {
    /// When the finger came, while it is there.
    held_since: Option<Duration>,
}

fn mark(parent: &mut ChildSpawnerCommands) {
    parent
        .spawn((
            Name::new("Mark"),
            Mark::default(),
            // A short touch means nothing, here and below.
            bevy::ui_widgets::Button,
            Node {
                width: px(theme::TOUCH_PX_MIN),
                height: px(theme::TOUCH_PX_MIN),
                flex_shrink: 0.0,
                border: UiRect::all(px(4)),
                border_radius: BorderRadius::MAX,
                align_items: AlignItems::Center,
                justify_content: JustifyContent::Center,
                ..default()
            },
            theme::Edge(Colour::Accent),
        ))
        .with_children(|ring| {
            ring.spawn((
                Pickable::IGNORE,
                Node { width: px(20), height: px(20), border_radius: BorderRadius::MAX, ..default() },
                Ground(Colour::Accent),
            ));
        })
        .observe(|press: On<Pointer<Press>>, time: Res<Time<Real>>, mut marks: Query<&mut Mark>| {
            if let Ok(mut mark) = marks.get_mut(press.entity) {
                mark.held_since = Some(time.elapsed());
            }
        })
        .observe(|release: On<Pointer<Release>>, marks: Query<&mut Mark>| let_go(release.entity, marks))
        .observe(|out: On<Pointer<Out>>, marks: Query<&mut Mark>| let_go(out.entity, marks))
        .observe(|cancel: On<Pointer<Cancel>>, marks: Query<&mut Mark>| let_go(cancel.entity, marks));
}

fn let_go(entity: Entity, mut marks: Query<&mut Mark>) {
    if let Ok(mut mark) = marks.get_mut(entity) {
        mark.held_since = None;
    }
}

fn hold(time: Res<Time<Real>>, mut pace: ResMut<Pace>, mut marks: Query<&mut Mark>, mut commands: Commands) {
    for mut mark in &mut marks {
        let Some(since) = mark.held_since else { continue };
        // Nothing else moves while a finger rests.
        pace.within(motion::WAITING);
        if STAFF_HOLD <= time.elapsed().saturating_sub(since) {
            mark.held_since = None;
            commands.trigger(Intent::Staff);
        }
    }
}

/// The lower edge: what to do next and the ways back, where a seated visitor can reach them.
pub(super) fn footer(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    build: impl FnOnce(&mut ChildSpawnerCommands),
) {
    parent.spawn(Node { width: percent(100), flex_shrink: 0.0, ..widgets::row(space::LINE) }).with_children(
        |footer| {
            build(footer);
            footer.spawn(Node { flex_grow: 1.0, ..default() });
            widgets::icon_button(footer, theme, "Home", ButtonKind::Quiet, Icon::Home, Words::key("home"))
                .observe(sends(Intent::Home));
            widgets::icon_button(footer, theme, "End", ButtonKind::Quiet, Icon::Leave, Words::key("end"))
                .observe(sends(Intent::Finish));
        },
    );
}

/// A title's line of explanation.
#[derive(Component)]
pub(super) struct Note;

/// A title with a [`Note`].
pub(super) fn title(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    title: &'static str,
    note: &'static str,
) {
    parent.spawn(Node { flex_shrink: 0.0, ..widgets::column(space::TIGHT / 2.0) }).with_children(|head| {
        head.spawn(widgets::text(theme, Type::Title, Colour::Ink, Words::key(title)));
        head.spawn((Note, widgets::text(theme, Type::Body, Colour::InkSoft, Words::key(note))));
    });
}

/// One line of a list: a drawing in a disc, and what it means.
pub(super) fn point(parent: &mut ChildSpawnerCommands, theme: &Theme, drawn: Icon, words: Words) {
    parent.spawn(Node { width: percent(100), ..widgets::row(space::CARD) }).with_children(|line| {
        icon::disc(line, drawn, 96, Colour::BrandSoft, Colour::Brand, Colour::AccentInk);
        line.spawn((
            Node { flex_grow: 1.0, flex_basis: px(0), ..default() },
            widgets::text(theme, Type::Body, Colour::Ink, words),
        ));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::testing::{activate, at, named, screen_app};

    /// Begins or ends a hold of the mark; `tests/` has a finger that does it.
    fn hold(app: &mut App, is_held: bool) {
        let since = is_held.then(|| app.world().resource::<Time<Real>>().elapsed());
        let mark = named(app, "Mark").unwrap();
        app.world_mut().get_mut::<Mark>(mark).unwrap().held_since = since;
    }

    #[test]
    fn staff_enter_by_a_hold_of_the_mark_and_visitors_by_nothing_shorter() {
        let mut app = screen_app(Screen::Home);
        for _ in 0..9 {
            activate(&mut app, "Mark");
        }
        hold(&mut app, true);
        for _ in 1..STAFF_HOLD.as_secs() {
            app.update();
        }
        hold(&mut app, false);
        app.update();
        assert_eq!(at(&app), Screen::Home, "let go a moment too early");
        hold(&mut app, true);
        for _ in 0..=STAFF_HOLD.as_secs() {
            app.update();
        }
        assert_eq!(at(&app), Screen::Staff);
    }

    #[test]
    fn contrast_is_switched_from_every_screen() {
        for screen in Screen::ALL {
            let mut app = screen_app(screen);
            activate(&mut app, "Contrast");
            assert_eq!(*app.world().resource::<Look>(), Look::HighContrast, "{screen:?}");
            assert_eq!(at(&app), screen);
        }
    }
}
