//! What is measured on the maps: shares of the bare skin in each region, with the interval that the skin's own
//! variation gives.
//!
//! Owns which map answers for which metric, and its unit. A metric is measured where enough bare skin is seen, and
//! nowhere else.

use crate::{
    geometry::{Point, for_each_pixel_inside, hundredths},
    skin::{
        regions::{RegionId, RegionOutline},
        statistics::{half_interval_95, median, quantile},
    },
    skinmap::{Channel, SkinMaps},
};

/// A region with less bare skin, in square millimetres or as a share of its outline, is not measured.
const SKIN_MM2_MIN: f64 = 60.0;
const SKIN_SHARE_MIN: f64 = 0.5;
/// The side of the blocks that the bootstrap draws, in millimetres: neighbours are not independent.
const BLOCK_MM: f64 = 8.0;
/// Between these shares of a map's threshold, from nothing to all: a picture taken again must not make a line vanish
/// because it is a little softer.
const RAMP: (f32, f32) = (0.6, 1.4);
/// Redness that is told lies above this quantile of the skin's own.
const REDDEST_FROM: f64 = 0.9;

/// The bare skin of one region on the maps.
#[derive(Debug, Clone)]
pub(crate) struct Patch {
    pub(crate) id: RegionId,
    /// Where its bare skin is: indices into the maps.
    cells: Vec<usize>,
    /// Share of the outline that is bare skin.
    pub(crate) share: f64,
}

/// A value with half of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) half: f64,
}

/// The bare skin of every region, also of those with too little of it.
pub(crate) fn patches(maps: &SkinMaps, outlines: &[RegionOutline]) -> Vec<Patch> {
    let side = u32::try_from(maps.side).expect("a map has at most 512 rows");
    let skin = maps.plane(Channel::Skin);
    outlines
        .iter()
        .map(|outline| {
            let polygon: Vec<Point> = outline.polygon.iter().map(|corner| maps.place(*corner)).collect();
            let (mut inside, mut cells) = (0_usize, Vec::new());
            for_each_pixel_inside(&polygon, side, side, |x, y| {
                inside += 1;
                let at = y as usize * maps.side + x as usize;
                if maps.thresholds.skin <= skin[at] {
                    cells.push(at);
                }
            });
            let share = cells.len() as f64 / inside.max(1) as f64;
            Patch { id: outline.id, cells, share }
        })
        .collect()
}

impl Patch {
    /// Whether enough of it is seen.
    pub(crate) fn is_usable(&self, maps: &SkinMaps) -> bool {
        SKIN_SHARE_MIN <= self.share && SKIN_MM2_MIN <= self.cells.len() as f64 * maps.mm() * maps.mm()
    }
}

/// The share of these patches' skin that a map covers, in percent.
pub(crate) fn covered(maps: &SkinMaps, patches: &[&Patch], channel: Channel) -> Option<Estimate> {
    let threshold = match channel {
        Channel::Line => maps.thresholds.line,
        Channel::Spot => maps.thresholds.spot,
        _ => maps.thresholds.skin,
    };
    let (low, high) = (RAMP.0 * threshold, (RAMP.1 * threshold).min(1.0));
    let plane = maps.plane(channel);
    mean(maps, patches, |at| f64::from(((plane[at] - low) / (high - low)).clamp(0.0, 1.0))).map(percent)
}

/// The share of the light that these patches mirror, in percent.
pub(crate) fn mirrored(maps: &SkinMaps, patches: &[&Patch]) -> Option<Estimate> {
    let plane = maps.plane(Channel::Shine);
    mean(maps, patches, |at| f64::from(plane[at].clamp(0.0, 1.0))).map(percent)
}

fn percent(estimate: Estimate) -> Estimate {
    Estimate { value: 100.0 * estimate.value, half: 100.0 * estimate.half }
}

/// The mean of a value over the skin of patches.
fn mean(maps: &SkinMaps, patches: &[&Patch], value: impl Fn(usize) -> f64) -> Option<Estimate> {
    let blocks = blocks(maps, patches, |_| true, value);
    let ratio = |blocks: &[(f64, f64)]| {
        let (sum, count) =
            blocks.iter().fold((0.0, 0.0), |(sum, count), block| (sum + block.0, count + block.1));
        sum / count
    };
    let half = half_interval_95(&blocks, ratio)?;
    Some(Estimate { value: ratio(&blocks), half })
}

/// How much more blood the reddest tenth of these patches shows than their middle, block by block.
pub(crate) fn reddest(maps: &SkinMaps, patches: &[&Patch]) -> Option<Estimate> {
    let blocks = blood_blocks(maps, patches);
    let excess = |blocks: &[f64]| quantile(blocks.to_vec(), REDDEST_FROM) - quantile(blocks.to_vec(), 0.5);
    let half = half_interval_95(&blocks, excess)?;
    Some(Estimate { value: excess(&blocks), half })
}

/// The blood that a patch shows: the median of its blocks, up to a constant of the whole face.
pub(crate) fn blood(maps: &SkinMaps, patch: &Patch) -> Option<Estimate> {
    let blocks = blood_blocks(maps, &[patch]);
    let middle = |blocks: &[f64]| median(blocks.to_vec());
    let half = half_interval_95(&blocks, middle)?;
    Some(Estimate { value: middle(&blocks), half })
}

/// The mean blood of each block: of its plain skin alone, for a spot or a highlight has another colour.
fn blood_blocks(maps: &SkinMaps, patches: &[&Patch]) -> Vec<f64> {
    let plain = |at: usize| maps.is_plain(at);
    blocks(maps, patches, plain, |at| f64::from(maps.blood[at]))
        .iter()
        .map(|(sum, count)| sum / count)
        .collect()
}

/// Sums and counts of a value in each block of the patches' skin, where a cell `counts`; in the order of the map.
fn blocks(
    maps: &SkinMaps,
    patches: &[&Patch],
    counts: impl Fn(usize) -> bool,
    value: impl Fn(usize) -> f64,
) -> Vec<(f64, f64)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a dozen pixels")]
    let side = ((BLOCK_MM / maps.mm()).round() as usize).max(1);
    let across = maps.side.div_ceil(side);
    let mut sums = vec![(0.0, 0.0); across * across];
    for at in patches.iter().flat_map(|patch| &patch.cells).filter(|at| counts(**at)) {
        let block = &mut sums[(at / maps.side / side) * across + (at % maps.side) / side];
        *block = (block.0 + value(*at), block.1 + 1.0);
    }
    // A sliver of a block at a region's edge says too little by itself.
    sums.retain(|(_, count)| (side * side) as f64 / 4.0 <= *count);
    sums
}

/// How many separate spots there are on the skin of these patches.
pub(crate) fn count_spots(maps: &SkinMaps, patches: &[&Patch]) -> u32 {
    let plane = maps.plane(Channel::Spot);
    let mut open = vec![false; plane.len()];
    for at in patches.iter().flat_map(|patch| &patch.cells) {
        open[*at] = maps.thresholds.spot <= plane[*at];
    }
    let (mut count, mut waiting) = (0, Vec::new());
    for start in 0..open.len() {
        if !std::mem::take(&mut open[start]) {
            continue;
        }
        count += 1;
        waiting.push(start);
        while let Some(at) = waiting.pop() {
            let (x, y) = (at % maps.side, at / maps.side);
            for (x, y) in [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)] {
                if x < maps.side && y < maps.side && std::mem::take(&mut open[y * maps.side + x]) {
                    waiting.push(y * maps.side + x);
                }
            }
        }
    }
    count
}

impl Estimate {
    /// The 95 % interval, rounded.
    pub(crate) fn interval(&self) -> [f64; 2] {
        [-1.0, 1.0].map(|sign| hundredths(self.value + sign * self.half))
    }
}
