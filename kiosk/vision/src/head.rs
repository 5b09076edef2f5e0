//! How a head is turned: the mean head, turned, scaled and moved until its points lie best on those that were found.
//!
//! Owns the fit (scaled orthographic, weighted least squares by Gauss-Newton steps) and the meaning of the three angles. The
//! mean head and the weights of its points come with the network, from the renderer that it learnt from: points on which
//! people and expressions differ weigh less. A person's own proportions stay in the angles, in pitch most of all.

use glam::{DMat3, DQuat, DVec3};
use serde::{Deserialize, Serialize, Serializer};

use crate::{equations::LeastSquares, geometry::Point};

/// Steps of the fit; from a head that looks straight ahead it takes about five.
const STEPS_MAX: usize = 20;
/// A step below this, in radians and in shares of the size, is the last one.
const STEP_MIN: f64 = 1e-7;

/// How a head is turned, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadTurn {
    /// Positive when the nose points to the right of the picture.
    pub yaw_deg: f64,
    /// Positive when the nose points upwards; the least certain, because faces differ.
    pub pitch_deg: f64,
    /// Clockwise.
    pub roll_deg: f64,
}

/// As `{"yaw":…,"pitch":…,"roll":…}`, rounded to a tenth of a degree.
impl Serialize for HeadTurn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        let mut turn = serializer.serialize_struct("HeadTurn", 3)?;
        turn.serialize_field("yaw", &tenths(self.yaw_deg))?;
        turn.serialize_field("pitch", &tenths(self.pitch_deg))?;
        turn.serialize_field("roll", &tenths(self.roll_deg))?;
        turn.end()
    }
}

/// The mean head: the network's points in space and what each is worth.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Head {
    /// x to the right of the picture, y down, z out of the face.
    points_mm: Vec<[f64; 3]>,
    weights: Vec<f64>,
}

/// Why a head is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// One point and one weight for each of the network's points.
    Count { points: usize, weights: usize },
    /// A weight that is not above nought, or a point that is no place within a metre.
    Value,
}

/// A head as it is seen: `picture = scale · (camera_from_head · point) + offset`, without its depth.
#[derive(Debug, Clone, Copy)]
struct Seen {
    camera_from_head: DMat3,
    scale: f64,
    offset: Point,
}

impl Head {
    /// Whether this head goes with a network of so many points.
    pub(crate) fn check(&self, count: usize) -> Result<(), Malformed> {
        if self.points_mm.len() != count || self.weights.len() != count {
            return Err(Malformed::Count { points: self.points_mm.len(), weights: self.weights.len() });
        }
        let is_place = self.points_mm.iter().flatten().all(|mm| mm.is_finite() && mm.abs() < 1000.0);
        let is_weight = self.weights.iter().all(|weight| weight.is_finite() && 0.0 < *weight);
        if is_place && is_weight { Ok(()) } else { Err(Malformed::Value) }
    }

    /// The turn with which the mean head lies best on these points; `None` where they are no head's.
    pub(crate) fn turn(&self, points: &[Point]) -> Option<HeadTurn> {
        let mut seen = self.upright(points)?;
        for _ in 0..STEPS_MAX {
            let step = self.step(points, &seen)?;
            let [x, y, z, growth, right, down] = step;
            let turn = DQuat::from_scaled_axis(DVec3::new(x, y, z));
            seen = Seen {
                camera_from_head: DMat3::from_quat(turn) * seen.camera_from_head,
                scale: seen.scale * growth.exp(),
                offset: Point::new(seen.offset.x + right, seen.offset.y + down),
            };
            if step[..4].iter().all(|part| part.abs() < STEP_MIN) {
                return seen.turn();
            }
        }
        None
    }

    /// Where the fit starts: a head that looks straight ahead, as large and as tilted as the points are.
    fn upright(&self, points: &[Point]) -> Option<Seen> {
        let mut similar = LeastSquares::<4>::new();
        for (([x, y, _], weight), point) in self.points_mm.iter().zip(&self.weights).zip(points) {
            let weight = weight.sqrt();
            similar.add([weight * x, -weight * y, weight, 0.0], weight * point.x);
            similar.add([weight * y, weight * x, 0.0, weight], weight * point.y);
        }
        let [along, across, x, y] = similar.solve(0.0)?;
        Some(Seen {
            camera_from_head: DMat3::from_rotation_z(across.atan2(along)),
            scale: along.hypot(across),
            offset: Point::new(x, y),
        })
    }

    /// The next step: a rotation vector in the camera's frame, the growth as a logarithm, and the move.
    fn step(&self, points: &[Point], seen: &Seen) -> Option<[f64; 6]> {
        let mut equations = LeastSquares::<6>::new();
        for ((own, weight), point) in self.points_mm.iter().zip(&self.weights).zip(points) {
            let DVec3 { x, y, z } = seen.scale * (seen.camera_from_head * DVec3::from_array(*own));
            let weight = weight.sqrt();
            let off = (point.x - seen.offset.x - x, point.y - seen.offset.y - y);
            equations.add([0.0, z, -y, x, 1.0, 0.0].map(|part| weight * part), weight * off.0);
            equations.add([-z, 0.0, x, y, 0.0, 1.0].map(|part| weight * part), weight * off.1);
        }
        equations.solve(0.0)
    }
}

impl Seen {
    /// The angles: the head turns about its own upright axis first, then nods, then tilts.
    fn turn(&self) -> Option<HeadTurn> {
        let DMat3 { x_axis, y_axis, z_axis } = self.camera_from_head;
        let turn = HeadTurn {
            yaw_deg: (-x_axis.z).atan2(z_axis.z).to_degrees(),
            pitch_deg: y_axis.z.clamp(-1.0, 1.0).asin().to_degrees(),
            roll_deg: (-y_axis.x).atan2(y_axis.y).to_degrees(),
        };
        let is_number = [turn.yaw_deg, turn.pitch_deg, turn.roll_deg].iter().all(|angle| angle.is_finite());
        is_number.then_some(turn)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    fn manifest() -> serde_json::Value {
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/weights");
        serde_json::from_slice(&fs::read(weights.join("landmark96.json")).unwrap()).unwrap()
    }

    fn head() -> Head {
        serde_json::from_value(manifest()["head"].clone()).unwrap()
    }

    /// The mean head as a camera far away sees it.
    fn seen(head: &Head, turn: HeadTurn, scale: f64, offset: Point) -> Vec<Point> {
        let camera_from_head = DMat3::from_rotation_z(turn.roll_deg.to_radians())
            * DMat3::from_rotation_x(turn.pitch_deg.to_radians())
            * DMat3::from_rotation_y(turn.yaw_deg.to_radians());
        let place = |own: &[f64; 3]| {
            let at = scale * (camera_from_head * DVec3::from_array(*own));
            Point::new(at.x + offset.x, at.y + offset.y)
        };
        head.points_mm.iter().map(place).collect()
    }

    fn off(found: HeadTurn, expected: HeadTurn) -> [f64; 3] {
        [
            (found.yaw_deg - expected.yaw_deg).abs(),
            (found.pitch_deg - expected.pitch_deg).abs(),
            (found.roll_deg - expected.roll_deg).abs(),
        ]
    }

    proptest! {
        #[test]
        fn a_mean_head_in_any_turn_is_found_in_that_turn(
            yaw_deg in -40.0..40.0_f64,
            pitch_deg in -30.0..30.0_f64,
            roll_deg in -45.0..45.0_f64,
            scale in 0.3..20.0_f64,
            (x, y) in (-4000.0..4000.0_f64, -4000.0..4000.0_f64),
        ) {
            let (head, turn) = (head(), HeadTurn { yaw_deg, pitch_deg, roll_deg });
            let found = head.turn(&seen(&head, turn, scale, Point::new(x, y))).unwrap();
            prop_assert!(off(found, turn).iter().all(|off| *off < 1e-4), "{found:?} for {turn:?}");
        }

        /// A point that is off by `off_px` moves the angles by little, whichever it is.
        #[test]
        fn one_point_that_is_off_does_not_turn_a_head(at in 0..32_usize, angle in 0.0..std::f64::consts::TAU) {
            let head = head();
            let turn = HeadTurn { yaw_deg: 4.0, pitch_deg: -3.0, roll_deg: 2.0 };
            let mut points = seen(&head, turn, 5.0, Point::new(500.0, 400.0));
            // 6 mm, more than twice what the network errs by.
            points[at].x += 30.0 * angle.cos();
            points[at].y += 30.0 * angle.sin();
            let [yaw, pitch, roll] = off(head.turn(&points).unwrap(), turn);
            prop_assert!(yaw < 3.0 && pitch < 3.5 && roll < 1.5, "{yaw} {pitch} {roll}");
        }
    }

    /// Renders of other people than the mean one, with expressions, from near by: the fit's own error is in the limits.
    #[test]
    fn rendered_heads_are_turned_as_they_were_drawn() {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/weights/goldens/goldens.json");
        let goldens: serde_json::Value = serde_json::from_slice(&fs::read(goldens).unwrap()).unwrap();
        let head = head();
        let mut sums = [0.0; 3];
        let cases = goldens["crops"].as_array().unwrap();
        for case in cases {
            let [yaw_deg, pitch_deg, roll_deg] = serde_json::from_value(case["turn_deg"].clone()).unwrap();
            let turn = HeadTurn { yaw_deg, pitch_deg, roll_deg };
            for (points, limits) in [("truth", [1.5, 3.0, 0.5]), ("points", [2.5, 4.0, 1.0])] {
                let points: Vec<[f64; 2]> = serde_json::from_value(case[points].clone()).unwrap();
                let points: Vec<Point> = points.iter().map(|[x, y]| Point::new(*x, *y)).collect();
                let found = head.turn(&points).unwrap();
                let off = off(found, turn);
                assert!(off.iter().zip(limits).all(|(off, limit)| *off < limit), "{found:?} for {turn:?}");
                sums.iter_mut().zip(off).for_each(|(sum, off)| *sum += off);
            }
        }
        let mean = sums.map(|sum| sum / (2.0 * cases.len() as f64));
        assert!(mean.iter().all(|off| *off < 2.0), "{mean:?}");
    }

    #[test]
    fn points_that_are_no_head_have_no_turn() {
        let head = head();
        for point in [Point::new(3.0, 4.0), Point::new(f64::NAN, 0.0)] {
            assert_eq!(head.turn(&[point; 32]), None);
        }
        assert_eq!(head.turn(&[]), None);
    }

    #[test]
    fn a_head_that_does_not_go_with_the_network_is_refused() {
        let head = head();
        assert_eq!(head.check(32), Ok(()));
        assert_eq!(head.check(5), Err(Malformed::Count { points: 32, weights: 32 }));
        for (weight, mm) in [(0.0, 1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
            let mut other = head.clone();
            (other.weights[3], other.points_mm[4][1]) = (weight, mm);
            assert_eq!(other.check(32), Err(Malformed::Value));
        }
    }
}
