//! Where faces are: boxes by the crate `rustface`, which carries its own detector.
//!
//! Owns the detector's bytes (brought in by `build.rs`, verified here) and its settings. Knows nothing
//! about who is in the picture, and never will.

use sha2::{Digest as _, Sha256};

use crate::picture::{Grey, guarded};

/// The picture is searched at this size: its longer side in pixels.
const SEARCH_SIDE: u32 = 480;
/// Smallest face that is searched for, in pixels of the searched copy: a twelfth of its longer side.
const FACE_SIDE_MIN: u32 = 40;
/// Detections below this score are chance; rustface's own examples use 2.0.
const SCORE_MIN: f64 = 2.0;
/// Ratio of neighbouring sizes that are searched.
const PYRAMID_STEP: f32 = 0.8;
/// The window moves by this many pixels.
const WINDOW_STEP: u32 = 4;

static MODEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/face-model.bin"));
const MODEL_SHA256: &str = "c4619d066ed35e84d9a8e842860b0dff567aba0cbb139881075538761db3ff5d";

/// The box of a face in a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaceBox {
    /// Left edge; pixel centres are at integers, so a box around the first pixel starts at -0.5.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width in pixels.
    pub width: f64,
    /// Height in pixels.
    pub height: f64,
    /// The detector's score; above 10 is a clear frontal face.
    pub score: f64,
}

/// Why faces cannot be searched for.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The detector inside this program is not the one it was built with.
    #[error("the face detector's model is damaged (sha256 {found}, expected {expected})")]
    ModelHash {
        /// The hash of what is there.
        found: String,
        /// The hash of what belongs there.
        expected: &'static str,
    },
    /// The detector's bytes cannot be read.
    #[error("failed to read the face detector's model")]
    Model {
        /// What rustface says.
        source: std::io::Error,
    },
    /// The detector broke down on a picture.
    #[error("the face detector broke down: {what}")]
    Panicked {
        /// Its message.
        what: String,
    },
}

/// The detector.
pub(crate) struct Detector {
    model: rustface::Model,
}

impl Detector {
    pub(crate) fn try_new() -> Result<Self, DetectError> {
        let found = hex(&Sha256::digest(MODEL));
        if found != MODEL_SHA256 {
            return Err(DetectError::ModelHash { found, expected: MODEL_SHA256 });
        }
        let model = rustface::read_model(MODEL).map_err(|source| DetectError::Model { source })?;
        Ok(Self { model })
    }

    /// All faces, the largest first.
    pub(crate) fn detect(&self, grey: &Grey) -> Result<Vec<FaceBox>, DetectError> {
        let small = grey.shrunk_to(SEARCH_SIDE);
        let (width, height) = (small.width(), small.height());
        if width.min(height) < FACE_SIDE_MIN {
            return Ok(Vec::new());
        }
        let found = guarded(|| {
            // A detector keeps buffers and is not `Sync`, its model is: so one is made for each picture.
            let mut detector = rustface::create_detector_with_model(self.model.clone());
            detector.set_min_face_size(FACE_SIDE_MIN);
            detector.set_score_thresh(SCORE_MIN);
            detector.set_pyramid_scale_factor(PYRAMID_STEP);
            detector.set_slide_window_step(WINDOW_STEP, WINDOW_STEP);
            detector.detect(&rustface::ImageData::new(small.luma(), width, height))
        })
        .map_err(|what| DetectError::Panicked { what })?;
        let (scale_x, scale_y) =
            (f64::from(grey.width()) / f64::from(width), f64::from(grey.height()) / f64::from(height));
        let mut boxes: Vec<FaceBox> = found
            .iter()
            .map(|face| {
                let bounds = face.bbox();
                FaceBox {
                    // rustface counts from the corner of the first pixel, we from its centre.
                    x: f64::from(bounds.x()) * scale_x - 0.5,
                    y: f64::from(bounds.y()) * scale_y - 0.5,
                    width: f64::from(bounds.width()) * scale_x,
                    height: f64::from(bounds.height()) * scale_y,
                    score: face.score(),
                }
            })
            .collect();
        boxes.sort_by(|a, b| b.width.total_cmp(&a.width).then(a.x.total_cmp(&b.x)).then(a.y.total_cmp(&b.y)));
        Ok(boxes)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Picture;

    #[test]
    fn the_embedded_detector_is_the_one_of_rustface_0_1_7() {
        assert!(Detector::try_new().is_ok());
    }

    #[test]
    fn pictures_of_any_size_without_a_face_have_no_face() {
        let detector = Detector::try_new().unwrap();
        for (width, height) in [(1, 1), (39, 500), (40, 40), (41, 700), (900, 45), (640, 480)] {
            let rgb = vec![90; (width * height * 3) as usize];
            let grey = Picture::from_rgb(width, height, rgb).unwrap().to_grey();
            assert_eq!(detector.detect(&grey).unwrap(), [], "{width} x {height}");
        }
    }
}
