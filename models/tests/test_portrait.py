"""The portrait: the seed's person at another scale, without a trace in the small renderer."""

import unittest

import numpy as np

from storehub_models import portrait, render


class PortraitTest(unittest.TestCase):
    def test_a_portrait_leaves_the_small_renderer_as_it_was(self):
        before = render.render(5).image
        picture = np.asarray(portrait.portrait(12, 120))
        self.assertEqual(picture.shape, (144, 120, 3))
        self.assertTrue(np.array_equal(render.render(5).image, before))

    def test_the_light_is_even_and_nothing_is_clipped(self):
        picture = np.asarray(portrait.portrait(3, 120)).astype(float)
        left, right = picture[80:95, 40:50].mean(), picture[80:95, 70:80].mean()
        self.assertLess(max(left / right, right / left), 1.25)
        self.assertLess((picture == 255).mean(), 0.01)


if __name__ == "__main__":
    unittest.main()
