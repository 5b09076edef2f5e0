"""What a skin map shows, drawn with its truth: lines, pigment spots, redness, shine.

Owns the fine structure of a face between 0.3 and 20 mm and the fields that say where it is. It knows the
proportions of a `render.Face` and draws on the renderer's grid; it owns no light and no camera. Every choice
is drawn from the generator that is handed in.

Units: mm for lengths and depths; pigments as differences of natural logarithms of melanosome and blood
fractions (`skin_optics`). Lines are 0.25 to 2 mm wide and 0.02 to 0.5 mm deep; these ranges and all others
here are assumed, wide on purpose, and fitted to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from . import render


@dataclass
class Mesostructure:
    """Fields on the renderer's grid; `lines` and `spots` are the truth of the maps.

    `grooves` is the part of `height` that is the lines'. The painter fills in what depends on the whole skin: `unspotted`
    is what each colour is to be multiplied with to take the spots away, `redness` all blood beyond the person's own.
    """

    melanin: np.ndarray
    blood: np.ndarray
    height: np.ndarray
    gloss: np.ndarray
    lines: np.ndarray
    spots: np.ndarray
    grooves: np.ndarray
    unspotted: np.ndarray | None = None
    redness: np.ndarray | None = None


def draw(face: render.Face, rng) -> Mesostructure:
    """The fine structure of one person: from none at all to much of everything."""
    shape = render.X.shape
    height = np.zeros(shape, np.float32)
    lines = np.zeros(shape, np.float32)
    for curve, width, depth in _lines(face, rng):
        _groove(curve, width, depth, height, lines, rng)
    grooves = height.copy()
    spots, moles = _spots(face, rng)
    redness, bumps = _redness(face, rng)
    height += moles + bumps
    # Grain finer than any map, in pigment and in relief: pores and the skin's own pattern.
    grain = _grain(rng, 0.35)
    height += (rng.uniform(0.0, 0.012) * grain).astype(np.float32)
    # Mottle without an edge, at several sizes: uneven, and neither a spot nor a patch.
    mottle = rng.uniform(0.0, 0.05) * _grain(rng, 1.1) + rng.uniform(0.0, 0.07) * _grain(rng, rng.uniform(3.0, 8.0))
    flush = rng.uniform(0.0, 0.06) * _grain(rng, 1.6) + rng.uniform(0.0, 0.08) * _grain(rng, rng.uniform(4.0, 10.0))
    return Mesostructure(
        melanin=spots + mottle.astype(np.float32), blood=redness + flush.astype(np.float32),
        height=height, gloss=_gloss(face, rng), lines=lines, spots=spots,
        grooves=grooves)


def _grain(rng, size_mm: float) -> np.ndarray:
    field = gaussian_filter(rng.standard_normal(render.X.shape, dtype=np.float32), size_mm / render.GRID_MM)
    return field / field.std()


def _rough(rng, count: int) -> np.ndarray:
    """A smooth random walk of `count` steps about nought, of unit size."""
    walk = gaussian_filter(rng.standard_normal(count), max(1.0, count / rng.uniform(4.0, 12.0)), mode="nearest")
    return (walk - walk.mean()) / max(walk.std(), 1e-6)


def _curve(rng, start, end, bend: float, waves: float) -> np.ndarray:
    """Points every half millimetre from `start` to `end`, bent sideways by `bend` mm and wavy by `waves` mm."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    count = max(4, int(np.linalg.norm(end - start) / 0.5))
    along = np.linspace(0.0, 1.0, count)[:, None]
    across = np.array([-(end - start)[1], (end - start)[0]]) / max(np.linalg.norm(end - start), 1e-6)
    sideways = bend * 4.0 * along[:, 0] * (1.0 - along[:, 0]) + waves * _rough(rng, count)
    return start + along * (end - start) + sideways[:, None] * across


def _lines(face: render.Face, rng):
    """Curves in the head frame with their width and greatest depth."""
    # How lined the skin is, from not at all to very; places differ within a person.
    lined = rng.beta(1.1, 1.6)
    if rng.random() < 0.12:
        return

    def many(most: float) -> int:
        return int(rng.poisson(most * lined * rng.uniform(0.3, 1.4)))

    def kind(deep: float = 1.0):
        width = float(np.exp(rng.uniform(np.log(0.25), np.log(1.1))))
        return width, float(np.clip(width * rng.uniform(0.08, 0.38) * deep * (0.5 + lined), 0.02, 0.5))

    for _ in range(many(6)):
        y = rng.uniform(-72.0, -33.0)
        left, right = -rng.uniform(8.0, 48.0), rng.uniform(8.0, 48.0)
        yield _curve(rng, (left, y + rng.uniform(-3, 3)), (right, y + rng.uniform(-3, 3)), rng.uniform(-7.0, 4.0), 0.8), *kind()
    for _ in range(many(3)):
        x = rng.normal(0.0, 6.0)
        yield _curve(rng, (x, face.brow_y - rng.uniform(4, 18)), (x * rng.uniform(0.5, 1.2), face.brow_y + rng.uniform(2, 9)),
                     rng.uniform(-1.0, 1.0), 0.4), *kind()
    for side in (-1.0, 1.0):
        corner = np.array([side * (face.eye_x + face.eye_half + 2.0), 0.0])
        for _ in range(many(6)):
            turn = rng.uniform(-0.7, 0.8)
            reach = rng.uniform(5.0, 24.0)
            start = corner + np.array([side * rng.uniform(0.0, 5.0), rng.uniform(-5.0, 8.0)])
            yield _curve(rng, start, start + reach * np.array([side * np.cos(turn), np.sin(turn)]), rng.uniform(-2, 2), 0.3), *kind()
        for _ in range(many(4)):
            y = rng.uniform(5.0, 16.0)
            inner, outer = face.eye_x - rng.uniform(2.0, 13.0), face.eye_x + rng.uniform(0.0, 13.0)
            yield _curve(rng, (side * inner, y + rng.uniform(0, 4)), (side * outer, y + rng.uniform(-3, 3)),
                         side * rng.uniform(0.0, 3.5), 0.3), *kind(0.7)
        if rng.random() < 0.25 + 0.7 * lined:
            fold = (side * (face.nose_half + rng.uniform(1, 5)), face.nose_base_y - rng.uniform(3, 9))
            end = (side * (face.mouth_half + rng.uniform(4, 10)), face.mouth_y + rng.uniform(-6, 6))
            width, depth = kind(1.3)
            yield _curve(rng, fold, end, -side * rng.uniform(1.0, 5.0), 0.4), 1.6 * width, min(1.3 * depth, 0.5)
        for _ in range(many(1.5)):
            top = (side * (face.mouth_half + rng.uniform(0, 5)), face.mouth_y + rng.uniform(0, 6))
            yield _curve(rng, top, (top[0] + side * rng.uniform(-2, 6), top[1] + rng.uniform(8, 24)), rng.uniform(-2, 2), 0.4), *kind()
        for _ in range(many(5)):
            x, y = side * rng.uniform(28.0, 58.0), rng.uniform(8.0, 70.0)
            turn, reach = rng.uniform(0.0, np.pi), rng.uniform(4.0, 22.0)
            yield _curve(rng, (x, y), (x + reach * np.cos(turn), y + reach * np.sin(turn)), rng.uniform(-2, 2), 0.4), *kind(0.7)
    for _ in range(many(6)):
        x = rng.uniform(-face.mouth_half, face.mouth_half)
        top = face.mouth_y - face.lip_up - rng.uniform(1.0, 8.0)
        yield _curve(rng, (x, top), (x * rng.uniform(0.9, 1.15), top + rng.uniform(2.0, 6.0)), 0.0, 0.2), *kind(0.6)


def _window(low, high):
    """Slices of the grid that hold a box of the head frame, or None beside it."""
    cell, left, top = render.GRID_MM, render._X[0], render._Y[0]
    x0, x1 = (np.clip(int((value - left) / cell), 0, render.X.shape[1]) for value in (low[0], high[0] + cell))
    y0, y1 = (np.clip(int((value - top) / cell), 0, render.X.shape[0]) for value in (low[1], high[1] + cell))
    return (slice(y0, y1), slice(x0, x1)) if y0 < y1 and x0 < x1 else None


def _groove(curve, width: float, depth: float, height, lines, rng) -> None:
    """Cuts one line: a Gaussian valley with soft shoulders, which fades at its ends and comes and goes along."""
    reach = 4.5 * width
    window = _window(curve.min(axis=0) - reach, curve.max(axis=0) + reach)
    if window is None:
        return
    points = np.column_stack([render.X[window].ravel(), render.Y[window].ravel()])
    distance, nearest = cKDTree(curve).query(points, distance_upper_bound=reach)
    near = np.isfinite(distance)
    along = np.linspace(0.0, 1.0, len(curve))
    strength = np.clip(1.0 - np.abs(2.0 * along - 1.0) ** rng.uniform(2.0, 8.0), 0.0, 1.0)
    strength *= np.clip(1.0 + rng.uniform(0.0, 0.5) * _rough(rng, len(curve)), 0.0, 1.3)
    strength = depth * strength[nearest[near]]
    r = distance[near] / width
    valley = strength * np.exp(-r * r)
    shoulder = 0.22 * strength * np.exp(-((r - 2.2) ** 2))
    size = lines[window].shape
    cut, relief = np.zeros(points.shape[0], np.float32), np.zeros(points.shape[0], np.float32)
    cut[near], relief[near] = valley, shoulder - valley
    lines[window] = np.maximum(lines[window], cut.reshape(size))
    height[window] += relief.reshape(size)


def _blob(centre, radius: float, edge: float, rng) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """A round patch with an uneven edge: its window and its cover."""
    reach = 1.9 * radius + 2.0
    window = _window(np.asarray(centre) - reach, np.asarray(centre) + reach)
    if window is None:
        return None
    dx, dy = render.X[window] - centre[0], render.Y[window] - centre[1]
    angle = np.arctan2(dy, dx)
    uneven = 1.0 + sum(rng.normal(0.0, 0.13 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (1, 2, 3, 4, 5))
    stretch, turn = rng.uniform(0.75, 1.0), rng.uniform(0.0, np.pi)
    u = dx * np.cos(turn) + dy * np.sin(turn)
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / stretch
    return window, render._step(radius * uneven - np.hypot(u, v), max(edge * radius, 0.25)).astype(np.float32)


def _somewhere(face: render.Face, rng):
    """A place on the face, more often in the middle of it."""
    return np.array([rng.normal(0.0, 32.0), np.clip(rng.normal(18.0, 38.0), -80.0, face.chin_y)])


def _spots(face: render.Face, rng) -> tuple[np.ndarray, np.ndarray]:
    """Melanin of freckles, lentigines and moles, and how far moles stand out."""
    # On light skin a spot has many times the melanin around it, on dark skin a little more.
    richer = float(np.clip((0.05 / face.melanin) ** 0.6, 0.6, 4.0))
    melanin, moles = np.zeros(render.X.shape, np.float32), np.zeros(render.X.shape, np.float32)

    def add(centre, radius, amount, edge, out=0.0):
        drawn = _blob(centre, radius, edge, rng)
        if drawn is not None:
            window, cover = drawn
            melanin[window] = np.maximum(melanin[window], richer * amount * cover)
            moles[window] = np.maximum(moles[window], out * cover)

    if rng.random() < 0.4:
        amount = rng.uniform(0.15, 0.9)
        for _ in range(int(np.exp(rng.uniform(np.log(6), np.log(140))))):
            centre = np.array([rng.normal(0.0, 30.0), rng.normal(18.0, 17.0)])
            add(centre, np.exp(rng.uniform(np.log(0.5), np.log(1.8))), amount * rng.uniform(0.5, 1.5), rng.uniform(0.4, 0.9))
    for _ in range(int(rng.poisson(rng.choice([0.0, 2.0, 8.0])))):
        add(_somewhere(face, rng), rng.uniform(1.5, 6.0), rng.uniform(0.15, 0.9), rng.uniform(0.15, 0.6))
    for _ in range(int(rng.poisson(0.9))):
        add(_somewhere(face, rng), rng.uniform(0.8, 2.6), rng.uniform(0.9, 2.2), rng.uniform(0.15, 0.4), rng.uniform(0.0, 0.8))
    return melanin, moles


def _redness(face: render.Face, rng) -> tuple[np.ndarray, np.ndarray]:
    """Blood of diffuse patches and of small raised bumps, and how far the bumps stand out."""
    blood, bumps = np.zeros(render.X.shape, np.float32), np.zeros(render.X.shape, np.float32)
    for _ in range(int(rng.poisson(rng.choice([0.0, 2.0, 5.0])))):
        drawn = _blob(_somewhere(face, rng), rng.uniform(4.0, 20.0), rng.uniform(0.5, 1.4), rng)
        if drawn is not None:
            window, cover = drawn
            blood[window] = np.maximum(blood[window], rng.uniform(0.15, 1.0) * cover)
    for _ in range(int(rng.poisson(rng.choice([0.0, 2.0, 14.0], p=[0.5, 0.3, 0.2])))):
        drawn = _blob(_somewhere(face, rng), rng.uniform(0.8, 3.2), rng.uniform(0.5, 1.0), rng)
        if drawn is not None:
            window, cover = drawn
            blood[window] = np.maximum(blood[window], rng.uniform(0.3, 1.2) * cover)
            bumps[window] = np.maximum(bumps[window], rng.uniform(0.0, 0.6) * cover**1.5)
    return blood, bumps


def _gloss(face: render.Face, rng) -> np.ndarray:
    """How much of the light the surface throws back as a mirror does: more in the middle of the face."""
    middle = np.exp(-0.5 * ((render.X / 26.0) ** 2 + ((render.Y - 5.0) / 60.0) ** 2))
    nose = render._bump(0.0, face.nose_tip_y - 6.0, 9.0, 14.0)
    base = rng.uniform(0.005, 0.05) + rng.uniform(0.0, 0.16) * np.maximum(middle, nose)
    if rng.random() < 0.35:
        base *= rng.uniform(1.5, 5.0)
    # A film of oil is patchy, sometimes very: what it leaves dull is no spot.
    patches = rng.uniform(0.0, 0.8) * _grain(rng, float(np.exp(rng.uniform(np.log(1.2), np.log(10.0)))))
    return (base * np.clip(1.0 + patches + 0.25 * _grain(rng, 0.5), 0.02, 2.8)).astype(np.float32)
