"""The cards say what was measured, of the networks that are there, and the groups of tone are those of the literature."""

import json
import unittest
from pathlib import Path

import numpy as np

from storehub_models import card, evaluate_skin, skin_network, skin_scenes

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
THRESHOLDS = {"skin": 0.5, "line": 0.4, "spot": 0.6}


def scene_maps(shine: float = 0.1) -> np.ndarray:
    """Plain skin with one line and one spot that can be seen, which shines on its left half."""
    maps = np.zeros((64, 64, len(skin_scenes.MAPS)), np.float32)

    def layer(name):
        return maps[..., skin_scenes.MAPS.index(name)]

    layer("skin")[:, 4:60] = 1.0
    layer("lines")[20, 10:50] = 0.3
    layer("line_contrast")[20, 10:50] = 9.0
    layer("spots")[40:44, 30:34] = 0.5
    layer("spot_contrast")[40:44, 30:34] = 9.0
    layer("shine")[:, 4:32] = shine
    return maps


def answer_of(maps: np.ndarray, shift: int = 0) -> np.ndarray:
    """What a network says that knows the truth and shifts it by so many cells."""
    names = ("skin", "lines", "spots", "shine")
    skin, lines, spots, shine = (maps[..., skin_scenes.MAPS.index(name)] for name in names)
    lines, spots = (np.roll(field > 0.0, shift, axis=0) for field in (lines, spots))
    return np.stack([skin, lines, spots, shine]).astype(np.float32)


def judged(shift: int, seed: int = 0, ita_deg: float = 30.0) -> evaluate_skin.Judged:
    maps = scene_maps(0.1 + 0.01 * seed)
    return evaluate_skin.judge(lambda _: answer_of(maps, shift), None, maps, THRESHOLDS, seed, ita_deg)


class Evaluation(unittest.TestCase):
    def test_tones_are_told_by_their_angle(self):
        for ita_deg, name in ((60, "very light"), (55, "very light"), (54.9, "light"), (41, "light"), (28, "intermediate"),
                              (10, "tan"), (9.9, "brown"), (-30, "brown"), (-30.1, "dark"), (-89, "dark")):
            self.assertEqual(evaluate_skin.tone(ita_deg), name, ita_deg)

    def test_the_truth_scores_one_and_what_lies_beside_it_nothing(self):
        right, wrong = judged(0), judged(6)
        self.assertEqual(right.skin_iou, 1.0)
        for name in evaluate_skin.MASKS:
            for scene, iou in ((right, 1.0), (wrong, 0.0)):
                said = evaluate_skin.train_skinmap.overlap(scene.counts[name])["iou"]
                self.assertAlmostEqual(said, iou, msg=name)
        self.assertAlmostEqual(*right.shine, delta=1e-3)

    def test_a_tone_on_which_it_fails_shows_in_the_ratio_and_among_the_failures(self):
        scenes = [judged(0, seed, 45.0) for seed in range(8)] + [judged(seed % 2 * 6, seed, -50.0) for seed in range(8, 16)]
        few = [judged(6, 99, 70.0)]
        report = evaluate_skin.report(scenes + few)
        self.assertEqual(report["by_tone"]["light"]["line"]["iou"], 1.0)
        self.assertEqual(report["worst_over_best"]["skin"], 1.0)
        self.assertLess(report["worst_over_best"]["line"], 0.5)
        self.assertEqual(report["by_tone"]["very light"]["scenes"], 1)
        self.assertEqual({scene["seed"] for scene in report["failures"]["line"]["worst"]} & {9, 11, 13, 15, 99}, {9, 11, 13, 15})
        self.assertEqual(len(skin_network.OUTPUTS), 1 + len(evaluate_skin.MASKS) + 1)


class Cards(unittest.TestCase):
    def test_the_cards_are_those_of_the_figures_and_the_figures_those_of_the_networks(self):
        report, known = json.loads((WEIGHTS / "evaluation.json").read_text()), card.manifests(WEIGHTS)
        for name, manifest in known.items():
            self.assertEqual(report[name]["model_sha256"], manifest["sha256"], name)
        self.assertEqual((WEIGHTS.parent / "MODEL_CARD.md").read_text(), card.text(report, known))

    def test_figures_that_cannot_be_measured_here_are_kept_for_the_same_network_alone(self):
        last = {"model_sha256": "a", "real_faces": 1, "face_check": 2, "synthetic_held_out": 3}
        now = {"model_sha256": "a", "synthetic_held_out": 4, "face_check": 5}
        self.assertEqual(card.with_last(now, last), now | {"real_faces": 1, "face_check": 2})
        self.assertEqual(card.with_last(now | {"model_sha256": "b"}, last), now | {"model_sha256": "b"})
        self.assertEqual(card.with_last({"model_sha256": "a", "skipped": "no scenes"}, last), last)

    def test_what_was_never_measured_is_said_to_be_so(self):
        report = json.loads((WEIGHTS / "evaluation.json").read_text())
        report["skinmap"] = {"skipped": "no scenes `b.npz`"}
        self.assertIn("Not measured: no scenes `b.npz`.", card.text(report, card.manifests(WEIGHTS)))


if __name__ == "__main__":
    unittest.main()
