//! Even areas that stand in rows and columns.
//!
//! A grid grows from two neighbours of an area, step by step: each next area is looked for where the last step leads,
//! so that perspective bends nothing.

use std::collections::BTreeMap;

use glam::{DVec2, IVec2};

use super::even::Even;

/// Grids with fewer areas are chance.
pub(super) const CELLS_MIN: usize = 9;
/// A chart has at most this many cells in a line, however it is turned.
const SPAN_MAX: i32 = 6;
/// Neighbours of an area that may be the next in its row or column.
const NEIGHBOURS: usize = 8;
/// Distance of neighbours over the side of a patch: 1.16 on charts, more where edges are blurred.
const PITCH_OVER_SIDE: (f64, f64) = (0.95, 1.8);
/// Longest over shortest step of a grid.
const STEPS_RATIO_MAX: f64 = 2.0;
/// The sine of the angle between rows and columns.
const ANGLE_SINE_MIN: f64 = 0.6;
/// Largest distance from where the next area should be, in steps.
const MISS_MAX: f64 = 0.25;
/// Largest ratio of the sides of neighbouring areas.
const SIDES_RATIO_MAX: f64 = 1.6;

/// Areas by their place in a grid; rows and columns run clockwise as those of the picture do.
pub(super) type Grid = BTreeMap<(i32, i32), DVec2>;

/// All grids; an area that is in one is not the beginning of another.
pub(super) fn find(evens: &[Even]) -> Vec<Grid> {
    let mut is_used = vec![false; evens.len()];
    let mut grids = Vec::new();
    for seed in 0..evens.len() {
        if is_used[seed] {
            continue;
        }
        let Some(grown) = largest_from(evens, seed) else { continue };
        for cell in &grown {
            is_used[cell.index] = true;
        }
        grids.push(grown.iter().map(|cell| ((cell.at.x, cell.at.y), evens[cell.index].centre)).collect());
    }
    grids
}

#[derive(Clone, Copy)]
struct Cell {
    at: IVec2,
    index: usize,
    /// The steps to the next column and row, in pixels.
    steps: [DVec2; 2],
}

/// The largest grid that grows from an area; of two of the same size the one with the shorter steps.
fn largest_from(evens: &[Even], seed: usize) -> Option<Vec<Cell>> {
    let near = neighbours(evens, seed);
    let mut best: Option<(Vec<Cell>, f64)> = None;
    for along in &near {
        for down in &near {
            let (u, v) = (*along, *down);
            let cross = u.perp_dot(v);
            let (longer, shorter) = (u.length().max(v.length()), u.length().min(v.length()));
            let pitch = cross.max(0.0).sqrt() / evens[seed].side;
            let fits = ANGLE_SINE_MIN * u.length() * v.length() < cross
                && longer <= STEPS_RATIO_MAX * shorter
                && (PITCH_OVER_SIDE.0..=PITCH_OVER_SIDE.1).contains(&pitch);
            if !fits {
                continue;
            }
            let grown = grow(evens, seed, [u, v]);
            let steps = u.length() + v.length();
            let is_better = best.as_ref().is_none_or(|(cells, length)| {
                cells.len() < grown.len() || (cells.len() == grown.len() && steps < *length)
            });
            if CELLS_MIN <= grown.len() && is_better {
                best = Some((grown, steps));
            }
        }
    }
    best.map(|(cells, _)| cells)
}

/// The ways to the nearest areas of a like size.
fn neighbours(evens: &[Even], seed: usize) -> Vec<DVec2> {
    let own = evens[seed];
    let mut near: Vec<DVec2> = evens
        .iter()
        .filter(|other| is_alike(own, **other))
        .map(|other| other.centre - own.centre)
        .filter(|way| 0.0 < way.length() && way.length() < 2.0 * PITCH_OVER_SIDE.1 * own.side)
        .collect();
    near.sort_by(|a, b| a.length().total_cmp(&b.length()));
    near.truncate(NEIGHBOURS);
    near
}

fn is_alike(one: Even, other: Even) -> bool {
    one.side.max(other.side) <= SIDES_RATIO_MAX * one.side.min(other.side)
}

fn grow(evens: &[Even], seed: usize, steps: [DVec2; 2]) -> Vec<Cell> {
    let mut cells = vec![Cell { at: IVec2::ZERO, index: seed, steps }];
    let (mut least, mut most) = (IVec2::ZERO, IVec2::ZERO);
    let mut next = 0;
    while next < cells.len() {
        for way in [IVec2::X, IVec2::NEG_X, IVec2::Y, IVec2::NEG_Y] {
            let Cell { at, index, steps } = cells[next];
            let at_next = at + way;
            let span = most.max(at_next) - least.min(at_next);
            if SPAN_MAX <= span.max_element() || cells.iter().any(|cell| cell.at == at_next) {
                continue;
            }
            let (axis, sign) = if way.x == 0 { (1, f64::from(way.y)) } else { (0, f64::from(way.x)) };
            let expected = evens[index].centre + steps[axis] * sign;
            let reach = MISS_MAX * steps[axis].length();
            let found = (0..evens.len())
                .filter(|other| evens[*other].centre.distance(expected) < reach)
                .filter(|other| is_alike(evens[index], evens[*other]))
                .filter(|other| cells.iter().all(|cell| cell.index != *other))
                .min_by(|a, b| {
                    let miss = |at: usize| evens[at].centre.distance_squared(expected);
                    miss(*a).total_cmp(&miss(*b))
                });
            let Some(found) = found else { continue };
            let mut steps = steps;
            steps[axis] = (evens[found].centre - evens[index].centre) * sign;
            (least, most) = (least.min(at_next), most.max(at_next));
            cells.push(Cell { at: at_next, index: found, steps });
        }
        next += 1;
    }
    cells
}
