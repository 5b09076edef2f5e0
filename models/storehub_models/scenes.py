"""Rendered scenes on disk: a cache that can be thrown away and made again.

Owns the shard files of one renderer version and their order. A shard holds SHARD_SCENES scenes of
consecutive seeds; it is written under another name and then renamed, so a reader sees whole shards
only and may read while another process still renders.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from . import render

SHARD_SCENES = 500


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"scenes-{render.VERSION}-{shard:04d}.npz"


def render_shard(folder: Path, shard: int) -> None:
    """Render one shard unless it is there already."""
    path = shard_path(folder, shard)
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [render.render(seed) for seed in range(shard * SHARD_SCENES, (shard + 1) * SHARD_SCENES)]
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.savez(file, images=np.stack([s.image for s in scenes]), points=np.stack([s.points for s in scenes]),
                 boxes=np.stack([s.box for s in scenes]), melanin=np.array([s.melanin for s in scenes]))
    os.replace(partial, path)


def load_shard(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
