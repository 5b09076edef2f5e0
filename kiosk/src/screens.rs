//! The screens: one plugin each, one state for all of them. Screens know features and the theme, never one another.

mod attract;
mod chrome;
mod fault;
mod figures;
mod home;
mod origin;
mod skin;
#[cfg(test)]
pub(crate) mod testing;

use bevy::prelude::*;

/// Where the visitor is.
#[derive(States, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Screen {
    /// Nobody is there yet.
    #[default]
    Attract,
    /// What the kiosk can do.
    Home,
    /// What the visitor's skin looks like.
    Skin,
    /// Where a product comes from.
    Origin,
    /// What does not work, and what still does.
    Fault,
}

impl Screen {
    /// All screens.
    pub const ALL: [Self; 5] = [Self::Attract, Self::Home, Self::Skin, Self::Origin, Self::Fault];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attract => "attract",
            Self::Home => "home",
            Self::Skin => "skin",
            Self::Origin => "origin",
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
        chrome::plugin,
        figures::plugin,
        attract::plugin,
        home::plugin,
        skin::plugin,
        origin::plugin,
        fault::plugin,
    ));
}
