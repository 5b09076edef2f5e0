//! The skin's colour: lightness, hue and ITA on the cheeks, with what is known about their uncertainty.
//!
//! Without a calibration the light's colour is unknown: a*, b* and hue are not told, because a white balance that is off by
//! a tenth moves them as far as people differ. Tone is never better than `low_confidence` then, and the interval of ITA
//! includes the error measured for this case: 12.9° in the mean, 18.1° at the 90th percentile over 13 illuminants and
//! two cameras, simulated (sRGB under D65 taken as given). With one it is 1.7° and 2.7° in the same simulation.

use std::collections::BTreeMap;

use super::{
    colour::{Decoding, Lab},
    look::Look,
    regions::{Region, Sample},
    report::{Status, Tone, ToneColour, ToneValues},
    statistics::{self, block_medians, half_interval_95, spread_95},
};
use crate::geometry::hundredths;

/// Error of ITA that the light's colour leaves, in degrees: mean and 90th percentile.
const ITA_UNCALIBRATED_DEG: (f64, f64) = (12.9, 18.1);
const ITA_CALIBRATED_DEG: (f64, f64) = (1.7, 2.7);

/// An arctangent.
const ITA_MAX_DEG: f64 = 90.0;
/// The lightness of white: what is lighter is no skin under the light of the calibration.
const WHITE_L: f64 = 100.0;

/// Tone of the cheeks, on the forehead alone where neither can be used; over several looks the median of each.
pub(crate) fn tone(looks: &[&Look], decoding: &Decoding) -> Tone {
    let all: Vec<BTreeMap<&'static str, Reading>> = looks.iter().map(|look| readings(look)).collect();
    let Some(first) = looks.first() else { return no_tone("too_little_visible_skin", decoding) };
    let usable: Vec<&Region> = first.usable().collect();
    let cheeks: Vec<&Region> = usable.iter().copied().filter(|region| region.outline.id.is_cheek()).collect();
    let main = if cheeks.is_empty() { &usable } else { &cheeks };
    let median = |name: &'static str| {
        let found: Vec<Reading> = all.iter().filter_map(|readings| readings.get(name).copied()).collect();
        Reading::middle(&found)
    };
    let Some(values) = median(FACE) else { return no_tone("too_little_visible_skin", decoding) };
    if WHITE_L < values.lab.l {
        return no_tone("over_exposed", decoding);
    }
    let reason = match decoding {
        Decoding::Srgb => Some("uncalibrated"),
        Decoding::Calibrated(_) => {
            ["uneven_light", "over_exposed", "too_dark", "too_dark_or_noisy", "colour_cast"]
                .into_iter()
                .find(|problem| first.capture.has(problem))
        }
    };
    Tone {
        status: if reason.is_some() { Status::LowConfidence } else { Status::Ok },
        reason,
        values: Some(values.rounded(decoding)),
        calibration: decoding.label(),
        measured_on: main.iter().map(|region| region.outline.id).collect(),
        regions: usable
            .iter()
            .filter_map(|region| {
                Some((region.outline.id.name(), median(region.outline.id.name())?.rounded(decoding)))
            })
            .collect(),
    }
}

pub(crate) fn no_tone(reason: &'static str, decoding: &Decoding) -> Tone {
    Tone {
        status: Status::NotMeasurable,
        reason: Some(reason),
        values: None,
        calibration: decoding.label(),
        measured_on: Vec::new(),
        regions: BTreeMap::new(),
    }
}

/// What the cheeks together are called among the regions.
const FACE: &str = "cheeks";

/// A colour and what its coordinates may differ by in a repetition.
#[derive(Debug, Clone, Copy)]
struct Reading {
    lab: Lab,
    lightness: f64,
    hue_deg: f64,
    ita_deg: f64,
}

fn readings(look: &Look) -> BTreeMap<&'static str, Reading> {
    let usable: Vec<&Region> = look.usable().collect();
    let cheeks: Vec<&Region> = usable.iter().copied().filter(|region| region.outline.id.is_cheek()).collect();
    let main = if cheeks.is_empty() { &usable } else { &cheeks };
    usable
        .iter()
        .map(|region| (region.outline.id.name(), Reading::of(&[region])))
        .chain(std::iter::once((FACE, Reading::of(main))))
        .filter_map(|(name, reading)| Some((name, reading?)))
        .collect()
}

impl Reading {
    fn of(regions: &[&Region]) -> Option<Self> {
        let samples = || regions.iter().flat_map(|region| &region.samples);
        let median = |value: fn(&Sample) -> f64| statistics::median(samples().map(value).collect());
        let lab = Lab { l: median(|s| s.lab.l), a: median(|s| s.lab.a), b: median(|s| s.lab.b) };
        let blocks = block_medians(samples(), |s| s.block, |s| [s.lab.l, s.lab.a, s.lab.b]);
        let half = |off: fn(Lab, Lab) -> f64| {
            half_interval_95(&blocks, |drawn| {
                let channel = |at: usize| statistics::median(drawn.iter().map(|block| block[at]).collect());
                off(Lab { l: channel(0), a: channel(1), b: channel(2) }, lab)
            })
        };
        Some(Self {
            lab,
            lightness: half(|drawn, lab| drawn.l - lab.l)?,
            // The neighbours of an angle lie on both sides of its zero.
            hue_deg: half(|drawn, lab| turn(drawn.hue_deg() - lab.hue_deg()))?,
            ita_deg: half(|drawn, lab| drawn.ita_deg() - lab.ita_deg())?,
        })
    }

    /// The median of readings of one place; what they differ by is added to what each may.
    fn middle(readings: &[Self]) -> Option<Self> {
        let median = |value: &dyn Fn(&Self) -> f64| statistics::median(readings.iter().map(value).collect());
        readings.first()?;
        let lab = Lab { l: median(&|r| r.lab.l), a: median(&|r| r.lab.a), b: median(&|r| r.lab.b) };
        let half = |own: &dyn Fn(&Self) -> f64, off: &dyn Fn(&Self) -> f64| {
            median(own).hypot(spread_95(&readings.iter().map(off).collect::<Vec<_>>()))
        };
        Some(Self {
            lab,
            lightness: half(&|r| r.lightness, &|r| r.lab.l),
            hue_deg: half(&|r| r.hue_deg, &|r| turn(r.lab.hue_deg() - lab.hue_deg())),
            ita_deg: half(&|r| r.ita_deg, &|r| r.lab.ita_deg()),
        })
    }

    fn rounded(&self, decoding: &Decoding) -> ToneValues {
        let ita = self.lab.ita_deg();
        let is_calibrated = matches!(decoding, Decoding::Calibrated(_));
        let (mean, p90) = if is_calibrated { ITA_CALIBRATED_DEG } else { ITA_UNCALIBRATED_DEG };
        ToneValues {
            lightness: hundredths(self.lab.l),
            lightness_repeat: hundredths(self.lightness),
            colour: is_calibrated.then(|| ToneColour {
                a: hundredths(self.lab.a),
                b: hundredths(self.lab.b),
                hue: hundredths(self.lab.hue_deg()),
                hue_repeat_deg: hundredths(self.hue_deg),
            }),
            ita_deg: hundredths(ita),
            // Two independent errors add as squares.
            ita_ci: [-1.0, 1.0].map(|sign| {
                hundredths((ita + sign * self.ita_deg.hypot(p90)).clamp(-ITA_MAX_DEG, ITA_MAX_DEG))
            }),
            ita_repeat_deg: hundredths(self.ita_deg),
            ita_systematic_deg: mean,
        }
    }
}

/// An angle between -180° and 180°.
fn turn(degrees: f64) -> f64 {
    (degrees + 180.0).rem_euclid(360.0) - 180.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_angle_of_an_arctangent_has_an_interval_that_ends_at_ninety_degrees() {
        for (l, end) in [(95.0, 1), (5.0, 0)] {
            let lab = Lab { l, a: 2.0, b: 3.0 };
            let reading = Reading { lab, lightness: 0.5, hue_deg: 1.0, ita_deg: 2.0 };
            let told = reading.rounded(&Decoding::Srgb);
            assert_eq!(told.ita_ci[end].abs(), ITA_MAX_DEG, "{told:?}");
            assert!(told.ita_ci[0] < told.ita_deg && told.ita_deg < told.ita_ci[1], "{told:?}");
        }
    }
}
