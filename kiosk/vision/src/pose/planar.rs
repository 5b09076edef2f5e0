//! The two poses of a rectangle from its four corners, in closed form.
//!
//! Infinitesimal plane-based pose estimation (Collins and Bartoli, "Infinitesimal Plane-Based Pose Estimation",
//! International Journal of Computer Vision 109, 2014): the homography's value and Jacobian in the centre of the
//! rectangle fix its pose up to a reflection of the normal about the line of sight.

use glam::{DMat2, DMat3, DQuat, DVec2, DVec3};

use super::Rigid;

/// Determinants below this are those of corners on a line.
const DEGENERATE: f64 = 1e-12;

/// Both poses of a rectangle of width 1 and height `aspect`, seen with these corners: top left, top right, bottom
/// right, bottom left of the rectangle's own, on the plane one unit before the camera.
///
/// `None` when no rectangle before the camera, seen from the front, has these corners.
pub(crate) fn poses(corners: [DVec2; 4], aspect: f64) -> Option<[Rigid; 2]> {
    if !corners.iter().all(|corner| corner.is_finite()) {
        return None;
    }
    let (centre, jacobian) = centre_of_homography(corners)?;
    let jacobian = DMat2::from_cols(jacobian.x_axis, jacobian.y_axis / aspect);
    // The rotation that turns the optical axis into the line of sight to the centre.
    let sight = centre.extend(1.0);
    let to_sight = DMat3::from_quat(DQuat::from_rotation_arc(DVec3::Z, sight.normalize()));
    // A small step of the rectangle changes what is seen by `[I | -centre] · step / depth`; along the line of sight
    // by nothing, so that in the turned frame two columns are left.
    let seen = |step: DVec3| step.truncate() - centre * step.z;
    let projection = DMat2::from_cols(seen(to_sight.x_axis), seen(to_sight.y_axis));
    if projection.determinant().abs() < DEGENERATE {
        return None;
    }
    let scaled = projection.inverse() * jacobian;
    if scaled.determinant() <= DEGENERATE {
        return None;
    }
    // `scaled` is the upper left of the rotation, divided by the depth: a rotation's has 1 as largest singular value.
    let squares = scaled.x_axis.length_squared() + scaled.y_axis.length_squared();
    let determinant = scaled.determinant();
    let inverse_depth =
        f64::midpoint(squares, (squares * squares - 4.0 * determinant * determinant).max(0.0).sqrt()).sqrt();
    let upper = scaled * inverse_depth.recip();
    let (x, y) = (upper.x_axis, upper.y_axis);
    // What is missing to columns of length 1 at right angles stands in the third row, up to its sign.
    let mut third =
        DVec2::new((1.0 - x.length_squared()).max(0.0).sqrt(), (1.0 - y.length_squared()).max(0.0).sqrt());
    if 0.0 < x.dot(y) {
        third.y = -third.y;
    }
    let translation = sight / inverse_depth;
    Some([third, -third].map(|third| {
        let (x, y) = (x.extend(third.x), y.extend(third.y));
        let rotation = to_sight * DMat3::from_cols(x, y, x.cross(y));
        Rigid { rotation: DMat3::from_quat(DQuat::from_mat3(&rotation).normalize()), translation }
    }))
}

/// The pose of a plane that looks nearly alike: its normal on the other side of the line of sight to its centre.
pub(super) fn mirrored(pose: &Rigid) -> Rigid {
    let to_sight =
        DMat3::from_quat(DQuat::from_rotation_arc(DVec3::Z, pose.translation.normalize_or(DVec3::Z)));
    let own = to_sight.transpose() * pose.rotation;
    let [x, y] = [own.x_axis, own.y_axis].map(|axis| DVec3::new(axis.x, axis.y, -axis.z));
    Rigid { rotation: to_sight * DMat3::from_cols(x, y, x.cross(y)), ..*pose }
}

/// The homography from the unit square to four corners: where it takes the square's centre, and its Jacobian there.
///
/// Closed form of Heckbert, "Fundamentals of Texture Mapping and Image Warping" (1989), section 2.2.3.
fn centre_of_homography([p00, p10, p11, p01]: [DVec2; 4]) -> Option<(DVec2, DMat2)> {
    let (one, two, sum) = (p10 - p11, p01 - p11, p00 - p10 + p11 - p01);
    let determinant = one.perp_dot(two);
    if determinant.abs() <= DEGENERATE {
        return None;
    }
    let (g, h) = (sum.perp_dot(two) / determinant, one.perp_dot(sum) / determinant);
    let (along_x, along_y) = (p10 - p00 + p10 * g, p01 - p00 + p01 * h);
    // All four corners are before the camera.
    if [1.0 + g, 1.0 + h, 1.0 + g + h].into_iter().any(|depth| depth <= 0.0) {
        return None;
    }
    let depth = 1.0 + f64::midpoint(g, h);
    let centre = (p00 + (along_x + along_y) / 2.0) / depth;
    Some((centre, DMat2::from_cols((along_x - centre * g) / depth, (along_y - centre * h) / depth)))
}
