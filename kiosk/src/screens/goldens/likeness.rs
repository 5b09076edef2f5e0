//! How unlike two pictures of a screen are, as an eye sees it: CIELAB distances between the means of small blocks.
//!
//! A block's mean hardly notices where exactly the edge of a letter falls, and notices at once when a word is gone or a
//! button stands elsewhere. Pictures are compared, and kept, at a quarter of the screen's size.

use bevy::color::{Laba, Srgba};
use image::RgbImage;

/// Pixels of the screen for each pixel that is kept, along a side.
const QUARTER: u32 = 4;
/// Kept pixels along a block's side: 16 pixels of the screen, half a line of small text.
const BLOCK: u32 = 4;
/// Distances up to this are noise: a shift of a whole screen of text by a quarter of a pixel causes 1.5, and keeping it
/// in steps of four 2.4; a lost word and a button that is twelve pixels away cause more than 20. A test shows both.
pub(super) const TOLERANCE: f64 = 4.0;

/// A picture of the screen as it is kept: a quarter of its size, each pixel the mean of those it stands for.
pub(super) fn quarter(rgb: &[u8], width: u32, height: u32) -> RgbImage {
    let full = |x: u32, y: u32, channel: usize| u32::from(rgb[((y * width + x) * 3) as usize + channel]);
    RgbImage::from_fn(width / QUARTER, height / QUARTER, |x, y| {
        image::Rgb(std::array::from_fn(|channel| {
            let sum: u32 = (0..QUARTER * QUARTER)
                .map(|at| full(x * QUARTER + at % QUARTER, y * QUARTER + at / QUARTER, channel))
                .sum();
            u8::try_from(sum / (QUARTER * QUARTER)).expect("a mean of bytes is a byte")
        }))
    })
}

/// The picture in steps of four: a third smaller as a file, and at most 2.5 units of CIELAB from the truth, where it is
/// darkest.
pub(super) fn coarse(mut picture: RgbImage) -> RgbImage {
    const STEP: u8 = 4;
    for value in picture.iter_mut() {
        *value = value.saturating_add(STEP / 2) / STEP * STEP;
    }
    picture
}

/// Where two pictures differ.
pub(super) struct Unlikeness {
    columns: u32,
    /// CIE76 distances of blocks, row by row.
    distances: Vec<f64>,
}

impl Unlikeness {
    /// Of two pictures of one size, as they are kept.
    pub(super) fn between(one: &RgbImage, other: &RgbImage) -> Self {
        assert_eq!(one.dimensions(), other.dimensions(), "pictures of one screen have one size");
        let (columns, rows) = (one.width().div_ceil(BLOCK), one.height().div_ceil(BLOCK));
        let distances = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (column, row)))
            .map(|(column, row)| {
                let [a, b] = [one, other].map(|picture| mean(picture, column, row));
                a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
            })
            .collect();
        Self { columns, distances }
    }

    /// The largest distance of a block.
    pub(super) fn worst(&self) -> f64 {
        self.distances.iter().copied().fold(0.0, f64::max)
    }

    /// Black where both agree, white where they differ by twice the tolerance or more; as large as what was compared.
    pub(super) fn map(&self, width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let distance = self.distances[((y / BLOCK) * self.columns + x / BLOCK) as usize];
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 255")]
            let grey = (255.0 * (distance / (2.0 * TOLERANCE)).min(1.0)) as u8;
            image::Rgb([grey; 3])
        })
    }
}

/// The mean colour of a block in CIELAB.
fn mean(picture: &RgbImage, column: u32, row: u32) -> [f64; 3] {
    let xs = column * BLOCK..((column + 1) * BLOCK).min(picture.width());
    let ys = row * BLOCK..((row + 1) * BLOCK).min(picture.height());
    let count = f64::from((xs.end - xs.start) * (ys.end - ys.start));
    let mut sum = [0.0; 3];
    for (x, y) in ys.flat_map(|y| xs.clone().map(move |x| (x, y))) {
        let image::Rgb([r, g, b]) = *picture.get_pixel(x, y);
        let lab = Laba::from(Srgba::rgb_u8(r, g, b));
        for (sum, channel) in sum.iter_mut().zip([lab.lightness, lab.a, lab.b]) {
            *sum += f64::from(channel) * 100.0;
        }
    }
    sum.map(|sum| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: [u8; 3] = [255; 3];

    #[test]
    fn white_and_black_are_a_hundred_apart_and_a_picture_is_like_itself() {
        let [white, black] = [255, 0].map(|grey| RgbImage::from_pixel(10, 6, image::Rgb([grey; 3])));
        assert!((Unlikeness::between(&white, &black).worst() - 100.0).abs() < 0.1);
        assert_eq!(Unlikeness::between(&white, &white).worst(), 0.0);
    }

    #[test]
    fn a_picture_is_kept_as_means_of_its_pixels() {
        let pixels: Vec<u8> = (0..16).flat_map(|at| if at < 4 { [0; 3] } else { WHITE }).collect();
        assert_eq!(quarter(&pixels, 4, 4).get_pixel(0, 0).0, [191; 3]);
    }
}
