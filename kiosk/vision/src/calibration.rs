//! What a camera's colours are under the kiosk's own light: measured once with a 24-patch colour chart, applied to each
//! pixel, and watched with a strip of patches on the bezel.
//!
//! A byte is decoded as sRGB, bent by the camera's own [`Curve`], and a matrix takes the three channels to linear sRGB
//! under D65. Exposure, gain and white balance of the camera must be locked, and must stay as they were when the chart
//! was taken: a calibration knows nothing of the picture that it is applied to. The white balance is locked near the
//! kiosk's light: a channel that sees little of dark skin has too few bytes for it.
//!
//! Owns: finding the chart, the fit, the file `colour-calibration/1`, the check of the strip. Does not own: where the
//! file lies, when it is too old, or what the gate makes of a strip that has drifted.
//!
//! In 200 rendered views, whose cameras are a matrix, a power curve, noise and blur under uneven light, ITA of colours
//! like skin was off by 0.9° in the mean, 1.9° at the 90th percentile and 5.0° at most. Real sensors are no matrices of
//! the eye's, so expect what [`DeltaE::left_out_mean_76`] says, and more.

use glam::DMat3;

use crate::{
    picture::Picture,
    skin::{Lab, colour},
};

pub mod chart;
mod date;
mod detect;
mod difference;
mod even;
mod file;
mod fit;
mod grid;
mod homography;
mod strip;
#[cfg(test)]
mod tests;

pub use chart::Patch;
pub use date::{Date, DateError};
pub use detect::{DetectError, Detected, Reading, detect};
pub use difference::{delta_e_76, delta_e_2000};
pub use file::{FileError, SCHEMA, SaveError};
pub use fit::{DeltaE, Fit, FitError, LEFT_OUT_MEAN_76_MAX, LIGHT_RATIO_MAX, MAX_76_MAX, MEAN_76_MAX, fit};
pub use strip::{
    Area, AreaError, HOLDS_DELTA_E_MAX, HOLDS_STOPS_MAX, Strip, StripCheck, StripError, StripReference,
    StripReferenceError, StripReport, Watch,
};

/// Slopes of a curve are at least this: where it is flatter, colours cannot be told apart.
const SLOPE_MIN: f64 = 0.02;
/// No coefficient of a curve is larger.
const COEFFICIENT_MAX: f64 = 8.0;
/// No entry of a matrix is larger: the camera would be under-exposed by five stops.
const ENTRY_MAX: f64 = 32.0;
/// Determinants below this are those of channels that see the same.
const DETERMINANT_MIN: f64 = 1e-3;
/// Linear light that white may come out as: a camera may expose it several stops short, or beyond its range.
const WHITE: (f64, f64) = (0.1, 20.0);

/// How a camera bends light, besides the curve of sRGB: `a₁·c + a₂·c² + a₃·c³`, which rises from 0 at 0 to 1 at 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Curve([f64; 3]);

impl Curve {
    /// Nothing is bent.
    pub const STRAIGHT: Self = Self([1.0, 0.0, 0.0]);

    /// A curve from `a₁`, `a₂` and `a₃`.
    ///
    /// # Errors
    /// When a coefficient is none, their sum is not 1, or the curve does not rise everywhere from 0 to 1.
    pub fn try_new(coefficients: [f64; 3]) -> Result<Self, CurveError> {
        if let Some(bad) =
            coefficients.into_iter().find(|value| !(-COEFFICIENT_MAX..=COEFFICIENT_MAX).contains(value))
        {
            return Err(CurveError::Coefficient(bad));
        }
        let sum: f64 = coefficients.iter().sum();
        if 1e-6 < (sum - 1.0).abs() {
            return Err(CurveError::End(sum));
        }
        let curve = Self(coefficients);
        if curve.is_rising() { Ok(curve) } else { Err(CurveError::NotRising(curve.least_slope())) }
    }

    /// `a₁`, `a₂` and `a₃`.
    #[must_use]
    pub fn coefficients(self) -> [f64; 3] {
        self.0
    }

    /// The curve at `c`, 0 to 1.
    #[must_use]
    pub fn at(self, c: f64) -> f64 {
        let [a1, a2, a3] = self.0;
        c * (a1 + c * (a2 + c * a3))
    }

    fn is_rising(self) -> bool {
        SLOPE_MIN <= self.least_slope()
    }

    /// The least slope from 0 to 1: at an end, or where the slope's own slope is zero.
    fn least_slope(self) -> f64 {
        let [a1, a2, a3] = self.0;
        let slope = |c: f64| a1 + c * (2.0 * a2 + c * 3.0 * a3);
        let turn = -a2 / (3.0 * a3);
        let inside = if 0.0 < turn && turn < 1.0 { slope(turn) } else { f64::INFINITY };
        slope(0.0).min(slope(1.0)).min(inside)
    }
}

/// No curve of a camera.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum CurveError {
    /// Not finite, or too large.
    #[error("has the coefficient {0}, which must be from -{COEFFICIENT_MAX} to {COEFFICIENT_MAX}")]
    Coefficient(f64),
    /// The curve does not end in 1.
    #[error("is {0} at 1, which must be 1")]
    End(f64),
    /// The curve falls or is flat somewhere.
    #[error("does not rise everywhere: its least slope is {0}, at least {SLOPE_MIN} is needed")]
    NotRising(f64),
}

/// No matrix that corrects a camera.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum MatrixError {
    /// Not finite, or too large.
    #[error("has the entry {0}, which must be from -{ENTRY_MAX} to {ENTRY_MAX}")]
    Entry(f64),
    /// Not invertible, or colours change places.
    #[error("has the determinant {0}, which must be at least {DETERMINANT_MIN}")]
    Determinant(f64),
    /// White comes out as no white of any exposure.
    #[error("takes white to {0:?}, which must be from {least} to {most} each", least = WHITE.0, most = WHITE.1)]
    White([f64; 3]),
}

/// What takes the bytes of one camera, under the light of one kiosk, to colours.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    date: Date,
    curve: Curve,
    /// Rows; invertible.
    matrix: [[f64; 3]; 3],
    delta_e: DeltaE,
    /// What tells whether it still holds.
    watch: Option<Watch>,
    /// The curve for each byte.
    light: Box<[f64; 256]>,
}

impl Calibration {
    /// A calibration of these parts.
    ///
    /// # Errors
    /// When the matrix cannot be inverted, or has entries that no camera needs.
    pub fn try_new(
        date: Date,
        curve: Curve,
        matrix: [[f64; 3]; 3],
        delta_e: DeltaE,
    ) -> Result<Self, MatrixError> {
        if let Some(bad) =
            matrix.into_iter().flatten().find(|entry| !(-ENTRY_MAX..=ENTRY_MAX).contains(entry))
        {
            return Err(MatrixError::Entry(bad));
        }
        let determinant = DMat3::from_cols_array_2d(&matrix).determinant();
        if determinant < DETERMINANT_MIN {
            return Err(MatrixError::Determinant(determinant));
        }
        let white = matrix.map(|row| row.into_iter().sum());
        if !white.iter().all(|light| (WHITE.0..=WHITE.1).contains(light)) {
            return Err(MatrixError::White(white));
        }
        let mut byte = 0..=u8::MAX;
        let light = Box::new(std::array::from_fn(|_| {
            let byte = byte.next().expect("there are 256 bytes");
            let [decoded, ..] = colour::linear([byte; 3]);
            curve.at(decoded)
        }));
        Ok(Self { date, curve, matrix, delta_e, watch: None, light })
    }

    /// The same, watched by a strip on the bezel from now on.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// The strip that watches it.
    #[must_use]
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// What the strip says of it in a picture; nothing where no strip watches.
    #[must_use]
    pub fn strip(&self, picture: &Picture) -> Option<StripReport> {
        self.watch.as_ref().map(|watch| watch.report(picture, self))
    }

    /// The day on which the chart was taken.
    #[must_use]
    pub fn date(&self) -> Date {
        self.date
    }

    /// How the camera bends light.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// From the camera's light to linear sRGB under D65, row by row.
    #[must_use]
    pub fn matrix(&self) -> [[f64; 3]; 3] {
        self.matrix
    }

    /// How well the chart's patches fitted.
    #[must_use]
    pub fn delta_e(&self) -> DeltaE {
        self.delta_e
    }

    /// The colour of a camera's pixel in linear sRGB under D65: 0 to 1 for what sRGB holds, beyond it for colours
    /// outside, 1 is a white that reflects all of the kiosk's light.
    #[must_use]
    pub fn apply(&self, rgb: [u8; 3]) -> [f64; 3] {
        let [r, g, b] = rgb.map(|byte| self.light[usize::from(byte)]);
        self.matrix.map(|[from_r, from_g, from_b]| from_r * r + from_g * g + from_b * b)
    }

    /// The colour of a camera's pixel in CIELAB under D65.
    #[must_use]
    pub fn lab(&self, rgb: [u8; 3]) -> Lab {
        colour::lab(self.apply(rgb))
    }
}

/// A chart in a picture and what followed from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// Where the chart is, and what the camera saw.
    pub detected: Detected,
    /// How it fits.
    pub fit: Fit,
    /// What to apply from now on.
    pub calibration: Calibration,
}

/// Why a picture gives no calibration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrateError {
    /// The chart was not found, or could not be measured.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// It was measured, but does not fit.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The fit is nothing that a camera needs.
    #[error("the fitted curve {0}")]
    Curve(#[from] CurveError),
    /// The fit is nothing that a camera needs.
    #[error("the fitted matrix {0}")]
    Matrix(#[from] MatrixError),
}

/// Calibrates with the chart in a picture that was taken on this day.
///
/// # Errors
/// When the chart is not found, cannot be measured, or does not fit well enough.
pub fn calibrate(picture: &Picture, date: Date) -> Result<Calibrated, CalibrateError> {
    let detected = detect(picture)?;
    let fit = fit(&detected.readings.map(|reading| reading.rgb))?;
    let curve = Curve::try_new(fit.curve.coefficients())?;
    let calibration = Calibration::try_new(date, curve, fit.matrix, fit.delta_e)?;
    Ok(Calibrated { detected, fit, calibration })
}
