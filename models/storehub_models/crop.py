"""From a detector's box to the 96 x 96 picture that the network sees, and back.

Owns the crop convention. The manifest carries these numbers to the kiosk, which must not type them
again. A crop is a square in picture coordinates (pixel centres at integer + 0.5), sampled
bilinearly; where it leaves the picture, the nearest edge pixel is repeated.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates
from PIL import Image

INPUT_PX = 96
# The crop is this many box sides wide, and its centre lies this many box sides below the box's.
BOX_SCALE = 1.3
BOX_SHIFT_Y = 0.04
# The second pass frames the mean face of the renderer as the convention above does: its mouth lies
# 64.5 mm below its eyes, and the crop is 1.3 x 155 mm wide with its centre 21 mm below the eyes.
REFINE_SIDE = 3.12
REFINE_CENTRE = 0.33
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
FORMULA = "(value / 255 - mean) / std, on sRGB-encoded values"


def crop_from_box(x: float, y: float, width: float, height: float) -> tuple[float, float, float]:
    """Centre x, centre y and side of the crop for a box given by its top left corner and size."""
    side = 0.5 * (width + height)
    return x + 0.5 * width, y + 0.5 * height + BOX_SHIFT_Y * side, BOX_SCALE * side


def crop_from_points(points: np.ndarray) -> tuple[float, float, float]:
    """The crop of the second pass, from the five named points in picture coordinates."""
    eyes, mouth = points[:2].mean(axis=0), points[3:5].mean(axis=0)
    centre = eyes + REFINE_CENTRE * (mouth - eyes)
    return float(centre[0]), float(centre[1]), float(REFINE_SIDE * np.linalg.norm(mouth - eyes))


def to_picture(points: np.ndarray, crop: tuple[float, float, float]) -> np.ndarray:
    """Crop fractions to picture coordinates."""
    return (points - 0.5) * crop[2] + np.array(crop[:2])


def sample(image: np.ndarray, crop: tuple[float, float, float]) -> np.ndarray:
    """The crop as INPUT_PX square 8-bit RGB.

    A crop with more than one source pixel per target pixel is box-filtered first, because bilinear
    sampling alone would alias.
    """
    cx, cy, side = crop
    x0, y0 = cx - 0.5 * side, cy - 0.5 * side
    factor = max(1, int(side / INPUT_PX))
    fine = INPUT_PX * factor
    step = side / fine
    axis = (np.arange(fine) + 0.5) * step - 0.5
    rows, cols = np.meshgrid(axis + y0, axis + x0, indexing="ij")
    planes = [map_coordinates(image[..., c].astype(np.float32), [rows, cols], order=1, mode="nearest")
              for c in range(3)]
    picture = np.stack(planes, axis=-1).reshape(INPUT_PX, factor, INPUT_PX, factor, 3).mean(axis=(1, 3))
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def normalise(crop_rgb: np.ndarray) -> np.ndarray:
    """8-bit RGB, ... x 96 x 96 x 3, to the network's input, ... x 3 x 96 x 96."""
    value = (crop_rgb.astype(np.float32) / 255.0 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(np.moveaxis(value, -1, -3))


def load_rgb(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
