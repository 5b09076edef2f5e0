//! Lip colour on a picture: where the lips are, and how they look in another shade.
//!
//! Owns the mask and the blending; knows no product. Both are functions of the picture and the face's points.
//!
//! # Where
//!
//! Four landmarks (the corners, the middle of the upper edge and of the lower one) give a shape whose edge is soft. The
//! landmarks are off by some percent of the distance between the eyes, so the picture decides inside a wider shape: a
//! pixel counts as far as its chroma lies on the way from that of the skin around the mouth to that of the lips' middle.
//! Chroma is `(lg R/G, lg B/G)` of linear light, which shading does not change: on light skin lips are redder, on dark
//! skin they are less yellow. Teeth are lighter than lips, a gap between them is darker: both stay as they are.
//!
//! # How
//!
//! A lip is taken for a matte surface: linear light is its own colour times the light that falls on it (Barrow and
//! Tenenbaum, "Recovering intrinsic scene characteristics from images", 1978). With `Y` the luminance of a pixel and
//! `Y0` the median over the lips, `s = Y / Y0` is that light, and
//!
//! `out = (1 - a·m)·in + a·m·(shade · min(s, s_max) + max(0, Y - s_max·Y0))`
//!
//! in linear sRGB (IEC 61966-2-1), where `m` is the mask and `a` the shade's cover; the last term keeps highlights
//! white. The mixture is the "over" of Porter and Duff, "Compositing digital images", 1984.

use crate::{
    geometry::Point,
    landmarks::Face,
    picture::Picture,
    skin::{
        colour::{linear, luminance},
        statistics::median,
    },
};

/// A shade of lip colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shade {
    /// Its colour in daylight, as sRGB.
    pub rgb: [u8; 3],
    /// How much of the lip it covers, 0 to 1.
    pub cover: f64,
}

/// Why no lips were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LipError {
    /// The network does not know the edge of the lips.
    #[error("the landmark network has no points `lip_top` and `lip_bottom`")]
    Points,
    /// The mouth is smaller than [`WIDTH_MIN`], outside the picture, or not where a mouth is.
    #[error("the mouth is too small or not in the picture")]
    Mouth,
    /// Nothing in the mouth's place is redder than the skin: a hand, a mask, a beard.
    #[error("the lips do not stand out from the skin")]
    Hidden,
}

/// Mouths that are narrower, in pixels, have no edge that could be drawn well.
pub const WIDTH_MIN: f64 = 24.0;
/// The shape in which the picture decides, against the one of the landmarks.
const WIDER: f64 = 1.22;
/// Skin is looked at outside this multiple of the shape, up to [`SKIN_TO`].
const SKIN_FROM: f64 = 1.45;
const SKIN_TO: f64 = 1.95;
/// Lips differ from skin by at least this much in hundredths of a decade of chroma; less is noise.
const CONTRAST_MIN: f64 = 2.0;
/// On the way from the skin's chroma to the lips': nothing below, everything above.
const ON_THE_WAY: (f64, f64) = (0.30, 0.75);
/// Luminance against the lips' median: a gap between the lips is darker than the first, teeth and shine lighter than
/// the last.
const DARK: (f64, f64) = (0.12, 0.30);
const BRIGHT: (f64, f64) = (2.6, 3.6);
/// Light beyond this multiple of the median is shine.
const SHINE_FROM: f64 = 1.7;

/// How much of each pixel is lip, for a part of a picture.
#[derive(Clone)]
pub struct LipMask {
    left: u32,
    top: u32,
    width: usize,
    share: Vec<f32>,
    luminance: f64,
}

/// The size alone: a mask is a part of a face.
impl std::fmt::Debug for LipMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LipMask({} x {})", self.width, self.share.len() / self.width.max(1))
    }
}

/// The mouth's own frame: the corners at (-1, 0) and (1, 0), `v` downwards in the same unit.
struct Mouth {
    middle: Point,
    half: f64,
    along: (f64, f64),
    /// Where the middle between the upper and the lower edge is, and how far each is from it: a mouth that smiles has
    /// both below its corners.
    centre: f64,
    height: f64,
}

impl Mouth {
    fn of(face: &Face, names: &[String]) -> Result<Self, LipError> {
        let point = |name: &str| {
            let at = names.iter().position(|found| found == name)?;
            face.points.get(at).copied()
        };
        let (Some(lip_top), Some(lip_bottom)) = (point("lip_top"), point("lip_bottom")) else {
            return Err(LipError::Points);
        };
        let (left, right) = (face.landmarks.mouth_left, face.landmarks.mouth_right);
        let half = left.distance(right) / 2.0;
        if !half.is_finite() || half < WIDTH_MIN / 2.0 {
            return Err(LipError::Mouth);
        }
        let along = ((right.x - left.x) / (2.0 * half), (right.y - left.y) / (2.0 * half));
        let mut mouth = Self { middle: left.middle(right), half, along, centre: 0.0, height: 0.0 };
        let (top, bottom) = (mouth.own(lip_top.x, lip_top.y).1, mouth.own(lip_bottom.x, lip_bottom.y).1);
        (mouth.centre, mouth.height) = (f64::midpoint(top, bottom), (bottom - top) / 2.0);
        // Lips are between a line and a wide open mouth, and near the line of their corners.
        if !(0.1..1.4).contains(&mouth.height) || 1.0 < mouth.centre.abs() {
            return Err(LipError::Mouth);
        }
        Ok(mouth)
    }

    fn own(&self, x: f64, y: f64) -> (f64, f64) {
        let (x, y) = ((x - self.middle.x) / self.half, (y - self.middle.y) / self.half);
        let (cos, sin) = self.along;
        (x * cos + y * sin, y * cos - x * sin)
    }

    /// Where a point lies against the edge: 0 in the middle, 1 on it.
    fn reach(&self, x: f64, y: f64) -> f64 {
        /// Between an ellipse and two straight lines: corners of mouths are pointed.
        const POINTED: f64 = 1.7;
        let (u, v) = self.own(x, y);
        let across = u.abs().powf(POINTED);
        let up = ((v - self.centre * (1.0 - across).max(0.0)) / self.height).abs().powf(POINTED);
        (across + up).powf(1.0 / POINTED)
    }
}

/// Chroma in hundredths of a decade.
type Chroma = [f64; 2];

struct Pixel {
    reach: f64,
    chroma: Chroma,
    light: f64,
}

fn median_of<'a>(pixels: impl Iterator<Item = &'a Pixel> + Clone, value: impl Fn(&Pixel) -> f64) -> f64 {
    median(pixels.map(value).collect())
}

fn chroma_of<'a>(pixels: impl Iterator<Item = &'a Pixel> + Clone) -> Chroma {
    [median_of(pixels.clone(), |pixel| pixel.chroma[0]), median_of(pixels, |pixel| pixel.chroma[1])]
}

fn from_to(from: Chroma, to: Chroma) -> Chroma {
    [to[0] - from[0], to[1] - from[1]]
}

/// Where the lips are.
///
/// # Errors
/// When there are none that could be coloured.
pub fn find(picture: &Picture, face: &Face, names: &[String]) -> Result<LipMask, LipError> {
    let mouth = Mouth::of(face, names)?;
    let (left, top, width, height) = surroundings(picture, &mouth)?;
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (left + small(x), top + small(y));
            let [red, green, blue] = linear(picture.pixel(x, y).map(|value| value.max(1)));
            pixels.push(Pixel {
                reach: mouth.reach(f64::from(x), f64::from(y)),
                chroma: [red, blue].map(|light| 100.0 * (light / green).log10()),
                light: luminance([red, green, blue]),
            });
        }
    }
    let skin = pixels.iter().filter(|pixel| (SKIN_FROM..SKIN_TO).contains(&pixel.reach));
    let core: Vec<&Pixel> = pixels.iter().filter(|pixel| pixel.reach < 0.8).collect();
    if skin.clone().count() < 16 || core.len() < 16 {
        return Err(LipError::Mouth);
    }
    let skin = chroma_of(skin);
    let usual = median_of(core.iter().copied(), |pixel| pixel.light);
    let distance = |pixel: &Pixel| {
        let [red, blue] = from_to(skin, pixel.chroma);
        red.hypot(blue)
    };
    // The half of the middle that differs most from skin, without teeth, gap and shine.
    let mut core: Vec<&Pixel> =
        core.into_iter().filter(|pixel| (0.3..2.0).contains(&(pixel.light / usual))).collect();
    core.sort_by(|one, other| distance(other).total_cmp(&distance(one)));
    core.truncate(core.len().div_ceil(2));
    let way = from_to(skin, chroma_of(core.iter().copied()));
    let light = median_of(core.iter().copied(), |pixel| pixel.light);
    let contrast = way[0].hypot(way[1]);
    if !contrast.is_finite() || contrast < CONTRAST_MIN || light <= 0.0 {
        return Err(LipError::Hidden);
    }
    let share: Vec<f32> = pixels
        .iter()
        .map(|pixel| {
            let place = 1.0 - smooth(pixel.reach, 1.0, WIDER);
            let gone = from_to(skin, pixel.chroma);
            let along = (gone[0] * way[0] + gone[1] * way[1]) / (contrast * contrast);
            let level = pixel.light / light;
            let lit = smooth(level, DARK.0, DARK.1) * (1.0 - smooth(level, BRIGHT.0, BRIGHT.1));
            #[expect(clippy::cast_possible_truncation, reason = "a share lies between 0 and 1")]
            let share = (place * smooth(along, ON_THE_WAY.0, ON_THE_WAY.1) * lit) as f32;
            share
        })
        .collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "half a mouth is a part of a picture, whose side is bounded"
    )]
    let radius = ((mouth.half * 0.035) as usize).max(1);
    let share = blurred(&blurred(&share, width, radius), width, radius);
    Ok(LipMask { left, top, width, share, luminance: light })
}

/// The part of the picture that is looked at: left, top, width, height.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the picture before the cast"
)]
fn surroundings(picture: &Picture, mouth: &Mouth) -> Result<(u32, u32, usize, usize), LipError> {
    let reach = SKIN_TO * mouth.half * (mouth.height + mouth.centre.abs()).max(1.0);
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let Point { x, y } = mouth.middle;
    if !(0.0..width).contains(&x) || !(0.0..height).contains(&y) {
        return Err(LipError::Mouth);
    }
    let low = |at: f64| (at - reach).max(0.0).floor() as u32;
    let high = |at: f64, size: f64| (at + reach).min(size - 1.0).ceil() as u32;
    let (left, top) = (low(x), low(y));
    Ok((left, top, (high(x, width) - left + 1) as usize, (high(y, height) - top + 1) as usize))
}

fn small(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn smooth(value: f64, from: f64, to: f64) -> f64 {
    let t = ((value - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The mean over a square, along rows and then along columns.
fn blurred(share: &[f32], width: usize, radius: usize) -> Vec<f32> {
    let height = share.len() / width;
    let mean = |len: usize, at: usize, value: &dyn Fn(usize) -> f32| {
        let (from, to) = (at.saturating_sub(radius), (at + radius + 1).min(len));
        #[expect(clippy::cast_precision_loss, reason = "a few pixels")]
        let count = (to - from) as f32;
        (from..to).map(value).sum::<f32>() / count
    };
    let mut rows = vec![0.0; share.len()];
    for y in 0..height {
        for x in 0..width {
            rows[y * width + x] = mean(width, x, &|x| share[y * width + x]);
        }
    }
    let mut out = vec![0.0; share.len()];
    for y in 0..height {
        for x in 0..width {
            out[y * width + x] = mean(height, y, &|y| rows[y * width + x]);
        }
    }
    out
}

impl LipMask {
    /// How much of a pixel is lip, 0 to 1.
    #[must_use]
    pub fn share(&self, x: u32, y: u32) -> f64 {
        let inside = |at: u32, from: u32| at.checked_sub(from).map(|at| at as usize);
        let (Some(x), Some(y)) = (inside(x, self.left), inside(y, self.top)) else { return 0.0 };
        if self.width <= x {
            return 0.0;
        }
        self.share.get(y * self.width + x).map_or(0.0, |share| f64::from(*share))
    }

    /// The picture with the lips in a shade. `picture` is the one in which they were found.
    #[must_use]
    pub fn colour(&self, picture: &Picture, shade: Shade) -> Picture {
        let mut rgb = picture.rgb().to_vec();
        let colour = linear(shade.rgb);
        let cover = shade.cover.clamp(0.0, 1.0);
        for (at, share) in self.share.iter().enumerate().filter(|(_, share)| 0.0 < **share) {
            let (x, y) = (self.left as usize + at % self.width, self.top as usize + at / self.width);
            let place = (y * picture.width() as usize + x) * 3;
            let Some(pixel) = rgb.get_mut(place..place + 3) else { continue };
            let before = linear([pixel[0], pixel[1], pixel[2]]);
            let after = blend(before, colour, cover * f64::from(*share), self.luminance);
            for (pixel, after) in pixel.iter_mut().zip(after) {
                *pixel = encode(after);
            }
        }
        Picture::from_rgb(picture.width(), picture.height(), rgb).expect("it has as many pixels as before")
    }
}

/// The formula of this module's head.
fn blend(before: [f64; 3], shade: [f64; 3], share: f64, lips: f64) -> [f64; 3] {
    let light = luminance(before);
    let shading = (light / lips).min(SHINE_FROM);
    let shine = (light - SHINE_FROM * lips).max(0.0);
    std::array::from_fn(|at| (1.0 - share) * before[at] + share * (shade[at] * shading + shine))
}

/// Linear light → sRGB byte.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn encode(light: f64) -> u8 {
    let light = light.clamp(0.0, 1.0);
    let encoded = if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
    (255.0 * encoded).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{face::FaceBox, landmarks::FivePoints};

    const SKIN: [u8; 3] = [205, 160, 138];
    const LIP: [u8; 3] = [176, 96, 92];
    const TOOTH: [u8; 3] = [235, 228, 214];

    fn names() -> Vec<String> {
        ["eye_left", "eye_right", "nose_tip", "mouth_left", "mouth_right", "lip_top", "lip_bottom"]
            .map(str::to_owned)
            .to_vec()
    }

    fn face() -> Face {
        let point = Point::new;
        let [eye_left, eye_right, nose_tip] = [point(70.0, 60.0), point(130.0, 60.0), point(100.0, 92.0)];
        let (mouth_left, mouth_right) = (point(70.0, 130.0), point(130.0, 130.0));
        Face {
            bounds: FaceBox { x: 40.0, y: 20.0, width: 120.0, height: 150.0, score: 9.0 },
            landmarks: FivePoints { eye_left, eye_right, nose_tip, mouth_left, mouth_right },
            points: vec![
                eye_left,
                eye_right,
                nose_tip,
                mouth_left,
                mouth_right,
                point(100.0, 120.0),
                point(100.0, 144.0),
            ],
            spread: vec![1.0; 7],
            unsure: 0.05,
            cover: None,
            turn: None,
        }
    }

    /// Skin with an ellipse of lips, in whose middle teeth show.
    fn portrait(lip: [u8; 3]) -> Picture {
        let mut rgb = Vec::new();
        for y in 0..200_i32 {
            for x in 0..200_i32 {
                let (dx, dy) = (f64::from(x - 100) / 28.0, f64::from(y - 131) / 11.0);
                let is_tooth = (x - 100).abs() < 12 && (y - 131).abs() < 3;
                rgb.extend(if is_tooth {
                    TOOTH
                } else if dx * dx + dy * dy < 1.0 {
                    lip
                } else {
                    SKIN
                });
            }
        }
        Picture::from_rgb(200, 200, rgb).unwrap()
    }

    const BERRY: Shade = Shade { rgb: [120, 20, 60], cover: 0.8 };

    #[test]
    fn lips_take_the_shade_and_skin_and_teeth_stay() {
        let portrait = portrait(LIP);
        let mask = find(&portrait, &face(), &names()).unwrap();
        let coloured = mask.colour(&portrait, BERRY);
        let lip = coloured.pixel(100, 124);
        assert!(lip[1] < 70 && lip[0] < 150, "{lip:?}");
        for (x, y) in [(100, 160), (40, 130), (160, 130), (100, 105), (10, 10)] {
            assert_eq!(coloured.pixel(x, y), SKIN, "({x}, {y})");
        }
        let tooth = coloured.pixel(100, 131);
        assert!(tooth.iter().zip(TOOTH).all(|(now, before)| now.abs_diff(before) < 14), "{tooth:?}");
    }

    #[test]
    fn a_darker_part_of_the_lip_stays_darker() {
        let lips = 0.2;
        let shade = linear(BERRY.rgb);
        let dark = blend([0.10, 0.05, 0.05], shade, 0.8, lips);
        let light = blend([0.30, 0.15, 0.15], shade, 0.8, lips);
        assert!(luminance(dark) < luminance(light));
        let shine = blend([0.9, 0.9, 0.9], shade, 1.0, lips);
        assert!(0.5 < shine[1], "a highlight stays white: {shine:?}");
        assert_eq!(blend([0.3, 0.2, 0.1], shade, 0.0, lips), [0.3, 0.2, 0.1]);
    }

    #[test]
    fn lips_that_do_not_stand_out_or_are_not_there_are_left_alone() {
        assert_eq!(find(&portrait(SKIN), &face(), &names()).unwrap_err(), LipError::Hidden);
        assert_eq!(find(&portrait(LIP), &face(), &names()[..5]).unwrap_err(), LipError::Points);
        let mut tiny = face();
        tiny.landmarks.mouth_right = Point::new(80.0, 130.0);
        assert_eq!(find(&portrait(LIP), &tiny, &names()).unwrap_err(), LipError::Mouth);
        let mut outside = face();
        outside.landmarks.mouth_left = Point::new(-900.0, 130.0);
        assert!(find(&portrait(LIP), &outside, &names()).is_err());
    }

    #[test]
    fn light_survives_encoding() {
        for byte in 0..=255 {
            assert_eq!(encode(linear([byte; 3])[0]), byte);
        }
    }
}
