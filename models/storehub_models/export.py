"""Export of the landmark network: ONNX, the manifest that the kiosk trusts, and the goldens that test it.

Owns the landmarks' files under `weights/`. The manifest is the only place that the kiosk reads shapes, normalisation
and the crop convention from.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image

from . import crop, network, onnx_file, render

GOLDEN_SEEDS = (1_000_003, 1_000_011, 1_000_024, 1_000_030, 1_000_047, 1_000_052)
FACE_LIMIT_SEED, FACE_LIMIT_COUNT = 4_000_000, 150
# Heads that the mean one is of.
HEADS = 400
# What the network errs by on a point of an unseen render, about, in mm for eyes 62.6 mm apart (see the model card).
POINT_ERROR_MM = 2.5
# ONNX Runtime may choose other kernels on another processor; a point may move by this much.
TOLERANCE_CROP_FRACTION = 0.002


def load_network(weights: Path) -> network.CropNet:
    model = network.landmark_net()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


def write_onnx(model: torch.nn.Module, path: Path) -> None:
    example = torch.zeros(1, 3, network.INPUT_PX, network.INPUT_PX)
    onnx_file.write(network.Exported(onnx_file.fold_batch_norm(model)), example, ["points", "spread", "heatmaps"], path)


def predict(run: onnxruntime.InferenceSession, crop_rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (POINT_COUNT x 2, crop fractions) and spread (POINT_COUNT) of one 8-bit crop."""
    points, spread, _ = run.run(None, {"image": crop.normalise(crop_rgb)[None]})
    return points[0], spread[0]


def write_goldens(run: onnxruntime.InferenceSession, folder: Path) -> dict:
    """Rendered crops as PNG, each with the points that this very model gives for it."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for seed in GOLDEN_SEEDS:
        scene = render.render(seed)
        cx, cy, side = (float(v) for v in scene.box)
        square = crop.crop_from_box(cx - side / 2, cy - side / 2, side, side)
        picture = crop.sample(scene.image, square)
        name = f"face-{seed}.png"
        Image.fromarray(picture).save(folder / name, optimize=True)
        points, spread = predict(run, picture)
        truth = (scene.points - np.array(square[:2])) / square[2] + 0.5
        cases.append({
            "file": name, "sha256": onnx_file.sha256(folder / name), "seed": seed,
            "points": np.round(points.astype(float), 5).tolist(),
            "spread": np.round(spread.astype(float), 5).tolist(),
            "truth": np.round(truth.astype(float), 5).tolist(),
            "turn_deg": np.round(scene.turn_deg, 2).tolist(),
        })
    # One whole scene with a box tests the crop as well: sampling differs more than arithmetic does.
    scene = render.render(GOLDEN_SEEDS[0])
    cx, cy, side = (float(v) for v in scene.box)
    box = [round(cx - side / 2, 3), round(cy - side / 2, 3), round(side, 3), round(side, 3)]
    name = f"scene-{GOLDEN_SEEDS[0]}.png"
    Image.fromarray(scene.image).save(folder / name, optimize=True)
    square = crop.crop_from_box(*box)
    points, _ = predict(run, crop.sample(scene.image, square))
    in_scene = crop.to_picture(points, square)
    document = {
        "schema": "storehub-goldens/1", "model": "landmark96",
        "turn_unit": "yaw, pitch and roll in degrees: to the right of the picture, upwards, clockwise",
        "point_unit": "fraction of the crop's side for `crops`, scene pixels for `scenes`",
        "tolerance": {"points": TOLERANCE_CROP_FRACTION, "spread": TOLERANCE_CROP_FRACTION,
                      "scene_points_box_sides": 0.02},
        "crops": cases,
        "scenes": [{"file": name, "sha256": onnx_file.sha256(folder / name), "box": box,
                    "crop": [round(v, 4) for v in square],
                    "points": np.round(in_scene.astype(float), 3).tolist()}],
    }
    (folder / "goldens.json").write_text(json.dumps(document, indent=1) + "\n")
    return document


def face_limit(run: onnxruntime.InferenceSession) -> float:
    """The spread that separates faces from other things best, measured on renders of their own seeds."""
    rng = np.random.default_rng(FACE_LIMIT_SEED)
    faces, others = [], []
    for seed in range(FACE_LIMIT_SEED, FACE_LIMIT_SEED + FACE_LIMIT_COUNT):
        scene = render.render(seed)
        cx, cy, side = (float(v) for v in scene.box)
        square = crop.crop_from_box(cx - side / 2, cy - side / 2, side, side)
        faces.append(predict(run, crop.sample(scene.image, square))[1][:render.NAMED_COUNT].mean())
        angle = rng.uniform(0.0, 2.0 * np.pi)
        beside = (cx + 0.7 * side * np.cos(angle), cy + 0.7 * side * np.sin(angle), 0.5 * side)
        others.append(predict(run, crop.sample(scene.image, beside))[1][:render.NAMED_COUNT].mean())
    # Halfway, in ratio, between the worst faces and the most face-like other crops.
    return round(float(np.sqrt(np.percentile(faces, 99) * np.percentile(others, 2))), 4)


def mean_head() -> dict:
    """The mean of many heads of the renderer, and what each point is worth when the turn of a head is fitted.

    A point on which people and expressions differ, or which the network finds badly, says less about the turn.
    """
    heads = np.array([render.head_points(seed) for seed in range(HEADS)])
    mean = heads.mean(axis=0)
    mean = 0.5 * (mean + mean[render.MIRROR] * (-1.0, 1.0, 1.0))
    apart = heads - heads.mean(axis=1, keepdims=True) - (mean - mean.mean(axis=0))
    spread = (apart[..., :2] ** 2).sum(axis=2).mean(axis=0)
    weights = 1.0 / (0.5 * (spread + spread[render.MIRROR]) + POINT_ERROR_MM**2)
    return {
        "points_mm": mean.round(2).tolist(),
        "weights": (weights / weights.sum()).round(5).tolist(),
        "frame": "x to the right of the picture, y down, z out of the face, from the middle between the eyes",
        "origin": f"the mean of {HEADS} heads of renderer {render.VERSION}; weights are the inverse of how much heads differ "
                  f"at a point, with {POINT_ERROR_MM} mm of the network's own error",
    }


def write_manifest(onnx_path: Path, goldens: Path, training: dict, limit: float, path: Path) -> None:
    cells, count = network.HEATMAP_CELLS, render.POINT_COUNT
    manifest = {
        **onnx_file.manifest_head(onnx_path, crop.INPUT_PX, crop.MEAN, crop.STD, crop.FORMULA),
        "outputs": {
            "points": {"shape": [1, count, 2], "type": "float32",
                       "unit": "x, y as fractions of the crop's side from its top left corner; already decoded"},
            "spread": {"shape": [1, count], "type": "float32",
                       "unit": "root mean square radius of the heat map in crop sides; large means unsure"},
            "heatmaps": {"shape": [1, count, cells, cells], "type": "float32",
                         "unit": "probability of each cell, row by row; a map sums to 1"},
        },
        "points": list(render.POINT_NAMES),
        "named_points": render.NAMED_COUNT,
        "left_right": "as seen in the picture, not the person's own",
        "mirror": render.MIRROR.tolist(),
        "crop": {
            "detector": "rustface 0.1.7, SeetaFace frontal 1.0",
            "side_per_box_side": crop.BOX_SCALE,
            "shift_y_per_box_side": crop.BOX_SHIFT_Y,
            "centre_x": "x + width / 2",
            "centre_y": "y + height / 2 + shift_y_per_box_side * s",
            "side": "side_per_box_side * s, where s = (width + height) / 2",
            "box": "x, y is the top left corner; pixel centres are at integer + 0.5",
            "sampling": "box filter over floor(side / 96) x floor(side / 96) bilinear samples a pixel, at least one",
            "outside_picture": "the nearest edge pixel",
            "rotation": "none",
        },
        "refine": {
            "purpose": "a second pass whose crop is set by the first pass instead of the detector",
            "eyes_mouth_distance": "from the middle of the eyes to the middle of the mouth corners",
            "side_per_eyes_mouth_distance": crop.REFINE_SIDE,
            "centre_from_eyes": crop.REFINE_CENTRE,
            "centre": "middle of eyes + centre_from_eyes * (middle of mouth - middle of eyes)",
        },
        "face_check": {
            "statistic": "mean spread of the five named points in the first pass, in crop sides",
            "no_face_above": limit,
            "origin": "renders of faces and of what is beside them",
        },
        "head": mean_head(),
        "goldens": {"file": "goldens/goldens.json", "sha256": onnx_file.sha256(goldens)},
        "training": training,
    }
    path.write_text(json.dumps(manifest, indent=1) + "\n")


def export(run_folder: Path, weights: Path) -> None:
    """From a training run to everything under `weights`."""
    weights.mkdir(parents=True, exist_ok=True)
    onnx_path = weights / "landmark96.onnx"
    write_onnx(load_network(run_folder / "weights.pt"), onnx_path)
    run = onnx_file.session(onnx_path)
    write_goldens(run, weights / "goldens")
    training = json.loads((run_folder / "training.json").read_text())
    write_manifest(onnx_path, weights / "goldens" / "goldens.json", training, face_limit(run),
                   weights / "landmark96.json")
