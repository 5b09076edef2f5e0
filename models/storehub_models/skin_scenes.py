"""Faces with the truth of their skin: a seed in, a picture and its maps out, in the frame that `skinmap` sees.

Owns the frame and which maps there are. The person, the light and the camera are the renderer's (`render`), the fine
structure is `mesostructure`'s. The same seed gives the same picture with the same numpy and scipy.

The frame is square and shows VIEW_MM around the middle of the face, as landmarks would lay it, with the errors that
landmarks have. Maps are of the picture's size: `skin` is 1 where bare skin of the face is seen; `lines` is the depth
in mm, `spots` the added logarithm of melanin, `redness` the logarithm of blood over the median of the face where it is
above, `shine` the share of the light that is mirrored. Outside bare skin all of them are nought.

What is drawn need not be seen: a shallow line in flat light, a freckle on dark skin, a spot under a highlight. So two
more maps say by how much the picture differs, pixel by pixel and before the camera, from one of the same person in the
same light without it: `line_contrast` and `spot_contrast`, in CIELAB (CIE76), with the exposure of a mean grey. About
2.3 is one just noticeable difference (Mahy, Van Eycken, Oosterlinck 1994).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from . import mesostructure, render, skin_optics

VERSION = "skin-A-1.2"
FRAME_PX = 512
VIEW_MM = 176.0
# Below the pupils, where the frame has its middle.
CENTRE_Y_MM = 18.0
# The grid's cell in mm, and the width of the edges of eyes.
GRID = (0.3, 0.35)
MAPS = ("skin", "lines", "spots", "redness", "shine", "line_contrast", "spot_contrast")
# The mean of a picture that contrasts are told for: the middle of what the cameras' exposures give.
EXPOSED_MEAN = 0.25


@dataclass
class SkinScene:
    """A picture (FRAME_PX square, RGB of 8 bits) and its maps (the same size, in the order of MAPS)."""

    image: np.ndarray
    maps: np.ndarray
    melanin: float


def render_skin(seed: int, frame_px: int = FRAME_PX, view_mm: float = VIEW_MM, grid: tuple[float, float] = GRID,
                camera=render._camera) -> SkinScene:
    """The scene of one seed; in a larger frame with a wider view it is a picture as a camera takes it."""
    rng = np.random.default_rng([7_933, seed])
    with render.finer_grid(*grid):
        face = render._draw_face(rng)
        fine = mesostructure.draw(face, rng)
        z, t = render._head_height(face, rng)
        albedo, alpha, z, covered, _ = render._paint(face, z, t, rng, fine=fine)
        bare = 1.0 - covered
        camera_from_head = render._rotation(*np.radians([
            np.clip(rng.normal(0.0, 7.0), -18, 18), np.clip(rng.normal(0.0, 5.0), -12, 12), rng.normal(0.0, 2.5)]))
        light = _Light(camera_from_head, rng)
        radiance, mirrored = light.on(albedo, z, fine.height, bare, fine.gloss)
        unlined, _ = light.on(albedo, z, fine.height - fine.grooves, bare, fine.gloss)
        unspotted = (radiance - mirrored) * fine.unspotted + mirrored
        layers = {"radiance": radiance, "alpha": alpha, "mirrored": mirrored.mean(axis=2), "skin": bare,
                  "lines": fine.lines, "spots": fine.spots, "redness": fine.redness,
                  "unlined": unlined, "unspotted": unspotted}
        return _photograph(face, layers, z + fine.height * bare, camera_from_head, (frame_px, view_mm), camera, rng)


class _Light:
    """The lamps of one scene: the same ones on every variant of a face."""

    def __init__(self, camera_from_head, rng):
        self.directions, self.colours = render.lamps(camera_from_head, rng)
        self.ambient, self.sky = rng.uniform(0.15, 0.8), rng.uniform(-0.1, 0.5)
        self.rng, self.highlights = rng, rng.bit_generator.state

    def on(self, albedo, z, relief, bare, gloss):
        """Radiance, and the part of it that the surface mirrors; `relief` is the height of the fine structure in mm."""
        # A valley of the skin sees less of the sky.
        hollow = np.clip((gaussian_filter(relief, 1.2 / render.GRID_MM) - relief) / 0.5, 0.0, 1.0)
        albedo = albedo * (1.0 - 0.45 * hollow * bare)[..., None]
        self.rng.bit_generator.state = self.highlights
        return render._shade(albedo, z, self.directions, self.colours, self.ambient, self.sky, gloss * bare, self.rng,
                             relief=relief * bare)


def _photograph(face, layers, z, camera_from_head, frame, camera, rng) -> SkinScene:
    frame_px, view_mm = frame
    distance = float(np.exp(rng.uniform(np.log(420.0), np.log(1800.0))))
    eye = render.Eye(z, camera_from_head, distance)
    centre = eye.project(np.array([[0.0, CENTRE_Y_MM, -8.0]]))[0] + rng.normal(0.0, 3.0, 2)
    view = view_mm * float(np.exp(rng.normal(0.0, 0.06)))
    step = (np.arange(frame_px) + 0.5 - frame_px / 2) * (view / frame_px)
    ray_x, ray_y = np.meshgrid((step + centre[0]).astype(np.float32), (step + centre[1]).astype(np.float32))
    looked = eye.look(ray_x, ray_y, np.dstack(list(layers.values())).astype(np.float32))
    ends = np.cumsum([1 if layer.ndim == 2 else layer.shape[2] for layer in layers.values()])
    seen = {name: np.squeeze(part) for name, part in zip(layers, np.split(looked, ends[:-1], axis=2))}
    mask = seen["alpha"][..., None]
    # What stands behind is out of focus, so a quarter of the size says as much.
    backdrop = zoom(render.backdrop(rng, frame_px // 4), (4, 4, 1), order=1)
    scene = seen["radiance"] * mask + (1.0 - mask) * backdrop
    skin = seen["skin"] * seen["alpha"]
    light = np.maximum(seen["radiance"].mean(axis=2), 1e-3)
    exposure = EXPOSED_MEAN / max(float(scene.mean()), 1e-3)
    maps = maps_of(skin, seen["lines"], seen["spots"], seen["redness"], np.clip(seen["mirrored"] / light, 0.0, 1.0),
                   *(difference(exposure * seen["radiance"], exposure * seen[name]) for name in ("unlined", "unspotted")))
    return SkinScene(camera(scene.astype(np.float32), rng), maps, face.melanin)


def maps_of(skin, *others) -> np.ndarray:
    """The maps of a scene, in the order of MAPS: all but the skin itself are nought outside of it."""
    is_skin = skin.astype(np.float16) > 0.5
    others = list(others)
    redness = MAPS.index("redness") - 1
    own = np.median(others[redness][is_skin]) if is_skin.any() else 0.0
    others[redness] = np.maximum(others[redness] - own, 0.0)
    return np.dstack([skin, *(np.where(is_skin, field, 0.0) for field in others)]).astype(np.float16)


def difference(one, other) -> np.ndarray:
    """How different two linear pictures look, pixel by pixel (CIE76)."""
    one, other = (skin_optics.lab_of_linear(np.clip(picture, 0.0, 1.0)) for picture in (one, other))
    return np.linalg.norm(one - other, axis=-1)
