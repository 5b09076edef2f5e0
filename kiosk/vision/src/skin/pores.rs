//! Pores: small round dark dots on cheeks and nose, at the picture's own resolution.
//!
//! A difference of two Gaussians keeps what is about a third of a millimetre wide; its dark peaks count when they stand
//! out of the camera's noise and are round, for a fine line is not. What is told is what can be told apart in this
//! picture, per square centimetre; makers who measured both found number, size and what people see only loosely tied.

use crate::{
    geometry::{Point, for_each_pixel_inside},
    picture::Picture,
};

/// The two Gaussians, in millimetres: what passes between them is 0.25 to 0.6 mm wide.
const SIGMAS_MM: (f64, f64) = (0.12, 0.24);
/// A peak counts when it is so many times the noise that the same filter lets through.
const NOISE_TIMES: f32 = 4.0;
/// Curvature across over curvature along: less is a line.
const ROUND_MIN: f32 = 0.4;
/// A region's box with more pixels is none of a face.
const BOX_PIXELS_MAX: usize = 16_000_000;

/// Pores that a region shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pores {
    /// Where they are, in pixels of the picture.
    pub(crate) places: Vec<(u32, u32)>,
    /// Skin that was searched, in square centimetres.
    pub(crate) area_cm2: f64,
}

/// Searches the skin inside a polygon; `noise` is the standard deviation of the picture's lightness from pixel to pixel,
/// in steps of a byte. `None` when the polygon holds no pixel of the picture.
pub(crate) fn find(
    picture: &Picture,
    polygon: &[Point],
    px_per_mm: f64,
    noise: f64,
    is_plain: impl Fn(Point) -> bool,
) -> Option<Pores> {
    let band = Band::cut(picture, polygon, px_per_mm)?;
    let gain = noise_gain(px_per_mm);
    #[expect(clippy::cast_possible_truncation, reason = "bytes and their noise")]
    let limit = NOISE_TIMES * (noise.max(BYTE_NOISE) * gain) as f32;
    let (mut places, mut pixels) = (Vec::new(), 0_usize);
    for_each_pixel_inside(polygon, picture.width(), picture.height(), |x, y| {
        if !is_plain(Point::new(f64::from(x), f64::from(y))) {
            return;
        }
        pixels += 1;
        if band.is_pore(x, y, limit) {
            places.push((x, y));
        }
    });
    let area_cm2 = pixels as f64 / (px_per_mm * px_per_mm) / 100.0;
    (0 < pixels).then_some(Pores { places, area_cm2 })
}

/// Rounding to bytes alone has this standard deviation.
const BYTE_NOISE: f64 = 0.29;

/// How much of white noise the filter lets through: the root of the sum of its squared weights.
fn noise_gain(px_per_mm: f64) -> f64 {
    let (a, b) = (SIGMAS_MM.0 * px_per_mm, SIGMAS_MM.1 * px_per_mm);
    // Two Gaussians of area one: the integral of the square of their difference.
    let over = |s: f64| 1.0 / (4.0 * std::f64::consts::PI * s * s);
    (over(a) + over(b) - 2.0 / (2.0 * std::f64::consts::PI * (a * a + b * b))).max(0.0).sqrt()
}

/// The dark details of a box of the picture.
struct Band {
    left: u32,
    top: u32,
    width: usize,
    height: usize,
    /// Positive where it is darker than around.
    darker: Vec<f32>,
}

impl Band {
    fn cut(picture: &Picture, polygon: &[Point], px_per_mm: f64) -> Option<Self> {
        // What lies beyond the edge of the box is needed for the wider Gaussian.
        let margin = 3.0 * SIGMAS_MM.1 * px_per_mm + 2.0;
        let edge = |pick: fn(&Point) -> f64, size: u32| {
            let low = polygon.iter().map(pick).fold(f64::INFINITY, f64::min) - margin;
            let high = polygon.iter().map(pick).fold(f64::NEG_INFINITY, f64::max) + margin;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            let within = |value: f64| value.clamp(0.0, f64::from(size)) as u32;
            (within(low), within(high.ceil()))
        };
        let (left, right) = edge(|p| p.x, picture.width());
        let (top, bottom) = edge(|p| p.y, picture.height());
        let (width, height) = (right.checked_sub(left)? as usize, bottom.checked_sub(top)? as usize);
        if width < 3 || height < 3 || BOX_PIXELS_MAX < width * height {
            return None;
        }
        let mut light = Vec::with_capacity(width * height);
        for y in top..bottom {
            for x in left..right {
                // In the encoding's own steps: noise is about even there, and so is what people see.
                let [r, g, b] = picture.pixel(x, y);
                light.push(f32::from(crate::picture::luma(r, g, b)));
            }
        }
        let fine = blurred(&light, width, SIGMAS_MM.0 * px_per_mm);
        let coarse = blurred(&light, width, SIGMAS_MM.1 * px_per_mm);
        let darker = coarse.iter().zip(&fine).map(|(coarse, fine)| coarse - fine).collect();
        crate::picture::wipe_values(&mut light);
        Some(Self { left, top, width, height, darker })
    }

    /// Whether a dark dot has its middle at this pixel of the picture.
    fn is_pore(&self, x: u32, y: u32, limit: f32) -> bool {
        let (Some(x), Some(y)) = (x.checked_sub(self.left), y.checked_sub(self.top)) else { return false };
        let (x, y) = (x as usize, y as usize);
        if x == 0 || y == 0 || self.width <= x + 1 || self.height <= y + 1 {
            return false;
        }
        let at = y * self.width + x;
        let value = |at: usize| self.darker[at];
        let middle = value(at);
        if middle < limit {
            return false;
        }
        let (up, down) = (at - self.width, at + self.width);
        // Of two equal neighbours the first in reading order is the peak.
        let before = [up - 1, up, up + 1, at - 1];
        let after = [at + 1, down - 1, down, down + 1];
        if before.iter().any(|other| middle <= value(*other))
            || after.iter().any(|other| middle < value(*other))
        {
            return false;
        }
        let xx = value(at - 1) + value(at + 1) - 2.0 * middle;
        let yy = value(up) + value(down) - 2.0 * middle;
        let xy = (value(down + 1) + value(up - 1) - value(down - 1) - value(up + 1)) / 4.0;
        // Both curvatures of a peak are negative; a round one has them alike.
        let (mean, off) = ((xx + yy) / 2.0, (((xx - yy) / 2.0).powi(2) + xy * xy).sqrt());
        let (sharp, flat) = (mean - off, mean + off);
        flat < 0.0 && ROUND_MIN * -sharp <= -flat
    }
}

impl Drop for Band {
    fn drop(&mut self) {
        crate::picture::wipe_values(&mut self.darker);
    }
}

/// A Gaussian along the rows, then along the columns; at the edge the nearest pixel counts again.
fn blurred(values: &[f32], width: usize, sigma: f64) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few dozen pixels")]
    let reach = (3.0 * sigma).ceil() as usize;
    let weights: Vec<f32> = (0..=2 * reach)
        .map(|at| {
            let off = at as f64 - reach as f64;
            #[expect(clippy::cast_possible_truncation, reason = "a weight")]
            let weight = (-0.5 * (off / sigma).powi(2)).exp() as f32;
            weight
        })
        .collect();
    let sum: f32 = weights.iter().sum();
    let height = values.len() / width;
    let along = |values: &[f32], length: usize, step: usize, start: usize, out: &mut [f32]| {
        for at in 0..length {
            let mut total = 0.0;
            for (off, weight) in weights.iter().enumerate() {
                let from = (at + off).saturating_sub(reach).min(length - 1);
                total += weight * values[start + from * step];
            }
            out[start + at * step] = total / sum;
        }
    };
    let mut rows = vec![0.0; values.len()];
    for y in 0..height {
        along(values, width, 1, y * width, &mut rows);
    }
    let mut columns = vec![0.0; values.len()];
    for x in 0..width {
        along(&rows, height, width, x, &mut columns);
    }
    crate::picture::wipe_values(&mut rows);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Skin of 30 by 30 mm with dots 0.35 mm wide every `spacing_mm`, `depth` steps darker, and lines if asked for.
    fn skin(px_per_mm: u32, spacing_mm: f64, depth: f64, lines: bool) -> Picture {
        let (side, px_per_mm) = (30 * px_per_mm, f64::from(px_per_mm));
        let mut random = 7_u32;
        let rgb = (0..side).flat_map(|y| (0..side).map(move |x| (x, y))).flat_map(|(x, y)| {
            let (x, y) = (f64::from(x) / px_per_mm, f64::from(y) / px_per_mm);
            let off = |value: f64| (value + spacing_mm / 2.0).rem_euclid(spacing_mm) - spacing_mm / 2.0;
            let distance = if lines { off(x).abs() } else { off(x).hypot(off(y)) };
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = f64::from(random >> 30) - 1.5;
            let value = 160.0 + grain - depth * (-0.5 * (distance / 0.15).powi(2)).exp();
            #[expect(clippy::cast_possible_truncation, reason = "a byte")]
            [1.0, 0.75, 0.65].map(|share| crate::picture::to_byte((share * value) as f32))
        });
        Picture::from_rgb(side, side, rgb.collect()).unwrap()
    }

    fn density(picture: &Picture, px_per_mm: u32) -> f64 {
        let px_per_mm = f64::from(px_per_mm);
        let far = 30.0 * px_per_mm - 10.0;
        let polygon = [(10.0, 10.0), (far, 10.0), (far, far), (10.0, far)].map(|(x, y)| Point::new(x, y));
        let pores = find(picture, &polygon, px_per_mm, 1.1, |_| true).unwrap();
        pores.places.len() as f64 / pores.area_cm2
    }

    #[test]
    fn dots_are_counted_lines_and_grain_are_not() {
        // Every 1.5 mm in both directions: 44 on a square centimetre.
        for px_per_mm in [8, 10, 14] {
            let found = density(&skin(px_per_mm, 1.5, 30.0, false), px_per_mm);
            assert!((40.0..50.0).contains(&found), "{found} at {px_per_mm} pixels a millimetre");
            let lines = density(&skin(px_per_mm, 1.5, 30.0, true), px_per_mm);
            assert!(lines < 4.0, "{lines} dots on lines");
            let smooth = density(&skin(px_per_mm, 1.5, 0.0, false), px_per_mm);
            assert!(smooth < 1.0, "{smooth} dots on nothing but grain");
        }
    }

    #[test]
    fn a_polygon_beside_the_picture_has_no_skin() {
        let picture = skin(8, 1.5, 30.0, false);
        let polygon = [(-50.0, -50.0), (-20.0, -50.0), (-20.0, -20.0)].map(|(x, y)| Point::new(x, y));
        assert_eq!(find(&picture, &polygon, 8.0, 1.0, |_| true), None);
        assert_eq!(find(&picture, &[], 8.0, 1.0, |_| true), None);
    }
}
