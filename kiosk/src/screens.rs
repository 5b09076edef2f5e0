//! The screens: one plugin each, one state for all of them, one table of who leads where ([`route`]).
//!
//! Screens know features and the theme, never one another. They say what the visitor wants ([`route::Intent`]); only
//! the route sets the state.

mod attract;
mod care;
mod choice;
mod chrome;
mod consent;
mod diary;
mod fault;
mod figures;
#[cfg(test)]
mod goldens;
mod home;
mod idle;
#[cfg(test)]
mod measured;
mod offers;
mod origin;
mod pickup;
pub mod route;
mod skin;
mod staff;
#[cfg(test)]
pub(crate) mod states;
#[cfg(test)]
pub(crate) mod testing;
mod tryon;
#[cfg(test)]
mod walk;

use bevy::prelude::*;
use vision::skin::MetricId;

use crate::{origin::Form, theme::icon::Icon};

/// Where the visitor is.
#[derive(States, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Screen {
    /// Nobody is there yet.
    #[default]
    Attract,
    /// What the kiosk can do.
    Home,
    /// What the camera would do, and whether it may.
    Consent,
    /// What the visitor's skin looks like.
    Skin,
    /// The same without a camera: what the visitor says.
    Care,
    /// Where a product comes from.
    Origin,
    /// How a product would look.
    TryOn,
    /// An order that waits in a locker.
    PickUp,
    /// What the store has today.
    Offers,
    /// For staff, behind a PIN.
    Staff,
    /// What does not work, and what still does.
    Fault,
}

impl Screen {
    /// All screens.
    pub const ALL: [Self; 11] = [
        Self::Attract,
        Self::Home,
        Self::Consent,
        Self::Skin,
        Self::Care,
        Self::Origin,
        Self::TryOn,
        Self::PickUp,
        Self::Offers,
        Self::Staff,
        Self::Fault,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attract => "attract",
            Self::Home => "home",
            Self::Consent => "consent",
            Self::Skin => "skin",
            Self::Care => "care",
            Self::Origin => "origin",
            Self::TryOn => "try-on",
            Self::PickUp => "pick-up",
            Self::Offers => "offers",
            Self::Staff => "staff",
            Self::Fault => "fault",
        }
    }

    /// The screen with a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|screen| screen.name() == name)
    }
}

/// All screens.
pub(crate) fn plugin(app: &mut App) {
    app.add_plugins((
        route::plugin,
        chrome::plugin,
        choice::plugin,
        diary::plugin,
        figures::plugin,
        idle::plugin,
    ))
    .add_plugins((
        attract::plugin,
        home::plugin,
        consent::plugin,
        skin::plugin,
        care::plugin,
        origin::plugin,
        tryon::plugin,
        pickup::plugin,
        offers::plugin,
        staff::plugin,
        fault::plugin,
    ));
}

/// Letters of a place's name: an id may have 64, a shelf has two digits.
const PLACE_CHARS_MAX: usize = 8;

/// What stands on the floor: the shelf `shelf-07` is 07, the lockers `locker-a` are A.
fn place_name(id: &str) -> String {
    let name = id.rsplit('-').next().unwrap_or(id).to_uppercase();
    match name.char_indices().nth(PLACE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

/// The key of a metric's name; its other words begin with it.
fn metric_key(id: MetricId) -> String {
    format!("metric-{}", id.name().replace('_', "-"))
}

/// What stands for a product; for what the catalogue does not know, a parcel.
fn drawing(form: Form) -> Icon {
    match form {
        Form::Bottle => Icon::Bottle,
        Form::Dropper => Icon::Serum,
        Form::Tin => Icon::Tin,
        Form::Tube => Icon::Tube,
        Form::Lipstick => Icon::Lipstick,
        Form::Tray => Icon::Tray,
        Form::Parcel => Icon::Parcel,
    }
}
