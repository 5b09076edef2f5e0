//! Products that suit a visitor: from what was measured, or from what the visitor says where no camera shall look.
//!
//! Owns [`Answers`] and [`Choice`]; the rules are pure ([`rules`]) and published, what a visitor takes along is a signed
//! text ([`slip`]). Knows no screen. Answers end with the visit.

pub mod rules;
pub mod slip;

use std::collections::BTreeSet;

use bevy::prelude::*;

use self::rules::{Because, Suggestion, Wish};
use crate::{
    link::StoreFacts,
    origin::Catalogue,
    session::{Age, Session, SessionEnded},
    skin::SkinView,
};

/// Keeps the choice true.
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Answers>()
        .init_resource::<Choice>()
        .add_observer(|_: On<SessionEnded>, mut answers: ResMut<Answers>| *answers = Answers::default())
        .add_systems(Update, choose.in_set(Choose));
}

/// When the choice is made: before screens show it.
#[derive(SystemSet, Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Choose;

/// What the visitor has said.
#[derive(Resource, Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers(BTreeSet<Wish>);

impl Answers {
    /// Whether a wish was named.
    #[must_use]
    pub fn has(&self, wish: Wish) -> bool {
        self.0.contains(&wish)
    }

    /// Every wish that was named, in the order of the questions.
    pub fn wishes(&self) -> impl Iterator<Item = Wish> {
        self.0.iter().copied()
    }

    /// Names a wish, or takes it back.
    pub fn toggle(&mut self, wish: Wish) {
        if !self.0.remove(&wish) {
            self.0.insert(wish);
        }
    }
}

/// What suits the visitor, of what lies on the shelves now.
#[derive(Resource, Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The products.
    pub suggestions: Vec<Suggestion>,
    /// What none of them is for: nothing of it lies on a shelf.
    pub missing: Vec<Because>,
}

fn choose(
    view: Res<SkinView>,
    answers: Res<Answers>,
    facts: Res<StoreFacts>,
    catalogue: Res<Catalogue>,
    session: Res<Session>,
    mut choice: ResMut<Choice>,
) {
    if !(view.is_changed()
        || answers.is_changed()
        || facts.is_changed()
        || catalogue.is_changed()
        || session.is_changed())
    {
        return;
    }
    let is_child = session.age() == Some(Age::TooYoung);
    let needs = match &*view {
        SkinView::Found(finding) if finding.report.capture.ok => rules::measured(&finding.report),
        _ => rules::said(&answers.0),
    };
    let suggestions = rules::choose(&needs, &catalogue, facts.shelves.values(), is_child);
    let missing = rules::missing(&needs, &suggestions, &catalogue);
    choice.set_if_neq(Choice { suggestions, missing });
}
