"""A large frontal portrait of a face that never existed: for demonstrations of the skin screen.

Owns the fine structure that only shows at a camera's resolution (pores, strands), the even light and
the framing; the person is the renderer's. No beard, no glasses, no expression, no camera faults. The
same seed gives the same picture with the same numpy and scipy.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from . import render

# Five pixels to the millimetre at 1080 px, which is what the skin gate wants to see.
VIEW_MM = 205.0
HEIGHT_OF_WIDTH = 1.2
DISTANCE_MM = 1500.0
CELL_MM = 0.25
# Edges of lids and irises at this share of the small renderer's softness.
EYE_EDGE = 0.3


def _fine_noise(rng, grain_mm: float) -> np.ndarray:
    field = gaussian_filter(rng.standard_normal(render.X.shape, dtype=np.float32), grain_mm / CELL_MM)
    return field / field.std()


def _person(seed: int):
    """The seed's person at rest."""
    rng = np.random.default_rng([7_927, seed])
    face = render._draw_face(rng)
    jaw_half = 0.81 * face.cheek_half
    outline = render._outline(face.skull_half, face.cheek_half, jaw_half, face.mouth_y + 2.0, 25.0, face.chin_y, 9.0,
                              face.crown_y)
    return rng, replace(
        face, outline=outline, jaw_half=jaw_half, jaw_y=face.mouth_y + 2.0, chin_half=25.0, smile=0.0, gap=0.0, age=0.0, lid_up=5.4, lid_low=3.9, corner_lift=0.4, mouth_half=25.0,
        brow_thick=float(np.clip(face.brow_thick, 3.0, 4.6)), lip_up=float(np.clip(face.lip_up, 5.0, 8.0)),
        lip_low=float(np.clip(face.lip_low, 6.5, 10.0)), brow_tilt=float(np.clip(face.brow_tilt, -0.05, 0.06)),
    )


def portrait(seed: int, width: int) -> Image.Image:
    """The portrait of one seed, `width` pixels wide."""
    with render.finer_grid(CELL_MM, EYE_EDGE):
        rng, face = _person(seed)
        z, t = render._head_height(face, rng)
        albedo, alpha, z, *_ = render._paint(face, z, t, rng, hair_style="short")
        # Thin cover, such as an ear's edge, hides the wall all the same.
        alpha = np.clip(3.0 * alpha, 0.0, 1.0)
        # Pores and the skin's own mottling, the same light or dark.
        pores = np.clip(_fine_noise(rng, 0.22), -2.5, 2.5) * 0.016 + np.clip(_fine_noise(rng, 0.9), -2.5, 2.5) * 0.014
        albedo = albedo * (1.0 + pores)[..., None]
        lights = [np.array([side * 0.5, -0.42, 0.75]) for side in (-1.0, 1.0)]
        lights = [light / np.linalg.norm(light) for light in lights]
        colours = [np.full(3, 0.55, np.float32)] * 2
        radiance, _ = render._shade(albedo, z, lights, colours, 0.22, 0.2, np.float32(0.02), rng)
        scene = _frame(radiance, alpha, z, width)
    linear = np.clip(scene, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Image.fromarray((encoded * 255.0 + 0.5).astype(np.uint8))


def _frame(radiance, alpha, z, width: int) -> np.ndarray:
    height = int(width * HEIGHT_OF_WIDTH)
    px_per_mm = width / VIEW_MM
    ray_x, ray_y = np.meshgrid(((np.arange(width) + 0.5 - width / 2) / px_per_mm).astype(np.float32),
                               ((np.arange(height) + 0.5 - height / 2) / px_per_mm + 4.0).astype(np.float32))

    def at(field, shrink):
        rows = (ray_y * shrink - render._Y[0]) / render.GRID_MM
        cols = (ray_x * shrink - render._X[0]) / render.GRID_MM
        return map_coordinates(field, [rows, cols], order=1, mode="nearest", prefilter=False)

    shrink = np.ones_like(ray_x)
    for _ in range(4):
        shrink = (DISTANCE_MM - at(z, shrink)) / DISTANCE_MM
    mask = at(alpha, shrink)[..., None]
    person = np.dstack([at(np.ascontiguousarray(radiance[..., channel]), shrink) for channel in range(3)])
    glow = np.exp(-0.5 * (np.hypot(ray_x, ray_y + 20.0) / 120.0) ** 2)[..., None]
    wall = np.array([0.30, 0.36, 0.34], np.float32) * (0.55 + 0.45 * glow)
    return person * mask + wall * (1.0 - mask)


def write(path: Path, seed: int, width: int) -> None:
    """Writes one portrait; the file's suffix says how."""
    portrait(seed, width).save(path, quality=92)
