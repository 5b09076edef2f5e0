//! One look: a single frame with what the gate says and what is measured on it, before it is put into words or rounded.

use super::{
    gate::Capture,
    measures::{self, Estimate, Patch},
    pores,
    regions::{Region, RegionId},
    report::MetricId,
    statistics::{self, BLOCKS_MIN, block_medians, half_interval_95},
};
use crate::{
    picture::Picture,
    skinmap::{Channel, SkinMaps},
};

/// A region with fewer measurable pixels has no colour.
const SAMPLES_MIN: usize = 400;
/// A region with a smaller share of measurable pixels has none either.
const VALID_SHARE_MIN: f64 = 0.5;
/// Pores are resolved from so many pixels a millimetre on.
pub(crate) const PORES_PX_PER_MM_MIN: f64 = 8.0;
/// Edges must be no wider than this share of the distance of the eyes, 0.3 mm: pores are as wide.
const PORES_BLUR_PCT_MAX: f64 = 0.5;
/// A region with less plain skin, in square centimetres, says nothing about pores.
const PORES_CM2_MIN: f64 = 0.5;
/// A normal distribution's standard deviation over its median absolute deviation.
const SIGMA_PER_MAD: f64 = 1.4826;

/// What one frame shows.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) capture: Capture,
    pub(crate) regions: Vec<Region>,
    pub(crate) readings: Vec<Reading>,
    pub(crate) maps: Option<SkinMaps>,
}

/// One metric in one frame: its value, or why it has none.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) id: MetricId,
    pub(crate) found: Result<Found, &'static str>,
}

/// A metric's value in one frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) all: Estimate,
    pub(crate) count: Option<u32>,
    pub(crate) regions: Vec<(RegionId, Estimate)>,
}

const TOO_LITTLE: &str = "too_little_visible_skin";

impl Look {
    /// Regions whose colour can be told.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter().filter(|region| {
            let samples = region.samples.len();
            SAMPLES_MIN <= samples && VALID_SHARE_MIN * region.pixels as f64 <= samples as f64
        })
    }

    pub(crate) fn found(&self, id: MetricId) -> Result<&Found, &'static str> {
        let reading = self.readings.iter().find(|reading| reading.id == id);
        reading.map_or(Err(TOO_LITTLE), |reading| reading.found.as_ref().map_err(|reason| *reason))
    }

    /// Measures everything that the regions and the maps tell.
    pub(crate) fn measure(&mut self, picture: &Picture, patches: &[Patch]) {
        let Some(maps) = &self.maps else { return };
        let usable: Vec<&Patch> = patches.iter().filter(|patch| patch.is_usable(maps)).collect();
        self.readings = MetricId::ALL
            .into_iter()
            .map(|id| {
                let found = match id {
                    // A smile and the lids' own folds are most of what is lined below an eye.
                    MetricId::Lines => on_maps(
                        &usable,
                        |id| !id.is_under_eye(),
                        |patches| measures::covered(maps, patches, Channel::Line),
                    ),
                    MetricId::Spots => {
                        on_maps(&usable, |_| true, |patches| measures::covered(maps, patches, Channel::Spot))
                            .map(|found| Found { count: Some(measures::count_spots(maps, &usable)), ..found })
                    }
                    MetricId::Shine => {
                        on_maps(&usable, |_| true, |patches| measures::mirrored(maps, patches))
                    }
                    MetricId::Redness => redness(maps, &usable),
                    MetricId::UnderEye => self.under_eye(),
                    MetricId::Evenness => self.evenness(),
                    MetricId::Pores => self.pores(picture, maps),
                };
                Reading { id, found }
            })
            .collect();
    }

    /// Pores on cheeks and nose, where the picture resolves them.
    fn pores(&self, picture: &Picture, maps: &SkinMaps) -> Result<Found, &'static str> {
        let (Some(px_per_mm), Some(noise)) = (self.capture.px_per_mm, self.capture.noise) else {
            return Err(TOO_LITTLE);
        };
        if px_per_mm < PORES_PX_PER_MM_MIN {
            return Err("px_per_mm<8");
        }
        // An enlarged picture has the pixels and not the detail.
        if self.capture.blur_pct.is_none_or(|blur| PORES_BLUR_PCT_MAX < blur) {
            return Err("not_sharp");
        }
        let searched = self
            .usable()
            .filter(|region| region.outline.id.is_cheek() || region.outline.id == RegionId::Nose);
        let found: Vec<(RegionId, f64, f64)> = searched
            .filter_map(|region| {
                let polygon = &region.outline.polygon;
                let pores = pores::find(picture, polygon, px_per_mm, noise, |at| maps.is_plain_at(at))?;
                Some((region.outline.id, pores.places.len() as f64, pores.area_cm2))
            })
            .filter(|(_, _, area_cm2)| PORES_CM2_MIN <= *area_cm2)
            .collect();
        if found.is_empty() {
            return Err(TOO_LITTLE);
        }
        // Dots that fall as they like: the deviation of their number is its root.
        let density = |count: f64, area: f64| Estimate {
            value: count / area,
            half: 1.96 * count.max(1.0).sqrt() / area,
        };
        let (count, area) =
            found.iter().fold((0.0, 0.0), |(count, area), found| (count + found.1, area + found.2));
        let regions = found.iter().map(|(id, count, area)| (*id, density(*count, *area))).collect();
        Ok(Found { all: density(count, area), count: None, regions })
    }

    /// How much darker the skin below each eye is than the cheek on its side.
    fn under_eye(&self) -> Result<Found, &'static str> {
        let lightness = |id: RegionId| {
            let region = self.usable().find(|region| region.outline.id == id)?;
            let blocks = block_medians(region.samples.iter(), |s| s.block, |s| [s.lab.l]);
            let median =
                |blocks: &[[f64; 1]]| statistics::median(blocks.iter().map(|block| block[0]).collect());
            let half = half_interval_95(&blocks, median)?;
            Some(Estimate { value: region.median(|s| s.lab.l), half })
        };
        let regions: Vec<(RegionId, Estimate)> =
            [(RegionId::UnderEyeL, RegionId::CheekL), (RegionId::UnderEyeR, RegionId::CheekR)]
                .into_iter()
                .filter_map(|(eye, cheek)| {
                    let (below, beside) = (lightness(eye)?, lightness(cheek)?);
                    let value = beside.value - below.value;
                    Some((eye, Estimate { value, half: below.half.hypot(beside.half) }))
                })
                .collect();
        if regions.is_empty() {
            return Err(TOO_LITTLE);
        }
        let count = regions.len() as f64;
        let value = regions.iter().map(|(_, side)| side.value).sum::<f64>() / count;
        let half = regions.iter().map(|(_, side)| side.half.powi(2)).sum::<f64>().sqrt() / count;
        Ok(Found { all: Estimate { value, half }, count: None, regions })
    }

    /// How much colour varies within the regions: the robust standard deviation of L*, a* and b* of blocks about their
    /// region's median, taken together. The slope of light over the face does not count, nor do shadows of the nose.
    fn evenness(&self) -> Result<Found, &'static str> {
        let regions: Vec<(RegionId, Vec<[f64; 3]>)> = self
            .usable()
            .filter_map(|region| {
                let blocks =
                    block_medians(region.samples.iter(), |s| s.block, |s| [s.lab.l, s.lab.a, s.lab.b]);
                let middle: [f64; 3] = std::array::from_fn(|at| {
                    statistics::median(blocks.iter().map(|block| block[at]).collect())
                });
                let off: Vec<[f64; 3]> = blocks
                    .iter()
                    .map(|block| std::array::from_fn(|at| (block[at] - middle[at]).abs()))
                    .collect();
                (BLOCKS_MIN <= off.len()).then_some((region.outline.id, off))
            })
            .collect();
        let spread = |blocks: &[[f64; 3]]| {
            let mad = |at: usize| statistics::median(blocks.iter().map(|block| block[at]).collect());
            SIGMA_PER_MAD * (0..3).map(|at| mad(at).powi(2)).sum::<f64>().sqrt()
        };
        let estimate = |blocks: &[[f64; 3]]| {
            Some(Estimate { value: spread(blocks), half: half_interval_95(blocks, spread)? })
        };
        let all: Vec<[f64; 3]> = regions.iter().flat_map(|(_, blocks)| blocks.iter().copied()).collect();
        let all = estimate(&all).ok_or(TOO_LITTLE)?;
        let regions = regions.iter().filter_map(|(id, blocks)| Some((*id, estimate(blocks)?))).collect();
        Ok(Found { all, count: None, regions })
    }
}

fn on_maps(
    usable: &[&Patch],
    is_of_face: impl Fn(RegionId) -> bool,
    measure: impl Fn(&[&Patch]) -> Option<Estimate>,
) -> Result<Found, &'static str> {
    let face: Vec<&Patch> = usable.iter().copied().filter(|patch| is_of_face(patch.id)).collect();
    let all = measure(&face).ok_or(TOO_LITTLE)?;
    let regions = usable.iter().filter_map(|patch| Some((patch.id, measure(&[patch])?))).collect();
    Ok(Found { all, count: None, regions })
}

/// The reddest skin against the face's middle, and each region against the mean of all.
fn redness(maps: &SkinMaps, usable: &[&Patch]) -> Result<Found, &'static str> {
    let all = measures::reddest(maps, usable).ok_or(TOO_LITTLE)?;
    let own: Vec<(RegionId, Estimate)> =
        usable.iter().filter_map(|patch| Some((patch.id, measures::blood(maps, patch)?))).collect();
    // Each region weighs the same, or the larger cheeks would be their own yardstick.
    let face = own.iter().map(|(_, estimate)| estimate.value).sum::<f64>() / own.len().max(1) as f64;
    let regions =
        own.into_iter().map(|(id, e)| (id, Estimate { value: e.value - face, half: e.half })).collect();
    Ok(Found { all, count: None, regions })
}
