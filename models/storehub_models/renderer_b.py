"""The second renderer: faces of another design, to test what a network learnt from the first one.

Owns everything that it draws: nothing is shared with `render` but the names of the maps and of the points' eyes.
Where renderer A lays pigment and relief on a height field and marches rays, this one works in the picture: a face is a
field of normals built from blobs, skin is a measured colour moved along two axes, light diffuses on the screen, lines
are strokes that tilt the normal, spots are cells of a Worley pattern, and the camera has a Bayer mosaic and a film-like
curve. A network that only knows the habits of A fails here. Never train on it.

Colours: L* 30 to 70 with a chroma that is greatest in the middle and a hue that turns from red to yellow with lightness.
The constants, here and below, are chosen by eye to look like skin; none was fitted to measured data. Units of the maps
are those of `skin_scenes`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from . import skin_scenes
from .skin_scenes import FRAME_PX, SkinScene

VERSION = "B-1.1"
# How much a unit of a map moves the skin's colour: L*, a*, b* for melanin and for blood.
MELANIN_LAB = np.array([-11.0, 1.6, 2.2])
BLOOD_LAB = np.array([-3.6, 7.5, 1.2])
# Lamps that are points, in units of the face's half width.
LAMPS_MAX = 3


def _smooth(rng, shape, size_px: float) -> np.ndarray:
    small = max(3, int(max(shape) / max(size_px, 1.0)) + 3)
    coarse = rng.standard_normal((small, small))
    rows = np.linspace(1, small - 2, shape[0])[:, None] * np.ones(shape[1])
    cols = np.ones(shape[0])[:, None] * np.linspace(1, small - 2, shape[1])
    field = map_coordinates(coarse, [rows, cols], order=3, mode="mirror")
    return (field - field.mean()) / max(field.std(), 1e-6)


def _soft(value, edge):
    return 1.0 / (1.0 + np.exp(-np.clip(value / edge, -30, 30)))


class _Frame:
    """Places in mm: x to the right, y down, from the middle between the eyes."""

    def __init__(self, rng):
        view = skin_scenes.VIEW_MM * float(np.exp(rng.normal(0.0, 0.06)))
        turn = rng.normal(0.0, 0.045)
        step = (np.arange(FRAME_PX) + 0.5 - FRAME_PX / 2) * (view / FRAME_PX)
        u, v = np.meshgrid(step, step)
        self.x = u * np.cos(turn) + v * np.sin(turn) + rng.normal(0.0, 3.0)
        self.y = -u * np.sin(turn) + v * np.cos(turn) + skin_scenes.CENTRE_Y_MM + rng.normal(0.0, 3.0)
        self.px_per_mm = FRAME_PX / view

    def blob(self, cx, cy, sx, sy):
        return np.exp(-0.5 * (((self.x - cx) / sx) ** 2 + ((self.y - cy) / sy) ** 2))

    def pair(self, cx, cy, sx, sy):
        return self.blob(cx, cy, sx, sy) + self.blob(-cx, cy, sx, sy)


def _lab_to_linear(lab):
    fy = (lab[..., 0] + 16.0) / 116.0
    f = np.stack([fy + lab[..., 1] / 500.0, fy, fy - lab[..., 2] / 200.0], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * np.array([0.95047, 1.0, 1.08883])
    matrix = np.array([[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560],
                       [0.0556434, -0.2040259, 1.0572252]])
    return np.clip(xyz @ matrix.T, 0.002, 1.0)


def _tone(rng):
    lightness = rng.uniform(30.0, 70.0)
    chroma = 19.0 - 0.011 * (lightness - 56.0) ** 2 + rng.normal(0.0, 1.5)
    hue = np.radians(52.0 + 0.28 * (lightness - 50.0) + rng.normal(0.0, 4.0))
    return np.array([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])


def _strokes(rng):
    """Lines as polylines of a few joints: what is drawn by hand, not by anatomy alone."""
    if rng.random() < 0.15:
        return
    many = rng.gamma(1.5, 5.0)
    places = [
        (lambda: (rng.uniform(-45, 45), rng.uniform(-72, -34)), lambda: rng.normal(0.0, 0.12), (10, 70), 3.0),
        (lambda: (rng.choice([-1, 1]) * rng.uniform(46, 58), rng.uniform(-8, 12)), lambda: rng.normal(0.0, 0.5), (5, 20), 3.0),
        (lambda: (rng.choice([-1, 1]) * rng.uniform(20, 42), rng.uniform(8, 18)), lambda: rng.normal(0.0, 0.25), (8, 26), 2.0),
        (lambda: (rng.choice([-1, 1]) * rng.uniform(24, 36), rng.uniform(38, 66)), lambda: 1.57 + rng.normal(0.0, 0.35), (10, 34), 2.0),
        (lambda: (rng.normal(0, 6), rng.uniform(-32, -16)), lambda: 1.57 + rng.normal(0.0, 0.2), (5, 16), 1.0),
        (lambda: (rng.choice([-1, 1]) * rng.uniform(28, 56), rng.uniform(15, 75)), lambda: rng.uniform(0, 3.14), (5, 24), 2.0),
    ]
    weights = np.array([place[3] for place in places]) * rng.gamma(1.0, 1.0, len(places))
    for _ in range(int(rng.poisson(many))):
        start, angle, (short, long), _ = places[rng.choice(len(places), p=weights / weights.sum())]
        heading, joints = angle(), [np.array(start())]
        joints[0] = joints[0] - 0.5 * rng.uniform(short, long) * np.array([np.cos(heading), np.sin(heading)])
        for _ in range(int(rng.uniform(short, long) / 3.0) + 2):
            heading += rng.normal(0.0, 0.12)
            joints.append(joints[-1] + 3.0 * np.array([np.cos(heading), np.sin(heading)]))
        joints = np.array(joints)
        fine = np.linspace(0, len(joints) - 1, 6 * len(joints))
        path = np.column_stack([np.interp(fine, np.arange(len(joints)), joints[:, axis]) for axis in (0, 1)])
        width = rng.uniform(0.25, 1.3)
        yield path, width, float(np.clip(rng.uniform(0.06, 0.32) * width + 0.02, 0.02, 0.5))


def _draw_lines(rng, frame):
    depth = np.zeros((FRAME_PX, FRAME_PX))
    for path, width, most in _strokes(rng):
        near = ((frame.x > path[:, 0].min() - 5) & (frame.x < path[:, 0].max() + 5)
                & (frame.y > path[:, 1].min() - 5) & (frame.y < path[:, 1].max() + 5))
        if not near.any():
            continue
        distance, joint = cKDTree(path).query(np.column_stack([frame.x[near], frame.y[near]]))
        along = joint / max(len(path) - 1, 1)
        # A V with a round bottom, unlike A's Gaussian.
        profile = np.clip(1.0 - np.sqrt((distance / (1.5 * width)) ** 2 + 0.04) + 0.2, 0.0, 1.0)
        fade = np.clip(4.0 * along, 0, 1) * np.clip(4.0 * (1.0 - along), 0, 1)
        depth[near] = np.maximum(depth[near], most * profile * fade)
    return depth


def _worley(rng, frame, count, low, high):
    """Distance to the nearest of `count` cells, over the cell's own radius, and which one it is."""
    seeds = np.column_stack([rng.normal(0.0, 36.0, count), rng.normal(16.0, 42.0, count)])
    radii = np.exp(rng.uniform(np.log(low), np.log(high), count))
    wobble = 0.22 * _smooth(rng, frame.x.shape, 2.0 * frame.px_per_mm)
    distance, nearest = cKDTree(seeds).query(np.column_stack([frame.x.ravel(), frame.y.ravel()]))
    return distance.reshape(frame.x.shape) / radii[nearest].reshape(frame.x.shape) + wobble, nearest.reshape(frame.x.shape)


def _draw_spots(rng, frame):
    spots = np.zeros_like(frame.x)
    for count, low, high, least, most in ((rng.integers(10, 160), 0.5, 1.6, 0.1, 0.8), (rng.integers(1, 14), 1.2, 5.5, 0.15, 1.0),
                                          (rng.integers(1, 5), 0.8, 2.4, 0.9, 2.0)):
        if rng.random() < 0.5:
            continue
        distance, cell = _worley(rng, frame, int(count), low, high)
        amount = rng.uniform(least, most, int(count))[cell]
        spots = np.maximum(spots, amount * _soft(1.0 - distance, rng.uniform(0.06, 0.2)))
    return np.where(spots < 0.03, 0.0, spots)


def _draw_redness(rng, frame):
    red = np.zeros_like(frame.x)
    for _ in range(int(rng.poisson(1.3))):
        patch = frame.blob(rng.normal(0, 34), rng.normal(25, 28), rng.uniform(5, 16), rng.uniform(4, 13))
        red = np.maximum(red, rng.uniform(0.2, 0.9) * np.clip(patch * (1 + 0.35 * _smooth(rng, frame.x.shape, 12)), 0, 1.2))
    if rng.random() < 0.3:
        count = int(rng.integers(2, 20))
        distance, cell = _worley(rng, frame, count, 0.9, 2.8)
        red = np.maximum(red, rng.uniform(0.3, 1.2, count)[cell] * np.exp(-(distance**2)))
    return np.where(red < 0.03, 0.0, red)


@dataclass
class _Person:
    """A head in its frame before any light: its outline, its relief, what is on its skin and the colour of that skin."""

    frame: _Frame
    half: float
    chin: float
    crown: float
    oval: np.ndarray
    lines: np.ndarray
    spots: np.ndarray
    redness: np.ndarray
    relief: np.ndarray
    tone_lab: np.ndarray


def _person(rng) -> _Person:
    frame = _Frame(rng)
    x, y = frame.x, frame.y
    half, chin, crown = rng.uniform(63, 74), rng.uniform(98, 118), rng.uniform(-112, -92)
    middle = 0.5 * (chin + crown)
    low = np.clip((y - middle) / (chin - middle), 0, None)
    width = half * (1.0 - rng.uniform(0.25, 0.42) * low**2)
    oval = 1.0 - (np.abs(x) / width) ** rng.uniform(2.2, 2.8) - (np.abs(y - middle) / (chin - middle)) ** 2.4
    lines, spots, redness = _draw_lines(rng, frame), _draw_spots(rng, frame), _draw_redness(rng, frame)
    relief = 46.0 * np.sqrt(np.clip(oval, 0.0, 1.0) + 1e-3)
    relief += rng.uniform(14, 22) * frame.blob(0, 30, rng.uniform(6, 9), 13) + 7.0 * frame.blob(0, 12, 5.5, 16)
    relief += 3.0 * frame.pair(12, 39, 5, 4.5) - 5.0 * frame.pair(31, 0, 13, 8) + 3.5 * frame.pair(31, 1, 8, 6)
    relief += 4.0 * frame.blob(0, 64, 22, 8) + 5.0 * frame.blob(0, chin - 14, 13, 9) + 2.5 * frame.pair(38, 27, 13, 12)
    fine = 0.02 * rng.random() * gaussian_filter(rng.standard_normal(x.shape), 0.7)
    relief = gaussian_filter(relief, 1.0) + fine
    return _Person(frame, half, chin, crown, oval, lines, spots, redness, relief, _tone(rng))


def _dice(seed: int):
    return np.random.default_rng([104_729, seed])


def ita_deg(seed: int) -> float:
    """The individual typology angle of a scene's skin, as it was chosen: no light and no camera is in it."""
    lightness, _, yellow = _person(_dice(seed)).tone_lab
    return float(np.degrees(np.arctan2(lightness - 50.0, yellow)))


def render_b(seed: int) -> SkinScene:
    """The scene of one seed, in the frame and with the maps of `skin_scenes`."""
    rng = _dice(seed)
    person = _person(rng)
    frame, lines, spots, redness, relief = person.frame, person.lines, person.spots, person.redness, person.relief
    x, y = frame.x, frame.y
    head = _soft(person.oval, 0.02)

    lab = person.tone_lab + 0.9 * np.dstack(
        [_smooth(rng, x.shape, 70), 0.6 * _smooth(rng, x.shape, 50), _smooth(rng, x.shape, 60)])
    lab = lab + redness[..., None] * BLOOD_LAB
    lab = lab + rng.uniform(0, 0.5) * frame.pair(31, 12, 12, 4)[..., None] * np.array([-4.0, 1.0, -2.0])
    lab = lab + 0.7 * gaussian_filter(rng.standard_normal(x.shape), 0.8)[..., None] * np.array([1.5, 0.5, 0.5])
    spotted = lab + spots[..., None] * MELANIN_LAB
    # The same dice for each: a face as it is, and without its lines, and without its spots.
    dice = rng.bit_generator.state
    light, mirror, albedo, covered = _seen(rng, frame, spotted, relief, lines)
    after = rng.bit_generator.state
    bare = []
    for other_lab, other_lines in ((spotted, 0.0 * lines), (lab, lines)):
        rng.bit_generator.state = dice
        bare.append(_seen(rng, frame, other_lab, relief, other_lines)[0])
    rng.bit_generator.state = after
    hair, is_hair = _hair(rng, frame, person.crown, person.half)
    neck = _soft(rng.uniform(42, 58) - np.abs(x), 1.0) * _soft(y - 60.0, 3.0)
    behind = rng.random(3) * rng.uniform(0.1, 1.0) * (1.0 + 0.3 * _smooth(rng, x.shape, 150))[..., None]
    shade = np.clip(behind, 0.0, 1.5)
    below = gaussian_filter(albedo.mean(axis=(0, 1)) * 0.45 * np.ones_like(albedo), (3, 3, 0))
    shade = shade * (1.0 - neck)[..., None] + below * neck[..., None]
    picture = shade * (1.0 - head)[..., None] + light * head[..., None]
    picture = picture * (1.0 - is_hair)[..., None] + hair * is_hair[..., None]
    skin = head * (1.0 - covered) * (1.0 - is_hair)
    shine = np.clip(mirror / np.maximum(light.mean(axis=2), 1e-3), 0.0, 1.0)
    exposure = skin_scenes.EXPOSED_MEAN / max(float(picture.mean()), 1e-3)
    contrasts = (skin_scenes.difference(exposure * light, exposure * other) for other in bare)
    maps = skin_scenes.maps_of(skin, lines, spots, redness, shine, *contrasts)
    return SkinScene(_camera(rng, picture), maps, float("nan"))


def _seen(rng, frame, lab, relief, lines):
    """A face under its lamps: the light, what of it is mirrored, the skin's colour, and what covers the skin."""
    albedo = _lab_to_linear(lab) * (1.0 - 1.1 * np.clip(lines, 0, 0.5))[..., None]
    dy, dx = np.gradient(relief - lines, 1.0 / frame.px_per_mm)
    normal = np.dstack([-dx, -dy, np.ones_like(dx)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    colour, covers = _features(rng, frame, albedo)
    light, mirror = _lit(rng, frame, colour, normal)
    covered = np.clip(np.max(covers, axis=0), 0.0, 1.0)
    return light + (1.0 - covered)[..., None] * mirror[..., None], mirror, albedo, covered


def _features(rng, frame, albedo):
    """Eyes, brows, lips and nostrils on the skin; gives the colours and what covers the skin."""
    x, y = frame.x, frame.y
    colour, covers = albedo.copy(), []

    def lay(mask, paint):
        colour[...] = colour * (1.0 - mask)[..., None] + np.asarray(paint) * mask[..., None]
        covers.append(mask)

    eye_x, eye_half, tall = rng.uniform(29, 33.5), rng.uniform(12.5, 16), rng.uniform(3.2, 6.0)
    for side in (-1.0, 1.0):
        u = (x - side * eye_x) / eye_half
        lens = _soft(tall * (1.0 - u**2) - np.abs(y + side * rng.normal(0, 0.1) * u), 0.35) * (np.abs(u) < 1.05)
        lay(lens, [0.6, 0.58, 0.55])
        radius = np.hypot(x - side * eye_x, y)
        iris = rng.choice([0.03, 0.06, 0.15]) * np.array([1.2, 1.0, rng.uniform(0.7, 1.8)])
        colour[...] = np.where((lens * (radius < 5.8) > 0.5)[..., None], iris * (1 + 0.6 * (radius > 3)[..., None]), colour)
        lid = np.abs(np.abs(y + tall * (1 - np.clip(u, -1, 1) ** 2)) - 0.2) < rng.uniform(0.5, 1.0)
        lay(gaussian_filter((lid & (np.abs(u) < 1.05)).astype(float), 0.8), [0.015, 0.012, 0.01])
        brow_y = -rng.uniform(15, 22) - 3.0 * (1 - u**2)
        brow = _soft(rng.uniform(1.5, 3.4) - np.abs(y - brow_y), 0.5) * _soft(1.45 - np.abs(u), 0.08)
        hairs = np.clip(0.75 + 0.4 * gaussian_filter(rng.standard_normal(x.shape), (0.6, 2.0)) * 3.0, 0.0, 1.0)
        lay(np.clip(brow * hairs * rng.uniform(0.5, 1.0), 0, 1), rng.uniform(0.01, 0.12) * np.array([1.1, 0.9, 0.7]))
        covers.append(brow)
    mouth_y, mouth_half = rng.uniform(60, 70), rng.uniform(22, 29)
    u = np.clip(x / mouth_half, -1, 1)
    upper, lower = rng.uniform(4, 8) * (1 - u**2) * (1 - 0.2 * np.exp(-((x / 3) ** 2))), rng.uniform(6, 11) * (1 - u**2)
    lips = _soft(np.minimum(y - mouth_y + upper, mouth_y + lower - y), 0.5) * (np.abs(x) < mouth_half)
    lay(lips * rng.uniform(0.5, 1.0), np.clip(albedo.mean(axis=(0, 1)) * np.array([1.0, 0.55, 0.55]), 0, 1))
    covers.append(lips)
    lay(_soft(0.7 - np.abs(y - mouth_y), 0.3) * (np.abs(x) < mouth_half), [0.05, 0.02, 0.02])
    lay(0.9 * np.clip(frame.pair(6.5, 43, 2.6, 1.4), 0, 1), [0.02, 0.01, 0.01])
    if rng.random() < 0.2:
        stubble = _soft(y - rng.uniform(38, 50) - 0.02 * (60 - np.abs(x)) ** 2 / 3, 4.0) * rng.uniform(0.2, 0.9)
        grain = np.clip(0.6 + gaussian_filter(rng.standard_normal(x.shape), 0.6) * 1.2, 0, 1)
        lay(np.clip(stubble * grain, 0, 1), rng.uniform(0.01, 0.08) * np.ones(3))
        covers.append(stubble)
    if rng.random() < 0.2:
        ring = np.maximum(np.abs(np.abs(x) - 32) / rng.uniform(22, 28), np.abs(y - 3) / rng.uniform(16, 22))
        frame_mask = _soft(rng.uniform(0.03, 0.08) - np.abs(ring - 1.0), 0.01)
        lay(np.clip(frame_mask + _soft(1.5 - np.abs(y), 0.5) * (np.abs(x) < 8), 0, 1), rng.random(3) * 0.3)
    return colour, covers


def _lit(rng, frame, albedo, normal):
    """Oren-Nayar diffuse of near lamps, blurred on the screen per channel, and a Beckmann highlight."""
    out, mirror = np.zeros_like(albedo), np.zeros(albedo.shape[:2])
    rough = rng.uniform(0.2, 0.6) ** 2
    a, b = 1.0 - 0.5 * rough / (rough + 0.33), 0.45 * rough / (rough + 0.09)
    slope, gloss = rng.uniform(0.18, 0.5), rng.uniform(0.0, 0.5)
    patchy = np.clip(1.0 + 0.5 * _smooth(rng, mirror.shape, 20), 0.0, 2.0) * (0.3 + frame.blob(0, 0, 34, 70))
    for _ in range(rng.integers(1, LAMPS_MAX + 1)):
        place = np.array([rng.uniform(-500, 500), rng.uniform(-450, 150), rng.uniform(350, 900)])
        to = place - np.dstack([frame.x, frame.y, np.zeros_like(frame.x)])
        far = np.linalg.norm(to, axis=2, keepdims=True)
        to /= far
        facing = np.clip((normal * to).sum(axis=2), 0.0, 1.0)
        view = np.clip(normal[..., 2], 0.05, 1.0)
        power = rng.uniform(0.4, 1.3) * (500.0 / far[..., 0]) ** 2
        tint = 1.0 + rng.normal(0.0, 0.08) * np.array([1.0, 0.0, -1.0])
        out += albedo * (power * facing * (a + b * np.sqrt((1 - facing**2) * (1 - view**2)) / np.maximum(facing, view)))[..., None] * tint
        half = to + np.array([0.0, 0.0, 1.0])
        half /= np.linalg.norm(half, axis=2, keepdims=True)
        cos2 = np.clip((normal * half).sum(axis=2), 1e-3, 1.0) ** 2
        mirror += power * gloss * 0.08 * patchy * np.exp((1 - 1 / cos2) / slope**2) / (slope**2 * cos2**2)
    out += albedo * rng.uniform(0.1, 0.7) * (0.7 + 0.3 * normal[..., 2:3])
    reach = np.array([0.9, 0.45, 0.3]) * frame.px_per_mm * rng.uniform(0.1, 0.5)
    return np.dstack([gaussian_filter(out[..., channel], reach[channel]) for channel in range(3)]), mirror


def _hair(rng, frame, crown, half):
    x, y = frame.x, frame.y
    line = rng.uniform(-84, -56) + rng.uniform(-0.01, 0.006) * x**2 + 4.0 * _smooth(rng, x.shape, 50)
    mask = _soft(line - y, 0.8) * _soft(y - crown + 30, 2.0)
    if rng.random() < 0.5:
        mask = np.maximum(mask, _soft(np.abs(x) - half * rng.uniform(0.86, 1.05), 1.0) * _soft(rng.uniform(0, 160) - y, 5.0))
    strands = gaussian_filter(rng.standard_normal(x.shape), (6.0, 0.7))
    colour = rng.choice([0.015, 0.04, 0.1, 0.3, 0.55]) * np.array([1.15, 0.95, 0.75])
    return np.clip(colour * (1.0 + 0.8 * strands / strands.std() * 0.4)[..., None], 0.0, 1.0), np.clip(mask, 0, 1)


def _camera(rng, picture) -> np.ndarray:
    """Exposure, lens, Bayer mosaic, noise, film-like curve, JPEG with thinned colour."""
    picture = picture * (rng.uniform(0.16, 0.36) / max(float(picture.mean()), 1e-3)) * (1.0 + rng.normal(0, 0.07, 3))
    picture = gaussian_filter(picture, (s := rng.uniform(0.2, 1.1), s, 0))
    rows, cols = np.indices(picture.shape[:2])
    mosaic = np.where((rows + cols) % 2 == 0, picture[..., 1], np.where(rows % 2 == 0, picture[..., 0], picture[..., 2]))
    read, shot = 10.0 ** rng.uniform(-3.2, -2.1), 10.0 ** rng.uniform(-3.0, -1.9)
    mosaic = mosaic + rng.standard_normal(mosaic.shape) * np.sqrt(read**2 + shot**2 * np.clip(mosaic, 0, None))
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4.0
    places = [(rows % 2 == 0) & (cols % 2 == 1), (rows + cols) % 2 == 0, (rows % 2 == 1) & (cols % 2 == 0)]
    full = np.dstack([convolve(np.where(place, mosaic, 0.0), kernel, mode="mirror")
                      / np.maximum(convolve(place.astype(float), kernel, mode="mirror"), 1e-6) for place in places])
    full = np.clip(full, 0.0, None)
    toe, white = rng.uniform(0.02, 0.06), rng.uniform(1.0, 1.6)
    full = full * (1.0 + full / white**2) / (1.0 + 0.35 * full)
    full = np.clip(full, 0.0, 1.0)
    encoded = np.where(full <= 0.0031308, 12.92 * full, 1.055 * full ** (1 / 2.4) - 0.055)
    encoded = encoded + toe * np.sin(2 * np.pi * (encoded - 0.5)) * rng.uniform(-0.6, 0.6)
    stored = Image.fromarray((np.clip(encoded, 0, 1) * 255 + 0.5).astype(np.uint8))
    coded = io.BytesIO()
    stored.save(coded, "JPEG", quality=int(rng.integers(60, 97)), subsampling=int(rng.choice([0, 2])))
    return np.asarray(Image.open(coded).convert("RGB"))
