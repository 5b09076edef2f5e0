//! The report on one face: what leaves the analysis, and nothing else does.
//!
//! Owns the form that `skin-report/1` has. No pixel, no map and no landmark is part of it; what is drawn over the picture
//! stays in memory, and [`super::Mask`] is made of it only for a program that asks.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    gate::Problem,
    overlay::Overlay,
    regions::{RegionId, RegionOutline},
};
use crate::calibration::StripReport;

/// The form of the report.
pub const SCHEMA: &str = "skin-report/1";

/// How far a value can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As good as this method gets.
    Ok,
    /// Shown with its reason.
    LowConfidence,
    /// No value.
    NotMeasurable,
}

/// The report on one picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkinReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Which networks were used, by hash.
    pub model: ModelIdentity,
    /// The gate's verdict and what it measured.
    pub capture: CaptureReport,
    /// The skin's colour.
    pub tone: Tone,
    /// Everything else that is measured, or why not.
    pub metrics: Vec<Metric>,
    /// How much of each region could be used, by its name.
    pub regions: BTreeMap<&'static str, RegionReport>,
    /// What a screen that shows this must say.
    pub disclosures: [&'static str; 3],
    /// Milliseconds by step.
    pub timing_ms: BTreeMap<&'static str, f64>,
    /// Which picture of the burst was the sharpest: the one to show.
    #[serde(skip)]
    pub shown: usize,
    /// For drawing over the picture; never part of what is written.
    #[serde(skip)]
    pub outlines: Vec<RegionOutline>,
    /// Where what was measured lies, for drawing; never part of what is written. Absent when nothing was measured.
    #[serde(skip)]
    pub overlay: Option<Overlay>,
}

/// Networks by hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ModelIdentity {
    /// The landmark network, `sha256:…`.
    pub landmark: String,
    /// What stands before a face.
    pub cover: String,
    /// The skin network.
    pub skinmap: String,
}

/// The gate's verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptureReport {
    /// Whether anything may be measured.
    pub ok: bool,
    /// Width of the face's box in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_px: Option<f64>,
    /// Pixels a millimetre, for eyes 63 mm apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub px_per_mm: Option<f64>,
    /// Degrees, positive to the right of the picture; fitted to all points of the face.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaw: Option<f64>,
    /// Degrees, positive upwards; the least certain, because faces differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pitch: Option<f64>,
    /// Degrees, clockwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roll: Option<f64>,
    /// Width of the sharpest edges around the eyes in percent of their distance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blur_pct: Option<f64>,
    /// Clipped pixels on the skin in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_pct: Option<f64>,
    /// Light over noise on the skin in decibels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_db: Option<f64>,
    /// Light on the left cheek over light on the right one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub light_ratio_lr: Option<f64>,
    /// The largest share of an eye, the mouth or a region that something hides which is no hair, beard or glasses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<f64>,
    /// The probability of glasses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glasses: Option<f64>,
    /// Regions of which too little bare skin is seen, behind glasses, hair or anything else; `none` without any.
    pub occlusion: Vec<&'static str>,
    /// The day of the colour calibration as `chart-YYYY-MM-DD`; `uncalibrated` without one.
    pub calibration: String,
    /// Mean ΔE*ab of the chart after its calibration.
    #[serde(rename = "calib_dE", skip_serializing_if = "Option::is_none")]
    pub calib_de: Option<f64>,
    /// What the strip on the bezel says of the calibration; absent where none watches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip: Option<StripReport>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What the visitor can do, without repetition; `ok` when nothing is wrong.
    pub advice: Vec<&'static str>,
}

/// The skin's colour as it looks in this picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tone {
    /// How far it can be trusted.
    pub status: Status,
    /// Why not further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The values; absent when not measurable.
    #[serde(flatten)]
    pub values: Option<ToneValues>,
    /// As in [`CaptureReport::calibration`].
    pub calibration: String,
    /// Which regions the values are the median of.
    pub measured_on: Vec<RegionId>,
    /// The same for each region by itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<&'static str, ToneValues>,
}

/// Coordinates of a colour, CIELAB under D65.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ToneValues {
    /// Lightness.
    #[serde(rename = "L")]
    pub lightness: f64,
    /// What a repetition in the same light may differ by: half of the 95 % interval that the skin's own variation
    /// and the camera's noise give. What an unknown light adds to lightness and hue was not measured, so no figure here
    /// includes it.
    #[serde(rename = "L_repeat")]
    pub lightness_repeat: f64,
    /// What only a calibrated camera can tell.
    #[serde(flatten)]
    pub colour: Option<ToneColour>,
    /// Individual typology angle in degrees.
    pub ita_deg: f64,
    /// Its interval: what the skin's own variation gives (95 %), widened by the error of the light's colour
    /// (90th percentile).
    pub ita_ci: [f64; 2],
    /// The half-width of the first part alone: what a repetition in the same light may differ by.
    pub ita_repeat_deg: f64,
    /// The mean error that the colour of the light leaves: small with a calibration, large without one.
    pub ita_systematic_deg: f64,
}

/// The colour beside the lightness.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ToneColour {
    /// Green to red.
    pub a: f64,
    /// Blue to yellow.
    pub b: f64,
    /// Hue in degrees.
    pub hue: f64,
    /// As `L_repeat`, for the hue.
    pub hue_repeat_deg: f64,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Its name.
    pub id: MetricId,
    /// `measure`: a physical quantity, from which the score is derived.
    pub kind: &'static str,
    /// How far it can be trusted.
    pub status: Status,
    /// Why not further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The value; absent when not measurable.
    #[serde(flatten)]
    pub measured: Option<Measured>,
}

/// A metric's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Its 95 % interval.
    pub ci: [f64; 2],
    /// How many of the reference renders show more of it, in percent: the value seen from the other side, never a
    /// kinder one. Absent where the reference has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<u8>,
    /// The score at the interval's ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_ci: Option<[u8; 2]>,
    /// What a high score means, such as `higher_is_smoother`.
    pub direction: &'static str,
    /// How many separate ones there are, where they can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The value of each region.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionValue>,
}

/// What is measured besides tone. All of it is more when there is more to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricId {
    /// Skin that visible lines cover.
    Lines,
    /// Pores that can be told apart.
    Pores,
    /// Skin that spots of pigment cover.
    Spots,
    /// How much redder the reddest skin is than the rest.
    Redness,
    /// Light that the skin mirrors.
    Shine,
    /// How much darker the skin under the eyes is than the cheeks.
    UnderEye,
    /// How much the colour varies over the face.
    Evenness,
}

impl MetricId {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 7] =
        [Self::Lines, Self::Spots, Self::Redness, Self::Shine, Self::UnderEye, Self::Evenness, Self::Pores];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Pores => "pores",
            Self::Spots => "spots",
            Self::Redness => "redness",
            Self::Shine => "shine",
            Self::UnderEye => "under_eye",
            Self::Evenness => "evenness",
        }
    }

    /// The unit of its value.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Lines | Self::Spots => "percent of the skin",
            Self::Pores => "1/cm2",
            Self::Redness => "ln(blood) above the face's median, reddest tenth",
            Self::Shine => "percent of the light",
            Self::UnderEye => "L* below the cheeks",
            Self::Evenness => "CIELAB, robust standard deviation",
        }
    }

    /// The least that it can be: shares, counts and deviations are never below nought.
    pub(super) const fn least(self) -> f64 {
        match self {
            Self::Lines | Self::Pores | Self::Spots | Self::Shine | Self::Evenness => 0.0,
            Self::Redness | Self::UnderEye => f64::NEG_INFINITY,
        }
    }

    /// What a high score means.
    #[must_use]
    pub const fn direction(self) -> &'static str {
        match self {
            Self::Lines | Self::Pores => "higher_is_smoother",
            Self::Spots | Self::Redness | Self::UnderEye | Self::Evenness => "higher_is_more_even",
            Self::Shine => "higher_is_more_matt",
        }
    }
}

/// A metric's value in one region.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RegionValue {
    /// Which region.
    pub id: RegionId,
    /// Its value.
    pub value: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
}

/// How much of a region could be used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RegionReport {
    /// Pixels inside its outline.
    pub px: usize,
    /// Share of them that is bare skin, neither clipped nor too dark nor shining, in percent.
    pub valid_pct: f64,
    /// Share that shines, in percent: in this light, and not a measure of oil.
    pub shining_pct: f64,
}
