"""What a skin network is judged by, and that its loss knows right from wrong."""

import unittest

import numpy as np
import torch

from storehub_models import renderer_b, scenes, skin_network, skin_scenes, train_skinmap


class Judging(unittest.TestCase):
    def test_a_mask_beside_the_truth_counts_within_the_tolerance_only(self):
        truth = np.zeros((40, 40), bool)
        truth[20, 5:35] = True
        for shift, iou in ((0, 1.0), (2, 1.0), (3, 0.0)):
            found = np.roll(truth, shift, axis=0)
            said = train_skinmap.overlap(train_skinmap.matches(found, truth, 2))["iou"]
            self.assertAlmostEqual(said, iou, msg=f"{shift} pixels beside")
        half = truth.copy()
        half[:, 20:] = False
        said = train_skinmap.overlap(train_skinmap.matches(half, truth, 0))
        self.assertAlmostEqual(said["iou"], said["recall"])
        self.assertEqual(said["precision"], 1.0)

    def test_the_right_answer_costs_less_than_a_wrong_one(self):
        truth = torch.zeros(1, 7, 32, 32)
        truth[:, 0] = 1.0
        truth[:, 1, 16] = 0.2
        truth[:, 2, 4:8, 4:8] = 0.5
        truth[:, 5:] = 5.0
        truth[:, 4, :, :16] = 0.2
        wanted, _ = train_skinmap.targets(truth)
        right = torch.cat([(wanted[:, :3] - 0.5) * 16.0, wanted[:, 3:]], dim=1)
        settings = train_skinmap.Settings()
        good = float(train_skinmap.loss_of(right, truth, settings))
        for channel in range(len(skin_network.OUTPUTS)):
            wrong = right.clone()
            wrong[:, channel] = wrong[:, channel].flip(1).flip(2)
            if not torch.equal(wrong, right):
                self.assertGreater(float(train_skinmap.loss_of(wrong, truth, settings)), good + 0.01, channel)

    def test_a_picture_gives_maps_of_half_its_size_in_their_units(self):
        exported = skin_network.Exported(skin_network.SkinNet()).eval()
        with torch.inference_mode():
            out = exported(torch.rand(1, 3, 128, 128))
        self.assertEqual(tuple(out.shape), (1, len(skin_network.OUTPUTS), 64, 64))
        self.assertTrue(bool((out >= 0).all()) and bool((out[:, :skin_network.PROBABILITIES] <= 1).all()))


    def test_a_picture_and_its_mirror_image_get_the_same_answer(self):
        exported = skin_network.Exported(skin_network.SkinNet()).eval()
        picture = torch.rand(1, 3, 128, 128)
        with torch.inference_mode():
            one, other = exported(picture), exported(picture.flip(3)).flip(3)
        np.testing.assert_allclose(one, other, atol=1e-5)


class VaryingLight(unittest.TestCase):
    def test_a_highlight_that_is_added_is_shine_in_the_truth(self):
        picture, truth = torch.full((12, 3, 64, 64), 0.4), torch.zeros(12, 7, 32, 32)
        varied, told = train_skinmap.vary_light(picture, truth, np.random.default_rng(3))
        shine = told[:, train_skinmap.SHINE].mean(dim=(1, 2))
        self.assertTrue(bool((shine == 0.0).any()) and bool((shine > 0.05).any()), shine)
        self.assertEqual(float(truth.abs().max()), 0.0, "the scene's own truth stays")
        for index in torch.nonzero(shine > 0.05)[:, 0]:
            field, light = told[index, train_skinmap.SHINE], varied[index].mean(dim=0)[::2, ::2]
            together = np.corrcoef(field.flatten(), light.flatten())[0, 1]
            self.assertGreater(together, 0.5, "where it shines it is lighter")


class DarkLines(unittest.TestCase):
    def test_a_line_is_darker_where_it_is_deep_and_the_truth_knows_that_it_is_seen(self):
        picture, truth = torch.full((12, 3, 64, 64), 0.5), torch.zeros(12, 7, 32, 32)
        truth[:, train_skinmap.LINES, 16, 4:28] = 0.3
        settings = train_skinmap.Settings()
        varied, told = train_skinmap.darken_lines(picture, truth, np.random.default_rng(3), settings)
        beside, on = varied[:, :, :24].mean(dim=(1, 2, 3)), varied[:, 0, 32, 30]
        np.testing.assert_allclose(beside, 0.5, atol=1e-5)
        contrast = told[:, train_skinmap.LINE_CONTRAST, 16, 16]
        self.assertTrue(bool((on <= 0.5001).all()) and bool((on < 0.45).any()) and bool((on > 0.4999).any()), on)
        order = torch.argsort(on)
        self.assertTrue(bool((contrast[order].diff() <= 1e-4).all()), "the darker, the better seen")
        self.assertEqual(float(truth[:, train_skinmap.LINE_CONTRAST].abs().max()), 0.0, "the scene's own truth stays")


class OtherRenderer(unittest.TestCase):
    def test_it_speaks_the_same_language_and_draws_another_picture(self):
        scene, again = renderer_b.render_b(3), renderer_b.render_b(3)
        self.assertEqual(scene.image.tobytes(), again.image.tobytes())
        self.assertEqual(scene.maps.shape, (skin_scenes.FRAME_PX, skin_scenes.FRAME_PX, len(skin_scenes.MAPS)))
        skin = scene.maps[..., 0] > 0.5
        for index, name in enumerate(skin_scenes.MAPS[1:], start=1):
            self.assertEqual(float(np.abs(scene.maps[..., index][~skin]).max()), 0.0, name)
        halved = scenes.halved(scene.maps)
        self.assertEqual(halved.shape[0], skin_scenes.FRAME_PX // 2)


if __name__ == "__main__":
    unittest.main()
