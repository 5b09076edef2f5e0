//! Direct alignment of a known symbol to a picture.
//!
//! The symbol, blurred, is a picture on a surface. Its pose, the bend of the surface and its light (contrast, brightness and
//! a linear slope of it) are those that make it most like what the camera saw: Levenberg-Marquardt, with Huber's weights
//! against what lies over it, first over an even grid with a broad blur, which pulls from afar, and then over the edges of
//! the modules with a fine one, for nearly all that tells a pose is there.

use glam::{DMat3, DQuat, DVec2, DVec3};

use super::{
    Intrinsics, Rigid,
    surface::{Axis, Bend},
};
use crate::{geometry::Point, modules::Pattern, picture::Grey};

/// Samples of the first grid, at most, and their distance where that many fit.
const GRID_SAMPLES_MAX: f64 = 1_600.0;
const GRID_STEP_MODULES: f64 = 0.5;
/// Samples along the edges, at most: fewer on each edge, and then on some edges only.
const EDGE_SAMPLES_MAX: usize = 1_800;
/// Neighbours along an edge are further apart, in pixels: what is closer tells the same.
const EDGE_STEP_PX: f64 = 1.5;
const SAMPLES_AN_EDGE_MAX: u32 = 3;
/// The light border that is compared, too: its outer edge tells most of the size. The standards want more.
const BORDER_MODULES: u32 = 1;
/// Standard deviation of the first blur, in modules.
const BROAD_BLUR: f64 = 0.6;
/// Standard deviation of the second one, in pixels: what lens and sensor do; within these bounds in modules.
const FINE_BLUR_PX: f64 = 0.9;
const FINE_BLUR_MODULES: (f64, f64) = (0.03, 0.6);
/// A sample is left out where more of what it shows is unknown.
const UNKNOWN_MAX: f64 = 0.02;
/// What is kept around a symbol, as a share of its width and height.
const AROUND: f64 = 0.25;
/// A picture whose modules have twice as many pixels or more is shrunk towards this.
const MODULE_PX: f64 = 6.0;
/// Steps for each of the two blurs, at most.
const STEPS_MAX: u32 = 20;
/// Smaller steps end it, with the broad blur and with the fine one: radians, and parts of the distance. What is left after
/// a step is about its square.
const BROAD_STEP_MIN: f64 = 2e-3;
const FINE_STEP_MIN: f64 = 1e-4;
/// More of the samples must be in the picture.
const SEEN_MIN: f64 = 0.5;
/// Symbols that reach further around a cylinder have parts that nobody sees.
const CURVATURE_MAX: f64 = 2.6;

/// A pose in widths of the symbol, the bend, and what they explain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aligned {
    pub(crate) pose: Rigid,
    pub(crate) bend: Bend,
    /// Mean square of what is left, in grey levels.
    pub(crate) unexplained: f64,
    /// Normalised cross-correlation.
    pub(crate) agreement: f64,
}

impl Aligned {
    /// The start of another alignment.
    pub(crate) fn again(&self, bends: bool) -> Start {
        Start { pose: self.pose, bend: self.bend, bends }
    }
}

/// Where an alignment starts, and whether it may bend the surface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) pose: Rigid,
    pub(crate) bend: Bend,
    /// Whether the curvature is looked for, too.
    pub(crate) bends: bool,
}

impl Start {
    pub(crate) fn flat(pose: Rigid) -> Self {
        Self { pose, bend: Bend::FLAT, bends: false }
    }

    pub(crate) fn bent(pose: Rigid, axis: Axis, curvature: f64) -> Self {
        Self { pose, bend: Bend { axis, curvature }, bends: true }
    }
}

/// The part of the picture around a symbol with these corners, and its camera, made so small that modules have about
/// [`MODULE_PX`] pixels; `None` where they have less than twice as many.
pub(super) fn comfortable(
    start: &Rigid,
    pattern: &Pattern,
    corners: &[Point; 4],
    grey: &Grey,
    camera: &Intrinsics,
) -> Option<(Grey, Intrinsics)> {
    let factor = (module_px(start, pattern, camera) / MODULE_PX).floor();
    if factor < 2.0 {
        return None;
    }
    let edge = |pick: fn(&Point) -> f64, size: u32| {
        let low = corners.iter().map(pick).fold(f64::INFINITY, f64::min);
        let high = corners.iter().map(pick).fold(f64::NEG_INFINITY, f64::max);
        let margin = AROUND * (high - low);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
        let within = |at: f64| at.clamp(0.0, f64::from(size)) as u32;
        (within(low - margin), within((high + margin).ceil()))
    };
    let (left, right) = edge(|p| p.x, grey.width());
    let (top, bottom) = edge(|p| p.y, grey.height());
    let part = grey.cropped(left, top, right - left, bottom - top)?;
    let longer = f64::from(part.width().max(part.height()));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the picture's side")]
    let smaller = part.shrunk_to((longer / factor).ceil().max(1.0) as u32);
    let scale = DVec2::new(
        f64::from(smaller.width()) / f64::from(part.width()),
        f64::from(smaller.height()) / f64::from(part.height()),
    );
    Some((smaller, camera.cropped(left, top).scaled(scale)))
}

/// How large a module is in the symbol's centre, along its shorter side, in pixels.
fn module_px(pose: &Rigid, pattern: &Pattern, camera: &Intrinsics) -> f64 {
    let step = 1.0 / f64::from(pattern.columns());
    let centre = camera.project(pose.translation);
    let along = |axis: DVec3| camera.project(pose.apply(axis * step)).distance(centre);
    along(DVec3::X).min(along(DVec3::Y))
}

/// Aligns roughly, from a start that is right within about half a module. `None` when the symbol leaves the picture.
pub(crate) fn roughly(start: Start, pattern: &Pattern, grey: &Grey, camera: &Intrinsics) -> Option<Aligned> {
    minimise(start, &grid(pattern, BROAD_BLUR), BROAD_STEP_MIN, grey, camera)
}

/// Aligns from a start that is right within about half a module. `None` when the symbol leaves the picture.
pub(crate) fn to_picture(
    start: Start,
    pattern: &Pattern,
    grey: &Grey,
    camera: &Intrinsics,
) -> Option<Aligned> {
    let rough = roughly(start, pattern, grey, camera)?;
    refined(rough.again(start.bends), pattern, grey, camera)
}

/// Aligns from a start that is right within a pixel or two.
pub(crate) fn refined(start: Start, pattern: &Pattern, grey: &Grey, camera: &Intrinsics) -> Option<Aligned> {
    let module_px = module_px(&start.pose, pattern, camera);
    let blur = (FINE_BLUR_PX / module_px).clamp(FINE_BLUR_MODULES.0, FINE_BLUR_MODULES.1);
    minimise(start, &edges(pattern, blur, module_px), FINE_STEP_MIN, grey, camera)
}

/// A point of the symbol and how light it is there, from 0 to 1.
struct Sample {
    at: DVec2,
    light: f64,
}

/// Samples as they are taken, at places in modules from the symbol's top left corner.
struct Sampler<'a> {
    pattern: &'a Pattern,
    samples: Vec<Sample>,
}

impl Sampler<'_> {
    fn take(&mut self, across: &Coverage, down: &Coverage) {
        let (columns, rows) = (f64::from(self.pattern.columns()), f64::from(self.pattern.rows()));
        let (mut dark, mut unknown) = (0.0, 0.0);
        for (row, weight_y) in down.modules() {
            for (column, weight_x) in across.modules() {
                match self.pattern.cell(column, row) {
                    Some(true) => dark += weight_x * weight_y,
                    Some(false) => {}
                    None => unknown += weight_x * weight_y,
                }
            }
        }
        if unknown <= UNKNOWN_MAX {
            let at = DVec2::new(across.at / columns - 0.5, (down.at - rows / 2.0) / columns);
            self.samples.push(Sample { at, light: 1.0 - dark });
        }
    }
}

/// Samples on an even grid over the symbol and its border.
fn grid(pattern: &Pattern, blur: f64) -> Vec<Sample> {
    let border = f64::from(BORDER_MODULES);
    let (width, height) =
        (f64::from(pattern.columns()) + 2.0 * border, f64::from(pattern.rows()) + 2.0 * border);
    let step = GRID_STEP_MODULES.max((width * height / GRID_SAMPLES_MAX).sqrt());
    // Symmetric about the symbol's centre.
    let line = |length: f64| -> Vec<Coverage> {
        let count = (length / step).floor();
        let start = f64::midpoint(length, -(count - 1.0) * step) - border;
        let places = (0_u32..).map(f64::from).take_while(|at| *at < count);
        places.map(|at| Coverage::around(start + at * step, blur)).collect()
    };
    let (across, down) = (line(width), line(height));
    let mut sampler = Sampler { pattern, samples: Vec::with_capacity(across.len() * down.len()) };
    for down in &down {
        for across in &across {
            sampler.take(across, down);
        }
    }
    sampler.samples
}

/// Samples on the edges between dark and light modules, and in the middle of every other module, which tells the light.
fn edges(pattern: &Pattern, blur: f64, module_px: f64) -> Vec<Sample> {
    let (columns, rows) = (i64::from(pattern.columns()), i64::from(pattern.rows()));
    let differ = |one: Option<bool>, other: Option<bool>| one.is_some() && other.is_some() && one != other;
    // Edges with the module on their right, or below them.
    let mut upright = Vec::new();
    let mut lying = Vec::new();
    for row in 0..=rows {
        for column in 0..=columns {
            let own = pattern.cell(column, row);
            if row < rows && differ(own, pattern.cell(column - 1, row)) {
                upright.push((column, row));
            }
            if column < columns && differ(own, pattern.cell(column, row - 1)) {
                lying.push((column, row));
            }
        }
    }
    let count = upright.len() + lying.len();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let wanted = (module_px / EDGE_STEP_PX).round().clamp(1.0, f64::from(SAMPLES_AN_EDGE_MAX)) as usize;
    let each = wanted.min((EDGE_SAMPLES_MAX / count.max(1)).max(1));
    let skip = count.div_ceil(EDGE_SAMPLES_MAX).max(1);
    let table = |modules: i64, parts: usize, first: f64| -> Vec<Coverage> {
        (-1..=modules)
            .flat_map(|at| (0..parts).map(move |part| at as f64 + (part as f64 + first) / parts as f64))
            .map(|at| Coverage::around(at, blur))
            .collect()
    };
    let index = |at: i64| usize::try_from(at + 1).expect("at least the border");
    let sides = [columns, rows];
    let [on_columns, on_rows] = sides.map(|side| table(side, 1, 0.0));
    let [along_columns, along_rows] = sides.map(|side| table(side, each, 0.5));
    let [mid_columns, mid_rows] = sides.map(|side| table(side, 1, 0.5));
    let mut sampler = Sampler { pattern, samples: Vec::with_capacity(count * each / skip + mid_rows.len()) };
    for (column, row) in upright.into_iter().step_by(skip) {
        for part in 0..each {
            sampler.take(&on_columns[index(column)], &along_rows[index(row) * each + part]);
        }
    }
    for (column, row) in lying.into_iter().step_by(skip) {
        for part in 0..each {
            sampler.take(&along_columns[index(column) * each + part], &on_rows[index(row)]);
        }
    }
    for row in -1..=rows {
        for column in (-1..=columns).filter(|column| (column + row) % 2 == 0) {
            sampler.take(&mid_columns[index(column)], &mid_rows[index(row)]);
        }
    }
    sampler.samples
}

/// How much of a Gaussian around a point lies in each module along one axis.
struct Coverage {
    at: f64,
    first: i64,
    weights: Vec<f64>,
}

impl Coverage {
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred modules")]
    fn around(at: f64, blur: f64) -> Self {
        const REACH: f64 = 3.0;
        let (first, last) = ((at - REACH * blur).floor() as i64, (at + REACH * blur).floor() as i64);
        let below = |edge: i64| logistic((edge as f64 - at) / blur);
        Self { at, first, weights: (first..=last).map(|module| below(module + 1) - below(module)).collect() }
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

/// Pose (rotation, translation), light (contrast, brightness, its slope along x and y) and curvature.
const UNKNOWNS: usize = 11;
const CURVATURE: usize = 10;
type Vector = [f64; UNKNOWNS];

#[derive(Debug, Clone, Copy)]
struct State {
    pose: Rigid,
    bend: Bend,
    light: [f64; 4],
}

impl State {
    fn moved(&self, by: &Vector) -> Self {
        let turn = DQuat::from_scaled_axis(DVec3::new(by[0], by[1], by[2]));
        let rotation = turn * DQuat::from_mat3(&self.pose.rotation);
        let curvature = (self.bend.curvature + by[CURVATURE]).clamp(0.0, CURVATURE_MAX);
        Self {
            pose: Rigid {
                rotation: DMat3::from_quat(rotation.normalize()),
                translation: self.pose.translation + DVec3::new(by[3], by[4], by[5]),
            },
            bend: Bend { curvature, ..self.bend },
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

fn minimise(
    start: Start,
    samples: &[Sample],
    step_min: f64,
    grey: &Grey,
    camera: &Intrinsics,
) -> Option<Aligned> {
    let Start { pose, bend, bends } = start;
    let view = View { samples, grey, camera };
    let mut state = State { pose, bend, light: view.first_light(pose, bend)? };
    let threshold = view.equations(&state, bends, f64::INFINITY)?.square.sqrt().max(1.0);
    let mut now = view.equations(&state, bends, threshold)?;
    let mut damping = 1e-4;
    for _ in 0..STEPS_MAX {
        let Some(step) = solved(&now, damping) else { break };
        let next = state.moved(&step);
        match view.equations(&next, bends, threshold) {
            Some(better) if better.cost < now.cost => {
                (state, now) = (next, better);
                damping = (damping / 10.0).max(1e-9);
                let turn = DVec3::new(step[0], step[1], step[2]).length();
                let shift = DVec3::new(step[3], step[4], step[5]).length() / state.pose.translation.length();
                if turn.max(shift) < step_min {
                    break;
                }
            }
            _ if 1e6 < damping => break,
            _ => damping *= 10.0,
        }
    }
    Some(Aligned {
        pose: state.pose,
        bend: state.bend,
        unexplained: now.square,
        agreement: view.agreement(&state)?,
    })
}

/// The samples of a symbol, and the picture that they are compared with.
struct View<'a> {
    samples: &'a [Sample],
    grey: &'a Grey,
    camera: &'a Intrinsics,
}

impl View<'_> {
    /// Contrast and brightness by the means and deviations of both.
    fn first_light(&self, pose: Rigid, bend: Bend) -> Option<[f64; 4]> {
        let moments = self.moments(pose, bend, |sample| sample.light)?;
        let contrast = moments.covariance / moments.first_variance.max(f64::MIN_POSITIVE);
        Some([contrast, moments.second_mean - contrast * moments.first_mean, 0.0, 0.0])
    }

    fn agreement(&self, state: &State) -> Option<f64> {
        let moments = self.moments(state.pose, state.bend, |sample| expected(&state.light, sample))?;
        let both = (moments.first_variance * moments.second_variance).sqrt();
        Some(if both <= 0.0 { 0.0 } else { moments.covariance / both })
    }

    fn moments(&self, pose: Rigid, bend: Bend, value: impl Fn(&Sample) -> f64) -> Option<Moments> {
        let (mut count, mut first, mut second) = (0.0, 0.0, 0.0);
        let (mut first_squared, mut second_squared, mut product) = (0.0, 0.0, 0.0);
        for sample in self.samples {
            let point = pose.apply(bend.place(sample.at));
            let seen = (0.0 < point.z).then(|| level(self.grey, self.camera.project(point))).flatten();
            let Some(seen) = seen else { continue };
            let value = value(sample);
            count += 1.0;
            first += value;
            second += seen;
            first_squared += value * value;
            second_squared += seen * seen;
            product += value * seen;
        }
        if count < SEEN_MIN * self.samples.len() as f64 {
            return None;
        }
        let (first_mean, second_mean) = (first / count, second / count);
        Some(Moments {
            first_mean,
            second_mean,
            first_variance: first_squared / count - first_mean * first_mean,
            second_variance: second_squared / count - second_mean * second_mean,
            covariance: product / count - first_mean * second_mean,
        })
    }

    /// The equations of a step from `state`; residuals beyond `threshold` count less. Where the surface does not bend, its
    /// curvature stays what it is.
    fn equations(&self, state: &State, bends: bool, threshold: f64) -> Option<Equations> {
        let mut sum = Equations {
            matrix: [[0.0; UNKNOWNS]; UNKNOWNS],
            vector: [0.0; UNKNOWNS],
            cost: 0.0,
            square: 0.0,
        };
        let mut seen = 0.0;
        for sample in self.samples {
            let (place, change, normal) = if state.bend.curvature == 0.0 && !bends {
                (sample.at.extend(0.0), DVec3::ZERO, DVec3::NEG_Z)
            } else {
                state.bend.place_change_and_normal(sample.at)
            };
            let turned = state.pose.rotation * place;
            let point = turned + state.pose.translation;
            // Behind the camera, or on the far side.
            if point.z <= 0.0 || 0.0 <= (state.pose.rotation * normal).dot(point) {
                continue;
            }
            let Some((level, slope)) = level_and_slope(self.grey, self.camera.project(point)) else {
                continue;
            };
            let residual = level - expected(&state.light, sample);
            let weight = if residual.abs() <= threshold { 1.0 } else { threshold / residual.abs() };
            // By how much the level changes with the point: the picture's slope through the projection's Jacobian.
            let side = slope * self.camera.focal / point.z;
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
                if bends { by_point.dot(state.pose.rotation * change) } else { 0.0 },
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
        if seen < SEEN_MIN * self.samples.len() as f64 {
            return None;
        }
        if !bends {
            sum.matrix[CURVATURE][CURVATURE] = 1.0;
        }
        sum.square /= seen;
        sum.cost /= seen;
        Some(sum)
    }
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
pub(crate) fn level(grey: &Grey, at: DVec2) -> Option<f64> {
    Some(level_and_slope(grey, at)?.0)
}

/// The grey level between pixels, bilinear, and its slope; `None` outside the picture.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be inside the picture"
)]
fn level_and_slope(grey: &Grey, at: DVec2) -> Option<(f64, DVec2)> {
    let whole = at.floor();
    let inside = 0.0 <= whole.x
        && 0.0 <= whole.y
        && whole.x + 1.0 < f64::from(grey.width())
        && whole.y + 1.0 < f64::from(grey.height());
    if !inside {
        return None;
    }
    let width = grey.width() as usize;
    let start = whole.y as usize * width + whole.x as usize;
    let [a, b] = *grey.luma().get(start..start + 2)? else { return None };
    let [c, d] = *grey.luma().get(start + width..start + width + 2)? else { return None };
    let [a, b, c, d] = [a, b, c, d].map(f64::from);
    let part = at - whole;
    let (upper, lower) = (a + (b - a) * part.x, c + (d - c) * part.x);
    let slope = DVec2::new((b - a) + ((d - c) - (b - a)) * part.y, lower - upper);
    Some((upper + (lower - upper) * part.y, slope))
}
