"""Skin colour from pigments: a two-layer Kubelka-Munk model over the visible spectrum.

Owns the reflectance of skin as a function of the melanosome fraction of the epidermis and the
blood fraction of the dermis, and its CIELAB and linear sRGB colour under D65. It knows nothing
about faces.

Units: wavelengths in nm, absorption and scattering in 1/cm, thickness in cm, fractions 0 to 1.

Sources of the numbers: melanosome, baseline and tissue scattering formulae by S. L. Jacques;
haemoglobin molar extinction compiled by S. Prahl (omlc.org); D65 by CIE; colour matching functions
in the multi-lobe approximation of Wyman, Sloan and Shirley (JCGT 2013). The common shortcut of an
epidermis that only absorbs gives dark skin a chroma that no measured skin has; back-scatter of the
epidermis and a carotene term repair that, and a test holds the L*a*b* range.
"""

from __future__ import annotations

import functools

import numpy as np

WAVELENGTHS_NM = np.arange(400.0, 701.0, 10.0)

# Relative spectral power of CIE D65 at WAVELENGTHS_NM.
D65 = np.array([
    82.75, 91.49, 93.43, 86.68, 104.87, 117.01, 117.81, 114.86, 115.92, 108.81, 109.35,
    107.80, 104.79, 107.69, 104.41, 104.05, 100.00, 96.33, 95.79, 88.69, 90.01, 89.60,
    87.70, 83.29, 83.70, 80.03, 80.21, 82.28, 78.28, 69.72, 71.61,
])

# Molar extinction of oxygenated and of reduced haemoglobin, 1/(cm M).
HBO2 = np.array([
    266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209, 26629, 23684, 20933,
    20035, 24202, 39957, 53236, 43016, 32613, 44496, 50104, 14401, 3200, 1506,
    942, 610, 442, 368, 320, 294, 278, 276, 290,
], dtype=float)
HB = np.array([
    223296, 303956, 407560, 528600, 413280, 103292, 23389, 16156, 14550, 16684, 20862,
    25774, 31590, 39036, 46592, 53412, 53788, 45072, 37020, 28324, 14677, 9444,
    6510, 5149, 4345, 3750, 3227, 2795, 2408, 2052, 1794,
], dtype=float)

EPIDERMIS_CM = 0.005
EPIDERMIS_SCATTERING_GAIN = 2.2
CAROTENE = 8.0
SAUNDERSON_K1 = 0.028
SAUNDERSON_K2 = 0.5
OXYGENATION = 0.75
# The dermis is deep enough to hide what lies below it.
DERMIS_CM = 0.3

MELANIN_RANGE = (0.006, 0.34)
BLOOD_RANGE = (0.008, 0.10)

SRGB_FROM_XYZ = np.array([
    [3.2404542, -1.5371385, -0.4985314],
    [-0.9692660, 1.8760108, 0.0415560],
    [0.0556434, -0.2040259, 1.0572252],
])
XYZ_FROM_SRGB = np.linalg.inv(SRGB_FROM_XYZ)


def _lobe(nm: np.ndarray, mean: float, below: float, above: float) -> np.ndarray:
    width = np.where(nm < mean, below, above)
    return np.exp(-0.5 * ((nm - mean) * width) ** 2)


def colour_matching(nm: np.ndarray) -> np.ndarray:
    """CIE 1931 x, y, z matching functions, shape (3, wavelengths)."""
    x = (1.056 * _lobe(nm, 599.8, 0.0264, 0.0323) + 0.362 * _lobe(nm, 442.0, 0.0624, 0.0374)
         - 0.065 * _lobe(nm, 501.1, 0.0490, 0.0382))
    y = 0.821 * _lobe(nm, 568.8, 0.0213, 0.0247) + 0.286 * _lobe(nm, 530.9, 0.0613, 0.0322)
    z = 1.217 * _lobe(nm, 437.0, 0.0845, 0.0278) + 0.681 * _lobe(nm, 459.0, 0.0385, 0.0725)
    return np.stack([x, y, z])


def _layer(absorption, scattering, thickness_cm):
    """Reflectance and transmittance of one Kubelka-Munk layer."""
    k = 2.0 * absorption
    s = np.maximum(0.75 * scattering - 0.25 * absorption, 1e-3)
    a = 1.0 + k / s
    b = np.sqrt(np.maximum(a * a - 1.0, 1e-12))
    x = np.minimum(b * s * thickness_cm, 40.0)
    denominator = a * np.sinh(x) + b * np.cosh(x)
    return np.sinh(x) / denominator, b / denominator


def reflectance(melanin, blood, oxygenation: float = OXYGENATION) -> np.ndarray:
    """Diffuse reflectance, shape broadcast(melanin, blood) + (wavelengths,)."""
    nm = WAVELENGTHS_NM
    melanin = np.asarray(melanin, dtype=float)[..., None]
    blood = np.asarray(blood, dtype=float)[..., None]
    mu_melanin = 6.6e11 * nm ** -3.33
    mu_base = 0.244 + 85.3 * np.exp(-(nm - 154.0) / 66.2)
    mu_blood = 2.303 * (oxygenation * HBO2 + (1.0 - oxygenation) * HB) * 150.0 / 64500.0
    mu_carotene = CAROTENE * (np.exp(-(((nm - 455.0) / 35.0) ** 2))
                              + 0.6 * np.exp(-(((nm - 485.0) / 18.0) ** 2)))
    scattering = 2e5 * nm ** -1.5 + 2e12 * nm ** -4.0

    epidermis = melanin * mu_melanin + (1.0 - melanin) * mu_base + mu_carotene
    dermis = blood * mu_blood + (1.0 - blood) * mu_base + mu_carotene
    r_epi, t_epi = _layer(epidermis, EPIDERMIS_SCATTERING_GAIN * scattering, EPIDERMIS_CM)
    r_dermis, _ = _layer(dermis, scattering, DERMIS_CM)
    inner = r_epi + t_epi**2 * r_dermis / (1.0 - r_epi * r_dermis)
    return (SAUNDERSON_K1
            + (1.0 - SAUNDERSON_K1) * (1.0 - SAUNDERSON_K2) * inner / (1.0 - SAUNDERSON_K2 * inner))


def xyz(spectrum: np.ndarray) -> np.ndarray:
    """XYZ under D65 of a reflectance; a perfect white has Y = 1."""
    weights = colour_matching(WAVELENGTHS_NM) * D65
    return spectrum @ weights.T / weights[1].sum()


def lab(spectrum: np.ndarray) -> np.ndarray:
    """CIELAB under D65, relative to the white of the same integration."""
    return lab_of_xyz(xyz(spectrum) / xyz(np.ones_like(WAVELENGTHS_NM)))


def lab_of_linear(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB, relative to its white."""
    return lab_of_xyz(rgb @ (XYZ_FROM_SRGB / XYZ_FROM_SRGB.sum(axis=1, keepdims=True)).T)


def lab_of_xyz(ratio: np.ndarray) -> np.ndarray:
    """CIELAB of XYZ over the white's."""
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]),
                     200 * (f[..., 1] - f[..., 2])], axis=-1)


def linear_srgb(spectrum: np.ndarray) -> np.ndarray:
    """Linear sRGB, white scaled to 1 in each channel."""
    white = SRGB_FROM_XYZ @ xyz(np.ones_like(WAVELENGTHS_NM))
    return np.clip(xyz(spectrum) @ SRGB_FROM_XYZ.T / white, 1e-4, 1.0)


def blood_weights(melanin: float = 0.042, blood: float = 0.025) -> np.ndarray:
    """Weights of the optical densities -ln(R, G, B) that tell the logarithm of the blood fraction.

    About skin of these fractions, by default of middle tone. Shading shifts all densities alike, melanin along its own
    direction (Tsumura 2003): the weights are blind to both, and sum to nought.
    """
    step = 1.05

    def change(up, down):
        return -np.log(linear_srgb(reflectance(*up)) / linear_srgb(reflectance(*down))) / (2 * np.log(step))

    by_melanin = change((melanin * step, blood), (melanin / step, blood))
    by_blood = change((melanin, blood * step), (melanin, blood / step))
    no_shading = np.eye(3) - 1 / 3
    return np.linalg.pinv(np.stack([no_shading @ by_melanin, no_shading @ by_blood], axis=1))[1] @ no_shading


@functools.cache
def colour_table(steps: int = 48) -> np.ndarray:
    """Linear sRGB over log-spaced melanin (rows) and blood (columns), shape (steps, steps, 3)."""
    melanin = np.geomspace(*MELANIN_RANGE, steps)
    blood = np.geomspace(*BLOOD_RANGE, steps)
    return linear_srgb(reflectance(melanin[:, None], blood[None, :])).astype(np.float32)


def skin_colour(melanin: np.ndarray, blood: np.ndarray) -> np.ndarray:
    """Linear sRGB of skin by nearest table entry; inputs are clipped to the table's range."""
    table = colour_table()
    steps = table.shape[0]

    def index(value, low, high):
        fraction = np.log(np.clip(value, low, high) / low) * ((steps - 1) / np.log(high / low))
        return (fraction + 0.5).astype(np.intp)

    return table[index(melanin, *MELANIN_RANGE), index(blood, *BLOOD_RANGE)]


def smooth_skin_colour(melanin: np.ndarray, blood: np.ndarray) -> np.ndarray:
    """As `skin_colour`, bilinear in the table: small differences of pigment stay small differences of colour."""
    table = colour_table()
    last = table.shape[0] - 1

    def place(value, low, high):
        at = np.log(np.clip(value, low, high) / low) * (last / np.log(high / low))
        whole = np.minimum(at.astype(np.intp), last - 1)
        return whole, (at - whole)[..., None].astype(np.float32)

    row, down = place(melanin, *MELANIN_RANGE)
    column, right = place(blood, *BLOOD_RANGE)
    above = table[row, column] * (1.0 - right) + table[row, column + 1] * right
    below = table[row + 1, column] * (1.0 - right) + table[row + 1, column + 1] * right
    return above * (1.0 - down) + below * down
