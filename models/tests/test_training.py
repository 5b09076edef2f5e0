"""A training draws its batches, learns, and writes what the export needs; ended once, it is not run again."""

import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from storehub_models import scenes, train_cover, train_landmarks, train_skinmap

RUNS = {
    "LANDMARKS": (train_landmarks, train_landmarks.Settings(steps=3, batch=8), "weights.pt", "training.json"),
    "COVERED": (train_cover, train_cover.Settings(steps=3, batch=8), "cover.pt", "cover.json"),
    "SKIN": (train_skinmap, train_skinmap.Settings(steps=2, second_steps=1, batch=2), "skinmap.pt", "skinmap.json"),
}


class Training(unittest.TestCase):
    def test_every_network_learns_from_rendered_scenes_and_a_finished_run_is_kept(self):
        for name, (module, settings, weights, record) in RUNS.items():
            kind = replace(getattr(scenes, name), shard_scenes=2)
            with self.subTest(name), tempfile.TemporaryDirectory() as folder, mock.patch.object(scenes, name, kind):
                folder = Path(folder)
                kind.render(folder, 0)
                module.train(folder, folder, settings, 1)
                learnt = torch.load(folder / weights, weights_only=True)
                self.assertTrue(all(torch.isfinite(value).all() for value in learnt.values()))
                told = json.loads((folder / record).read_text())
                self.assertEqual((told["settings"]["steps"], told["scenes"]), (settings.steps, 2))
                written = (folder / weights).stat().st_mtime_ns
                module.train(folder, folder, settings, 1)
                self.assertEqual(written, (folder / weights).stat().st_mtime_ns)


if __name__ == "__main__":
    unittest.main()
