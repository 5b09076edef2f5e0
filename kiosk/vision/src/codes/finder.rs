//! Finder patterns of QR codes, and which three of them belong together.
//!
//! Every line through the middle of a finder pattern crosses dark, light, dark, light and dark parts of 1 : 1 : 3 : 1 : 1
//! modules, however it is turned, and nearly so where it is bent. The corners of its outer ring, four of each, say far more
//! of how the symbol lies than the centres alone.

use glam::DVec2;

use super::local::Sums;
use crate::picture::Grey;

/// Half the side of the square whose mean tells dark from light, in pixels: wider than the middle of a finder pattern.
const THRESHOLD_REACH: usize = 24;
/// Pixels are dark that are darker than the mean around them by this share and more.
const DARKER: f64 = 0.06;
/// How far a part of a crossing may be from its share of the whole, in modules of the crossing.
const MODULE_OFF_MAX: f64 = 0.75;
/// Shorter crossings have less than one and a half pixels a module.
const CROSSING_PX_MIN: usize = 9;
/// Longer ones are of symbols so near that a smaller picture shows them.
const CROSSING_PX_MAX: usize = 240;
/// Places that are kept of one picture: what has more is no shelf.
const PLACES_MAX: usize = 400;
/// Patterns in one picture that are looked at, the best-seen first.
const PATTERNS_MAX: usize = 24;
/// Triples that are handed on.
const TRIPLES_MAX: usize = 12;
/// A ring of more pixels is none of a pattern of this crossing: times the square of the crossing.
const RING_AREA_MAX: f64 = 2.5;
/// The sides of the patterns of one symbol differ by less, seen in perspective and bent.
const SIDES_RATIO_MAX: f64 = 2.2;
/// A bend makes a symbol look so many modules larger or smaller, at most.
const SIDE_OFF_MAX: f64 = 8.0;

/// One finder pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Finder {
    pub(crate) centre: DVec2,
    /// The corners of its outer ring, clockwise as seen, from any one on.
    pub(crate) corners: [DVec2; 4],
}

impl Finder {
    /// Its mean side in pixels: seven modules.
    fn side(&self) -> f64 {
        (0..4).map(|at| self.corners[at].distance(self.corners[(at + 1) % 4])).sum::<f64>() / 4.0
    }

    /// Its corners by their place in the symbol: top left, top right, bottom right, bottom left, where `x` points along the
    /// symbol's top edge. `None` unless each lies in a quarter of its own.
    fn sorted(&self, x: DVec2, y: DVec2) -> Option<[DVec2; 4]> {
        let determinant = x.perp_dot(y);
        let mut found = [None; 4];
        for corner in self.corners {
            let off = corner - self.centre;
            let (right, down) = (off.perp_dot(y) / determinant > 0.0, x.perp_dot(off) / determinant > 0.0);
            let place = match (right, down) {
                (false, false) => 0,
                (true, false) => 1,
                (true, true) => 2,
                (false, true) => 3,
            };
            if found[place].replace(corner).is_some() {
                return None;
            }
        }
        let [Some(a), Some(b), Some(c), Some(d)] = found else { return None };
        Some([a, b, c, d])
    }
}

/// Three finder patterns as those of one symbol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Triple {
    /// Of the top left, the top right and the bottom left pattern: its corners from the top left one on, clockwise.
    pub(crate) corners: [[DVec2; 4]; 3],
    /// Modules along the symbol's top edge and along its left one, by the patterns' own modules: where it is bent, one of
    /// them is off.
    pub(crate) modules: (f64, f64),
}

/// All triples that could be symbols, the likeliest first.
pub(crate) fn triples(grey: &Grey) -> Vec<Triple> {
    let finders = finders(grey);
    let mut found: Vec<(f64, Triple)> = Vec::new();
    for a in 0..finders.len() {
        for b in a + 1..finders.len() {
            for c in b + 1..finders.len() {
                found.extend(triple([&finders[a], &finders[b], &finders[c]]));
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().take(TRIPLES_MAX).map(|(_, triple)| triple).collect()
}

/// The three as one symbol, and how unlikely that is.
fn triple(three: [&Finder; 3]) -> Option<(f64, Triple)> {
    let sides = three.map(Finder::side);
    let (least, most) =
        (sides.iter().copied().fold(f64::INFINITY, f64::min), sides.iter().copied().fold(0.0, f64::max));
    if SIDES_RATIO_MAX * least < most {
        return None;
    }
    // The corner of the three lies opposite to their longest distance.
    let opposite = |at: usize| three[(at + 1) % 3].centre.distance_squared(three[(at + 2) % 3].centre);
    let corner = (0..3).max_by(|a, b| opposite(*a).total_cmp(&opposite(*b)))?;
    let [mut one, mut other] = [three[(corner + 1) % 3], three[(corner + 2) % 3]];
    let corner = three[corner];
    if (one.centre - corner.centre).perp_dot(other.centre - corner.centre) < 0.0 {
        std::mem::swap(&mut one, &mut other);
    }
    let (x, y) = (one.centre - corner.centre, other.centre - corner.centre);
    let corners = [corner.sorted(x, y)?, one.sorted(x, y)?, other.sorted(x, y)?];
    // Opposite sides of a pattern lie along the same edge of the symbol.
    let module = |[a, b, c, d]: [DVec2; 4]| {
        (f64::midpoint(a.distance(b), d.distance(c)) / 7.0, f64::midpoint(a.distance(d), b.distance(c)) / 7.0)
    };
    let [own, across, down] = corners.map(module);
    let modules =
        (x.length() / f64::midpoint(own.0, across.0) + 7.0, y.length() / f64::midpoint(own.1, down.1) + 7.0);
    let sides = 21.0 - SIDE_OFF_MAX..=177.0 + SIDE_OFF_MAX;
    if !(sides.contains(&modules.0) && sides.contains(&modules.1)) {
        return None;
    }
    // Of a square the two are alike, and its patterns are as large as each other.
    let unlike = (modules.0 / modules.1).ln().abs() + (most / least).ln();
    Some((unlike, Triple { corners, modules }))
}

/// Where it is dark, told by the mean of a square around each pixel.
struct Dark {
    width: usize,
    height: usize,
    is_dark: Vec<bool>,
}

impl Dark {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sums of bytes")]
    fn of(grey: &Grey) -> Self {
        let (width, height) = (grey.width() as usize, grey.height() as usize);
        let sums = Sums::of(grey, u64::from);
        let share = ((1.0 - DARKER) * 256.0).round() as u64;
        let mut is_dark = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (sum, count) = sums.around(x, y, THRESHOLD_REACH);
                is_dark.push(u64::from(grey.luma()[y * width + x]) * count * 256 < sum * share);
            }
        }
        Self { width, height, is_dark }
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        self.is_dark[y * self.width + x]
    }

    /// The middle and the length of the crossing of a finder pattern along a line of pixels through `at`, whose middle part
    /// holds `at`; `step` goes from one pixel of the line to the next.
    fn crossing(&self, at: (usize, usize), step: (usize, usize)) -> Option<(f64, f64)> {
        let place = |to: isize| -> Option<(usize, usize)> {
            let x = at.0.checked_add_signed(to * step.0.cast_signed())?;
            let y = at.1.checked_add_signed(to * step.1.cast_signed())?;
            (x < self.width && y < self.height).then_some((x, y))
        };
        let colour = |to: isize| place(to).map(|(x, y)| self.is_dark(x, y));
        // From the middle outwards: dark, light, dark, and then the end.
        let outwards = |way: isize| -> Option<[isize; 3]> {
            let (mut to, mut ends) = (0, [0; 3]);
            for (part, end) in ends.iter_mut().enumerate() {
                let wanted = part != 1;
                while colour(to) == Some(wanted) {
                    to += way;
                }
                // A part that ends with the picture is no whole one.
                place(to)?;
                *end = to;
            }
            Some(ends)
        };
        let (after, before) = (outwards(1)?, outwards(-1)?);
        let edges = [before[2] + 1, before[1] + 1, before[0] + 1, after[0], after[1], after[2]];
        let parts: [f64; 5] = std::array::from_fn(|at| (edges[at + 1] - edges[at]) as f64);
        is_finder(parts).then(|| {
            let middle = f64::midpoint(edges[2] as f64 - 0.5, edges[3] as f64 - 0.5);
            (middle, parts.iter().sum())
        })
    }
}

/// Whether the parts of a crossing are as 1 : 1 : 3 : 1 : 1.
fn is_finder(parts: [f64; 5]) -> bool {
    let whole: f64 = parts.iter().sum();
    let module = whole / 7.0;
    let off = MODULE_OFF_MAX * module;
    parts.iter().zip([1.0, 1.0, 3.0, 1.0, 1.0]).all(|(part, modules)| (part - modules * module).abs() < off)
}

/// All finder patterns in a picture, at most [`PATTERNS_MAX`].
fn finders(grey: &Grey) -> Vec<Finder> {
    let dark = Dark::of(grey);
    // Centre, side and how many rows cross it.
    let mut seen: Vec<(DVec2, f64, u32)> = Vec::new();
    for y in 0..dark.height {
        let mut starts: [usize; 6] = [0; 6];
        let mut runs = 0;
        for x in 1..dark.width {
            if dark.is_dark(x, y) == dark.is_dark(x - 1, y) {
                continue;
            }
            starts.rotate_left(1);
            starts[5] = x;
            runs += 1;
            let (whole, ends_dark) = (x - starts[0], dark.is_dark(x - 1, y));
            if runs < 6 || !ends_dark || !(CROSSING_PX_MIN..=CROSSING_PX_MAX).contains(&whole) {
                continue;
            }
            if !is_finder(std::array::from_fn(|at| (starts[at + 1] - starts[at]) as f64)) {
                continue;
            }
            let middle = usize::midpoint(starts[2], starts[3]);
            let Some((down, height)) = dark.crossing((middle, y), (0, 1)) else { continue };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the picture")]
            let row = (y as f64 + down).round().max(0.0) as usize;
            let Some((across, width)) = dark.crossing((middle, row), (1, 0)) else { continue };
            let centre = DVec2::new(middle as f64 + across, y as f64 + down);
            let side = f64::midpoint(width, height);
            let is_full = PLACES_MAX <= seen.len();
            match seen.iter_mut().find(|(known, size, _)| known.distance(centre) < size / 4.0) {
                Some((_, _, rows)) => *rows += 1,
                None if is_full => {}
                None => seen.push((centre, side, 1)),
            }
        }
    }
    // A real one is crossed by the rows of three modules.
    seen.sort_by(|a, b| (f64::from(b.2) / b.1).total_cmp(&(f64::from(a.2) / a.1)));
    let found = seen
        .into_iter()
        .filter_map(|(centre, side, _)| Some(Finder { centre, corners: ring_corners(&dark, centre, side)? }));
    found.take(PATTERNS_MAX).collect()
}

/// The corners of the outer ring around a centre, clockwise.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the picture")]
fn ring_corners(dark: &Dark, centre: DVec2, side: f64) -> Option<[DVec2; 4]> {
    let area = (RING_AREA_MAX * side * side) as usize;
    // From the middle to the right: dark, light, and then the ring.
    let (mut x, y) = (centre.x.round() as usize, centre.y.round() as usize);
    for part_is_dark in [true, false] {
        while x < dark.width && y < dark.height && dark.is_dark(x, y) == part_is_dark {
            x += 1;
        }
    }
    if dark.width <= x {
        return None;
    }
    let mut ring = vec![(x, y)];
    let mut known = std::collections::HashSet::from([(x, y)]);
    let mut next = 0;
    while next < ring.len() {
        if area < ring.len() {
            return None;
        }
        let (x, y) = ring[next];
        next += 1;
        if x == 0 || y == 0 || dark.width <= x + 1 || dark.height <= y + 1 {
            return None;
        }
        for beside in [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)] {
            if dark.is_dark(beside.0, beside.1) && known.insert(beside) {
                ring.push(beside);
            }
        }
    }
    let points: Vec<DVec2> = ring.iter().map(|(x, y)| DVec2::new(*x as f64, *y as f64)).collect();
    let furthest = |score: &dyn Fn(DVec2) -> f64| {
        points.iter().copied().max_by(|a, b| score(*a).total_cmp(&score(*b))).expect("it has a pixel")
    };
    let first = furthest(&|p| p.distance_squared(centre));
    let third = furthest(&|p| p.distance_squared(first));
    let second = furthest(&|p| (third - first).perp_dot(p - first));
    let fourth = furthest(&|p| -(third - first).perp_dot(p - first));
    // Pixels of a corner lie half a pixel inside of it.
    let outwards =
        |corner: DVec2| corner + (corner - centre).normalize_or_zero() * std::f64::consts::FRAC_1_SQRT_2;
    // With y downwards a positive cross product is clockwise, so the fourth comes after the first.
    let corners = [first, fourth, third, second].map(outwards);
    let reach = corners.map(|corner| corner.distance(centre));
    let is_square = reach.iter().all(|reach| (0.4 * side..1.2 * side).contains(reach));
    is_square.then_some(corners)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture in which the finder patterns of a symbol of `modules` modules stand where `place` puts them.
    fn drawn(modules: i32, place: impl Fn(f64, f64) -> (f64, f64)) -> Grey {
        const SIDE: u32 = 240;
        let mut luma = vec![220_u8; (SIDE * SIDE) as usize];
        let ring = |x: i32, y: i32| (x - 3).abs().max((y - 3).abs());
        for y in 0..SIDE * 4 {
            for x in 0..SIDE * 4 {
                let (column, row) = place(f64::from(x) / 4.0, f64::from(y) / 4.0);
                #[expect(clippy::cast_possible_truncation, reason = "some modules")]
                let (column, row) = (column.floor() as i32, row.floor() as i32);
                let dark = [(0, 0), (modules - 7, 0), (0, modules - 7)].iter().any(|(left, top)| {
                    let (x, y) = (column - left, row - top);
                    (0..7).contains(&x) && (0..7).contains(&y) && ring(x, y) != 2
                });
                if dark {
                    luma[(y / 4 * SIDE + x / 4) as usize] = 40;
                }
            }
        }
        Grey::from_luma(SIDE, SIDE, luma)
    }

    #[test]
    fn three_patterns_are_one_symbol_with_its_size_and_its_corners_however_it_is_turned() {
        for degrees in [0.0, 25.0, 90.0, 135.0, 200.0, 300.0_f64] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            // 4.5 pixels a module, its middle in the middle of the picture.
            let picture = drawn(33, |x, y| {
                let (x, y) = (x - 120.0, y - 120.0);
                ((x * cos + y * sin) / 4.5 + 16.5, (y * cos - x * sin) / 4.5 + 16.5)
            });
            let found = triples(&picture);
            assert!(!found.is_empty(), "turned by {degrees}");
            let triple = found[0];
            let (across, down) = triple.modules;
            assert!((across - 33.0).abs() < 1.6 && (down - 33.0).abs() < 1.6, "{degrees}: {triple:?}");
            let corner = |column: f64, row: f64| {
                let (x, y) = ((column - 16.5) * 4.5, (row - 16.5) * 4.5);
                DVec2::new(120.0 + x * cos - y * sin, 120.0 + x * sin + y * cos)
            };
            for (found, (column, row)) in triple.corners.iter().zip([(0.0, 0.0), (26.0, 0.0), (0.0, 26.0)]) {
                let own = [(0.0, 0.0), (7.0, 0.0), (7.0, 7.0), (0.0, 7.0)];
                for (found, (x, y)) in found.iter().zip(own) {
                    let expected = corner(column + x, row + y);
                    assert!(found.distance(expected) < 2.0, "{degrees}: {found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn two_patterns_or_three_of_unlike_size_are_no_symbol() {
        let two =
            drawn(
                33,
                |x, y| if x < 120.0 || y > 120.0 { (x / 4.5 - 8.0, y / 4.5 - 8.0) } else { (-9.0, -9.0) },
            );
        assert_eq!(triples(&two), []);
        let unlike = drawn(33, |x, y| {
            if x < 120.0 {
                (x / 4.5 - 8.0, y / 4.5 - 8.0)
            } else {
                ((x - 120.0) / 13.0 + 25.8, y / 13.0 - 0.3)
            }
        });
        assert_eq!(triples(&unlike), []);
        assert_eq!(triples(&Grey::from_luma(1, 1, vec![0])), []);
    }
}
