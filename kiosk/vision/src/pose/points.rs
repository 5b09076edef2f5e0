//! A pose from some points of a label whose places in the picture are known, such as corners.
//!
//! Gauss-Newton with Levenberg's damping on the distances in the picture, from a start that is about right.

use glam::{DMat3, DQuat, DVec2, DVec3};

use super::{Intrinsics, Rigid, align::Start, surface::Bend};
use crate::equations::LeastSquares;

/// Rotation, translation and curvature.
const UNKNOWNS: usize = 7;
const STEPS_MAX: u32 = 30;
/// Steps that change the mean square by a smaller share end it.
const GAIN_MIN: f64 = 1e-6;
/// Symbols that reach further around a cylinder have parts that nobody sees.
const CURVATURE_MAX: f64 = 2.6;

/// A pose by points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByPoints {
    pub(crate) pose: Rigid,
    pub(crate) bend: Bend,
    /// Root of the mean square of the distances that are left, in pixels.
    pub(crate) rms_px: f64,
}

/// Fits a pose to points of the label (in widths of the symbol, from its centre) and where they are seen (in pixels).
/// `None` when a point comes to lie behind the camera.
pub(crate) fn fitted(start: Start, points: &[(DVec2, DVec2)], camera: &Intrinsics) -> Option<ByPoints> {
    let Start { mut pose, mut bend, bends } = start;
    let (mut equations, mut square) = linearised(pose, bend, bends, points, camera)?;
    let mut damping = 1e-3;
    for _ in 0..STEPS_MAX {
        let Some(step) = equations.solve(damping) else { break };
        let turn = DQuat::from_scaled_axis(DVec3::new(step[0], step[1], step[2]));
        let next = Rigid {
            rotation: DMat3::from_quat((turn * DQuat::from_mat3(&pose.rotation)).normalize()),
            translation: pose.translation + DVec3::new(step[3], step[4], step[5]),
        };
        let next_bend = Bend { curvature: (bend.curvature + step[6]).clamp(0.0, CURVATURE_MAX), ..bend };
        match linearised(next, next_bend, bends, points, camera) {
            Some((better, less)) if less < square => {
                let gain = (square - less) / square;
                (pose, bend, equations, square) = (next, next_bend, better, less);
                damping = (damping / 10.0).max(1e-9);
                if gain < GAIN_MIN {
                    break;
                }
            }
            _ if 1e6 < damping => break,
            _ => damping *= 10.0,
        }
    }
    Some(ByPoints { pose, bend, rms_px: (square / points.len() as f64).sqrt() })
}

/// The equations of a step, and the sum of the squares that it is to lessen.
fn linearised(
    pose: Rigid,
    bend: Bend,
    bends: bool,
    points: &[(DVec2, DVec2)],
    camera: &Intrinsics,
) -> Option<(LeastSquares<UNKNOWNS>, f64)> {
    let mut equations = LeastSquares::new();
    let mut square = 0.0;
    for (label, seen) in points {
        let (place, change, _) = bend.place_change_and_normal(*label);
        let turned = pose.rotation * place;
        let point = turned + pose.translation;
        if point.z <= 0.0 {
            return None;
        }
        let off = *seen - camera.project(point);
        square += off.length_squared();
        let bent = if bends { pose.rotation * change } else { DVec3::ZERO };
        for (focal, own, off) in [
            (camera.focal.x, DVec3::new(1.0, 0.0, -point.x / point.z), off.x),
            (camera.focal.y, DVec3::new(0.0, 1.0, -point.y / point.z), off.y),
        ] {
            let by_point = own * focal / point.z;
            let by_turn = turned.cross(by_point);
            equations.add(
                [by_turn.x, by_turn.y, by_turn.z, by_point.x, by_point.y, by_point.z, by_point.dot(bent)],
                off,
            );
        }
    }
    if !bends {
        equations.add([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 0.0);
    }
    square.is_finite().then_some((equations, square))
}
