//! QR codes that no decoder reads because they are bent: on a bottle, a tin, a tube.
//!
//! Decoders lay a flat grid over the symbol. Here three finder patterns give a first pose with a bend, what every QR code of
//! that size has is aligned to the picture ([`crate::pose`]), and the symbol is drawn flat, as it was printed, for the decoder
//! to read. Its error correction says whether that was right.

use glam::DVec2;

use super::{
    Code, as_seen,
    finder::{self, Triple},
};
use crate::{
    geometry::Point,
    modules::{Pattern, QR_VERSIONS},
    picture::Grey,
    pose::{
        Intrinsics,
        align::{self, Aligned, Start},
        planar,
        points::{self, ByPoints},
        surface::Axis,
    },
};

/// Curvatures at which a fit starts: the symbol's width over the radius.
const CURVATURES: [f64; 2] = [0.3, 1.2];
/// Versions that are tried for one triple, those first that fit best.
const VERSIONS_MAX: usize = 4;
/// Poses of one triple that are aligned, and those that are drawn.
const ALIGNED_MAX: usize = 6;
const DRAWN_MAX: usize = 3;
/// Finder patterns further off than this are not those of one symbol, in modules.
const OFF_MODULES_MAX: f64 = 1.2;
/// A symbol agrees at least so well with what all symbols of its size have.
const AGREEMENT_MIN: f64 = 0.35;
/// How large a module is drawn, in pixels, and how wide the light border, in modules.
const DRAWN_PX: u32 = 5;
const QUIET: u32 = 4;

/// Every bent symbol that `decode` reads once it is drawn flat.
pub(super) fn read(grey: &Grey, camera: &Intrinsics, decode: impl Fn(&Grey) -> Option<Code>) -> Vec<Code> {
    let mut found: Vec<Code> = Vec::new();
    for triple in finder::triples(grey) {
        let middle = triple.corners[1][0].midpoint(triple.corners[2][0]);
        // Another triple of a symbol that was read already.
        let is_known = found.iter().any(|code| {
            let [a, _, c, _] = code.corners;
            a.middle(c).distance(Point::new(middle.x, middle.y)) < a.distance(c) / 3.0
        });
        if !is_known {
            found.extend(read_one(&triple, grey, camera, &decode));
        }
    }
    found
}

fn read_one(
    triple: &Triple,
    grey: &Grey,
    camera: &Intrinsics,
    decode: &impl Fn(&Grey) -> Option<Code>,
) -> Option<Code> {
    let mut starts: Vec<(u32, ByPoints)> =
        versions(triple).into_iter().flat_map(|version| by_corners(triple, version, camera)).collect();
    starts.sort_by(|a, b| a.1.rms_px.total_cmp(&b.1.rms_px));
    let mut aligned: Vec<(Aligned, Pattern)> = starts
        .into_iter()
        .take(ALIGNED_MAX)
        .filter_map(|(version, start)| {
            let pattern = Pattern::of_qr(version);
            let start = Start { pose: start.pose, bend: start.bend, bends: true };
            let found = align::to_picture(start, &pattern, grey, camera)?;
            (AGREEMENT_MIN <= found.agreement).then_some((found, pattern))
        })
        .collect();
    aligned.sort_by(|a, b| b.0.agreement.total_cmp(&a.0.agreement));
    aligned.into_iter().take(DRAWN_MAX).find_map(|(found, pattern)| {
        let code = decode(&drawn(&found, pattern.columns(), grey, camera))?;
        let corner = |x: f64, y: f64| {
            let seen = camera.project(found.pose.apply(found.bend.place(DVec2::new(x, y))));
            Point::new(seen.x, seen.y)
        };
        let (corners, symbol_origin, _) =
            as_seen([corner(-0.5, -0.5), corner(0.5, -0.5), corner(0.5, 0.5), corner(-0.5, 0.5)]);
        Some(Code { corners, symbol_origin, mirrored: false, surface: Some(found.bend.surface(1.0)), ..code })
    })
}

/// Versions that a triple may have, the likeliest first.
fn versions(triple: &Triple) -> Vec<u32> {
    let (across, down) = triple.modules;
    let off = |version: u32| {
        let side = f64::from(17 + 4 * version);
        (side - across).abs().min((side - down).abs())
    };
    let mut all: Vec<u32> = QR_VERSIONS.collect();
    all.sort_by(|a, b| off(*a).total_cmp(&off(*b)));
    all.truncate(VERSIONS_MAX);
    all
}

/// The poses of a version by the corners of its finder patterns, the better of each axis.
fn by_corners(triple: &Triple, version: u32, camera: &Intrinsics) -> Vec<(u32, ByPoints)> {
    let side = f64::from(17 + 4 * version);
    let label = |column: f64, row: f64| DVec2::new(column, row) / side - 0.5;
    let points: Vec<(DVec2, DVec2)> = [(0.0, 0.0), (side - 7.0, 0.0), (0.0, side - 7.0)]
        .into_iter()
        .zip(triple.corners)
        .flat_map(|((column, row), seen)| {
            let own = [(0.0, 0.0), (7.0, 0.0), (7.0, 7.0), (0.0, 7.0)];
            own.into_iter().zip(seen).map(move |((x, y), seen)| (label(column + x, row + y), seen))
        })
        .collect();
    let [top_left, top_right, bottom_left] =
        [triple.corners[0][0], triple.corners[1][1], triple.corners[2][3]];
    let quad = [top_left, top_right, top_right + bottom_left - top_left, bottom_left];
    let Some(flat) = planar::poses(quad.map(|p| camera.normalised(Point::new(p.x, p.y))), 1.0) else {
        return Vec::new();
    };
    let module_px = top_left.distance(top_right) / side;
    [Axis::Upright, Axis::Lying]
        .into_iter()
        .filter_map(|axis| {
            let starts =
                flat.iter().flat_map(|pose| CURVATURES.map(|curvature| Start::bent(*pose, axis, curvature)));
            starts
                .filter_map(|start| points::fitted(start, &points, camera))
                .min_by(|a, b| a.rms_px.total_cmp(&b.rms_px))
        })
        .filter(|fit| fit.rms_px < OFF_MODULES_MAX * module_px)
        .map(|fit| (version, fit))
        .collect()
}

/// The symbol as it was printed, with its light border.
fn drawn(found: &Aligned, columns: u32, grey: &Grey, camera: &Intrinsics) -> Grey {
    let side = (columns + 2 * QUIET) * DRAWN_PX;
    let mut luma = Vec::with_capacity((side * side) as usize);
    for y in 0..side {
        for x in 0..side {
            let module = |at: u32| (f64::from(at) + 0.5) / f64::from(DRAWN_PX) - f64::from(QUIET);
            let label = DVec2::new(module(x), module(y)) / f64::from(columns) - 0.5;
            let point = found.pose.apply(found.bend.place(label));
            let level = (0.0 < point.z).then(|| align::level(grey, camera.project(point))).flatten();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between bytes")]
            luma.push(level.map_or(u8::MAX, |level| level.round() as u8));
        }
    }
    Grey::from_luma(side, side, luma)
}

#[cfg(test)]
mod tests {
    use glam::{DMat3, DQuat, DVec3};

    use super::*;
    use crate::{
        codes::{CodeReader as _, Effort, Zxing},
        modules::Modules,
        pose::{Rigid, Surface},
        synthetic::Scene,
    };

    const TEXT: &str = "https://id.gs1.org/01/09521234543213/10/LOT001/21/SN100001";

    /// A label of 22 mm on a good of this radius, a hand's breadth before a camera, turned and tilted a little.
    fn held(radius: f64, axis: Axis, turn_deg: f64) -> Scene {
        let code = qrcode::QrCode::with_error_correction_level(TEXT, qrcode::EcLevel::M).unwrap();
        let dark = code.to_colors().iter().map(|colour| *colour == qrcode::Color::Dark).collect();
        let tilt = DQuat::from_axis_angle(DVec3::new(0.8, 0.6, 0.0), 0.25);
        Scene {
            width: 640,
            height: 480,
            camera: Intrinsics::assumed(640, 480),
            symbol: Modules::new(u32::try_from(code.width()).unwrap(), dark).unwrap(),
            symbol_width: 22.0,
            surface: Surface::Bent { axis, radius },
            camera_from_symbol: Rigid {
                rotation: DMat3::from_quat(tilt * DQuat::from_rotation_z(turn_deg.to_radians())),
                translation: DVec3::new(4.0, -3.0, 70.0),
            },
            light_slope: 0.2,
            blur_px: 0.7,
            shake_px: DVec2::ZERO,
            noise: 3.0,
            seed: 1,
        }
    }

    #[test]
    fn labels_that_no_flat_grid_fits_are_read_on_bottles_and_lipsticks_standing_and_lying() {
        for (radius, axis, turn_deg) in [
            (37.5, Axis::Upright, 10.0),
            (37.5, Axis::Lying, -15.0),
            (12.5, Axis::Upright, 5.0),
            (12.5, Axis::Lying, 170.0),
        ] {
            let scene = held(radius, axis, turn_deg);
            let grey = scene.frame();
            let found = Zxing.read(&grey, Effort::Rescue).unwrap();
            assert_eq!(found.len(), 1, "radius {radius}, {axis:?}: {found:?}");
            assert_eq!(found[0].text, TEXT);
            let Some(Surface::Bent { axis: own, radius: widths }) = found[0].surface else {
                panic!("{:?}", found[0].surface)
            };
            assert_eq!(own, axis);
            assert!((widths * 22.0 / radius - 1.0).abs() < 0.1, "{} for {radius}", widths * 22.0);
            // Its corners are those of the label on the good.
            let corner = |x: f64, y: f64| {
                let bend = crate::pose::surface::Bend::of(scene.surface, 22.0);
                let place = bend.place(DVec2::new(x, y)) * 22.0;
                let seen = scene.camera.project(scene.camera_from_symbol.apply(place));
                Point::new(seen.x, seen.y)
            };
            let first = found[0].corners[found[0].symbol_origin];
            assert!(first.distance(corner(-0.5, -0.5)) < 3.0, "{:?}", found[0].corners);
        }
        let lipstick = held(12.5, Axis::Upright, 5.0).frame();
        assert_eq!(Zxing.read(&lipstick, Effort::Full).unwrap(), [], "what a flat grid makes of the same");
    }

    #[test]
    fn a_label_that_is_half_hidden_is_not_guessed() {
        let mut scene = held(37.5, Axis::Upright, 10.0);
        scene.camera_from_symbol.translation.x += 38.0;
        assert_eq!(Zxing.read(&scene.frame(), Effort::Rescue).unwrap(), []);
    }
}
