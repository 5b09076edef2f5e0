//! Camera colours → the chart's colours: curve, light over the chart, matrix, and how well they fit.
//!
//! All three are fitted together to the smallest sum of squared ΔE*ab over the 24 patches (Levenberg and Marquardt).
//! Together, because the six greys stand in one row: light that falls off along it looks like a bent curve, and only the
//! other rows tell the two apart.

use glam::{DMat3, DVec2, DVec3};

use super::{
    Curve,
    chart::{COLUMNS, PATCHES, Patch, ROWS},
    difference::{delta_e_76, delta_e_2000},
};
use crate::{
    equations::LeastSquares,
    skin::{Lab, colour},
};

/// A fit with a larger mean ΔE*ab is no calibration: the gate would reject every face that is measured with it.
pub const MEAN_76_MAX: f64 = 6.0;
/// The worst patch may be off by this ΔE*ab; more is a wrong chart, shine or dirt.
pub const MAX_76_MAX: f64 = 20.0;
/// Patches that the fit has not seen may be off by this mean ΔE*ab.
pub const LEFT_OUT_MEAN_76_MAX: f64 = 8.0;
/// The brightest place on the chart may have this many times the light of the dimmest.
pub const LIGHT_RATIO_MAX: f64 = 2.5;

/// Steps of the fit, which is taken as it is when it has not come to rest by then.
const STEPS_MAX: usize = 60;
/// A step that lowers the sum by a smaller share is the last one.
const PROGRESS_MIN: f64 = 1e-10;
/// A step's damping, at first and at most.
const DAMPING: (f64, f64) = (1e-3, 1e9);
/// The step of the numeric derivatives.
const NUDGE: f64 = 1e-6;

/// How far the corrected patches are from the published ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeltaE {
    /// Mean ΔE*ab of the 24 patches.
    pub mean_76: f64,
    /// ΔE*ab of the worst patch.
    pub max_76: f64,
    /// Mean CIEDE2000.
    pub mean_2000: f64,
    /// CIEDE2000 of the worst patch.
    pub max_2000: f64,
    /// Mean ΔE*ab of each patch in a fit to the other 23: what a colour that is not on the chart may expect.
    pub left_out_mean_76: f64,
}

/// A fit that is good enough.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// From bytes decoded as sRGB to the camera's light.
    pub curve: Curve,
    /// From the camera's light to linear sRGB under D65, row by row.
    pub matrix: [[f64; 3]; 3],
    /// The light at the brightest place of the chart over that at the dimmest.
    pub light_ratio: f64,
    /// How well it fits.
    pub delta_e: DeltaE,
    /// ΔE*ab of each patch, in the order of [`Patch::all`].
    pub patches_76: [f64; PATCHES],
}

/// Why there is no fit.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FitError {
    /// The patches do not fix a matrix: two channels see the same.
    #[error("the camera's channels do not tell the chart's colours apart")]
    Undetermined,
    /// The light falls off too much to be corrected.
    #[error(
        "the light on the chart is too uneven: {ratio:.1} times as much on one side, at most {LIGHT_RATIO_MAX} are allowed"
    )]
    Uneven {
        /// Brightest over dimmest.
        ratio: f64,
    },
    /// One patch is far off.
    #[error(
        "{patch} is off by ΔE {delta_e:.1}, at most {MAX_76_MAX} are allowed: another chart, shine, or dirt on it"
    )]
    Patch {
        /// The worst one.
        patch: Patch,
        /// Its ΔE*ab.
        delta_e: f64,
    },
    /// All patches together are off.
    #[error("the patches are off by ΔE {mean:.1} in the mean, at most {MEAN_76_MAX} are allowed")]
    Mean {
        /// Mean ΔE*ab.
        mean: f64,
    },
    /// Colours that are not on the chart would be off.
    #[error(
        "patches left out of the fit are off by ΔE {mean:.1} in the mean, at most {LEFT_OUT_MEAN_76_MAX} are allowed"
    )]
    LeftOut {
        /// Mean ΔE*ab.
        mean: f64,
    },
}

/// Fits curve, light and matrix to what the camera saw of each patch: bytes decoded as sRGB, in the order of
/// [`Patch::all`].
///
/// # Errors
/// When the patches fix no fit, or it is worse than the limits of this module.
pub fn fit(camera: &[[f64; 3]; PATCHES]) -> Result<Fit, FitError> {
    let all: Vec<Patch> = Patch::all().collect();
    let start = Model::by_matrix_alone(camera, &all).ok_or(FitError::Undetermined)?;
    let model = start.refined(camera, &all);
    let light_ratio = model.light_ratio();
    if !(0.0..=LIGHT_RATIO_MAX).contains(&light_ratio) {
        return Err(FitError::Uneven { ratio: light_ratio });
    }
    let patches_76 = std::array::from_fn(|at| delta_e_76(model.lab(camera, all[at]), all[at].lab()));
    let patches_2000 = all.iter().map(|patch| delta_e_2000(model.lab(camera, *patch), patch.lab()));
    let (mean_76, max_76) = mean_and_max(patches_76.into_iter());
    let (mean_2000, max_2000) = mean_and_max(patches_2000);
    let worst = all.iter().copied().max_by(|a, b| patches_76[a.index()].total_cmp(&patches_76[b.index()]));
    if let Some(patch) = worst.filter(|_| !(0.0..=MAX_76_MAX).contains(&max_76)) {
        return Err(FitError::Patch { patch, delta_e: max_76 });
    }
    if !(0.0..=MEAN_76_MAX).contains(&mean_76) {
        return Err(FitError::Mean { mean: mean_76 });
    }
    let left_out = all.iter().map(|left_out| {
        let others: Vec<Patch> = all.iter().copied().filter(|patch| patch != left_out).collect();
        delta_e_76(model.refined(camera, &others).lab(camera, *left_out), left_out.lab())
    });
    let (left_out_mean_76, _) = mean_and_max(left_out);
    if !(0.0..=LEFT_OUT_MEAN_76_MAX).contains(&left_out_mean_76) {
        return Err(FitError::LeftOut { mean: left_out_mean_76 });
    }
    Ok(Fit {
        curve: model.curve,
        matrix: model.matrix.transpose().to_cols_array_2d(),
        light_ratio,
        delta_e: DeltaE { mean_76, max_76, mean_2000, max_2000, left_out_mean_76 },
        patches_76,
    })
}

fn mean_and_max(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (sum, max) = values.fold((0.0, 0.0_f64), |(sum, max), value| (sum + value, max.max(value)));
    (sum / PATCHES as f64, max)
}

/// Numbers that are fitted: nine of the matrix, two of the curve, two of the light.
const UNKNOWNS: usize = 13;

/// What makes a patch look as it does.
#[derive(Debug, Clone, Copy)]
struct Model {
    curve: Curve,
    matrix: DMat3,
    /// The logarithm of the light rises by this from the chart's middle to its right edge, and as fast downwards.
    light: DVec2,
}

impl Model {
    /// A straight curve, even light, and the matrix with the least squared error in linear light.
    fn by_matrix_alone(camera: &[[f64; 3]; PATCHES], patches: &[Patch]) -> Option<Self> {
        let mut rows = [[0.0; 3]; 3];
        for (channel, row) in rows.iter_mut().enumerate() {
            let mut sums = LeastSquares::<3>::new();
            for patch in patches {
                sums.add(camera[patch.index()], patch.linear_srgb()[channel]);
            }
            *row = sums.solve(0.0)?;
        }
        let matrix = DMat3::from_cols_array_2d(&rows).transpose();
        Some(Self { curve: Curve::STRAIGHT, matrix, light: DVec2::ZERO })
    }

    /// The fit to these patches that starts here.
    fn refined(self, camera: &[[f64; 3]; PATCHES], patches: &[Patch]) -> Self {
        let (mut best, mut sum) = (self, self.sum_of_squares(camera, patches));
        let mut damping = DAMPING.0;
        for _ in 0..STEPS_MAX {
            let equations = best.equations(camera, patches);
            // Shorter and shorter steps, until one lowers the sum.
            let better = loop {
                let next = equations.solve(damping).map(|step| best.moved(step));
                let next = next
                    .filter(|next| next.curve.is_rising())
                    .map(|next| (next, next.sum_of_squares(camera, patches)));
                match next.filter(|(_, next)| *next < sum) {
                    Some(better) => break Some(better),
                    None if DAMPING.1 < damping => break None,
                    None => damping *= 10.0,
                }
            };
            let Some((next, next_sum)) = better else { break };
            let is_last = sum - next_sum < PROGRESS_MIN * sum;
            (best, sum) = (next, next_sum);
            damping /= 10.0;
            if is_last {
                break;
            }
        }
        best
    }

    /// The linear equations for the next step, by numeric derivatives.
    fn equations(&self, camera: &[[f64; 3]; PATCHES], patches: &[Patch]) -> LeastSquares<UNKNOWNS> {
        let nudged: [Self; UNKNOWNS] = std::array::from_fn(|at| {
            let mut step = [0.0; UNKNOWNS];
            step[at] = NUDGE;
            self.moved(step)
        });
        let mut equations = LeastSquares::new();
        for patch in patches {
            let off = |model: &Self| {
                let (found, expected) = (model.lab(camera, *patch), patch.lab());
                [found.l - expected.l, found.a - expected.a, found.b - expected.b]
            };
            let (here, there) = (off(self), nudged.each_ref().map(off));
            for axis in 0..3 {
                equations.add(there.map(|there| (there[axis] - here[axis]) / NUDGE), -here[axis]);
            }
        }
        equations
    }

    /// Moved by a step, which may be one after which the curve no longer rises.
    fn moved(&self, step: [f64; UNKNOWNS]) -> Self {
        let [_, square, cube] = self.curve.coefficients();
        let (square, cube) = (square + step[9], cube + step[10]);
        let columns = self.matrix.to_cols_array();
        Self {
            curve: Curve([1.0 - square - cube, square, cube]),
            matrix: DMat3::from_cols_array(&std::array::from_fn(|at| columns[at] + step[at])),
            light: self.light + DVec2::new(step[11], step[12]),
        }
    }

    fn sum_of_squares(&self, camera: &[[f64; 3]; PATCHES], patches: &[Patch]) -> f64 {
        patches.iter().map(|patch| delta_e_76(self.lab(camera, *patch), patch.lab()).powi(2)).sum()
    }

    /// The colour of a patch by this model.
    fn lab(&self, camera: &[[f64; 3]; PATCHES], patch: Patch) -> Lab {
        let light = self.light.dot(from_middle(patch)).exp();
        let camera = DVec3::from_array(camera[patch.index()].map(|value| self.curve.at(value))) / light;
        colour::lab((self.matrix * camera).to_array())
    }

    fn light_ratio(&self) -> f64 {
        let corner = from_middle(Patch::all().last().expect("there are patches"));
        (2.0 * self.light.abs().dot(corner)).exp()
    }
}

/// A patch's place, from the middle of the chart; the left and right columns are at -1 and 1.
fn from_middle(patch: Patch) -> DVec2 {
    let (half_width, half_height) = ((COLUMNS - 1) as f64 / 2.0, (ROWS - 1) as f64 / 2.0);
    let place = DVec2::new((patch.column() - 1) as f64, (patch.row() - 1) as f64);
    (place - DVec2::new(half_width, half_height)) / half_width
}
