//! What every screen has around its content: paper, a header with brand, hub badge, contrast and language, and a foot
//! with the ways back, where a seated visitor can reach them.

use std::time::Duration;

use bevy::{prelude::*, ui_widgets::Activate};

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
        motion, space,
        widgets::{self, ButtonKind},
    },
};

/// Keeps the badge true.
pub(super) fn plugin(app: &mut App) {
    app.init_resource::<MarkTouches>().add_systems(Update, show_link);
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

/// The house's mark: a ring with a pearl. Staff touch it [`STAFF_TOUCHES`] times in a row.
fn mark(parent: &mut ChildSpawnerCommands) {
    parent
        .spawn((
            Name::new("Mark"),
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
        .observe(count_touches);
}

/// Touches of the mark that lead to the staff's screen; no visitor does this by accident.
const STAFF_TOUCHES: u8 = 5;
/// They follow one another within this time.
const STAFF_TOUCH_GAP: Duration = Duration::from_secs(1);

/// Touches of the mark so far, and when the last one was.
#[derive(Resource, Default)]
struct MarkTouches {
    count: u8,
    last: Duration,
}

fn count_touches(
    _: On<Activate>,
    time: Res<Time<Real>>,
    mut touches: ResMut<MarkTouches>,
    mut commands: Commands,
) {
    let now = time.elapsed();
    let follows = now.saturating_sub(touches.last) <= STAFF_TOUCH_GAP;
    touches.count = if follows { touches.count + 1 } else { 1 };
    touches.last = now;
    if STAFF_TOUCHES <= touches.count {
        touches.count = 0;
        commands.trigger(Intent::Staff);
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

/// A title with a line of explanation.
pub(super) fn title(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    title: &'static str,
    note: &'static str,
) {
    parent.spawn(Node { flex_shrink: 0.0, ..widgets::column(space::TIGHT / 2.0) }).with_children(|head| {
        head.spawn(widgets::text(theme, Type::Title, Colour::Ink, Words::key(title)));
        head.spawn(widgets::text(theme, Type::Body, Colour::InkSoft, Words::key(note)));
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

    #[test]
    fn staff_enter_by_touching_the_mark_five_times_in_a_row() {
        let mut app = screen_app(Screen::Home);
        for _ in 0..STAFF_TOUCHES {
            activate(&mut app, "Mark");
        }
        assert_eq!(at(&app), Screen::Home, "seconds lie between these touches");
        let mark = named(&mut app, "Mark").unwrap();
        for _ in 0..STAFF_TOUCHES {
            app.world_mut().trigger(Activate { entity: mark });
        }
        app.update();
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
