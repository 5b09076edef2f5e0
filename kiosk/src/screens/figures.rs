//! Live figures of the store: visitors today, free lockers, pieces on the shelves. They follow the hub by themselves.

use bevy::prelude::*;

use crate::{
    i18n::Words,
    link::StoreFacts,
    theme::{Colour, Edge, Ground, Theme, Type, space, widgets},
};

/// Keeps the figures true.
pub(super) fn plugin(app: &mut App) {
    app.add_systems(Update, show);
}

/// Which figure a text shows.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Visitors,
    Lockers,
    Pieces,
}

impl Figure {
    const ALL: [Self; 3] = [Self::Visitors, Self::Lockers, Self::Pieces];

    fn label(self) -> &'static str {
        match self {
            Self::Visitors => "figure-visitors",
            Self::Lockers => "figure-lockers",
            Self::Pieces => "figure-pieces",
        }
    }

    /// What is not known is a dash, never a nought.
    fn value(self, facts: &StoreFacts) -> Words {
        let value = match self {
            Self::Visitors => facts.visitors().map(Words::count),
            Self::Lockers => facts.lockers_free().map(|(free, _)| Words::count(free)),
            Self::Pieces => facts.pieces().map(Words::count),
        };
        value.unwrap_or_else(|| Words::key("unknown"))
    }
}

/// A strip that is not there while nothing is known: dashes invite nobody.
#[derive(Component)]
struct Fleeting;

/// Three figures beside one another, with hairlines between them.
pub(super) fn figures(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    facts: &StoreFacts,
    is_on_night: bool,
) {
    let (ground, edge, ink, soft) = if is_on_night {
        (Colour::NightRaised, Colour::Accent, Colour::OnNight, Colour::OnNightSoft)
    } else {
        (Colour::Card, Colour::Line, Colour::Brand, Colour::InkSoft)
    };
    let mut strip = parent.spawn(());
    if is_on_night {
        strip.insert(Fleeting);
    }
    strip
        .insert((
            Node {
                display: if is_on_night { display(facts) } else { Display::Flex },
                flex_grow: 1.0,
                padding: UiRect::axes(px(0), px(24)),
                border: UiRect::all(px(2)),
                border_radius: BorderRadius::all(px(space::RADIUS)),
                align_items: AlignItems::Stretch,
                ..widgets::row(0.0)
            },
            Ground(ground),
            Edge(if is_on_night { ground } else { Colour::CardEdge }),
        ))
        .with_children(|strip| {
            for (index, figure) in Figure::ALL.into_iter().enumerate() {
                strip
                    .spawn((
                        Node {
                            flex_grow: 1.0,
                            flex_basis: px(0),
                            padding: UiRect::horizontal(px(16)),
                            border: UiRect { left: px(if index == 0 { 0 } else { 2 }), ..default() },
                            justify_content: JustifyContent::Center,
                            ..widgets::column(2.0)
                        },
                        Edge(edge),
                    ))
                    .with_children(|place| {
                        place.spawn((figure, widgets::text(theme, Type::Figure, ink, figure.value(facts))));
                        place.spawn(widgets::text(theme, Type::Caption, soft, Words::key(figure.label())));
                    });
            }
        });
}

fn show(
    facts: Res<StoreFacts>,
    mut texts: Query<(&Figure, &mut Words)>,
    mut strips: Query<&mut Node, With<Fleeting>>,
) {
    if facts.is_changed() {
        for (figure, mut words) in &mut texts {
            words.set_if_neq(figure.value(&facts));
        }
        let display = display(&facts);
        for mut strip in &mut strips {
            if strip.display != display {
                strip.display = display;
            }
        }
    }
}

/// Whether there is anything to show.
fn display(facts: &StoreFacts) -> Display {
    let unknown = Words::key("unknown");
    if Figure::ALL.into_iter().all(|figure| figure.value(facts) == unknown) {
        Display::None
    } else {
        Display::Flex
    }
}
