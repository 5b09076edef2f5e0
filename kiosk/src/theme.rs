//! The look: colours, type, spacing, and the two faces of the font. Screens name a role, never a number.
//!
//! The design is 1080 wide in portrait; [`bevy::ui::UiScale`] fits it to the window. Touch targets are at least
//! [`TOUCH_PX_MIN`] there.

mod colour;
mod face;
pub mod icon;
pub mod motion;
pub mod vector;
pub mod widgets;

use bevy::prelude::*;

pub use colour::{
    Colour, Edge, Fade, Ground, Ink, Look, REGION_RGB, Raised, Tint, measured, product, verdict_colour,
    verdict_rgb,
};

use crate::config::{Display, Orientation};
use face::Face;
pub use face::{FontError, Repertoire};

/// Smallest side of anything that is to be touched, in pixels of the design.
pub const TOUCH_PX_MIN: f32 = 60.0;

/// Fits the design to the window.
pub(crate) fn plugin(app: &mut App) {
    app.add_plugins((colour::plugin, icon::plugin, motion::plugin))
        .add_systems(Update, (fit.run_if(resource_exists::<UiScale>), widgets::tell_more))
        .add_observer(widgets::drag);
}

/// Distances in pixels of the design.
pub mod space {
    /// Between things that belong together.
    pub const TIGHT: f32 = 12.0;
    /// Between lines of a card.
    pub const LINE: f32 = 20.0;
    /// Between cards, and inside of them.
    pub const CARD: f32 = 32.0;
    /// At the edge of the screen.
    pub const EDGE: f32 = 48.0;
    /// Rounded corners of cards.
    pub const RADIUS: f32 = 32.0;
}

/// A role of text: size, weight and height of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// One line that fills a screen.
    Display,
    /// A screen's title.
    Title,
    /// A card's title.
    Heading,
    /// A figure.
    Figure,
    /// Text that is read.
    Body,
    /// Text of buttons and names.
    Label,
    /// Notes.
    Caption,
}

impl Type {
    fn px(self) -> f32 {
        match self {
            Self::Display => 104.0,
            Self::Title => 62.0,
            Self::Figure => 56.0,
            Self::Heading => 40.0,
            Self::Label => 34.0,
            Self::Body => 31.0,
            Self::Caption => 26.0,
        }
    }

    /// Height of a line, in heights of its letters. Large type stands closer.
    #[must_use]
    pub fn line(self) -> f32 {
        match self {
            Self::Display | Self::Figure => 1.18,
            Self::Title | Self::Heading => 1.26,
            Self::Body | Self::Label | Self::Caption => 1.38,
        }
    }

    fn is_bold(self) -> bool {
        matches!(self, Self::Display | Self::Title | Self::Heading | Self::Figure | Self::Label)
    }
}

/// The faces of the font, and how the screen hangs.
#[derive(Resource, Debug, Clone)]
pub struct Theme {
    regular: Handle<Font>,
    bold: Handle<Font>,
    /// How the screen hangs.
    pub orientation: Orientation,
}

impl Theme {
    /// Reads both faces; tells what both can draw.
    ///
    /// # Errors
    /// When a file cannot be read or is no font; the message says what to do.
    pub fn load(display: &Display, fonts: &mut Assets<Font>) -> Result<(Self, Repertoire), FontError> {
        let (regular, bold) = (Face::read(&display.font)?, Face::read(&display.font_bold)?);
        let repertoire = regular.repertoire.common(&bold.repertoire);
        let mut add = |face: Face| fonts.add(Font::from_bytes(face.bytes));
        Ok((Self { regular: add(regular), bold: add(bold), orientation: display.orientation }, repertoire))
    }

    /// A theme without faces, for tests that draw nothing.
    #[must_use]
    pub fn faceless(orientation: Orientation) -> Self {
        Self { regular: Handle::default(), bold: Handle::default(), orientation }
    }

    /// The font of a role.
    #[must_use]
    pub fn font(&self, role: Type) -> TextFont {
        let face = if role.is_bold() { &self.bold } else { &self.regular };
        TextFont { font: face.into(), font_size: FontSize::Px(role.px()), ..default() }
    }

    /// Whether content flows in two columns.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.orientation == Orientation::Landscape
    }
}

/// Reads both faces and keeps neither; tells what both can draw.
///
/// # Errors
/// As [`Theme::load`].
pub(crate) fn look_at_faces(display: &Display) -> Result<Repertoire, FontError> {
    Ok(Face::read(&display.font)?.repertoire.common(&Face::read(&display.font_bold)?.repertoire))
}

fn fit(theme: Res<Theme>, windows: Query<&Window>, mut scale: ResMut<UiScale>) {
    let Some(window) = windows.iter().next() else { return };
    let (width, height) = theme.orientation.size();
    #[expect(clippy::cast_precision_loss, reason = "a screen has a few thousand pixels")]
    let fitted = (window.width() / width as f32).min(window.height() / height as f32);
    if 0.0 < fitted && f32::EPSILON < (fitted - scale.0).abs() {
        scale.0 = fitted;
    }
}
