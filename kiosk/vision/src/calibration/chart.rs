//! The 24-patch colour chart: what its patches are called and which colours they have.
//!
//! Values: L*a*b* under D50, 2° observer, as the maker publishes them for charts made since November 2014 (X-Rite,
//! "ColorChecker24 - After November 2014", measured with M0; the same numbers stand in the `colour-science` package as
//! `DATA_COLORCHECKER24_AFTER_NOV2014_CIE_LAB`). Older charts have other pigments.
//! A chart fades, and no shine may lie on it: these are the values of matt paper.

use std::{fmt, sync::LazyLock};

use glam::{DMat3, DVec3};

use crate::skin::{Lab, colour};

/// Patches in a row of the chart that stands upright.
pub const COLUMNS: usize = 6;
/// Rows of patches.
pub const ROWS: usize = 4;
/// All patches.
pub const PATCHES: usize = COLUMNS * ROWS;
/// The first of the greys, which run from white to black to the end of the chart.
pub(super) const FIRST_GREY: usize = PATCHES - COLUMNS;

/// Names and L*a*b* (D50), row by row from dark skin, which is at the top left of a chart that stands upright.
const PUBLISHED: [(&str, [f64; 3]); PATCHES] = [
    ("dark skin", [37.54, 14.37, 14.92]),
    ("light skin", [64.66, 19.27, 17.50]),
    ("blue sky", [49.32, -3.82, -22.54]),
    ("foliage", [43.46, -12.74, 22.72]),
    ("blue flower", [54.94, 9.61, -24.79]),
    ("bluish green", [70.48, -32.26, -0.37]),
    ("orange", [62.73, 35.83, 56.50]),
    ("purplish blue", [39.43, 10.75, -45.17]),
    ("moderate red", [50.57, 48.64, 16.67]),
    ("purple", [30.10, 22.54, -20.87]),
    ("yellow green", [71.77, -24.13, 58.19]),
    ("orange yellow", [71.51, 18.24, 67.37]),
    ("blue", [28.37, 15.42, -49.80]),
    ("green", [54.38, -39.72, 32.27]),
    ("red", [42.43, 51.05, 28.62]),
    ("yellow", [81.80, 2.67, 80.41]),
    ("magenta", [50.63, 51.28, -14.12]),
    ("cyan", [49.57, -29.71, -28.32]),
    ("white", [95.19, -1.03, 2.93]),
    ("neutral 8", [81.29, -0.57, 0.44]),
    ("neutral 6.5", [66.89, -0.75, -0.06]),
    ("neutral 5", [50.76, -0.13, 0.14]),
    ("neutral 3.5", [35.63, -0.46, -0.48]),
    ("black", [20.64, 0.07, -0.46]),
];

/// One of the chart's patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patch(usize);

impl Patch {
    /// All of them, row by row.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PATCHES).map(Self)
    }

    /// Its place in the order of [`Patch::all`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        PUBLISHED[self.0].0
    }

    /// Its row, 1 to 4 from the top of a chart that stands upright.
    #[must_use]
    pub fn row(self) -> usize {
        self.0 / COLUMNS + 1
    }

    /// Its column, 1 to 6 from the left of a chart that stands upright.
    #[must_use]
    pub fn column(self) -> usize {
        self.0 % COLUMNS + 1
    }

    /// Its colour in linear sRGB under D65. Cyan lies outside sRGB: its red is negative.
    #[must_use]
    pub fn linear_srgb(self) -> [f64; 3] {
        LINEAR_SRGB[self.0]
    }

    /// Its colour in CIELAB under D65.
    #[must_use]
    pub fn lab(self) -> Lab {
        colour::lab(self.linear_srgb())
    }

    /// Whether it is one of the six greys, white and black included.
    #[must_use]
    pub fn is_grey(self) -> bool {
        FIRST_GREY <= self.0
    }
}

/// As in `light skin (row 1, column 2)`.
impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (row {}, column {})", self.name(), self.row(), self.column())
    }
}

static LINEAR_SRGB: LazyLock<[[f64; 3]; PATCHES]> = LazyLock::new(|| {
    let srgb_from_d50 = srgb_from_d50();
    PUBLISHED.map(|(_, lab)| (srgb_from_d50 * xyz_d50(lab)).to_array())
});

/// CIELAB → XYZ under the D50 of the ICC (0.9642, 1, 0.8249).
fn xyz_d50([l, a, b]: [f64; 3]) -> DVec3 {
    let fy = (l + 16.0) / 116.0;
    let linear = |f: f64| {
        let cube = f * f * f;
        if 216.0 / 24_389.0 < cube { cube } else { (116.0 * f - 16.0) * 27.0 / 24_389.0 }
    };
    D50 * DVec3::new(linear(fy + a / 500.0), linear(fy), linear(fy - b / 200.0))
}

const D50: DVec3 = DVec3::new(0.9642, 1.0, 0.8249);
const D65: DVec3 = DVec3::new(0.950_47, 1.0, 1.088_83);

/// XYZ under D50 → linear sRGB under D65: the Bradford adaptation (Lam 1985), then the inverse of the matrix of
/// IEC 61966-2-1.
fn srgb_from_d50() -> DMat3 {
    let cone_from_xyz =
        rows([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]);
    let gains = DMat3::from_diagonal((cone_from_xyz * D65) / (cone_from_xyz * D50));
    let d65_from_d50 = cone_from_xyz.inverse() * gains * cone_from_xyz;
    let xyz_from_srgb = rows([
        [0.412_456_4, 0.357_576_1, 0.180_437_5],
        [0.212_672_9, 0.715_152_2, 0.072_175_0],
        [0.019_333_9, 0.119_192_0, 0.950_304_1],
    ]);
    xyz_from_srgb.inverse() * d65_from_d50
}

fn rows(rows: [[f64; 3]; 3]) -> DMat3 {
    DMat3::from_cols_array_2d(&rows).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patches_have_the_srgb_values_that_the_maker_lists() {
        // The maker's own sRGB bytes of some patches, rounded by another adaptation: a few steps are allowed.
        let listed = [
            (0, [115, 82, 68]),
            (1, [195, 149, 128]),
            (11, [224, 163, 46]),
            (18, [243, 242, 237]),
            (21, [122, 121, 121]),
        ];
        for (index, expected) in listed {
            let patch = Patch(index);
            for (linear, expected) in patch.linear_srgb().into_iter().zip(expected) {
                let encoded = if linear <= 0.003_130_8 {
                    12.92 * linear
                } else {
                    1.055 * linear.powf(1.0 / 2.4) - 0.055
                };
                assert!((255.0 * encoded - f64::from(expected)).abs() < 12.0, "{patch}: {}", 255.0 * encoded);
            }
        }
    }

    #[test]
    fn greys_stay_grey_under_another_light_and_get_darker_to_the_right() {
        let greys: Vec<Lab> = Patch::all().filter(|patch| patch.is_grey()).map(Patch::lab).collect();
        assert!(greys.iter().all(|lab| lab.chroma() < 3.3), "{greys:?}");
        assert!(greys.windows(2).all(|pair| pair[1].l + 10.0 < pair[0].l), "{greys:?}");
        assert!((greys[0].l - 95.19).abs() < 0.2, "{greys:?}");
    }

    #[test]
    fn a_patch_says_where_it_is() {
        let names: Vec<String> = Patch::all().map(|patch| patch.to_string()).collect();
        assert_eq!(names[0], "dark skin (row 1, column 1)");
        assert_eq!(names[17], "cyan (row 3, column 6)");
        assert_eq!(names[23], "black (row 4, column 6)");
    }
}
