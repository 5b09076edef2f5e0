//! Rendered charts: pictures of a camera that is a matrix, a curve, noise and blur, and what is made of them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "coordinates of small pictures, and bytes that were clamped"
)]

use glam::{DMat3, DVec2, DVec3};
use proptest::{prelude::*, test_runner::RngSeed};

use super::{
    CalibrateError, Calibrated, Date, DetectError, FitError, Patch, calibrate,
    chart::{COLUMNS, ROWS},
    homography::Homography,
};
use crate::{
    Picture,
    skin::{Lab, colour},
};

/// Half of a patch's side in distances of patches, as on the chart (40 of 46 mm).
const PATCH_HALF: f64 = 0.43;
/// The chart's black frame around the patches, in distances of patches.
const FRAME: f64 = 0.25;

/// A camera under a lamp.
#[derive(Debug, Clone, Copy)]
struct Camera {
    /// From linear sRGB under D65 to the camera's channels.
    mix: [[f64; 3]; 3],
    /// Bytes are light to the power of one over this.
    gamma: f64,
    /// Standard deviation of the noise, in bytes.
    noise: f64,
    /// How often the light is blurred over its neighbours, each time by 0.7 pixels.
    blur: usize,
}

const PLAIN: Camera =
    Camera { mix: [[0.8, 0.0, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.8]], gamma: 2.2, noise: 1.0, blur: 1 };
/// A warm lamp before a sensor whose channels overlap.
const WARM: Camera = Camera {
    mix: [[0.62, 0.20, 0.02], [0.16, 0.55, 0.06], [0.04, 0.18, 0.50]],
    gamma: 1.9,
    noise: 2.0,
    blur: 2,
};
/// A cold lamp, a steep curve.
const COLD: Camera = Camera {
    mix: [[0.55, 0.15, 0.03], [0.06, 0.60, 0.10], [0.02, 0.14, 0.66]],
    gamma: 2.5,
    noise: 2.0,
    blur: 1,
};

impl Camera {
    fn byte(&self, light: f64, noise: f64) -> u8 {
        crate::picture::to_byte(
            (255.0 * light.clamp(0.0, 1.0).powf(1.0 / self.gamma) + noise * self.noise) as f32,
        )
    }

    fn light(&self, srgb: [f64; 3]) -> [f64; 3] {
        (DMat3::from_cols_array_2d(&self.mix).transpose() * DVec3::from_array(srgb))
            .max(DVec3::ZERO)
            .to_array()
    }

    /// What the camera makes of one colour, without noise.
    fn pixel(&self, srgb: [f64; 3]) -> [u8; 3] {
        self.light(srgb).map(|light| self.byte(light, 0.0))
    }
}

/// A chart before a grey wall.
#[derive(Debug, Clone)]
struct Scene {
    width: u32,
    height: u32,
    /// Where the middles of the four corner patches are seen: dark skin, bluish green, black, white.
    corners: [DVec2; 4],
    camera: Camera,
    /// The logarithm of the light rises by this over the width and the height of the picture.
    gradient: DVec2,
    seed: u64,
}

impl Scene {
    /// The chart seen straight on, in the middle, its patches over this share of the picture's width.
    fn straight(share: f64) -> Self {
        let (width, height) = (640, 480);
        let pitch = share * f64::from(width) / COLUMNS as f64;
        let half = DVec2::new((COLUMNS - 1) as f64, (ROWS - 1) as f64) / 2.0 * pitch;
        let middle = DVec2::new(f64::from(width), f64::from(height)) / 2.0;
        let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
            .map(|(x, y)| middle + DVec2::new(x, y) * half);
        Self { width, height, corners, camera: PLAIN, gradient: DVec2::ZERO, seed: 7 }
    }

    fn seen_by(self, camera: Camera) -> Self {
        Self { camera, ..self }
    }

    /// Turned about the picture's middle, clockwise, with the corners moved by shares of the picture's height.
    fn turned(mut self, degrees: f64, moved: [[f64; 2]; 4]) -> Self {
        let middle = DVec2::new(f64::from(self.width), f64::from(self.height)) / 2.0;
        let turn = DVec2::from_angle(degrees.to_radians());
        for (corner, moved) in self.corners.iter_mut().zip(moved) {
            *corner = middle + turn.rotate(*corner - middle) + DVec2::from(moved) * f64::from(self.height);
        }
        self
    }

    fn render(&self) -> Picture {
        self.render_as(Patch::linear_srgb)
    }

    fn render_as(&self, colour_of: impl Fn(Patch) -> [f64; 3]) -> Picture {
        let (right, bottom) = ((COLUMNS - 1) as f64, (ROWS - 1) as f64);
        let on_chart = [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)].map(DVec2::from);
        // From the middle, which is before the camera however the chart is tilted.
        let middle = DVec2::new(f64::from(self.width), f64::from(self.height)) / 2.0;
        let pairs: Vec<_> = self.corners.into_iter().map(|corner| corner - middle).zip(on_chart).collect();
        let chart_from_middle = Homography::fit(&pairs).expect("the corners are those of a chart");
        let colours: Vec<[f64; 3]> = Patch::all().map(colour_of).collect();
        let at = |seen: DVec2| -> [f64; 3] {
            let Some(place) = chart_from_middle.apply(seen - middle) else { return [0.2; 3] };
            let (outer_right, outer_bottom) = (right + 0.5 + FRAME, bottom + 0.5 + FRAME);
            let outer = -0.5 - FRAME;
            if place.x < outer || place.y < outer || outer_right < place.x || outer_bottom < place.y {
                return [0.28, 0.30, 0.27];
            }
            let cell = place.round();
            let is_patch = (place - cell).abs().max_element() < PATCH_HALF
                && 0.0 <= cell.x
                && cell.x <= right
                && 0.0 <= cell.y
                && cell.y <= bottom;
            if is_patch { colours[cell.y as usize * COLUMNS + cell.x as usize] } else { [0.035; 3] }
        };
        let mut light: Vec<[f64; 3]> = Vec::with_capacity((self.width * self.height) as usize);
        for y in 0..self.height {
            for x in 0..self.width {
                let seen = DVec2::new(f64::from(x), f64::from(y));
                let mut sum = DVec3::ZERO;
                for offset in [(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)] {
                    sum += DVec3::from_array(at(seen + DVec2::from(offset))) / 4.0;
                }
                let share =
                    seen / DVec2::new(f64::from(self.width), f64::from(self.height)) - DVec2::splat(0.5);
                light.push(self.camera.light((sum * share.dot(self.gradient).exp()).to_array()));
            }
        }
        for _ in 0..self.camera.blur {
            light = blurred(&light, self.width as usize);
        }
        let mut random = Random(self.seed);
        let bytes = light.into_iter().flatten().map(|light| self.camera.byte(light, random.normal()));
        Picture::from_rgb(self.width, self.height, bytes.collect()).unwrap()
    }
}

/// Each pixel mixed with its neighbours by 1, 2, 1 in both directions.
fn blurred(light: &[[f64; 3]], width: usize) -> Vec<[f64; 3]> {
    let along = |from: &[[f64; 3]], step: usize| -> Vec<[f64; 3]> {
        (0..from.len())
            .map(|at| {
                let (before, after) = (from[at.saturating_sub(step)], from[(at + step).min(from.len() - 1)]);
                std::array::from_fn(|channel| {
                    (before[channel] + 2.0 * from[at][channel] + after[channel]) / 4.0
                })
            })
            .collect()
    };
    along(&along(light, 1), width)
}

/// SplitMix64; normal by the sum of twelve.
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}

fn today() -> Date {
    Date::parse("2026-11-23").unwrap()
}

fn calibrated(scene: &Scene) -> Calibrated {
    calibrate(&scene.render(), today()).unwrap_or_else(|error| panic!("{error}: {scene:?}"))
}

fn refused(picture: &Picture) -> DetectError {
    match calibrate(picture, today()) {
        Err(CalibrateError::Detect(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

/// The largest distance of a corner of the chart from where it was rendered, in distances of patches.
fn corners_off(scene: &Scene, found: &Calibrated) -> f64 {
    let (right, bottom) = ((COLUMNS - 1) as f64, (ROWS - 1) as f64);
    let on_chart = [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)].map(DVec2::from);
    let pairs: Vec<_> = on_chart.into_iter().zip(scene.corners).collect();
    let picture_from_chart = Homography::fit(&pairs).unwrap();
    let outer = [(-0.5, -0.5), (right + 0.5, -0.5), (right + 0.5, bottom + 0.5), (-0.5, bottom + 0.5)];
    let pitch = scene.corners[0].distance(scene.corners[1]) / right;
    outer
        .into_iter()
        .zip(found.detected.corners)
        .map(|(at, corner)| {
            picture_from_chart.apply(at.into()).unwrap().distance(DVec2::new(corner.x, corner.y))
        })
        .fold(0.0, f64::max)
        / pitch
}

#[test]
fn a_chart_is_found_in_every_turn_near_and_far() {
    let far = [0.0, 45.0, 90.0, 200.0, 330.0].map(|turn| (0.15, turn));
    let near = [(0.5, 270.0), (0.85, 0.0), (0.85, 180.0), (0.85, -12.0)];
    for (share, turn) in far.into_iter().chain(near) {
        let scene = Scene::straight(share).turned(turn, [[0.0; 2]; 4]);
        let found = calibrated(&scene);
        let off = corners_off(&scene, &found);
        assert!(off < 0.1, "{share} {turn}: {off}");
        assert!(found.fit.delta_e.mean_76 < 2.0, "{share} {turn}: {:?}", found.fit.delta_e);
    }
}

#[test]
fn uneven_light_tilt_and_noise_are_no_obstacle() {
    for camera in [PLAIN, WARM, COLD] {
        let camera = Camera { noise: 5.0, blur: 3, ..camera };
        let tilted = [[-0.08, -0.06], [0.05, 0.02], [-0.04, -0.05], [0.03, 0.06]];
        let scene = Scene { gradient: DVec2::new(0.4, -0.2), ..Scene::straight(0.5).turned(8.0, tilted) };
        let found = calibrated(&scene.seen_by(camera));
        assert!(found.fit.delta_e.mean_76 < 3.0, "{camera:?}: {:?}", found.fit.delta_e);
    }
}

/// Colours like skin from light to dark, L*a*b*: chosen, not measured.
const SKIN: [[f64; 3]; 6] = [
    [72.0, 8.0, 15.0],
    [65.0, 11.0, 17.0],
    [58.0, 12.0, 19.0],
    [50.0, 13.0, 19.5],
    [40.0, 12.0, 17.0],
    [31.0, 9.0, 11.0],
];

fn srgb_of(lab: Lab) -> [f64; 3] {
    let fy = (lab.l + 16.0) / 116.0;
    let cube = |f: f64| if 6.0 / 29.0 < f { f * f * f } else { (f - 16.0 / 116.0) * 108.0 / 841.0 };
    let xyz = DVec3::new(0.950_47 * cube(fy + lab.a / 500.0), cube(fy), 1.088_83 * cube(fy - lab.b / 200.0));
    let xyz_from_srgb = DMat3::from_cols_array_2d(&[
        [0.412_456_4, 0.212_672_9, 0.019_333_9],
        [0.357_576_1, 0.715_152_2, 0.119_192_0],
        [0.180_437_5, 0.072_175_0, 0.950_304_1],
    ]);
    (xyz_from_srgb.inverse() * xyz).to_array()
}

#[test]
fn tone_is_within_three_degrees_with_a_chart_and_far_off_without() {
    for camera in [WARM, COLD, Camera { gamma: 1.8, ..PLAIN }] {
        let scene = Scene { gradient: DVec2::new(0.25, 0.1), ..Scene::straight(0.5) }.seen_by(camera);
        let Calibrated { calibration, fit, .. } = calibrated(&scene);
        let (mut worst_with, mut sum_without) = (0.0_f64, 0.0);
        for [l, a, b] in SKIN {
            let truth = Lab { l, a, b };
            let pixel = camera.pixel(srgb_of(truth));
            let off = |found: Lab| (found.ita_deg() - truth.ita_deg()).abs();
            worst_with = worst_with.max(off(calibration.lab(pixel)));
            sum_without += off(colour::lab(colour::linear(pixel))) / SKIN.len() as f64;
        }
        eprintln!(
            "ITA off by at most {worst_with:.2}° with the chart, {sum_without:.1}° in the mean without; {:?}",
            fit.delta_e
        );
        assert!(worst_with < 3.0 && 3.0 * worst_with < sum_without, "{worst_with} {sum_without}");
    }
}

#[test]
fn a_camera_that_needs_no_correction_gets_none() {
    let srgb =
        Camera { mix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], noise: 0.0, blur: 0, gamma: 2.2 };
    let Calibrated { calibration, fit, .. } = calibrated(&Scene::straight(0.6).seen_by(srgb));
    assert!(fit.delta_e.mean_76 < 1.0 && fit.light_ratio < 1.03, "{fit:?}");
    for byte in [30, 90, 150, 220] {
        let Lab { l, a, b } = calibration.lab([byte; 3]);
        let plain = colour::lab(colour::linear([byte; 3]));
        assert!((l - plain.l).abs() < 1.5 && a.abs() < 1.0 && b.abs() < 1.0, "{byte}: {l} {a} {b}");
    }
}

fn cropped(picture: &Picture, left: u32, width: u32) -> Picture {
    let pixels =
        (0..picture.height()).flat_map(|y| (left..left + width).flat_map(move |x| picture.pixel(x, y)));
    Picture::from_rgb(width, picture.height(), pixels.collect()).unwrap()
}

#[test]
fn half_a_chart_is_cut_off() {
    let whole = Scene::straight(0.8).render();
    for (left, width) in [(0, 400), (250, 390)] {
        let error = refused(&cropped(&whole, left, width));
        assert!(matches!(error, DetectError::CutOff { visible: 12..24 }), "{error}");
    }
}

#[test]
fn a_mirrored_chart_is_refused_however_it_is_turned() {
    for turn in [0.0, 90.0, 170.0] {
        let mut scene = Scene::straight(0.5).turned(turn, [[0.0; 2]; 4]);
        scene.corners.swap(0, 1);
        scene.corners.swap(2, 3);
        assert_eq!(refused(&scene.render()), DetectError::Mirrored);
    }
}

#[test]
fn two_charts_are_one_too_many() {
    let half = Scene { width: 400, ..Scene::straight(0.45) };
    let one = Scene { corners: half.corners.map(|corner| corner - DVec2::new(120.0, 0.0)), ..half }.render();
    let rows = one.rgb().chunks_exact(1200).flat_map(|row| [row, row].concat());
    assert_eq!(refused(&Picture::from_rgb(800, 480, rows.collect()).unwrap()), DetectError::Several);
}

#[test]
fn a_patch_that_is_clipped_covered_or_black_is_named() {
    let bright = Camera { mix: PLAIN.mix.map(|row| row.map(|entry| 1.6 * entry)), ..PLAIN };
    let error = refused(&Scene::straight(0.5).seen_by(bright).render());
    assert!(matches!(error, DetectError::Clipped { .. }), "{error}");
    assert!(error.to_string().starts_with("white (row 4, column 1) is clipped"), "{error}");

    let black = Camera { mix: PLAIN.mix.map(|row| row.map(|entry| 0.0006 * entry)), noise: 0.0, ..PLAIN };
    let scene = Scene { gradient: DVec2::ZERO, ..Scene::straight(0.5) };
    let error = refused(&scene.clone().seen_by(black).render());
    assert!(matches!(error, DetectError::NoChart | DetectError::TooDark { .. }), "{error}");

    // The edge of a white label over the lower half of a patch.
    let picture = scene.render();
    let (mut rgb, width) = (picture.rgb().to_vec(), picture.width());
    let pitch = 0.5 * 640.0 / 6.0;
    let (x, y) = (320.0 - 0.5 * pitch, 240.0 - 0.5 * pitch);
    for row in y as u32..(y + 0.3 * pitch) as u32 {
        for column in (x - 0.3 * pitch) as u32..(x + 0.3 * pitch) as u32 {
            let at = ((row * width + column) * 3) as usize;
            rgb[at..at + 3].copy_from_slice(&[230, 230, 230]);
        }
    }
    let error = refused(&Picture::from_rgb(width, picture.height(), rgb).unwrap());
    assert!(error.to_string().starts_with("moderate red (row 2, column 3) is not even"), "{error}");
}

#[test]
fn a_camera_without_colour_is_refused() {
    for tint in [[0.8, 0.8, 0.8], [0.8, 0.6, 0.4]] {
        let mix = tint.map(|gain| [0.21 * gain, 0.72 * gain, 0.07 * gain]);
        let error = refused(&Scene::straight(0.5).seen_by(Camera { mix, ..PLAIN }).render());
        assert_eq!(error, DetectError::Monochrome);
    }
}

#[test]
fn a_chart_with_other_colours_or_a_wrong_patch_is_refused() {
    let scene = Scene::straight(0.5);
    let colours: Vec<[f64; 3]> = Patch::all().map(Patch::linear_srgb).collect();
    let error = refused(&scene.render_as(|patch| colours[(patch.index() * 7 + 5) % 24]));
    assert!(matches!(error, DetectError::OtherColours { .. } | DetectError::NoChart), "{error}");

    let swapped = |patch: Patch| if patch.name() == "cyan" { colours[12] } else { patch.linear_srgb() };
    match calibrate(&scene.render_as(swapped), today()) {
        Err(CalibrateError::Fit(FitError::Patch { patch, .. })) => assert_eq!(patch.name(), "cyan"),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn light_from_one_side_alone_is_refused() {
    let dim = Camera { mix: PLAIN.mix.map(|row| row.map(|entry| 0.5 * entry)), ..PLAIN };
    let scene = Scene { gradient: DVec2::new(1.6, 0.0), ..Scene::straight(0.8) };
    match calibrate(&scene.seen_by(dim).render(), today()) {
        Err(CalibrateError::Fit(FitError::Uneven { ratio })) => assert!(2.5 < ratio, "{ratio}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn pictures_of_nothing_and_of_anything_hold_no_chart() {
    let mut random = Random(3);
    let mut picture = |width: u32, height: u32, colour: &mut dyn FnMut(u32, u32, f64) -> [u8; 3]| {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb: Vec<u8> = pixels.flat_map(|(x, y)| colour(x, y, random.share())).collect();
        refused(&Picture::from_rgb(width, height, rgb).unwrap())
    };
    for (width, height) in [(1, 1), (2, 700), (3, 3), (5, 4), (640, 480)] {
        assert_eq!(picture(width, height, &mut |_, _, _| [120, 130, 140]), DetectError::NoChart);
    }
    assert_eq!(picture(640, 480, &mut |_, _, share| [(255.0 * share) as u8; 3]), DetectError::NoChart);
    // A wall of tiles, each of another colour.
    let error = picture(640, 480, &mut |x, y, _| {
        let tile = (x / 40 * 31 + y / 40 * 17) % 97;
        if x % 40 < 5 || y % 40 < 5 { [20; 3] } else { [60 + tile as u8, 157 - tile as u8, (tile * 2) as u8] }
    });
    assert!(matches!(error, DetectError::OtherColours { .. } | DetectError::NoChart), "{error}");
    // A keyboard, a chess board.
    for gap in [0, 8] {
        let error = picture(640, 480, &mut |x, y, _| {
            let is_gap = x % 40 < gap || y % 40 < gap;
            if is_gap || (gap == 0 && (x / 40 + y / 40) % 2 == 0) { [10; 3] } else { [200; 3] }
        });
        assert!(matches!(error, DetectError::OtherColours { .. } | DetectError::NoChart), "{error}");
    }
}

#[test]
fn a_large_picture_is_measured_in_its_own_pixels() {
    let small = Scene::straight(0.5).render();
    let times = 5;
    let rows = small.rgb().chunks_exact(640 * 3).flat_map(|row| {
        let wide: Vec<u8> = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(times)).collect();
        wide.repeat(times)
    });
    let large = Picture::from_rgb(640 * 5, 480 * 5, rows.collect()).unwrap();
    let found = calibrate(&large, today()).unwrap();
    let expected = calibrate(&small, today()).unwrap();
    for (found, expected) in found.detected.corners.into_iter().zip(expected.detected.corners) {
        assert!((found.x / 5.0 - expected.x).abs() < 1.0 && (found.y / 5.0 - expected.y).abs() < 1.0);
    }
    assert!((found.fit.delta_e.mean_76 - expected.fit.delta_e.mean_76).abs() < 0.3);
}

#[test]
fn the_fast_path_is_the_curve_and_the_matrix() {
    let Calibrated { calibration, .. } = calibrated(&Scene::straight(0.5).seen_by(WARM));
    for rgb in [[0, 0, 0], [12, 200, 90], [255, 255, 255]] {
        let light = colour::linear(rgb).map(|value| calibration.curve().at(value));
        let expected = calibration.matrix().map(|row| row.iter().zip(light).map(|(m, c)| m * c).sum::<f64>());
        for (found, expected) in calibration.apply(rgb).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12);
        }
    }
}

prop_compose! {
    fn views()(
        share in 0.2..0.6_f64,
        turn in 0.0..360.0_f64,
        tilt in proptest::array::uniform4(proptest::array::uniform2(-0.12..0.12_f64)),
        gradient in (-0.5..0.5_f64, -0.5..0.5_f64),
        camera in prop_oneof![Just(PLAIN), Just(WARM), Just(COLD)],
        noise in 0.0..5.0_f64,
        blur in 0..4_usize,
        seed in any::<u64>(),
    ) -> Scene {
        // Tilt is a share of the chart's size, so that small charts keep their four corners.
        let moved = tilt.map(|corner| corner.map(|by| by * share));
        let camera = Camera { noise, blur: if share < 0.25 { blur.min(1) } else { blur }, ..camera };
        let gradient = DVec2::from(gradient);
        Scene { gradient, seed, ..Scene::straight(share).turned(turn, moved).seen_by(camera) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8,
        failure_persistence: None,
        // One view in 200 of the smallest charts is not found: the same views each time, so that no run fails by chance.
        rng_seed: RngSeed::Fixed(24),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_chart_is_found_from_any_view(scene in views()) {
        let found = calibrated(&scene);
        let off = corners_off(&scene, &found);
        prop_assert!(off < 0.25, "{off}");
        prop_assert!(found.fit.delta_e.mean_76 < 4.0, "{:?}", found.fit.delta_e);
    }
}
