//! The attract screen: one promise, what the kiosk can do, what is true in the store right now, and an invitation.
//!
//! Reads [`StoreFacts`]; sends intents and nothing else. Where a graphics card draws, pearls drift along the ways of
//! the globe now and then; between two drifts nothing moves, and hardly a frame is drawn.

use std::time::Duration;

use bevy::{prelude::*, ui_widgets};

use super::{
    Screen, chrome,
    figures::figures,
    route::{Feature, Intent, sends},
};
use crate::{
    i18n::Words,
    link::StoreFacts,
    theme::{
        Colour, Edge, Fade, Ground, Theme, Type,
        icon::{self, Icon, WAYS, way},
        motion::{self, Entering, Motion, Pace, PressColours, ease_in_out},
        space, widgets,
    },
};

/// A pearl's way to the store takes this long.
const DRIFT: Duration = Duration::from_secs(7);
/// Then it rests for this long.
const REST: Duration = Duration::from_secs(23);
/// Side of a pearl in pixels of the design.
const PEARL_PX: f32 = 22.0;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Attract), spawn)
        .add_systems(Update, drift.run_if(in_state(Screen::Attract)));
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    let wide = theme.is_wide();
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
            Entering::default(),
        ))
        .observe(sends(Intent::Start))
        .with_children(|page| {
            globe(page, wide);
            chrome::header(page, theme, &facts, true);
            page.spawn(Node { flex_grow: 1.0, ..default() });
            hero(page, theme, wide);
            if wide {
                page.spawn(Node { flex_grow: 1.0, ..default() });
                page.spawn(Node {
                    align_items: AlignItems::Stretch,
                    flex_shrink: 0.0,
                    ..widgets::row(space::CARD)
                })
                .with_children(|row| {
                    features(row, theme);
                    figures(row, theme, &facts, true);
                });
            } else {
                features(page, theme);
                page.spawn(Node { flex_shrink: 0.0, ..widgets::row(0.0) })
                    .with_children(|row| figures(row, theme, &facts, true));
                invitation(page, theme, percent(100));
            }
            motion::veil(page, Colour::NightDeep);
        });
}

/// The promise in three lines.
fn hero(page: &mut ChildSpawnerCommands, theme: &Theme, wide: bool) {
    page.spawn(Node { flex_shrink: 0.0, ..widgets::column(0.0) }).with_children(|hero| {
        for line in ["attract-see", "attract-try", "attract-trust"] {
            hero.spawn(widgets::text(theme, Type::Display, Colour::OnNight, Words::key(line)));
        }
        hero.spawn((
            Node {
                max_width: px(if wide { 780 } else { 900 }),
                margin: UiRect { top: px(space::TIGHT), bottom: px(space::LINE), ..default() },
                ..default()
            },
            widgets::text(theme, Type::Body, Colour::OnNightSoft, Words::key("attract-note")),
        ));
        if wide {
            invitation(hero, theme, px(620));
        }
    });
}

/// Drawn, not a button: the whole screen is one.
fn invitation(parent: &mut ChildSpawnerCommands, theme: &Theme, width: Val) {
    parent
        .spawn((
            Pickable::IGNORE,
            Node {
                width,
                min_height: px(112),
                flex_shrink: 0.0,
                border_radius: BorderRadius::MAX,
                justify_content: JustifyContent::Center,
                ..widgets::row(0.0)
            },
            Ground(Colour::Accent),
        ))
        .with_children(|invitation| {
            invitation.spawn((
                Pickable::IGNORE,
                widgets::centred(theme, Type::Heading, Colour::OnAccent, Words::key("attract-touch")),
            ));
        });
}

/// What the kiosk can do; a touch leads straight there.
fn features(parent: &mut ChildSpawnerCommands, theme: &Theme) {
    parent
        .spawn(Node { align_items: AlignItems::Stretch, flex_shrink: 0.0, ..widgets::row(space::TIGHT) })
        .with_children(|row| {
            for (name, feature, drawn, words) in [
                ("Skin", Feature::Skin, Icon::Skin, "skin-short"),
                ("Origin", Feature::Origin, Icon::Origin, "origin-short"),
                ("TryOn", Feature::TryOn, Icon::TryOn, "try-on-short"),
                ("PickUp", Feature::PickUp, Icon::PickUp, "pick-up-short"),
                ("Offers", Feature::Offers, Icon::Offers, "offers-short"),
            ] {
                row.spawn((
                    Name::new(name),
                    ui_widgets::Button,
                    Node {
                        flex_grow: 1.0,
                        flex_basis: px(0),
                        min_width: px(164),
                        padding: UiRect::axes(px(8), px(if theme.is_wide() { 16 } else { 28 })),
                        border: UiRect::all(px(2)),
                        border_radius: BorderRadius::all(px(space::RADIUS)),
                        align_items: AlignItems::Center,
                        ..widgets::column(space::TIGHT)
                    },
                    Ground(Colour::NightRaised),
                    Edge(Colour::NightEdge),
                    PressColours { rest: Colour::NightRaised, pressed: Colour::NightPressed },
                ))
                .observe(sends(Intent::Choose(feature)))
                .with_children(|chip| {
                    icon::icon(chip, drawn, 84, Colour::OnNight, Colour::Accent);
                    chip.spawn((
                        Pickable::IGNORE,
                        widgets::centred(theme, Type::Caption, Colour::OnNight, Words::key(words)),
                    ));
                });
            }
        });
}

/// A pearl on a way of the globe.
#[derive(Component)]
struct Pearl {
    way: Vec<[f32; 2]>,
    /// It sets out this much later than the first one, in drifts.
    delay: f32,
}

/// The world behind the words, with the ways that products come.
fn globe(page: &mut ChildSpawnerCommands, wide: bool) {
    // Beside the words on a screen that lies, above them on one that stands.
    let (side, right, top) = if wide { (860_u16, 90, 70) } else { (800, 0, 60) };
    page.spawn((
        Pickable::IGNORE,
        Node {
            position_type: PositionType::Absolute,
            right: px(right),
            top: px(top),
            width: px(side),
            height: px(side),
            ..default()
        },
    ))
    .with_children(|place| {
        icon::icon(place, Icon::Globe, side, Colour::OnNightSoft, Colour::Accent);
        for index in 0..WAYS {
            #[expect(clippy::cast_precision_loss, reason = "there are four ways")]
            let delay = index as f32 * 0.12;
            place.spawn((
                Pickable::IGNORE,
                Pearl { way: way(index), delay },
                Visibility::Hidden,
                Node {
                    position_type: PositionType::Absolute,
                    width: px(PEARL_PX),
                    height: px(PEARL_PX),
                    margin: UiRect::all(px(-PEARL_PX / 2.0)),
                    border_radius: BorderRadius::MAX,
                    ..default()
                },
                Ground(Colour::OnNight),
            ));
        }
    });
}

fn drift(
    time: Res<Time<Real>>,
    motion: Res<Motion>,
    mut pace: ResMut<Pace>,
    mut since: Local<Duration>,
    mut pearls: Query<(&Pearl, &mut Node, &mut Visibility)>,
) {
    if *motion == Motion::Still {
        return;
    }
    // An event of long ago must not be missed by hours, only the place within one round counts.
    *since = (*since + time.delta()).min((DRIFT + REST) * 2);
    while DRIFT + REST <= *since {
        *since -= DRIFT + REST;
    }
    let at = since.as_secs_f32() / DRIFT.as_secs_f32();
    if at <= 1.0 {
        pace.within(motion::FLUENT);
    } else {
        pace.within((DRIFT + REST).saturating_sub(*since));
    }
    for (pearl, mut node, mut visibility) in &mut pearls {
        // The last one sets out late and still arrives in time.
        let own = (at * 1.4 - pearl.delay).clamp(0.0, 1.0);
        let is_seen = at <= 1.0 && 0.0 < own && own < 1.0;
        visibility.set_if_neq(if is_seen { Visibility::Inherited } else { Visibility::Hidden });
        if is_seen {
            let [x, y] = place_on(&pearl.way, ease_in_out(own));
            (node.left, node.top) = (percent(x * 100.0), percent(y * 100.0));
        }
    }
}

/// The place on a way after a share of it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a way has a few dozen points, and the share lies between 0 and 1"
)]
fn place_on(way: &[[f32; 2]], share: f32) -> [f32; 2] {
    let last = way.len().saturating_sub(1);
    let at = share.clamp(0.0, 1.0) * last as f32;
    let (from, to) = (way[at as usize], way[(at as usize + 1).min(last)]);
    [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * at.fract())
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
    fn a_touch_of_a_feature_leads_straight_there() {
        let mut app = screen_app(Screen::Attract);
        activate(&mut app, "Offers");
        assert_eq!(at(&app), Screen::Offers);
    }

    #[test]
    fn the_language_can_be_chosen_before_anything_else() {
        let mut app = screen_app(Screen::Attract);
        activate(&mut app, "Language");
        assert_eq!(at(&app), Screen::Attract);
        assert_eq!(app.world().resource::<crate::i18n::I18n>().locale(), crate::i18n::Locale::En);
    }

    #[test]
    fn a_pearl_goes_from_the_place_to_the_store() {
        let line = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]];
        assert_eq!(place_on(&line, 0.0), [0.0, 0.0]);
        assert_eq!(place_on(&line, 0.75), [1.0, 0.5]);
        assert_eq!(place_on(&line, 1.0), [1.0, 1.0]);
    }
}
