//! Colour arithmetic: sRGB bytes → linear light → CIELAB (D65), ITA, hue.
//!
//! Without a calibration the picture is taken to be what its encoding says: sRGB under D65.

use std::sync::LazyLock;

use crate::calibration::Calibration;

/// CIELAB under D65, 2° observer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lab {
    /// Lightness, 0 to 100.
    pub l: f64,
    /// Green to red.
    pub a: f64,
    /// Blue to yellow.
    pub b: f64,
}

impl Lab {
    /// Distance from grey.
    #[must_use]
    pub fn chroma(self) -> f64 {
        self.a.hypot(self.b)
    }

    /// Hue angle in degrees, 0 to 360.
    #[must_use]
    pub fn hue_deg(self) -> f64 {
        self.b.atan2(self.a).to_degrees().rem_euclid(360.0)
    }

    /// Individual typology angle: `atan2(L* - 50, b*)` in degrees.
    #[must_use]
    pub fn ita_deg(self) -> f64 {
        (self.l - 50.0).atan2(self.b).to_degrees()
    }
}

/// The sRGB decoding of IEC 61966-2-1 for all bytes.
static LINEAR: LazyLock<[f64; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| {
        let encoded = byte as f64 / 255.0;
        if encoded <= 0.040_45 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) }
    })
});

/// sRGB bytes → linear light, 0 to 1 each.
pub(crate) fn linear(rgb: [u8; 3]) -> [f64; 3] {
    rgb.map(|byte| LINEAR[usize::from(byte)])
}

/// How the bytes of a picture become light.
#[derive(Debug, Clone, Default)]
pub(crate) enum Decoding {
    /// As their encoding says: sRGB under D65.
    #[default]
    Srgb,
    /// As the store's calibration of this camera in this light says.
    Calibrated(Box<Calibration>),
}

impl Decoding {
    /// Linear sRGB under D65; never quite black, for a calibration may take a channel below nought.
    pub(crate) fn linear(&self, rgb: [u8; 3]) -> [f64; 3] {
        match self {
            Self::Srgb => linear(rgb),
            Self::Calibrated(calibration) => calibration.apply(rgb).map(|light| light.max(1e-4)),
        }
    }

    /// What a report calls it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Srgb => "uncalibrated".to_owned(),
            Self::Calibrated(calibration) => format!("chart-{}", calibration.date()),
        }
    }

    /// Mean ΔE*ab of the chart's patches after the fit.
    pub(crate) fn delta_e(&self) -> Option<f64> {
        match self {
            Self::Srgb => None,
            Self::Calibrated(calibration) => Some(calibration.delta_e().mean_76),
        }
    }
}

/// Relative luminance of linear sRGB.
pub(crate) fn luminance([r, g, b]: [f64; 3]) -> f64 {
    0.212_672_9 * r + 0.715_152_2 * g + 0.072_175_0 * b
}

/// Linear sRGB → CIELAB under D65.
pub(crate) fn lab(rgb: [f64; 3]) -> Lab {
    let [r, g, b] = rgb;
    // Each row of the sRGB matrix divided by the white point, so that white is exactly (1, 1, 1).
    let x = (0.412_456_4 * r + 0.357_576_1 * g + 0.180_437_5 * b) / 0.950_470_0;
    let y = luminance(rgb);
    let z = (0.019_333_9 * r + 0.119_192_0 * g + 0.950_304_1 * b) / 1.088_830_0;
    let [fx, fy, fz] = [x, y, z]
        .map(|t: f64| if t > 216.0 / 24_389.0 { t.cbrt() } else { (24_389.0 / 27.0 * t + 16.0) / 116.0 });
    Lab { l: 116.0 * fy - 16.0, a: 500.0 * (fx - fy), b: 200.0 * (fy - fz) }
}

/// Relative luminance of a lightness L*: the inverse of what [`lab`] does.
pub(crate) fn luminance_of_lightness(l: f64) -> f64 {
    let f = (l + 16.0) / 116.0;
    if 8.0 < l { f * f * f } else { l * 27.0 / 24_389.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_have_their_known_coordinates() {
        // Bruce Lindbloom's calculator, sRGB, D65, no adaptation.
        let cases = [
            ([255, 255, 255], [100.0, 0.0, 0.0]),
            ([0, 0, 0], [0.0, 0.0, 0.0]),
            ([255, 0, 0], [53.24, 80.09, 67.20]),
            ([119, 119, 119], [50.03, 0.0, 0.0]),
            ([224, 172, 145], [74.03, 15.14, 21.40]),
        ];
        for (rgb, expected) in cases {
            let Lab { l, a, b } = lab(linear(rgb));
            for (found, expected) in [l, a, b].into_iter().zip(expected) {
                assert!((found - expected).abs() < 0.6, "{rgb:?}: {l} {a} {b}");
            }
            assert!((luminance_of_lightness(l) - luminance(linear(rgb))).abs() < 1e-9);
        }
    }

    #[test]
    fn ita_and_hue_are_angles() {
        let lab = Lab { l: 61.2, a: 10.8, b: 17.4 };
        assert!((lab.ita_deg() - 32.77).abs() < 0.01, "{}", lab.ita_deg());
        assert!((lab.hue_deg() - 58.17).abs() < 0.01);
        assert!(Lab { l: 30.0, a: 10.0, b: 15.0 }.ita_deg() < -30.0);
    }
}
