"""What stands before a face is drawn with its truth, and the exported graph gives its goldens."""

import json
import unittest
from pathlib import Path

import numpy as np

from storehub_models import covers, crop, export_cover, network, onnx_file, render

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


class Covers(unittest.TestCase):
    def test_a_seed_gives_one_picture_and_its_truth(self):
        one, again = covers.covered_scene(5), covers.covered_scene(5)
        for name in one:
            np.testing.assert_array_equal(one[name], again[name], name)
        self.assertEqual(one["images"].shape, (render.SCENE_PX, render.SCENE_PX, 4))

    def test_some_faces_are_bare_and_most_are_covered(self):
        scene, points = np.full((render.SCENE_PX, render.SCENE_PX, 3), 0.3), render.render(7).points
        drawn = [covers.cover(scene, points, np.random.default_rng(seed)) for seed in range(100)]
        for covered, hidden in drawn:
            self.assertEqual(covered.shape, scene.shape)
            self.assertTrue(np.isfinite(covered).all() and covered.min() >= 0.0)
            self.assertTrue(hidden.min() >= 0.0 and hidden.max() <= 1.0)
        bare = sum(hidden.max() == 0.0 for _, hidden in drawn)
        self.assertTrue(15 <= bare <= 45, bare)

    def test_the_people_are_those_of_the_bare_scenes(self):
        np.testing.assert_array_equal(covers.covered_scene(7)["points"], render.render(7).points)


class ExportedModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.manifest = json.loads((WEIGHTS / "cover96.json").read_text())
        cls.goldens = json.loads((WEIGHTS / "goldens" / "cover96.json").read_text())
        cls.graph = onnx_file.session(WEIGHTS / cls.manifest["file"])

    def test_the_manifest_vouches_for_the_files(self):
        self.assertEqual(self.manifest["sha256"], onnx_file.sha256(WEIGHTS / self.manifest["file"]))
        self.assertEqual(self.manifest["goldens"]["sha256"], onnx_file.sha256(WEIGHTS / "goldens" / "cover96.json"))
        for case in self.goldens["crops"]:
            self.assertEqual(case["sha256"], onnx_file.sha256(WEIGHTS / "goldens" / case["file"]))

    def test_the_graph_has_the_shapes_of_the_manifest_and_gives_the_goldens(self):
        shapes = {output.name: output.shape for output in self.graph.get_outputs()}
        self.assertEqual(shapes, {name: out["shape"] for name, out in self.manifest["outputs"].items()})
        for case in self.goldens["crops"]:
            said, glasses = export_cover.predict(self.graph, crop.load_rgb(WEIGHTS / "goldens" / case["file"]))
            self.assertEqual(said.shape, (network.HEATMAP_CELLS, network.HEATMAP_CELLS))
            self.assertLess(np.abs(said.reshape(-1) - case["cover"]).max(), self.goldens["tolerance"], case["file"])
            self.assertAlmostEqual(glasses, case["glasses"], delta=self.goldens["tolerance"], msg=case["file"])


if __name__ == "__main__":
    unittest.main()
