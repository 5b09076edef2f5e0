//! The perspective map of a plane, from points that are known in both planes.

use glam::{DMat3, DVec2};

use crate::equations::LeastSquares;

/// A perspective map from a lattice, whose coordinates are small numbers, to a picture in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Homography(DMat3);

impl Homography {
    /// The map that takes lattice points to picture points best, by least squares of the linear equations; `None`
    /// with too few points, with points on a line, or when a point would lie behind the camera.
    pub(super) fn fit(pairs: &[(DVec2, DVec2)]) -> Option<Self> {
        // Lengths near one keep the equations solvable.
        let scale = pairs.iter().map(|(_, to)| to.x.abs().max(to.y.abs())).fold(1.0, f64::max);
        let mut sums = LeastSquares::<8>::new();
        for (from, to) in pairs {
            let (x, y, to) = (from.x, from.y, *to / scale);
            sums.add([x, y, 1.0, 0.0, 0.0, 0.0, -x * to.x, -y * to.x], to.x);
            sums.add([0.0, 0.0, 0.0, x, y, 1.0, -x * to.y, -y * to.y], to.y);
        }
        let [a, b, c, d, e, f, g, h] = sums.solve(0.0)?;
        let rows = DMat3::from_cols_array_2d(&[[a, b, c], [d, e, f], [g, h, 1.0]]);
        let map = Self(DMat3::from_diagonal(DVec2::splat(scale).extend(1.0)) * rows.transpose());
        pairs.iter().all(|(from, _)| map.apply(*from).is_some()).then_some(map)
    }

    /// Where a lattice point is in the picture; `None` behind the camera.
    pub(super) fn apply(&self, at: DVec2) -> Option<DVec2> {
        let seen = self.0 * at.extend(1.0);
        (1e-6 < seen.z).then(|| seen.truncate() / seen.z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_corners_fix_the_map_and_a_line_does_not() {
        let square = [(0.0, 0.0), (5.0, 0.0), (5.0, 3.0), (0.0, 3.0)].map(|(x, y)| DVec2::new(x, y));
        let seen =
            [(100.0, 90.0), (610.0, 130.0), (580.0, 420.0), (120.0, 400.0)].map(|(x, y)| DVec2::new(x, y));
        let pairs: Vec<_> = square.into_iter().zip(seen).collect();
        let map = Homography::fit(&pairs).unwrap();
        for (from, to) in &pairs {
            assert!(map.apply(*from).unwrap().distance(*to) < 1e-6);
        }
        let line: Vec<_> =
            (0..6).map(|x| (DVec2::new(f64::from(x), 0.0), DVec2::new(f64::from(x), 1.0))).collect();
        assert!(Homography::fit(&line).is_none());
    }
}
