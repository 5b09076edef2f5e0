//! What was measured, where: maps of yes and no as text, for a program that asks for them.
//!
//! Owns the form that a mask has in a document. A mask comes from somebody's picture, so it is made only for who asks
//! (`storehub-vision skin --masks`): the kiosk draws from memory and never does.

use std::fmt::Write as _;

use serde::Serialize;

use super::{overlay::Overlay, report::MetricId};
use crate::geometry::Point;

/// How masks are written: lengths of runs, row by row, alternately of noughts and of ones and beginning with noughts,
/// in decimal digits with one space between two of them. The lengths add up to `w * h`; only the first may be 0.
const RUNS: &str = "rle";
/// Metrics whose map says where they were measured; the others compare whole regions or count points.
const MAPPED: [MetricId; 4] = [MetricId::Lines, MetricId::Spots, MetricId::Redness, MetricId::Shine];
/// From which share of what is drawn in full redness and shine are one; lines and spots have a threshold of their own.
const DRAWN_MIN: f32 = 0.5;
/// The name of the mask of bare skin; those of metrics have the metric's.
const SKIN: &str = "skin";

/// One map of a face.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mask {
    /// What it is a map of: `skin`, or the name of a metric.
    pub id: &'static str,
    /// How `data` is written: `rle`.
    pub encoding: &'static str,
    /// Columns.
    pub w: usize,
    /// Rows.
    pub h: usize,
    /// The cells.
    pub data: String,
}

impl Overlay {
    /// Where bare skin is, and where on it what was measured: lines, spots, at least half of what is drawn as redness, and of
    /// what is drawn as shine.
    #[must_use]
    pub fn masks(&self) -> Vec<Mask> {
        let side = self.side();
        let mask = |id, is_one: &dyn Fn(Point) -> bool| {
            let cells = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
            let data = runs(cells.map(|(x, y)| is_one(self.place(x as f64, y as f64))));
            Mask { id, encoding: RUNS, w: side, h: side, data }
        };
        let of_metric = |metric: MetricId| {
            let least = match metric {
                MetricId::Lines | MetricId::Spots => f32::MIN_POSITIVE,
                _ => DRAWN_MIN,
            };
            mask(metric.name(), &|at| least <= self.strength(metric, at))
        };
        let skin = mask(SKIN, &|at| self.is_skin(at));
        std::iter::once(skin).chain(MAPPED.map(of_metric)).collect()
    }

    /// The affine map that takes a cell of a mask, (column, row, 1), to its middle in the picture, row by row.
    #[must_use]
    pub fn picture_from_mask(&self) -> [[f64; 3]; 2] {
        let [first, right, below] = [self.place(0.0, 0.0), self.place(1.0, 0.0), self.place(0.0, 1.0)];
        // A hundredth of a pixel at the far corner.
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        [
            [right.x - first.x, below.x - first.x, first.x].map(rounded),
            [right.y - first.y, below.y - first.y, first.y].map(rounded),
        ]
    }
}

fn runs(cells: impl Iterator<Item = bool>) -> String {
    let (mut text, mut current, mut length) = (String::new(), false, 0_usize);
    for cell in cells {
        if cell != current {
            _ = write!(text, "{length} ");
            (current, length) = (cell, 0);
        }
        length += 1;
    }
    _ = write!(text, "{length}");
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{FivePoints, Picture, skinmap::SkinMaps};

    /// The cells of a mask, as a reader finds them; `None` where the text is none.
    fn cells(data: &str) -> Option<Vec<bool>> {
        let mut cells = Vec::new();
        for (at, length) in data.split(' ').enumerate() {
            let length = length.parse::<usize>().ok().filter(|length| at == 0 || 0 < *length)?;
            cells.resize(cells.len() + length, at % 2 == 1);
        }
        Some(cells)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(lengths in prop::collection::vec(1..90_usize, 0..40), first: bool) {
            let written: Vec<bool> = lengths
                .iter()
                .enumerate()
                .flat_map(|(at, length)| std::iter::repeat_n((at % 2 == 0) == first, *length))
                .collect();
            let data = runs(written.iter().copied());
            prop_assert_eq!(cells(&data), Some(written));
        }
    }

    #[test]
    fn runs_begin_with_noughts_and_count_every_cell() {
        for (written, expected) in
            [(vec![false; 9], "9"), (vec![true; 9], "0 9"), (vec![false, true, true, false], "1 2 1")]
        {
            assert_eq!(runs(written.into_iter()), expected);
        }
    }

    #[test]
    fn a_mask_lies_on_the_face_that_it_is_of() {
        let at = Point::new;
        let points = FivePoints {
            eye_left: at(150.0, 160.0),
            eye_right: at(250.0, 170.0),
            nose_tip: at(197.0, 220.0),
            mouth_left: at(155.0, 265.0),
            mouth_right: at(235.0, 273.0),
        };
        let picture = Picture::from_rgb(400, 400, vec![150; 480_000]).unwrap();
        let mut maps = SkinMaps::plain(&picture, &points).unwrap();
        // The lower half is covered.
        maps.cover(128, 128);
        let overlay = Overlay::new(maps, &crate::skin::regions::outlines(&points));
        let masks = overlay.masks();
        let ids: Vec<&str> = masks.iter().map(|mask| mask.id).collect();
        assert_eq!(ids, ["skin", "lines", "spots", "redness", "shine"]);
        assert!(masks.iter().all(|mask| (mask.w, mask.h, mask.encoding) == (256, 256, "rle")));
        let skin = cells(&masks[0].data).unwrap();
        let [[xx, xy, x0], [yx, yy, y0]] = overlay.picture_from_mask();
        for (cell, is_one) in skin.iter().enumerate() {
            let (column, row) = ((cell % 256) as f64, (cell / 256) as f64);
            let place = at(xx * column + xy * row + x0, yx * column + yy * row + y0);
            assert_eq!(*is_one, row < 128.0, "{column} {row}");
            assert!(place.distance(overlay.place(column, row)) < 0.05);
        }
        assert!(masks[1..].iter().all(|mask| mask.data == "65536"), "plain skin has nothing on it");
    }
}
