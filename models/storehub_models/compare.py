"""Line and spot masks beside classical ones, on scenes of the renderer that no training sees.

Owns the classical baselines: ridges by the eigenvalues of the Hessian (Frangi 1998) for lines, and blobs by the Laplacian
of a Gaussian on a melanin map for spots. All contenders are counted by the rules of `train_skinmap`. A baseline has no
threshold and no idea of skin of its own; it gets the threshold that suits it best on these very scenes and the true
skin, which flatters it. The network has its manifest's thresholds and finds the skin by itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, gaussian_laplace

from . import scenes, train_skinmap

# Widths of lines and radii of spots that are looked for, in pixels of the picture.
LINE_SIGMAS_PX = (1.0, 1.5, 2.2)
SPOT_SIGMAS_PX = (2.0, 3.0, 4.5)
# Frangi's beta: how long a ridge must be against its width.
RIDGE_BETA = 0.5
# Shares of the skin that a baseline may call a line or a spot; the best one is taken.
SHARES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
SCENES_MAX = 100
BOOTSTRAP_REPEATS = 1000
NETWORK_FILE, MANIFEST_FILE = "skinmap.onnx", "skinmap.json"
# Places in the answer of the network and of `train_skinmap.targets`.
CHANNELS = {"line": 1, "spot": 2}


def ridges(image: np.ndarray) -> np.ndarray:
    """How much each pixel looks like part of a dark line."""
    luma = np.log(image.astype(np.float64) @ (0.299, 0.587, 0.114) + 8.0)
    best = np.zeros(luma.shape)
    for sigma in LINE_SIGMAS_PX:
        rows, cols, cross = (sigma**2 * gaussian_filter(luma, sigma, order) for order in ((2, 0), (0, 2), (1, 1)))
        half, turn = (rows + cols) / 2, np.hypot((rows - cols) / 2, cross)
        small, large = np.where(half >= 0, half - turn, half + turn), np.where(half >= 0, half + turn, half - turn)
        blob = small**2 / np.maximum(large**2, 1e-12)
        best = np.maximum(best, np.where(large > 0, large * np.exp(-blob / (2 * RIDGE_BETA**2)), 0.0))
    return best


def blobs(image: np.ndarray) -> np.ndarray:
    """How much each pixel looks like part of a spot with more melanin than its surroundings."""
    light = np.maximum((image / 255.0) ** 2.2, 1e-3)
    # Melanin takes more red light than blood does, which takes green and blue (Takiwaki 1998).
    melanin = -np.log(light[..., 0])
    return np.max([sigma**2 * -gaussian_laplace(melanin, sigma) for sigma in SPOT_SIGMAS_PX], axis=0)


BASELINES = {"line": ("Frangi's ridges", ridges), "spot": ("Laplacian of a Gaussian on melanin", blobs)}


def halved(field: np.ndarray) -> np.ndarray:
    """The strongest of each four, at the size of the truth."""
    rows, cols = field.shape
    return field.reshape(rows // 2, 2, cols // 2, 2).max(axis=(1, 3))


def network(weights: Path):
    """The network of the kiosk as a function from a picture to its maps; `None` where there is none."""
    path = weights / NETWORK_FILE
    if not path.exists():
        return None
    from . import export_skinmap, onnx_file

    return export_skinmap.answering(onnx_file.session(path))


def thresholds(weights: Path) -> dict[str, float]:
    """From which probability on the kiosk calls something skin, a line, a spot."""
    return json.loads((weights / MANIFEST_FILE).read_text())["thresholds"]


def figures(counts: np.ndarray) -> dict:
    """Overlap of summed counts (scenes x 4), with the interval of its IoU by bootstrap over scenes."""
    rng = np.random.default_rng(11)
    drawn = [train_skinmap.overlap(counts[rng.integers(len(counts), size=len(counts))].sum(axis=0))["iou"]
             for _ in range(BOOTSTRAP_REPEATS)]
    result = train_skinmap.overlap(counts.sum(axis=0))
    result["iou_ci"] = list(np.percentile(drawn, [2.5, 97.5]))
    return {name: np.round(value, 4).tolist() for name, value in result.items()}


@dataclass
class Scene:
    """What the contenders say of one scene, and the truth: masks and fields at half the picture's size."""

    wanted: np.ndarray
    told: np.ndarray
    strengths: dict[str, np.ndarray]
    answer: np.ndarray | None

    def counts(self, name: str, found: np.ndarray) -> np.ndarray:
        channel, skin = CHANNELS[name], self.wanted[0]
        return train_skinmap.matches(found, self.wanted[channel] & skin, train_skinmap.TOLERANCE_PX // 2,
                                     self.told[channel - 1])


def seen(folder: Path, answer) -> list[Scene]:
    """The first SCENES_MAX scenes that are there, with everybody's answer."""
    kind, found = scenes.SKIN_B, []
    while len(found) < SCENES_MAX and kind.path(folder, len(found) // kind.shard_scenes).exists():
        shard = scenes.load_shard(kind.path(folder, len(found) // kind.shard_scenes))
        for image, maps in zip(shard["images"], shard["maps"]):
            truth = torch.from_numpy(maps.astype(np.float32)).permute(2, 0, 1)[None]
            wanted, told = (field[0].numpy() > 0.5 for field in train_skinmap.targets(truth))
            strengths = {name: halved(strength(image)) for name, (_, strength) in BASELINES.items()}
            found.append(Scene(wanted, told, strengths, None if answer is None else answer(image)))
    return found


def masks(folder: Path, weights: Path) -> dict:
    """Every contender on renderer B's scenes."""
    kind, answer = scenes.SKIN_B, network(weights)
    found = seen(folder, answer)
    if not found:
        return {"skipped": f"no scenes `{kind.path(folder, 0).name}`: `python -m storehub_models render --scenes skin-b`"}
    report: dict = {"renderer": kind.name, "scenes": len(found), "has_network": answer is not None}
    for name, channel in CHANNELS.items():
        on_skin = np.concatenate([scene.strengths[name][scene.wanted[0]] for scene in found])
        by_limit = [np.array([scene.counts(name, (scene.strengths[name] > limit) & scene.wanted[0]) for scene in found])
                    for limit in np.quantile(on_skin, 1.0 - np.array(SHARES))]
        best = max(range(len(SHARES)), key=lambda at: train_skinmap.overlap(by_limit[at].sum(axis=0))["iou"])
        report[name] = {"drawn_share_of_skin": round(float(np.mean([s.wanted[channel][s.wanted[0]].mean() for s in found])), 5),
                        "baseline": {"name": BASELINES[name][0], "share_of_skin": SHARES[best], **figures(by_limit[best])}}
        if answer is not None:
            # The network finds the skin by itself; the baseline was told where it is.
            least = thresholds(weights)
            said = [scene.counts(name, (scene.answer[channel] >= least[name]) & (scene.answer[0] >= least["skin"]))
                    for scene in found]
            report[name]["network"] = figures(np.array(said))
    return report


def compare(folder: Path, weights: Path) -> None:
    """Prints one JSON document."""
    print(json.dumps(masks(folder, weights), indent=1))
