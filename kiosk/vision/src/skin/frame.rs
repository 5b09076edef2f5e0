//! The square in which a face is looked at: laid by the landmarks, upright, always of the same scale on the face.
//!
//! Owns the map between that square and the picture, and the copy of the picture in it.

use crate::{geometry::Point, landmarks::FivePoints, picture::Picture, wiped::Wiped};

/// Distances on the mean of the rendered faces from which the landmarks were learnt, in millimetres.
const EYES_MM: f64 = 62.6;
const EYES_TO_MOUTH_MM: f64 = 65.0;
/// Samples a pixel and direction at most; a face of 16,000 pixels is none.
const SAMPLES_MAX: usize = 32;

/// Where the square lies in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FaceFrame {
    centre: Point,
    /// The square's own axis to the right, in picture pixels a pixel of the square.
    right: (f64, f64),
    side: usize,
    /// Millimetres a pixel of the square, for a mean face.
    mm: f64,
}

impl FaceFrame {
    /// The square of `side` pixels that shows `view_mm`, with its middle `below_eyes_mm` below the eyes; `None` when the
    /// points are in one place.
    pub(crate) fn lay(points: &FivePoints, side: usize, view_mm: f64, below_eyes_mm: f64) -> Option<Self> {
        let eyes = points.eye_left.middle(points.eye_right);
        let mouth = points.mouth_left.middle(points.mouth_right);
        // Two distances: a turned head shortens one, a smile the other.
        let across = points.eye_distance() / EYES_MM;
        let down = eyes.distance(mouth) / EYES_TO_MOUTH_MM;
        let px_per_mm = (across * down).sqrt();
        if !(px_per_mm.is_finite() && 1e-3 < px_per_mm && 0.0 < across) {
            return None;
        }
        let along = |from: Point, to: Point| {
            let distance = from.distance(to);
            ((to.x - from.x) / distance, (to.y - from.y) / distance)
        };
        let (ux, uy) = along(points.eye_left, points.eye_right);
        let centre =
            Point::new(eyes.x - uy * below_eyes_mm * px_per_mm, eyes.y + ux * below_eyes_mm * px_per_mm);
        let mm = view_mm / side as f64;
        Some(Self { centre, right: (ux * px_per_mm * mm, uy * px_per_mm * mm), side, mm })
    }

    /// Millimetres a pixel of the square.
    pub(crate) fn mm(&self) -> f64 {
        self.mm
    }

    /// A place of the square in the picture; both with pixel centres at integers.
    pub(crate) fn to_picture(self, own: Point) -> Point {
        let middle = 0.5 * (self.side as f64 - 1.0);
        let (x, y) = (own.x - middle, own.y - middle);
        let (rx, ry) = self.right;
        Point::new(self.centre.x + x * rx - y * ry, self.centre.y + x * ry + y * rx)
    }

    /// A place of the picture in the square.
    pub(crate) fn to_own(self, picture: Point) -> Point {
        let middle = 0.5 * (self.side as f64 - 1.0);
        let (x, y) = (picture.x - self.centre.x, picture.y - self.centre.y);
        let (rx, ry) = self.right;
        let scale = rx * rx + ry * ry;
        Point::new(middle + (x * rx + y * ry) / scale, middle + (y * rx - x * ry) / scale)
    }

    /// The picture in the square: interleaved 8-bit RGB, each pixel the mean of as many bilinear samples as it covers
    /// pixels of the picture; outside the picture the nearest edge pixel.
    pub(crate) fn sample(&self, picture: &Picture) -> Wiped<u8> {
        let (rx, ry) = self.right;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let factor = (rx.hypot(ry).clamp(1.0, SAMPLES_MAX as f64)) as usize;
        let share = 1.0 / factor as f64;
        let offsets: Vec<f64> = (0..factor).map(|at| (at as f64 + 0.5) * share - 0.5).collect();
        let mut pixels = Vec::with_capacity(self.side * self.side * 3);
        for y in 0..self.side {
            for x in 0..self.side {
                let mut sum = [0.0_f32; 3];
                for dy in &offsets {
                    for dx in &offsets {
                        let place = self.to_picture(Point::new(x as f64 + dx, y as f64 + dy));
                        let seen = bilinear(picture, place);
                        sum = std::array::from_fn(|channel| sum[channel] + seen[channel]);
                    }
                }
                pixels.extend(sum.map(|sum| crate::picture::to_byte(sum / offsets.len().pow(2) as f32)));
            }
        }
        Wiped::new(pixels)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the picture before the cast"
)]
fn bilinear(picture: &Picture, at: Point) -> [f32; 3] {
    let along = |position: f64, size: u32| {
        let last = f64::from(size - 1);
        let position = if position.is_finite() { position.clamp(0.0, last) } else { 0.0 };
        let first = position.floor();
        (first as usize, (first + 1.0).min(last) as usize, (position - first) as f32)
    };
    let (left, right, across) = along(at.x, picture.width());
    let (top, bottom, down) = along(at.y, picture.height());
    let (rgb, width) = (picture.rgb(), picture.width() as usize);
    std::array::from_fn(|channel| {
        let value = |x: usize, y: usize| f32::from(rgb[(y * width + x) * 3 + channel]);
        let upper = value(left, top) * (1.0 - across) + value(right, top) * across;
        let lower = value(left, bottom) * (1.0 - across) + value(right, bottom) * across;
        upper * (1.0 - down) + lower * down
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(degrees: f64) -> FivePoints {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let at = |x: f64, y: f64| Point::new(300.0 + x * cos - y * sin, 200.0 + x * sin + y * cos);
        FivePoints {
            eye_left: at(-62.6, 0.0),
            eye_right: at(62.6, 0.0),
            nose_tip: at(0.0, 65.0),
            mouth_left: at(-50.0, 130.0),
            mouth_right: at(50.0, 130.0),
        }
    }

    #[test]
    fn the_square_stands_upright_on_a_face_that_does_not() {
        for degrees in [0.0, 10.0, -25.0] {
            let points = turned(degrees);
            let frame = FaceFrame::lay(&points, 512, 176.0, 18.0).unwrap();
            let (left, right) = (frame.to_own(points.eye_left), frame.to_own(points.eye_right));
            assert!((left.y - right.y).abs() < 1e-9 && left.x < right.x);
            // 62.6 mm lie on 512 / 176 pixels a millimetre, and the eyes 18 mm above the middle.
            assert!((left.distance(right) - 62.6 * 512.0 / 176.0).abs() < 1e-6);
            assert!((255.5 - left.y - 18.0 * 512.0 / 176.0).abs() < 1e-6);
            let there = Point::new(17.0, 409.5);
            assert!(frame.to_own(frame.to_picture(there)).distance(there) < 1e-9);
        }
        let mut flat = turned(0.0);
        flat.eye_right = flat.eye_left;
        assert_eq!(FaceFrame::lay(&flat, 512, 176.0, 18.0), None);
    }

    #[test]
    fn a_face_of_any_size_is_seen_in_the_same_scale_and_colour() {
        // Stripes of 8 mm on the face, in pictures of one and of five pixels a millimetre.
        let stripes = |times: u32| {
            let (side, px_per_mm) = (400 * times, f64::from(times));
            let rgb = (0..side).flat_map(|_| {
                (0..side).flat_map(|x| {
                    let is_light = (x / (8 * times)).is_multiple_of(2);
                    [if is_light { 200 } else { 80 }, 100, 60]
                })
            });
            let picture = Picture::from_rgb(side, side, rgb.collect()).unwrap();
            let at = |x: f64, y: f64| Point::new(x * px_per_mm - 0.5, y * px_per_mm - 0.5);
            let points = FivePoints {
                eye_left: at(200.0 - 31.3, 150.0),
                eye_right: at(200.0 + 31.3, 150.0),
                nose_tip: at(200.0, 180.0),
                mouth_left: at(175.0, 215.0),
                mouth_right: at(225.0, 215.0),
            };
            FaceFrame::lay(&points, 512, 176.0, 18.0).unwrap().sample(&picture)
        };
        let (small, large) = (stripes(3), stripes(10));
        let far = small.iter().zip(large.iter()).filter(|(a, b)| 30 < a.abs_diff(**b)).count();
        // Edges of stripes fall on other pixels, nothing else differs.
        assert!(far * 20 < small.len(), "{far} of {}", small.len());
    }
}
