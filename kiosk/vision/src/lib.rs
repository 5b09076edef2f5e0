//! Everything in the kiosk that sees, without a screen: pictures in, codes, faces and skin
//! observations out.
//!
//! Owns: decoding of pictures with limits, code reading, GS1 parsing, face boxes and landmarks, the
//! capture gate, the measurements on skin and the calibration of a camera's colours. Does not own: cameras'
//! threads, windows, sockets, or the decision what a visitor is told.
//!
//! Invariants: nothing here writes a pixel, a landmark or a face anywhere but memory; the same pixels
//! give the same numbers; foreign decoders cannot take the process down (their panics are caught).
//!
//! Units: pixels from the top left corner, pixel centres at integers; left and right as seen in the
//! picture; angles in degrees where a name says `deg`.

pub mod analyser;
pub mod calibration;
pub mod camera;
pub mod codes;
mod cover;
mod crop;
mod equations;
pub mod face;
pub mod frame;
pub mod geometry;
pub mod gs1;
pub mod head;
mod inference;
pub mod landmarks;
pub mod lips;
mod model_file;
pub mod modules;
pub mod picture;
pub mod pose;
pub mod skin;
mod skinmap;
pub mod synthetic;
mod wiped;

/// Whether a character turns the direction of what stands around it (Unicode's `Bidi_Control`).
#[must_use]
pub fn is_bidi_control(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub use analyser::{AnalyseError, Analyser, LoadError};
pub use calibration::Calibration;

pub use codes::{Code, Format};
pub use face::FaceBox;
pub use frame::Frame;
pub use geometry::Point;
pub use head::HeadTurn;
pub use inference::{QUIET_VARIABLE, start_quietly};
pub use landmarks::{Face, FivePoints};
pub use picture::{Picture, PictureError};
pub use skin::SkinReport;
