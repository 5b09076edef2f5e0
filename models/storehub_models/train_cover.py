"""Training of the cover network: where does something stand before the face, and does it wear glasses?

Owns the loss and the judging. Crops and their augmentation are the landmark network's, so that the kiosk shows both networks
the same pixels. Seeds are fixed; with one thread and the same shards a run repeats itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from . import covers, network, scenes, training
from . import train_landmarks as crops


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides the scenes."""

    seed: int = 23
    steps: int = 3000
    batch: int = 64
    learning_rate: float = 2.5e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 150
    average_decay: float = 0.998
    glasses_weight: float = 0.15


# The landmarks of a covered face are off by more than those of a bare one.
CROPS = crops.Settings(negatives=0, shift_sd=0.06, shift_max=0.16, scale_sd=0.11, scale_max=0.3)


def batch_of(data: crops.SceneSet, rng, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures in [0, 1], the hidden share of each of the map's cells, and glasses as `covers.covered_scene` tells them."""
    images, points, boxes, glasses = data.batch(rng, size, ("images", "points", "boxes", "glasses"))
    sampled, _ = crops.make_crops(images, points, boxes, rng, CROPS)
    cell = sampled.shape[-1] // network.HEATMAP_CELLS
    return (crops.vary_light(sampled[:, :3], rng), functional.avg_pool2d(sampled[:, 3], cell),
            torch.from_numpy(glasses.astype(np.float32)))


def loss_of(hidden, glasses, wanted, worn, settings: Settings) -> torch.Tensor:
    """Cross-entropy of the cells, and of the glasses where they can be told."""
    known = (worn >= 0.0).float()
    each = functional.binary_cross_entropy_with_logits(glasses, worn.clamp(min=0.0), reduction="none")
    own = (each * known).sum() / known.sum().clamp(min=1.0)
    return functional.binary_cross_entropy_with_logits(hidden, wanted) + settings.glasses_weight * own


def train(scene_folder: Path, out: Path, settings: Settings, shards: int | None, log_every: int = 200) -> None:
    """Train and write `cover.pt` and `cover.json` into `out`; a run that ended with the same settings is kept."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    data = crops.SceneSet(scene_folder, shards, scenes.COVERED)
    if data.refresh() == 0:
        raise FileNotFoundError(f"no shard `{scenes.COVERED.path(scene_folder, 0)}`: render scenes first")
    if training.is_finished(out / "cover.json", settings, covers.VERSION, data.refresh()):
        return
    model = network.CoverNet().to(memory_format=torch.channels_last)
    started = time.monotonic()

    def loss_of_step(_step: int):
        picture, wanted, worn = batch_of(data, rng, settings.batch)
        # The convolutions run in bfloat16, which halves the time; the loss stays in float32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, glasses = model(crops.normalised(picture))
        loss = loss_of(hidden.float(), glasses.float(), wanted, worn, settings)
        return loss, loss.item()

    training.descend(model, settings, (settings.steps, settings.learning_rate), out / "cover.pt", loss_of_step, log_every)
    training.end(out / "cover.json", model, settings, started, renderer=covers.VERSION, scenes=data.refresh(),
                 samples_seen=settings.steps * settings.batch, threads=1)
