//! The offers screen: what lies on the store's shelves right now, where it stands and who makes it, a page at a time.
//!
//! Reads [`StoreFacts`] and the [`Catalogue`]; sends intents and nothing else. Says honestly when nothing is known.

use bevy::{prelude::*, text::LineBreak, ui_widgets::Activate};
use contract::hub::ShelfStock;

use super::{Screen, chrome, drawing, place_name};
use crate::{
    i18n::Words,
    link::{LinkState, StoreFacts},
    origin::{Catalogue, Form, Product},
    theme::{
        Colour, Edge, Ground, Raised, Theme, Type,
        icon::{self, Icon},
        space,
        widgets::{self, ButtonKind},
    },
};

pub(super) fn plugin(app: &mut App) {
    app.init_resource::<Page>()
        .add_systems(OnEnter(Screen::Offers), spawn)
        .add_systems(Update, show.run_if(in_state(Screen::Offers)));
}

/// Which page of products is open.
#[derive(Resource, Debug, Default)]
struct Page(usize);

/// Where the products are shown.
#[derive(Component)]
struct Slot;

/// Columns and rows of a page.
fn grid(theme: &Theme) -> (usize, usize) {
    if theme.is_wide() { (4, 2) } else { (2, 3) }
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>, mut page: ResMut<Page>) {
    page.0 = 0;
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Offers, |page| {
        chrome::title(page, theme, "offers-title", "offers-note");
        page.spawn((Slot, Node { flex_grow: 1.0, min_height: px(0), ..widgets::column(space::LINE) }));
        chrome::footer(page, theme, |foot| {
            widgets::round_button(foot, "Earlier", ButtonKind::Quiet, Icon::Back)
                .insert(Turns)
                .observe(|_: On<Activate>, mut page: ResMut<Page>| page.0 = page.0.saturating_sub(1));
            widgets::round_button(foot, "Later", ButtonKind::Quiet, Icon::Next)
                .insert(Turns)
                .observe(|_: On<Activate>, mut page: ResMut<Page>| page.0 += 1);
            foot.spawn((
                PageNumber,
                Turns,
                widgets::text(theme, Type::Caption, Colour::InkSoft, Words::verbatim("")),
            ));
        });
    });
}

/// Columns of a name on a screen that lies and on one that stands, and of an origin: what the card has room for.
const WIDE_COLUMNS_MAX: usize = 32;
const CARD_COLUMNS_MAX: usize = 40;
const ORIGIN_COLUMNS_MAX: usize = 30;

/// What is there only where there is more than one page.
#[derive(Component)]
#[require(Visibility)]
struct Turns;

/// The text that says which page is open.
#[derive(Component)]
struct PageNumber;

/// Products in stock first, the fullest shelf first; what is sold out comes last.
fn listed(facts: &StoreFacts) -> Vec<&ShelfStock> {
    let mut shelves: Vec<&ShelfStock> =
        facts.shelves.values().filter(|shelf| !shelf.name.is_empty() && shelf.pieces.is_some()).collect();
    shelves.sort_by(|one, other| other.pieces.cmp(&one.pieces).then_with(|| one.shelf.cmp(&other.shelf)));
    shelves
}

fn show(
    mut commands: Commands,
    theme: Res<Theme>,
    facts: Res<StoreFacts>,
    catalogue: Res<Catalogue>,
    mut page: ResMut<Page>,
    slot: Single<(Entity, Ref<Slot>)>,
    mut number: Query<&mut Words, With<PageNumber>>,
    mut turns: Query<&mut Visibility, With<Turns>>,
) {
    let (slot, marker) = slot.into_inner();
    if !facts.is_changed() && !page.is_changed() && !marker.is_added() {
        return;
    }
    let theme = &*theme;
    let shelves = listed(&facts);
    let (columns, rows) = grid(theme);
    let pages = shelves.len().div_ceil(columns * rows).max(1);
    let open = page.0.min(pages - 1);
    page.bypass_change_detection().0 = open;
    for mut words in &mut number {
        let share = Words::key("share").with("some", Words::count(open + 1)).with("all", Words::count(pages));
        words.set_if_neq(share);
    }
    for mut visibility in &mut turns {
        visibility.set_if_neq(if 1 < pages { Visibility::Inherited } else { Visibility::Hidden });
    }
    commands.entity(slot).despawn_children().with_children(|slot| {
        if facts.link == LinkState::Offline && !shelves.is_empty() {
            slot.spawn(widgets::text(theme, Type::Caption, Colour::Caution, Words::key("offers-old")));
        }
        if shelves.is_empty() {
            widgets::notice(slot, theme, Words::key("offers-away"), Words::key("offers-away-note"));
            return;
        }
        let shown: Vec<_> = shelves.into_iter().skip(open * columns * rows).take(columns * rows).collect();
        for row in 0..rows {
            slot.spawn(Node {
                flex_grow: 1.0,
                flex_basis: px(0),
                min_height: px(0),
                align_items: AlignItems::Stretch,
                ..widgets::row(space::LINE)
            })
            .with_children(|line| {
                for column in 0..columns {
                    let shelf = shown.get(row * columns + column);
                    let place = Node {
                        flex_grow: 1.0,
                        flex_basis: px(0),
                        min_width: px(0),
                        ..widgets::column(space::TIGHT)
                    };
                    match shelf {
                        Some(shelf) => {
                            let product = shelf.gtin.as_deref().and_then(|gtin| catalogue.product(gtin));
                            card(line, theme, place, shelf, product);
                        }
                        // An empty place keeps the others as wide as on a full page.
                        None => {
                            line.spawn(place);
                        }
                    }
                }
            });
        }
    });
}

fn card(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    place: Node,
    shelf: &ShelfStock,
    product: Option<&Product>,
) {
    let pieces = shelf.pieces.unwrap_or(0);
    let (key, colour) = match pieces {
        0 => ("pieces-none", Colour::Bad),
        1..=3 => ("pieces-few", Colour::Caution),
        _ => ("pieces", Colour::Good),
    };
    let wide = theme.is_wide();
    parent
        .spawn((
            Name::new("Offer"),
            Node {
                padding: UiRect::all(px(if wide { 22 } else { 28 })),
                border: UiRect::all(px(2)),
                border_radius: BorderRadius::all(px(space::RADIUS)),
                overflow: Overflow::clip(),
                ..place
            },
            Ground(Colour::Card),
            Edge(Colour::CardEdge),
            Raised::Card,
        ))
        .with_children(|card| {
            let drawn = drawing(product.map_or(Form::Parcel, |product| product.form));
            let called = shelf.name.clone();
            let columns_max = if wide { WIDE_COLUMNS_MAX } else { CARD_COLUMNS_MAX };
            let called = Words::brief(called, columns_max);
            let name = (
                Node {
                    flex_grow: if wide { 1.0 } else { 0.0 },
                    flex_basis: basis(wide),
                    min_width: px(0),
                    ..default()
                },
                widgets::text(theme, Type::Label, Colour::Ink, called),
                TextLayout::linebreak(LineBreak::WordOrCharacter),
            );
            if wide {
                card.spawn(Node { align_items: AlignItems::Start, ..widgets::row(space::LINE) })
                    .with_children(|head| {
                        icon::disc(head, drawn, 96, Colour::AccentSoft, Colour::Brand, Colour::AccentInk);
                        head.spawn(name);
                    });
                card.spawn(Node { flex_grow: 1.0, ..default() });
            } else {
                icon::disc(card, drawn, 144, Colour::AccentSoft, Colour::Brand, Colour::AccentInk);
                card.spawn(Node { flex_grow: 1.0, ..default() });
                card.spawn(name);
                if let Some(product) = product {
                    let origin = Words::brief(product.origin.clone(), ORIGIN_COLUMNS_MAX);
                    card.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, origin));
                }
            }
            card.spawn(Node { justify_content: JustifyContent::SpaceBetween, ..widgets::row(space::TIGHT) })
                .with_children(|line| {
                    let count = Words::key(key).with("count", Words::count(pieces));
                    line.spawn(widgets::text(theme, Type::Caption, colour, count));
                    let place = Words::key("place").with("shelf", place_name(shelf.shelf.as_str()));
                    line.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, place));
                });
        });
}

/// Beside a drawing a name takes the rest of the line, below one it takes what it needs.
fn basis(wide: bool) -> Val {
    if wide { px(0) } else { auto() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::testing::{activate, screen_app, shown, with_shelves};

    #[test]
    fn it_says_so_when_nothing_is_known() {
        let mut app = screen_app(Screen::Offers);
        app.update();
        let said = app.world().resource::<crate::i18n::I18n>().say(&Words::key("offers-away"));
        assert!(shown(&mut app).contains(&said));
    }

    #[test]
    fn pages_turn_and_stop_at_both_ends() {
        let mut app = screen_app(Screen::Offers);
        with_shelves(&mut app, 8);
        app.update();
        app.update();
        assert!(shown(&mut app).contains(&"1 / 2".to_owned()), "{:?}", shown(&mut app));
        activate(&mut app, "Later");
        activate(&mut app, "Later");
        assert!(shown(&mut app).contains(&"2 / 2".to_owned()));
        activate(&mut app, "Earlier");
        activate(&mut app, "Earlier");
        assert!(shown(&mut app).contains(&"1 / 2".to_owned()));
    }
}
