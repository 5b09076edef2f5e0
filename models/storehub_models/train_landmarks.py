"""Training of the landmark network on rendered scenes alone.

Owns the augmentation of a crop (jitter of the detector's box, roll, mirror, light, noise), the loss
and the schedule. Seeds are fixed; with one thread and the same shards a run repeats itself, while a
run that reads shards as they are rendered depends on when they arrive (the manifest says which).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from . import crop, network, render, scenes, training


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides the scenes."""

    seed: int = 17
    steps: int = 2600
    batch: int = 64
    learning_rate: float = 2.5e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 150
    average_decay: float = 0.998
    # Spread of the detector's box around the convention, in box sides, clipped at the limit.
    shift_sd: float = 0.045
    shift_max: float = 0.12
    scale_sd: float = 0.085
    scale_max: float = 0.22
    roll_deg_sd: float = 7.0
    roll_deg_max: float = 20.0
    target_sigma_cells: float = 0.9
    coordinate_weight: float = 12.0
    named_weight: float = 2.0
    # Crops without a face in each batch: their heat maps shall be flat, so that `spread` tells.
    negatives: int = 6
    negative_weight: float = 0.15


class SceneSet:
    """All shards that are there so far, in memory."""

    def __init__(self, folder: Path, limit: int | None, kind: scenes.Kind) -> None:
        self.folder, self.limit, self.kind = folder, limit, kind
        self.loaded: list[dict[str, np.ndarray]] = []

    def refresh(self) -> int:
        """Load shards that have arrived since; returns the number of scenes."""
        while self.limit is None or len(self.loaded) < self.limit:
            path = self.kind.path(self.folder, len(self.loaded))
            if not path.exists():
                break
            self.loaded.append(scenes.load_shard(path))
        return len(self.loaded) * self.kind.shard_scenes

    def batch(self, rng: np.random.Generator, size: int, names=("images", "points", "boxes")):
        index = rng.integers(len(self.loaded) * self.kind.shard_scenes, size=size)
        shard, row = np.divmod(index, self.kind.shard_scenes)
        return tuple(np.stack([self.loaded[s][name][r] for s, r in zip(shard, row)])
                     for name in names)


def _clipped(rng, deviation: float, limit: float, size) -> np.ndarray:
    return np.clip(rng.standard_normal(size) * deviation, -limit, limit)


def make_crops(images, points, boxes, rng, settings: Settings):
    """Jittered, rolled and mirrored crops: pictures in [0, 1], N x 3 x 96 x 96, and points as fractions.

    A fourth channel of the pictures goes along.

    The first `settings.negatives` rows show no whole face: a third of them look beside the face,
    where hair, cloth and walls are, a third at a bare backdrop, and a third show shuffled tiles.
    """
    count, third = len(images), settings.negatives // 3
    beside = np.arange(count) < third
    bare, shuffled = range(third, 2 * third), range(2 * third, settings.negatives)
    side = boxes[:, 2]
    centre = boxes[:, :2] + side[:, None] * (
        np.array([0.0, crop.BOX_SHIFT_Y]) + _clipped(rng, settings.shift_sd, settings.shift_max, (count, 2)))
    crop_side = crop.BOX_SCALE * side * np.exp(_clipped(rng, settings.scale_sd, settings.scale_max, count))
    away = rng.uniform(0.0, 2.0 * np.pi, count)
    away = np.stack([np.cos(away), np.sin(away)], 1) * (side * rng.uniform(0.62, 0.85, count))[:, None]
    centre = np.where(beside[:, None], boxes[:, :2] + away, centre)
    crop_side = np.where(beside, side * rng.uniform(0.3, 0.6, count), crop_side)
    roll = np.radians(_clipped(rng, settings.roll_deg_sd, settings.roll_deg_max, count))
    mirror = rng.random(count) < 0.5

    cos, sin = np.cos(roll), np.sin(roll)
    scene_from_crop = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    fractions = np.einsum("nij,npi->npj", scene_from_crop, points - centre[:, None, :])
    fractions = fractions / crop_side[:, None, None] + 0.5

    # grid_sample wants scene coordinates in [-1, 1] for crop coordinates in [-1, 1].
    flip = np.where(mirror, -1.0, 1.0)
    theta = np.empty((count, 2, 3))
    ratio = crop_side / render.SCENE_PX
    theta[:, :, 0] = scene_from_crop[:, :, 0] * (ratio * flip)[:, None]
    theta[:, :, 1] = scene_from_crop[:, :, 1] * ratio[:, None]
    theta[:, :, 2] = centre * (2.0 / render.SCENE_PX) - 1.0
    fractions[mirror] = fractions[mirror][:, render.MIRROR]
    fractions[mirror, :, 0] = 1.0 - fractions[mirror, :, 0]

    picture = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255.0)
    grid = functional.affine_grid(torch.from_numpy(theta).float(), (count, 3, crop.INPUT_PX, crop.INPUT_PX),
                                  align_corners=False)
    sampled = functional.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
    for row in bare:
        backdrop = np.clip(render.backdrop(rng, crop.INPUT_PX), 0.0, 1.0) ** 0.45
        sampled[row] = torch.from_numpy(backdrop).permute(2, 0, 1).float()
    for row in shuffled:
        tiles = sampled[row].reshape(3, 4, 24, 4, 24).permute(1, 3, 0, 2, 4).reshape(16, 3, 24, 24)
        tiles = tiles[torch.from_numpy(rng.permutation(16))].reshape(4, 4, 3, 24, 24)
        sampled[row] = tiles.permute(2, 0, 3, 1, 4).reshape(3, 96, 96)
    return sampled, torch.from_numpy(fractions).float()


def vary_light(picture: torch.Tensor, rng) -> torch.Tensor:
    """Exposure, contrast, tint and fine noise, all per picture."""
    count = picture.shape[0]

    def column(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, 1, 1, 1))).float()

    tint = torch.from_numpy(rng.uniform(0.9, 1.1, (count, 3, 1, 1))).float()
    picture = picture.clamp(1e-4, 1.0) ** column(0.75, 1.35) * column(0.75, 1.3) * tint
    middle = picture.mean(dim=(1, 2, 3), keepdim=True)
    picture = middle + (picture - middle) * column(0.7, 1.25)
    noise = torch.from_numpy(rng.standard_normal(picture.shape, dtype=np.float32))
    return (picture + noise * column(0.0, 0.03)).clamp(0.0, 1.0)


def cover_boxes(picture: torch.Tensor, rng) -> torch.Tensor:
    """A rectangle of one colour in some pictures."""
    for index in np.flatnonzero(rng.random(picture.shape[0]) < 0.15):
        x, y = rng.integers(0, 80, 2)
        w, h = rng.integers(6, 36, 2)
        picture[index, :, y:y + h, x:x + w] = torch.from_numpy(rng.random((3, 1, 1))).float()
    return picture


def normalised(picture: torch.Tensor) -> torch.Tensor:
    mean = torch.tensor(crop.MEAN).view(1, 3, 1, 1)
    std = torch.tensor(crop.STD).view(1, 3, 1, 1)
    return ((picture - mean) / std).contiguous(memory_format=torch.channels_last)


def loss_of(logits, target, centres, settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy against a Gaussian plus distance of the mean; points outside the crop do not count."""
    weight = torch.ones(render.POINT_COUNT)
    weight[:render.NAMED_COUNT] = settings.named_weight
    inside = ((target > 0.01) & (target < 0.99)).all(dim=2).float() * weight
    inside[:settings.negatives] = 0.0
    sigma = settings.target_sigma_cells / network.HEATMAP_CELLS
    axis = centres.view(network.HEATMAP_CELLS, network.HEATMAP_CELLS, 2)[0, :, 0]
    gx = torch.exp(-0.5 * ((axis - target[..., 0:1]) / sigma) ** 2)
    gy = torch.exp(-0.5 * ((axis - target[..., 1:2]) / sigma) ** 2)
    gaussian = (gy[..., :, None] * gx[..., None, :]).flatten(2)
    gaussian = gaussian / gaussian.sum(dim=2, keepdim=True).clamp(min=1e-6)
    log_p = torch.log_softmax(logits.flatten(2), dim=2)
    entropy = -(gaussian * log_p).sum(dim=2)
    points = log_p.exp() @ centres
    distance = torch.sqrt(((points - target) ** 2).sum(dim=2) + 1e-8)
    per_point = entropy + settings.coordinate_weight * distance
    # Cross-entropy against an even map, above its own minimum.
    uneven = -log_p[:settings.negatives].mean() - math.log(network.HEATMAP_CELLS**2)
    error = distance[settings.negatives:, :render.NAMED_COUNT].mean()
    return (per_point * inside).sum() / inside.sum() + settings.negative_weight * uneven, error.detach()


def train(scene_folder: Path, out: Path, settings: Settings, shards: int | None, log_every: int = 200) -> None:
    """Train and write `weights.pt` and `training.json` into `out`; a run that ended with the same settings is kept."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    data = SceneSet(scene_folder, shards, scenes.LANDMARKS)
    if data.refresh() == 0:
        raise FileNotFoundError(f"no shard `{scenes.LANDMARKS.path(scene_folder, 0)}`: render scenes first")
    if training.is_finished(out / "training.json", settings, render.VERSION, data.refresh()):
        return
    model = network.landmark_net().to(memory_format=torch.channels_last)
    centres = network.cell_centres()
    started = time.monotonic()

    def loss_of_step(step: int):
        if step % 100 == 0:
            data.refresh()
        images, points, boxes = data.batch(rng, settings.batch)
        picture, target = make_crops(images, points, boxes, rng, settings)
        # The convolutions run in bfloat16, which halves the time; decoding and loss stay in float32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(normalised(cover_boxes(vary_light(picture, rng), rng)))
        loss, error = loss_of(logits.float(), target, centres, settings)
        return loss, error * crop.INPUT_PX

    training.descend(model, settings, (settings.steps, settings.learning_rate), out / "weights.pt", loss_of_step, log_every)
    training.end(out / "training.json", model, settings, started, renderer=render.VERSION, scenes=data.refresh(),
                 samples_seen=settings.steps * settings.batch, shards_fixed=shards is not None, threads=1)
