//! What the skin looks like in one still picture: the gate's verdict, tone, redness, each with its
//! uncertainty and its status; and the report that carries them.
//!
//! Owns the report's form. Does not own words for visitors, and knows no disease, age, sex or origin of
//! anybody. A report holds no pixel and no landmark; the outlines for drawing stay in memory.
//!
//! Without a calibration the light's colour is unknown, so tone is never better than `low_confidence` and
//! its interval includes the error measured for this case: 12.9° in the mean, 18.1° at the 90th percentile
//! over 13 illuminants and two cameras, simulated (sRGB under D65 taken as given).

pub(crate) mod colour;
mod gate;
mod regions;
pub(crate) mod statistics;

use std::{collections::BTreeMap, time::Instant};

use serde::Serialize;

pub use gate::{Problem, Severity};
pub use regions::{RegionId, RegionOutline};

use crate::{
    landmarks::Face,
    picture::{Grey, Picture},
};
use colour::Lab;
use gate::Capture;
use regions::{Region, Sample};
use statistics::{block_medians, half_interval_95};

/// The form of the report.
pub const SCHEMA: &str = "skin-report/1";
/// Error of ITA when the light is unknown, in degrees: mean and 90th percentile.
const ITA_UNCALIBRATED_DEG: (f64, f64) = (12.9, 18.1);
/// A region with fewer measurable pixels is not measured.
const SAMPLES_MIN: usize = 400;
/// A region with a smaller share of measurable pixels is not measured.
const VALID_SHARE_MIN: f64 = 0.5;
/// What this release does not measure, and why.
const NOT_MEASURED: [&str; 4] = ["lines", "pores", "spots", "shine"];

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
    /// For drawing over the picture; never part of what is written.
    #[serde(skip)]
    pub outlines: Vec<RegionOutline>,
}

/// Networks by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelIdentity {
    /// The landmark network, `sha256:…`.
    pub landmark: String,
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
    /// Degrees, positive to the right of the picture; an estimate from five points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaw: Option<f64>,
    /// Degrees, positive upwards; a rough estimate, because faces differ.
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
    /// `not_checked` in this release: glasses, hair and masks are not looked for.
    pub occlusion: [&'static str; 1],
    /// `uncalibrated`, always, in this release.
    pub calibration: &'static str,
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
    /// `uncalibrated`, always, in this release.
    pub calibration: &'static str,
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
    /// gives. What an unknown light adds to lightness and hue was not measured, so no figure here includes it.
    #[serde(rename = "L_repeat")]
    pub lightness_repeat: f64,
    /// Green to red.
    pub a: f64,
    /// Blue to yellow.
    pub b: f64,
    /// Hue in degrees.
    pub hue: f64,
    /// As `L_repeat`, for the hue.
    pub hue_repeat_deg: f64,
    /// Individual typology angle in degrees.
    pub ita_deg: f64,
    /// Its interval: what the skin's own variation gives (95 %), widened by the error of an unknown light
    /// (90th percentile).
    pub ita_ci: [f64; 2],
    /// The half-width of the first part alone: what a repetition in the same light may differ by.
    pub ita_repeat_deg: f64,
    /// The mean error of an unknown light alone.
    pub ita_systematic_deg: f64,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Its name.
    pub id: &'static str,
    /// `measure`: a physical quantity, not a score.
    pub kind: &'static str,
    /// How far it can be trusted.
    pub status: Status,
    /// Why not further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
    /// Its 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<[f64; 2]>,
    /// The value of each region.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionValue>,
}

/// A metric's value in one region.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RegionValue {
    /// Which region.
    pub id: RegionId,
    /// Its value.
    pub value: f64,
    /// Its 95 % interval, from the skin's own variation in this picture.
    pub ci: [f64; 2],
}

/// How much of a region could be used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RegionReport {
    /// Pixels inside its outline.
    pub px: usize,
    /// Share of them that is neither clipped nor too dark nor shining, in percent.
    pub valid_pct: f64,
    /// Share that shines, in percent: in this light, and not a measure of oil.
    pub shining_pct: f64,
}

/// Times the steps of one analysis.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    start: Instant,
    last: Instant,
    laps: BTreeMap<&'static str, f64>,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, laps: BTreeMap::new() }
    }

    pub(crate) fn lap(&mut self, step: &'static str) {
        let now = Instant::now();
        self.laps.insert(step, tenths(now.duration_since(self.last).as_secs_f64() * 1e3));
        self.last = now;
    }

    fn stop(mut self) -> BTreeMap<&'static str, f64> {
        self.laps.insert("total", tenths(self.start.elapsed().as_secs_f64() * 1e3));
        self.laps
    }
}

/// The report on a picture whose faces are these, the largest first.
pub(crate) fn report(
    picture: &Picture,
    grey: &Grey,
    faces: &[Face],
    landmark_identity: &str,
    mut clock: Stopwatch,
) -> SkinReport {
    let outlines = faces.first().map(|face| regions::outlines(&face.landmarks)).unwrap_or_default();
    let measured: Vec<Region> =
        outlines.iter().map(|outline| regions::measure(picture, outline.clone())).collect();
    clock.lap("regions");
    let capture = gate::judge(grey, faces, &measured);
    clock.lap("gate");
    let (tone, redness) = if capture.is_ok() {
        let usable: Vec<&Region> = measured.iter().filter(|region| is_usable(region)).collect();
        (tone(&usable), redness(&usable, &capture))
    } else {
        (no_tone("capture_rejected"), no_metric("redness", "capture_rejected"))
    };
    clock.lap("measure");
    let not_measured = NOT_MEASURED.map(|id| no_metric(id, "not_in_this_release"));
    SkinReport {
        schema: SCHEMA,
        model: ModelIdentity { landmark: landmark_identity.to_owned() },
        tone,
        metrics: std::iter::once(redness).chain(not_measured).collect(),
        regions: measured.iter().map(|region| (region.outline.id.name(), region_report(region))).collect(),
        capture: capture_report(capture),
        disclosures: ["cosmetic-not-medical", "appearance-in-this-photo", "no-image-stored"],
        timing_ms: clock.stop(),
        outlines,
    }
}

fn capture_report(capture: Capture) -> CaptureReport {
    let mut advice: Vec<&'static str> = Vec::new();
    for problem in &capture.problems {
        if !advice.contains(&problem.advice) {
            advice.push(problem.advice);
        }
    }
    if advice.is_empty() {
        advice.push("ok");
    }
    CaptureReport {
        ok: capture.is_ok(),
        face_px: capture.face_px.map(tenths),
        px_per_mm: capture.px_per_mm.map(hundredths),
        yaw: capture.yaw_deg.map(tenths),
        pitch: capture.pitch_deg.map(tenths),
        roll: capture.roll_deg.map(tenths),
        blur_pct: capture.blur_pct.map(hundredths),
        clip_pct: capture.clipped_pct.map(hundredths),
        noise_db: capture.noise_db.map(tenths),
        light_ratio_lr: capture.light_ratio.map(hundredths),
        occlusion: ["not_checked"],
        calibration: "uncalibrated",
        problems: capture.problems,
        advice,
    }
}

fn region_report(region: &Region) -> RegionReport {
    let percent = |part: usize| tenths(100.0 * part as f64 / region.pixels.max(1) as f64);
    RegionReport {
        px: region.pixels,
        valid_pct: percent(region.samples.len()),
        shining_pct: percent(region.shining),
    }
}

fn is_usable(region: &Region) -> bool {
    let samples = region.samples.len();
    SAMPLES_MIN <= samples && VALID_SHARE_MIN * region.pixels as f64 <= samples as f64
}

fn no_tone(reason: &'static str) -> Tone {
    Tone {
        status: Status::NotMeasurable,
        reason: Some(reason),
        values: None,
        calibration: "uncalibrated",
        measured_on: Vec::new(),
        regions: BTreeMap::new(),
    }
}

fn no_metric(id: &'static str, reason: &'static str) -> Metric {
    Metric {
        id,
        kind: "measure",
        status: Status::NotMeasurable,
        reason: Some(reason),
        value: None,
        unit: None,
        ci: None,
        regions: Vec::new(),
    }
}

/// Tone on the cheeks; on the forehead alone where both cheeks cannot be used.
fn tone(usable: &[&Region]) -> Tone {
    let cheeks: Vec<&Region> =
        usable.iter().copied().filter(|region| region.outline.id != RegionId::Forehead).collect();
    let main = if cheeks.is_empty() { usable } else { &cheeks };
    let Some(values) = tone_values(main) else { return no_tone("too_little_visible_skin") };
    Tone {
        status: Status::LowConfidence,
        reason: Some("uncalibrated"),
        values: Some(values),
        calibration: "uncalibrated",
        measured_on: main.iter().map(|region| region.outline.id).collect(),
        regions: usable
            .iter()
            .filter_map(|region| Some((region.outline.id.name(), tone_values(&[region])?)))
            .collect(),
    }
}

fn samples<'a>(regions: &[&'a Region]) -> impl Iterator<Item = &'a Sample> {
    regions.iter().flat_map(|region| &region.samples)
}

fn median_of(regions: &[&Region], value: impl Fn(&Sample) -> f64) -> f64 {
    statistics::median(samples(regions).map(value).collect())
}

fn tone_values(regions: &[&Region]) -> Option<ToneValues> {
    let lab = Lab {
        l: median_of(regions, |s| s.lab.l),
        a: median_of(regions, |s| s.lab.a),
        b: median_of(regions, |s| s.lab.b),
    };
    let blocks = block_medians(samples(regions), |s| s.block, |s| [s.lab.l, s.lab.a, s.lab.b]);
    let half = |off: fn(Lab, Lab) -> f64| {
        half_interval_95(&blocks, |drawn| {
            let channel = |at: usize| statistics::median(drawn.iter().map(|block| block[at]).collect());
            off(Lab { l: channel(0), a: channel(1), b: channel(2) }, lab)
        })
    };
    let lightness_repeat = half(|drawn, lab| drawn.l - lab.l)?;
    // The neighbours of an angle lie on both sides of its zero.
    let hue_repeat = half(|drawn, lab| (drawn.hue_deg() - lab.hue_deg() + 180.0).rem_euclid(360.0) - 180.0)?;
    let repeat = half(|drawn, lab| drawn.ita_deg() - lab.ita_deg())?;
    let (mean, p90) = ITA_UNCALIBRATED_DEG;
    let ita = lab.ita_deg();
    Some(ToneValues {
        lightness: hundredths(lab.l),
        lightness_repeat: hundredths(lightness_repeat),
        a: hundredths(lab.a),
        b: hundredths(lab.b),
        hue: hundredths(lab.hue_deg()),
        hue_repeat_deg: hundredths(hue_repeat),
        ita_deg: hundredths(ita),
        // Two independent errors add as squares.
        ita_ci: [-1.0, 1.0].map(|sign| hundredths(ita + sign * repeat.hypot(p90))),
        ita_repeat_deg: hundredths(repeat),
        ita_systematic_deg: mean,
    })
}

/// How much redder the cheeks are than the person's own face: the difference of the erythema index to the
/// median of all regions. Cancels the white balance and most of the tone.
fn redness(usable: &[&Region], capture: &Capture) -> Metric {
    let (forehead, cheeks): (Vec<&Region>, Vec<&Region>) =
        usable.iter().copied().partition(|region| region.outline.id == RegionId::Forehead);
    if forehead.is_empty() || cheeks.is_empty() {
        return no_metric("redness", "too_little_visible_skin");
    }
    let own = |region: &&Region| region.median(|s| s.erythema);
    // Each region weighs the same, or the larger cheeks would be their own yardstick.
    let face = usable.iter().map(own).sum::<f64>() / usable.len() as f64;
    let value = cheeks.iter().map(own).sum::<f64>() / cheeks.len() as f64 - face;
    let halves: Option<Vec<f64>> = usable
        .iter()
        .map(|region| {
            let blocks = block_medians(region.samples.iter(), |s| s.block, |s| [s.erythema]);
            half_interval_95(&blocks, |drawn| {
                statistics::median(drawn.iter().map(|block| block[0]).collect())
            })
        })
        .collect();
    let Some(halves) = halves else { return no_metric("redness", "too_little_visible_skin") };
    // The interval of a mean of regions less the face's own: those of the regions' medians, as the sum weighs them.
    let interval = |value: f64, share_of: &dyn Fn(RegionId) -> f64| {
        let weight = 1.0 / usable.len() as f64;
        let parts = usable.iter().zip(&halves);
        let variance: f64 =
            parts.map(|(region, half)| ((share_of(region.outline.id) - weight) * half).powi(2)).sum();
        [-1.0, 1.0].map(|sign| hundredths(value + sign * variance.sqrt()))
    };
    let share_of_cheeks = |id| if id == RegionId::Forehead { 0.0 } else { 1.0 / cheeks.len() as f64 };
    let reason = if capture.has("uneven_light") {
        "uneven_light"
    } else if capture.has("over_exposed") {
        "over_exposed"
    } else if capture.has("too_dark_or_noisy") {
        "too_dark_or_noisy"
    } else if capture.has("colour_cast") {
        "colour_cast"
    } else {
        // The index is linear in haemoglobin only for linear light, and a camera's own curve is unknown.
        "uncalibrated"
    };
    Metric {
        id: "redness",
        kind: "measure",
        status: Status::LowConfidence,
        reason: Some(reason),
        value: Some(hundredths(value)),
        unit: Some("erythema index above the face's own mean (100 log10)"),
        ci: Some(interval(value, &share_of_cheeks)),
        regions: usable
            .iter()
            .map(|region| {
                let (id, value) = (region.outline.id, own(region) - face);
                let ci = interval(value, &|other| if other == id { 1.0 } else { 0.0 });
                RegionValue { id, value: hundredths(value), ci }
            })
            .collect(),
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{face::FaceBox, geometry::Point, landmarks::FivePoints};

    const SIDE: u32 = 1000;

    fn face() -> Face {
        let landmarks = FivePoints {
            eye_left: Point::new(380.0, 420.0),
            eye_right: Point::new(620.0, 420.0),
            nose_tip: Point::new(500.0, 545.0),
            mouth_left: Point::new(404.0, 670.0),
            mouth_right: Point::new(596.0, 670.0),
        };
        let bounds = FaceBox { x: 140.0, y: 180.0, width: 720.0, height: 720.0, score: 30.0 };
        Face { bounds, landmarks, points: Vec::new(), spread: Vec::new() }
    }

    /// A flat face: two dark eyes on skin whose cheeks may be redder, with a little grain, which real
    /// pictures always have.
    fn picture(skin: [u8; 3], cheek: [u8; 3]) -> Picture {
        let mut random = 12_345_u32;
        let rgb = (0..SIDE)
            .flat_map(|y| (0..SIDE).map(move |x| (x, y)))
            .flat_map(|(x, y)| {
                let eye = (400..440).contains(&y) && ((350..410).contains(&x) || (590..650).contains(&x));
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let grain = u8::try_from(random >> 30).unwrap();
                let colour = match (eye, 480 < y) {
                    (true, _) => [30, 20, 20],
                    (false, true) => cheek,
                    (false, false) => skin,
                };
                colour.map(|channel| channel.saturating_add(grain))
            })
            .collect();
        Picture::from_rgb(SIDE, SIDE, rgb).unwrap()
    }

    fn analyse(picture: &Picture, faces: &[Face]) -> SkinReport {
        report(picture, &picture.to_grey(), faces, "sha256:test", Stopwatch::start())
    }

    fn problems(report: &SkinReport) -> Vec<&'static str> {
        report.capture.problems.iter().map(|problem| problem.id).collect()
    }

    #[test]
    fn a_flat_face_has_the_tone_of_its_colour_and_the_redness_of_its_cheeks() {
        let even = analyse(&picture([190, 140, 115], [190, 140, 115]), &[face()]);
        assert!(even.capture.ok, "{:?}", even.capture);
        let values = even.tone.values.unwrap();
        assert!((values.lightness - 62.3).abs() < 1.5, "{values:?}");
        assert!((values.ita_deg - 27.0).abs() < 6.0, "{values:?}");
        assert!(
            values.ita_ci[1] - values.ita_ci[0] > 2.0 * 18.0,
            "the unknown light is part of the interval"
        );
        let repeats = [values.lightness_repeat, values.hue_repeat_deg, values.ita_repeat_deg];
        assert!(repeats.iter().all(|half| (0.0..1.0).contains(half)), "grain alone: {values:?}");
        assert_eq!((even.tone.status, even.tone.calibration), (Status::LowConfidence, "uncalibrated"));
        assert_eq!(even.tone.measured_on, [RegionId::CheekL, RegionId::CheekR]);
        let redness = |report: &SkinReport| report.metrics[0].value.unwrap();
        assert!(redness(&even).abs() < 0.1, "{:?}", even.metrics[0]);
        let red = analyse(&picture([190, 140, 115], [196, 132, 112]), &[face()]);
        assert!(2.0 < redness(&red), "{:?}", red.metrics[0]);
        let forehead = red.metrics[0].regions.iter().find(|r| r.id == RegionId::Forehead).unwrap();
        assert!(forehead.value < 0.0);
        for region in &red.metrics[0].regions {
            assert!(region.ci[0] <= region.value && region.value <= region.ci[1], "{region:?}");
        }
    }

    #[test]
    fn rougher_skin_has_wider_intervals_of_every_value() {
        let even = picture([190, 140, 115], [190, 140, 115]);
        let (width, height) = (even.width(), even.height());
        // Patches of another colour, larger than the blocks of the bootstrap.
        let patched = even.rgb().chunks_exact(3).enumerate().flat_map(|(at, pixel)| {
            let (x, y) = (at % SIDE as usize, at / SIDE as usize);
            let is_patch = (x / 40 + y / 40) % 2 == 0 && pixel[0] > 100;
            if is_patch { [pixel[0] + 20, pixel[1], pixel[2]] } else { [pixel[0], pixel[1], pixel[2]] }
        });
        let rough = Picture::from_rgb(width, height, patched.collect()).unwrap();
        let [even, rough] = [even, rough].map(|picture| analyse(&picture, &[face()]));
        let [narrow, wide] = [&even, &rough].map(|report| {
            let tone = report.tone.values.unwrap();
            let cheek = report.metrics[0].regions.iter().find(|r| r.id == RegionId::CheekL).unwrap();
            [
                tone.lightness_repeat,
                tone.hue_repeat_deg,
                tone.ita_repeat_deg,
                (cheek.ci[1] - cheek.ci[0]) / 2.0,
            ]
        });
        for (narrow, wide) in narrow.into_iter().zip(wide) {
            assert!(narrow + 0.1 < wide, "{narrow} {wide}: {even:?} {rough:?}");
        }
    }

    #[test]
    fn redness_does_not_depend_on_the_white_balance_nor_on_how_dark_the_skin_is() {
        let redness = |skin, cheek| analyse(&picture(skin, cheek), &[face()]).metrics[0].value.unwrap();
        for skin in [[190, 140, 115], [205, 145, 108], [110, 75, 58]] {
            assert!(redness(skin, skin).abs() < 0.2, "{skin:?}");
        }
    }

    #[test]
    fn no_number_leaves_while_a_capture_is_rejected() {
        let fine = picture([190, 140, 115], [190, 140, 115]);
        let mut small = face();
        small.bounds.width = 480.0;
        let mut second = face();
        second.bounds.width = 300.0;
        let mut tilted = face();
        tilted.landmarks.eye_right.y += 60.0;
        let grey = picture([140, 140, 140], [140, 140, 140]);
        let clipped = picture([255, 250, 245], [255, 250, 245]);
        let mut collapsed = face();
        collapsed.landmarks.eye_right = collapsed.landmarks.eye_left;
        let mut at_the_edge = face();
        for point in [
            &mut at_the_edge.landmarks.eye_left,
            &mut at_the_edge.landmarks.eye_right,
            &mut at_the_edge.landmarks.nose_tip,
            &mut at_the_edge.landmarks.mouth_left,
            &mut at_the_edge.landmarks.mouth_right,
        ] {
            point.x += 330.0;
        }
        let orange = picture([190, 90, 40], [190, 90, 40]);
        let cases: [(&Picture, Vec<Face>, &str); 9] = [
            (&orange, vec![face()], "colour_cast"),
            (&fine, vec![], "no_face"),
            (&fine, vec![collapsed], "face_unclear"),
            (&fine, vec![at_the_edge], "face_cut_off"),
            (&fine, vec![small], "face_too_small"),
            (&fine, vec![face(), second], "more_than_one_face"),
            (&fine, vec![tilted], "head_tilted"),
            (&grey, vec![face()], "no_colour"),
            (&clipped, vec![face()], "over_exposed"),
        ];
        for (picture, faces, expected) in cases {
            let report = analyse(picture, &faces);
            assert!(!report.capture.ok && problems(&report).contains(&expected), "{expected}: {report:?}");
            assert_eq!((report.tone.status, report.tone.values), (Status::NotMeasurable, None));
            assert!(report.metrics.iter().all(|metric| metric.value.is_none() && metric.reason.is_some()));
            let text = serde_json::to_string(&report).unwrap();
            assert!(!text.contains("\"L\"") && !text.contains("null"), "{text}");
        }
    }

    #[test]
    fn dark_skin_is_not_taken_for_a_dark_picture() {
        let report = analyse(&picture([92, 60, 46], [92, 60, 46]), &[face()]);
        assert!(report.capture.ok, "{:?}", report.capture);
        assert!(report.tone.values.unwrap().ita_deg < -30.0);
    }

    #[test]
    fn the_same_pixels_give_the_same_report_without_landmarks_or_pixels() {
        let picture = picture([190, 140, 115], [196, 132, 112]);
        let once = |_| {
            let mut report = analyse(&picture, &[face()]);
            report.timing_ms.clear();
            assert_eq!(report.outlines.len(), 3);
            serde_json::to_string(&report).unwrap()
        };
        let [first, second] = [(); 2].map(once);
        assert_eq!(first, second);
        for word in ["polygon", "landmarks\"", "eye", "points", "outline", "mask"] {
            assert!(!first.contains(word), "{word} in {first}");
        }
    }
}
