//! Which parts of a face are measured: polygons fixed to the landmarks, and the pixels inside them.
//!
//! A region is given in a face's own frame (unit: distance between the eyes, origin between them, `y`
//! towards the mouth) and carried to the picture by three landmarks near it, so that it follows a turned
//! head. Clipped and shining pixels are counted and left out.

use crate::{
    geometry::{Affine, Point, doubled_area, for_each_pixel_inside},
    landmarks::FivePoints,
    picture::Picture,
    skin::{
        colour::{self, Decoding, Lab},
        statistics::median,
    },
};

/// A part of the face that is measured; left and right as seen in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionId {
    /// Between the brows and the hair.
    Forehead,
    /// Between the brows.
    Glabella,
    /// Its bridge and its tip.
    Nose,
    /// Directly below the lower lid.
    UnderEyeL,
    /// Directly below the lower lid.
    UnderEyeR,
    /// Below the eye, beside the nose.
    CheekL,
    /// Below the eye, beside the nose.
    CheekR,
    /// Below the lower lip.
    Chin,
}

impl RegionId {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forehead => "forehead",
            Self::Glabella => "glabella",
            Self::Nose => "nose",
            Self::UnderEyeL => "under_eye_l",
            Self::UnderEyeR => "under_eye_r",
            Self::CheekL => "cheek_l",
            Self::CheekR => "cheek_r",
            Self::Chin => "chin",
        }
    }

    /// Whether it is one of the cheeks, where tone is measured.
    #[must_use]
    pub const fn is_cheek(self) -> bool {
        matches!(self, Self::CheekL | Self::CheekR)
    }

    /// Whether it lies directly below a lower lid.
    #[must_use]
    pub const fn is_under_eye(self) -> bool {
        matches!(self, Self::UnderEyeL | Self::UnderEyeR)
    }
}

/// A region's outline in the picture, for drawing. Kept in memory only, never part of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionOutline {
    /// Which region.
    pub id: RegionId,
    /// Its corners in order.
    pub polygon: Vec<Point>,
}

/// Where the landmarks of a frontal face lie in its own frame: the mean of the rendered faces from which
/// the network learnt them (nose tip 32.5 mm and mouth 65 mm below the pupils, mouth 50 mm wide, pupils
/// 62.6 mm apart).
const EYE: Point = Point::new(0.5, 0.0);
const NOSE_TIP: Point = Point::new(0.0, 0.52);
const MOUTH: Point = Point::new(0.40, 1.04);
const MOUTH_MIDDLE: Point = Point::new(0.0, 1.04);

/// The cheek on the right: clear of the lower lid, the wing of the nose, its fold, and the jaw.
const CHEEK: [(f64, f64); 6] =
    [(0.38, 0.40), (0.58, 0.36), (0.76, 0.42), (0.74, 0.66), (0.60, 0.80), (0.42, 0.70)];
/// The forehead: clear of the brows; its upper edge stays below most hair lines.
const FOREHEAD: [(f64, f64); 6] =
    [(-0.38, -0.46), (-0.30, -0.74), (0.0, -0.80), (0.30, -0.74), (0.38, -0.46), (0.0, -0.42)];

/// Between the brows, above the bridge of the nose.
const GLABELLA: [(f64, f64); 4] = [(-0.13, -0.38), (0.13, -0.38), (0.11, -0.10), (-0.11, -0.10)];
/// From the bridge to the tip, clear of the nostrils.
const NOSE: [(f64, f64); 6] =
    [(-0.08, 0.08), (0.08, 0.08), (0.13, 0.40), (0.10, 0.56), (-0.10, 0.56), (-0.13, 0.40)];
/// Below the lower lid on the right: clear of the lashes, above the cheek.
const UNDER_EYE: [(f64, f64); 6] =
    [(0.30, 0.16), (0.50, 0.19), (0.68, 0.15), (0.66, 0.26), (0.50, 0.31), (0.33, 0.28)];
/// Below the lower lip, above the edge of the jaw.
const CHIN: [(f64, f64); 6] =
    [(-0.20, 1.34), (0.0, 1.38), (0.20, 1.34), (0.18, 1.54), (0.0, 1.60), (-0.18, 1.54)];
/// The eye on the right with its lids.
const EYE_AROUND: [(f64, f64); 6] =
    [(0.26, 0.0), (0.36, -0.16), (0.64, -0.16), (0.74, 0.0), (0.64, 0.12), (0.36, 0.12)];
/// The lips.
const LIPS: [(f64, f64); 6] =
    [(-0.38, 1.04), (-0.2, 0.94), (0.2, 0.94), (0.38, 1.04), (0.2, 1.2), (-0.2, 1.2)];

/// Any channel at or above this is clipped.
pub(crate) const CLIPPED_FROM: u8 = 250;
/// Any channel below this has too little light for a logarithm.
const DARK_BELOW: u8 = 3;
/// Shine: this much lighter than the region's median and this much less colourful.
const SHINE_LIGHTER: f64 = 8.0;
const SHINE_PALER: f64 = 3.0;
/// The side of the blocks that the bootstrap draws, in pixels: neighbours are not independent.
const BLOCK_SIDE: u32 = 16;

/// One pixel that counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) lab: Lab,
    pub(crate) luminance: f64,
    /// Which block of the picture it is from.
    pub(crate) block: (u32, u32),
}

/// A region's pixels.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub(crate) outline: RegionOutline,
    /// Pixels inside the outline.
    pub(crate) pixels: usize,
    /// Of these, bare skin.
    pub(crate) skin: usize,
    /// Of these, clipped ones.
    pub(crate) clipped: usize,
    /// Of these, shining ones.
    pub(crate) shining: usize,
    /// The rest, in reading order.
    pub(crate) samples: Vec<Sample>,
}

impl Region {
    pub(crate) fn median(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value).collect())
    }
}

/// The maps from a face's own frame to the picture near its right and left side, its middle and its nose.
struct Maps {
    right: Affine,
    left: Affine,
    middle: Affine,
    nose: Affine,
}

impl Maps {
    /// `None` when the landmarks lie on a line.
    fn of(points: &FivePoints) -> Option<Self> {
        let mirrored = |p: Point| Point::new(-p.x, p.y);
        let eyes = [points.eye_left, points.eye_right];
        let mouth = points.mouth_left.middle(points.mouth_right);
        Some(Self {
            right: Affine::from_three(
                [EYE, NOSE_TIP, MOUTH],
                [points.eye_right, points.nose_tip, points.mouth_right],
            )?,
            left: Affine::from_three(
                [mirrored(EYE), NOSE_TIP, mirrored(MOUTH)],
                [points.eye_left, points.nose_tip, points.mouth_left],
            )?,
            middle: Affine::from_three([mirrored(EYE), EYE, MOUTH_MIDDLE], [eyes[0], eyes[1], mouth])?,
            nose: Affine::from_three([mirrored(EYE), EYE, NOSE_TIP], [eyes[0], eyes[1], points.nose_tip])?,
        })
    }
}

fn carried(map: Affine, corners: &[(f64, f64)], sign: f64) -> Vec<Point> {
    corners.iter().map(|(x, y)| map.apply(Point::new(sign * x, *y))).collect()
}

/// The eyes and the mouth: not measured, and still to be seen.
pub(crate) fn features(points: &FivePoints) -> Vec<Vec<Point>> {
    let Some(Maps { right, left, middle, .. }) = Maps::of(points) else { return Vec::new() };
    vec![carried(left, &EYE_AROUND, -1.0), carried(right, &EYE_AROUND, 1.0), carried(middle, &LIPS, 1.0)]
}

/// The outlines of all regions; empty when the landmarks lie on a line.
pub(crate) fn outlines(points: &FivePoints) -> Vec<RegionOutline> {
    let Some(Maps { right, left, middle, nose }) = Maps::of(points) else { return Vec::new() };
    let outline = |id, map: Affine, corners: &[(f64, f64)], sign: f64| RegionOutline {
        id,
        polygon: carried(map, corners, sign),
    };
    let outlines = vec![
        outline(RegionId::Forehead, middle, &FOREHEAD, 1.0),
        outline(RegionId::Glabella, middle, &GLABELLA, 1.0),
        outline(RegionId::Nose, nose, &NOSE, 1.0),
        outline(RegionId::UnderEyeL, left, &UNDER_EYE, -1.0),
        outline(RegionId::UnderEyeR, right, &UNDER_EYE, 1.0),
        outline(RegionId::CheekL, left, &CHEEK, -1.0),
        outline(RegionId::CheekR, right, &CHEEK, 1.0),
        outline(RegionId::Chin, middle, &CHIN, 1.0),
    ];
    let is_flat = |outline: &RegionOutline| doubled_area(&outline.polygon).abs() < 2.0;
    if outlines.iter().any(is_flat) { Vec::new() } else { outlines }
}

/// The pixels of one region: those where `is_skin` says that bare skin is.
pub(crate) fn measure(
    picture: &Picture,
    decoding: &Decoding,
    outline: RegionOutline,
    is_skin: impl Fn(Point) -> bool,
) -> Region {
    measure_some(picture, decoding, outline, f64::INFINITY, is_skin)
}

/// As [`measure`], of about so many pixels of a regular grid.
pub(crate) fn measure_some(
    picture: &Picture,
    decoding: &Decoding,
    outline: RegionOutline,
    pixels_about: f64,
    is_skin: impl Fn(Point) -> bool,
) -> Region {
    let area = 0.5 * doubled_area(&outline.polygon).abs();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a side of a picture at most"
    )]
    let step = (area / pixels_about).sqrt().clamp(1.0, 1e4) as u32;
    let (mut pixels, mut skin) = (0, 0);
    let mut clipped = 0;
    let mut samples = Vec::new();
    for_each_pixel_inside(&outline.polygon, picture.width(), picture.height(), |x, y| {
        if !(x.is_multiple_of(step) && y.is_multiple_of(step)) {
            return;
        }
        pixels += 1;
        if !is_skin(Point::new(f64::from(x), f64::from(y))) {
            return;
        }
        skin += 1;
        let rgb = picture.pixel(x, y);
        if rgb.iter().any(|channel| CLIPPED_FROM <= *channel) {
            clipped += 1;
            return;
        }
        if rgb.iter().any(|channel| *channel < DARK_BELOW) {
            return;
        }
        let linear = decoding.linear(rgb);
        samples.push(Sample {
            lab: colour::lab(linear),
            luminance: colour::luminance(linear),
            block: (x / BLOCK_SIDE, y / BLOCK_SIDE),
        });
    });
    let before = samples.len();
    let lightness = median(samples.iter().map(|s| s.lab.l).collect());
    let chroma = median(samples.iter().map(|s| s.lab.chroma()).collect());
    samples.retain(|s| s.lab.l <= lightness + SHINE_LIGHTER || chroma - SHINE_PALER <= s.lab.chroma());
    Region { outline, pixels, skin, clipped, shining: before - samples.len(), samples }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn frontal() -> FivePoints {
        FivePoints {
            eye_left: Point::new(150.0, 200.0),
            eye_right: Point::new(250.0, 200.0),
            nose_tip: Point::new(200.0, 262.0),
            mouth_left: Point::new(160.0, 308.0),
            mouth_right: Point::new(240.0, 308.0),
        }
    }

    #[test]
    fn regions_lie_where_their_names_say_and_follow_the_head() {
        let centre = |outline: &RegionOutline| {
            let n = outline.polygon.len() as f64;
            let (x, y) = outline.polygon.iter().fold((0.0, 0.0), |(x, y), p| (x + p.x, y + p.y));
            Point::new(x / n, y / n)
        };
        let [forehead, glabella, nose, under_left, under_right, left, right, chin] =
            outlines(&frontal()).try_into().unwrap();
        assert!(centre(&forehead).y < 150.0 && (centre(&forehead).x - 200.0).abs() < 1.0);
        assert!(centre(&left).x < 150.0 && centre(&right).x > 250.0);
        assert!((200.0..308.0).contains(&centre(&left).y));
        assert!((150.0..200.0).contains(&centre(&glabella).y) && (200.0..270.0).contains(&centre(&nose).y));
        assert!(centre(&under_left).y < centre(&left).y && centre(&under_right).x > 220.0);
        assert!(centre(&chin).y > 308.0);
        // Upside down, everything goes along.
        let turned = |p: Point| Point::new(400.0 - p.x, 400.0 - p.y);
        let f = frontal();
        let points = FivePoints {
            eye_left: turned(f.eye_left),
            eye_right: turned(f.eye_right),
            nose_tip: turned(f.nose_tip),
            mouth_left: turned(f.mouth_left),
            mouth_right: turned(f.mouth_right),
        };
        for (upright, other) in outlines(&f).iter().zip(outlines(&points)) {
            assert!(turned(centre(upright)).distance(centre(&other)) < 1e-6);
        }
    }

    #[test]
    fn landmarks_on_a_line_give_no_region() {
        let p = Point::new(1.0, 1.0);
        let points = FivePoints { eye_left: p, eye_right: p, nose_tip: p, mouth_left: p, mouth_right: p };
        assert!(outlines(&points).is_empty());
    }

    #[test]
    fn clipped_and_shining_pixels_are_counted_and_left_out() {
        let skin = [190, 140, 115];
        let rgb = (0..100_u32)
            .flat_map(|y| {
                (0..100_u32).flat_map(move |_| match y {
                    0..10 => [255, 250, 240],
                    10..20 => [235, 225, 220],
                    _ => skin,
                })
            })
            .collect();
        let picture = Picture::from_rgb(100, 100, rgb).unwrap();
        let corners = [(-0.5, -0.5), (99.5, -0.5), (99.5, 99.5), (-0.5, 99.5)];
        let outline = RegionOutline {
            id: RegionId::Forehead,
            polygon: corners.map(|(x, y)| Point::new(x, y)).to_vec(),
        };
        let region = measure(&picture, &Decoding::Srgb, outline, |_| true);
        assert_eq!((region.pixels, region.clipped, region.shining), (10_000, 1_000, 1_000));
        assert_eq!(region.samples.len(), 8_000);
        let expected = colour::lab(colour::linear(skin));
        assert!((region.median(|s| s.lab.l) - expected.l).abs() < 1e-9);
    }
}
