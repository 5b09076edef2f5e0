"""What may stand before a face: hands, masks, cloth and things, drawn into a scene's light, with the truth of what they hide.

Owns the shapes and their spreads. Lengths are in mm of the scene; hands have the sizes of adults (palm 84 mm wide, middle
finger 77 mm: means of women and men in NASA-STD-3000). The same seed gives the same picture with the same numpy and scipy.

Glasses, beards and hair count as the face's: what they hide is left to the map of bare skin. What real faces have more of
than the renderer draws is added here and hides nothing: smiles with teeth, folds beside the mouth, a strongly lit nose,
beards, fringes, shadows and glare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, shift

from . import render

VERSION = "cover-1.2"
PX_PER_MM = render.SCENE_PX / (render.SCENE_BOX_SIDES * render.BOX_SIDE_MM)
# Shapes are drawn at twice the size and averaged, so that their edges are as soft as a camera's.
FINER = 2
NOTHING_SHARE = 0.3
# How often each of what hides nothing is drawn.
SHADOW_SHARE, SMILE_SHARE, FOLDS_SHARE, NOSE_SHARE, BEARD_SHARE, FRINGE_SHARE = 0.3, 0.4, 0.45, 0.5, 0.15, 0.15
GLARE_SHARE = 0.3
_AT = {name: index for index, name in enumerate(render.POINT_NAMES)}
# Where a hand or a thing is put, besides the forehead, which has no points.
_TARGETS = [_AT[name] for name in ("eye_left", "eye_right", "nose_tip", "nose_base", "mouth_left", "mouth_right", "lip_bottom",
                                   "chin", "cheek_left", "cheek_right", "brow_left_middle", "brow_right_middle",
                                   "jaw_left", "jaw_right")]
FOREHEAD_SHARE = 0.22


@dataclass
class _Shape:
    """How much of each place is hidden, 0 to 1, and the colour there: linear radiance."""

    alpha: np.ndarray
    colour: np.ndarray


def covered_scene(seed: int) -> dict[str, np.ndarray]:
    """One seed's picture, RGB with the hidden share as a fourth channel (all of 8 bits), and the truth of its face.

    `glasses` is 1 where they are worn and both eyes are to be seen, 0 where none are, and -1 where it cannot be told.
    """
    hidden = np.zeros((render.SCENE_PX, render.SCENE_PX), np.float32)

    def draw(scene, points, rng):
        nonlocal hidden
        scene, hidden = cover(scene.astype(np.float32), points, rng)
        return scene

    scene = render.render(seed, draw)
    picture = np.dstack([scene.image, (255.0 * hidden + 0.5).astype(np.uint8)])
    at = scene.points[:2].astype(int).clip(0, render.SCENE_PX - 1)
    is_seen = all(hidden[y, x] < 0.5 for x, y in at)
    glasses = np.array(int(scene.glasses) if is_seen else -1, np.int8)
    return {"images": picture, "points": scene.points, "boxes": scene.box, "glasses": glasses}


def cover(scene, points, rng):
    """A scene's light with what stands before the face in it, and the share of each place that is hidden."""
    for share, draw in ((FOLDS_SHARE, _folds), (BEARD_SHARE, _beard), (SMILE_SHARE, _smile), (NOSE_SHARE, _nose),
                        (FRINGE_SHARE, _fringe), (SHADOW_SHARE, _shadow), (GLARE_SHARE, _glare)):
        if rng.random() < share:
            scene = draw(scene, points, rng)
    hidden = np.zeros(scene.shape[:2], np.float32)
    if rng.random() < NOTHING_SHARE:
        return scene, hidden
    draw = rng.choice([_hand, _mask, _thing, _elsewhere, _band], p=[0.4, 0.12, 0.28, 0.12, 0.08])
    shape = draw(scene, points, rng)
    # What stands before a face keeps light from it, more so where it nearly touches.
    away = rng.normal(0.0, 5.0, 2) * PX_PER_MM
    shadow = gaussian_filter(shift(shape.alpha, away, order=1), rng.uniform(0.5, 5.0))
    scene = scene * (1.0 - rng.uniform(0.0, 0.6) * shadow)[..., None]
    alpha = shape.alpha[..., None]
    return (scene * (1.0 - alpha) + shape.colour * alpha).astype(np.float32), shape.alpha


def _grid():
    """x and y of the fine grid's places in pixels of the scene."""
    axis = (np.arange(render.SCENE_PX * FINER, dtype=np.float32) + 0.5) / FINER
    return np.meshgrid(axis, axis)


def _target(points, rng) -> np.ndarray:
    """A place of the face."""
    if FOREHEAD_SHARE < rng.random():
        return points[rng.choice(_TARGETS)]
    across, up = _face_axes(points)
    return points[:2].mean(axis=0) + up * PX_PER_MM * rng.uniform(22.0, 62.0) + across * rng.uniform(-0.4, 0.4)


def _face_axes(points) -> tuple[np.ndarray, np.ndarray]:
    """From one temple to the other, and upwards with length 1."""
    across = points[_AT["temple_right"]] - points[_AT["temple_left"]]
    return across, np.array([across[1], -across[0]]) / max(float(np.linalg.norm(across)), 1e-3)


def _coarser(fine: np.ndarray) -> np.ndarray:
    size = render.SCENE_PX
    return fine.reshape(size, FINER, size, FINER, -1).mean(axis=(1, 3)).squeeze()


def _soft_blob(points, rng) -> np.ndarray:
    """A half plane or an ellipse with an edge between hard and soft."""
    x, y = _grid()
    cx, cy = _target(points, rng) + rng.normal(0.0, 8.0, 2)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    u, v = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle), (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    inside = (u > 0.0) if rng.random() < 0.5 else np.hypot(u / rng.uniform(8.0, 40.0), v / rng.uniform(5.0, 25.0)) < 1.0
    return gaussian_filter(_coarser(inside.astype(np.float32)), rng.uniform(0.3, 6.0))


def _shadow(scene, points, rng):
    return scene * (1.0 - rng.uniform(0.2, 0.7) * _soft_blob(points, rng))[..., None]


def _glare(scene, points, rng):
    """Light that falls on a part of the face, or shines on it."""
    blob = gaussian_filter(_soft_blob(points, rng), rng.uniform(1.0, 8.0))[..., None]
    return scene * (1.0 + rng.uniform(0.1, 1.2) * blob) + rng.choice([0.0, rng.uniform(0.0, 0.3)]) * blob


def _stroke(start, bend, end, width: float) -> np.ndarray:
    """A soft curve through three points, 1 on its middle."""
    x, y = np.meshgrid(*(np.arange(render.SCENE_PX, dtype=np.float32) + 0.5,) * 2)
    t = np.linspace(0.0, 1.0, 12)[:, None]
    way = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    near = np.min([np.hypot(x - cx, y - cy) for cx, cy in way], axis=0)
    return np.exp(-0.5 * (near / width) ** 2)


def _folds(scene, points, rng):
    """From the wings of the nose past the corners of the mouth."""
    depth, width = rng.uniform(0.08, 0.5), rng.uniform(0.8, 2.2)
    for wing, corner, out in (("nose_wing_left", "mouth_left", -1.0), ("nose_wing_right", "mouth_right", 1.0)):
        start, end = points[_AT[wing]], points[_AT[corner]] + np.array([out * rng.uniform(1.0, 8.0), rng.uniform(-2.0, 5.0)])
        bend = 0.5 * (start + end) + np.array([out * rng.uniform(1.0, 6.0), 0.0])
        scene = scene * (1.0 - depth * rng.uniform(0.6, 1.0) * _stroke(start, bend, end, width))[..., None]
    return scene


def _nose(scene, points, rng):
    """A ridge that is lit from one side, and a shadow below it."""
    bridge, tip, base = (points[_AT[name]] for name in ("nose_bridge", "nose_tip", "nose_base"))
    side = rng.choice([-1.0, 1.0]) * rng.uniform(2.0, 5.5)
    lit = _stroke(bridge, 0.5 * (bridge + tip), tip, rng.uniform(1.0, 3.5))
    dark = _stroke(bridge + [side, 0.0], 0.5 * (bridge + tip) + [side, 0.0], tip + [side, 0.0], rng.uniform(1.5, 4.0))
    under = _stroke(points[_AT["nose_wing_left"]] + [0.0, 2.0], base + [0.0, rng.uniform(1.0, 4.0)],
                    points[_AT["nose_wing_right"]] + [0.0, 2.0], rng.uniform(0.8, 2.5))
    light = (1.0 + rng.uniform(0.0, 0.8) * lit) * (1.0 - rng.uniform(0.0, 0.55) * dark) * (1.0 - rng.uniform(0.0, 0.6) * under)
    return scene * light[..., None]


def _smile(scene, points, rng):
    """An open mouth with teeth between its lips, wider than at rest."""
    left, right = points[_AT["mouth_left"]], points[_AT["mouth_right"]]
    middle, half = 0.5 * (left + right), 0.5 * np.linalg.norm(right - left) * rng.uniform(0.95, 1.3)
    angle = np.arctan2(*(right - left)[::-1])
    x, y = _grid()
    u = ((x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle)) / half
    v = (y - middle[1]) * np.cos(angle) - (x - middle[0]) * np.sin(angle)
    # The corners lie highest; the opening is a lens between two parabolas.
    lift, gape, thick = rng.uniform(0.0, 5.0), rng.uniform(2.0, 8.0), rng.uniform(1.2, 3.2)
    upper = lift * (1.0 - u**2) - 0.5 - rng.uniform(0.0, 0.3) * gape * (1.0 - u**2)
    lower = upper + gape * (1.0 - u**2)
    inside = (upper < v) & (v < lower) & (np.abs(u) < 1.0)
    lips = (upper - thick < v) & (v < lower + 1.3 * thick) & (np.abs(u) < 1.04) & ~inside
    skin = _own_skin(scene, points, rng)
    lip = skin * np.array([1.0, rng.uniform(0.5, 0.85), rng.uniform(0.5, 0.85)]) * rng.uniform(0.6, 1.05)
    teeth = np.full(3, max(float(skin.mean()) * rng.uniform(1.2, 2.6), 0.12)) * np.array([1.0, 0.97, 0.88])
    gaps = 1.0 - rng.uniform(0.0, 0.5) * (np.abs(np.sin(u * half * np.pi / rng.uniform(2.6, 4.5))) < 0.18)
    dark = v > lower - rng.uniform(0.0, 0.45) * gape * (1.0 - u**2)
    colour = np.where(dark[..., None], skin * rng.uniform(0.05, 0.5), teeth * gaps[..., None] * (1.0 - 0.5 * u**2)[..., None])
    colour = np.where(lips[..., None], lip, colour)
    alpha = _coarser((inside | lips).astype(np.float32))[..., None]
    return scene * (1.0 - alpha) + _coarser(colour.astype(np.float32)) * alpha


def _hair_like(points, rng, edge) -> tuple[np.ndarray, np.ndarray]:
    """Strands in a colour that hair has, over what `edge` (1 inside) leaves, thinner towards its border."""
    strands = gaussian_filter(rng.standard_normal(edge.shape, dtype=np.float32), (rng.uniform(0.8, 3.0), rng.uniform(0.4, 0.9)))
    strands = strands / max(float(strands.std()), 1e-6)
    alpha = np.clip(gaussian_filter(edge, rng.uniform(1.0, 4.0)) * rng.uniform(0.6, 1.4) + rng.uniform(0.0, 0.3) * strands, 0.0, 1.0)
    alpha = alpha * (edge > 0.02)
    colour = render._hair_colour(rng) * np.clip(1.0 + rng.uniform(0.1, 0.6) * strands, 0.2, 3.0)[..., None]
    return alpha.astype(np.float32), colour.astype(np.float32)


def _beard(scene, points, rng):
    """Around the mouth and along the jaw, with or without the cheeks."""
    low = np.array([points[_AT[name]] for name in ("jaw_left", "chin_left", "chin", "chin_right", "jaw_right")])
    nose, corners = points[_AT["nose_base"]], (points[_AT["mouth_left"]], points[_AT["mouth_right"]])
    out = rng.uniform(0.2, 1.0)
    left, right = (corner + out * (jaw - corner) for corner, jaw in zip(corners, (low[0], low[-1])))
    outline = np.vstack([nose + [0.0, 2.0], right, *(low[::-1] if out > 0.6 else low[3:0:-1]), left])
    alpha, colour = _hair_like(points, rng, _coarser(_filled(outline)))
    lips = _coarser(_filled(np.array([corners[0], points[_AT["lip_top"]], corners[1], points[_AT["lip_bottom"]]])))
    alpha = (alpha * (1.0 - lips))[..., None]
    return scene * (1.0 - alpha) + colour * float(_own_skin(scene, points, rng).mean()) * 2.0 * alpha


def _fringe(scene, points, rng):
    """Hair that falls over the forehead, straight or from one side."""
    left, right = points[_AT["temple_left"]], points[_AT["temple_right"]]
    eyes = points[:2].mean(axis=0)
    _, up = _face_axes(points)
    height = PX_PER_MM * rng.uniform(55.0, 75.0)
    crown = [eyes + up * height * share + (right - left) * across
             for share, across in ((0.85, -0.42), (1.0, -0.2), (1.0, 0.2), (0.85, 0.42))]
    # Where it ends above the eyes, from one temple to the other.
    ends = [eyes + up * PX_PER_MM * rng.uniform(14.0, 48.0) + (right - left) * across for across in (0.4, 0.15, -0.15, -0.4)]
    outline = np.array([left + up * PX_PER_MM * 10.0, *crown, right + up * PX_PER_MM * 10.0, *ends])
    alpha, colour = _hair_like(points, rng, _coarser(_filled(outline)))
    return scene * (1.0 - alpha[..., None]) + colour * float(_own_skin(scene, points, rng).mean()) * 2.0 * alpha[..., None]


def _own_skin(scene, points, rng) -> np.ndarray:
    """The radiance of the face's own skin, or something near it: a hand is seldom lit and coloured alike."""
    at = points[[_AT["cheek_left"], _AT["cheek_right"], _AT["nose_tip"]]].astype(int).clip(1, render.SCENE_PX - 2)
    skin = np.median([scene[y - 1:y + 2, x - 1:x + 2].mean(axis=(0, 1)) for x, y in at], axis=0)
    return skin * np.exp(rng.normal(0.0, rng.choice([0.01, 0.05, 0.15, 0.35]))) * np.exp(rng.normal(0.0, 0.04, 3))


def _capsule(x, y, start, end, start_r: float, end_r: float):
    """Distance to the axis over the radius, how far along the axis (0 to 1), and the radius there."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    t = ((x - start[0]) * along_x + (y - start[1]) * along_y) / max(along_x**2 + along_y**2, 1e-6)
    t = t.clip(0.0, 1.0)
    radius = start_r + (end_r - start_r) * t
    return np.hypot(x - start[0] - t * along_x, y - start[1] - t * along_y) / radius, t, radius


def _turn(vector, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def _hand(scene, points, rng) -> _Shape:
    """Palm, fingers of two bones, thumb and wrist as a relief that the scene's light falls on; or a flat cut-out of it."""
    x_px, y_px = _grid()
    scale = rng.uniform(0.85, 1.2)
    turn = rng.normal(0.0, 70.0)
    side = rng.choice([-1.0, 1.0])
    fold = rng.choice([rng.uniform(0.75, 1.0), rng.uniform(0.15, 0.75)], p=[0.7, 0.3])
    spread = rng.uniform(-1.0, 14.0)
    bones = []
    for index, length in enumerate((69.0, 77.0, 71.0, 56.0)):
        base = np.array([-30.0 + 20.0 * index, -38.0 - (4.0, 9.0, 7.0, 0.0)[index]])
        direction = _turn([0.0, -1.0], (index - 1.5) * spread + rng.normal(0.0, 3.0))
        knee = base + direction * length * 0.5 * min(1.0, fold * rng.uniform(0.95, 1.2))
        tip = knee + _turn(direction, rng.normal(0.0, 9.0)) * length * 0.5 * fold
        bones += [(base, knee, 9.8, 9.0), (knee, tip, 9.0, 7.4)]
    root = np.array([-38.0, 12.0])
    knee = root + _turn([0.0, -1.0], rng.normal(-38.0, 18.0)) * 34.0
    bones += [(root, knee, 14.0, 11.0), (knee, knee + _turn([0.0, -1.0], rng.normal(-22.0, 18.0)) * 28.0, 11.0, 9.0)]
    arm = _turn([0.0, 1.0], rng.normal(0.0, 20.0))
    wrist = (np.array([0.0, 40.0]), np.array([0.0, 40.0]) + arm * 260.0, 28.0, 38.0)

    # A place of the hand lies on a place of the face.
    held = np.array([0.0, 0.0]) if rng.random() < 0.45 else bones[rng.integers(len(bones))][1]
    target = _target(points, rng) + rng.normal(0.0, 10.0, 2) * PX_PER_MM
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    dx, dy = (x_px - target[0]) / (PX_PER_MM * scale), (y_px - target[1]) / (PX_PER_MM * scale)
    x, y = side * (cos * dx + sin * dy) + held[0], cos * dy - sin * dx + held[1]

    palm = np.hypot(x / 42.0, y / 50.0)
    height = np.where(palm < 1.0, 16.0 * np.sqrt(np.clip(1.0 - palm**4, 0.0, 1.0)), -1.0)
    inside, crease, nail = palm < 1.0, np.zeros_like(x), np.zeros_like(x)
    creases = rng.uniform(0.0, 0.35)
    for index, (start, end, start_r, end_r) in enumerate([*bones, wrist]):
        far, t, radius = _capsule(x, y, start, end, start_r, end_r)
        part = np.where(far < 1.0, radius * np.sqrt(np.clip(1.0 - far**2, 0.0, 1.0)) + rng.uniform(0.0, 4.0), -1.0)
        on_top = part > height
        height = np.where(on_top, part, height)
        if index < len(bones):
            crease = np.where(on_top, creases * np.exp(-(((1.0 - t) * np.hypot(*(end - start))) / 1.6) ** 2), crease)
            if index % 2 == 1:
                nail = np.where(on_top, (np.hypot((1.0 - t) * 2.2, far) < 0.75).astype(np.float32), nail)
        inside |= far < 1.0
    light = np.ones_like(x)
    if rng.random() < 0.65:
        relief = gaussian_filter(height, rng.uniform(0.6, 2.0))
        slope_y, slope_x = np.gradient(relief, 1.0 / (FINER * PX_PER_MM * scale))
        azimuth, power = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.8)
        normal_z = 1.0 / np.sqrt(1.0 + slope_x**2 + slope_y**2)
        across = -(slope_x * np.cos(azimuth) + slope_y * np.sin(azimuth)) * normal_z
        ambient = rng.uniform(0.1, 0.7)
        light = ambient + (1.0 - ambient) * np.clip(normal_z + power * across, 0.0, 2.0)
        light = light * (1.0 - crease) * (1.0 + rng.choice([0.0, rng.uniform(0.05, 0.5)]) * nail)
    texture = 1.0 + rng.uniform(0.0, 0.09) * _coarse_noise(rng, x.shape)
    colour = _own_skin(scene, points, rng) * (light * texture)[..., None]
    if rng.random() < 0.3:
        # A sleeve ends on the arm; a glove is a hand of another colour.
        sleeve = (y > rng.uniform(45.0, 110.0)) if rng.random() < 0.7 else np.ones_like(x, bool)
        cloth = _colour(rng) * (light * texture)[..., None]
        colour = np.where(sleeve[..., None], cloth, colour)
    return _Shape(_coarser(inside.astype(np.float32)), _coarser(colour.astype(np.float32)))


def _coarse_noise(rng, shape) -> np.ndarray:
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), rng.uniform(0.6, 4.0))
    return noise / max(float(noise.std()), 1e-6)


def _colour(rng) -> np.ndarray:
    """Any colour that cloth, paper or plastic has: dull, white, black or bright. Linear."""
    kind = rng.random()
    if kind < 0.4:
        return render._dull(rng)
    if kind < 0.6:
        return np.full(3, rng.uniform(0.4, 0.95)) * rng.uniform(0.9, 1.0, 3)
    if kind < 0.75:
        return np.full(3, rng.uniform(0.01, 0.06)) * rng.uniform(0.8, 1.0, 3)
    return rng.uniform(0.02, 0.8, 3)


def _cloth(rng, alpha_shape) -> np.ndarray:
    """A surface with folds, stripes, print or nothing on it."""
    x, y = _grid()
    colour = np.ones((*alpha_shape, 3), np.float32) * _colour(rng)
    kind = rng.integers(0, 4)
    if kind == 1:
        angle, wave = rng.uniform(0.0, np.pi), rng.uniform(2.0, 14.0)
        stripe = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2.0 * np.pi / wave) + 0.02 * x) > rng.uniform(-0.5, 0.7)
        colour = np.where(stripe[..., None], _colour(rng), colour)
    elif kind == 2:
        blots = _coarse_noise(rng, alpha_shape) > rng.uniform(0.3, 1.5)
        colour = np.where(blots[..., None], _colour(rng), colour)
    folds = 1.0 + rng.uniform(0.0, 0.3) * _coarse_noise(rng, alpha_shape)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    slope = 1.0 + rng.uniform(0.0, 0.6) * ((x - x.mean()) * np.cos(angle) + (y - y.mean()) * np.sin(angle)) / x.max()
    return colour * np.clip(folds * slope, 0.05, 3.0)[..., None]


def _filled(outline: np.ndarray) -> np.ndarray:
    """1 inside a polygon in pixels of the scene, on the fine grid."""
    size = render.SCENE_PX * FINER
    picture = Image.new("L", (size, size))
    ImageDraw.Draw(picture).polygon([tuple(point) for point in outline * FINER], fill=1)
    return np.asarray(picture, np.float32)


def _mask(scene, points, rng) -> _Shape:
    """Cloth or paper over nose and mouth, held at the sides; sometimes it has slipped below the nose."""
    point = {name: points[index] for name, index in _AT.items()}
    high = rng.uniform(0.1, 0.75) if rng.random() < 0.8 else rng.uniform(0.95, 1.3)
    bridge = point["nose_bridge"] + high * (point["nose_tip"] - point["nose_bridge"])
    low = rng.uniform(0.05, 0.25) * (point["chin"] - point["nose_tip"])
    outline = [bridge]
    for side, order in (("right", 1), ("left", -1)):
        upper = 0.7 * point[f"cheekbone_{side}"] + 0.3 * point[f"jaw_{side}"] + rng.uniform(-0.1, 0.4) * (bridge - point[f"cheekbone_{side}"]) * [0, 1]
        middle, lower = point[f"jaw_{side}"], point[f"chin_{side}"] + low
        outline += [upper, middle, lower][::order] if order == 1 else []
        if order == 1:
            outline.append(point["chin"] + low)
        else:
            outline += [lower, middle, upper]
    alpha = _filled(np.array(outline))
    colour = _cloth(rng, alpha.shape)
    if rng.random() < 0.6:
        # Pleats, which run across.
        _, y = _grid()
        down = y + rng.normal(0.0, 0.05) * _grid()[0]
        colour = colour * (1.0 + rng.uniform(0.03, 0.25) * np.sin(down * (2.0 * np.pi / rng.uniform(4.0, 9.0))))[..., None]
    return _Shape(_coarser(alpha), _coarser(np.clip(colour, 0.0, 2.0)))


def _thing(scene, points, rng) -> _Shape:
    """A cup, a telephone, paper, a scarf, a patch: boxes, ellipses and bands of any surface."""
    x, y = _grid()
    cx, cy = _target(points, rng) + rng.normal(0.0, 12.0, 2) * PX_PER_MM
    angle = rng.uniform(0.0, np.pi)
    u = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)) / PX_PER_MM
    v = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)) / PX_PER_MM
    half_u, half_v = np.exp(rng.uniform(np.log(9.0), np.log(80.0))), np.exp(rng.uniform(np.log(8.0), np.log(45.0)))
    kind = rng.integers(0, 3)
    if kind == 0:
        far = np.maximum(np.abs(u) / half_u, np.abs(v) / half_v)
    elif kind == 1:
        far = np.hypot(u / half_u, v / half_v)
    else:
        far = np.abs(v + rng.uniform(-0.004, 0.004) * u**2) / half_v
    alpha = (far < 1.0).astype(np.float32)
    surface = _cloth(rng, alpha.shape)
    if rng.random() < 0.4:
        surface = surface * 0.0 + _own_skin(scene, points, rng) * (1.0 + 0.05 * _coarse_noise(rng, alpha.shape))[..., None]
    round_off = 1.0 - rng.uniform(0.0, 0.6) * far.clip(0.0, 1.0) ** 4
    return _Shape(_blended(_coarser(alpha), rng), _coarser((surface * round_off[..., None]).astype(np.float32)))


def _blended(alpha: np.ndarray, rng) -> np.ndarray:
    """With edges that are sometimes out of focus."""
    return gaussian_filter(alpha, rng.uniform(0.3, 2.5)) if rng.random() < 0.4 else alpha


def _band(scene, points, rng) -> _Shape:
    """A headband, a cap, a bandage, hair under a cloth: all of the forehead from some height on, or a strip of it."""
    across, up = _face_axes(points)
    eyes = points[:2].mean(axis=0)
    low, tall = rng.uniform(16.0, 42.0), rng.choice([rng.uniform(14.0, 40.0), 120.0])
    bow, slant = rng.uniform(-8.0, 12.0), rng.normal(0.0, 4.0)
    places = np.linspace(-0.62, 0.62, 9)

    def edge(height):
        return [eyes + across * at + up * PX_PER_MM * (height + bow * (1.0 - (at / 0.62) ** 2) + slant * at) for at in places]

    alpha = _filled(np.array([*edge(low), *edge(low + tall)[::-1]]))
    return _Shape(_blended(_coarser(alpha), rng), _coarser(np.clip(_cloth(rng, alpha.shape), 0.0, 2.0)))


def _elsewhere(scene, points, rng) -> _Shape:
    """A piece of the same picture from another place: real edges, skin, hair and cloth where they do not belong."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    by = rng.uniform(45.0, 110.0) * PX_PER_MM * np.array([np.cos(angle), np.sin(angle), 0.0])
    moved = shift(scene, by, order=1, mode="mirror")
    x, y = _grid()
    cx, cy = _target(points, rng)
    around = np.arctan2(y - cy, x - cx)
    radius = rng.uniform(10.0, 30.0) * (1.0 + sum(
        rng.normal(0.0, 0.25) / order * np.cos(order * around + rng.uniform(0.0, 6.28)) for order in (1, 2, 3, 4)))
    inside = (np.hypot(x - cx, (y - cy) * rng.uniform(0.6, 1.4)) < radius).astype(np.float32)
    return _Shape(_blended(_coarser(inside), rng), moved * rng.uniform(0.7, 1.3))
