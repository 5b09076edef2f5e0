//! How different two colours look: ΔE*ab of 1976 and CIEDE2000.

use crate::skin::Lab;

/// The distance in CIELAB (CIE 15).
#[must_use]
pub fn delta_e_76(one: Lab, other: Lab) -> f64 {
    let (l, a, b) = (one.l - other.l, one.a - other.a, one.b - other.b);
    (l * l + a * a + b * b).sqrt()
}

/// CIEDE2000 with all weights 1 (CIE 142-2001), as Sharma, Wu and Dalal write it down ("The CIEDE2000 Color-Difference
/// Formula", Color Research and Application 30:21, 2005).
#[must_use]
pub fn delta_e_2000(one: Lab, other: Lab) -> f64 {
    const POWER_25: f64 = 6_103_515_625.0;
    let saturation = |chroma: f64| {
        let power = chroma.powi(7);
        (power / (power + POWER_25)).sqrt()
    };
    let stretch = 1.0 + 0.5 * (1.0 - saturation(f64::midpoint(one.chroma(), other.chroma())));
    let polar = |lab: Lab| {
        let stretched = Lab { a: lab.a * stretch, ..lab };
        (stretched.chroma(), stretched.hue_deg())
    };
    let ((chroma_one, hue_one), (chroma_other, hue_other)) = (polar(one), polar(other));
    // A grey has no hue: neither a difference nor a say in the mean.
    let is_grey = chroma_one * chroma_other == 0.0;
    let turn = if is_grey { 0.0 } else { (hue_other - hue_one + 180.0).rem_euclid(360.0) - 180.0 };
    let hue = if is_grey { hue_one + hue_other } else { (hue_one + turn / 2.0).rem_euclid(360.0) };
    let (lightness, chroma) = (f64::midpoint(one.l, other.l), f64::midpoint(chroma_one, chroma_other));

    let cosine = |degrees: f64| degrees.to_radians().cos();
    let t = 1.0 - 0.17 * cosine(hue - 30.0) + 0.24 * cosine(2.0 * hue) + 0.32 * cosine(3.0 * hue + 6.0)
        - 0.20 * cosine(4.0 * hue - 63.0);
    let middle = (lightness - 50.0).powi(2);
    let l = (other.l - one.l) / (1.0 + 0.015 * middle / (20.0 + middle).sqrt());
    let c = (chroma_other - chroma_one) / (1.0 + 0.045 * chroma);
    let h = 2.0 * (chroma_one * chroma_other).sqrt() * (turn / 2.0).to_radians().sin()
        / (1.0 + 0.015 * chroma * t);
    let blue = 30.0 * (-((hue - 275.0) / 25.0).powi(2)).exp();
    let rotation = -2.0 * saturation(chroma) * (2.0 * blue).to_radians().sin();
    (l * l + c * c + h * h + rotation * c * h).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of the table of Sharma, Wu and Dalal: hues across 0°, greys, and the rotation in the blue.
    #[test]
    fn the_published_pairs_have_their_published_differences() {
        let pairs = [
            ([50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485], 2.0425),
            ([50.0, -1.3802, -84.2814], [50.0, 0.0, -82.7485], 1.0000),
            ([50.0, 0.0, 0.0], [50.0, -1.0, 2.0], 2.3669),
            ([50.0, 2.49, -0.001], [50.0, -2.49, 0.0009], 7.1792),
            ([50.0, 2.49, -0.001], [50.0, -2.49, 0.0011], 7.2195),
            ([50.0, 2.5, 0.0], [73.0, 25.0, -18.0], 27.1492),
            ([50.0, 2.5, 0.0], [58.0, 24.0, 15.0], 19.4535),
            ([60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387], 1.2644),
            ([22.7233, 20.0904, -46.6940], [23.0331, 14.9730, -42.5619], 2.0373),
            ([2.0776, 0.0795, -1.1350], [0.9033, -0.0636, -0.5514], 0.9082),
        ];
        for (one, other, expected) in pairs {
            let lab = |[l, a, b]: [f64; 3]| Lab { l, a, b };
            for found in [delta_e_2000(lab(one), lab(other)), delta_e_2000(lab(other), lab(one))] {
                assert!((found - expected).abs() < 1e-4, "{one:?} {other:?}: {found} for {expected}");
            }
        }
        let found = delta_e_76(Lab { l: 50.0, a: 3.0, b: 0.0 }, Lab { l: 50.0, a: 0.0, b: 4.0 });
        assert_eq!(found, 5.0);
    }
}
