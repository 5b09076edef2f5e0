//! Direct alignment of a known symbol to a picture.
//!
//! The symbol, blurred, is a picture on a plane. Its pose and its light (contrast, brightness and a linear slope of
//! it) are those that make it most like what the camera saw: Levenberg-Marquardt over all samples, with Huber's
//! weights against what lies over it, first with a broad blur that pulls from afar and then with a fine one.

use glam::{DMat3, DQuat, DVec2, DVec3};

use super::{Intrinsics, Rigid};
use crate::{codes::Modules, picture::Grey};

/// Samples of the symbol, at most; a QR code of 33 modules has about ten thousand at [`STEP_MODULES`].
const SAMPLES_MAX: f64 = 20_000.0;
/// The distance of samples where that many fit: so many modules, and not more pixels than these, or edges would be lost
/// between them.
const STEP_MODULES: f64 = 1.0 / 3.0;
const STEP_PX: f64 = 1.5;
/// The light border that is compared, too: its outer edge tells most of the size. The standards want more.
const BORDER_MODULES: u32 = 1;
/// Standard deviation of the first blur, in modules.
const BROAD_BLUR: f64 = 0.6;
/// Standard deviation of the second one, in pixels: what lens and sensor do; within these bounds in modules.
const FINE_BLUR_PX: f64 = 0.9;
const FINE_BLUR_MODULES: (f64, f64) = (0.03, 0.6);
/// A picture whose modules have twice as many pixels or more is shrunk towards this.
const MODULE_PX: f64 = 6.0;
/// Steps for each of the two blurs, at most.
const STEPS_MAX: u32 = 20;
/// Smaller steps end it: radians, and parts of the distance.
const STEP_MIN: f64 = 1e-6;
/// More of the samples must be in the picture.
const SEEN_MIN: f64 = 0.5;

/// A pose in widths of the symbol, and what it explains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aligned {
    pub(super) pose: Rigid,
    /// Mean square of what is left, in grey levels.
    pub(super) unexplained: f64,
    /// Normalised cross-correlation.
    pub(super) agreement: f64,
}

/// A smaller picture in which modules have about [`MODULE_PX`] pixels, where they have at least twice as many, and its
/// scale.
pub(super) fn comfortable(
    start: &Rigid,
    modules: &Modules,
    grey: &Grey,
    camera: &Intrinsics,
) -> (Option<Grey>, DVec2) {
    let factor = (module_px(start, modules, camera) / MODULE_PX).floor();
    if factor < 2.0 {
        return (None, DVec2::ONE);
    }
    let longer = f64::from(grey.width().max(grey.height()));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the picture's side")]
    let smaller = grey.shrunk_to((longer / factor).ceil().max(1.0) as u32);
    let scale = DVec2::new(
        f64::from(smaller.width()) / f64::from(grey.width()),
        f64::from(smaller.height()) / f64::from(grey.height()),
    );
    (Some(smaller), scale)
}

/// How large a module is in the symbol's centre, along its shorter side, in pixels.
fn module_px(pose: &Rigid, modules: &Modules, camera: &Intrinsics) -> f64 {
    let step = 1.0 / f64::from(modules.columns());
    let centre = camera.project(pose.translation);
    let along = |axis: DVec3| camera.project(pose.apply(axis * step)).distance(centre);
    along(DVec3::X).min(along(DVec3::Y))
}

/// Aligns from a pose that is right within about half a module. `None` when the symbol leaves the picture.
pub(super) fn to_picture(
    start: Rigid,
    modules: &Modules,
    grey: &Grey,
    camera: &Intrinsics,
) -> Option<Aligned> {
    let module_px = module_px(&start, modules, camera);
    let broad = minimise(start, &samples(modules, BROAD_BLUR, module_px), grey, camera)?;
    refined(broad.pose, modules, grey, camera)
}

/// Aligns from a pose that is right within a few pixels.
pub(super) fn refined(start: Rigid, modules: &Modules, grey: &Grey, camera: &Intrinsics) -> Option<Aligned> {
    let module_px = module_px(&start, modules, camera);
    let blur = (FINE_BLUR_PX / module_px).clamp(FINE_BLUR_MODULES.0, FINE_BLUR_MODULES.1);
    minimise(start, &samples(modules, blur, module_px), grey, camera)
}

/// A point of the symbol and how light it is there, from 0 to 1.
struct Sample {
    at: DVec2,
    light: f64,
}

fn samples(modules: &Modules, blur: f64, module_px: f64) -> Vec<Sample> {
    let (columns, rows) = (f64::from(modules.columns()), f64::from(modules.rows()));
    let border = f64::from(BORDER_MODULES);
    let (width, height) = (columns + 2.0 * border, rows + 2.0 * border);
    let step = STEP_MODULES.min(STEP_PX / module_px).max((width * height / SAMPLES_MAX).sqrt());
    // Samples in modules from the symbol's top left corner; symmetric about its centre.
    let line = |length: f64| -> Vec<f64> {
        let count = (length / step).floor();
        let start = f64::midpoint(length, -(count - 1.0) * step) - border;
        (0_u32..).map(f64::from).take_while(|at| *at < count).map(|at| start + at * step).collect()
    };
    let (xs, ys) = (line(width), line(height));
    let across: Vec<_> = xs.iter().map(|x| Coverage::around(*x, blur)).collect();
    let down: Vec<_> = ys.iter().map(|y| Coverage::around(*y, blur)).collect();
    let mut samples = Vec::with_capacity(xs.len() * ys.len());
    for (y, down) in ys.iter().zip(&down) {
        for (x, across) in xs.iter().zip(&across) {
            let mut dark = 0.0;
            for (row, weight_y) in down.modules() {
                for (column, weight_x) in across.modules() {
                    if modules.is_dark(column, row) {
                        dark += weight_x * weight_y;
                    }
                }
            }
            let at = DVec2::new(x / columns - 0.5, (y - rows / 2.0) / columns);
            samples.push(Sample { at, light: 1.0 - dark });
        }
    }
    samples
}

/// How much of a Gaussian around a point lies in each module along one axis.
struct Coverage {
    first: i64,
    weights: Vec<f64>,
}

impl Coverage {
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred modules")]
    fn around(at: f64, blur: f64) -> Self {
        const REACH: f64 = 3.0;
        let (first, last) = ((at - REACH * blur).floor() as i64, (at + REACH * blur).floor() as i64);
        let below = |edge: i64| logistic((edge as f64 - at) / blur);
        Self { first, weights: (first..=last).map(|module| below(module + 1) - below(module)).collect() }
    }

    fn modules(&self) -> impl Iterator<Item = (i64, f64)> {
        (self.first..).zip(self.weights.iter().copied())
    }
}

/// The normal distribution's share below `x` standard deviations, within 0.0001: Bowling et al., "A logistic
/// approximation to the cumulative normal distribution", Journal of Industrial Engineering and Management 2 (2009).
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-(0.07056 * x.powi(3) + 1.5976 * x)).exp())
}

/// Pose (rotation, translation) and light: contrast, brightness, its slope along x and y.
const UNKNOWNS: usize = 10;
type Vector = [f64; UNKNOWNS];

#[derive(Debug, Clone, Copy)]
struct State {
    pose: Rigid,
    light: [f64; 4],
}

impl State {
    fn moved(&self, by: &Vector) -> Self {
        let turn = DQuat::from_scaled_axis(DVec3::new(by[0], by[1], by[2]));
        let rotation = turn * DQuat::from_mat3(&self.pose.rotation);
        Self {
            pose: Rigid {
                rotation: DMat3::from_quat(rotation.normalize()),
                translation: self.pose.translation + DVec3::new(by[3], by[4], by[5]),
            },
            light: std::array::from_fn(|at| self.light[at] + by[6 + at]),
        }
    }
}

/// The normal equations of one state, and its cost.
struct Equations {
    matrix: [Vector; UNKNOWNS],
    vector: Vector,
    /// Mean of Huber's function of the residuals.
    cost: f64,
    /// Mean square of the residuals.
    square: f64,
}

fn minimise(start: Rigid, samples: &[Sample], grey: &Grey, camera: &Intrinsics) -> Option<Aligned> {
    let mut state = State { pose: start, light: first_light(start, samples, grey, camera)? };
    let threshold = equations(&state, samples, grey, camera, f64::INFINITY)?.square.sqrt().max(1.0);
    let mut now = equations(&state, samples, grey, camera, threshold)?;
    let mut damping = 1e-4;
    for _ in 0..STEPS_MAX {
        let Some(step) = solved(&now, damping) else { break };
        let next = state.moved(&step);
        match equations(&next, samples, grey, camera, threshold) {
            Some(better) if better.cost < now.cost => {
                (state, now) = (next, better);
                damping = (damping / 10.0).max(1e-9);
                let turn = DVec3::new(step[0], step[1], step[2]).length();
                let shift = DVec3::new(step[3], step[4], step[5]).length() / state.pose.translation.length();
                if turn.max(shift) < STEP_MIN {
                    break;
                }
            }
            _ if 1e6 < damping => break,
            _ => damping *= 10.0,
        }
    }
    Some(Aligned {
        pose: state.pose,
        unexplained: now.square,
        agreement: agreement(&state, samples, grey, camera)?,
    })
}

/// Contrast and brightness by the means and deviations of both.
fn first_light(pose: Rigid, samples: &[Sample], grey: &Grey, camera: &Intrinsics) -> Option<[f64; 4]> {
    let moments = Moments::of(pose, samples, grey, camera, |sample| sample.light)?;
    let contrast = moments.covariance / moments.first_variance.max(f64::MIN_POSITIVE);
    Some([contrast, moments.second_mean - contrast * moments.first_mean, 0.0, 0.0])
}

fn agreement(state: &State, samples: &[Sample], grey: &Grey, camera: &Intrinsics) -> Option<f64> {
    let expected = |sample: &Sample| expected(&state.light, sample);
    let moments = Moments::of(state.pose, samples, grey, camera, expected)?;
    let both = (moments.first_variance * moments.second_variance).sqrt();
    Some(if both <= 0.0 { 0.0 } else { moments.covariance / both })
}

fn expected(light: &[f64; 4], sample: &Sample) -> f64 {
    light[0] * sample.light + light[1] + light[2] * sample.at.x + light[3] * sample.at.y
}

/// Means and (co)variances of a value of the samples and of the picture where they are seen.
struct Moments {
    first_mean: f64,
    second_mean: f64,
    first_variance: f64,
    second_variance: f64,
    covariance: f64,
}

impl Moments {
    fn of(
        pose: Rigid,
        samples: &[Sample],
        grey: &Grey,
        camera: &Intrinsics,
        value: impl Fn(&Sample) -> f64,
    ) -> Option<Self> {
        let (mut count, mut first, mut second) = (0.0, 0.0, 0.0);
        let (mut first_squared, mut second_squared, mut product) = (0.0, 0.0, 0.0);
        for sample in samples {
            let point = pose.apply(sample.at.extend(0.0));
            let Some(seen) = (0.0 < point.z).then(|| level(grey, camera.project(point))).flatten() else {
                continue;
            };
            let value = value(sample);
            count += 1.0;
            first += value;
            second += seen;
            first_squared += value * value;
            second_squared += seen * seen;
            product += value * seen;
        }
        if count < SEEN_MIN * samples.len() as f64 {
            return None;
        }
        let (first_mean, second_mean) = (first / count, second / count);
        Some(Self {
            first_mean,
            second_mean,
            first_variance: first_squared / count - first_mean * first_mean,
            second_variance: second_squared / count - second_mean * second_mean,
            covariance: product / count - first_mean * second_mean,
        })
    }
}

fn equations(
    state: &State,
    samples: &[Sample],
    grey: &Grey,
    camera: &Intrinsics,
    threshold: f64,
) -> Option<Equations> {
    let mut sum =
        Equations { matrix: [[0.0; UNKNOWNS]; UNKNOWNS], vector: [0.0; UNKNOWNS], cost: 0.0, square: 0.0 };
    let mut seen = 0.0;
    for sample in samples {
        let turned = state.pose.rotation * sample.at.extend(0.0);
        let point = turned + state.pose.translation;
        if point.z <= 0.0 {
            continue;
        }
        let Some((level, slope)) = level_and_slope(grey, camera.project(point)) else { continue };
        let residual = level - expected(&state.light, sample);
        let weight = if residual.abs() <= threshold { 1.0 } else { threshold / residual.abs() };
        // By how much the level changes with the point: the picture's slope through the projection's Jacobian.
        let side = slope * camera.focal / point.z;
        let by_point = side.extend(-side.dot(point.truncate()) / point.z);
        let by_turn = turned.cross(by_point);
        let row: Vector = [
            by_turn.x,
            by_turn.y,
            by_turn.z,
            by_point.x,
            by_point.y,
            by_point.z,
            -sample.light,
            -1.0,
            -sample.at.x,
            -sample.at.y,
        ];
        for (at, value) in row.iter().enumerate() {
            let weighted = weight * value;
            sum.vector[at] += weighted * residual;
            for (sum, other) in sum.matrix[at].iter_mut().zip(&row[..=at]) {
                *sum += weighted * other;
            }
        }
        seen += 1.0;
        sum.square += residual * residual;
        sum.cost += if residual.abs() <= threshold {
            residual * residual
        } else {
            threshold * (2.0 * residual.abs() - threshold)
        };
    }
    if seen < SEEN_MIN * samples.len() as f64 {
        return None;
    }
    sum.square /= seen;
    sum.cost /= seen;
    Some(sum)
}

/// The step of the damped normal equations (Marquardt's scaling), by Cholesky's decomposition; `None` when they are
/// singular.
fn solved(equations: &Equations, damping: f64) -> Option<Vector> {
    let mut factor = [[0.0; UNKNOWNS]; UNKNOWNS];
    for row in 0..UNKNOWNS {
        for column in 0..=row {
            let mut value = equations.matrix[row][column];
            if row == column {
                value *= 1.0 + damping;
            }
            let known: f64 = (0..column).map(|at| factor[row][at] * factor[column][at]).sum();
            let rest = value - known;
            factor[row][column] = if row == column {
                if rest.is_nan() || rest <= f64::MIN_POSITIVE {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / factor[column][column]
            };
        }
    }
    let mut step = equations.vector.map(|value| -value);
    for row in 0..UNKNOWNS {
        let known: f64 = (0..row).map(|at| factor[row][at] * step[at]).sum();
        step[row] = (step[row] - known) / factor[row][row];
    }
    for row in (0..UNKNOWNS).rev() {
        let known: f64 = (row + 1..UNKNOWNS).map(|at| factor[at][row] * step[at]).sum();
        step[row] = (step[row] - known) / factor[row][row];
    }
    step.iter().all(|value| value.is_finite()).then_some(step)
}

/// The grey level between pixels, bilinear; `None` outside the picture.
fn level(grey: &Grey, at: DVec2) -> Option<f64> {
    Some(level_and_slope(grey, at)?.0)
}

/// The grey level between pixels and its slope by central differences, both bilinear; `None` within a pixel of the
/// picture's edge and outside.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be inside the picture"
)]
fn level_and_slope(grey: &Grey, at: DVec2) -> Option<(f64, DVec2)> {
    let (width, height) = (grey.width() as usize, grey.height() as usize);
    let whole = at.floor();
    let inside = 1.0 <= whole.x
        && 1.0 <= whole.y
        && whole.x + 2.0 < f64::from(grey.width())
        && whole.y + 2.0 < f64::from(grey.height());
    if !inside {
        return None;
    }
    let (left, top) = (whole.x as usize, whole.y as usize);
    debug_assert!(left + 2 < width && top + 2 < height);
    let rows: [[f64; 4]; 4] = std::array::from_fn(|row| {
        let start = (top - 1 + row) * width + left - 1;
        std::array::from_fn(|column| f64::from(grey.luma()[start + column]))
    });
    let part = at - whole;
    let between = |column: usize, row: usize| {
        let line = |row: usize| rows[row][column] + (rows[row][column + 1] - rows[row][column]) * part.x;
        line(row) + (line(row + 1) - line(row)) * part.y
    };
    let slope = DVec2::new(between(2, 1) - between(0, 1), between(1, 2) - between(1, 0)) / 2.0;
    Some((between(1, 1), slope))
}
