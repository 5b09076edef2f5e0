//! Where on the face lies what was measured: for drawing over the picture while the visitor looks at it.

use super::{MetricId, RegionOutline, statistics::median};
use crate::{
    geometry::{Point, for_each_pixel_inside},
    skinmap::{Channel, SkinMaps},
};

/// Blood beyond the face's median that is drawn in full, as a natural logarithm.
const REDNESS_FULL: f32 = 0.5;
/// Share of mirrored light that is drawn in full.
const SHINE_FULL: f32 = 0.4;

/// A face's maps, for drawing. It comes from somebody's picture: it stays in memory and is wiped when it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlay {
    maps: SkinMaps,
    /// The blood of the face's middle, as the maps tell it.
    own_blood: f32,
    /// 1 for the cells within the regions: what is drawn is what was measured.
    measured: Vec<f32>,
}

impl Overlay {
    pub(crate) fn new(maps: SkinMaps, outlines: &[RegionOutline]) -> Self {
        let plain = (0..maps.blood.len()).filter(|cell| maps.is_plain(*cell));
        #[expect(clippy::cast_possible_truncation, reason = "it was an f32")]
        let own_blood = median(plain.map(|cell| f64::from(maps.blood[cell])).collect()) as f32;
        let side = u32::try_from(maps.side).expect("a few hundred cells");
        let mut measured = vec![0.0; maps.blood.len()];
        for outline in outlines {
            let polygon: Vec<Point> = outline.polygon.iter().map(|corner| maps.place(*corner)).collect();
            for_each_pixel_inside(&polygon, side, side, |x, y| measured[(y * side + x) as usize] = 1.0);
        }
        Self { maps, own_blood, measured }
    }

    /// Cells of the maps along each side.
    pub(super) fn side(&self) -> usize {
        self.maps.side
    }

    /// Where the middle of a cell of the maps lies in the picture.
    pub(super) fn place(&self, column: f64, row: f64) -> Point {
        self.maps.frame.to_picture(Point::new(2.0 * column + 0.5, 2.0 * row + 0.5))
    }

    /// Whether bare skin is seen at a place of the picture.
    pub(super) fn is_skin(&self, at: Point) -> bool {
        self.maps.is_skin(at)
    }

    /// The box of the picture that the face fills: its upper left and its lower right corner, which may lie outside.
    #[must_use]
    pub fn bounds(&self) -> (Point, Point) {
        let last = 2.0 * self.maps.side as f64 - 1.0;
        let corners = [(0.0, 0.0), (last, 0.0), (0.0, last), (last, last)]
            .map(|(x, y)| self.maps.frame.to_picture(Point::new(x, y)));
        let edge = |pick: fn(&Point) -> f64, start: f64, of: fn(f64, f64) -> f64| {
            corners.iter().map(pick).fold(start, of)
        };
        (
            Point::new(edge(|p| p.x, f64::INFINITY, f64::min), edge(|p| p.y, f64::INFINITY, f64::min)),
            Point::new(
                edge(|p| p.x, f64::NEG_INFINITY, f64::max),
                edge(|p| p.y, f64::NEG_INFINITY, f64::max),
            ),
        )
    }

    /// How much of what `metric` measures is seen at a place of the picture, 0 to 1; nought beside the regions and bare
    /// skin, and for metrics that compare whole regions.
    #[must_use]
    pub fn strength(&self, metric: MetricId, at: Point) -> f32 {
        let is_measured = self.maps.between(&self.measured, at).is_some_and(|share| 0.5 <= share);
        if !(is_measured && self.maps.is_skin(at)) {
            return 0.0;
        }
        let above = |channel, threshold: f32| {
            let value = self.maps.at(channel, at);
            if value < threshold { 0.0 } else { value }
        };
        let thresholds = self.maps.thresholds;
        match metric {
            MetricId::Lines => above(Channel::Line, thresholds.line),
            MetricId::Spots => above(Channel::Spot, thresholds.spot),
            MetricId::Redness => {
                let blood = self.maps.between(&self.maps.blood, at).unwrap_or(self.own_blood);
                let share = (blood - self.own_blood) / REDNESS_FULL;
                // No number where no skin was plain: nothing is drawn.
                if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
            }
            MetricId::Shine => (self.maps.at(Channel::Shine, at) / SHINE_FULL).clamp(0.0, 1.0),
            MetricId::UnderEye | MetricId::Evenness | MetricId::Pores => 0.0,
        }
    }
}
