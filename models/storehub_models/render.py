"""Procedural faces: a seed in, a picture of a face that never existed and its exact points out.

Owns the geometry (an analytic height field of head, nose, lips and lids), the materials (skin by
`skin_optics`, hair, eyes, teeth, cloth, glasses), the light and the camera. It owns no training and
reads no photograph. The same seed gives the same picture with the same numpy and scipy.

Proportions are general anthropometric means and spreads for adults (after L. G. Farkas,
"Anthropometry of the Head and Face"), widened; none was fitted to an evaluation picture.

Frames. Head frame: origin midway between the pupils, x to the right of the picture, y down, z
towards the camera, in mm. Left and right are as seen in the picture. A scene is a square picture in
pixels around the box that a face detector would report; pixel centres are at integer + 0.5.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from . import skin_optics

VERSION = "A-1.0"

POINT_NAMES = (
    "eye_left", "eye_right", "nose_tip", "mouth_left", "mouth_right",
    "brow_left_outer", "brow_left_middle", "brow_left_inner",
    "brow_right_inner", "brow_right_middle", "brow_right_outer",
    "eye_left_outer", "eye_left_inner", "eye_right_inner", "eye_right_outer",
    "nose_bridge", "nose_wing_left", "nose_wing_right", "nose_base",
    "lip_top", "lip_bottom", "chin",
    "temple_left", "temple_right", "cheekbone_left", "cheekbone_right",
    "jaw_left", "jaw_right", "chin_left", "chin_right",
    "cheek_left", "cheek_right",
)
POINT_COUNT = len(POINT_NAMES)
NAMED_COUNT = 5

# What each point becomes when the picture is mirrored.
MIRROR = np.array([
    1, 0, 2, 4, 3, 10, 9, 8, 7, 6, 5, 14, 13, 12, 11, 15, 17, 16, 18, 19, 20, 21,
    23, 22, 25, 24, 27, 26, 29, 28, 31, 30,
])

# Points on the outline of the head: chin, temples, cheekbones, jaw and chin sides.
RIM_POINTS = range(21, 30)

# The detector's box in the head frame of a mean face: where its centre lies below the pupils and
# how long its side is. The crate rustface 0.1.7, run on 300 of our own renders, found 271 and gave
# 17 mm and 143 mm in the median; forehead to chin by anthropometry is about 165 mm. The side is
# taken in between, and the jitter in training covers both.
BOX_CENTRE_Y_MM = 15.0
BOX_SIDE_MM = 155.0

SCENE_PX = 144
# The scene shows this many box sides, which leaves room for jitter and rotation of the crop.
SCENE_BOX_SIDES = 1.75

COARSE_MM = 1.6


def _use_grid(cell_mm: float, edge: float) -> None:
    """Lays the grid anew. `edge` scales the softness of the eyes' edges."""
    global GRID_MM, FINER, EDGE, _X, _Y, X, Y, ABS_X, SIDE, RADIUS, THETA
    GRID_MM, FINER, EDGE = cell_mm, COARSE_MM / cell_mm, edge
    _X = np.arange(-136.0, 136.1, cell_mm, dtype=np.float32)
    _Y = np.arange(-168.0, 196.1, cell_mm, dtype=np.float32)
    X, Y = np.meshgrid(_X, _Y)
    ABS_X = np.abs(X)
    SIDE = np.sign(X) + (X == 0)
    RADIUS = np.hypot(X, Y).astype(np.float32)
    THETA = np.arctan2(ABS_X, -Y).astype(np.float32)  # 0 at the crown, pi at the chin


_use_grid(COARSE_MM, 1.0)


@contextmanager
def finer_grid(cell_mm: float, edge: float):
    """The same person with finer cells: what a seed draws does not depend on the grid."""
    _use_grid(cell_mm, edge)
    try:
        yield
    finally:
        _use_grid(COARSE_MM, 1.0)


def _noise_pool() -> dict[float, np.ndarray]:
    rng = np.random.default_rng(20_260_101)
    pool = {}
    for sigma in (0.7, 1.5, 4.0, 12.0):
        fields = rng.standard_normal((6, 512, 512)).astype(np.float32)
        for field in fields:
            smooth = gaussian_filter(field, sigma, mode="wrap")
            field[...] = smooth / smooth.std()
        pool[sigma] = fields
    return pool


_NOISE = _noise_pool()


def _noise(rng, sigma: float, shape=None) -> np.ndarray:
    """Unit-variance smooth noise; `sigma` is the grain in coarse grid cells."""
    wanted = X.shape if shape is None else shape
    if shape is None and FINER != 1.0:
        shape = (len(np.arange(-168.0, 196.1, COARSE_MM)), len(np.arange(-136.0, 136.1, COARSE_MM)))
    shape = shape or wanted
    field = _NOISE[sigma][rng.integers(6)]
    top, left = rng.integers(512 - shape[0]), rng.integers(512 - shape[1])
    cut = field[top:top + shape[0], left:left + shape[1]]
    cut = cut[:, ::-1] if rng.random() < 0.5 else cut
    if shape == wanted:
        return cut
    if sigma < 1.0:
        # Grain as fine as the grid: hair and brows are made of it.
        fine = np.random.default_rng(top * 512 + left).standard_normal(wanted, dtype=np.float32)
        fine = gaussian_filter(fine, 1.6 * sigma)
        return fine / fine.std()
    return zoom(cut, (wanted[0] / shape[0], wanted[1] / shape[1]), order=3)


def _step(value: np.ndarray, soft: float) -> np.ndarray:
    """0 below, 1 above zero, with a smooth edge about `2 * soft` wide."""
    t = np.clip(value * (0.5 / soft) + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _edge(value: np.ndarray, soft: float) -> np.ndarray:
    """As `_step`, and sharper on a finer grid."""
    return _step(value, soft * EDGE)


def _bump(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    """A pair of Gaussian bumps, mirrored at x = 0."""
    return np.exp(-0.5 * (((ABS_X - cx) / sx) ** 2 + ((Y - cy) / sy) ** 2))


def _mix(image: np.ndarray, colour, mask: np.ndarray) -> None:
    image += mask[..., None].astype(np.float32) * (np.asarray(colour, dtype=np.float32) - image)


def _normal(rng, mean: float, deviation: float, low: float = -2.2, high: float = 2.2) -> float:
    return mean + deviation * float(np.clip(rng.standard_normal(), low, high))


@dataclass
class Face:
    """One person: sizes in mm in the head frame, expression, and styles."""

    eye_x: float
    eye_half: float
    lid_up: float
    lid_low: float
    canthal_tilt: float
    brow_y: float
    brow_half: float
    brow_thick: float
    brow_arch: float
    brow_tilt: float
    nose_tip_y: float
    nose_base_y: float
    nose_height: float
    nose_half: float
    bridge_y: float
    mouth_y: float
    mouth_half: float
    corner_lift: float
    gap: float
    lip_up: float
    lip_low: float
    chin_y: float
    cheek_half: float
    jaw_half: float
    jaw_y: float
    chin_half: float
    skull_half: float
    crown_y: float
    smile: float
    age: float
    melanin: float
    blood: float
    outline: CubicSpline


def _outline(skull_half, cheek_half, jaw_half, jaw_y, chin_half, chin, chin_height, crown) -> CubicSpline:
    """Radius of the head's outline over the angle from the crown."""
    nodes = np.array([
        (0.0, crown), (skull_half * 0.62, crown * 0.87), (skull_half * 0.97, crown * 0.5),
        (skull_half, -15.0), (cheek_half, 22.0), (jaw_half, jaw_y),
        (chin_half, chin - chin_height), (0.0, chin + 2.0),
    ])
    angle = np.arctan2(nodes[:, 0], -nodes[:, 1])
    radius = np.hypot(nodes[:, 0], nodes[:, 1])
    return CubicSpline(angle, radius, bc_type=((1, 0.0), (1, 0.0)))


def _draw_face(rng) -> Face:
    size = _normal(rng, 1.0, 0.02)
    long = _normal(rng, 1.0, 0.045)
    smile = float(np.clip(rng.normal(0.35, 0.5), 0.0, 1.2)) if rng.random() < 0.7 else 0.0
    age = float(rng.random())
    pupil_half = _normal(rng, 31.3, 1.7)
    nose_base = _normal(rng, 43.0, 2.8) * long
    mouth = nose_base + _normal(rng, 22.5, 2.0) * long - 1.5 * smile
    chin = mouth + _normal(rng, 45.0, 3.5) * long
    gap = 0.0
    if smile > 0.25 and rng.random() < 0.65:
        gap = rng.uniform(2.0, 9.0) * min(smile, 1.0)
    elif rng.random() < 0.15:
        gap = rng.uniform(1.0, 12.0)
    chin += 0.6 * gap
    cheek_half = _normal(rng, 68.0, 3.6) * size
    jaw_half = cheek_half * rng.uniform(0.78, 0.93)
    jaw_y = mouth + rng.uniform(-2.0, 12.0)
    chin_half = rng.uniform(19.0, 31.0)
    skull_half = cheek_half * rng.uniform(0.99, 1.08)
    crown = -_normal(rng, 119.0, 7.0)
    openness = float(np.clip(rng.normal(1.0, 0.22), 0.35, 1.5)) * (1.0 - 0.25 * min(smile, 1.0))
    if rng.random() < 0.03:
        openness = rng.uniform(0.02, 0.3)
    outline = _outline(skull_half, cheek_half, jaw_half, jaw_y, chin_half, chin, rng.uniform(8.0, 15.0), crown)
    # Lightness falls faster at the dark end of the scale, hence the exponent: L* comes out even.
    tone = rng.random() ** 1.25
    melanin = float(np.exp(np.log(0.006) + tone * np.log(0.33 / 0.006)))
    return Face(
        eye_x=pupil_half, eye_half=_normal(rng, 14.6, 1.2),
        lid_up=5.2 * openness, lid_low=4.0 * openness ** 0.7 * (1.0 - 0.2 * min(smile, 1.0)),
        canthal_tilt=rng.uniform(-0.03, 0.16),
        brow_y=-_normal(rng, 20.5, 3.2), brow_half=_normal(rng, 22.0, 2.2),
        brow_thick=rng.uniform(2.2, 6.0), brow_arch=rng.uniform(0.0, 7.0),
        brow_tilt=rng.uniform(-0.12, 0.16),
        nose_tip_y=nose_base - _normal(rng, 10.5, 2.0), nose_base_y=nose_base,
        nose_height=_normal(rng, 19.0, 2.8), nose_half=_normal(rng, 17.6, 2.4),
        bridge_y=_normal(rng, -4.0, 3.0),
        mouth_y=mouth, mouth_half=_normal(rng, 25.0, 2.3) + 5.0 * smile,
        corner_lift=4.5 * smile + rng.uniform(-2.5, 1.5), gap=gap,
        lip_up=rng.uniform(3.5, 10.5) * (1.0 - 0.25 * min(smile, 1.0)), lip_low=rng.uniform(5.0, 12.0),
        chin_y=chin, cheek_half=cheek_half, jaw_half=jaw_half, jaw_y=jaw_y, chin_half=chin_half,
        skull_half=skull_half, crown_y=crown, smile=smile, age=age,
        melanin=melanin, blood=float(np.exp(rng.uniform(np.log(0.012), np.log(0.05)))),
        outline=outline,
    )


def _head_height(face: Face, rng) -> tuple[np.ndarray, np.ndarray]:
    """The height field z in mm and t, which is 1 on the outline of the head."""
    theta_nodes = np.linspace(0.0, np.pi, 256)
    limit = np.interp(THETA, theta_nodes, face.outline(theta_nodes)).astype(np.float32)
    t = RADIUS / limit
    down = np.clip(Y / np.maximum(RADIUS, 1e-3), 0.0, 1.0)
    side = ABS_X / np.maximum(RADIUS, 1e-3)
    depth = 82.0 * side**2 + 34.0 * down**2 + 80.0 * (1.0 - side**2) * (down <= 0)
    inside = np.minimum(t, 0.975)
    z = -depth * (1.0 - np.sqrt(1.0 - inside**2.3))
    z -= np.clip(t - 0.975, 0.0, 2.0) * 130.0
    z = np.maximum(z, -100.0).astype(np.float32)

    sex_ridge = rng.uniform(0.5, 4.0)
    z += sex_ridge * _bump(24.0, face.brow_y + 4.0, 16.0, 6.0)
    z -= rng.uniform(5.0, 9.0) * _bump(face.eye_x - 3.0, -2.0, 13.0, 9.0)
    z += rng.uniform(3.0, 5.5) * _bump(face.eye_x, 0.0, 9.5, 7.0)
    z += (rng.uniform(2.0, 6.0) + 3.0 * face.smile) * _bump(39.0, 31.0 - 3.0 * face.smile, 14.0, 12.0)

    tip, base, bridge = face.nose_tip_y, face.nose_base_y, face.bridge_y
    ridge = np.interp(_Y, [bridge - 16.0, bridge, 0.55 * tip, tip, tip + 4.0, base, base + 5.0],
                      [0.0, rng.uniform(2.5, 6.5), 0.62 * face.nose_height,
                       face.nose_height, 0.82 * face.nose_height, 5.0, 0.0])
    width = np.interp(_Y, [bridge, 0.6 * tip, tip, base],
                      [5.5, 6.5, 0.52 * face.nose_half, 0.5 * face.nose_half])
    ridge = gaussian_filter(ridge, 1.4 * FINER)[:, None]
    z += (ridge * np.exp(-0.5 * (X / (0.85 * width[:, None])) ** 2)).astype(np.float32)
    z += rng.uniform(6.0, 9.5) * _bump(0.72 * face.nose_half, base - 6.0, 0.26 * face.nose_half, 5.0)

    z += rng.uniform(3.0, 5.5) * np.exp(-0.5 * ((X / face.mouth_half) ** 2 * 2.2
                                                + ((Y - face.mouth_y) / 8.0) ** 2))
    z -= 3.0 * np.exp(-0.5 * ((X / 16.0) ** 2 + ((Y - face.mouth_y - 16.0 - face.gap) / 4.5) ** 2))
    z += rng.uniform(3.0, 8.0) * np.exp(-0.5 * ((X / 13.0) ** 2 + ((Y - face.chin_y + 13.0) / 9.0) ** 2))
    z -= (1.5 + 2.0 * face.smile) * _bump(face.mouth_half + 5.0, face.mouth_y - 4.0, 4.0, 12.0)
    return z.astype(np.float32), t


def _points_in_head(face: Face) -> np.ndarray:
    """x and y of every point in the head frame, shape (POINT_COUNT, 2)."""
    half, tilt = face.eye_half, face.canthal_tilt
    eye_y = 0.5 * (face.lid_low - face.lid_up) * 0.6
    brow = [(face.eye_x + 4.0 + u * face.brow_half, _brow_line(face, u)) for u in (1.0, 0.1, -1.0)]
    outer = (face.eye_x + half, -tilt * half)
    inner = (face.eye_x - half, tilt * half)
    lift = face.mouth_y - face.corner_lift

    def rim(angle_deg: float) -> tuple[float, float]:
        angle = np.radians(angle_deg)
        radius = float(face.outline(angle))
        return radius * np.sin(angle), -radius * np.cos(angle)

    temple, cheekbone, jaw, chin_side = rim(70.0), rim(107.0), rim(139.0), rim(160.0)
    cheek = (37.0, 0.5 * (face.nose_base_y + 22.0))
    right = {
        "eye": (face.eye_x, eye_y), "mouth": (face.mouth_half, lift), "brow_outer": brow[0],
        "brow_middle": brow[1], "brow_inner": brow[2], "outer": outer, "inner": inner,
        "wing": (face.nose_half, face.nose_base_y - 5.0), "temple": temple, "cheekbone": cheekbone,
        "jaw": jaw, "chin": chin_side, "cheek": cheek,
    }
    left = {name: (-x, y) for name, (x, y) in right.items()}
    lips_half_gap = 0.5 * face.gap
    return np.array([
        left["eye"], right["eye"], (0.0, face.nose_tip_y), left["mouth"], right["mouth"],
        left["brow_outer"], left["brow_middle"], left["brow_inner"],
        right["brow_inner"], right["brow_middle"], right["brow_outer"],
        left["outer"], left["inner"], right["inner"], right["outer"],
        (0.0, face.bridge_y), left["wing"], right["wing"], (0.0, face.nose_base_y),
        (0.0, face.mouth_y - lips_half_gap - face.lip_up),
        (0.0, face.mouth_y + lips_half_gap + face.lip_low), (0.0, face.chin_y),
        left["temple"], right["temple"], left["cheekbone"], right["cheekbone"],
        left["jaw"], right["jaw"], left["chin"], right["chin"], left["cheek"], right["cheek"],
    ], dtype=np.float32)


def _brow_line(face: Face, u):
    """Height of the brow's middle at u from -1 (inner end) to 1 (outer end)."""
    return face.brow_y - face.brow_arch * (1.0 - (u - 0.25) ** 2) - face.brow_tilt * face.brow_half * u + 3.0


def _hair_colour(rng) -> np.ndarray:
    palette = np.array([
        (0.010, 0.008, 0.007), (0.025, 0.016, 0.011), (0.06, 0.034, 0.02), (0.12, 0.07, 0.035),
        (0.26, 0.17, 0.085), (0.42, 0.31, 0.17), (0.17, 0.055, 0.02), (0.30, 0.29, 0.28), (0.62, 0.61, 0.6),
    ])
    weight = np.array([0.24, 0.18, 0.15, 0.1, 0.09, 0.06, 0.04, 0.08, 0.06])
    colour = palette[rng.choice(len(palette), p=weight)]
    return (colour * rng.uniform(0.7, 1.4) * rng.uniform(0.9, 1.1, 3)).astype(np.float32)


def _paint_skin(face: Face, z, rng, fine=None) -> np.ndarray:
    """Skin from its pigments; `fine` adds to the logarithms of melanin and blood."""
    melanin = np.full(X.shape, np.log(face.melanin), dtype=np.float32)
    blood = np.full(X.shape, np.log(face.blood), dtype=np.float32)
    melanin += 0.06 * _noise(rng, 12.0) + rng.uniform(0.0, 0.06) * _noise(rng, 4.0)
    blood += 0.08 * _noise(rng, 12.0) + 0.05 * _noise(rng, 1.5)
    blood += rng.uniform(0.0, 0.6) * _bump(38.0, 30.0, 17.0, 14.0)
    blood += rng.uniform(0.0, 0.5) * _bump(0.0, face.nose_tip_y, 12.0, 10.0)
    under_eye = _bump(face.eye_x - 3.0, 11.0, 11.0, 4.5)
    melanin += rng.uniform(0.0, 0.35) * under_eye
    blood += rng.uniform(0.0, 0.4) * under_eye
    melanin += rng.uniform(0.0, 0.25) * _bump(face.eye_x, -6.0, 13.0, 5.0)
    # Where the fine structure is known, nothing is painted that would not stand in its maps.
    if fine is None and rng.random() < 0.2:
        spots = np.clip(_noise(rng, 1.5) - rng.uniform(1.3, 2.0), 0.0, 1.5)
        melanin += rng.uniform(0.2, 0.7) * spots * np.exp(-0.5 * ((X / 50.0) ** 2 + ((Y - 25.0) / 35.0) ** 2))
    if fine is None:
        skin = skin_optics.skin_colour(np.exp(melanin), np.exp(blood))
    else:
        melanin, blood = melanin + fine.melanin, np.exp(blood + fine.blood)
        skin = skin_optics.smooth_skin_colour(np.exp(melanin), blood)
        fine.unspotted = skin_optics.smooth_skin_colour(np.exp(melanin - fine.spots), blood) / skin
        fine.redness = (np.log(blood) - np.log(face.blood)).astype(np.float32)
    # Carotene differs between people more than the model's constant.
    skin = skin * np.array([rng.uniform(0.97, 1.07), 1.0, rng.uniform(0.76, 1.0)], np.float32)
    if fine is not None:
        return skin
    if rng.random() < 0.6:
        lines = np.exp(-0.5 * ((ABS_X - face.nose_half - 5.0 - 0.45 * (Y - face.nose_base_y + 6.0)) / 1.5) ** 2)
        lines *= _step(Y - face.nose_base_y + 10.0, 5.0) * _step(face.mouth_y + 2.0 - Y, 6.0)
        skin *= (1.0 - (rng.uniform(0.05, 0.25) + 0.2 * face.smile) * lines)[..., None]
    if face.age > 0.6:
        wave = np.sin((Y + 2.0 * np.cos(X / 19.0)) * (2.0 * np.pi / rng.uniform(8.0, 13.0)))
        mask = np.exp(-0.5 * ((X / 38.0) ** 2 + ((Y + 55.0) / 13.0) ** 2)) * rng.uniform(0.02, 0.1)
        skin *= (1.0 + mask * wave)[..., None]
        bag = np.exp(-0.5 * ((Y - 13.0 - ((ABS_X - face.eye_x) / 11.0) ** 2 * -3.0) / 1.6) ** 2)
        skin *= (1.0 - rng.uniform(0.05, 0.25) * bag * (np.abs(ABS_X - face.eye_x) < 13.0))[..., None]
    return skin


def _paint_mouth(face: Face, skin, rng) -> np.ndarray:
    """Lips and what is between them; gives how much of the skin they cover."""
    u = np.clip(X / face.mouth_half, -1.0, 1.0)
    bow = 1.0 - u * u
    line = face.mouth_y - face.corner_lift * u * u
    open_up, open_low = line - 0.5 * face.gap * bow, line + 0.5 * face.gap * bow
    cupid = 1.0 - rng.uniform(0.05, 0.3) * np.exp(-0.5 * (X / 3.0) ** 2)
    upper = open_up - face.lip_up * bow**0.7 * cupid
    lower = open_low + face.lip_low * bow**0.8
    within = _step(face.mouth_half - ABS_X, 1.5)
    lips = _step(Y - upper, 1.3) * _step(lower - Y, 1.6) * within
    if rng.random() < 0.22:
        colour = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.01, 0.12), rng.uniform(0.02, 0.15)])
        strength = rng.uniform(0.4, 0.9)
    else:
        colour = skin_optics.skin_colour(np.array(face.melanin * rng.uniform(0.8, 1.5)), np.array(0.1))
        colour = colour * np.array([rng.uniform(0.8, 1.05), rng.uniform(0.55, 0.95), rng.uniform(0.6, 1.0)])
        strength = rng.uniform(0.3, 0.95)
    _mix(skin, colour, strength * lips)
    seam = np.exp(-0.5 * ((Y - open_up) / 1.1) ** 2) * within
    skin *= (1.0 - rng.uniform(0.35, 0.75) * seam)[..., None]
    below = np.exp(-0.5 * ((Y - lower - 3.0) / 2.5) ** 2) * bow * within
    skin *= (1.0 - rng.uniform(0.0, 0.25) * below)[..., None]
    if face.gap > 0.8:
        inside = _step(Y - open_up, 0.8) * _step(open_low - Y, 0.8) * within
        _mix(skin, np.array([0.035, 0.012, 0.012]), inside)
        if rng.random() < 0.85:
            teeth = inside * _step(open_up + rng.uniform(3.0, 9.0) - Y, 1.0) * _step(0.86 - np.abs(u), 0.12)
            gaps = 1.0 - 0.18 * np.exp(-0.5 * (((ABS_X % 8.0) - 4.0) / 0.8) ** 2)
            shade = rng.uniform(0.45, 0.8) * (1.0 - 0.5 * u * u) * gaps
            skin += (teeth[..., None]) * (shade[..., None] * np.array([1.0, 0.95, 0.85], np.float32) - skin)
    return np.maximum(lips, seam)


def _paint_eyes(face: Face, skin, hair, rng) -> np.ndarray:
    """Eyes and lashes; gives how much of the skin they cover."""
    iris_colour = np.array([(0.03, 0.015, 0.008), (0.08, 0.04, 0.015), (0.12, 0.1, 0.04),
                            (0.09, 0.16, 0.22), (0.16, 0.2, 0.2)])[rng.choice(5, p=[.42, .26, .1, .14, .08])]
    gaze = rng.normal(0.0, 1.2, 2) if rng.random() < 0.85 else rng.normal(0.0, 3.0, 2)
    dx = (ABS_X - face.eye_x) / face.eye_half
    dy = Y + face.canthal_tilt * (ABS_X - face.eye_x)
    u = np.clip(dx, -1.0, 1.0)
    upper = -face.lid_up * (1.0 - np.abs(u) ** 2.3)
    lower = face.lid_low * (1.0 - np.abs(u) ** 2.0)
    within = _edge(1.0 - np.abs(dx), 0.07)
    opening = _edge(dy - upper, 0.9) * _edge(lower - dy, 0.9) * within
    lid = np.exp(-0.5 * ((dy - upper + rng.uniform(3.0, 5.5)) / 1.0) ** 2) * (np.abs(dx) < 1.0)
    skin *= (1.0 - rng.uniform(0.05, 0.4) * lid)[..., None]
    if rng.random() < 0.15:
        shadow = np.exp(-0.5 * (((dy - upper + 4.0) / 4.5) ** 2 + (dx / 1.0) ** 2)) * (dy < 0)
        _mix(skin, rng.uniform(0.02, 0.3, 3), rng.uniform(0.2, 0.7) * shadow)
    _mix(skin, np.array([1.0, 0.93, 0.9]) * rng.uniform(0.35, 0.68), opening)
    ex = ABS_X - face.eye_x - SIDE * gaze[0]
    radius = np.hypot(ex, dy + 0.6 - gaze[1])
    iris = _edge(rng.uniform(5.6, 6.4) - radius, 0.9) * opening
    _mix(skin, iris_colour, iris)
    _mix(skin, np.full(3, 0.006), _edge(rng.uniform(1.8, 3.2) - radius, 0.8) * opening)
    roof = np.exp(-0.5 * ((dy - upper) / (EDGE * rng.uniform(0.8, 1.8))) ** 2) * (np.abs(dx) < 1.05)
    lash = rng.uniform(0.35, 0.95)
    _mix(skin, hair * 0.4, lash * roof * _edge(1.05 - np.abs(dx), 0.1))
    floor = np.exp(-0.5 * ((dy - lower) / (0.8 * EDGE)) ** 2) * within
    skin *= (1.0 - rng.uniform(0.05, 0.4) * floor)[..., None]
    glint = np.hypot(X - SIDE * face.eye_x - rng.uniform(-2.5, 2.5), dy + rng.uniform(0.5, 3.0))
    skin += (rng.uniform(0.0, 1.0) * _edge(1.1 - glint, 0.8) * opening)[..., None]
    return np.maximum(opening, lash * roof)


def _paint_brows(face: Face, skin, hair, rng) -> np.ndarray:
    """Brows; gives how much of the skin they cover."""
    u = (ABS_X - face.eye_x - 4.0) / face.brow_half
    line = _brow_line(face, np.clip(u, -1.2, 1.2))
    thick = face.brow_thick * np.clip(1.15 - 0.45 * (u + 0.4), 0.35, 1.2)
    mask = np.exp(-0.5 * np.square(np.square((Y - line) / (0.5 * thick + 0.4)))) * _step(1.02 - np.abs(u), 0.12)
    mask *= np.clip(1.0 + 0.3 * _noise(rng, 0.7), 0.2, 1.3)
    _mix(skin, hair * rng.uniform(0.5, 1.3), np.clip(rng.uniform(0.35, 1.0) * mask, 0.0, 1.0))
    return np.clip(mask, 0.0, 1.0)


def _paint_nostrils(face: Face, skin, rng) -> np.ndarray:
    """Nostrils and the folds around them; gives how much of the skin the holes take."""
    hole = _bump(0.42 * face.nose_half, face.nose_base_y - 2.0, 3.2, 1.8)
    skin *= (1.0 - rng.uniform(0.35, 0.9) * hole)[..., None]
    wing = np.exp(-0.5 * ((np.hypot((ABS_X - 0.62 * face.nose_half) / 0.38 / face.nose_half * 7.0,
                                    Y - face.nose_base_y + 6.0) - 7.0) / 1.2) ** 2)
    wing *= _step(ABS_X - 0.7 * face.nose_half, 1.5)
    skin *= (1.0 - rng.uniform(0.05, 0.35) * wing)[..., None]
    under = np.exp(-0.5 * ((Y - face.nose_base_y - 1.5) / 2.0) ** 2) * _step(face.nose_half - ABS_X, 3.0)
    skin *= (1.0 - rng.uniform(0.05, 0.35) * under)[..., None]
    return hole


def _paint_beard(face: Face, skin, hair, t, rng) -> np.ndarray:
    """A beard, on some; gives how much of the skin it covers."""
    kind = rng.random()
    if kind > 0.3:
        return np.zeros_like(X)
    cheek_line = 18.0 + 14.0 * rng.random() + 22.0 * np.clip(1.0 - ABS_X / 62.0, 0.0, 1.0) ** 0.7 * 1.4
    low = _step(Y - np.maximum(cheek_line, 20.0), 6.0)
    around = 1.0 - _step(1.0 - np.hypot(X / (face.mouth_half + 3.0), (Y - face.mouth_y - 2.0) / 13.0), 0.15)
    beard = low * around * (t < 1.25)
    moustache = np.exp(-0.5 * (((Y - 0.5 * (face.nose_base_y + face.mouth_y - face.lip_up) - 2.0) / 3.6) ** 4))
    moustache *= _step(face.mouth_half + 2.0 - ABS_X, 3.0)
    if kind < 0.05:
        mask = moustache
    elif kind < 0.12:
        goatee = _step(face.mouth_half + 4.0 - ABS_X, 4.0) * _step(Y - face.mouth_y + 4.0, 4.0)
        mask = np.maximum(beard * goatee, moustache)
    else:
        mask = np.maximum(beard, moustache)
    strength = rng.uniform(0.1, 0.5) if rng.random() < 0.5 else rng.uniform(0.6, 1.0)
    grain = np.clip(0.85 + 0.25 * _noise(rng, 0.7), 0.0, 1.1)
    cover = np.clip(mask * strength * grain, 0.0, 1.0)
    _mix(skin, hair * rng.uniform(0.5, 1.1), cover)
    return np.maximum(cover, mask)


def _hair_mask(face: Face, t, rng, style=None) -> np.ndarray:
    """How much hair or head cover hides the head at each grid point, inside and outside the outline."""
    drawn = rng.choice(["bald", "short", "medium", "long", "up", "cover"], p=[.07, .36, .17, .26, .1, .04])
    style = style or drawn
    wave = 2.5 * _noise(rng, 4.0) + 1.2 * _noise(rng, 1.5)
    line = rng.uniform(-86.0, -56.0)
    if style == "bald":
        line = rng.uniform(-125.0, -95.0)
    if style in ("medium", "long", "short") and rng.random() < 0.18:
        line = rng.uniform(-55.0, -30.0)
    parting = rng.uniform(-25.0, 25.0)
    temple = rng.uniform(46.0, 60.0)
    shape = np.clip((ABS_X - temple * 0.55) / (temple * 0.62), 0.0, 1.6)
    hairline = line + rng.uniform(-6.0, 8.0) * np.clip(np.abs(X - parting) / 40.0, 0, 1) + 52.0 * shape**1.7
    top = _step(hairline + wave - Y, rng.uniform(2.0, 6.0))
    shell = {"bald": 0.0, "short": rng.uniform(2.0, 14.0), "medium": rng.uniform(8.0, 32.0),
             "long": rng.uniform(5.0, 26.0), "up": rng.uniform(1.0, 10.0), "cover": rng.uniform(8.0, 18.0)}[style]
    reach = (t - 1.0) * np.maximum(RADIUS / np.maximum(t, 1e-3), 1.0)
    upper = _step(shell + wave - reach, 2.0) * _step(rng.uniform(5.0, 35.0) - Y, 8.0)
    mask = top * np.where(t > 1.0, upper, 1.0) if style != "bald" else top * (t < 1.01)
    if style in ("medium", "long", "cover"):
        length = rng.uniform(30.0, 85.0) if style == "medium" else rng.uniform(95.0, 240.0)
        inner = rng.uniform(0.82, 1.02) if style != "cover" else rng.uniform(0.86, 0.98)
        drop = _step(t - inner + 0.01 * wave, 0.05)
        outer = _step(shell + 6.0 + 0.12 * np.clip(Y, 0.0, None) + wave - (ABS_X - face.skull_half), 3.0)
        below = _step(length + 4.0 * wave - Y, 8.0)
        sides = drop * outer * below * _step(Y + 60.0, 15.0)
        if style != "cover":
            # Long hair leaves the throat free, and sometimes falls on one side only.
            sides *= _step(ABS_X - 44.0 * _step(Y - face.chin_y + 10.0, 8.0), 8.0)
            if rng.random() < 0.25:
                sides = sides * _step(X * (1 if rng.random() < 0.5 else -1) + 10.0, 5.0)
        mask = np.maximum(mask, sides)
    return np.clip(mask, 0.0, 1.0)


def _paint_glasses(face: Face, image, rng) -> np.ndarray:
    """Glasses, on some; gives how much of the skin they cover."""
    if rng.random() > 0.24:
        return np.zeros_like(X)
    half_w, half_h = rng.uniform(20.0, 29.0), rng.uniform(13.0, 24.0)
    centre_y = rng.uniform(-1.0, 6.0)
    power = rng.uniform(2.0, 5.0)
    centre_x = max(face.eye_x + rng.uniform(-1.0, 3.0), half_w + 6.0)
    ring = (np.abs((ABS_X - centre_x) / half_w) ** power
            + np.abs((Y - centre_y) / half_h) ** power) ** (1.0 / power)
    distance = (ring - 1.0) * min(half_w, half_h)
    thick = rng.uniform(0.7, 3.2)
    frame = _step(thick - np.abs(distance), 0.8)
    bridge = np.exp(-0.5 * ((Y - centre_y + 4.0 + 0.02 * X**2) / (0.5 * thick + 0.3)) ** 2)
    frame = np.maximum(frame, bridge * (ABS_X < centre_x - half_w + 1.0))
    arm = np.exp(-0.5 * ((Y - centre_y + 0.4 * half_h) / (0.5 * thick + 0.4)) ** 2)
    frame = np.maximum(frame, arm * (ABS_X > centre_x + half_w - 1.0) * _step(76.0 - ABS_X, 3.0))
    lens = _step(-distance, 1.0)
    kind = rng.random()
    cover = frame
    if kind < 0.12:
        _mix(image, rng.uniform(0.004, 0.03, 3), lens * rng.uniform(0.7, 0.97))
        cover = np.maximum(frame, lens)
    elif kind < 0.6:
        glare = np.clip(_noise(rng, 12.0), 0.0, 2.0) * rng.uniform(0.02, 0.2)
        image += (lens * glare)[..., None]
        # What lies behind a lens that mirrors is not seen as it is.
        cover = np.maximum(frame, np.clip(8.0 * lens * glare, 0.0, 1.0))
    tint = rng.uniform(0.0, 0.06, 3) if rng.random() < 0.7 else rng.uniform(0.0, 0.5, 3)
    _mix(image, tint, np.clip(frame, 0.0, 1.0) * rng.uniform(0.6, 1.0))
    return np.clip(cover, 0.0, 1.0)


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """camera_from_head for angles in radians."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def _shade(albedo, z, light_dirs, light_colours, ambient, sky, gloss, rng, relief=None):
    """Linear radiance on the grid (wrapped Lambert with cast shadow, ambient occlusion and highlight), and the part of it
    that the surface mirrors. `relief` is fine structure on top of `z`, which is shaded as sharp as it is."""
    dz_dy, dz_dx = np.gradient(gaussian_filter(z, 0.7 * FINER), GRID_MM)
    if relief is not None:
        fine_dy, fine_dx = np.gradient(relief, GRID_MM)
        dz_dy, dz_dx = dz_dy + fine_dy, dz_dx + fine_dx
    length = 1.0 / np.sqrt(dz_dx**2 + dz_dy**2 + 1.0)
    nx, ny, nz = -dz_dx * length, -dz_dy * length, length
    hollow = np.clip((gaussian_filter(z, 5.0 * FINER) - z) / 9.0, -0.3, 1.0)
    occlusion = (1.0 - 0.55 * np.clip(hollow, 0.0, 1.0)).astype(np.float32)
    out = albedo * ((ambient * occlusion)[..., None]
                    * (1.0 + sky * (-ny)[..., None] * np.array([0.9, 1.0, 1.1], np.float32)))
    wrap = np.array([0.34, 0.2, 0.14], dtype=np.float32)
    mirrored = np.zeros_like(out)
    for direction, colour in zip(light_dirs, light_colours):
        lx, ly, lz = direction
        facing = nx * lx + ny * ly + nz * lz
        lit = np.clip((facing[..., None] + wrap) / (1.0 + wrap), 0.0, None)
        shadow = np.ones_like(z)
        if lz > 0.1:
            for reach in (4.0, 8.0, 13.0, 20.0, 30.0):
                sx = int(round(lx * reach / GRID_MM))
                sy = int(round(ly * reach / GRID_MM))
                above = np.roll(z, (-sy, -sx), (0, 1)) - z - lz * reach
                shadow = np.minimum(shadow, 1.0 - 0.85 * _step(above - 1.0, 3.0))
        out += albedo * lit * (colour * shadow[..., None])
        half = np.array([lx, ly, lz + 1.0])
        half /= np.linalg.norm(half)
        mirror = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0.0, 1.0)
        highlight = (gloss * mirror ** rng.uniform(12.0, 60.0) * shadow)[..., None] * colour
        out += highlight
        mirrored += highlight
    return out, mirrored


def _dull(rng) -> np.ndarray:
    """A colour as walls and clothes have it: rarely saturated, often dark or white."""
    vivid = rng.random(3) ** 1.6
    grey = rng.random() ** 1.4
    return (grey + rng.random() ** 2 * (vivid - grey)).astype(np.float32)


def backdrop(rng, px: int) -> np.ndarray:
    """What stands behind a face, out of focus: linear radiance, px x px x 3."""
    colour = _dull(rng)
    image = np.ones((px, px, 3), np.float32) * colour.astype(np.float32)
    grid = np.linspace(-0.5, 0.5, px, dtype=np.float32)
    image *= 1.0 + rng.uniform(-0.8, 0.8) * grid[:, None, None] + rng.uniform(-0.8, 0.8) * grid[None, :, None]
    for _ in range(rng.integers(0, 5)):
        x0, y0 = rng.integers(0, px, 2)
        w, h = rng.integers(8, px, 2)
        image[y0:y0 + h, x0:x0 + w] = _dull(rng)
    texture = _noise(rng, float(rng.choice([1.5, 4.0, 12.0])), (px, px))
    image *= np.clip(1.0 + rng.uniform(0.0, 0.5) * texture, 0.1, 3.0)[..., None]
    return gaussian_filter(np.clip(image, 0.0, 2.0), (s := rng.uniform(0.5, 7.0), s, 0))


def _camera(image, rng) -> np.ndarray:
    """From linear radiance to the 8-bit picture of a cheap or a good camera."""
    grey = float(np.mean(image))
    image = image * (rng.uniform(0.14, 0.42) / max(grey, 1e-3))
    image = image * (1.0 + rng.uniform(-0.16, 0.16, 3)).astype(np.float32)
    blur = rng.choice([0.0, rng.uniform(0.3, 0.9), rng.uniform(0.9, 2.2)], p=[0.35, 0.45, 0.2])
    if blur > 0.0:
        image = gaussian_filter(image, (blur, blur, 0))
    sigma = 10.0 ** rng.uniform(-3.2, -1.4)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image = image + sigma * noise * np.sqrt(np.clip(image, 0.0, 1.0) + 0.05)
    image = np.clip(image, 0.0, 1.0)
    image = np.where(image <= 0.0031308, 12.92 * image, 1.055 * image ** (1 / 2.4) - 0.055)
    contrast = rng.uniform(-0.25, 0.45)
    image = image + contrast * (image - 0.5) * image * (1.0 - image) * 4.0 * 0.5
    image = image ** rng.uniform(0.85, 1.18)
    if rng.random() < 0.25:
        image = image + rng.uniform(0.2, 0.9) * (image - gaussian_filter(image, (1.2, 1.2, 0)))
    saturation = rng.uniform(0.6, 1.25) if rng.random() > 0.04 else 0.0
    luma = image @ np.array([0.299, 0.587, 0.114], np.float32)
    image = luma[..., None] + saturation * (image - luma[..., None])
    picture = Image.fromarray((np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
    if rng.random() < 0.25:
        low = int(rng.uniform(0.45, 0.9) * picture.width)
        picture = picture.resize((low, low), Image.BILINEAR).resize(picture.size, Image.BILINEAR)
    if rng.random() < 0.6:
        coded = io.BytesIO()
        picture.save(coded, "JPEG", quality=int(rng.integers(35, 96)))
        picture = Image.open(coded).convert("RGB")
    return np.asarray(picture)


@dataclass
class Scene:
    """A picture (SCENE_PX square, RGB), its points in pixels and the detector's box (cx, cy, side).

    `turn_deg` is yaw, pitch and roll of the head: positive to the right of the picture, upwards, and clockwise.
    """

    image: np.ndarray
    points: np.ndarray
    box: np.ndarray
    melanin: float
    turn_deg: np.ndarray
    glasses: bool


def render(seed: int, cover=None) -> Scene:
    """The scene of one seed.

    `cover` draws what stands before the face, from the light, the points in pixels and the random numbers to the light;
    without one it is now and then a plain ellipse.
    """
    rng = np.random.default_rng([7_919, seed])
    face = _draw_face(rng)
    z, t = _head_height(face, rng)
    xy = _points_in_head(face)
    albedo, alpha, z, _, glasses = _paint(face, z, t, rng)

    yaw, pitch, roll = np.radians([
        np.clip(rng.normal(0.0, 12.0), -32, 32), np.clip(rng.normal(0.0, 8.0), -20, 20),
        np.clip(rng.normal(0.0, 7.0), -20, 20)])
    camera_from_head = _rotation(yaw, pitch, roll)
    radiance = _light(albedo, z, camera_from_head, rng)
    return _photograph(face, radiance, alpha, z, xy, camera_from_head, np.degrees([yaw, pitch, roll]), rng, cover, glasses)


def _paint(face: Face, z, t, rng, hair_style=None, fine=None):
    """Colours, coverage, the height with hair, how much of each place is no bare skin of the head, and whether it wears glasses.

    A `hair_style` leaves out beard and glasses: a portrait's face is bare.
    """
    hair = _hair_colour(rng)
    skin = _paint_skin(face, z, rng, fine)
    covers = [_paint_nostrils(face, skin, rng), _paint_mouth(face, skin, rng)]
    if hair_style is None:
        covers.append(_paint_beard(face, skin, hair, t, rng))
    covers.append(_paint_eyes(face, skin, hair, rng))
    covers.append(_paint_brows(face, skin, hair if rng.random() < 0.7 else hair * 0.5, rng))

    ears = rng.uniform(0.4, 1.0) * _step(1.0 - np.hypot((ABS_X - face.skull_half - 2.0) / rng.uniform(7.0, 12.0),
                                                        (Y - 14.0) / rng.uniform(26.0, 33.0)), 0.12)
    head = _step(1.0 - t, 0.02)
    neck_half = rng.uniform(44.0, 64.0)
    neck = _step(neck_half - ABS_X + 0.15 * np.clip(Y - 130.0, 0, None), 2.0) * _step(Y - 40.0, 10.0)
    behind = (1.0 - head) * np.maximum(neck, 0.0)
    skin *= (1.0 - rng.uniform(0.2, 0.6) * behind * np.exp(-np.clip(Y - face.chin_y, 0, None) / 28.0))[..., None]
    z = np.where(head < 0.5, np.maximum(z, np.where(neck > 0.5, -62.0 - 0.004 * X**2, z)), z).astype(np.float32)
    skin *= (1.0 - 0.35 * _step(ABS_X - face.skull_half, 2.0) * ears * np.clip(_noise(rng, 1.5) + 0.5, 0, 1))[..., None]

    collar = rng.uniform(128.0, 175.0)
    cloth_edge = collar + rng.uniform(-0.5, 0.35) * np.clip(neck_half - ABS_X, 0.0, None)
    shoulders = _step(Y - cloth_edge, 2.0) * _step(Y - collar - 0.28 * (ABS_X - neck_half) + 6.0, 3.0)
    _mix(skin, _dull(rng), shoulders)
    alpha = np.maximum(np.maximum(head, ears * (t > 0.9)), np.maximum(neck * (Y > 30), shoulders))

    cover = _hair_mask(face, t, rng, hair_style)
    strand = 1.0 + rng.uniform(0.1, 0.35) * np.clip(
        gaussian_filter(_noise(rng, 0.7), (3.0 * FINER, 0.3)) * (2.2 * FINER**0.5) + 0.5 * _noise(rng, 4.0), -2.0, 2.0)
    hair_texture = np.clip(hair * strand[..., None], 0.0, 1.0)
    skin += cover[..., None] * (hair_texture - skin)
    alpha = np.maximum(alpha, cover)
    z = z + (4.0 * cover).astype(np.float32)
    covers += [cover, 1.0 - head]
    glasses = False
    if hair_style is None:
        covers.append(_paint_glasses(face, skin, rng))
        glasses = bool(covers[-1].any())
    covered = np.clip(np.max(covers, axis=0), 0.0, 1.0)
    return (np.clip(skin, 0.0, 1.0).astype(np.float32), alpha.astype(np.float32), z, covered.astype(np.float32), glasses)


def lamps(camera_from_head, rng):
    """One to three lamps: their directions in the head frame and their colours."""
    directions, colours = [], []
    for index in range(rng.integers(1, 4)):
        azimuth, height = rng.normal(0.0, 0.8), rng.normal(-0.35, 0.45)
        direction = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
        directions.append(camera_from_head.T @ direction)
        warmth = rng.normal(0.0, 0.12)
        power = rng.uniform(0.3, 1.3) * (1.0 if index == 0 else rng.uniform(0.1, 0.6))
        colours.append((power * np.array([1.0 + warmth, 1.0, 1.0 - warmth])).astype(np.float32))
    return directions, colours


def _light(albedo, z, camera_from_head, rng):
    directions, colours = lamps(camera_from_head, rng)
    ambient = rng.uniform(0.12, 0.8)
    gloss = rng.uniform(0.0, 0.16) * np.clip(0.6 + 0.4 * _noise(rng, 4.0), 0.1, 1.5)
    return _shade(albedo, z, directions, colours, ambient, rng.uniform(-0.1, 0.5), gloss, rng)[0]


def _photograph(face, radiance, alpha, z, xy, camera_from_head, turn_deg, rng, cover=None, glasses=False) -> Scene:
    distance = float(np.exp(rng.uniform(np.log(420.0), np.log(2500.0))))
    px_per_mm = SCENE_PX / (SCENE_BOX_SIDES * BOX_SIDE_MM)
    eye = Eye(z, camera_from_head, distance)
    centre = eye.project(np.array([[0.0, BOX_CENTRE_Y_MM, -8.0]]))[0]
    spot = np.array([SCENE_PX, SCENE_PX]) * 0.5
    points = (eye.project(_solid(eye, xy)) - centre) * px_per_mm + spot

    pixel = np.arange(SCENE_PX) + 0.5
    image_x, image_y = np.meshgrid(pixel, pixel)
    ray_x = (image_x - spot[0]) / px_per_mm + centre[0]
    ray_y = (image_y - spot[1]) / px_per_mm + centre[1]
    sampled = eye.look(ray_x.astype(np.float32), ray_y.astype(np.float32), np.dstack([radiance, alpha]))
    mask = sampled[..., 3:4]
    scene = sampled[..., :3] * mask + (1.0 - mask) * backdrop(rng, SCENE_PX)
    scene = cover(scene, points, rng) if cover else _occlude(scene, rng)
    side = BOX_SIDE_MM * px_per_mm
    return Scene(_camera(scene.astype(np.float32), rng), points.astype(np.float32),
                 np.array([spot[0], spot[1], side], np.float32), face.melanin, turn_deg, glasses)


def _solid(eye: Eye, xy) -> np.ndarray:
    """Points of the head frame with their height, shape (POINT_COUNT, 3)."""
    # On the rim the height field is steepest, so the depth of a rim point is read a little inside.
    inset = np.where(np.isin(np.arange(POINT_COUNT), RIM_POINTS), 0.96, 1.0)[:, None] * xy
    return np.column_stack([xy, eye.height_at(inset[:, 0], inset[:, 1])])


def head_points(seed: int) -> np.ndarray:
    """The points of one person's head in mm: x to the right, y down, z out of the face; shape (POINT_COUNT, 3)."""
    rng = np.random.default_rng([55_001, seed])
    face = _draw_face(rng)
    height, _ = _head_height(face, rng)
    return _solid(Eye(height, np.eye(3), 1.0), _points_in_head(face))


class Eye:
    """A pinhole at `distance` mm before the head's origin, looking at the height field `z`."""

    def __init__(self, z, camera_from_head, distance: float):
        self.z, self.camera_from_head, self.distance = z, camera_from_head, distance

    def height_at(self, x, y):
        """The height field at points of the head frame, in mm."""
        return map_coordinates(self.z, [_rows(y), _cols(x)], order=1, mode="nearest", prefilter=False)

    def project(self, points_head):
        """Where points of the head frame are seen, in mm on the plane through its origin."""
        cam = points_head @ self.camera_from_head.T
        return cam[..., :2] * (self.distance / (self.distance - cam[..., 2:3]))

    def look(self, ray_x, ray_y, layers) -> np.ndarray:
        """What lies where the rays through the plane's points meet the head: a value of each layer."""
        # March each ray onto the height field: correct the depth by the residual, damped.
        # The coarse half-resolution march only finds the start for the fine one.
        head_from_camera = self.camera_from_head.T.astype(np.float32)

        def march(x, y, depth, steps):
            for _ in range(steps):
                shrink = (self.distance - depth) * (1.0 / self.distance)
                cam = np.stack([x * shrink, y * shrink, depth], axis=-1)
                head = cam @ head_from_camera.T
                residual = self.height_at(head[..., 0], head[..., 1]) - head[..., 2]
                depth = np.clip(depth + 0.65 * residual, -105.0, 40.0)
            return depth, head

        coarse, _ = march(ray_x[::2, ::2], ray_y[::2, ::2], np.zeros_like(ray_x[::2, ::2]), 7)
        _, head = march(ray_x, ray_y, coarse.repeat(2, 0).repeat(2, 1), 4)
        rows, cols = _rows(head[..., 1]), _cols(head[..., 0])
        return np.dstack([map_coordinates(layers[..., layer], [rows, cols], order=1, mode="nearest", prefilter=False)
                          for layer in range(layers.shape[2])])


def _rows(y):
    return (y - _Y[0]) / GRID_MM


def _cols(x):
    return (x - _X[0]) / GRID_MM


def _occlude(scene, rng):
    """Now and then something stands before the face: a hand, a phone, a strand."""
    if rng.random() > 0.08:
        return scene
    grid = np.arange(SCENE_PX)
    x, y = np.meshgrid(grid, grid)
    cx, cy = rng.uniform(0.1, 0.9, 2) * SCENE_PX
    angle = rng.uniform(0.0, np.pi)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
    mask = _step(1.0 - np.hypot(u / rng.uniform(4.0, 60.0), v / rng.uniform(3.0, 16.0)), 0.2)[..., None]
    return scene * (1.0 - mask) + mask * rng.random(3) * 0.6
