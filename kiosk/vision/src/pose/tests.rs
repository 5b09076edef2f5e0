//! Poses of rendered symbols, whose truth is known.

use glam::{DMat3, DQuat, DVec2, DVec3};

use super::*;
use crate::{
    codes::{self, Effort, Modules, SCHEDULE, Zxing},
    picture::Picture,
};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;

fn camera() -> Intrinsics {
    Intrinsics::new([350.0, 353.0, 162.0, 117.0], WIDTH, HEIGHT).unwrap()
}

/// The digits of `index` in this base, behind the point: spreads poses evenly without chance (Halton's sequence).
fn halton(mut index: u32, base: u32) -> f64 {
    let (mut value, mut digit) = (0.0, 1.0);
    while 0 < index {
        digit /= f64::from(base);
        value += digit * f64::from(index % base);
        index /= base;
    }
    value
}

/// A symbol turned in its plane by any angle, tilted about any axis by up to `tilt` degrees, so far away that a
/// module has three to six pixels.
fn any_pose(index: u32, camera: &Intrinsics, columns: u32, tilt: f64) -> Rigid {
    let [size, tilted, about, turned, x, y] = [2, 3, 5, 7, 11, 13].map(|base| halton(index, base));
    let distance = camera.focal.x / (f64::from(columns) * (3.0 + 3.0 * size));
    let about = std::f64::consts::TAU * about;
    let tilt =
        DQuat::from_axis_angle(DVec3::new(about.cos(), about.sin(), 0.0), (tilt * tilted).to_radians());
    let turn = DQuat::from_rotation_z(std::f64::consts::TAU * turned);
    let reach = DVec2::new(f64::from(WIDTH), f64::from(HEIGHT)) / camera.focal * 0.3 * distance;
    Rigid {
        rotation: DMat3::from_quat(tilt * turn),
        translation: DVec3::new((x - 0.5) * reach.x, (y - 0.5) * reach.y, distance),
    }
}

fn symbol(text: &str) -> Modules {
    let code = qrcode::QrCode::new(text).unwrap();
    let dark = code.to_colors().iter().map(|colour| *colour == qrcode::Color::Dark).collect();
    Modules::new(u32::try_from(code.width()).unwrap(), dark).unwrap()
}

/// How light paper with a symbol is at a point of its plane: `None` beside the paper.
fn flat(modules: &Modules, at: DVec2) -> Option<f64> {
    let at = (at + DVec2::new(0.5, 0.5 * modules.aspect())) * f64::from(modules.columns());
    let quiet = 4.0;
    let paper = DVec2::new(f64::from(modules.columns()), f64::from(modules.rows()));
    let on_paper = (at + quiet).min_element() >= 0.0 && (paper + quiet - at).min_element() >= 0.0;
    let at = at.floor();
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred modules")]
    let dark = modules.is_dark(at.x as i64, at.y as i64);
    on_paper.then_some(if dark { 40.0 } else { 215.0 })
}

/// What a camera sees of a surface, 3 × 3 rays a pixel: `light` says how light the surface is that a ray from the
/// origin meets. Blurred like a lens (0.7 pixels), with light that falls off to one side, and noise.
fn seen(camera: &Intrinsics, light: impl Fn(DVec3) -> Option<f64>) -> Picture {
    const RAYS: u32 = 3;
    let mut levels = Vec::with_capacity((WIDTH * HEIGHT) as usize);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let mut sum = 0.0;
            for ray in 0..RAYS * RAYS {
                let part = |at: u32| (f64::from(at) + 0.5) / f64::from(RAYS) - 0.5;
                let pixel = DVec2::new(f64::from(x) + part(ray % RAYS), f64::from(y) + part(ray / RAYS));
                let direction = camera.normalised(Point::new(pixel.x, pixel.y)).extend(1.0);
                sum += light(direction).unwrap_or(110.0);
            }
            levels.push(sum / f64::from(RAYS * RAYS));
        }
    }
    let kernel: Vec<f64> = (-3..=3).map(|at| (-f64::from(at * at) / (2.0 * 0.7 * 0.7)).exp()).collect();
    let total: f64 = kernel.iter().sum();
    let blurred = |levels: &[f64], stride: usize| -> Vec<f64> {
        (0..levels.len())
            .map(|at| {
                let near = |(step, weight): (usize, &f64)| {
                    let other = (at + step * stride).saturating_sub(3 * stride).min(levels.len() - 1);
                    weight * levels[other] / total
                };
                kernel.iter().enumerate().map(near).sum()
            })
            .collect()
    };
    let levels = blurred(&blurred(&levels, 1), WIDTH as usize);
    let mut state = 1_u32;
    let mut noise = || {
        // Four bytes of a linear congruential generator: nearly normal, standard deviation 3.
        let sum: i32 = (0..4)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                i32::from((state >> 24).to_le_bytes()[0])
            })
            .sum();
        f64::from(sum - 510) / 148.0 * 3.0
    };
    let mut rgb = Vec::with_capacity(levels.len() * 3);
    for (at, level) in levels.iter().enumerate() {
        let side = f64::from(u32::try_from(at).unwrap() % WIDTH) / f64::from(WIDTH);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let level = (level * (1.1 - 0.3 * side) + noise()).round().clamp(0.0, 255.0) as u8;
        rgb.extend([level; 3]);
    }
    Picture::from_rgb(WIDTH, HEIGHT, rgb).unwrap()
}

fn seen_flat(camera: &Intrinsics, modules: &Modules, pose: &Rigid) -> Picture {
    let (back, normal) = (pose.rotation.transpose(), pose.rotation.z_axis);
    seen(camera, |direction| {
        let distance = normal.dot(pose.translation) / normal.dot(direction);
        if distance <= 0.0 {
            return None;
        }
        flat(modules, (back * (direction * distance - pose.translation)).truncate())
    })
}

/// A label around a bottle of this radius: its front line goes through the symbol's centre, upright.
fn seen_on_bottle(camera: &Intrinsics, modules: &Modules, pose: &Rigid, radius: f64) -> Picture {
    let (back, eye) = (pose.rotation.transpose(), pose.rotation.transpose() * -pose.translation);
    seen(camera, |direction| {
        let direction = back * direction;
        // x² + (z - radius)² = radius², nearer of the two.
        let (across, from_axis) = (DVec2::new(direction.x, direction.z), DVec2::new(eye.x, eye.z - radius));
        let (a, b) = (across.length_squared(), across.dot(from_axis));
        let root = (b * b - a * (from_axis.length_squared() - radius * radius)).sqrt();
        let met = eye + direction * ((-b - root) / a);
        // NaN beside the bottle is on no paper.
        flat(modules, DVec2::new(radius * met.x.atan2(radius - met.z), met.y))
    })
}

fn estimated(camera: &Intrinsics, picture: &Picture) -> Option<Result<SymbolPose, NoPose>> {
    let grey = picture.to_grey();
    let codes = codes::read_with(&Zxing, &grey, &SCHEDULE).unwrap();
    codes.first().map(|code| estimate(code, &grey, camera, 1.0))
}

#[test]
fn exact_corners_give_back_the_pose_as_one_of_two() {
    for aspect in [1.0, 0.4] {
        for index in 1..=500 {
            let truth = any_pose(index, &camera(), 25, 80.0);
            let corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)].map(|(x, y)| {
                let seen = truth.apply(DVec3::new(x, y * aspect, 0.0));
                seen.truncate() / seen.z
            });
            let poses = planar::poses(corners, aspect).unwrap();
            let error =
                poses.map(|pose| truth.degrees_to(&pose).max(pose.translation.distance(truth.translation)));
            assert!(error[0].min(error[1]) < 1e-4, "{index}: {truth:?} is not in {poses:?}");
            for pose in poses {
                let twice = planar::mirrored(&planar::mirrored(&pose));
                assert!(pose.degrees_to(&twice) < 1e-4, "{pose:?} and {twice:?}");
                assert!((pose.rotation.determinant() - 1.0).abs() < 1e-9);
                assert!(pose.tilt_deg() < 90.0, "seen from the front");
            }
        }
    }
}

#[test]
fn corners_of_no_rectangle_give_no_pose() {
    let none = |points: [(f64, f64); 4], why: &str| {
        assert!(planar::poses(points.map(|(x, y)| DVec2::new(x, y)), 1.0).is_none(), "{why}");
    };
    none([(0.0, 0.0); 4], "a point");
    none([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (3.0, 0.0)], "a line");
    none([(0.0, 0.0), (1.0, 0.0), (0.3, 0.3), (0.0, 1.0)], "a dart");
    none([(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)], "from behind");
    none([(f64::NAN, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)], "no number");
}

#[test]
fn a_rendered_symbol_is_found_where_it_was_put() {
    let modules = symbol("https://id.gs1.org/01/09521234543213");
    let camera = camera();
    let (mut turns, mut shifts) = (Vec::new(), Vec::new());
    for index in 1..=40 {
        let truth = any_pose(index, &camera, modules.columns(), 50.0);
        // What cannot be read has no pose; most can.
        let Some(found) = estimated(&camera, &seen_flat(&camera, &modules, &truth)) else { continue };
        let found = found.unwrap();
        let pose = found.best.camera_from_symbol;
        assert!(!found.ambiguous && 0.95 < found.best.agreement, "{index}: {found:?}");
        turns.push(truth.degrees_to(&pose));
        shifts.push(pose.translation.distance(truth.translation) / truth.translation.z);
    }
    turns.sort_by(f64::total_cmp);
    shifts.sort_by(f64::total_cmp);
    let (median, last) = (turns.len() / 2, turns.len() - 1);
    eprintln!(
        "{} of 40 read; turned by {:.3}° (median) and {:.3}° (most), shifted by {:.5} and {:.5} of the distance",
        turns.len(),
        turns[median],
        turns[last],
        shifts[median],
        shifts[last]
    );
    assert!(28 <= turns.len(), "{} of 40 are read", turns.len());
    // The corners alone are right within 0.6° in half of such pictures and within 2.8° in most.
    assert!(turns[median] < 0.06 && turns[last] < 0.4, "{turns:?}");
    assert!(shifts[median] < 0.0005 && shifts[last] < 0.003, "{shifts:?}");
}

#[test]
fn where_two_poses_look_alike_that_is_said_and_one_of_them_is_right() {
    let modules = symbol("https://id.gs1.org/01/09521234543213");
    // From ever further away, with ever longer lenses: perspective fades, and with it what tells the two apart.
    let mut ambiguous = Vec::new();
    for focal in [1_000.0, 16_000.0, 64_000.0] {
        let camera = Intrinsics::new([focal, focal, 160.0, 120.0], WIDTH, HEIGHT).unwrap();
        let (mut unsure, mut read) = (0, 0);
        for index in 1..=8 {
            let truth = any_pose(index, &camera, modules.columns(), 45.0);
            let Some(found) = estimated(&camera, &seen_flat(&camera, &modules, &truth)) else { continue };
            let found = found.unwrap();
            let error = |fit: &Fit| truth.degrees_to(&fit.camera_from_symbol);
            let least = found.other.filter(|_| found.ambiguous).as_ref().map_or(f64::INFINITY, error);
            assert!(error(&found.best).min(least) < 0.4, "{focal} {index}: {truth:?} is not in {found:?}");
            unsure += u32::from(found.ambiguous);
            read += 1;
        }
        ambiguous.push((unsure, read));
    }
    let (none, all) = (ambiguous[0], ambiguous[2]);
    assert!(none.0 == 0 && all.0 == all.1 && 6 <= all.1, "{ambiguous:?}");
}

#[test]
fn a_symbol_on_a_bottle_or_a_tin_is_found_with_the_radius_that_it_has() {
    let modules = symbol("https://id.gs1.org/01/09521234543213");
    let camera = camera();
    // Radii in widths of a symbol of 22 mm: a tin of infant formula, a bottle of wine.
    for radius in [2.89, 1.7] {
        let (mut turns, mut radii) = (Vec::new(), Vec::new());
        for index in 1..=20 {
            let truth = any_pose(index, &camera, modules.columns(), 35.0);
            let picture = seen_on_bottle(&camera, &modules, &truth, radius);
            // What cannot be read has no pose; most can.
            let Some(found) = estimated(&camera, &picture) else { continue };
            let found = found.unwrap_or_else(|error| panic!("{index}: {error}"));
            let Surface::Bent { axis: Axis::Upright, radius: own } = found.best.surface else {
                panic!("{index}: {found:?}")
            };
            turns.push(truth.degrees_to(&found.best.camera_from_symbol));
            radii.push((own / radius - 1.0).abs());
        }
        turns.sort_by(f64::total_cmp);
        radii.sort_by(f64::total_cmp);
        let (median, last) = (turns.len() / 2, turns.len() - 1);
        eprintln!(
            "radius {radius}: {} of 20 read; turned by {:.3}° (median) and {:.3}° (most); radius off by {:.3} and {:.3}",
            turns.len(),
            turns[median],
            turns[last],
            radii[median],
            radii[last]
        );
        assert!(12 <= turns.len(), "{} of 20 are read", turns.len());
        assert!(turns[median] < 0.15 && turns[last] < 0.8, "{turns:?}");
        assert!(radii[median] < 0.05 && radii[last] < 0.25, "{radii:?}");
    }
}

#[test]
fn what_has_no_pose_says_why() {
    let modules = symbol("https://id.gs1.org/01/09521234543213");
    let camera = camera();
    let truth = any_pose(2, &camera, modules.columns(), 10.0);
    let grey = seen_flat(&camera, &modules, &truth).to_grey();
    let code = codes::read_with(&Zxing, &grey, &[Effort::Fast, Effort::Full]).unwrap().remove(0);
    let reason = |code: &Code| estimate(code, &grey, &camera, 1.0).unwrap_err();
    assert_eq!(reason(&Code { mirrored: true, ..code.clone() }), NoPose::Mirrored);
    assert_eq!(reason(&Code { modules: None, format: Format::Ean13, ..code.clone() }), NoPose::NoMatrix);
    assert_eq!(reason(&Code { corners: [code.corners[0]; 4], ..code.clone() }), NoPose::Corners);
    let beside = code.corners.map(|corner| Point::new(corner.x + 5_000.0, corner.y));
    assert_eq!(reason(&Code { corners: beside, ..code.clone() }), NoPose::Corners);
    let other = symbol("as many letters with another sense...");
    assert!(matches!(reason(&Code { modules: Some(other), ..code.clone() }), NoPose::NotAlike(_)));
}

#[test]
fn large_sharp_modules_are_found_as_exactly_as_small_ones() {
    let camera = camera();
    // Eight modules across: with these lenses 12 and 25 pixels each, most of them far from any edge.
    let modules =
        Modules::new(8, (0..64).map(|at| at % 8 == 0 || 56 <= at || (at * 7 + at / 8) % 3 == 0).collect());
    let modules = modules.unwrap();
    for (index, module_px) in (1..=6).flat_map(|index| [(index, 12.0), (index, 25.0)]) {
        let mut truth = any_pose(index, &camera, modules.columns(), 30.0);
        truth.translation *= camera.focal.x / (8.0 * module_px) / truth.translation.z;
        let grey = seen_flat(&camera, &modules, &truth).to_grey();
        // What a decoder says: whole pixels, a pixel off.
        let corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)].map(|(x, y)| {
            let seen = camera.project(truth.apply(DVec3::new(x, y, 0.0)));
            Point::new((seen.x + 1.0).round(), seen.y.round())
        });
        let code = Code {
            format: Format::DataMatrix,
            text: String::new(),
            corners,
            symbol_origin: 0,
            mirrored: false,
            symbology: "]d1".to_owned(),
            is_gs1: false,
            modules: Some(modules.clone()),
            surface: None,
        };
        let found = estimate(&code, &grey, &camera, 1.0).unwrap().best.camera_from_symbol;
        let shift = camera.project(found.translation).distance(camera.project(truth.translation));
        let turn = truth.degrees_to(&found);
        assert!(shift < 0.3 && turn < 0.5, "{index}, {module_px} px: {shift:.3} px, {turn:.3}°");
    }
}

#[test]
fn a_camera_is_made_of_numbers_that_cameras_have() {
    let camera = |numbers| Intrinsics::new(numbers, 640, 480);
    assert_eq!(camera([0.0, 1.0, 0.0, 0.0]), Err(IntrinsicsError::Focal(0.0)));
    for bad in [[1.0, f64::NAN, 0.0, 0.0], [1e9, 1e9, 320.0, 240.0]] {
        assert!(matches!(camera(bad), Err(IntrinsicsError::Focal(_))));
    }
    for [x, y] in [[f64::NAN, 0.0], [640.0, 0.0], [0.0, -1.0], [3_000.0, 240.0]] {
        let refused = camera([500.0, 500.0, x, y]);
        assert!(matches!(refused, Err(IntrinsicsError::Principal { .. })), "{refused:?}");
    }
    for degrees in [0.0, 180.0, -5.0, f64::NAN] {
        assert!(Intrinsics::from_horizontal_fov(1280, 720, degrees).is_err(), "{degrees}");
    }
    let [fx, fy, cx, cy] = Intrinsics::from_horizontal_fov(1280, 720, 90.0).unwrap().to_array();
    assert!((fx - 640.0).abs() < 1e-9 && fx == fy && (cx, cy) == (639.5, 359.5));
    let held = |width, height| Intrinsics::assumed(width, height).to_array()[0];
    assert_eq!(held(1280, 720), held(720, 1280), "a camera that is turned sees as much");
}
