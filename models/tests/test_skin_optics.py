"""Skin colours stay inside the range that measured skin has, from light to dark."""

import unittest

import numpy as np

from storehub_models import skin_optics


class SkinOptics(unittest.TestCase):
    def test_lab_of_common_pigment_fractions_is_the_lab_of_measured_skin(self):
        # Broad facial ranges in CIELAB under D65; chroma of dark skin stays below about 20.
        table = [  # melanin, blood, L* range, a* range, b* range
            (0.01, 0.015, (64, 72), (6, 13), (11, 20)),
            (0.03, 0.02, (58, 66), (7, 14), (11, 20)),
            (0.07, 0.025, (48, 58), (8, 15), (10, 20)),
            (0.15, 0.03, (36, 46), (7, 15), (8, 18)),
            (0.30, 0.03, (24, 34), (5, 13), (4, 14)),
        ]
        for melanin, blood, *ranges in table:
            value = skin_optics.lab(skin_optics.reflectance(melanin, blood))
            for name, got, (low, high) in zip("Lab", value, ranges):
                self.assertTrue(low <= got <= high, f"{name}* of melanin {melanin} is {got:.1f}, not {low} to {high}")

    def test_dark_skin_has_no_impossible_chroma(self):
        for melanin in np.geomspace(0.12, 0.34, 6):
            _, a, b = skin_optics.lab(skin_optics.reflectance(melanin, 0.03))
            self.assertLess(np.hypot(a, b), 20.0)

    def test_more_melanin_is_darker_and_more_blood_is_redder(self):
        lightness = [skin_optics.lab(skin_optics.reflectance(m, 0.03))[0] for m in (0.01, 0.05, 0.1, 0.2, 0.3)]
        redness = [skin_optics.lab(skin_optics.reflectance(0.05, b))[1] for b in (0.01, 0.03, 0.06)]
        self.assertEqual(lightness, sorted(lightness, reverse=True))
        self.assertEqual(redness, sorted(redness))

    def test_a_perfect_white_is_white(self):
        white = np.ones_like(skin_optics.WAVELENGTHS_NM)
        np.testing.assert_allclose(skin_optics.lab(white), [100.0, 0.0, 0.0], atol=1e-6)
        np.testing.assert_allclose(skin_optics.linear_srgb(white), [1.0, 1.0, 1.0], atol=1e-6)

    def test_redness_is_told_from_melanin_and_from_shade(self):
        weights = skin_optics.blood_weights()
        self.assertAlmostEqual(weights.sum(), 0.0, places=6)
        said = lambda melanin, blood, shade=1.0: float(  # noqa: E731
            weights @ -np.log(shade * skin_optics.linear_srgb(skin_optics.reflectance(melanin, blood))))
        plain = said(0.042, 0.025)
        self.assertAlmostEqual(said(0.042, 0.025, 0.5), plain, places=6)
        self.assertAlmostEqual(said(0.042, 0.030) - plain, np.log(0.030 / 0.025), delta=0.02)
        self.assertLess(abs(said(0.050, 0.025) - plain), 0.02)


if __name__ == "__main__":
    unittest.main()
