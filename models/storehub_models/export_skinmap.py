"""Export of the skin network: ONNX, the manifest that the kiosk trusts, and the goldens that test it.

Owns the skin network's files under `weights/`. The thresholds are chosen on renderer A's scenes of their own seeds,
never on renderer B's.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image

from . import onnx_file, scenes, skin_network, skin_optics, skin_scenes, train_skinmap

# Scenes that no training reads: far beyond the shards that it does.
THRESHOLD_SHARDS = range(4000, 4002)
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
GOLDEN_SEEDS = (2_000_003, 2_000_009)
# ONNX Runtime may choose other kernels on another processor; a value may differ by this much.
TOLERANCE = 0.01
# Every so many cells of the maps stand in the goldens.
GOLDEN_STEP = 16


def export(run_folder: Path, work: Path, weights: Path) -> None:
    """From a training run to the network's files under `weights`."""
    training = json.loads((run_folder / "skinmap.json").read_text())
    model = skin_network.SkinNet(training["settings"]["width"])
    model.load_state_dict(torch.load(run_folder / "skinmap.pt", map_location="cpu", weights_only=True))
    path = weights / "skinmap.onnx"
    example = torch.zeros(1, 3, skin_scenes.FRAME_PX, skin_scenes.FRAME_PX)
    onnx_file.write(skin_network.Exported(onnx_file.fold_batch_norm(model.eval())), example, ["maps"], path)
    run = onnx_file.session(path)
    goldens = _write_goldens(run, weights / "goldens")
    half = skin_scenes.FRAME_PX // 2
    manifest = {
        **onnx_file.manifest_head(path, skin_scenes.FRAME_PX, [0.0] * 3, [1.0] * 3, "value / 255, on sRGB-encoded values"),
        "outputs": {"maps": {
            "shape": [1, len(skin_network.OUTPUTS), half, half], "type": "float32",
            "channels": list(skin_network.OUTPUTS),
            "unit": "probabilities of skin, line and spot; shine as a share of the light",
        }},
        "frame": {
            "view_mm": skin_scenes.VIEW_MM, "centre_below_eyes_mm": skin_scenes.CENTRE_Y_MM,
            "upright": "the eyes lie on a row",
            "scale": "the geometric mean of eyes 62.6 mm apart and eyes to mouth 65 mm",
        },
        "pigments": {
            "blood": skin_optics.blood_weights().round(4).tolist(),
            "formula": "the logarithm of blood is the sum of blood x -ln(linear R, G, B), up to a constant of the face",
        },
        "thresholds": _thresholds(run, work),
        "goldens": {"file": "goldens/skinmap.json", "sha256": onnx_file.sha256(goldens)},
        "training": training,
    }
    (weights / "skinmap.json").write_text(json.dumps(manifest, indent=1) + "\n")


def answering(run: onnxruntime.InferenceSession):
    """The exported network as a function from a picture (H x W x 3, 8 bits) to its maps."""
    def answer(image: np.ndarray) -> np.ndarray:
        return run.run(None, {"image": image.astype(np.float32).transpose(2, 0, 1)[None] / 255.0})[0][0]

    return answer


def _thresholds(run: onnxruntime.InferenceSession, work: Path) -> dict[str, float]:
    """The probability from which a line and a spot overlap best with what is there."""
    for shard in THRESHOLD_SHARDS:
        scenes.SKIN.render(work / "scenes", shard)
    reports = {threshold: train_skinmap.judge(answering(run), scenes.SKIN, work / "scenes", THRESHOLD_SHARDS, threshold)
               for threshold in THRESHOLDS}
    best = {name: max(THRESHOLDS, key=lambda threshold: reports[threshold][name]["iou"]) for name in ("line", "spot")}
    return {"skin": 0.5, **best, "chosen_on": f"{reports[0.5]['scenes']} scenes of renderer {skin_scenes.VERSION}"}


def _write_goldens(run: onnxruntime.InferenceSession, folder: Path) -> Path:
    """Rendered frames as PNG with some of what this very network answers for them."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for seed in GOLDEN_SEEDS:
        scene = skin_scenes.render_skin(seed)
        name = f"skin-{seed}.png"
        Image.fromarray(scene.image).save(folder / name, optimize=True)
        maps = answering(run)(scene.image)[:, GOLDEN_STEP // 2::GOLDEN_STEP, GOLDEN_STEP // 2::GOLDEN_STEP]
        cases.append({"file": name, "sha256": onnx_file.sha256(folder / name), "seed": seed,
                      "maps": np.round(maps.astype(float), 4).reshape(len(skin_network.OUTPUTS), -1).tolist()})
    path = folder / "skinmap.json"
    path.write_text(json.dumps({"schema": "storehub-goldens/1", "model": "skinmap", "tolerance": TOLERANCE,
                                "first": GOLDEN_STEP // 2, "step": GOLDEN_STEP, "frames": cases}) + "\n")
    return path
