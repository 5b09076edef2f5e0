//! Finds the chart in a picture and measures its patches.
//!
//! Even areas ([`even`]) that stand in a grid ([`grid`]) fix a perspective map. The chart is laid onto the grid in each
//! of its turns and shifts, also as its mirror image, and is where its colours agree best with those seen.

use std::collections::BTreeMap;

use glam::{DVec2, IVec2};

use super::{
    chart::{COLUMNS, FIRST_GREY, PATCHES, Patch, ROWS},
    even,
    grid::{self, CELLS_MIN, Grid},
    homography::Homography,
};
use crate::{
    equations::LeastSquares,
    geometry::{Point, for_each_pixel_inside},
    picture::Picture,
    skin::{CLIPPED_FROM, colour},
};

/// The chart is looked for in a copy whose longer side has at most this many pixels.
const SIDE_PX_MAX: u32 = 1024;
/// Share of the variance of the seen colours that the chart's colours explain, at least.
///
/// Correct placements reached 0.91 to 0.98 in 200 rendered views, a wrong one 0.60.
const AGREEMENT_MIN: f64 = 0.8;
/// A chart of which a part is seen is believed from this many patches on.
const CUT_PATCHES_MIN: usize = 12;
/// Half of the side of the square that is measured in each patch, in distances of patches.
const SAMPLE_HALF: f64 = 0.25;
/// Pixels that are measured in each patch, at least: those of a patch about 12 pixels wide.
const SAMPLE_PX_MIN: usize = 36;
/// Share of clipped pixels from which a patch counts as clipped.
const CLIPPED_SHARE_MAX: f64 = 0.01;
/// The middle of a patch may vary by this standard deviation, in bytes; sensor noise of a usable picture stays below 8.
const SPREAD_BYTES_MAX: f64 = 14.0;
/// Greys whose brightest channel is darker than this byte are lost in the camera's black.
const BLACK_BYTE_MIN: f64 = 3.0;
/// A picture whose most colourful patch differs less between its channels than this share has no colour; yellow differs
/// by 0.9 for most cameras.
const COLOUR_MIN: f64 = 0.15;
/// Colour is judged on patches at least this light, in L*: dark ones are left to their noise.
const COLOUR_LIGHTNESS_MIN: f64 = 45.0;

/// The chart in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Detected {
    /// Outer corners of the patches: of dark skin, bluish green, black and white, in pixels of the picture.
    pub corners: [Point; 4],
    /// How much of the variance of the seen colours the chart's colours explain, 1 at most.
    pub agreement: f64,
    /// What each patch looks like to the camera, in the order of [`Patch::all`].
    pub readings: [Reading; PATCHES],
}

/// What a patch looks like to the camera: bytes decoded as sRGB, 0 to 1 for each channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Mean of the pixels in the middle of the patch.
    pub rgb: [f64; 3],
    /// Their standard deviation.
    pub spread: [f64; 3],
}

/// Why no chart could be measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DetectError {
    /// No grid of even patches.
    #[error(
        "found no colour chart: it must lie flat, face the camera and fill \
         at least a sixth of the picture's width"
    )]
    NoChart,
    /// A grid of patches that is something else, or a chart under a light that tells no colours.
    #[error(
        "found a grid of patches, but its colours are not those of a whole chart \
         (agreement {agreement:.2}, at least {AGREEMENT_MIN} is needed)"
    )]
    OtherColours {
        /// The best share of variance that was explained.
        agreement: f64,
    },
    /// Two charts or more.
    #[error("found more than one colour chart: leave one in the picture")]
    Several,
    /// The chart in a mirror, or a camera that mirrors its picture.
    #[error("the colour chart is mirrored: switch off the camera's mirror image")]
    Mirrored,
    /// The chart reaches over the edge of the picture.
    #[error("the colour chart is cut off: only {visible} of {PATCHES} patches are in the picture")]
    CutOff {
        /// Patches that are seen whole.
        visible: usize,
    },
    /// Too few pixels a patch.
    #[error(
        "the colour chart is too small: {patch} has {pixels} pixels in its middle, at least {SAMPLE_PX_MIN} are needed"
    )]
    TooSmall {
        /// The smallest patch.
        patch: Patch,
        /// Pixels in its middle.
        pixels: usize,
    },
    /// A channel of a patch is at its end: too much light, or a lamp that shines in the patch.
    #[error(
        "{patch} is clipped ({percent:.0} % of its pixels): less light or exposure, and no shine on the chart"
    )]
    Clipped {
        /// The patch with the most clipped pixels.
        patch: Patch,
        /// How many of its pixels are, in percent.
        percent: f64,
    },
    /// A grey patch is lost in black.
    #[error("{patch} is black to the camera: more light or exposure")]
    TooDark {
        /// The patch.
        patch: Patch,
    },
    /// Something lies on a patch: a shadow's edge, a finger, shine.
    #[error(
        "{patch} is not even (standard deviation {spread_bytes:.0}, at most {SPREAD_BYTES_MAX} of 255): \
         no shadow, shine or finger on the chart"
    )]
    NotEven {
        /// The least even patch.
        patch: Patch,
        /// Standard deviation of its middle, in bytes.
        spread_bytes: f64,
    },
    /// The picture is grey.
    #[error("the picture has no colour: a colour camera is needed")]
    Monochrome,
}

/// Finds the chart and measures its patches.
///
/// # Errors
/// When there is not exactly one whole chart whose patches can be measured.
pub fn detect(picture: &Picture) -> Result<Detected, DetectError> {
    let small = picture.shrunk_to(SIDE_PX_MAX);
    let sighting = only_sighting(sightings(&small)?)?;
    let scale = f64::from(picture.width()) / f64::from(small.width());
    let pairs: Vec<(DVec2, DVec2)> = sighting
        .pairs
        .iter()
        .map(|(on_chart, seen)| (*on_chart, (*seen + DVec2::splat(0.5)) * scale - DVec2::splat(0.5)))
        .collect();
    let picture_from_chart = Homography::fit(&pairs).ok_or(DetectError::NoChart)?;
    let measured = measure_all(picture, &picture_from_chart)?;
    let readings = std::array::from_fn(|at| measured[at].reading);
    if is_monochrome(&readings) {
        return Err(DetectError::Monochrome);
    }
    let corners = outline(&picture_from_chart).ok_or(DetectError::NoChart)?;
    Ok(Detected { corners, agreement: sighting.agreement, readings })
}

/// The chart laid onto a grid.
#[derive(Debug, Clone)]
struct Sighting {
    kind: Kind,
    agreement: f64,
    /// The middle of the chart, and the distance of patches in pixels.
    middle: DVec2,
    pitch: f64,
    /// Places on the chart, in distances of patches from the middle of the first one, and in the picture.
    pairs: Vec<(DVec2, DVec2)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Cut { visible: usize },
    Mirrored,
}

fn only_sighting(mut sightings: Vec<Sighting>) -> Result<Sighting, DetectError> {
    sightings.sort_by(|a, b| b.agreement.total_cmp(&a.agreement));
    let mut sightings = sightings.into_iter();
    let best = sightings.next().ok_or(DetectError::NoChart)?;
    match best.kind {
        // The same chart is seen twice where its grid was found in pieces.
        Kind::Whole if sightings.any(|other| 3.0 * best.pitch < other.middle.distance(best.middle)) => {
            Err(DetectError::Several)
        }
        Kind::Whole => Ok(best),
        Kind::Cut { visible } => Err(DetectError::CutOff { visible }),
        Kind::Mirrored => Err(DetectError::Mirrored),
    }
}

/// Every chart whose colours agree.
///
/// # Errors
/// When there is none; the best agreement of a grid that could be one is named.
fn sightings(small: &Picture) -> Result<Vec<Sighting>, DetectError> {
    let grids = grid::find(&even::find(small));
    let mut best_otherwise: Option<f64> = None;
    let mut found = Vec::new();
    for grid in grids {
        let Some(sighting) = best_placement(small, &grid) else { continue };
        if AGREEMENT_MIN <= sighting.agreement {
            found.push(sighting);
        } else if grid.len() * 2 >= PATCHES {
            best_otherwise = Some(best_otherwise.unwrap_or(0.0).max(sighting.agreement));
        }
    }
    match best_otherwise {
        Some(agreement) if found.is_empty() => Err(DetectError::OtherColours { agreement }),
        _ => Ok(found),
    }
}

/// The chart in each of its four turns, as it is and mirrored: where its patches are on a grid.
fn turns() -> impl Iterator<Item = (bool, [IVec2; PATCHES])> {
    [false, true].into_iter().flat_map(|is_mirrored| {
        (0..4).map(move |turn| {
            let cells = Patch::all().map(|patch| {
                let place = on_chart(patch).as_ivec2();
                let place = if is_mirrored { IVec2::new(-place.x, place.y) } else { place };
                (0..turn).fold(place, |place, _| place.perp())
            });
            let cells: Vec<IVec2> = cells.collect();
            let least = cells.iter().copied().reduce(IVec2::min).expect("there are patches");
            (is_mirrored, std::array::from_fn(|at| cells[at] - least))
        })
    })
}

/// A patch's place on the chart, in distances of patches from the first.
fn on_chart(patch: Patch) -> DVec2 {
    DVec2::new((patch.column() - 1) as f64, (patch.row() - 1) as f64)
}

/// Where the chart's colours agree best with those around a grid.
fn best_placement(small: &Picture, grid: &Grid) -> Option<Sighting> {
    let pairs: Vec<(DVec2, DVec2)> = grid.iter().map(|(at, seen)| (place(*at), *seen)).collect();
    let map = Homography::fit(&pairs)?;
    let keys = || grid.keys().map(|(x, y)| IVec2::new(*x, *y));
    let (least, most) = (keys().reduce(IVec2::min)?, keys().reduce(IVec2::max)?);
    let mut seen = BTreeMap::new();
    let span = IVec2::splat(i32::try_from(COLUMNS).expect("a handful") - 1);
    for y in least.y - span.y..=most.y + span.y {
        for x in least.x - span.x..=most.x + span.x {
            seen.insert((x, y), sampled(small, &map, place((x, y))));
        }
    }
    let mut best: Option<(f64, Kind, [IVec2; PATCHES])> = None;
    for (is_mirrored, turned) in turns() {
        let size = turned.iter().copied().reduce(IVec2::max)?;
        for y in least.y - size.y..=most.y {
            for x in least.x - size.x..=most.x {
                let cells = turned.map(|cell| cell + IVec2::new(x, y));
                if cells.iter().filter(|cell| grid.contains_key(&(cell.x, cell.y))).count() < CELLS_MIN {
                    continue;
                }
                let colours = cells.map(|cell| seen.get(&(cell.x, cell.y)).copied().flatten());
                let visible = colours.iter().flatten().count();
                let kind = match (visible, is_mirrored) {
                    (PATCHES, false) => Kind::Whole,
                    (PATCHES, true) => Kind::Mirrored,
                    (CUT_PATCHES_MIN.., false) => Kind::Cut { visible },
                    _ => continue,
                };
                let agreement = agreement(&colours);
                if best.as_ref().is_none_or(|(most, ..)| *most < agreement) {
                    best = Some((agreement, kind, cells));
                }
            }
        }
    }
    let (agreement, kind, cells) = best?;
    let pairs: Vec<(DVec2, DVec2)> = Patch::all()
        .filter_map(|patch| {
            let cell = cells[patch.index()];
            Some((on_chart(patch), *grid.get(&(cell.x, cell.y))?))
        })
        .collect();
    let map = Homography::fit(&pairs)?;
    let middle = DVec2::new((COLUMNS - 1) as f64, (ROWS - 1) as f64) / 2.0;
    let (here, next) = (map.apply(middle)?, map.apply(middle + DVec2::X)?);
    Some(Sighting { kind, agreement, middle: here, pitch: here.distance(next), pairs })
}

fn place((x, y): (i32, i32)) -> DVec2 {
    DVec2::new(f64::from(x), f64::from(y))
}

/// The colour at a place of the grid, the mean of three by three pixels; `None` where the patch there would not be
/// whole in the picture.
fn sampled(small: &Picture, map: &Homography, at: DVec2) -> Option<[f64; 3]> {
    let (right, bottom) = (f64::from(small.width()) - 2.0, f64::from(small.height()) - 2.0);
    let is_inside = |p: DVec2| (1.0..=right).contains(&p.x) && (1.0..=bottom).contains(&p.y);
    let corners = sample_corners(map, at)?;
    if !corners.into_iter().all(is_inside) {
        return None;
    }
    let centre = map.apply(at).filter(|centre| is_inside(*centre))?.round().as_uvec2();
    let mut sum = [0.0; 3];
    for y in centre.y - 1..=centre.y + 1 {
        for x in centre.x - 1..=centre.x + 1 {
            for (sum, value) in sum.iter_mut().zip(colour::linear(small.pixel(x, y))) {
                *sum += value / 9.0;
            }
        }
    }
    Some(sum)
}

/// Corners of the square that is measured in a patch.
fn sample_corners(map: &Homography, at: DVec2) -> Option<[DVec2; 4]> {
    let [a, b, c, d] = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
        .map(|(x, y)| map.apply(at + DVec2::new(x, y) * SAMPLE_HALF));
    Some([a?, b?, c?, d?])
}

/// How much of the variance of the seen colours is explained by an affine map from the chart's colours, less what chance
/// would explain (adjusted R²); none when the greys do not get darker from white to black.
///
/// Cube roots on both sides, so that dark patches count as much as light ones.
fn agreement(seen: &[Option<[f64; 3]>; PATCHES]) -> f64 {
    let greys: Vec<f64> = seen[FIRST_GREY..].iter().flatten().map(|rgb| rgb.iter().sum()).collect();
    if !greys.windows(2).all(|pair| pair[1] < pair[0]) {
        return 0.0;
    }
    let both: Vec<([f64; 4], [f64; 3])> = Patch::all()
        .filter_map(|patch| {
            let [r, g, b] = patch.linear_srgb().map(f64::cbrt);
            Some(([1.0, r, g, b], seen[patch.index()]?.map(f64::cbrt)))
        })
        .collect();
    let count = both.len() as f64;
    let (mut unexplained, mut variance) = (0.0, 0.0);
    for channel in 0..3 {
        let mut sums = LeastSquares::<4>::new();
        for (chart, seen) in &both {
            sums.add(*chart, seen[channel]);
        }
        let Some(weights) = sums.solve(0.0) else { return 0.0 };
        let mean = both.iter().map(|(_, seen)| seen[channel]).sum::<f64>() / count;
        for (chart, seen) in &both {
            let explained: f64 = chart.iter().zip(weights).map(|(value, weight)| value * weight).sum();
            unexplained += (seen[channel] - explained).powi(2);
            variance += (seen[channel] - mean).powi(2);
        }
    }
    if variance <= 0.0 || count <= 4.0 {
        return 0.0;
    }
    (1.0 - unexplained / variance * (count - 1.0) / (count - 4.0)).max(0.0)
}

/// A patch as measured, with what speaks against it.
struct Measured {
    reading: Reading,
    pixels: usize,
    clipped_share: f64,
    spread_bytes: f64,
    /// The mean byte of the brightest channel.
    bright_byte: f64,
}

/// Measures all patches.
///
/// # Errors
/// The worst patch is named when one cannot be used.
fn measure_all(picture: &Picture, map: &Homography) -> Result<Vec<Measured>, DetectError> {
    let measured: Option<Vec<Measured>> =
        Patch::all().map(|patch| Some(measure(picture, sample_corners(map, on_chart(patch))?))).collect();
    let measured = measured.ok_or(DetectError::NoChart)?;
    let worst = |value: fn(&Measured) -> f64| {
        let by = |a: &Patch, b: &Patch| value(&measured[a.index()]).total_cmp(&value(&measured[b.index()]));
        let patch = Patch::all().max_by(by).expect("there are patches");
        (patch, value(&measured[patch.index()]))
    };
    let (patch, _) = worst(|measured| -(measured.pixels as f64));
    let pixels = measured[patch.index()].pixels;
    if pixels < SAMPLE_PX_MIN {
        return Err(DetectError::TooSmall { patch, pixels });
    }
    let (patch, share) = worst(|measured| measured.clipped_share);
    if CLIPPED_SHARE_MAX < share {
        return Err(DetectError::Clipped { patch, percent: 100.0 * share });
    }
    let too_dark = |patch: &Patch| patch.is_grey() && measured[patch.index()].bright_byte < BLACK_BYTE_MIN;
    if let Some(patch) = Patch::all().find(too_dark) {
        return Err(DetectError::TooDark { patch });
    }
    let (patch, spread_bytes) = worst(|measured| measured.spread_bytes);
    if SPREAD_BYTES_MAX < spread_bytes {
        return Err(DetectError::NotEven { patch, spread_bytes });
    }
    Ok(measured)
}

fn measure(picture: &Picture, corners: [DVec2; 4]) -> Measured {
    let (mut light, mut bytes) = ([Spread::default(); 3], [Spread::default(); 3]);
    let (mut pixels, mut clipped) = (0_usize, 0_usize);
    for_each_pixel_inside(&corners.map(point), picture.width(), picture.height(), |x, y| {
        let rgb = picture.pixel(x, y);
        pixels += 1;
        clipped += usize::from(rgb.iter().any(|byte| CLIPPED_FROM <= *byte));
        for (sum, value) in light.iter_mut().zip(colour::linear(rgb)) {
            sum.add(value);
        }
        for (sum, byte) in bytes.iter_mut().zip(rgb) {
            sum.add(f64::from(byte));
        }
    });
    let most = |values: [f64; 3]| values.into_iter().fold(0.0, f64::max);
    Measured {
        reading: Reading { rgb: light.map(Spread::mean), spread: light.map(Spread::deviation) },
        pixels,
        clipped_share: clipped as f64 / pixels.max(1) as f64,
        spread_bytes: most(bytes.map(Spread::deviation)),
        bright_byte: most(bytes.map(Spread::mean)),
    }
}

/// Sums of values and of their squares.
#[derive(Debug, Clone, Copy, Default)]
struct Spread {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    /// The mean; 0 of nothing.
    fn mean(self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    /// The standard deviation; 0 of nothing.
    fn deviation(self) -> f64 {
        (self.squares / self.count.max(1.0) - self.mean().powi(2)).max(0.0).sqrt()
    }
}

/// Whether all patches have the same ratios of channels, whatever the tint.
fn is_monochrome(readings: &[Reading; PATCHES]) -> bool {
    let white = readings[FIRST_GREY].rgb;
    let colour = |reading: &Reading| {
        let [r, g, b] = std::array::from_fn(|channel| reading.rgb[channel] / white[channel].max(1e-6));
        let (least, most) = (r.min(g).min(b), r.max(g).max(b));
        (most - least) / most.max(1e-6)
    };
    let light = Patch::all().filter(|patch| COLOUR_LIGHTNESS_MIN < patch.lab().l);
    light.map(|patch| colour(&readings[patch.index()])).fold(0.0, f64::max) < COLOUR_MIN
}

/// Outer corners of the patches, clockwise from dark skin's.
fn outline(map: &Homography) -> Option<[Point; 4]> {
    let (right, bottom) = (COLUMNS as f64 - 0.5, ROWS as f64 - 0.5);
    let [a, b, c, d] = [(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom)]
        .map(|(x, y)| map.apply(DVec2::new(x, y)));
    Some([a?, b?, c?, d?].map(point))
}

fn point(at: DVec2) -> Point {
    Point::new(at.x, at.y)
}
