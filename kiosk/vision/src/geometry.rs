//! Points and polygons in a picture, and the affine maps between a face's own frame and the picture.
//!
//! Pixel centres are at integers; `y` grows downwards. Pure arithmetic, no pictures.

use serde::{Serialize, Serializer};

/// A point in a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Downwards.
    pub y: f64,
}

impl Point {
    /// A point from its two coordinates.
    #[must_use]
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// Distance to another point.
    #[must_use]
    pub fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// The point half way to another one.
    #[must_use]
    pub fn middle(self, other: Self) -> Self {
        Self::new(f64::midpoint(self.x, other.x), f64::midpoint(self.y, other.y))
    }
}

/// As `[x, y]`, rounded to a hundredth of a pixel: more digits would claim more than anybody measures.
impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [hundredths(self.x), hundredths(self.y)].serialize(serializer)
    }
}

/// Rounds to two decimals, to no negative nought.
pub(crate) fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0 + 0.0
}

/// An affine map of the plane: `picture = linear · own + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Affine {
    xx: f64,
    xy: f64,
    yx: f64,
    yy: f64,
    offset: Point,
}

impl Affine {
    /// The map that takes each of three own points to its picture point; `None` when the own points are
    /// (nearly) on a line.
    pub(crate) fn from_three(own: [Point; 3], picture: [Point; 3]) -> Option<Self> {
        let (ux, uy) = (own[1].x - own[0].x, own[1].y - own[0].y);
        let (vx, vy) = (own[2].x - own[0].x, own[2].y - own[0].y);
        let determinant = ux * vy - uy * vx;
        if determinant.abs() < 1e-9 {
            return None;
        }
        let (px, py) = (picture[1].x - picture[0].x, picture[1].y - picture[0].y);
        let (qx, qy) = (picture[2].x - picture[0].x, picture[2].y - picture[0].y);
        let xx = (px * vy - qx * uy) / determinant;
        let xy = (qx * ux - px * vx) / determinant;
        let yx = (py * vy - qy * uy) / determinant;
        let yy = (qy * ux - py * vx) / determinant;
        let offset = Point::new(
            picture[0].x - xx * own[0].x - xy * own[0].y,
            picture[0].y - yx * own[0].x - yy * own[0].y,
        );
        Some(Self { xx, xy, yx, yy, offset })
    }

    pub(crate) fn apply(&self, own: Point) -> Point {
        Point::new(
            self.xx * own.x + self.xy * own.y + self.offset.x,
            self.yx * own.x + self.yy * own.y + self.offset.y,
        )
    }
}

/// Twice the signed area of a polygon; positive when its corners run clockwise as seen on the screen.
pub(crate) fn doubled_area(polygon: &[Point]) -> f64 {
    polygon.iter().zip(polygon.iter().cycle().skip(1)).map(|(a, b)| a.x * b.y - b.x * a.y).sum()
}

/// Calls `visit(x, y)` for every pixel whose centre lies inside the polygon and inside a picture of
/// this size, row by row.
pub(crate) fn for_each_pixel_inside(
    polygon: &[Point],
    width: u32,
    height: u32,
    mut visit: impl FnMut(u32, u32),
) {
    let top = polygon.iter().map(|p| p.y).fold(f64::INFINITY, f64::min);
    let bottom = polygon.iter().map(|p| p.y).fold(f64::NEG_INFINITY, f64::max);
    if !(top.is_finite() && bottom.is_finite()) {
        return;
    }
    let mut crossings = Vec::with_capacity(polygon.len());
    for y in rows_within(top, bottom, height) {
        crossings.clear();
        let line = f64::from(y);
        for (a, b) in polygon.iter().zip(polygon.iter().cycle().skip(1)) {
            if (a.y <= line) != (b.y <= line) {
                crossings.push(a.x + (line - a.y) / (b.y - a.y) * (b.x - a.x));
            }
        }
        crossings.sort_by(f64::total_cmp);
        for pair in crossings.chunks_exact(2) {
            for x in rows_within(pair[0], pair[1], width) {
                visit(x, y);
            }
        }
    }
}

/// The integers within `[low, high]` and `0..size`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=size, which fits, before the cast"
)]
fn rows_within(low: f64, high: f64, size: u32) -> std::ops::Range<u32> {
    let limit = f64::from(size);
    let first = low.ceil().clamp(0.0, limit) as u32;
    let end = (high.floor() + 1.0).clamp(0.0, limit) as u32;
    first..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_points_fix_an_affine_map() {
        let own = [Point::new(0.0, 0.0), Point::new(1.0, 0.0), Point::new(0.0, 1.0)];
        let picture = [Point::new(10.0, 20.0), Point::new(12.0, 21.0), Point::new(9.0, 24.0)];
        let map = Affine::from_three(own, picture).unwrap();
        for (from, to) in own.iter().zip(picture) {
            assert!(map.apply(*from).distance(to) < 1e-9);
        }
        assert!(map.apply(Point::new(1.0, 1.0)).distance(Point::new(11.0, 25.0)) < 1e-9);
        assert!(Affine::from_three([own[0], own[1], Point::new(2.0, 0.0)], picture).is_none());
    }

    #[test]
    fn a_polygon_holds_the_pixels_whose_centres_it_holds() {
        let square = [(0.5, 0.5), (3.5, 0.5), (3.5, 2.5), (0.5, 2.5)].map(|(x, y)| Point::new(x, y));
        let mut pixels = Vec::new();
        for_each_pixel_inside(&square, 100, 100, |x, y| pixels.push((x, y)));
        assert_eq!(pixels, [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2)]);
        let mut clipped = 0;
        for_each_pixel_inside(&square, 2, 2, |_, _| clipped += 1);
        assert_eq!(clipped, 1);
        for_each_pixel_inside(&[Point::new(f64::NAN, 0.0); 3], 9, 9, |_, _| panic!("no pixel is inside"));
    }
}
