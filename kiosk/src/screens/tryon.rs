//! The try-on screen: a mirror, then the visitor in a lip colour of the catalogue, with what the store has of it.
//!
//! Reads [`TryOnView`], [`Shades`] and the stock; writes [`Choice`]; triggers [`TryOn`] when it is entered and on request.
//! Says plainly when there is no face, no lips to be seen, or nothing left of a shade.

use bevy::{
    picking::events::{Cancel, Out, Pointer, Press, Release},
    prelude::*,
    ui_widgets::Activate,
};

use super::{Screen, chrome};
use crate::{
    camera::{CameraView, NeedsCamera, Which},
    i18n::Words,
    link::StoreFacts,
    textures::Pictures,
    theme::{
        Colour, Edge, Raised, Theme, Type, product, space,
        widgets::{self, ButtonKind},
    },
    try_on::{Choice, Looks, Shades, Stock, TryOn, TryOnPose, TryOnTrouble, TryOnView},
};

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::TryOn), spawn)
        .add_systems(Update, (show, count, choose, tell).chain().run_if(in_state(Screen::TryOn)));
}

/// Where the view is shown.
#[derive(Component)]
struct Slot;

/// The line below the mirror.
#[derive(Component)]
struct PoseLine;

/// The picture, with every look that it can take.
#[derive(Component)]
struct Portrait {
    before: Handle<Image>,
    after: Vec<Handle<Image>>,
}

/// The swatch of a shade.
#[derive(Component)]
struct Swatch(usize);

/// The name of the chosen product.
#[derive(Component)]
struct ProductName;

/// What the store has of it.
#[derive(Component)]
struct StockLine;

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::TryOn, |page| {
        chrome::title(page, theme, "try-on-title", "try-on-note");
        page.spawn((Slot, Node { flex_grow: 1.0, min_height: px(0), ..widgets::column(space::LINE) }));
        chrome::footer(page, theme, |foot| {
            widgets::button(foot, theme, "Again", ButtonKind::Primary, Words::key("try-on-again"))
                .observe(|_: On<Activate>, mut commands: Commands| commands.trigger(TryOn));
        });
    });
    commands.trigger(TryOn);
}

fn is_live(view: &TryOnView) -> bool {
    matches!(view, TryOnView::Idle | TryOnView::Posing | TryOnView::Looking)
}

fn show(
    mut commands: Commands,
    theme: Res<Theme>,
    view: Res<TryOnView>,
    shades: Res<Shades>,
    slot: Single<(Entity, Ref<Slot>)>,
    mut pictures: Pictures,
    mut was_live: Local<bool>,
) {
    let (slot, marker) = slot.into_inner();
    let stays = is_live(&view) && *was_live;
    if !marker.is_added() && (!view.is_changed() || stays) {
        return;
    }
    *was_live = is_live(&view);
    let theme = &*theme;
    commands.entity(slot).despawn_children().with_children(|slot| match &*view {
        TryOnView::Idle | TryOnView::Posing | TryOnView::Looking => mirror(slot, theme),
        TryOnView::Unavailable(trouble) => {
            let key = match trouble {
                TryOnTrouble::Camera => "trouble-camera",
                TryOnTrouble::Models => "trouble-models",
                TryOnTrouble::Broken => "trouble-broken",
                TryOnTrouble::NoShades => "try-on-no-shades",
                TryOnTrouble::NoFace => "try-on-no-face",
                TryOnTrouble::NoLips => "try-on-no-lips",
            };
            widgets::notice(slot, theme, Words::key(key), Words::key(format!("{key}-note")));
            if *trouble == TryOnTrouble::Camera {
                // A camera that comes back is noticed only by somebody who waits for it.
                slot.spawn((NeedsCamera(Which::Visitors), Node::default()));
            }
        }
        TryOnView::Found(looks) => found(slot, theme, looks, &shades, &mut pictures),
    });
}

fn box_size(theme: &Theme) -> Vec2 {
    if theme.is_wide() { Vec2::new(1000.0, 560.0) } else { Vec2::new(984.0, 900.0) }
}

fn mirror(slot: &mut ChildSpawnerCommands, theme: &Theme) {
    slot.spawn((
        Name::new("Mirror"),
        CameraView { box_size: box_size(theme) },
        Node {
            align_self: AlignSelf::Center,
            flex_shrink: 0.0,
            border_radius: BorderRadius::all(px(space::RADIUS)),
            ..default()
        },
        Raised::Card,
    ));
    let opening = Words::key("skin-pose-opening");
    slot.spawn((PoseLine, widgets::centred(theme, Type::Heading, Colour::Ink, opening)));
    slot.spawn(widgets::centred(theme, Type::Body, Colour::InkSoft, Words::key("skin-looking-note")));
}

/// Says how long until the picture is taken.
fn count(view: Res<TryOnView>, pose: Res<TryOnPose>, mut line: Query<&mut Words, With<PoseLine>>) {
    let words = match (&*view, pose.0.seconds()) {
        (TryOnView::Posing, Some(seconds)) => Words::key("skin-pose").with("seconds", seconds.to_string()),
        (TryOnView::Looking, _) => Words::key("skin-pose-now"),
        _ => Words::key("skin-pose-opening"),
    };
    for mut line in &mut line {
        line.set_if_neq(words.clone());
    }
}

fn found(
    slot: &mut ChildSpawnerCommands,
    theme: &Theme,
    looks: &Looks,
    shades: &Shades,
    pictures: &mut Pictures,
) {
    let wide = theme.is_wide();
    slot.spawn(Node {
        flex_direction: if wide { FlexDirection::Row } else { FlexDirection::Column },
        row_gap: px(space::CARD),
        column_gap: px(space::CARD),
        ..default()
    })
    .with_children(|body| {
        let before = pictures.show(&looks.before);
        let after: Vec<_> = looks.after.iter().map(|look| pictures.show(look)).collect();
        let size = widgets::fitted(&looks.before, box_size(theme));
        body.spawn((
            Name::new("Portrait"),
            widgets::mirrored(before.clone(), size, AlignSelf::Center),
            Portrait { before, after },
        ));
        body.spawn(Node {
            flex_grow: 1.0,
            flex_basis: if wide { px(0) } else { auto() },
            min_width: px(0),
            ..widgets::column(space::LINE)
        })
        .with_children(|side| {
            shades_card(side, theme, shades);
        });
    });
}

fn shades_card(side: &mut ChildSpawnerCommands, theme: &Theme, shades: &Shades) {
    side.spawn((Name::new("Shades"), widgets::card())).with_children(|card| {
        card.spawn((ProductName, widgets::text(theme, Type::Heading, Colour::Ink, Words::verbatim(""))));
        card.spawn((StockLine, widgets::text(theme, Type::Body, Colour::InkSoft, Words::verbatim(""))));
        card.spawn(Node { flex_wrap: FlexWrap::Wrap, row_gap: px(space::LINE), ..widgets::row(space::LINE) })
            .with_children(|row| {
                for (index, offer) in shades.0.iter().enumerate() {
                    swatch(row, index, offer.shade.rgb);
                }
            });
        widgets::button(card, theme, "Before", ButtonKind::Quiet, Words::key("try-on-before"))
            .observe(|_: On<Pointer<Press>>, mut choice: ResMut<Choice>| choice.is_before = true)
            .observe(|_: On<Pointer<Release>>, mut choice: ResMut<Choice>| choice.is_before = false)
            .observe(|_: On<Pointer<Out>>, mut choice: ResMut<Choice>| choice.is_before = false)
            .observe(|_: On<Pointer<Cancel>>, mut choice: ResMut<Choice>| choice.is_before = false);
        card.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key("try-on-disclosure")));
    });
}

fn swatch(row: &mut ChildSpawnerCommands, index: usize, rgb: [u8; 3]) {
    row.spawn((
        Name::new(format!("Shade {index}")),
        Swatch(index),
        bevy::ui_widgets::Button,
        Node {
            width: px(104),
            height: px(104),
            flex_shrink: 0.0,
            border: UiRect::all(px(8)),
            border_radius: BorderRadius::MAX,
            ..default()
        },
        Edge(Colour::Card),
        product(rgb),
    ))
    .observe(move |_: On<Activate>, mut choice: ResMut<Choice>| choice.shade = index);
}

/// Shows the look that is chosen.
fn choose(
    choice: Res<Choice>,
    mut portraits: Query<(&Portrait, &mut ImageNode)>,
    mut swatches: Query<(&Swatch, &mut Edge)>,
) {
    for (portrait, mut node) in &mut portraits {
        let look = if choice.is_before { None } else { portrait.after.get(choice.shade) };
        let image = look.unwrap_or(&portrait.before);
        if node.image != *image {
            node.image = image.clone();
        }
    }
    for (swatch, mut edge) in &mut swatches {
        edge.set_if_neq(Edge(if swatch.0 == choice.shade { Colour::Accent } else { Colour::CardEdge }));
    }
}

/// Says what is chosen and what the store has of it.
fn tell(
    choice: Res<Choice>,
    shades: Res<Shades>,
    facts: Res<StoreFacts>,
    mut names: Query<&mut Words, (With<ProductName>, Without<StockLine>)>,
    mut stocks: Query<&mut Words, (With<StockLine>, Without<ProductName>)>,
) {
    let Some(offer) = shades.0.get(choice.shade) else { return };
    for mut words in &mut names {
        words.set_if_neq(Words::name(offer.name.clone()));
    }
    let stock = match Stock::of(&facts, &offer.gtin) {
        Stock::Pieces(pieces) => Words::key("try-on-stock").with("pieces", pieces.to_string()),
        Stock::None => Words::key("try-on-stock-none"),
        Stock::Unknown => Words::key("try-on-stock-unknown"),
    };
    for mut words in &mut stocks {
        words.set_if_neq(stock.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        i18n::I18n,
        paint::Painting,
        screens::testing::{activate, named, screen_app, shown},
        try_on::ShadeOffer,
    };

    fn app() -> App {
        let mut app = screen_app(Screen::TryOn);
        let offer = |gtin: &str, name: &str| ShadeOffer {
            gtin: gtin.to_owned(),
            name: [("zh", name), ("en", name)].map(|(key, name)| (key.to_owned(), name.to_owned())).into(),
            shade: vision::lips::Shade { rgb: [150, 20, 40], cover: 0.7 },
        };
        app.insert_resource(Shades(vec![offer("09521238000101", "One"), offer("09521238000118", "Two")]));
        let painting = || Painting { width: 1, height: 1, rgba: vec![0; 4] };
        let looks = Looks { before: painting(), after: vec![painting(), painting()] };
        app.insert_resource(TryOnView::Found(Box::new(looks)));
        app.update();
        app.update();
        app
    }

    fn image(app: &mut App) -> Handle<Image> {
        let portrait = named(app, "Portrait").unwrap();
        app.world().get::<ImageNode>(portrait).unwrap().image.clone()
    }

    #[test]
    fn choosing_a_shade_changes_the_picture_the_name_and_the_stock() {
        let mut app = app();
        let first = image(&mut app);
        assert!(shown(&mut app).contains(&"One".to_owned()));
        let unknown = app.world().resource::<I18n>().say(&Words::key("try-on-stock-unknown"));
        assert!(shown(&mut app).contains(&unknown));
        activate(&mut app, "Shade 1");
        assert_ne!(image(&mut app), first);
        assert!(shown(&mut app).contains(&"Two".to_owned()));
    }

    #[test]
    fn holding_shows_what_was_before() {
        let mut app = app();
        let portrait = named(&mut app, "Portrait").unwrap();
        let before = app.world().get::<Portrait>(portrait).unwrap().before.clone();
        assert_ne!(image(&mut app), before);
        app.world_mut().resource_mut::<Choice>().is_before = true;
        app.update();
        assert_eq!(image(&mut app), before);
    }

    #[test]
    fn every_trouble_has_words_in_both_languages() {
        let mut i18n = I18n::default();
        for _ in 0..2 {
            for key in ["try-on-no-shades", "try-on-no-face", "try-on-no-lips"] {
                assert_ne!(i18n.say(&Words::key(key)), key);
                assert_ne!(i18n.say(&Words::key(format!("{key}-note"))), format!("{key}-note"));
            }
            i18n.toggle();
        }
    }

    #[test]
    fn the_end_of_the_session_leaves_no_picture() {
        let mut app = app();
        app.world_mut().trigger(crate::session::EndSession);
        app.update();
        app.update();
        assert_eq!(*app.world().resource::<TryOnView>(), TryOnView::Idle);
        assert!(named(&mut app, "Portrait").is_none());
    }
}
