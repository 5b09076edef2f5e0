"""The files under `weights` fit together and the graph gives its goldens."""

import json
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

from storehub_models import crop, export, onnx_file, render

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


class ExportedModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.manifest = json.loads((WEIGHTS / "landmark96.json").read_text())
        cls.goldens = json.loads((WEIGHTS / "goldens" / "goldens.json").read_text())
        cls.graph = onnx_file.session(WEIGHTS / cls.manifest["file"])

    def test_the_manifest_vouches_for_the_files(self):
        self.assertEqual(self.manifest["sha256"], onnx_file.sha256(WEIGHTS / self.manifest["file"]))
        self.assertEqual(self.manifest["goldens"]["sha256"], onnx_file.sha256(WEIGHTS / "goldens" / "goldens.json"))
        self.assertLess(self.manifest["bytes"], 2_000_000)
        for path in WEIGHTS.glob("*.onnx"):
            commit = json.loads(path.with_suffix(".json").read_text())["training"]["commit"]
            self.assertRegex(commit, "^[0-9a-f]{40}$", f"{path.name} was made by code that a commit holds")
        for case in self.goldens["crops"] + self.goldens["scenes"]:
            self.assertEqual(case["sha256"], onnx_file.sha256(WEIGHTS / "goldens" / case["file"]))

    def test_the_graph_has_the_shapes_of_the_manifest(self):
        (image,) = self.graph.get_inputs()
        self.assertEqual((image.name, image.shape), (self.manifest["input"]["name"], self.manifest["input"]["shape"]))
        shapes = {output.name: output.shape for output in self.graph.get_outputs()}
        self.assertEqual(shapes, {name: out["shape"] for name, out in self.manifest["outputs"].items()})
        self.assertEqual(self.manifest["points"], list(render.POINT_NAMES))

    def test_the_head_of_the_manifest_is_the_mean_one_and_the_same_on_both_sides(self):
        head, again = self.manifest["head"], export.mean_head()
        points, weights = np.array(head["points_mm"]), np.array(head["weights"])
        np.testing.assert_allclose(points, again["points_mm"], atol=0.02)
        np.testing.assert_allclose(weights, again["weights"], atol=2e-4)
        np.testing.assert_allclose(points[render.MIRROR] * (-1.0, 1.0, 1.0), points, atol=0.011)
        np.testing.assert_allclose(weights[render.MIRROR], weights, atol=2e-5)

    def test_the_graph_gives_the_goldens(self):
        limit = self.goldens["tolerance"]["points"]
        for case in self.goldens["crops"]:
            picture = crop.load_rgb(WEIGHTS / "goldens" / case["file"])
            points, spread = export.predict(self.graph, picture)
            self.assertLess(np.abs(points - np.array(case["points"])).max(), limit, case["file"])
            self.assertLess(np.abs(spread - np.array(case["spread"])).max(), self.goldens["tolerance"]["spread"])

    def test_the_crop_of_a_scene_leads_to_its_golden(self):
        for case in self.goldens["scenes"]:
            image = crop.load_rgb(WEIGHTS / "goldens" / case["file"])
            square = crop.crop_from_box(*case["box"])
            np.testing.assert_allclose(square, case["crop"], atol=1e-3)
            points = crop.to_picture(export.predict(self.graph, crop.sample(image, square))[0], square)
            limit = self.goldens["tolerance"]["scene_points_box_sides"] * case["box"][2]
            self.assertLess(np.abs(points - np.array(case["points"])).max(), limit)

    def test_the_named_points_of_the_goldens_are_near_the_truth(self):
        for case in self.goldens["crops"]:
            truth, points = np.array(case["truth"]), np.array(case["points"])
            iod = np.linalg.norm(truth[0] - truth[1])
            error = np.linalg.norm(points[:5] - truth[:5], axis=1).mean() / iod
            self.assertLess(error, 0.15, case["file"])

    def test_heat_maps_are_probabilities_whose_mean_is_the_point(self):
        picture = crop.load_rgb(WEIGHTS / "goldens" / self.goldens["crops"][0]["file"])
        points, _, maps = self.graph.run(None, {"image": crop.normalise(picture)[None]})
        np.testing.assert_allclose(maps.sum(axis=(2, 3)), 1.0, atol=1e-4)
        axis = (np.arange(24) + 0.5) / 24
        np.testing.assert_allclose((maps.sum(axis=2) * axis).sum(axis=2), points[..., 0], atol=1e-4)
        self.assertEqual(picture.shape, (96, 96, 3))

    def test_the_face_check_tells_faces_from_noise_and_from_flat_colour(self):
        limit = self.manifest["face_check"]["no_face_above"]
        noise = np.random.default_rng(1).integers(0, 256, (96, 96, 3)).astype(np.uint8)
        for other in (noise, np.full((96, 96, 3), 130, np.uint8)):
            self.assertGreater(export.predict(self.graph, other)[1][:5].mean(), limit)
        for case in self.goldens["crops"]:
            picture = crop.load_rgb(WEIGHTS / "goldens" / case["file"])
            self.assertLess(export.predict(self.graph, picture)[1][:5].mean(), limit)


if __name__ == "__main__":
    unittest.main()
