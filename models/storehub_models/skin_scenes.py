"""Faces with the truth of their skin: a seed in, a picture and its maps out, in the frame that `skinmap` sees.

Owns the frame and which maps there are. The person, the light and the camera are the renderer's (`render`), the fine
structure is `mesostructure`'s. The same seed gives the same picture with the same numpy and scipy.

The frame is square and shows VIEW_MM around the middle of the face, as landmarks would lay it, with the errors that
landmarks have. Maps are of the picture's size: `skin` is 1 where bare skin of the face is seen; `lines` is the depth
in mm, `spots` and `redness` the added logarithm of melanin and of blood, `shine` the share of the light that is
mirrored. Outside bare skin all of them are nought.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from . import mesostructure, render

VERSION = "skin-A-1.1"
FRAME_PX = 512
VIEW_MM = 176.0
# Below the pupils, where the frame has its middle.
CENTRE_Y_MM = 18.0
CELL_MM = 0.3
EYE_EDGE = 0.35
MAPS = ("skin", "lines", "spots", "redness", "shine")


@dataclass
class SkinScene:
    """A picture (FRAME_PX square, RGB of 8 bits) and its maps (the same size, in the order of MAPS)."""

    image: np.ndarray
    maps: np.ndarray
    melanin: float


def render_skin(seed: int) -> SkinScene:
    """The scene of one seed."""
    rng = np.random.default_rng([7_933, seed])
    with render.finer_grid(CELL_MM, EYE_EDGE):
        face = render._draw_face(rng)
        fine = mesostructure.draw(face, rng)
        z, t = render._head_height(face, rng)
        albedo, alpha, z, covered = render._paint(face, z, t, rng, fine=fine)
        bare = 1.0 - covered
        z = z + fine.height * bare
        # A valley of the skin sees less of the sky.
        hollow = np.clip((gaussian_filter(fine.height, 1.2 / CELL_MM) - fine.height) / 0.5, 0.0, 1.0)
        albedo = albedo * (1.0 - 0.45 * hollow * bare)[..., None]
        yaw, pitch, roll = np.radians([np.clip(rng.normal(0.0, 7.0), -18, 18), np.clip(rng.normal(0.0, 5.0), -12, 12),
                                       rng.normal(0.0, 2.5)])
        camera_from_head = render._rotation(yaw, pitch, roll)
        radiance, mirrored = _light(albedo, z, fine.gloss * bare, camera_from_head, rng)
        return _photograph(face, radiance, mirrored, alpha, z, fine, bare, camera_from_head, rng)


def _light(albedo, z, gloss, camera_from_head, rng):
    """Radiance, and the part of it that the surface mirrors."""
    directions, colours = render.lamps(camera_from_head, rng)
    ambient, sky = rng.uniform(0.15, 0.8), rng.uniform(-0.1, 0.5)
    # Lit twice with the same lamps and the same width of highlights; the difference is what is mirrored.
    exponents = rng.bit_generator.state
    full = render._shade(albedo, z, directions, colours, ambient, sky, gloss, rng)
    rng.bit_generator.state = exponents
    diffuse = render._shade(albedo, z, directions, colours, ambient, sky, np.float32(0.0), rng)
    return full, np.clip((full - diffuse).mean(axis=2), 0.0, None)


def _photograph(face, radiance, mirrored, alpha, z, fine, bare, camera_from_head, rng) -> SkinScene:
    distance = float(np.exp(rng.uniform(np.log(420.0), np.log(1800.0))))
    eye = render.Eye(z, camera_from_head, distance)
    centre = eye.project(np.array([[0.0, CENTRE_Y_MM, -8.0]]))[0] + rng.normal(0.0, 3.0, 2)
    view = VIEW_MM * float(np.exp(rng.normal(0.0, 0.06)))
    step = (np.arange(FRAME_PX) + 0.5 - FRAME_PX / 2) * (view / FRAME_PX)
    ray_x, ray_y = np.meshgrid((step + centre[0]).astype(np.float32), (step + centre[1]).astype(np.float32))
    layers = np.dstack([radiance, alpha, mirrored, bare, fine.lines, fine.spots, fine.redness]).astype(np.float32)
    seen = eye.look(ray_x, ray_y, layers)
    mask = seen[..., 3:4]
    # What stands behind is out of focus, so a quarter of the size says as much.
    backdrop = zoom(render.backdrop(rng, FRAME_PX // 4), (4, 4, 1), order=1)
    scene = seen[..., :3] * mask + (1.0 - mask) * backdrop
    skin = seen[..., 5] * mask[..., 0]
    is_skin = skin.astype(np.float16) > 0.5
    light = np.maximum(seen[..., :3].mean(axis=2), 1e-3)
    maps = np.dstack([skin, *(np.where(is_skin, seen[..., layer], 0.0) for layer in (6, 7, 8)),
                      np.where(is_skin, np.clip(seen[..., 4] / light, 0.0, 1.0), 0.0)])
    return SkinScene(render._camera(scene.astype(np.float32), rng), maps.astype(np.float16), face.melanin)
