//! Small even areas with four corners: what may be a patch of the chart.
//!
//! An area is even where no pixel differs from its neighbours by more than a step. How large a step is an edge depends
//! on light, noise and blur, so several are tried and what they find is pooled.

use glam::DVec2;

use crate::picture::Picture;

/// Differences between neighbouring pixels that are taken for an edge, in bytes, one after the other.
const EDGE_STEPS: [u8; 5] = [6, 10, 16, 26, 40];
/// Smaller areas are noise, in pixels.
const AREA_PX_MIN: f64 = 24.0;
/// A patch covers at most this share of the picture.
const AREA_SHARE_MAX: f64 = 1.0 / 20.0;
/// Longest over shortest extent.
const ELONGATION_MAX: f64 = 2.5;
/// Bounds of the moments' determinant over that of a parallelogram of the same area: a disc has 0.91, holes and dents
/// raise it.
const FOURSQUARE: (f64, f64) = (0.85, 1.5);
/// Pixels that an edge takes from each side of an area: smoothing, and the look at the neighbours.
const ERODED_PX: f64 = 1.5;
/// At most this many areas are kept, so that a picture of gravel takes no longer than others.
const AREAS_MAX: usize = 1500;

/// An even area.
#[derive(Debug, Clone, Copy)]
pub(super) struct Even {
    /// Its centre of gravity, in pixels.
    pub(super) centre: DVec2,
    /// The side of a square of its size in pixels, with what the edges took.
    pub(super) side: f64,
    /// How far it is from a parallelogram, 0 at best.
    dent: f64,
}

/// All even areas that could be patches.
pub(super) fn find(picture: &Picture) -> Vec<Even> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width < 3 || height < 3 {
        return Vec::new();
    }
    let steps = steps(picture.rgb(), width, height);
    let mut found: Vec<Even> = Vec::new();
    for edge in EDGE_STEPS {
        for area in areas(&steps, width, height, edge) {
            let same = |other: &Even| other.centre.distance(area.centre) < 0.3 * area.side;
            match found.iter().position(same) {
                Some(at) if area.dent < found[at].dent => found[at] = area,
                None if found.len() < AREAS_MAX => found.push(area),
                _ => {}
            }
        }
    }
    found
}

/// The largest difference of each pixel's neighbourhood in any channel, after smoothing; 255 along the border.
fn steps(rgb: &[u8], width: usize, height: usize) -> Vec<u8> {
    let stride = width * 3;
    let smooth = over_neighbours(rgb, stride, 3, |nine| {
        let sum: u32 = nine.iter().map(|byte| u32::from(*byte)).sum();
        u8::try_from((sum + 4) / 9).expect("a mean of bytes is a byte")
    });
    let ranges = over_neighbours(&smooth, stride, 3, |nine| {
        let (least, most) = nine
            .iter()
            .fold((255, 0), |(least, most), byte| (byte.min(&least).to_owned(), byte.max(&most).to_owned()));
        most - least
    });
    let mut steps: Vec<u8> = ranges.chunks_exact(3).map(|p| p[0].max(p[1]).max(p[2])).collect();
    // The outermost pixels have not all neighbours, and the next ones were smoothed without them.
    for (at, step) in steps.iter_mut().enumerate() {
        let (x, y) = (at % width, at / width);
        if x < 2 || y < 2 || width <= x + 2 || height <= y + 2 {
            *step = u8::MAX;
        }
    }
    steps
}

/// A value from the nine bytes around each byte that has them, and the byte itself elsewhere.
fn over_neighbours(bytes: &[u8], stride: usize, channels: usize, value: impl Fn([u8; 9]) -> u8) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let rows = bytes.len() / stride;
    for y in 1..rows - 1 {
        let [above, here, below] = [y - 1, y, y + 1].map(|y| &bytes[y * stride..(y + 1) * stride]);
        for x in channels..stride - channels {
            let (left, right) = (x - channels, x + channels);
            out[y * stride + x] = value([
                above[left],
                above[x],
                above[right],
                here[left],
                here[x],
                here[right],
                below[left],
                below[x],
                below[right],
            ]);
        }
    }
    out
}

/// Connected areas whose steps are below `edge`, as far as they could be patches.
fn areas(steps: &[u8], width: usize, height: usize, edge: u8) -> Vec<Even> {
    let area_px_max = AREA_SHARE_MAX * (width * height) as f64;
    let mut seen = vec![false; steps.len()];
    let mut found = Vec::new();
    let mut open = Vec::new();
    for start in 0..steps.len() {
        if seen[start] || edge <= steps[start] {
            continue;
        }
        let mut sums = Moments::default();
        seen[start] = true;
        open.push(start);
        while let Some(at) = open.pop() {
            sums.add((at % width) as f64, (at / width) as f64);
            // The border is an edge, so that all four exist.
            for next in [at - 1, at + 1, at - width, at + width] {
                if !seen[next] && steps[next] < edge {
                    seen[next] = true;
                    open.push(next);
                }
            }
        }
        if (AREA_PX_MIN..=area_px_max).contains(&sums.count) {
            found.extend(sums.to_even());
        }
    }
    found
}

/// Sums over an area's pixels.
#[derive(Default)]
struct Moments {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Moments {
    fn add(&mut self, x: f64, y: f64) {
        self.count += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
        self.yy += y * y;
    }

    /// The area, if its shape is near a parallelogram: of all shapes that are one affine map apart, the covariance's
    /// determinant over the squared area is the same, 1/144 for parallelograms.
    fn to_even(&self) -> Option<Even> {
        let centre = DVec2::new(self.x, self.y) / self.count;
        let xx = self.xx / self.count - centre.x * centre.x;
        let xy = self.xy / self.count - centre.x * centre.y;
        let yy = self.yy / self.count - centre.y * centre.y;
        let determinant = xx * yy - xy * xy;
        let shape = 144.0 * determinant / (self.count * self.count);
        let (middle, off) = (f64::midpoint(xx, yy), ((xx - yy) / 2.0).hypot(xy));
        let elongation = ((middle + off) / (middle - off)).sqrt();
        let fits = (FOURSQUARE.0..=FOURSQUARE.1).contains(&shape) && elongation <= ELONGATION_MAX;
        fits.then(|| Even { centre, side: self.count.sqrt() + 2.0 * ERODED_PX, dent: (shape - 1.0).abs() })
    }
}
