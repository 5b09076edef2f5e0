"""Export of the cover network: ONNX, the manifest that the kiosk trusts, and the goldens that test it.

Owns the cover network's files under `weights/`. It sees the crop of the landmarks' second pass, so the manifest repeats
how that is laid.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image

from . import covers, crop, network, onnx_file

GOLDEN_SEEDS = (1_000_003, 1_000_014, 1_000_019)
# ONNX Runtime may choose other kernels on another processor; a value may differ by this much.
TOLERANCE = 0.01


def export(run_folder: Path, weights: Path) -> None:
    """From a training run to the network's files under `weights`."""
    training = json.loads((run_folder / "cover.json").read_text())
    model = network.CoverNet()
    model.load_state_dict(torch.load(run_folder / "cover.pt", map_location="cpu", weights_only=True))
    path = weights / "cover96.onnx"
    example = torch.zeros(1, 3, network.INPUT_PX, network.INPUT_PX)
    onnx_file.write(network.ExportedCover(onnx_file.fold_batch_norm(model.eval())), example, ["cover", "glasses"], path)
    goldens = _write_goldens(onnx_file.session(path), weights / "goldens")
    manifest = {
        **onnx_file.manifest_head(path, crop.INPUT_PX, crop.MEAN, crop.STD, crop.FORMULA),
        "outputs": {"cover": {
            "shape": [1, network.HEATMAP_CELLS, network.HEATMAP_CELLS], "type": "float32",
            "unit": "probability that something that is no hair, beard or glasses stands before the face there",
        }, "glasses": {"shape": [1], "type": "float32", "unit": "probability that the face wears glasses"}},
        "refine": {
            "purpose": "the crop of the landmark network's second pass, laid by its points",
            "side_per_eyes_mouth_distance": crop.REFINE_SIDE, "centre_from_eyes": crop.REFINE_CENTRE,
        },
        "goldens": {"file": "goldens/cover96.json", "sha256": onnx_file.sha256(goldens)},
        "training": training,
    }
    (weights / "cover96.json").write_text(json.dumps(manifest, indent=1) + "\n")


def predict(run: onnxruntime.InferenceSession, crop_rgb: np.ndarray) -> tuple[np.ndarray, float]:
    """What is hidden in one 8-bit crop (probabilities, HEATMAP_CELLS square), and the probability of glasses."""
    cover, glasses = run.run(None, {"image": crop.normalise(crop_rgb)[None]})
    return cover[0], float(glasses[0])


def _write_goldens(run: onnxruntime.InferenceSession, folder: Path) -> Path:
    """Rendered crops as PNG, each with what this very network answers for it."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for seed in GOLDEN_SEEDS:
        scene = covers.covered_scene(seed)
        picture = crop.sample(scene["images"][..., :3], crop.crop_from_points(scene["points"]))
        name = f"cover-{seed}.png"
        Image.fromarray(picture).save(folder / name, optimize=True)
        cover, glasses = predict(run, picture)
        cases.append({"file": name, "sha256": onnx_file.sha256(folder / name), "seed": seed,
                      "cover": np.round(cover.astype(float), 4).reshape(-1).tolist(), "glasses": round(glasses, 4)})
    path = folder / "cover96.json"
    path.write_text(json.dumps({"schema": "storehub-goldens/1", "model": "cover96", "tolerance": TOLERANCE,
                                "crops": cases}) + "\n")
    return path
