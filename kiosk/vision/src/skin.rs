//! What the skin looks like in a still picture or a burst of them: the gate's verdict, tone, and what the maps show,
//! each with its uncertainty and its status; and the report that carries them.
//!
//! Knows no disease, age, sex or origin of anybody, and owns no words for visitors. A report holds no pixel and no
//! landmark; what is drawn over the picture stays in memory and is wiped when it goes.

pub(crate) mod colour;
pub(crate) mod frame;
mod gate;
mod guide;
mod look;
mod masks;
mod measures;
mod overlay;
mod pores;
mod reference;
mod regions;
mod report;
pub(crate) mod statistics;
mod tone;

use std::{collections::BTreeMap, time::Instant};

pub(crate) use colour::Decoding;
pub use colour::Lab;
pub use gate::{Problem, Severity};
pub(crate) use guide::Finder;
pub use guide::{Guidance, Guide, STEADY_FRAMES, Towards};
pub use masks::Mask;
pub use overlay::Overlay;
pub(crate) use reference::Reference;
pub use reference::ReferenceError;
pub(crate) use regions::CLIPPED_FROM;
pub use regions::{RegionId, RegionOutline};
pub use report::{
    CaptureReport, Measured, Metric, MetricId, ModelIdentity, RegionReport, RegionValue, SCHEMA, SkinReport,
    Status, Tone, ToneColour, ToneValues,
};

use crate::{
    geometry::hundredths,
    landmarks::Face,
    picture::{Grey, Picture},
    skinmap::SkinMaps,
};
use gate::Capture;
use look::Found;
pub(crate) use look::Look;
use measures::Estimate;
use regions::Region;
use statistics::spread_95;

/// A score whose interval is wider says little of where it lies.
const SCORE_WIDTH_MAX: u8 = 40;
/// Frames of a burst.
pub const BURST_MAX: usize = 5;

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
        let lap = self.laps.entry(step).or_default();
        *lap = tenths(*lap + now.duration_since(self.last).as_secs_f64() * 1e3);
        self.last = now;
    }

    fn stop(mut self) -> BTreeMap<&'static str, f64> {
        self.laps.insert("total", tenths(self.start.elapsed().as_secs_f64() * 1e3));
        self.laps
    }
}

/// Looks at one picture whose faces are these, the largest first, with the maps of the first one, and by how many stops
/// a strip on the bezel is off, where one is watched.
pub(crate) fn look(
    picture: &Picture,
    decoding: &Decoding,
    grey: &Grey,
    faces: &[Face],
    maps: Option<SkinMaps>,
    stops: Option<f64>,
) -> Look {
    let outlines = faces.first().map(|face| regions::outlines(&face.landmarks)).unwrap_or_default();
    let patches = maps.as_ref().map(|maps| measures::patches(maps, &outlines)).unwrap_or_default();
    let regions: Vec<Region> = outlines
        .into_iter()
        .map(|outline| {
            regions::measure(picture, decoding, outline, |at| {
                maps.as_ref().is_some_and(|maps| maps.is_skin(at))
            })
        })
        .collect();
    let mut capture = gate::judge(grey, faces, &regions);
    if let Some(stops) = stops {
        gate::judge_strip(&mut capture, stops);
    }
    let mut look = Look { capture, regions, readings: Vec::new(), maps };
    if look.capture.is_ok() {
        look.measure(picture, &patches);
    }
    look
}

/// The report on the looks at one visitor, one after the other: a single still, or a burst.
///
/// Colours are the median of all looks, lines and spots those of the sharpest one, and what the looks differ by is part
/// of every interval. Panics without a look.
pub(crate) fn report(
    mut looks: Vec<Look>,
    decoding: &Decoding,
    reference: &Reference,
    model: ModelIdentity,
    mut clock: Stopwatch,
) -> SkinReport {
    let fit: Vec<&Look> = looks.iter().filter(|look| look.capture.is_ok()).collect();
    // A burst of which most is fit is fit.
    let is_ok = looks.len() < 2 * fit.len();
    let sharpest = sharpest(&looks, is_ok);
    let (tone, metrics) = if is_ok {
        (
            tone::tone(&fit, decoding),
            MetricId::ALL.map(|id| metric(id, &fit, &looks[sharpest], decoding, reference)),
        )
    } else {
        let reason = "capture_rejected";
        (tone::no_tone(reason, decoding), MetricId::ALL.map(|id| no_metric(id, reason)))
    };
    clock.lap("measure");
    let shown = looks.swap_remove(sharpest);
    let outlines: Vec<RegionOutline> = shown.regions.iter().map(|region| region.outline.clone()).collect();
    SkinReport {
        schema: SCHEMA,
        model,
        tone,
        metrics: metrics.into(),
        regions: shown
            .regions
            .iter()
            .filter(|_| is_ok)
            .map(|region| (region.outline.id.name(), region_report(region)))
            .collect(),
        capture: capture_report(&shown, decoding),
        disclosures: ["cosmetic-not-medical", "appearance-in-this-photo", "no-image-stored"],
        timing_ms: clock.stop(),
        shown: sharpest,
        overlay: shown.maps.filter(|_| is_ok).map(|maps| Overlay::new(maps, &outlines)),
        outlines,
    }
}

/// Which look is the one to show: of a burst that is fit the sharpest that is, of another one that is not the one with
/// the fewest problems.
fn sharpest(looks: &[Look], is_ok: bool) -> usize {
    let blur = |look: &Look| look.capture.blur_pct.unwrap_or(f64::INFINITY);
    let problems = |look: &Look| if is_ok { 0 } else { look.capture.problems.len() };
    let best = looks
        .iter()
        .enumerate()
        .filter(|(_, look)| look.capture.is_ok() == is_ok)
        .min_by(|(_, a), (_, b)| problems(a).cmp(&problems(b)).then(blur(a).total_cmp(&blur(b))));
    best.map(|(at, _)| at).expect("most looks are fit, or one is not")
}

fn metric(
    id: MetricId,
    fit: &[&Look],
    sharpest: &Look,
    decoding: &Decoding,
    reference: &Reference,
) -> Metric {
    let found = match sharpest.found(id) {
        Ok(found) => found,
        Err(reason) => return no_metric(id, reason),
    };
    let all: Vec<&Found> = fit.iter().filter_map(|look| look.found(id).ok()).collect();
    // What is fine is told by the sharpest look, what is wide by all of them.
    let is_fine = matches!(id, MetricId::Lines | MetricId::Spots | MetricId::Pores);
    let settle = |own: Estimate, of: &dyn Fn(&Found) -> Option<Estimate>| {
        let others: Vec<f64> = all.iter().filter_map(|found| Some(of(found)?.value)).collect();
        let value = if is_fine || others.is_empty() { own.value } else { statistics::median(others.clone()) };
        Estimate { value, half: own.half.hypot(spread_95(&others)) }
    };
    let whole = settle(found.all, &|found| Some(found.all));
    let least = id.least();
    let interval = |estimate: Estimate| {
        let [low, high] = estimate.interval();
        [low.max(least), high]
    };
    let regions = found
        .regions
        .iter()
        .map(|(id, own)| {
            let of = |found: &Found| found.regions.iter().find(|(other, _)| other == id).map(|(_, e)| *e);
            let settled = settle(*own, &of);
            RegionValue { id: *id, value: hundredths(settled.value), ci: interval(settled) }
        })
        .collect();
    let score = reference.score(id, whole.value);
    // More of it is a lower score.
    let score_ci = reference
        .score(id, whole.value + whole.half)
        .zip(reference.score(id, whole.value - whole.half))
        .map(|(low, high)| [low, high]);
    let is_wide = score_ci.is_some_and(|[low, high]| SCORE_WIDTH_MAX < high - low);
    let doubt = doubt(id, &sharpest.capture, decoding).or(is_wide.then_some("wide_interval"));
    Metric {
        id,
        kind: "measure",
        status: if doubt.is_some() { Status::LowConfidence } else { Status::Ok },
        reason: doubt,
        measured: Some(Measured {
            value: hundredths(whole.value),
            unit: id.unit(),
            ci: interval(whole),
            score,
            score_ci,
            direction: id.direction(),
            count: found.count,
            regions,
        }),
    }
}

/// Why a metric of a capture that is fit is still to be doubted.
fn doubt(id: MetricId, capture: &Capture, decoding: &Decoding) -> Option<&'static str> {
    let doubts: &[&'static str] = match id {
        MetricId::Lines => {
            &["face_too_small", "not_sharp", "too_dark", "too_dark_or_noisy", "over_exposed", "glasses"]
        }
        MetricId::Spots | MetricId::Pores => {
            &["face_too_small", "not_sharp", "too_dark", "too_dark_or_noisy", "over_exposed"]
        }
        MetricId::Redness => {
            &["uneven_light", "over_exposed", "too_dark", "too_dark_or_noisy", "colour_cast"]
        }
        MetricId::Shine => &["over_exposed"],
        MetricId::UnderEye => &["glasses", "uneven_light", "over_exposed", "colour_cast"],
        MetricId::Evenness => &["uneven_light", "over_exposed", "colour_cast"],
    };
    let found = doubts.iter().copied().find(|problem| capture.has(problem));
    // How red a camera sees red is unknown without a calibration.
    let is_unknown = id == MetricId::Redness && matches!(decoding, Decoding::Srgb);
    found.or(is_unknown.then_some("uncalibrated"))
}

fn capture_report(look: &Look, decoding: &Decoding) -> CaptureReport {
    let capture = &look.capture;
    let mut advice: Vec<&'static str> = Vec::new();
    for problem in &capture.problems {
        if !advice.contains(&problem.advice) {
            advice.push(problem.advice);
        }
    }
    if capture.has("more_than_one_face") {
        // Whoever of them comes closer or turns: first there is to be one.
        advice.retain(|advice| *advice == "one_person_at_a_time");
    }
    if advice.is_empty() {
        advice.push("ok");
    }
    let mut occlusion = capture.covered.iter().map(|region| region.name()).collect::<Vec<_>>();
    if occlusion.is_empty() {
        occlusion.push("none");
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
        hidden: capture.hidden.map(hundredths),
        glasses: capture.glasses.map(hundredths),
        occlusion,
        calibration: decoding.label(),
        calib_de: decoding.delta_e().map(hundredths),
        strip: None,
        problems: capture.problems.clone(),
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

fn no_metric(id: MetricId, reason: &'static str) -> Metric {
    Metric { id, kind: "measure", status: Status::NotMeasurable, reason: Some(reason), measured: None }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HeadTurn, face::FaceBox, geometry::Point, landmarks::FivePoints};

    const SIDE: u32 = 1000;
    /// What stands beside the face.
    const WALL: [u8; 3] = [220, 220, 220];

    fn face() -> Face {
        let landmarks = FivePoints {
            eye_left: Point::new(380.0, 420.0),
            eye_right: Point::new(620.0, 420.0),
            nose_tip: Point::new(500.0, 545.0),
            mouth_left: Point::new(404.0, 670.0),
            mouth_right: Point::new(596.0, 670.0),
        };
        let bounds = FaceBox { x: 140.0, y: 180.0, width: 720.0, height: 720.0, score: 30.0 };
        let turn = Some(HeadTurn { yaw_deg: 0.0, pitch_deg: 0.0, roll_deg: 0.0 });
        Face { bounds, landmarks, points: Vec::new(), spread: Vec::new(), unsure: 0.05, turn, cover: None }
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
                let beside_the_nose = (500..620).contains(&y) && !(430..570).contains(&x);
                let colour = match (eye, beside_the_nose) {
                    _ if x < 60 => WALL,
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
        burst(std::slice::from_ref(picture), faces)
    }

    fn burst(pictures: &[Picture], faces: &[Face]) -> SkinReport {
        let looks = pictures.iter().map(|picture| {
            let maps = faces.first().and_then(|face| SkinMaps::plain(picture, &face.landmarks));
            look(picture, &Decoding::Srgb, &picture.to_grey(), faces, maps, None)
        });
        let model = ModelIdentity {
            landmark: "sha256:one".to_owned(),
            cover: "sha256:three".to_owned(),
            skinmap: "sha256:two".to_owned(),
        };
        report(looks.collect(), &Decoding::Srgb, &Reference::default(), model, Stopwatch::start())
    }

    fn measured(report: &SkinReport, id: MetricId) -> &Measured {
        let metric = report.metrics.iter().find(|metric| metric.id == id).unwrap();
        metric.measured.as_ref().unwrap_or_else(|| panic!("{metric:?}"))
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
        let repeats = [values.lightness_repeat, values.ita_repeat_deg];
        assert!(repeats.iter().all(|half| (0.0..1.0).contains(half)), "grain alone: {values:?}");
        assert_eq!(
            (even.tone.status, even.tone.calibration.as_str()),
            (Status::LowConfidence, "uncalibrated")
        );
        assert_eq!(even.tone.measured_on, [RegionId::CheekL, RegionId::CheekR]);
        let redness = |report: &SkinReport| measured(report, MetricId::Redness).value;
        assert!(redness(&even).abs() < 0.05, "{:?}", even.metrics);
        let red = analyse(&picture([190, 140, 115], [196, 132, 112]), &[face()]);
        assert!(0.3 < redness(&red), "{:?}", red.metrics);
        let regions = &measured(&red, MetricId::Redness).regions;
        let of = |id| regions.iter().find(|region| region.id == id).unwrap().value;
        assert!(of(RegionId::Forehead) < 0.0 && 0.2 < of(RegionId::CheekL), "{regions:?}");
        for region in regions {
            assert!(region.ci[0] <= region.value && region.value <= region.ci[1], "{region:?}");
        }
    }

    /// A camera whose light is to be changed by a matrix.
    fn calibrated_by(matrix: [[f64; 3]; 3]) -> Decoding {
        let date = crate::calibration::Date::parse("2026-11-20").unwrap();
        let fit = crate::calibration::DeltaE {
            mean_76: 1.2,
            max_76: 3.0,
            mean_2000: 0.9,
            max_2000: 2.0,
            left_out_mean_76: 1.5,
        };
        let curve = crate::calibration::Curve::STRAIGHT;
        let calibration = crate::calibration::Calibration::try_new(date, curve, matrix, fit).unwrap();
        Decoding::Calibrated(Box::new(calibration))
    }

    fn decoded(picture: &Picture, decoding: &Decoding) -> SkinReport {
        let maps = SkinMaps::plain(picture, &face().landmarks);
        let look = look(picture, decoding, &picture.to_grey(), &[face()], maps, None);
        report(vec![look], decoding, &Reference::default(), ModelIdentity::default(), Stopwatch::start())
    }

    #[test]
    fn a_calibrated_camera_tells_tone_and_redness_without_reserve() {
        // A camera that sees red too strongly; the calibration takes it back.
        let decoding = calibrated_by([[0.8, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        let picture = picture([210, 140, 115], [210, 140, 115]);
        let calibrated = decoded(&picture, &decoding);
        assert_eq!((calibrated.tone.status, calibrated.tone.reason), (Status::Ok, None));
        assert_eq!(calibrated.tone.calibration, "chart-2026-11-20");
        assert_eq!(calibrated.capture.calib_de, Some(1.2));
        let redness = calibrated.metrics.iter().find(|metric| metric.id == MetricId::Redness).unwrap();
        assert_eq!((redness.status, redness.reason), (Status::Ok, None));
        let (values, plain) =
            (calibrated.tone.values.unwrap(), analyse(&picture, &[face()]).tone.values.unwrap());
        let as_srgb = colour::lab(colour::linear([210, 140, 115]));
        assert!(values.colour.is_some_and(|colour| colour.a + 5.0 < as_srgb.a), "{values:?} {as_srgb:?}");
        assert_eq!(plain.colour, None, "a light of unknown colour tells none");
        let width = |ci: [f64; 2]| ci[1] - ci[0];
        assert!(3.0 * width(values.ita_ci) < width(plain.ita_ci));
    }

    #[test]
    fn a_tone_lighter_than_white_is_none() {
        let by = |gain: f64| {
            let light = calibrated_by([[gain, 0.0, 0.0], [0.0, gain, 0.0], [0.0, 0.0, gain]]);
            decoded(&picture([190, 140, 115], [190, 140, 115]), &light).tone
        };
        // 31 % of white's light: three times as much is skin in a strong light, four times as much is none.
        assert!(by(3.0).values.is_some());
        let beyond = by(4.0);
        assert_eq!(
            (beyond.status, beyond.reason, beyond.values),
            (Status::NotMeasurable, Some("over_exposed"), None)
        );
    }

    #[test]
    fn pores_need_edges_as_sharp_as_the_picture_is_large() {
        let picture = picture([190, 140, 115], [190, 140, 115]);
        let outlines = regions::outlines(&face().landmarks);
        let pores = |px_per_mm: f64, blur_pct: f64| {
            let maps = SkinMaps::plain(&picture, &face().landmarks);
            let patches = measures::patches(maps.as_ref().unwrap(), &outlines);
            let mut look = look(&picture, &Decoding::Srgb, &picture.to_grey(), &[face()], maps, None);
            (look.capture.px_per_mm, look.capture.blur_pct) = (Some(px_per_mm), Some(blur_pct));
            look.measure(&picture, &patches);
            look.found(MetricId::Pores).map(|_| ())
        };
        assert_eq!(pores(8.0, 0.5), Ok(()));
        assert_eq!(
            pores(8.0, 0.51),
            Err("not_sharp"),
            "an enlarged picture has the pixels and not the detail"
        );
        assert_eq!(pores(7.9, 0.2), Err("px_per_mm<8"));
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
            let regions = &measured(report, MetricId::Redness).regions;
            let cheek = regions.iter().find(|region| region.id == RegionId::CheekL).unwrap();
            [tone.lightness_repeat, tone.ita_repeat_deg, (cheek.ci[1] - cheek.ci[0]) / 2.0]
        });
        for (narrow, wide) in narrow.into_iter().zip(wide) {
            assert!(narrow + 0.02 < wide, "{narrow} {wide}: {even:?} {rough:?}");
        }
    }

    #[test]
    fn redness_does_not_depend_on_the_white_balance_nor_on_how_dark_the_skin_is() {
        let redness =
            |skin, cheek| measured(&analyse(&picture(skin, cheek), &[face()]), MetricId::Redness).value;
        for skin in [[190, 140, 115], [205, 145, 108], [110, 75, 58]] {
            assert!(redness(skin, skin).abs() < 0.1, "{skin:?}");
        }
    }

    #[test]
    fn a_burst_tells_the_middle_and_is_less_sure_when_its_frames_differ() {
        let tone = |pictures: &[Picture]| burst(pictures, &[face()]).tone.values.unwrap();
        let [plain, darker, darkest] =
            [[190, 140, 115], [186, 137, 112], [150, 110, 90]].map(|skin| picture(skin, skin));
        let steady = tone(&[plain.clone(), plain.clone(), plain.clone()]);
        let shaken = tone(&[darkest.clone(), plain.clone(), darker.clone()]);
        assert!(steady.lightness_repeat + 1.0 < shaken.lightness_repeat, "{steady:?} {shaken:?}");
        assert_eq!(shaken.lightness, tone(std::slice::from_ref(&darker)).lightness);
        // One frame without a face does not spoil a burst, three do.
        let grey = picture([140, 140, 140], [140, 140, 140]);
        assert!(burst(&[grey.clone(), plain.clone(), plain.clone()], &[face()]).capture.ok);
        let spoilt = burst(&[grey.clone(), grey, plain], &[face()]);
        assert!(spoilt.tone.values.is_none() && spoilt.overlay.is_none());
        assert!(!spoilt.capture.ok && problems(&spoilt).contains(&"no_colour"), "{:?}", spoilt.capture);
    }

    #[test]
    fn what_covers_one_eye_is_told_from_glasses() {
        let picture = picture([190, 140, 115], [190, 140, 115]);
        let covered = |columns: [std::ops::Range<usize>; 2]| {
            let mut maps = SkinMaps::plain(&picture, &face().landmarks).unwrap();
            for columns in columns {
                maps.cover_columns(95..125, columns);
            }
            let look = look(&picture, &Decoding::Srgb, &picture.to_grey(), &[face()], Some(maps), None);
            look.capture.has("face_covered")
        };
        assert!(covered([50..115, 0..0]), "a patch");
        assert!(!covered([50..115, 140..205]), "glasses");
    }

    #[test]
    fn a_hand_in_the_colour_of_skin_is_refused_and_glasses_are_a_doubt() {
        let picture = picture([190, 140, 115], [190, 140, 115]);
        let seen = |glasses: f64, is_hidden: fn(Point) -> bool| {
            let cover = Some(crate::cover::Cover::told(&face().landmarks, glasses, is_hidden));
            analyse(&picture, &[Face { cover, ..face() }])
        };
        let hand = seen(0.0, |at| 600.0 < at.y && at.x < 550.0);
        assert_eq!(problems(&hand), ["face_covered"], "{:?}", hand.capture);
        assert!(hand.metrics.iter().all(|metric| metric.measured.is_none()));
        // Beside the face a hand hides nothing.
        assert!(seen(0.0, |at| at.x < 220.0).capture.ok);
        let glasses = seen(0.99, |_| false);
        assert!(glasses.capture.ok && problems(&glasses) == ["glasses"], "{:?}", glasses.capture);
        let status = |id| {
            glasses.metrics.iter().find(|metric| metric.id == id).map(|metric| (metric.status, metric.reason))
        };
        assert_eq!(status(MetricId::UnderEye), Some((Status::LowConfidence, Some("glasses"))));
        assert_eq!(status(MetricId::Shine), Some((Status::Ok, None)));
    }

    #[test]
    fn lines_below_the_eyes_are_told_there_and_not_of_the_whole_face() {
        use crate::skinmap::Channel;

        let picture = picture([190, 140, 115], [190, 140, 115]);
        let of_the_face = |rows: std::ops::Range<usize>, columns: usize, channel: Channel, id: MetricId| {
            let mut maps = SkinMaps::plain(&picture, &face().landmarks).unwrap();
            maps.fill(channel, rows, 0..columns, 1.0);
            let look = look(&picture, &Decoding::Srgb, &picture.to_grey(), &[face()], Some(maps), None);
            look.found(id).unwrap().all.value
        };
        // Rows of the maps are 0.69 mm, the eyes lie on row 102; column 100 is beside the nose.
        let below_an_eye = 118..126;
        assert_eq!(of_the_face(below_an_eye.clone(), 100, Channel::Line, MetricId::Lines), 0.0);
        assert!(0.0 < of_the_face(below_an_eye, 100, Channel::Spot, MetricId::Spots));
        let on_the_forehead = 50..70;
        assert!(0.0 < of_the_face(on_the_forehead, 256, Channel::Line, MetricId::Lines));
    }

    #[test]
    fn what_covers_the_face_is_named_and_not_measured() {
        let picture = picture([190, 140, 115], [190, 140, 115]);
        let covered = |from: usize, rows: usize| {
            let mut maps = SkinMaps::plain(&picture, &face().landmarks).unwrap();
            maps.cover(from, rows);
            let look = look(&picture, &Decoding::Srgb, &picture.to_grey(), &[face()], Some(maps), None);
            let model = ModelIdentity::default();
            report(vec![look], &Decoding::Srgb, &Reference::default(), model, Stopwatch::start())
        };
        // Rows of the maps are 0.69 mm: the eyes lie on row 102, the chin from row 230 on.
        let bearded = covered(225, 31);
        assert!(bearded.capture.ok, "{:?}", bearded.capture);
        assert_eq!(bearded.capture.occlusion, ["chin"]);
        assert!(measured(&bearded, MetricId::Lines).regions.iter().all(|region| region.id != RegionId::Chin));
        let masked = covered(125, 131);
        assert!(problems(&masked).contains(&"face_covered"), "{:?}", masked.capture);
        assert!(masked.metrics.iter().all(|metric| metric.measured.is_none()));
    }

    #[test]
    fn no_number_leaves_while_a_capture_is_rejected() {
        let fine = picture([190, 140, 115], [190, 140, 115]);
        let mut small = face();
        small.bounds.width = 480.0;
        let mut second = face();
        second.bounds.width = 300.0;
        let [tilted, turned, raised, unfitted] = [
            Some(HeadTurn { yaw_deg: 0.0, pitch_deg: 0.0, roll_deg: -21.0 }),
            Some(HeadTurn { yaw_deg: 20.0, pitch_deg: 0.0, roll_deg: 0.0 }),
            Some(HeadTurn { yaw_deg: 0.0, pitch_deg: 26.0, roll_deg: 0.0 }),
            None,
        ]
        .map(|turn| Face { turn, ..face() });
        let mut behind_a_hand = face();
        behind_a_hand.cover = Some(crate::cover::Cover::told(&face().landmarks, 0.0, |at| 600.0 < at.y));
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
        // Four stops less light: a sixteenth, and by the encoding's curve a bit more than a quarter of each byte.
        let dark = fine.rgb().iter().map(|byte| u8::try_from(u16::from(*byte) * 28 / 100).unwrap()).collect();
        let dark = Picture::from_rgb(SIDE, SIDE, dark).unwrap();
        let orange = picture([190, 90, 40], [190, 90, 40]);
        let without_blue = picture([190, 140, 0], [190, 140, 0]);
        let nearly_grey = picture([150, 144, 142], [150, 144, 142]);
        let cases: [(&Picture, Vec<Face>, &str); 16] = [
            (&without_blue, vec![face()], "colour_cast"),
            (&nearly_grey, vec![face()], "no_colour"),
            (&dark, vec![face()], "too_dark"),
            (&orange, vec![face()], "colour_cast"),
            (&fine, vec![], "no_face"),
            (&fine, vec![collapsed], "face_unclear"),
            (&fine, vec![at_the_edge], "face_cut_off"),
            (&fine, vec![small], "face_too_small"),
            (&fine, vec![face(), second], "more_than_one_face"),
            (&fine, vec![tilted], "head_tilted"),
            (&fine, vec![turned], "head_turned"),
            (&fine, vec![raised], "head_raised_or_lowered"),
            (&fine, vec![unfitted], "face_unclear"),
            (&fine, vec![behind_a_hand], "face_covered"),
            (&grey, vec![face()], "no_colour"),
            (&clipped, vec![face()], "over_exposed"),
        ];
        for (picture, faces, expected) in cases {
            let report = analyse(picture, &faces);
            assert!(!report.capture.ok && problems(&report).contains(&expected), "{expected}: {report:?}");
            assert_eq!((report.tone.status, report.tone.values), (Status::NotMeasurable, None));
            assert!(report.metrics.iter().all(|metric| metric.measured.is_none() && metric.reason.is_some()));
            let text = serde_json::to_string(&report).unwrap();
            assert!(report.regions.is_empty() && !text.contains("\"L\"") && !text.contains("null"), "{text}");
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
            assert_eq!(report.outlines.len(), 8);
            assert!(report.overlay.is_some());
            serde_json::to_string(&report).unwrap()
        };
        let [first, second] = [(); 2].map(once);
        assert_eq!(first, second);
        for word in ["polygon", "landmarks\"", "eye_left", "points", "outline", "mask", "overlay"] {
            assert!(!first.contains(word), "{word} in {first}");
        }
    }
}
