//! Pictures as another moment would have given them: another distance, lamp, lens or file, and faults of a capture.
//!
//! What happens to light (exposure, white balance, lamps, blur) is done in linear light; the source is sRGB of eight bits,
//! so nothing comes back that was clipped in it.

use std::{io::Cursor, sync::LazyLock};

use anyhow::Result;
use image::{RgbImage, codecs::jpeg::JpegEncoder, imageops};
use serde_json::{Value, json};
use vision::Picture;

use crate::{
    sets::{Portrait, luminance, place},
    statistics::{SplitMix, quantile},
};

/// Steps of linear light that are told apart on the way back to bytes: finer than a byte in the dark.
const ENCODED_STEPS: usize = 1 << 14;

static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| {
        let value = byte as f32 / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    })
});

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
static ENCODED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..=ENCODED_STEPS)
        .map(|step| {
            let light = step as f32 / ENCODED_STEPS as f32;
            let value =
                if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
            (255.0 * value).round().clamp(0.0, 255.0) as u8
        })
        .collect()
});

/// A picture in linear light.
pub(crate) struct Light {
    width: u32,
    height: u32,
    pixels: Vec<[f32; 3]>,
}

impl Light {
    pub(crate) fn of(picture: &Picture) -> Self {
        let pixels =
            picture.rgb().chunks_exact(3).map(|p| [p[0], p[1], p[2]].map(|byte| LINEAR[usize::from(byte)]));
        Self { width: picture.width(), height: picture.height(), pixels: pixels.collect() }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the table")]
    pub(crate) fn to_picture(&self) -> Result<Picture> {
        let encode = |light: &f32| ENCODED[(light.clamp(0.0, 1.0) * ENCODED_STEPS as f32).round() as usize];
        let rgb = self.pixels.iter().flatten().map(encode).collect();
        Ok(Picture::from_rgb(self.width, self.height, rgb)?)
    }

    /// Larger by `scale` and turned clockwise around a point, by cubic interpolation; edges are continued.
    #[expect(clippy::cast_possible_truncation, reason = "places near a picture fit an i32")]
    fn turned(&self, centre: (f64, f64), scale: f64, roll_deg: f64) -> Self {
        let (sin, cos) = roll_deg.to_radians().sin_cos();
        let row = |x: i32, y: i32| {
            let x = x.clamp(0, self.width.cast_signed() - 1).cast_unsigned() as usize;
            let y = y.clamp(0, self.height.cast_signed() - 1).cast_unsigned() as usize;
            self.pixels[y * self.width as usize + x]
        };
        let at = |at: usize| {
            let (x, y) = place(at, self.width);
            let (x, y) = ((f64::from(x) - centre.0) / scale, (f64::from(y) - centre.1) / scale);
            let (x, y) = (centre.0 + x * cos + y * sin, centre.1 + y * cos - x * sin);
            let (left, top) = (x.floor(), y.floor());
            let (across, down) = (cubic((x - left) as f32), cubic((y - top) as f32));
            let (left, top) = (left as i32 - 1, top as i32 - 1);
            let mut sum = [0.0; 3];
            for (dy, down) in (0..).zip(down) {
                for (dx, across) in (0..).zip(across) {
                    let pixel = row(left + dx, top + dy);
                    for (sum, light) in sum.iter_mut().zip(pixel) {
                        *sum += down * across * light;
                    }
                }
            }
            sum.map(|light: f32| light.max(0.0))
        };
        Self { pixels: (0..self.pixels.len()).map(at).collect(), ..*self }
    }

    /// Dark dots with a Gaussian profile, wherever chance puts them: `dots` of (x, y, standard deviation in pixels, share of
    /// the light that the middle takes).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
    pub(crate) fn dot(&mut self, dots: impl IntoIterator<Item = (f64, f64, f64, f64)>) {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        for (x, y, sigma, depth) in dots {
            let within = |value: f64, size: f64| value.clamp(0.0, size) as usize;
            let reach = 3.5 * sigma;
            for row in within(y - reach, height)..within(y + reach + 1.0, height) {
                for column in within(x - reach, width)..within(x + reach + 1.0, width) {
                    let off = (column as f64 - x).hypot(row as f64 - y) / sigma;
                    let left = (1.0 - depth * (-0.5 * off * off).exp()) as f32;
                    for light in &mut self.pixels[row * self.width as usize + column] {
                        *light *= left;
                    }
                }
            }
        }
    }

    /// A Gaussian blur.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few pixels")]
    fn blurred(&self, sigma_px: f64) -> Self {
        let reach = (3.0 * sigma_px).ceil() as usize;
        let weights: Vec<f32> = (0..=2 * reach)
            .map(|at| (-0.5 * ((at as f64 - reach as f64) / sigma_px).powi(2)).exp() as f32)
            .collect();
        let sum: f32 = weights.iter().sum();
        let along = |pixels: &[[f32; 3]], step: usize, length: usize, at: usize| {
            let place = (at / step) % length;
            let first = at - place * step;
            let mut light = [0.0; 3];
            for (offset, weight) in weights.iter().enumerate() {
                let from = (place + offset).saturating_sub(reach).min(length - 1);
                for (light, from) in light.iter_mut().zip(pixels[first + from * step]) {
                    *light += weight / sum * from;
                }
            }
            light
        };
        let (width, height) = (self.width as usize, self.height as usize);
        let rows: Vec<_> = (0..self.pixels.len()).map(|at| along(&self.pixels, 1, width, at)).collect();
        Self { pixels: (0..rows.len()).map(|at| along(&rows, width, height, at)).collect(), ..*self }
    }

    /// Each channel times its gain.
    fn times(&mut self, gains: [f64; 3]) {
        self.times_by_place(|_, _| gains);
    }

    #[expect(clippy::cast_possible_truncation, reason = "a gain is about one")]
    fn times_by_place(&mut self, gains: impl Fn(f64, f64) -> [f64; 3]) {
        for (at, pixel) in self.pixels.iter_mut().enumerate() {
            let (x, y) = place(at, self.width);
            for (light, gain) in pixel.iter_mut().zip(gains(f64::from(x), f64::from(y))) {
                *light *= gain as f32;
            }
        }
    }
}

/// Weights of the four neighbours (Catmull and Rom 1974).
fn cubic(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [-0.5 * t3 + t2 - 0.5 * t, 1.5 * t3 - 2.5 * t2 + 1.0, -1.5 * t3 + 2.0 * t2 + 0.5 * t, 0.5 * t3 - 0.5 * t2]
}

/// A gain that falls in a straight line over the face, from the light's side to the other, and stays beyond it.
fn side_light(portrait: &Portrait, from_left: bool, near: f64, far: f64) -> impl Fn(f64, f64) -> [f64; 3] {
    let [left, _, width, _] = portrait.bounds;
    move |x, _| {
        let share = ((x - left) / width).clamp(0.0, 1.0);
        let away = if from_left { share } else { 1.0 - share };
        [near + (far - near) * away; 3]
    }
}

/// One more capture of the same person. The same twenty are applied to everybody, so that what a condition does to all alike
/// counts as disagreement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recapture {
    scale: f64,
    roll_deg: f64,
    exposure: f64,
    red: f64,
    blue: f64,
    blur_px: f64,
    jpeg_quality: u8,
    light_from_left: bool,
}

/// The lit side against the middle of the face, a sixth of a stop; the other side is as much below it. So the light falls
/// by a third of a stop over the face and the exposure stays what it was.
const SIXTH_STOP: f64 = 1.122_462;

impl Recapture {
    pub(crate) fn drawn(number: u64) -> Self {
        let mut random = SplitMix(number);
        Self {
            scale: random.between(0.92, 1.08),
            roll_deg: random.between(-4.0, 4.0),
            exposure: random.between(0.85, 1.15),
            red: random.between(0.9, 1.1),
            blue: random.between(0.9, 1.1),
            blur_px: random.between(0.4, 1.2),
            jpeg_quality: u8::try_from(70 + random.below(26)).expect("at most 95"),
            light_from_left: random.below(2) == 0,
        }
    }

    pub(crate) fn of(&self, portrait: &Portrait) -> Result<Picture> {
        let [left, top, width, height] = portrait.bounds;
        let centre = (left + width / 2.0, top + height / 2.0);
        let mut light = Light::of(&portrait.picture);
        light.times_by_place(side_light(portrait, self.light_from_left, SIXTH_STOP, 1.0 / SIXTH_STOP));
        let mut light = light.turned(centre, self.scale, self.roll_deg).blurred(self.blur_px);
        light.times([self.exposure * self.red, self.exposure, self.exposure * self.blue]);
        through_jpeg(&light.to_picture()?, self.jpeg_quality)
    }

    pub(crate) fn to_json(self) -> Value {
        let round = |value: f64| (value * 1e3).round() / 1e3;
        json!({ "scale": round(self.scale), "roll_deg": round(self.roll_deg), "exposure": round(self.exposure),
            "red": round(self.red), "blue": round(self.blue), "blur_px": round(self.blur_px),
            "jpeg_quality": self.jpeg_quality, "light_from": if self.light_from_left { "left" } else { "right" } })
    }
}

fn through_jpeg(picture: &Picture, quality: u8) -> Result<Picture> {
    let mut bytes = Cursor::new(Vec::new());
    image_of(picture).write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))?;
    Ok(Picture::from_bytes(bytes.get_ref())?)
}

fn image_of(picture: &Picture) -> RgbImage {
    RgbImage::from_raw(picture.width(), picture.height(), picture.rgb().to_vec())
        .expect("a picture has its pixels")
}

/// The picture at another size, by Lanczos.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides of pictures")]
pub(crate) fn resized(picture: &Picture, factor: f64) -> Result<Picture> {
    let side = |side: u32| (f64::from(side) * factor).round().max(1.0) as u32;
    let (width, height) = (side(picture.width()), side(picture.height()));
    let image = imageops::resize(&image_of(picture), width, height, imageops::FilterType::Lanczos3);
    Ok(Picture::from_rgb(width, height, image.into_raw())?)
}

/// The picture in the middle of a camera's frame, as high as the frame; what it leaves free is grey.
pub(crate) fn in_frame(picture: &Picture, (width, height): (u32, u32)) -> Result<Picture> {
    let factor = f64::from(height) / f64::from(picture.height());
    let image = image_of(&resized(picture, factor)?);
    let mut frame = RgbImage::from_pixel(width, height, image::Rgb([128; 3]));
    imageops::overlay(&mut frame, &image, (i64::from(width) - i64::from(image.width())) / 2, 0);
    Ok(Picture::from_rgb(width, height, frame.into_raw())?)
}

/// Something that a gate must refuse.
pub(crate) struct Fault {
    pub(crate) id: &'static str,
    /// What is done to the picture.
    pub(crate) what: &'static str,
    /// From the portrait and another person's.
    pub(crate) make: fn(&Portrait, &Portrait) -> Result<Picture>,
}

pub(crate) const FAULTS: [Fault; 13] = [
    Fault { id: "grey", what: "all colour taken out", make: |portrait, _| grey(portrait) },
    Fault {
        id: "dark",
        what: "four stops less light, then sensor noise of 2 of 255 levels",
        make: |portrait, _| dark(portrait),
    },
    Fault {
        id: "half_size",
        what: "half as wide and high",
        make: |portrait, _| resized(&portrait.picture, 0.5),
    },
    Fault {
        id: "blurred",
        what: "Gaussian blur of 1.2 % of the face's width",
        make: |portrait, _| Light::of(&portrait.picture).blurred(0.012 * portrait.bounds[2]).to_picture(),
    },
    Fault { id: "two_faces", what: "another person's picture beside it", make: side_by_side },
    Fault {
        id: "mask",
        what: "opaque light blue from the nose to the chin",
        make: |portrait, _| {
            painted(portrait, [150, 185, 215], |x, y| x.abs() < 0.75 && (0.35..1.7).contains(&y))
        },
    },
    Fault {
        id: "eye_patch",
        what: "opaque black over one eye",
        make: |portrait, _| painted(portrait, [25, 25, 28], |x, y| (x + 0.5).hypot(y) < 0.33),
    },
    Fault {
        id: "hand",
        what: "palm and fingers in the skin's own colour over mouth and one cheek",
        make: |portrait, _| painted(portrait, skin_colour(portrait), is_hand),
    },
    Fault {
        id: "skin_on_mouth",
        what: "the forehead's own skin, as wide as a palm, moved over the mouth",
        make: |portrait, _| moved_forehead(portrait),
    },
    Fault {
        id: "cup",
        what: "opaque white from the lips to below the chin, a third of the face wide",
        make: |portrait, _| {
            painted(portrait, [236, 233, 228], |x, y| x.abs() < 0.4 && (0.85..2.0).contains(&y))
        },
    },
    Fault {
        id: "phone",
        what: "a dark grey box over one cheek, from the eye to the jaw",
        make: |portrait, _| {
            painted(portrait, [48, 50, 54], |x, y| (0.2..1.3).contains(&x) && (0.2..1.6).contains(&y))
        },
    },
    Fault {
        id: "clipped",
        what: "so much light that half of the cheeks is beyond white",
        make: |portrait, _| {
            let mut light = Light::of(&portrait.picture);
            light.times([1.1 / cheek_light(portrait); 3]);
            light.to_picture()
        },
    },
    Fault {
        id: "side_light",
        what: "two stops less light from one side of the face to the other, on the side that was darker",
        make: |portrait, _| {
            let [left, right] = portrait.cheeks().map(|pixels| median_luminance(&pixels));
            let mut light = Light::of(&portrait.picture);
            light.times_by_place(side_light(portrait, right <= left, 1.0, 0.25));
            light.to_picture()
        },
    },
];

fn grey(portrait: &Portrait) -> Result<Picture> {
    let grey = portrait.picture.to_grey();
    Ok(Picture::from_rgb(
        grey.width(),
        grey.height(),
        grey.luma().iter().flat_map(|luma| [*luma; 3]).collect(),
    )?)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
fn dark(portrait: &Portrait) -> Result<Picture> {
    let mut light = Light::of(&portrait.picture);
    light.times([1.0 / 16.0; 3]);
    let mut random = SplitMix(7);
    let noisy = |byte: &u8| (f64::from(*byte) + 2.0 * random.normal()).round().clamp(0.0, 255.0) as u8;
    let picture = light.to_picture()?;
    Ok(Picture::from_rgb(picture.width(), picture.height(), picture.rgb().iter().map(noisy).collect())?)
}

fn side_by_side(portrait: &Portrait, other: &Portrait) -> Result<Picture> {
    let one = image_of(&portrait.picture);
    // Both faces equally wide, as of two people at the same distance.
    let other = image_of(&resized(&other.picture, portrait.bounds[2] / other.bounds[2])?);
    let (width, height) = (one.width() + other.width(), one.height().max(other.height()));
    let mut both = RgbImage::from_pixel(width, height, image::Rgb([128; 3]));
    imageops::overlay(&mut both, &one, 0, 0);
    imageops::overlay(&mut both, &other, i64::from(one.width()), 0);
    Ok(Picture::from_rgb(width, height, both.into_raw())?)
}

fn painted(portrait: &Portrait, colour: [u8; 3], inside: impl Fn(f64, f64) -> bool) -> Result<Picture> {
    let picture = &portrait.picture;
    let mut rgb = picture.rgb().to_vec();
    for (at, pixel) in rgb.chunks_exact_mut(3).enumerate() {
        let (x, y) = place(at, picture.width());
        let (x, y) = portrait.in_face(f64::from(x), f64::from(y));
        if inside(x, y) {
            pixel.copy_from_slice(&colour);
        }
    }
    Ok(Picture::from_rgb(picture.width(), picture.height(), rgb)?)
}

/// Real skin with its own light, where there should be lips.
fn moved_forehead(portrait: &Portrait) -> Result<Picture> {
    /// From the forehead to the mouth, in distances of the eyes.
    const DOWN: f64 = 1.66;
    let picture = &portrait.picture;
    let [left, right, ..] = portrait.landmarks;
    let (across, down) = ((right.x - left.x) * DOWN, (right.y - left.y) * DOWN);
    let mut rgb = picture.rgb().to_vec();
    for (at, pixel) in rgb.chunks_exact_mut(3).enumerate() {
        let (x, y) = place(at, picture.width());
        let (x, y) = (f64::from(x), f64::from(y));
        let own = portrait.in_face(x, y);
        if (own.0 / 0.55).hypot((own.1 - 1.04) / 0.27) < 1.0 {
            // Upwards in the face, which may be tilted.
            let from = [x + down, y - across].map(|value| value.round().max(0.0));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below nought")]
            let from = from.map(|value| value as u32);
            let from = (from[0].min(picture.width() - 1), from[1].min(picture.height() - 1));
            pixel.copy_from_slice(&picture.pixel(from.0, from.1));
        }
    }
    Ok(Picture::from_rgb(picture.width(), picture.height(), rgb)?)
}

/// A palm below the mouth, and four fingers that reach up over the cheek.
fn is_hand(x: f64, y: f64) -> bool {
    let ellipse = |cx: f64, cy: f64, rx: f64, ry: f64| ((x - cx) / rx).hypot((y - cy) / ry) < 1.0;
    ellipse(0.35, 1.25, 0.5, 0.5) || [0.05, 0.27, 0.49, 0.71].iter().any(|cx| ellipse(*cx, 0.75, 0.12, 0.5))
}

fn skin_colour(portrait: &Portrait) -> [u8; 3] {
    let pixels = portrait.cheeks().concat();
    std::array::from_fn(|channel| {
        let mut values: Vec<u8> = pixels.iter().map(|pixel| pixel[channel]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    })
}

fn cheek_light(portrait: &Portrait) -> f64 {
    median_luminance(&portrait.cheeks().concat())
}

fn median_luminance(pixels: &[[u8; 3]]) -> f64 {
    quantile(pixels.iter().map(|rgb| luminance(*rgb)).collect(), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let rgb = (0..60 * 40_u32).flat_map(|at| {
            let (x, y) = (at % 60, at / 60);
            [40 + 3 * x, 60 + 2 * y, 90 + x].map(|value| u8::try_from(value).unwrap())
        });
        Picture::from_rgb(60, 40, rgb.collect()).unwrap()
    }

    #[test]
    fn light_and_back_is_the_same_picture() {
        let picture = picture();
        assert_eq!(Light::of(&picture).to_picture().unwrap().rgb(), picture.rgb());
    }

    #[test]
    fn a_turn_by_nothing_changes_nothing_and_a_quarter_turn_turns_clockwise() {
        let light = Light::of(&picture());
        let same = light.turned((30.0, 20.0), 1.0, 0.0).to_picture().unwrap();
        assert_eq!(same.rgb(), picture().rgb());
        let turned = light.turned((30.0, 20.0), 1.0, 90.0).to_picture().unwrap();
        for (found, expected) in turned.pixel(30, 25).into_iter().zip(picture().pixel(35, 20)) {
            assert!(found.abs_diff(expected) <= 1, "what was to the right is below");
        }
    }

    #[test]
    fn a_blur_keeps_the_light_and_a_gain_of_a_half_halves_it() {
        let mut light = Light::of(&picture());
        let sum = |light: &Light| light.pixels.iter().flatten().map(|l| f64::from(*l)).sum::<f64>();
        let before = sum(&light);
        assert!((sum(&light.blurred(1.2)) / before - 1.0).abs() < 0.01);
        light.times([0.5; 3]);
        assert!((sum(&light) / before - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_dot_takes_its_share_of_the_light_in_its_middle_and_none_far_away() {
        let mut light = Light::of(&picture());
        light.dot([(30.0, 20.0, 2.0, 0.25), (-1.0, 39.0, 2.0, 0.25)]);
        let before = Light::of(&picture());
        let left = |x: usize, y: usize| light.pixels[y * 60 + x][1] / before.pixels[y * 60 + x][1];
        assert!((left(30, 20) - 0.75).abs() < 1e-3);
        assert!((left(32, 20) - (1.0 - 0.25 * (-0.5_f32).exp())).abs() < 1e-3);
        assert!((left(45, 20) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_recaptures_are_the_same_each_time_and_differ_from_each_other() {
        let texts: Vec<String> = (0..20).map(|at| Recapture::drawn(at).to_json().to_string()).collect();
        let again: Vec<String> = (0..20).map(|at| Recapture::drawn(at).to_json().to_string()).collect();
        assert_eq!(texts, again);
        assert!((1..20).all(|at| texts[at] != texts[at - 1]));
    }

    #[test]
    fn a_frame_has_the_size_of_the_camera_and_the_picture_in_its_middle() {
        let frame = in_frame(&picture(), (128, 72)).unwrap();
        assert_eq!((frame.width(), frame.height()), (128, 72));
        assert_eq!(frame.pixel(2, 30), [128; 3]);
        assert!(frame.pixel(64, 36)[0].abs_diff(picture().pixel(30, 20)[0]) <= 4);
    }
}
