//! The home screen: what the kiosk can do, and the store right now.
//!
//! Reads [`StoreFacts`]; sends intents and nothing else.

use bevy::{prelude::*, text::LineBreak, ui_widgets};
use contract::hub::ShelfStock;

use super::{
    Screen, chrome,
    figures::figures,
    route::{Feature, Intent, sends},
};
use crate::{
    i18n::Words,
    link::StoreFacts,
    theme::{Colour, Edge, Fade, Ground, Raised, Theme, Type, space, widgets},
};

/// Shelves that fit on the screen; the emptiest come first.
const SHELVES_MAX: usize = 5;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Home), spawn)
        .add_systems(Update, show_shelves.run_if(in_state(Screen::Home)));
}

/// Where the shelves are listed.
#[derive(Component)]
struct Shelves;

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Home, |page| {
        chrome::title(page, theme, "home-title", "home-note");
        let direction = if theme.is_wide() { FlexDirection::Row } else { FlexDirection::Column };
        let body = Node {
            flex_direction: direction,
            row_gap: px(space::CARD),
            column_gap: px(space::CARD),
            flex_grow: 1.0,
            min_height: px(0),
            ..default()
        };
        page.spawn(body).with_children(|body| {
            body.spawn(Node {
                align_items: AlignItems::Stretch,
                flex_grow: if theme.is_wide() { 1.0 } else { 0.0 },
                flex_basis: if theme.is_wide() { px(0) } else { auto() },
                ..widgets::row(space::CARD)
            })
            .with_children(|tiles| {
                tile(
                    tiles,
                    theme,
                    Feature::Skin,
                    (Colour::Night, Colour::NightDeep),
                    Colour::OnNight,
                    Colour::OnNightSoft,
                );
                tile(
                    tiles,
                    theme,
                    Feature::Origin,
                    (Colour::AccentSoft, Colour::Card),
                    Colour::Ink,
                    Colour::InkSoft,
                );
            });
            body.spawn(widgets::row(space::LINE)).with_children(|more| {
                for (name, feature, words) in [
                    ("TryOn", Feature::TryOn, "try-on-title"),
                    ("PickUp", Feature::PickUp, "pick-up-title"),
                    ("Offers", Feature::Offers, "offers-title"),
                ] {
                    widgets::button(more, theme, name, widgets::ButtonKind::Quiet, Words::key(words))
                        .observe(sends(Intent::Choose(feature)));
                }
            });
            body.spawn(Node {
                flex_grow: 1.0,
                flex_basis: if theme.is_wide() { px(0) } else { auto() },
                min_height: px(0),
                ..widgets::column(space::LINE)
            })
            .with_children(|now| {
                now.spawn(widgets::text(theme, Type::Heading, Colour::Ink, Words::key("home-now")));
                now.spawn(Node { ..widgets::row(space::LINE) })
                    .with_children(|row| figures(row, theme, &facts, false));
                now.spawn((Name::new("Shelves"), Shelves, widgets::card()));
            });
        });
        page.spawn(Node { width: percent(100), flex_shrink: 0.0, ..widgets::row(space::LINE) })
            .with_children(|foot| {
                foot.spawn((
                    Node { flex_grow: 1.0, flex_basis: px(0), ..default() },
                    widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key("privacy")),
                ));
                widgets::button(foot, theme, "End", widgets::ButtonKind::Quiet, Words::key("end"))
                    .observe(sends(Intent::Finish));
            });
    });
}

/// A large tile that leads to a screen.
fn tile(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    feature: Feature,
    (from, to): (Colour, Colour),
    ink: Colour,
    soft: Colour,
) {
    let (name, title, note, go) = match feature {
        Feature::Skin => ("Skin", "skin-title", "tile-skin-note", "tile-skin-go"),
        _ => ("Origin", "origin-title", "tile-origin-note", "tile-origin-go"),
    };
    parent
        .spawn((
            Name::new(name),
            ui_widgets::Button,
            Node {
                flex_grow: 1.0,
                flex_basis: px(0),
                min_height: px(540),
                padding: UiRect::all(px(40)),
                border_radius: BorderRadius::all(px(space::RADIUS)),
                overflow: Overflow::clip(),
                ..widgets::column(space::TIGHT)
            },
            Fade(from, to),
            Raised::Card,
        ))
        .observe(sends(Intent::Choose(feature)))
        .with_children(|tile| {
            emblem(tile, feature);
            tile.spawn(Node { flex_grow: 1.0, ..default() });
            tile.spawn(widgets::text(theme, Type::Heading, ink, Words::key(title)));
            tile.spawn(widgets::text(theme, Type::Caption, soft, Words::key(note)));
            tile.spawn((
                Node { margin: UiRect::top(px(space::TIGHT)), ..default() },
                widgets::text(
                    theme,
                    Type::Label,
                    if feature == Feature::Skin { Colour::Accent } else { Colour::AccentInk },
                    Words::key(go),
                ),
            ));
        });
}

/// Drawn from rings and bars: a face in its frame, or a code and its way.
fn emblem(parent: &mut ChildSpawnerCommands, feature: Feature) {
    let part = |left: f32, top: f32, width: f32, height: f32, radius: BorderRadius, border: f32| Node {
        position_type: PositionType::Absolute,
        left: px(left),
        top: px(top),
        width: px(width),
        height: px(height),
        border: UiRect::all(px(border)),
        border_radius: radius,
        ..default()
    };
    parent.spawn(Node { width: px(190), height: px(190), ..default() }).with_children(|box_| {
        let colour = if feature == Feature::Skin { Colour::Accent } else { Colour::Brand };
        let soft = Colour::Accent;
        if feature == Feature::Skin {
            box_.spawn((part(0.0, 0.0, 190.0, 190.0, BorderRadius::MAX, 3.0), Edge(soft)));
            box_.spawn((part(45.0, 30.0, 100.0, 130.0, BorderRadius::MAX, 5.0), Edge(colour)));
            for left in [68.0, 104.0] {
                box_.spawn((part(left, 82.0, 18.0, 10.0, BorderRadius::MAX, 0.0), Ground(colour)));
            }
            box_.spawn((part(78.0, 128.0, 34.0, 6.0, BorderRadius::MAX, 0.0), Ground(colour)));
        } else {
            let corner = BorderRadius::all(px(14));
            for (left, top) in [(0.0, 0.0), (110.0, 0.0), (0.0, 110.0)] {
                box_.spawn((part(left, top, 80.0, 80.0, corner, 7.0), Edge(colour)));
                box_.spawn((
                    part(left + 26.0, top + 26.0, 28.0, 28.0, BorderRadius::all(px(6)), 0.0),
                    Ground(colour),
                ));
            }
            for (left, top) in
                [(110.0, 110.0), (140.0, 128.0), (112.0, 158.0), (166.0, 110.0), (162.0, 162.0)]
            {
                box_.spawn((part(left, top, 20.0, 20.0, BorderRadius::all(px(5)), 0.0), Ground(soft)));
            }
        }
    });
}

/// The emptiest shelves first, then by name.
fn listed(facts: &StoreFacts) -> Vec<&ShelfStock> {
    let mut shelves: Vec<&ShelfStock> =
        facts.shelves.values().filter(|shelf| !shelf.name.is_empty() && shelf.pieces.is_some()).collect();
    shelves.sort_by(|one, other| {
        fullness(one).total_cmp(&fullness(other)).then_with(|| one.shelf.cmp(&other.shelf))
    });
    shelves.truncate(SHELVES_MAX);
    shelves
}

/// From 0, empty, to 1, full.
#[expect(clippy::cast_precision_loss, reason = "a shelf holds far fewer pieces than 2^24")]
fn fullness(shelf: &ShelfStock) -> f32 {
    match (shelf.pieces, shelf.capacity) {
        (Some(pieces), Some(capacity)) if 0 < capacity => (pieces as f32 / capacity as f32).clamp(0.0, 1.0),
        _ => 1.0,
    }
}

fn show_shelves(
    mut commands: Commands,
    theme: Res<Theme>,
    facts: Res<StoreFacts>,
    list: Single<(Entity, Ref<Shelves>)>,
) {
    let (list, marker) = list.into_inner();
    // Nothing in the list can be pressed, so it may be built anew at any time.
    if !facts.is_changed() && !marker.is_added() {
        return;
    }
    let theme = &*theme;
    let shelves = listed(&facts);
    commands.entity(list).despawn_children().with_children(|list| {
        list.spawn(widgets::text(theme, Type::Label, Colour::Ink, Words::key("shelves-title")));
        if shelves.is_empty() {
            list.spawn(widgets::text(theme, Type::Body, Colour::InkSoft, Words::key("shelves-unknown")));
        }
        for shelf in shelves {
            shelf_line(list, theme, shelf);
        }
    });
}

fn shelf_line(list: &mut ChildSpawnerCommands, theme: &Theme, shelf: &ShelfStock) {
    let pieces = shelf.pieces.unwrap_or(0);
    let (key, colour) = match fullness(shelf) {
        _ if pieces == 0 => ("pieces-none", Colour::Bad),
        fullness if fullness < 0.25 => ("pieces-few", Colour::Caution),
        _ => ("pieces", Colour::Good),
    };
    list.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(|line| {
        line.spawn((
            Node { flex_grow: 1.0, flex_basis: px(0), overflow: Overflow::clip(), ..default() },
            widgets::text(theme, Type::Body, Colour::Ink, Words::Names(shelf.name.clone())),
            TextLayout::linebreak(LineBreak::NoWrap),
        ));
        line.spawn((
            Node {
                width: px(220),
                height: px(12),
                border_radius: BorderRadius::MAX,
                overflow: Overflow::clip(),
                ..default()
            },
            Ground(Colour::Line),
        ))
        .with_children(|bar| {
            bar.spawn((
                Node {
                    width: percent(fullness(shelf) * 100.0),
                    height: percent(100),
                    border_radius: BorderRadius::MAX,
                    ..default()
                },
                Ground(colour),
            ));
        });
        line.spawn((
            Node { width: px(190), ..default() },
            widgets::text(theme, Type::Caption, colour, Words::key(key).with("count", pieces.to_string())),
            // Text that may break is measured at its narrowest, which makes the line three lines high.
            TextLayout { justify: Justify::Right, linebreak: LineBreak::NoWrap },
        ));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::testing::{activate, at, screen_app, shown};

    fn shelf(id: &str, pieces: u32) -> ShelfStock {
        let text = format!(
            r#"{{"shelf":"{id}","name":{{"zh":"货架 {id}","en":"Shelf {id}"}},"pieces":{pieces},"capacity":10,"at":"2026-11-22T20:00:00.000Z"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn each_tile_leads_to_its_screen() {
        for (name, screen) in [
            ("Skin", Screen::Consent),
            ("Origin", Screen::Consent),
            ("TryOn", Screen::Consent),
            ("PickUp", Screen::PickUp),
            ("Offers", Screen::Offers),
            ("Status", Screen::Fault),
        ] {
            let mut app = screen_app(Screen::Home);
            activate(&mut app, name);
            assert_eq!(at(&app), screen);
        }
    }

    #[test]
    fn the_end_button_wipes_the_session() {
        let mut app = screen_app(Screen::Home);
        let before = app.world().resource::<crate::session::Session>().id();
        activate(&mut app, "Language");
        activate(&mut app, "End");
        assert_eq!(at(&app), Screen::Attract);
        assert_ne!(app.world().resource::<crate::session::Session>().id(), before);
        assert_eq!(app.world().resource::<crate::i18n::I18n>().locale(), crate::i18n::Locale::ZhCn);
    }

    #[test]
    fn live_facts_are_shown_and_follow_the_hub_and_the_language() {
        let mut app = screen_app(Screen::Home);
        assert!(shown(&mut app).contains(&"—".to_owned()), "what is not known is a dash");
        {
            let mut facts = app.world_mut().resource_mut::<StoreFacts>();
            facts.shelves.insert("a".to_owned(), shelf("a", 9));
            facts.shelves.insert("b".to_owned(), shelf("b", 0));
        }
        app.update();
        app.update();
        let texts = shown(&mut app);
        let place = |text: &str| texts.iter().position(|shown| shown == text);
        assert!(place("货架 b") < place("货架 a"), "the emptiest first: {texts:?}");
        assert!(place("9").is_some(), "{texts:?}");
        activate(&mut app, "Language");
        assert!(shown(&mut app).contains(&"Shelf b".to_owned()));
    }

    #[test]
    fn a_forgotten_kiosk_goes_back_to_the_start() {
        let mut app = screen_app(Screen::Home);
        app.world_mut().resource_mut::<crate::session::Session>().touch();
        for _ in 0..61 {
            app.update();
        }
        assert_eq!(at(&app), Screen::Attract);
    }
}
