//! The square of a picture that a network sees, laid by a face's points, and its pixels.
//!
//! Pixel centres are at integers. The convention stands in the networks' manifests; here it is only followed.

use serde::Deserialize;

use crate::{
    geometry::Point,
    landmarks::FivePoints,
    picture::{Picture, to_byte},
};

/// A square of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Crop {
    pub(crate) centre: Point,
    pub(crate) side: f64,
}

/// How a face's five points lay a crop.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Refine {
    pub(crate) side_per_eyes_mouth_distance: f64,
    pub(crate) centre_from_eyes: f64,
}

impl Refine {
    /// The crop of a face with these points.
    pub(crate) fn crop(&self, points: &FivePoints) -> Crop {
        let eyes = points.eye_left.middle(points.eye_right);
        let mouth = points.mouth_left.middle(points.mouth_right);
        let along = self.centre_from_eyes;
        Crop {
            centre: Point::new(eyes.x + along * (mouth.x - eyes.x), eyes.y + along * (mouth.y - eyes.y)),
            side: self.side_per_eyes_mouth_distance * eyes.distance(mouth),
        }
    }
}

impl Crop {
    /// The crop as `side` x `side` interleaved 8-bit RGB: the mean of whole bilinear samples, as many as there
    /// are picture pixels in one of its pixels; outside the picture the nearest edge pixel.
    pub(crate) fn sample(self, picture: &Picture, side: usize) -> Vec<u8> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a crop is at most some times a picture's side, which is bounded"
        )]
        let factor = ((self.side / side as f64) as usize).clamp(1, 64);
        let fine = side * factor;
        let step = self.side / fine as f64;
        let along = |centre: f64, size: u32| -> Vec<(usize, usize, f32)> {
            (0..fine)
                .map(|at| neighbours(centre - 0.5 * self.side + (at as f64 + 0.5) * step, size))
                .collect()
        };
        let columns = along(self.centre.x, picture.width());
        let rows = along(self.centre.y, picture.height());
        let width = picture.width() as usize;
        let rgb = picture.rgb();
        let mut sums = vec![0.0_f32; side * side * 3];
        for (y, (top, bottom, down)) in rows.iter().enumerate() {
            let out = &mut sums[y / factor * side * 3..][..side * 3];
            let (top, bottom) =
                (&rgb[top * width * 3..][..width * 3], &rgb[bottom * width * 3..][..width * 3]);
            for (x, (left, right, across)) in columns.iter().enumerate() {
                let out = &mut out[x / factor * 3..][..3];
                for (channel, out) in out.iter_mut().enumerate() {
                    let value = |row: &[u8], at: usize| f32::from(row[at * 3 + channel]);
                    let upper = value(top, *left) * (1.0 - across) + value(top, *right) * across;
                    let lower = value(bottom, *left) * (1.0 - across) + value(bottom, *right) * across;
                    *out += upper * (1.0 - down) + lower * down;
                }
            }
        }
        let samples = (factor * factor) as f32;
        sums.iter().map(|sum| to_byte(sum / samples)).collect()
    }
}

/// The two pixels around a position and the weight of the second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the picture before the cast"
)]
fn neighbours(position: f64, size: u32) -> (usize, usize, f32) {
    let last = f64::from(size - 1);
    let position = if position.is_finite() { position.clamp(0.0, last) } else { 0.0 };
    let first = position.floor();
    ((first as usize), ((first + 1.0).min(last) as usize), (position - first) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_is_sampled_at_its_place_and_repeats_the_edge() {
        let rgb = (0..20_u8).flat_map(|_| (0..40_u8).flat_map(|x| [x * 6, 0, 255])).collect();
        let picture = Picture::from_rgb(40, 20, rgb).unwrap();
        // A crop of 8 pixels with centres at 16..24, one sample each.
        let crop = Crop { centre: Point::new(19.5, 10.0), side: 8.0 };
        let sampled = crop.sample(&picture, 8);
        assert_eq!(sampled[..3], [16 * 6, 0, 255]);
        assert_eq!(sampled[7 * 3], 23 * 6);
        let outside = Crop { centre: Point::new(-50.0, -50.0), side: 8.0 }.sample(&picture, 8);
        assert!(outside.chunks_exact(3).all(|p| p == [0, 0, 255]));
    }
}
