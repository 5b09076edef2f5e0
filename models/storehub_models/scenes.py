"""Rendered scenes on disk: a cache that can be thrown away and made again.

Owns the shard files of each renderer's version and their order. A shard holds the scenes of consecutive seeds; it is
written under another name and then renamed, so a reader sees whole shards only and may read while another process
still renders.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import covers, render, renderer_b, skin_scenes


@dataclass(frozen=True)
class Kind:
    """Scenes of one renderer: how their shards are called, how many stand in one, and what one seed gives."""

    name: str
    shard_scenes: int
    draw: Callable[[int], dict[str, np.ndarray]]

    def path(self, folder: Path, shard: int) -> Path:
        """The file of a shard."""
        return folder / f"{self.name}-{shard:04d}.npz"

    def render(self, folder: Path, shard: int) -> None:
        """Renders one shard unless it is there already."""
        path = self.path(folder, shard)
        if path.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        scenes = [self.draw(seed) for seed in range(shard * self.shard_scenes, (shard + 1) * self.shard_scenes)]
        partial = path.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.savez(file, **{name: np.stack([scene[name] for scene in scenes]) for name in scenes[0]})
        os.replace(partial, path)


def _landmarks(seed: int) -> dict[str, np.ndarray]:
    scene = render.render(seed)
    return {"images": scene.image, "points": scene.points, "boxes": scene.box, "melanin": np.array(scene.melanin)}


def _skin(draw) -> Callable[[int], dict[str, np.ndarray]]:
    def scene_of(seed: int) -> dict[str, np.ndarray]:
        scene = draw(seed)
        return {"images": scene.image, "maps": halved(scene.maps), "melanin": np.array(scene.melanin)}

    return scene_of


def halved(maps: np.ndarray) -> np.ndarray:
    """Maps at half the size, each the mean of four: what a skin network answers with."""
    rows, cols, layers = maps.shape
    return maps.astype(np.float32).reshape(rows // 2, 2, cols // 2, 2, layers).mean(axis=(1, 3)).astype(np.float16)


LANDMARKS = Kind(f"scenes-{render.VERSION}", 500, _landmarks)
COVERED = Kind(f"scenes-{covers.VERSION}", 500, covers.covered_scene)
SKIN = Kind(skin_scenes.VERSION, 25, _skin(skin_scenes.render_skin))
SKIN_B = Kind(f"skin-{renderer_b.VERSION}", 25, _skin(renderer_b.render_b))


def load_shard(path: Path) -> dict[str, np.ndarray]:
    """Everything that stands in a shard."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
