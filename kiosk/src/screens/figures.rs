//! Live figures of the store: visitors today, free lockers, pieces on the shelves. They follow the hub by themselves.

use bevy::prelude::*;

use crate::{
    i18n::Words,
    link::StoreFacts,
    theme::{Colour, Edge, Ground, Raised, Theme, Type, space, widgets},
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
            Self::Visitors => facts.visitors().map(|visitors| visitors.to_string()),
            Self::Lockers => facts.lockers_free().map(|(free, all)| format!("{free} / {all}")),
            Self::Pieces => facts.pieces().map(|pieces| pieces.to_string()),
        };
        Words::verbatim(value.unwrap_or_else(|| "—".to_owned()))
    }
}

/// Three figures beside one another.
pub(super) fn figures(row: &mut ChildSpawnerCommands, theme: &Theme, facts: &StoreFacts, is_on_night: bool) {
    let (ground, ink, soft) = if is_on_night {
        (Colour::NightRaised, Colour::OnNight, Colour::OnNightSoft)
    } else {
        (Colour::Card, Colour::Brand, Colour::InkSoft)
    };
    for figure in Figure::ALL {
        let mut card = row.spawn((
            Node {
                flex_grow: 1.0,
                flex_basis: px(0),
                padding: UiRect::all(px(28)),
                border_radius: BorderRadius::all(px(space::RADIUS)),
                ..widgets::column(4.0)
            },
            Ground(ground),
            Edge(Colour::CardEdge),
        ));
        if !is_on_night {
            card.insert(Raised::Card);
        }
        card.with_children(|card| {
            card.spawn((figure, widgets::text(theme, Type::Figure, ink, figure.value(facts))));
            card.spawn(widgets::text(theme, Type::Caption, soft, Words::key(figure.label())));
        });
    }
}

fn show(facts: Res<StoreFacts>, mut texts: Query<(&Figure, &mut Words)>) {
    if facts.is_changed() {
        for (figure, mut words) in &mut texts {
            words.set_if_neq(figure.value(&facts));
        }
    }
}
