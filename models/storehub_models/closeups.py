"""Faces rendered from so near that pores would show: what `bench skin` draws dots of a known number into.

Owns which faces these are: renderer A's, of seeds that neither training nor the reference has, on a finer grid and by a
camera without blur, for edges that are as sharp as the size promises.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from . import skin_scenes

FIRST_SEED = 7_000_000
FACES = 30
# Nine pixels to the millimetre; the analysis looks for pores from eight.
FRAME_PX, VIEW_MM = 1840, 200.0
GRID = (0.2, 0.2)
# Standard deviation, as a share of white.
NOISE = 0.003


def camera(radiance: np.ndarray, rng) -> np.ndarray:
    """From linear radiance to the 8-bit picture of a good camera: well exposed, sharp, with little noise."""
    exposed = radiance * (skin_scenes.EXPOSED_MEAN / max(float(radiance.mean()), 1e-3))
    exposed = exposed + NOISE * rng.standard_normal(exposed.shape, dtype=np.float32) * np.sqrt(np.clip(exposed, 0.0, 1.0) + 0.05)
    exposed = np.clip(exposed, 0.0, 1.0)
    encoded = np.where(exposed <= 0.0031308, 12.92 * exposed, 1.055 * exposed ** (1 / 2.4) - 0.055)
    return np.round(255.0 * encoded).astype(np.uint8)


def folder(work: Path) -> Path:
    """The folder of the pictures, rendered unless they are there already."""
    into = work / "closeups" / f"{skin_scenes.VERSION}-{FRAME_PX}-sharp"
    into.mkdir(parents=True, exist_ok=True)
    for index in range(FACES):
        path = into / f"{index:02d}.png"
        if not path.exists():
            partial = path.with_suffix(".partial")
            scene = skin_scenes.render_skin(FIRST_SEED + index, FRAME_PX, VIEW_MM, GRID, camera)
            Image.fromarray(scene.image).save(partial, format="PNG")
            partial.replace(path)
    return into
