"""Scenes of skin are pure functions of their seeds, and their maps say what was drawn."""

import unittest

import numpy as np

from storehub_models import mesostructure, render, skin_scenes

SEED = 2


class SkinScenes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scene = skin_scenes.render_skin(SEED)

    def layer(self, name):
        return self.scene.maps[..., skin_scenes.MAPS.index(name)].astype(float)

    def test_the_same_seed_gives_the_same_picture_and_the_same_truth(self):
        again = skin_scenes.render_skin(SEED)
        self.assertEqual(self.scene.image.tobytes(), again.image.tobytes())
        self.assertEqual(self.scene.maps.tobytes(), again.maps.tobytes())

    def test_nothing_is_said_where_no_bare_skin_is(self):
        beside = self.layer("skin") <= 0.5
        for name in skin_scenes.MAPS[1:]:
            self.assertEqual(np.abs(self.layer(name)[beside]).max(), 0.0, name)
        share = self.layer("skin").mean()
        self.assertTrue(0.1 < share < 0.7, share)

    def test_a_spot_is_darker_than_the_skin_around_it(self):
        spots, skin = self.layer("spots"), self.layer("skin") > 0.9
        self.assertGreater(spots.max(), 0.3, "the seed has some")
        lightness = self.scene.image.astype(float).mean(axis=2)
        dark, plain = lightness[skin & (spots > 0.3)], lightness[skin & (spots == 0.0)]
        self.assertLess(np.median(dark), 0.95 * np.median(plain))


class Mesostructure(unittest.TestCase):
    def test_a_line_is_a_valley_as_deep_as_its_map_says(self):
        rng = np.random.default_rng(5)
        with render.finer_grid(0.4, 0.5):
            height, lines = np.zeros_like(render.X), np.zeros_like(render.X)
            curve = mesostructure._curve(rng, (-20.0, -50.0), (20.0, -50.0), 0.0, 0.0)
            mesostructure._groove(curve, 0.8, 0.3, height, lines, rng)
        deepest = np.unravel_index(np.argmax(lines), lines.shape)
        self.assertTrue(0.2 < lines[deepest] <= 0.4, lines[deepest])
        self.assertLess(abs(height[deepest] + lines[deepest]), 0.01)
        self.assertEqual(lines[:100].max(), 0.0, "far from the curve there is none")

    def test_pigment_is_blended_and_not_stepped(self):
        from storehub_models import skin_optics

        melanin = np.geomspace(0.02, 0.021, 50)
        colours = skin_optics.smooth_skin_colour(melanin, np.full(50, 0.03))
        self.assertTrue((np.diff(colours[:, 1]) < 0.0).all(), "more melanin is always darker")
        near = skin_optics.linear_srgb(skin_optics.reflectance(0.0205, 0.03))
        self.assertLess(np.abs(skin_optics.smooth_skin_colour(np.array(0.0205), np.array(0.03)) - near).max(), 0.004)


if __name__ == "__main__":
    unittest.main()
