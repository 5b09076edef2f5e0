//! The strip on the bezel, a grey and four patches like skin: has the light or the camera changed since the chart?
//!
//! The strip's colours are measured right after the calibration and compared with each later picture. The patches need
//! no published colours, so a store may print and laminate its own.

use serde::{Deserialize, Serialize};

use super::{Calibration, delta_e_76};
use crate::{
    picture::Picture,
    skin::{CLIPPED_FROM, Lab, colour},
};

/// Patches of a strip: the grey, then four like skin.
const PATCHES: usize = 5;
/// Pixels of a patch, at least.
const PIXELS_MIN: usize = 16;
/// Share of clipped pixels from which a patch counts as clipped.
const CLIPPED_SHARE_MAX: f64 = 0.01;
/// A grey that reflects less than this share of the kiosk's light tells nothing about exposure.
const GREY_LUMINANCE_MIN: f64 = 0.005;

/// A rectangle in a picture, in shares of its width and height: it lies inside, and has an area.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 4]", into = "[f64; 4]")]
pub struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// Numbers that are no area of a picture.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "[{left}, {top}, {width}, {height}] is no part of the picture: left, top, width and height are shares of it"
)]
pub struct AreaError {
    /// From the picture's left edge.
    pub left: f64,
    /// From its top.
    pub top: f64,
    /// To the right.
    pub width: f64,
    /// Downwards.
    pub height: f64,
}

impl TryFrom<[f64; 4]> for Area {
    type Error = AreaError;

    /// Left, top, width and height.
    fn try_from([left, top, width, height]: [f64; 4]) -> Result<Self, AreaError> {
        let is_inside = |from: f64, size: f64| 0.0 <= from && 0.0 < size && from + size <= 1.0;
        if is_inside(left, width) && is_inside(top, height) {
            Ok(Self { left, top, width, height })
        } else {
            Err(AreaError { left, top, width, height })
        }
    }
}

impl From<Area> for [f64; 4] {
    fn from(Area { left, top, width, height }: Area) -> Self {
        [left, top, width, height]
    }
}

/// Where the strip's patches are in the camera's picture, the grey first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strip {
    /// The middle of each patch, well inside its edges.
    pub areas: [Area; PATCHES],
}

/// The strip's colours when the camera was calibrated: CIELAB under D65, the grey first and not black.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[[f64; 3]; PATCHES]", into = "[[f64; 3]; PATCHES]")]
pub struct StripReference {
    colours: [Lab; PATCHES],
}

/// Numbers that are no colours of a strip.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum StripReferenceError {
    /// No colour that reflects light.
    #[error("[{l}, {a}, {b}] is no colour of a strip: L* from 0 to 120, a* and b* from -150 to 150")]
    Colour {
        /// Lightness.
        l: f64,
        /// Green to red.
        a: f64,
        /// Blue to yellow.
        b: f64,
    },
    /// Exposure cannot be told by a black patch.
    #[error("the grey has L* {l}, which is black")]
    Dark {
        /// Its lightness.
        l: f64,
    },
}

impl TryFrom<[[f64; 3]; PATCHES]> for StripReference {
    type Error = StripReferenceError;

    /// L*, a* and b* of each patch.
    fn try_from(colours: [[f64; 3]; PATCHES]) -> Result<Self, StripReferenceError> {
        let is_colour =
            |[l, a, b]: &[f64; 3]| (0.0..=120.0).contains(l) && a.abs() <= 150.0 && b.abs() <= 150.0;
        if let Some([l, a, b]) = colours.into_iter().find(|colour| !is_colour(colour)) {
            return Err(StripReferenceError::Colour { l, a, b });
        }
        let l = colours[0][0];
        if colour::luminance_of_lightness(l) < GREY_LUMINANCE_MIN {
            return Err(StripReferenceError::Dark { l });
        }
        Ok(Self { colours: colours.map(|[l, a, b]| Lab { l, a, b }) })
    }
}

impl From<StripReference> for [[f64; 3]; PATCHES] {
    fn from(StripReference { colours }: StripReference) -> Self {
        colours.map(|Lab { l, a, b }| [l, a, b])
    }
}

/// How far the strip is from its reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StripCheck {
    /// Mean ΔE*ab of the five patches.
    pub delta_e_mean: f64,
    /// ΔE*ab of the worst.
    pub delta_e_max: f64,
    /// Exposure by the grey: 1 is twice the light of the reference, -1 half of it.
    pub stops: f64,
}

/// A strip that is watched: where it is, and what it looked like when the camera was calibrated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Where.
    pub strip: Strip,
    /// What it looked like.
    pub reference: StripReference,
}

/// What a strip says of the calibration in one picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StripReport {
    /// Whether the light and the camera are as they were: [`HOLDS_DELTA_E_MAX`] and [`HOLDS_STOPS_MAX`].
    pub ok: bool,
    /// Mean ΔE*ab of the patches.
    #[serde(rename = "dE", skip_serializing_if = "Option::is_none")]
    pub delta_e: Option<f64>,
    /// Exposure by the grey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stops: Option<f64>,
    /// Why the strip could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Beyond this mean ΔE*ab the colours are no longer calibrated: about what a chart leaves open anyway.
pub const HOLDS_DELTA_E_MAX: f64 = 3.0;
/// Beyond so many stops of exposure neither: a lamp has failed, or the camera has unlocked itself.
pub const HOLDS_STOPS_MAX: f64 = 1.0 / 3.0;

impl Watch {
    /// Whether what was calibrated still holds in a picture.
    #[must_use]
    pub fn report(&self, picture: &Picture, calibration: &Calibration) -> StripReport {
        match self.strip.check(picture, calibration, &self.reference) {
            Ok(check) => StripReport {
                ok: check.delta_e_mean <= HOLDS_DELTA_E_MAX && check.stops.abs() <= HOLDS_STOPS_MAX,
                delta_e: Some((100.0 * check.delta_e_mean).round() / 100.0),
                stops: Some((100.0 * check.stops).round() / 100.0),
                reason: None,
            },
            Err(error) => {
                StripReport { ok: false, delta_e: None, stops: None, reason: Some(error.to_string()) }
            }
        }
    }
}

/// Why a strip cannot be measured. Patches count from 1, the grey.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum StripError {
    /// Too few pixels.
    #[error("patch {patch} of the strip has {pixels} pixels, at least {PIXELS_MIN} are needed")]
    TooSmall {
        /// Which.
        patch: usize,
        /// How many.
        pixels: usize,
    },
    /// A channel is at its end.
    #[error("patch {patch} of the strip is clipped ({percent:.0} % of its pixels)")]
    Clipped {
        /// Which.
        patch: usize,
        /// How many of its pixels, in percent.
        percent: f64,
    },
    /// The grey is black.
    #[error("the grey of the strip is black: no light, or something covers it")]
    Dark,
}

impl Strip {
    /// The strip's colours in a picture.
    ///
    /// # Errors
    /// When a patch is too small or clipped, or the grey is black.
    pub fn capture(
        &self,
        picture: &Picture,
        calibration: &Calibration,
    ) -> Result<StripReference, StripError> {
        let mut colours = [Lab { l: 0.0, a: 0.0, b: 0.0 }; PATCHES];
        for (index, (area, lab)) in self.areas.iter().zip(&mut colours).enumerate() {
            let rgb = mean(picture, *area, calibration, index + 1)?;
            if index == 0 && colour::luminance(rgb) < GREY_LUMINANCE_MIN {
                return Err(StripError::Dark);
            }
            *lab = colour::lab(rgb);
        }
        Ok(StripReference { colours })
    }

    /// How far the strip in a picture is from its reference.
    ///
    /// # Errors
    /// As [`Strip::capture`].
    pub fn check(
        &self,
        picture: &Picture,
        calibration: &Calibration,
        reference: &StripReference,
    ) -> Result<StripCheck, StripError> {
        let now = self.capture(picture, calibration)?;
        let off: [f64; PATCHES] =
            std::array::from_fn(|at| delta_e_76(now.colours[at], reference.colours[at]));
        let luminance = |strip: &StripReference| colour::luminance_of_lightness(strip.colours[0].l);
        Ok(StripCheck {
            delta_e_mean: off.iter().sum::<f64>() / PATCHES as f64,
            delta_e_max: off.into_iter().fold(0.0, f64::max),
            stops: (luminance(&now) / luminance(reference)).log2(),
        })
    }
}

/// The mean of a patch's pixels in linear sRGB.
fn mean(
    picture: &Picture,
    area: Area,
    calibration: &Calibration,
    patch: usize,
) -> Result<[f64; 3], StripError> {
    let columns = pixels(area.left, area.width, picture.width());
    let (mut sum, mut count, mut clipped) = ([0.0; 3], 0_usize, 0_usize);
    for y in pixels(area.top, area.height, picture.height()) {
        for x in columns.clone() {
            let rgb = picture.pixel(x, y);
            count += 1;
            clipped += usize::from(rgb.iter().any(|byte| CLIPPED_FROM <= *byte));
            for (sum, value) in sum.iter_mut().zip(calibration.apply(rgb)) {
                *sum += value;
            }
        }
    }
    if count < PIXELS_MIN {
        return Err(StripError::TooSmall { patch, pixels: count });
    }
    let clipped_share = clipped as f64 / count as f64;
    if CLIPPED_SHARE_MAX < clipped_share {
        return Err(StripError::Clipped { patch, percent: 100.0 * clipped_share });
    }
    Ok(sum.map(|sum| sum / count as f64))
}

/// The pixels whose centres lie in a share of a side.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares of a side that fits, not negative"
)]
fn pixels(from: f64, size: f64, side: u32) -> std::ops::Range<u32> {
    let at = |share: f64| (share * f64::from(side)).round() as u32;
    at(from)..at(from + size).min(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::{Curve, Date, DeltaE};

    const COLOURS: [[u8; 3]; PATCHES] =
        [[128, 128, 128], [222, 182, 160], [196, 149, 128], [150, 104, 80], [90, 58, 44]];

    fn strip() -> Strip {
        Strip {
            areas: [0.02, 0.22, 0.42, 0.62, 0.82].map(|left| Area::try_from([left, 0.2, 0.16, 0.6]).unwrap()),
        }
    }

    fn calibration() -> Calibration {
        let delta_e =
            DeltaE { mean_76: 1.0, max_76: 1.0, mean_2000: 1.0, max_2000: 1.0, left_out_mean_76: 1.0 };
        let straight = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Calibration::try_new(Date::parse("2026-11-23").unwrap(), Curve::STRAIGHT, straight, delta_e).unwrap()
    }

    /// The strip with its light in each channel multiplied.
    fn picture(gains: [f64; 3]) -> Picture {
        let (width, height) = (100_u32, 20_u32);
        let rgb = (0..width * height).flat_map(|at| {
            let colour = COLOURS[(at % width / 20) as usize];
            let light = colour::linear(colour);
            [0, 1, 2].map(|channel| {
                let wanted = light[channel] * gains[channel];
                (0..=u8::MAX).rev().find(|byte| colour::linear([*byte; 3])[0] <= wanted).unwrap_or(0)
            })
        });
        Picture::from_rgb(width, height, rgb.collect()).unwrap()
    }

    #[test]
    fn the_strip_tells_how_far_light_and_colour_have_moved() {
        let (strip, calibration) = (strip(), calibration());
        let reference = strip.capture(&picture([1.0; 3]), &calibration).unwrap();
        let check = |gains| strip.check(&picture(gains), &calibration, &reference).unwrap();

        let same = check([1.0; 3]);
        assert_eq!((same.delta_e_mean, same.delta_e_max, same.stops), (0.0, 0.0, 0.0));
        let half = check([0.5; 3]);
        assert!((half.stops + 1.0).abs() < 0.03 && 10.0 < half.delta_e_mean, "{half:?}");
        // A warmer lamp of the same brightness.
        let warmer = check([1.15, 0.98, 0.75]);
        assert!(warmer.stops.abs() < 0.05 && 6.0 < warmer.delta_e_mean, "{warmer:?}");
        assert!(warmer.delta_e_mean < warmer.delta_e_max);
    }

    #[test]
    fn a_strip_that_cannot_be_measured_names_its_patch() {
        let (strip, calibration) = (strip(), calibration());
        let capture = |picture: &Picture| strip.capture(picture, &calibration);
        assert!(matches!(capture(&picture([2.0; 3])), Err(StripError::Clipped { patch: 2, .. })));
        assert_eq!(capture(&picture([0.0; 3])), Err(StripError::Dark));
        let tiny = Picture::from_rgb(5, 5, vec![99; 75]).unwrap();
        assert_eq!(capture(&tiny), Err(StripError::TooSmall { patch: 1, pixels: 3 }));
    }

    #[test]
    fn a_reference_is_the_same_after_it_was_written_and_an_absurd_one_is_refused() {
        let reference = strip().capture(&picture([1.0; 3]), &calibration()).unwrap();
        let json = serde_json::to_string(&reference).unwrap();
        let read: StripReference = serde_json::from_str(&json).unwrap();
        assert!(
            reference.colours.into_iter().zip(read.colours).all(|(one, other)| delta_e_76(one, other) < 1e-9)
        );
        let mut black: [[f64; 3]; PATCHES] = reference.into();
        black[0][0] = 1.0;
        assert_eq!(StripReference::try_from(black), Err(StripReferenceError::Dark { l: 1.0 }));
        black[0][2] = f64::NAN;
        assert!(matches!(StripReference::try_from(black), Err(StripReferenceError::Colour { .. })));
    }

    #[test]
    fn an_area_outside_the_picture_is_refused_where_it_is_configured() {
        let parse = |json: &str| serde_json::from_str::<Area>(json).map(<[f64; 4]>::from);
        assert_eq!(parse("[0.1, 0.2, 0.3, 0.4]").unwrap(), [0.1, 0.2, 0.3, 0.4]);
        for bad in ["[0.9, 0, 0.2, 0.1]", "[-0.1, 0, 0.2, 0.1]", "[0, 0, 0, 0.1]", "[0, 0, 1e300, 1]"] {
            assert!(parse(bad).unwrap_err().to_string().contains("is no part of the picture"), "{bad}");
        }
    }
}
