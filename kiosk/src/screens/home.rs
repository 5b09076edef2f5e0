//! The home screen: what the store is like right now, and below, where every hand reaches, what the kiosk can do.
//!
//! Reads [`StoreFacts`], [`Camera`] and [`SkinStatus`]; sends intents and nothing else.

use bevy::{ecs::system::SystemParam, prelude::*, text::LineBreak, ui_widgets};
use contract::hub::ShelfStock;

use super::{
    Screen, chrome,
    figures::figures,
    route::{Feature, Intent, sends},
};
use crate::{
    camera::Camera,
    i18n::Words,
    link::{LinkState, StoreFacts},
    skin::SkinStatus,
    theme::{
        Colour, Edge, Fade, Ground, Raised, Theme, Type,
        icon::{self, Icon},
        motion::PressColours,
        space, widgets,
    },
};

/// Shelves that fit on the screen.
const SHELVES_MAX: usize = 3;
/// Height of the small tiles on a screen that lies, in pixels of the design.
const SMALL_TILE_PX: f32 = 200.0;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Home), spawn)
        .add_systems(Update, (show_shelves, show_standing).run_if(in_state(Screen::Home)));
}

/// Where the shelves are listed.
#[derive(Component)]
struct Shelves;

/// What a tile says about its feature: what it does, or that it rests.
#[derive(Component)]
struct Note(Feature);

/// What decides whether a feature is there.
#[derive(SystemParam)]
struct Parts<'w> {
    facts: Res<'w, StoreFacts>,
    camera: Res<'w, Camera>,
    skin: Res<'w, SkinStatus>,
}

impl Parts<'_> {
    /// Whether a feature has what it needs. A visitor may open it all the same: its screen says what is missing.
    fn serve(&self, feature: Feature) -> bool {
        match feature {
            Feature::Skin => self.camera.is_present() && *self.skin != SkinStatus::Missing,
            Feature::Origin | Feature::TryOn => self.camera.is_present(),
            Feature::PickUp => self.facts.link == LinkState::Online,
            Feature::Care | Feature::Offers => !self.facts.shelves.is_empty(),
        }
    }

    fn have_changed(&self) -> bool {
        self.facts.is_changed() || self.camera.is_changed() || self.skin.is_changed()
    }
}

fn spawn(mut commands: Commands, theme: Res<Theme>, parts: Parts) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &parts.facts, Screen::Home, |page| {
        chrome::title(page, theme, "home-title", "home-note");
        if theme.is_wide() {
            page.spawn(Node { align_items: AlignItems::Stretch, ..fill(widgets::row(space::CARD)) })
                .with_children(|body| {
                    body.spawn(Node { flex_grow: 1.7, ..fill(widgets::column(space::LINE)) })
                        .with_children(|side| tiles(side, theme, &parts));
                    body.spawn(fill(widgets::column(space::LINE)))
                        .with_children(|side| store_now(side, theme, &parts.facts));
                });
        } else {
            page.spawn(Node { flex_shrink: 0.0, ..widgets::column(space::LINE) })
                .with_children(|now| store_now(now, theme, &parts.facts));
            page.spawn(fill(widgets::column(space::LINE))).with_children(|body| tiles(body, theme, &parts));
        }
        page.spawn(Node { width: percent(100), flex_shrink: 0.0, ..widgets::row(space::LINE) })
            .with_children(|foot| {
                icon::icon(foot, Icon::Lock, 44, Colour::Brand, Colour::AccentInk);
                foot.spawn((
                    Node { flex_grow: 1.0, flex_basis: px(0), ..default() },
                    widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key("privacy")),
                ));
                widgets::icon_button(
                    foot,
                    theme,
                    "End",
                    widgets::ButtonKind::Quiet,
                    Icon::Leave,
                    Words::key("end"),
                )
                .observe(sends(Intent::Finish));
            });
    });
}

/// Columns of a name in the list of shelves on a screen that lies: one line.
const LIST_COLUMNS_MAX: usize = 22;
/// The same on a screen that stands: two lines.
const CARD_COLUMNS_MAX: usize = 40;

/// Takes what is left of its place.
fn fill(node: Node) -> Node {
    Node { flex_grow: 1.0, flex_basis: px(0), min_width: px(0), min_height: px(0), ..node }
}

/// Figures and shelves.
fn store_now(parent: &mut ChildSpawnerCommands, theme: &Theme, facts: &StoreFacts) {
    parent.spawn(widgets::row(0.0)).with_children(|row| figures(row, theme, facts, false));
    parent.spawn((Name::new("Shelves"), Shelves, widgets::card())).entry::<Node>().and_modify(|mut node| {
        node.padding = UiRect::axes(px(32), px(24));
        node.row_gap = px(space::TIGHT);
    });
}

/// Two large tiles above three small ones.
fn tiles(parent: &mut ChildSpawnerCommands, theme: &Theme, parts: &Parts) {
    let row = || Node { align_items: AlignItems::Stretch, ..fill(widgets::row(space::LINE)) };
    parent.spawn(Node { flex_grow: 1.5, ..row() }).with_children(|row| {
        for feature in [Feature::Skin, Feature::Origin] {
            tile(row, theme, parts, feature);
        }
    });
    // On a screen that lies the small ones are as high as their words, and the large ones take the rest.
    let small =
        if theme.is_wide() { Node { flex_grow: 0.0, flex_basis: px(SMALL_TILE_PX), ..row() } } else { row() };
    parent.spawn(small).with_children(|row| {
        for feature in [Feature::TryOn, Feature::PickUp, Feature::Offers] {
            tile(row, theme, parts, feature);
        }
    });
}

/// What a tile says and how it looks.
struct Face {
    name: &'static str,
    drawn: Icon,
    title: &'static str,
    note: &'static str,
    grounds: (Colour, Colour),
    ink: Colour,
    soft: Colour,
    second: Colour,
}

fn face(feature: Feature) -> Face {
    let (name, drawn, title, note) = match feature {
        Feature::Skin => ("Skin", Icon::Skin, "skin-title", "tile-skin-note"),
        Feature::Care => ("Care", Icon::Serum, "care-title", "care-note"),
        Feature::Origin => ("Origin", Icon::Origin, "origin-title", "tile-origin-note"),
        Feature::TryOn => ("TryOn", Icon::TryOn, "try-on-title", "tile-try-on-note"),
        Feature::PickUp => ("PickUp", Icon::PickUp, "pick-up-title", "tile-pick-up-note"),
        Feature::Offers => ("Offers", Icon::Offers, "offers-title", "tile-offers-note"),
    };
    let (grounds, ink, soft, second) = match feature {
        Feature::Skin => {
            ((Colour::Night, Colour::NightDeep), Colour::OnNight, Colour::OnNightSoft, Colour::Accent)
        }
        Feature::Origin => {
            ((Colour::AccentSoft, Colour::Card), Colour::Ink, Colour::InkSoft, Colour::AccentInk)
        }
        _ => ((Colour::Card, Colour::Card), Colour::Ink, Colour::InkSoft, Colour::AccentInk),
    };
    Face { name, drawn, title, note, grounds, ink, soft, second }
}

/// A tile that leads to a feature.
fn tile(parent: &mut ChildSpawnerCommands, theme: &Theme, parts: &Parts, feature: Feature) {
    let face = face(feature);
    let is_large = matches!(feature, Feature::Skin | Feature::Origin);
    let is_flat = theme.is_wide() && !is_large;
    let main = if feature == Feature::Skin { Colour::OnNight } else { Colour::Brand };
    let flow = if is_flat {
        widgets::row(space::LINE)
    } else {
        widgets::column(if is_large { space::TIGHT } else { 4.0 })
    };
    let side = match (is_large, theme.is_wide()) {
        (true, false) => 200,
        (true, true) => 148,
        (false, false) => 112,
        (false, true) => 84,
    };
    parent
        .spawn((
            Name::new(face.name),
            ui_widgets::Button,
            Node {
                padding: UiRect::all(px(if is_large { 36 } else { 26 })),
                border: UiRect::all(px(2)),
                border_radius: BorderRadius::all(px(space::RADIUS)),
                ..fill(flow)
            },
            Fade(face.grounds.0, face.grounds.1),
            Edge(Colour::CardEdge),
            Raised::Card,
            PressColours { rest: face.grounds.0, pressed: face.grounds.1 },
        ))
        .observe(sends(Intent::Choose(feature)))
        .with_children(|tile| {
            icon::icon(tile, face.drawn, side, main, face.second);
            if !is_flat {
                tile.spawn((Pickable::IGNORE, Node { flex_grow: 1.0, ..default() }));
            }
            let told = if is_flat { fill(widgets::column(2.0)) } else { widgets::column(4.0) };
            tile.spawn((Pickable::IGNORE, told)).with_children(|told| {
                let title = if is_large { Type::Heading } else { Type::Label };
                told.spawn((Pickable::IGNORE, widgets::text(theme, title, face.ink, Words::key(face.title))));
                told.spawn((
                    Pickable::IGNORE,
                    Note(feature),
                    widgets::text(theme, Type::Caption, face.soft, note(parts, feature)),
                ));
            });
        });
}

fn note(parts: &Parts, feature: Feature) -> Words {
    Words::key(if parts.serve(feature) { face(feature).note } else { "tile-resting" })
}

fn show_standing(parts: Parts, mut notes: Query<(&Note, &mut Words)>) {
    if parts.have_changed() {
        for (Note(feature), mut words) in &mut notes {
            words.set_if_neq(note(&parts, *feature));
        }
    }
}

/// What a customer can still get, the scarcest first; what is sold out comes last.
fn listed(facts: &StoreFacts, at_most: usize) -> Vec<&ShelfStock> {
    let mut shelves: Vec<&ShelfStock> =
        facts.shelves.values().filter(|shelf| !shelf.name.is_empty() && shelf.pieces.is_some()).collect();
    let is_empty = |shelf: &ShelfStock| shelf.pieces == Some(0);
    shelves.sort_by(|one, other| {
        is_empty(one)
            .cmp(&is_empty(other))
            .then_with(|| fullness(one).total_cmp(&fullness(other)))
            .then_with(|| one.shelf.cmp(&other.shelf))
    });
    shelves.truncate(at_most);
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
    let shelves = listed(&facts, SHELVES_MAX);
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
    let columns_max = if theme.is_wide() { LIST_COLUMNS_MAX } else { CARD_COLUMNS_MAX };
    let name = Words::brief(shelf.name.clone(), columns_max);
    list.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(|line| {
        line.spawn((
            Node { flex_grow: 1.0, flex_basis: px(0), min_width: px(0), ..default() },
            widgets::text(theme, Type::Body, Colour::Ink, name),
        ));
        if !theme.is_wide() {
            bar(line, fullness(shelf), colour);
        }
        line.spawn((
            Node { width: px(200), flex_shrink: 0.0, ..default() },
            widgets::text(theme, Type::Caption, colour, Words::key(key).with("count", Words::count(pieces))),
            // Text that may break is measured at its narrowest, which makes the line three lines high.
            TextLayout { justify: Justify::Right, linebreak: LineBreak::NoWrap },
        ));
    });
}

/// How full a shelf is.
fn bar(line: &mut ChildSpawnerCommands, fullness: f32, colour: Colour) {
    line.spawn((
        Node {
            width: px(140),
            height: px(12),
            flex_shrink: 0.0,
            border_radius: BorderRadius::MAX,
            overflow: Overflow::clip(),
            ..default()
        },
        Ground(Colour::Line),
    ))
    .with_children(|bar| {
        bar.spawn((
            Node {
                width: percent(fullness * 100.0),
                height: percent(100),
                border_radius: BorderRadius::MAX,
                ..default()
            },
            Ground(colour),
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
        assert!(place("货架 a") < place("货架 b"), "what is sold out comes last: {texts:?}");
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
