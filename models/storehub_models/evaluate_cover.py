"""Evaluation of the exported cover network: unseen renders with and without something before the face, and bare real faces.

Owns the figures of the cover network's card. Crops are laid by the landmark network, as in the kiosk. Nothing here chooses
anything.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.spatial import Delaunay

from . import covers, crop, evaluate, export_cover, network, onnx_file

FIRST_SEED, COUNT = 3_000_000, 400
# A face is covered when this share of it is hidden, and found to be when half of that is said to be.
COVERED_FROM = 0.15
FOUND_FROM = COVERED_FROM / 2


def cell_centres(square) -> np.ndarray:
    """Where the cells of the map lie in the picture, row by row."""
    axis = (np.arange(network.HEATMAP_CELLS) + 0.5) / network.HEATMAP_CELLS
    x, y = np.meshgrid(axis, axis)
    return crop.to_picture(np.stack([x.reshape(-1), y.reshape(-1)], axis=1), square)


def face_cells(points: np.ndarray, square) -> np.ndarray:
    """Which cells lie within the hull of the points, HEATMAP_CELLS square."""
    inside = Delaunay(points).find_simplex(cell_centres(square)) >= 0
    return inside.reshape(network.HEATMAP_CELLS, network.HEATMAP_CELLS)


def _seen(landmarks, run, image, box):
    points = evaluate.locate(landmarks, image, box, 2)
    square = crop.crop_from_points(points)
    said, glasses = export_cover.predict(run, crop.sample(image, square))
    return square, said, glasses, points


def _renders(landmarks, run) -> dict:
    rng = np.random.default_rng(8)
    shares, worn, both, either = [], [], 0, 0
    for seed in range(FIRST_SEED, FIRST_SEED + COUNT):
        scene = covers.covered_scene(seed)
        picture, (cx, cy, side) = scene["images"], scene["boxes"]
        box = evaluate.jittered((cx - side / 2, cy - side / 2, side, side), rng)
        square, said, glasses, _ = _seen(landmarks, run, picture[..., :3], box)
        hidden = crop.sample(picture[..., 3:].repeat(3, axis=2), square)[..., 0] / 255.0
        cell = crop.INPUT_PX // network.HEATMAP_CELLS
        hidden = hidden.reshape(network.HEATMAP_CELLS, cell, network.HEATMAP_CELLS, cell).mean(axis=(1, 3))
        face = face_cells(scene["points"], square)
        if not face.any():
            continue
        there, found = hidden[face] > 0.5, said[face] > 0.5
        both, either = both + int((there & found).sum()), either + int((there | found).sum())
        shares.append((float(there.mean()), float(found.mean())))
        if 0 <= scene["glasses"]:
            worn.append((bool(scene["glasses"]), glasses > 0.5))
    truth, told = np.array(shares).T
    covered, bare = truth >= COVERED_FROM, truth == 0.0
    return {"renderer": covers.VERSION, "scenes": len(shares), "cells_iou": round(both / max(either, 1), 3),
            "covered": int(covered.sum()), "covered_found": int((told[covered] >= FOUND_FROM).sum()),
            "bare": int(bare.sum()), "bare_called_covered": int((told[bare] >= FOUND_FROM).sum()),
            **_glasses(worn)}


def _glasses(worn: list[tuple[bool, bool]]) -> dict:
    """Pairs of whether glasses are worn and whether they are said to be."""
    return {"glasses": sum(there for there, _ in worn), "glasses_found": sum(there and said for there, said in worn),
            "without_glasses": sum(not there for there, _ in worn),
            "without_glasses_called_with": sum(said and not there for there, said in worn)}


def _real_faces(landmarks, run, folder: Path) -> dict:
    """Real faces with nothing before them: how many are called covered."""
    called = {}
    for name, boxes in (("faces_hd", lambda e: e["rustface_box"]),
                        ("faces_lr", lambda e: e["rustface"] and max(e["rustface"], key=lambda b: b[4])[:4])):
        shares, worn = [], []
        for entry in json.loads((folder / f"{name}.json").read_text()):
            if box := boxes(entry):
                square, said, glasses, points = _seen(landmarks, run, crop.load_rgb(folder / entry["file"]), box)
                shares.append(float((said[face_cells(points, square)] > 0.5).mean()))
                if "tags" in entry:
                    worn.append(("glasses" in entry["tags"], glasses > 0.5))
        called[name] = {"faces": len(shares), "called_covered": int((np.array(shares) >= FOUND_FROM).sum()),
                        "most": round(max(shares), 3), **(_glasses(worn) if worn else {})}
    return called


def measure(weights: Path) -> dict:
    """What there is to say of the network."""
    landmarks, run = (onnx_file.session(weights / name) for name in ("landmark96.onnx", "cover96.onnx"))
    report = {"renders": _renders(landmarks, run)}
    folder = evaluate.evaluation_folder()
    return report if folder is None else report | {"real_faces": _real_faces(landmarks, run, folder)}
