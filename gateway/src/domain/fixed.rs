//! Fixed-point numbers: millionths of whatever unit the name says.
//!
//! Sums of them do not depend on the order of their terms, and writing and reading them as JSON loses nothing;
//! neither holds for floating point.

use serde::{Deserialize, Serialize};

/// A number in millionths. Range ±9.2e12, far beyond every accepted reading; arithmetic saturates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Micro(i64);

const PER_UNIT: f64 = 1_000_000.0;

impl Micro {
    /// The nearest millionth.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`as` saturates, which is what out-of-range values shall do"
    )]
    pub(super) fn from_f64(value: f64) -> Self {
        Self((value * PER_UNIT).round() as i64)
    }

    /// A whole number.
    pub(super) fn from_count(count: u64) -> Self {
        Self(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1_000_000))
    }

    /// The nearest floating-point number; six decimals come out as they went in.
    #[expect(clippy::cast_precision_loss, reason = "accepted readings have at most 13 digits, which fit")]
    pub(super) fn to_f64(self) -> f64 {
        self.0 as f64 / PER_UNIT
    }

    /// The sum, kept in range.
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The whole tenths, rounded to nearest, for telling whether a shown value has changed.
    pub(super) fn tenths(self) -> i64 {
        (self.0.saturating_add(50_000)).div_euclid(100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_decimals_come_out_as_they_went_in() {
        for value in [0.0, 4.1, -18.25, 1_234.567_891, 500_000.0] {
            assert_eq!(Micro::from_f64(value).to_f64(), value);
        }
    }

    #[test]
    fn numbers_out_of_range_saturate() {
        assert_eq!(Micro::from_f64(1e300), Micro(i64::MAX));
        assert_eq!(Micro(i64::MAX).plus(Micro(1)), Micro(i64::MAX));
        assert_eq!(Micro::from_count(u64::MAX), Micro(i64::MAX));
    }
}
