//! The gate: is this picture fit to be measured, and if not, what should the visitor change?
//!
//! Only what a single uncalibrated picture can tell: number and size of faces, turn of the head, what stands before the
//! face, sharpness, noise, clipping, colour at all, evenness of the light. The limits were set on the evaluation's portraits
//! and on faults put into them. Never judged by how light the skin
//! is: that would refuse dark skin.

use serde::Serialize;

use crate::{
    geometry::{Point, hundredths},
    head::HeadTurn,
    landmarks::{Face, FivePoints},
    picture::Grey,
    skin::{
        regions::{Region, RegionId, Sample, features},
        statistics::quantile,
    },
};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// No number leaves while it stands.
    Reject,
    /// Numbers are shown with less confidence.
    Warn,
}

/// What is wrong with a capture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    /// A stable name, such as `face_too_small`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was measured.
    pub value: f64,
    /// The limit that it broke.
    pub limit: f64,
    /// A stable name of what the visitor can do, such as `come_closer`.
    pub advice: &'static str,
}

/// A second face counts when it is at least this share of the largest one's width.
const SECOND_FACE_SHARE: f64 = 0.3;
/// Distance of the eyes over the width of the face's box, for any face that may be measured.
const EYES_OF_FACE: (f64, f64) = (0.2, 0.6);
/// Width of the face's box in pixels: (warn below, reject below).
const FACE_PX: (f64, f64) = (700.0, 500.0);
/// Degrees: (warn above, reject above). A tilted head is laid upright before anything is measured, so only the landmarks
/// suffer, which have learnt tilts up to 20°; a smile or a camera below the eyes moves the pitch that is found by some degrees.
const ROLL_DEG: (f64, f64) = (15.0, 20.0);
const YAW_DEG: (f64, f64) = (12.5, 15.0);
const PITCH_DEG: (f64, f64) = (20.0, 25.0);
/// Width of the sharpest edges around the eyes in percent of their distance: (warn above, reject above).
const BLUR_PCT: (f64, f64) = (1.5, 2.5);
/// Light over noise on the skin in decibels: (warn below, reject below).
const NOISE_DB: (f64, f64) = (28.0, 22.0);
/// What is brightest in the picture, as the luma below which all but a two-hundredth of it lies: (warn below, reject
/// below). Some white of an eye, a tooth, a collar or a wall is in every picture that is exposed as it should be,
/// whatever the skin; four stops below that, nothing is brighter than 71.
const BRIGHTEST: (f64, f64) = (110.0, 80.0);
const BRIGHTEST_SHARE: f64 = 0.995;
/// Stops of exposure by the strip on the bezel, where one is watched: further from the calibration's no picture is measured.
/// What is nearer is the calibration's own matter.
const STRIP_STOPS_MAX: f64 = 1.0;
/// The probability of glasses from which on they are named.
const GLASSES_MIN: f64 = 0.9;
/// Clipped pixels on the skin in percent: (warn above, reject above).
const CLIPPED_PCT: (f64, f64) = (2.5, 5.0);
/// A region with a smaller share of bare skin is named as covered and not measured.
const BARE_SHARE: f64 = 0.5;
/// A face of which nose or a cheek shows a smaller share of bare skin is refused.
const COVERED_SHARE: f64 = 0.3;
/// The share of an eye, the mouth or a region that something may hide: a hand has the colour of skin and is bare skin to
/// the maps. Bare faces of the evaluation have 0.11 at most, faces with glasses 0.48 (then the nose is not judged).
const HIDDEN_SHARE_MAX: (f64, f64) = (0.25, 0.5);
/// Light on the brighter cheek over light on the other: (warn above, reject above).
const LIGHT_RATIO: (f64, f64) = (1.6, 1.75);
/// Less chroma than this on the skin, C*ab, is a grey picture.
const CHROMA_MIN: f64 = 6.0;
/// Of what is skin and not clipped, a smaller share with light in all three colours is a lamp's or a camera's fault.
const COLOURED_SHARE_MIN: f64 = 0.3;
/// More chroma than skin has under white light, C*ab: (warn above, reject above). In-vivo means are below
/// 27 in all groups, and lowest for the darkest skin.
const CHROMA_OF_SKIN: (f64, f64) = (36.0, 42.0);
/// Hues of skin under white light with room for a camera's own taste: outside is a cast.
const HUE_OF_SKIN_DEG: (f64, f64) = (15.0, 85.0);

/// What the gate measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Capture {
    pub(crate) face_px: Option<f64>,
    pub(crate) px_per_mm: Option<f64>,
    pub(crate) yaw_deg: Option<f64>,
    pub(crate) pitch_deg: Option<f64>,
    pub(crate) roll_deg: Option<f64>,
    pub(crate) blur_pct: Option<f64>,
    pub(crate) noise_db: Option<f64>,
    /// Standard deviation of the noise on the skin, in steps of a byte.
    pub(crate) noise: Option<f64>,
    pub(crate) clipped_pct: Option<f64>,
    pub(crate) light_ratio: Option<f64>,
    /// The largest share of an eye, the mouth or a region that something hides.
    pub(crate) hidden: Option<f64>,
    /// The probability of glasses.
    pub(crate) glasses: Option<f64>,
    /// Regions of which too little bare skin is seen.
    pub(crate) covered: Vec<RegionId>,
    pub(crate) problems: Vec<Problem>,
}

impl Capture {
    pub(crate) fn is_ok(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity != Severity::Reject)
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.problems.iter().any(|problem| problem.id == id)
    }
}

/// Judges a picture by its faces and the main face's regions.
pub(crate) fn judge(grey: &Grey, faces: &[Face], regions: &[Region]) -> Capture {
    let mut capture = Capture {
        face_px: None,
        px_per_mm: None,
        yaw_deg: None,
        pitch_deg: None,
        roll_deg: None,
        blur_pct: None,
        noise_db: None,
        noise: None,
        clipped_pct: None,
        light_ratio: None,
        hidden: None,
        glasses: None,
        covered: Vec::new(),
        problems: Vec::new(),
    };
    let Some(face) = faces.first() else {
        capture.problems.push(reject("no_face", 0.0, 1.0, "look_at_the_camera"));
        // In the dark nobody is seen, however he looks.
        below(&mut capture, brightest(grey), BRIGHTEST, "too_dark", "more_light_on_the_face");
        return capture;
    };
    let others =
        faces[1..].iter().filter(|other| SECOND_FACE_SHARE * face.bounds.width <= other.bounds.width).count();
    if others != 0 {
        let found = f64::from(u32::try_from(others + 1).unwrap_or(u32::MAX));
        capture.problems.push(reject("more_than_one_face", found, 1.0, "one_person_at_a_time"));
    }
    let face_px = face.bounds.width;
    let points = &face.landmarks;
    capture.face_px = Some(face_px);
    let share = points.eye_distance() / face_px;
    let fits = EYES_OF_FACE.0 <= share && share <= EYES_OF_FACE.1 && is_upright(points);
    let Some(turn) = face.turn.filter(|_| fits && !regions.is_empty()) else {
        // Box and landmarks disagree: something covers the face, or it is none.
        capture.problems.push(reject(
            "face_unclear",
            hundredths(share),
            EYES_OF_FACE.0,
            "look_at_the_camera",
        ));
        return capture;
    };
    capture.px_per_mm = Some(points.eye_distance() / 63.0);
    below(&mut capture, face_px, FACE_PX, "face_too_small", "come_closer");
    if is_cut_off(grey, regions) {
        capture.problems.push(reject("face_cut_off", 1.0, 0.0, "move_to_the_middle"));
    }
    let HeadTurn { yaw_deg: yaw, pitch_deg: pitch, roll_deg: roll } = turn;
    (capture.yaw_deg, capture.pitch_deg, capture.roll_deg) = (Some(yaw), Some(pitch), Some(roll));
    above(&mut capture, roll.abs(), ROLL_DEG, "head_tilted", "hold_your_head_straight");
    above(&mut capture, yaw.abs(), YAW_DEG, "head_turned", "look_straight_ahead");
    above(&mut capture, pitch.abs(), PITCH_DEG, "head_raised_or_lowered", "look_straight_ahead");
    if let Some(blur) = blur_pct(grey, points) {
        capture.blur_pct = Some(blur);
        above(&mut capture, blur, BLUR_PCT, "not_sharp", "hold_still");
    }
    judge_cover(face, regions, &mut capture);
    below(&mut capture, brightest(grey), BRIGHTEST, "too_dark", "more_light_on_the_face");
    judge_skin(grey, regions, &mut capture);
    capture
}

/// Judges the exposure by the strip on the bezel, which knows nothing of the skin.
pub(crate) fn judge_strip(capture: &mut Capture, stops: f64) {
    let (id, advice, limit) = if stops < 0.0 {
        ("too_dark", "more_light_on_the_face", -STRIP_STOPS_MAX)
    } else {
        ("over_exposed", "less_light_on_the_face", STRIP_STOPS_MAX)
    };
    if STRIP_STOPS_MAX < stops.abs() {
        capture.problems.retain(|problem| problem.id != id);
        capture.problems.push(reject(id, hundredths(stops), limit, advice));
    }
}

/// Whether something stands before the face: a mask, a hand, hair. Glasses and a beard leave enough of it.
fn judge_cover(face: &Face, regions: &[Region], capture: &mut Capture) {
    let share = |region: &Region| region.skin as f64 / region.pixels.max(1) as f64;
    capture.covered =
        regions.iter().filter(|region| share(region) < BARE_SHARE).map(|region| region.outline.id).collect();
    let bare = |id: RegionId| regions.iter().find(|region| region.outline.id == id).map_or(0.0, share);
    let mut least =
        [RegionId::CheekL, RegionId::CheekR, RegionId::Nose].map(bare).into_iter().fold(1.0, f64::min);
    // Glasses cover both sides alike; a hand or a patch covers one.
    let (left, right) = (bare(RegionId::UnderEyeL), bare(RegionId::UnderEyeR));
    if BARE_SHARE < left.max(right) {
        least = least.min(left.min(right));
    }
    if least < COVERED_SHARE {
        capture.problems.push(reject("face_covered", hundredths(least), COVERED_SHARE, "uncover_your_face"));
    }
    let Some(cover) = &face.cover else { return };
    capture.glasses = Some(cover.glasses);
    if GLASSES_MIN < cover.glasses {
        capture.problems.push(Problem {
            id: "glasses",
            severity: Severity::Warn,
            value: hundredths(cover.glasses),
            limit: GLASSES_MIN,
            advice: "take_off_your_glasses",
        });
    }
    // Glasses throw shadows and highlights on a nose that look like something before it.
    let wears_glasses = GLASSES_MIN < cover.glasses;
    let limit = if wears_glasses { HIDDEN_SHARE_MAX.1 } else { HIDDEN_SHARE_MAX.0 };
    let features = features(&face.landmarks);
    let judged = regions.iter().filter(|region| !(wears_glasses && region.outline.id == RegionId::Nose));
    let parts = judged.map(|region| &region.outline.polygon).chain(&features);
    let most = parts.map(|part| cover.share(part)).fold(0.0, f64::max);
    capture.hidden = Some(most);
    if limit < most && !capture.has("face_covered") {
        capture.problems.push(reject("face_covered", hundredths(most), limit, "uncover_your_face"));
    }
}

fn brightest(grey: &Grey) -> f64 {
    let mut counts = [0_usize; 256];
    for luma in grey.luma() {
        counts[usize::from(*luma)] += 1;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the pixels")]
    let mut above = ((1.0 - BRIGHTEST_SHARE) * grey.luma().len() as f64) as usize;
    for (luma, count) in counts.iter().enumerate().rev() {
        if above < *count {
            return luma as f64;
        }
        above -= count;
    }
    0.0
}

/// The checks that look at the skin itself.
fn judge_skin(grey: &Grey, regions: &[Region], capture: &mut Capture) {
    let pixels: usize = regions.iter().map(|region| region.pixels).sum();
    if pixels == 0 {
        return;
    }
    let clipped: usize = regions.iter().map(|region| region.clipped).sum();
    let clipped_pct = 100.0 * clipped as f64 / pixels as f64;
    capture.clipped_pct = Some(clipped_pct);
    above(capture, clipped_pct, CLIPPED_PCT, "over_exposed", "less_light_on_the_face");
    if let Some((light, noise)) = light_and_noise(grey, regions) {
        let db = 20.0 * (light / noise).log10();
        (capture.noise_db, capture.noise) = (Some(db), Some(noise));
        below(capture, db, NOISE_DB, "too_dark_or_noisy", "more_light_on_the_face");
    }
    judge_colour(regions, capture);
    let light = |id| {
        let region = regions.iter().find(|region| region.outline.id == id)?;
        Some(region.median(|s| s.luminance)).filter(|light| *light > 0.0)
    };
    if let (Some(left), Some(right)) = (light(RegionId::CheekL), light(RegionId::CheekR)) {
        let ratio = left / right;
        capture.light_ratio = Some(ratio);
        above(capture, ratio.max(1.0 / ratio), LIGHT_RATIO, "uneven_light", "face_the_light");
    }
}

/// Grey pictures, and colours that no skin has, light or dark: those come from the lamp or the camera.
fn judge_colour(regions: &[Region], capture: &mut Capture) {
    let sum = |count: fn(&Region) -> usize| regions.iter().map(count).sum::<usize>();
    let seen = sum(|region| region.skin) - sum(|region| region.clipped);
    let share = sum(|region| region.samples.len() + region.shining) as f64 / seen.max(1) as f64;
    if 0 < seen && share < COLOURED_SHARE_MIN && !capture.has("too_dark") {
        let problem = reject("colour_cast", hundredths(share), COLOURED_SHARE_MIN, "white_light_on_the_face");
        capture.problems.push(problem);
        return;
    }
    // A region of nothing but clipped or black pixels has no colour; other checks refuse it.
    let regions: Vec<&Region> = regions.iter().filter(|region| !region.samples.is_empty()).collect();
    if regions.is_empty() {
        return;
    }
    let chroma = quantile(regions.iter().map(|r| r.median(|s| s.lab.chroma())).collect(), 1.0);
    if chroma < CHROMA_MIN {
        capture.problems.push(reject("no_colour", hundredths(chroma), CHROMA_MIN, "use_a_colour_camera"));
        return;
    }
    above(capture, chroma, CHROMA_OF_SKIN, "colour_cast", "white_light_on_the_face");
    let middle = |value: fn(&Sample) -> f64| quantile(regions.iter().map(|r| r.median(value)).collect(), 0.5);
    let hue = middle(|s| s.lab.b).atan2(middle(|s| s.lab.a)).to_degrees();
    let (least, most) = HUE_OF_SKIN_DEG;
    if !(least..=most).contains(&hue) && !capture.has("colour_cast") {
        capture.problems.push(Problem {
            id: "colour_cast",
            severity: Severity::Warn,
            value: hundredths(hue),
            limit: if hue < least { least } else { most },
            advice: "white_light_on_the_face",
        });
    }
}

fn reject(id: &'static str, value: f64, limit: f64, advice: &'static str) -> Problem {
    Problem { id, severity: Severity::Reject, value, limit, advice }
}

fn above(capture: &mut Capture, value: f64, limits: (f64, f64), id: &'static str, advice: &'static str) {
    let (warn, reject) = limits;
    let (severity, limit) = match value {
        value if reject < value => (Severity::Reject, reject),
        value if warn < value => (Severity::Warn, warn),
        _ => return,
    };
    capture.problems.push(Problem { id, severity, value: hundredths(value), limit, advice });
}

fn below(capture: &mut Capture, value: f64, limits: (f64, f64), id: &'static str, advice: &'static str) {
    let (warn, reject) = limits;
    let (severity, limit) = match value {
        value if value < reject => (Severity::Reject, reject),
        value if value < warn => (Severity::Warn, warn),
        _ => return,
    };
    capture.problems.push(Problem { id, severity, value: hundredths(value), limit, advice });
}

/// Whether the mouth lies below the eyes, and left is left.
fn is_upright(points: &FivePoints) -> bool {
    let across = (points.eye_right.x - points.eye_left.x, points.eye_right.y - points.eye_left.y);
    let is_below =
        |p: Point| 0.0 < across.0 * (p.y - points.eye_left.y) - across.1 * (p.x - points.eye_left.x);
    is_below(points.mouth_left)
        && is_below(points.mouth_right)
        && points.eye_left.distance(points.mouth_left) < points.eye_left.distance(points.mouth_right)
}

/// Whether a region reaches over the picture's edge.
fn is_cut_off(grey: &Grey, regions: &[Region]) -> bool {
    let (right, bottom) = (f64::from(grey.width()) - 0.5, f64::from(grey.height()) - 0.5);
    regions
        .iter()
        .flat_map(|region| &region.outline.polygon)
        .any(|p| p.x < -0.5 || p.y < -0.5 || right < p.x || bottom < p.y)
}

/// How wide the sharpest edges around the eyes are (lids, lashes, brows: every face has them), as the
/// sigma of a Gaussian blur in percent of the distance of the eyes. `None` where there is no contrast.
fn blur_pct(grey: &Grey, points: &FivePoints) -> Option<f64> {
    let distance = points.eye_distance();
    let mut gradients = Vec::new();
    let mut lumas = Vec::new();
    for eye in [points.eye_left, points.eye_right] {
        each_pixel_around(grey, eye, 0.3 * distance, |at, width, luma| {
            let value = |at: usize| f64::from(luma[at]);
            let (gx, gy) = (value(at + 1) - value(at - 1), value(at + width) - value(at - width));
            gradients.push(gx.hypot(gy) / 2.0);
            lumas.push(value(at));
        });
    }
    let contrast = quantile(lumas.clone(), 0.99) - quantile(lumas, 0.01);
    let steepest = quantile(gradients, 0.99);
    if !(contrast > 8.0 && steepest > 0.0) {
        return None;
    }
    // A step of this contrast, blurred by sigma, has the slope contrast / (sigma * sqrt(2 pi)).
    let sigma = contrast / (steepest * (2.0 * std::f64::consts::PI).sqrt());
    Some(100.0 * sigma / distance)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the picture's size before the cast"
)]
fn each_pixel_around(grey: &Grey, centre: Point, radius: f64, mut visit: impl FnMut(usize, usize, &[u8])) {
    let range = |centre: f64, size: u32| {
        let last = f64::from(size.saturating_sub(1));
        (
            (centre - radius).clamp(1.0, last.max(1.0)) as usize,
            (centre + radius).clamp(1.0, last.max(1.0)) as usize,
        )
    };
    let width = grey.width() as usize;
    let ((left, right), (top, bottom)) = (range(centre.x, grey.width()), range(centre.y, grey.height()));
    if grey.width() < 3 || grey.height() < 3 {
        return;
    }
    for y in top..bottom {
        for x in left..right {
            visit(y * width + x, width, grey.luma());
        }
    }
}

/// Light on the skin and the standard deviation of its noise, in steps of a byte. The noise is the median response to a
/// mask that ignores slopes and curves (Immerkaer 1996, with the median in place of the mean so that hairs and spots do
/// not count).
fn light_and_noise(grey: &Grey, regions: &[Region]) -> Option<(f64, f64)> {
    let width = grey.width() as usize;
    let luma = grey.luma();
    let (mut responses, mut lumas) = (Vec::new(), Vec::new());
    for region in regions {
        let polygon = &region.outline.polygon;
        crate::geometry::for_each_pixel_inside(polygon, grey.width(), grey.height(), |x, y| {
            if x == 0 || y == 0 || x + 1 == grey.width() || y + 1 == grey.height() {
                return;
            }
            let at = y as usize * width + x as usize;
            let value = |at: usize| f64::from(luma[at]);
            let corners =
                value(at - width - 1) + value(at - width + 1) + value(at + width - 1) + value(at + width + 1);
            let sides = value(at - width) + value(at - 1) + value(at + 1) + value(at + width);
            responses.push((corners - 2.0 * sides + 4.0 * value(at)).abs());
            lumas.push(value(at));
        });
    }
    if lumas.len() < 100 {
        return None;
    }
    // The mask multiplies white noise by 6; the median of |x| is 0.6745 sigma. Rounding to bytes alone
    // has a sigma of 0.29, and nothing can be claimed below it.
    let sigma = (quantile(responses, 0.5) / 6.0 / 0.6745).max(0.29);
    Some((quantile(lumas, 0.5).max(1.0), sigma))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_limit_that_it_broke() {
        let mut capture = judge_nothing();
        below(&mut capture, 650.0, FACE_PX, "face_too_small", "come_closer");
        below(&mut capture, 450.0, FACE_PX, "face_too_small", "come_closer");
        below(&mut capture, 750.0, FACE_PX, "face_too_small", "come_closer");
        let found: Vec<_> = capture.problems.iter().map(|p| (p.severity, p.limit)).collect();
        assert_eq!(found, [(Severity::Warn, 700.0), (Severity::Reject, 500.0)]);
        assert!(!capture.is_ok());
    }

    #[test]
    fn a_strip_more_than_a_stop_off_refuses_whatever_the_skin() {
        let judged = |stops| {
            let mut capture = judge_nothing();
            judge_strip(&mut capture, stops);
            capture.problems.iter().map(|problem| (problem.id, problem.limit)).collect::<Vec<_>>()
        };
        assert_eq!(judged(-0.9), []);
        assert_eq!(judged(1.0), []);
        assert_eq!(judged(-1.2), [("too_dark", -1.0)]);
        assert_eq!(judged(1.2), [("over_exposed", 1.0)]);
    }

    fn judge_nothing() -> Capture {
        let grey = crate::picture::Picture::from_rgb(4, 4, vec![9; 48]).unwrap().to_grey();
        let capture = judge(&grey, &[], &[]);
        assert_eq!(capture.problems[0].id, "no_face");
        Capture { problems: Vec::new(), ..capture }
    }
}
