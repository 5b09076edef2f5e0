"""Evaluation of the exported skin network on the renderer that no training sees: overall, by tone, and where it fails.

Owns the groups of tone and the figures of the skin network's card. Masks are counted by the rules of `train_skinmap` with
the thresholds of the manifest, which were chosen on the other renderer. Nothing here chooses anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import export_skinmap, onnx_file, renderer_b, scenes, skin_network, train_skinmap

MASKS = ("line", "spot")
# Individual typology angle from which on a group begins, in degrees (Chardon 1991, Del Bino 2006).
TONES = (("very light", 55.0), ("light", 41.0), ("intermediate", 28.0), ("tan", 10.0), ("brown", -30.0), ("dark", -90.0))
# Groups with fewer scenes say too little to be compared.
GROUP_MIN = 8
# How many of the worst scenes are named, and which share of the skin must be drawn on for a scene to be among them.
WORST = 4
DRAWN_SHARE_MIN = 0.002
BOOTSTRAP_REPEATS = 1000


@dataclass
class Judged:
    """One scene: its seed, its tone, and how well the network does on it."""

    seed: int
    ita_deg: float
    skin_iou: float
    # As `train_skinmap.matches` counts, for each of MASKS; and which share of the skin was drawn on and found.
    counts: dict[str, np.ndarray]
    drawn: dict[str, float]
    found: dict[str, float]
    shine: tuple[float, float]


def tone(ita_deg: float) -> str:
    """The group of a tone."""
    return next(name for name, least in TONES if least <= ita_deg)


def judge(answer, image: np.ndarray, maps: np.ndarray, thresholds: dict[str, float], seed: int, ita_deg: float) -> Judged:
    """How well `answer` (a picture to OUTPUTS at half the size) does on one scene."""
    truth = torch.from_numpy(maps.astype(np.float32)).permute(2, 0, 1)[None]
    wanted, told = (field[0].numpy() for field in train_skinmap.targets(truth))
    out = answer(image)
    skin, bare = wanted[0] > 0.5, thresholds["skin"] <= out[0]
    counts, drawn, found = {}, {}, {}
    for channel, name in enumerate(MASKS, start=1):
        there, said = wanted[channel] > 0.5, (thresholds[name] <= out[channel]) & bare
        # Maps have half the picture's size, and so has the tolerance, rounded down.
        counts[name] = train_skinmap.matches(
            said, there & skin, train_skinmap.TOLERANCE_PX // 2, told[channel - 1] > 0.5)
        drawn[name], found[name] = float(there[skin].mean()), float(said[bare].mean()) if bare.any() else 0.0
    shine = (float(out[3][skin].mean()), float(skin_network.SHINE_UNIT * wanted[3][skin].mean()))
    return Judged(seed, ita_deg, float((bare & skin).sum() / max((bare | skin).sum(), 1)), counts, drawn, found, shine)


def _interval(judged: list[Judged], figure) -> list[float]:
    rng = np.random.default_rng(11)
    drawn = [figure([judged[at] for at in rng.integers(len(judged), size=len(judged))]) for _ in range(BOOTSTRAP_REPEATS)]
    return [round(float(limit), 3) for limit in np.percentile(drawn, [2.5, 97.5])]


def _skin(judged: list[Judged]) -> float:
    return float(np.mean([scene.skin_iou for scene in judged]))


def _overlap(judged: list[Judged], name: str) -> dict[str, float]:
    return train_skinmap.overlap(np.sum([scene.counts[name] for scene in judged], axis=0))


def _shine_r(judged: list[Judged]) -> float:
    return float(np.corrcoef(np.array([scene.shine for scene in judged]).T)[0, 1])


def _figures(judged: list[Judged]) -> dict:
    figures = {"scenes": len(judged), "skin": {"iou": _skin(judged), "iou_ci95": _interval(judged, _skin)}}
    for name in MASKS:
        figures[name] = _overlap(judged, name) | {
            "iou_ci95": _interval(judged, lambda some, name=name: _overlap(some, name)["iou"]),
            "drawn_share_of_skin": float(np.mean([scene.drawn[name] for scene in judged]))}
    return _rounded(figures)


def _rounded(figures):
    if isinstance(figures, dict):
        return {name: _rounded(value) for name, value in figures.items()}
    return round(figures, 4) if isinstance(figures, float) else figures


def report(judged: list[Judged]) -> dict:
    """All figures of the card: overall, by tone, worst over best, and failures by seed."""
    figures = _figures(judged) | {"shine_r": round(_shine_r(judged), 3)}
    groups = {name: [scene for scene in judged if tone(scene.ita_deg) == name] for name, _ in TONES}
    figures["by_tone"] = {name: _figures(group) for name, group in groups.items() if group}
    compared = [group for group in figures["by_tone"].values() if GROUP_MIN <= group["scenes"]]
    figures["compared_from_scenes"] = GROUP_MIN
    figures["worst_over_best"] = {
        name: round(min(ious) / max(max(ious), 1e-9), 3)
        for name in ("skin", *MASKS) if len(ious := [group[name]["iou"] for group in compared]) > 1}
    figures["failures"] = {name: _failures(judged, name) for name in MASKS}
    return figures


def _failures(judged: list[Judged], name: str) -> dict:
    """The worst scenes by seed, and what is found where nothing was drawn at all."""
    drawn = [scene for scene in judged if DRAWN_SHARE_MIN <= scene.drawn[name]]
    worst = sorted(drawn, key=lambda scene: train_skinmap.overlap(scene.counts[name])["iou"])[:WORST]
    bare = [scene.found[name] for scene in judged if scene.drawn[name] == 0.0]
    return {
        "worst": [{"seed": scene.seed, "ita_deg": round(scene.ita_deg)} | _rounded(train_skinmap.overlap(scene.counts[name]))
                  for scene in worst],
        "scenes_without": len(bare),
        "found_share_of_skin_without": round(float(np.mean(bare)), 5) if bare else None,
        "found_share_of_skin_without_worst": round(max(bare), 5) if bare else None,
    }


def evaluate(weights: Path, folder: Path) -> dict:
    """The report on all scenes of the other renderer that are in `folder`; `skipped` with the reason where none is."""
    kind = scenes.SKIN_B
    thresholds = json.loads((weights / "skinmap.json").read_text())["thresholds"]
    answer, judged = export_skinmap.answering(onnx_file.session(weights / "skinmap.onnx")), []
    while kind.path(folder, len(judged) // kind.shard_scenes).exists():
        shard = scenes.load_shard(kind.path(folder, len(judged) // kind.shard_scenes))
        for image, maps in zip(shard["images"], shard["maps"]):
            seed = len(judged)
            judged.append(judge(answer, image, maps, thresholds, seed, renderer_b.ita_deg(seed)))
    if not judged:
        return {"skipped": f"no scenes `{kind.path(folder, 0).name}`: `python -m storehub_models render --scenes skin-b`"}
    return {"renderer": kind.name} | report(judged)
