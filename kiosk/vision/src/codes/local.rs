//! What lies around each pixel: mean and deviation of a square, in the same time however large it is.

use crate::picture::Grey;

/// Half the side of the square whose contrast is made even, in pixels.
const EVEN_REACH: usize = 12;
/// Weaker contrast is noise and is not raised further, in levels.
const DEVIATION_MIN: f64 = 4.0;
/// The deviation that is made everywhere, in levels.
const DEVIATION: f64 = 50.0;

/// Sums over all pixels above and to the left of each (Crow 1984, "Summed-area tables for texture mapping").
pub(super) struct Sums {
    width: usize,
    height: usize,
    sums: Vec<u64>,
}

impl Sums {
    pub(super) fn of(grey: &Grey, value: impl Fn(u8) -> u64) -> Self {
        let (width, height) = (grey.width() as usize, grey.height() as usize);
        let mut sums = vec![0; (width + 1) * (height + 1)];
        for (y, line) in grey.luma().chunks_exact(width).enumerate() {
            let (above, below) = sums[y * (width + 1)..].split_at_mut(width + 1);
            let mut row = 0;
            for (x, luma) in line.iter().enumerate() {
                row += value(*luma);
                below[x + 1] = above[x + 1] + row;
            }
        }
        Self { width, height, sums }
    }

    /// The sum over the square around a pixel, as far as it lies in the picture, and how many pixels that are.
    pub(super) fn around(&self, x: usize, y: usize, reach: usize) -> (u64, u64) {
        let (left, right) = (x.saturating_sub(reach), (x + reach + 1).min(self.width));
        let (top, bottom) = (y.saturating_sub(reach), (y + reach + 1).min(self.height));
        let at = |x: usize, y: usize| self.sums[y * (self.width + 1) + x];
        let sum = at(right, bottom) + at(left, top) - at(left, bottom) - at(right, top);
        (sum, ((right - left) * (bottom - top)) as u64)
    }
}

/// The picture with the same contrast everywhere: what stands in the shade or before the light becomes as plain as the rest.
pub(super) fn even(grey: &Grey) -> Grey {
    let sums = Sums::of(grey, u64::from);
    let squares = Sums::of(grey, |luma| u64::from(luma) * u64::from(luma));
    let width = grey.width() as usize;
    let luma = grey.luma().iter().enumerate().map(|(at, luma)| {
        let (x, y) = (at % width, at / width);
        let (sum, count) = sums.around(x, y, EVEN_REACH);
        let (square, _) = squares.around(x, y, EVEN_REACH);
        let mean = sum as f64 / count as f64;
        let deviation = (square as f64 / count as f64 - mean * mean).max(0.0).sqrt().max(DEVIATION_MIN);
        let level = 128.0 + DEVIATION * (f64::from(*luma) - mean) / deviation;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let level = level.clamp(0.0, 255.0) as u8;
        level
    });
    Grey::from_luma(grey.width(), grey.height(), luma.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_square_around_a_pixel_ends_where_the_picture_ends() {
        let grey = Grey::from_luma(4, 3, (1..=12).collect());
        let sums = Sums::of(&grey, u64::from);
        assert_eq!(sums.around(0, 0, 1), (1 + 2 + 5 + 6, 4));
        assert_eq!(sums.around(2, 1, 1), (2 + 3 + 4 + 6 + 7 + 8 + 10 + 11 + 12, 9));
        assert_eq!(sums.around(3, 2, 9), (78, 12));
    }

    #[test]
    fn stripes_in_the_shade_become_as_plain_as_those_in_the_light() {
        let stripes = |x: u32| if (x / 4).is_multiple_of(2) { 1.0 } else { 0.8 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels")]
        let luma = (0..80)
            .flat_map(|_| (0..200_u32).map(|x| (stripes(x) * if x < 100 { 230.0 } else { 60.0 }) as u8));
        let evened = even(&Grey::from_luma(200, 80, luma.collect()));
        let contrast = |from: usize| {
            let line = &evened.luma()[40 * 200 + from..][..16];
            line.iter().max().unwrap() - line.iter().min().unwrap()
        };
        let (light, shade) = (contrast(40), contrast(150));
        assert!(90 < light && light.abs_diff(shade) < 12, "{light} and {shade}");
    }
}
