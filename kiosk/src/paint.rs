//! Paints onto a copy of a picture, or of a part of it, that is small enough to show: outlines, or a tint here and there.
//!
//! Pure. Coordinates are pixels of the original picture, pixel centres at integers; what comes out is RGBA of the
//! smaller one. Lines are two-coloured, light on dark, so that they show on every picture.

use vision::Picture;

/// Longest side of a painted picture in pixels; the widest place on a screen has 984.
pub const SIDE_MAX: u32 = 1200;

/// A picture to show.
#[derive(Clone, PartialEq, Eq)]
pub struct Painting {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Four bytes for each pixel.
    pub rgba: Vec<u8>,
}

impl std::fmt::Debug for Painting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Painting({} x {})", self.width, self.height)
    }
}

impl Drop for Painting {
    fn drop(&mut self) {
        // It may show a person; `black_box` keeps the wipe from being optimised away.
        self.rgba.fill(0);
        std::hint::black_box(&self.rgba);
    }
}

/// A closed line around something.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Its corners in the original picture.
    pub corners: Vec<[f32; 2]>,
    /// Its colour.
    pub colour: [u8; 3],
    /// How much of the colour fills the inside, 0 to 1.
    pub fill: f32,
}

/// A smaller copy of `picture` with outlines.
#[must_use]
pub fn paint(picture: &Picture, outlines: &[Outline]) -> Painting {
    let mut painting = shrink(picture, Part::all(picture), SIDE_MAX);
    #[expect(clippy::cast_precision_loss, reason = "a side of a picture is far below 2^24")]
    let scale = painting.width as f32 / picture.width() as f32;
    for outline in outlines {
        // A pixel's centre lies at an integer, so its corner at minus a half.
        let corners: Vec<[f32; 2]> =
            outline.corners.iter().map(|[x, y]| [(x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5]).collect();
        draw(&mut painting, &corners, outline);
    }
    painting
}

/// A part of a picture in whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Part {
    /// The part between two corners, as far as it lies in the picture; all of it when that is nothing.
    #[must_use]
    pub fn between(picture: &Picture, [left, top]: [f64; 2], [right, bottom]: [f64; 2]) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
        let span = |from: f64, to: f64, size: u32| {
            let within = |at: f64| at.round().clamp(0.0, f64::from(size)) as u32;
            (within(from), within(to).saturating_sub(within(from)))
        };
        let ((left, width), (top, height)) =
            (span(left, right, picture.width()), span(top, bottom, picture.height()));
        if width == 0 || height == 0 { Self::all(picture) } else { Self { left, top, width, height } }
    }

    fn all(picture: &Picture) -> Self {
        Self { left: 0, top: 0, width: picture.width(), height: picture.height() }
    }
}

/// A part of a picture, shrunk, and where its pixels come from.
#[derive(Debug, Clone)]
pub struct Cut {
    plain: Painting,
    part: Part,
}

impl Cut {
    /// A part of a picture whose longer side has at most `side_max` pixels.
    #[must_use]
    pub fn of(picture: &Picture, part: Part, side_max: u32) -> Self {
        Self { plain: shrink(picture, part, side_max.min(SIDE_MAX)), part }
    }

    /// The part as it is.
    #[must_use]
    pub fn plain(&self) -> Painting {
        self.plain.clone()
    }

    /// The part, faded, with a colour as strong as `strength` says at each place of the picture, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a colour")]
    pub fn tinted(&self, colour: [u8; 3], strength: impl Fn([f64; 2]) -> f32) -> Painting {
        let mut painting = self.plain.clone();
        let scale = f64::from(self.part.width) / f64::from(painting.width);
        let width = painting.width.max(1) as usize;
        for (at, pixel) in painting.rgba.chunks_exact_mut(4).enumerate() {
            let (x, y) = ((at % width) as f64, (at / width) as f64);
            let place = [
                f64::from(self.part.left) + (x + 0.5) * scale - 0.5,
                f64::from(self.part.top) + (y + 0.5) * scale - 0.5,
            ];
            let grey =
                (f64::from(pixel[0]) * 0.3 + f64::from(pixel[1]) * 0.6 + f64::from(pixel[2]) * 0.1) as f32;
            for channel in &mut pixel[..3] {
                // Half of the colour goes, so that the tint is told from the skin.
                *channel = mixed(*channel, grey, 0.5);
            }
            blend(&mut pixel[..3], colour, TINT * strength(place).clamp(0.0, 1.0));
        }
        painting
    }
}

/// How much of the colour a full tint takes.
const TINT: f32 = 0.85;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mixture of two bytes is a byte"
)]
fn mixed(byte: u8, other: f32, share: f32) -> u8 {
    (f32::from(byte) * (1.0 - share) + other * share).round() as u8
}

/// Averages whole blocks of pixels.
fn shrink(picture: &Picture, part: Part, side_max: u32) -> Painting {
    let (width, height) = (part.width, part.height);
    let longest = width.max(height);
    let (to_width, to_height) = if longest <= side_max {
        (width, height)
    } else {
        let scaled = |side: u32| {
            u32::try_from(u64::from(side) * u64::from(side_max) / u64::from(longest))
                .unwrap_or(side_max)
                .max(1)
        };
        (scaled(width), scaled(height))
    };
    let rgb = picture.rgb();
    let (left, top, stride) = (part.left as usize, part.top as usize, picture.width() as usize);
    let span = |at: u32, from: u32, to: u32| {
        let edge = |at: u32| usize::try_from(u64::from(at) * u64::from(from) / u64::from(to)).unwrap_or(0);
        edge(at)..edge(at + 1).max(edge(at) + 1)
    };
    let mut rgba = Vec::with_capacity(to_width as usize * to_height as usize * 4);
    for y in 0..to_height {
        for x in 0..to_width {
            let mut sum = [0u32; 3];
            let mut count = 0;
            for source_y in span(y, height, to_height) {
                for source_x in span(x, width, to_width) {
                    let at = ((top + source_y) * stride + left + source_x) * 3;
                    for (sum, value) in sum.iter_mut().zip(&rgb[at..at + 3]) {
                        *sum += u32::from(*value);
                    }
                    count += 1;
                }
            }
            rgba.extend(sum.map(|sum| u8::try_from(sum / count).unwrap_or(u8::MAX)));
            rgba.push(u8::MAX);
        }
    }
    Painting { width: to_width, height: to_height, rgba }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "pixel positions are clamped to the painting, whose sides are at most SIDE_MAX"
)]
fn draw(painting: &mut Painting, corners: &[[f32; 2]], outline: &Outline) {
    if corners.len() < 3 || corners.iter().flatten().any(|value| !value.is_finite()) {
        return;
    }
    let (width, height) = (painting.width as f32, painting.height as f32);
    let half_line = (width.max(height) / 260.0).max(1.6);
    let reach = half_line * 2.0 + 1.0;
    let low = |axis: usize| corners.iter().map(|corner| corner[axis]).fold(f32::INFINITY, f32::min) - reach;
    let high =
        |axis: usize| corners.iter().map(|corner| corner[axis]).fold(f32::NEG_INFINITY, f32::max) + reach;
    let columns = low(0).clamp(0.0, width) as u32..high(0).clamp(0.0, width) as u32;
    for y in low(1).clamp(0.0, height) as u32..high(1).clamp(0.0, height) as u32 {
        for x in columns.clone() {
            let point = [x as f32, y as f32];
            let distance = distance(corners, point);
            let is_inside = contains(corners, point);
            let line = (half_line + 0.5 - distance).clamp(0.0, 1.0);
            let halo = (half_line * 2.0 + 0.5 - distance).clamp(0.0, 1.0) * 0.35;
            let at = (y as usize * painting.width as usize + x as usize) * 4;
            let pixel = &mut painting.rgba[at..at + 3];
            if is_inside {
                blend(pixel, outline.colour, outline.fill);
            }
            blend(pixel, [10, 20, 18], halo);
            blend(pixel, outline.colour, line);
        }
    }
}

fn blend(pixel: &mut [u8], colour: [u8; 3], share: f32) {
    for (pixel, colour) in pixel.iter_mut().zip(colour) {
        *pixel = mixed(*pixel, f32::from(colour), share);
    }
}

/// Distance of a point to a closed line.
fn distance(corners: &[[f32; 2]], [x, y]: [f32; 2]) -> f32 {
    edges(corners)
        .map(|([ax, ay], [bx, by])| {
            let (dx, dy) = (bx - ax, by - ay);
            let length = (dx * dx + dy * dy).max(f32::EPSILON);
            let along = (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0);
            (x - ax - along * dx).hypot(y - ay - along * dy)
        })
        .fold(f32::INFINITY, f32::min)
}

/// Whether a point lies inside a closed line (even-odd rule).
fn contains(corners: &[[f32; 2]], [x, y]: [f32; 2]) -> bool {
    edges(corners)
        .filter(|([ax, ay], [bx, by])| (*ay <= y) != (*by <= y) && x < ax + (y - ay) / (by - ay) * (bx - ax))
        .count()
        % 2
        == 1
}

fn edges(corners: &[[f32; 2]]) -> impl Iterator<Item = ([f32; 2], [f32; 2])> {
    corners.iter().copied().zip(corners.iter().copied().cycle().skip(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32) -> Picture {
        Picture::from_rgb(width, height, vec![128; (width * height * 3) as usize]).unwrap()
    }

    #[test]
    fn a_large_picture_becomes_small_and_keeps_its_shape() {
        let painting = paint(&grey(2400, 1200), &[]);
        assert_eq!((painting.width, painting.height), (1200, 600));
        assert!(painting.rgba.chunks_exact(4).all(|pixel| pixel == [128, 128, 128, 255]));
    }

    #[test]
    fn an_outline_colours_its_line_and_tints_its_inside() {
        let corners = vec![[20.0, 20.0], [80.0, 20.0], [80.0, 80.0], [20.0, 80.0]];
        let painting = paint(&grey(100, 100), &[Outline { corners, colour: [255, 0, 0], fill: 0.5 }]);
        let pixel = |x: usize, y: usize| &painting.rgba[(y * 100 + x) * 4..][..3];
        assert_eq!(pixel(50, 20), [255, 0, 0], "on the line");
        assert_eq!(pixel(50, 50), [192, 64, 64], "inside");
        assert_eq!(pixel(5, 5), [128, 128, 128], "outside");
    }

    #[test]
    fn a_part_is_cut_out_and_tinted_where_it_is_said() {
        let rgb = (0..100_u8).flat_map(|_| (0..100_u8).flat_map(|x| [x, x, x])).collect();
        let picture = Picture::from_rgb(100, 100, rgb).unwrap();
        let part = Part::between(&picture, [20.0, -30.0], [60.0, 40.0]);
        let cut = Cut::of(&picture, part, 20);
        let plain = cut.plain();
        assert_eq!((plain.width, plain.height), (20, 20));
        // Each pixel is the mean of two columns from 20 on.
        assert_eq!((plain.rgba[0], plain.rgba[4]), (20, 22));
        let tinted = cut.tinted([255, 0, 0], |[x, y]| if x < 30.0 && y < 20.0 { 1.0 } else { 0.0 });
        assert_eq!(tinted.rgba[..4], [220, 3, 3, 255]);
        let beside = (19 * 20 + 19) * 4;
        assert_eq!(tinted.rgba[beside..beside + 3], plain.rgba[beside..beside + 3]);
        let nowhere = Part::between(&picture, [300.0, 0.0], [400.0, f64::NAN]);
        assert_eq!(nowhere, Part::all(&picture));
    }

    #[test]
    fn lines_that_leave_the_picture_or_are_no_numbers_do_no_harm() {
        for corners in [
            vec![[-1e9, -50.0], [500.0, 10.0], [50.0, 1e9]],
            vec![[f32::NAN, 0.0], [1.0, 1.0], [2.0, 0.0]],
            vec![[1.0, 1.0]],
        ] {
            let painting = paint(&grey(40, 40), &[Outline { corners, colour: [255, 0, 0], fill: 0.1 }]);
            assert_eq!(painting.rgba.len(), 40 * 40 * 4);
        }
    }
}
