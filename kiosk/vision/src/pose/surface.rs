//! What a label is stuck to: a plane, or a cylinder such as a bottle or a tin.
//!
//! A label has two coordinates, as on flat paper; its surface says where in space they lie. A cylinder touches the plane of
//! the symbol's frame in a line through the symbol's centre and falls back on both sides of it.

use glam::{DVec2, DVec3};

/// Below this, in radians, sine and cosine are taken by their series.
const SMALL: f64 = 1e-3;

/// Which way the axis of a cylinder runs on the symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Down the symbol: a bottle that stands, its label upright.
    Upright,
    /// Along its top edge: the label is read with the bottle lying.
    Lying,
}

/// What a label is stuck to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Surface {
    /// A plane.
    Flat,
    /// The outside of a cylinder.
    Bent {
        /// Which way its axis runs.
        axis: Axis,
        /// In the unit of the symbol's width.
        radius: f64,
    },
}

/// A cylinder of which a plane is the limit: the curvature is the symbol's width over the radius.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bend {
    pub(crate) axis: Axis,
    pub(crate) curvature: f64,
}

impl Bend {
    pub(crate) const FLAT: Self = Self { axis: Axis::Upright, curvature: 0.0 };

    /// Of a surface, for a symbol of this width.
    pub(crate) fn of(surface: Surface, width: f64) -> Self {
        match surface {
            Surface::Flat => Self::FLAT,
            Surface::Bent { axis, radius } => Self { axis, curvature: width / radius },
        }
    }

    /// The surface, for a symbol of this width.
    pub(crate) fn surface(self, width: f64) -> Surface {
        if self.curvature == 0.0 {
            return Surface::Flat;
        }
        Surface::Bent { axis: self.axis, radius: width / self.curvature }
    }

    /// Where a point of the label lies in space; lengths in widths of the symbol.
    pub(crate) fn place(self, at: DVec2) -> DVec3 {
        let (across, along) = self.split(at);
        let angle = self.curvature * across;
        let (out, back) = if angle.abs() < SMALL {
            (across - across * angle * angle / 6.0, across * angle / 2.0)
        } else {
            (angle.sin() / self.curvature, (1.0 - angle.cos()) / self.curvature)
        };
        self.join(out, along, back)
    }

    /// The same, by how much it changes with the curvature, and the outward normal there.
    pub(crate) fn place_change_and_normal(self, at: DVec2) -> (DVec3, DVec3, DVec3) {
        let (across, along) = self.split(at);
        let angle = self.curvature * across;
        let (sin, cos) = angle.sin_cos();
        let (out, back, out_change, back_change) = if angle.abs() < SMALL {
            let out = across - across * angle * angle / 6.0;
            (out, across * angle / 2.0, -across * across * angle / 3.0, across * across / 2.0)
        } else {
            let k = self.curvature;
            let (out, back) = (sin / k, (1.0 - cos) / k);
            (out, back, (across * cos - out) / k, (across * sin - back) / k)
        };
        (self.join(out, along, back), self.join(out_change, 0.0, back_change), self.join(sin, 0.0, -cos))
    }

    fn split(self, at: DVec2) -> (f64, f64) {
        match self.axis {
            Axis::Upright => (at.x, at.y),
            Axis::Lying => (at.y, at.x),
        }
    }

    fn join(self, across: f64, along: f64, back: f64) -> DVec3 {
        match self.axis {
            Axis::Upright => DVec3::new(across, along, back),
            Axis::Lying => DVec3::new(along, across, back),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paper_keeps_its_lengths_when_it_is_bent_and_is_flat_in_the_limit() {
        for axis in [Axis::Upright, Axis::Lying] {
            for curvature in [0.0, 1e-5, 0.35, 1.76] {
                let bend = Bend { axis, curvature };
                for at in [DVec2::new(0.5, -0.5), DVec2::new(-0.3, 0.2)] {
                    let steps = 1_000;
                    let length: f64 = (0..steps)
                        .map(|step| {
                            let place = |step: i32| bend.place(at * f64::from(step) / f64::from(steps));
                            place(step).distance(place(step + 1))
                        })
                        .sum();
                    assert!((length - at.length()).abs() < 1e-5, "{axis:?} {curvature}: {length}");
                }
            }
            let nearly = Bend { axis, curvature: 1e-9 }.place(DVec2::new(0.4, 0.3));
            assert!(nearly.distance(DVec3::new(0.4, 0.3, 0.0)) < 1e-9);
        }
    }

    #[test]
    fn the_change_with_the_curvature_is_the_slope_of_the_place() {
        for axis in [Axis::Upright, Axis::Lying] {
            for curvature in [0.0, 5e-4, 0.4, 1.8] {
                let at = DVec2::new(0.45, -0.38);
                let (place, change, normal) = Bend { axis, curvature }.place_change_and_normal(at);
                assert!(place.distance(Bend { axis, curvature }.place(at)) < 1e-12);
                let step = 1e-5;
                let near = |by: f64| Bend { axis, curvature: curvature + by }.place(at);
                let slope = (near(step) - near(-step)) / (2.0 * step);
                assert!(slope.distance(change) < 1e-5, "{axis:?} {curvature}: {slope}, {change}");
                let next = Bend { axis, curvature }.place(at * 1.0001);
                assert!((next - place).normalize().dot(normal).abs() < 1e-3 && normal.z < 0.0);
            }
        }
    }
}
