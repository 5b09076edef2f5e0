"""Training of the skin network on rendered scenes alone, and how well it does on scenes it never saw.

Owns the augmentation of a crop, the loss, the schedule and the tolerant overlap that lines and spots are judged by.
Seeds are fixed. Renderer B's scenes are for `judge` only.

A training has two stages. The second one starts from the weights of the first, with a lower rate, and lines in it are dark
as well as deep: the renderer cuts them into the relief, so that all that a network can know a line by is how the light
falls into it, and on skin a line also holds shadow, pigment and what was put on the skin.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch.nn import functional

from . import scenes, skin_network, skin_scenes, training

# Maps are judged with this much tolerance, in pixels of the picture.
TOLERANCE_PX = 3
# Drawn from these on: mm of depth, and added logarithm of melanin.
LINE_MM_MIN = 0.02
SPOT_MIN = 0.06
# Where shine stands among the maps.
SHINE = skin_scenes.MAPS.index("shine")
LINES, LINE_CONTRAST = skin_scenes.MAPS.index("lines"), skin_scenes.MAPS.index("line_contrast")
# The depth at which a line is as dark whatever its flank, in mm.
FLANK_MM = 0.2
# L* is this times the cube root of the light, less 16; so a small share of the light is worth a third of it times the root.
LIGHTNESS_OF_ROOT = 116.0
FIRST, SECOND = 1, 2
# Seen from here on, in CIELAB (see `skin_scenes`).
JUST_NOTICEABLE = 2.3


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides the scenes."""

    seed: int = 29
    steps: int = 9000
    second_steps: int = 1000
    batch: int = 12
    crop_px: int = 192
    width: int = 24
    learning_rate: float = 2e-3
    second_rate: float = 8e-4
    weight_decay: float = 1e-4
    warmup_steps: int = 200
    average_decay: float = 0.998
    scale_max: float = 1.35
    roll_deg_max: float = 12.0
    # Lines and spots are few: what a pixel of them weighs against one without.
    line_weight: float = 3.0
    spot_weight: float = 3.0
    overlap_weight: float = 0.5
    shine_weight: float = 1.0
    # How many pictures of the second stage have dark lines, and by what share at most a millimetre of depth darkens.
    dark_lines_share: float = 0.7
    dark_per_mm_max: float = 2.0


class SceneSet:
    """All shards of one kind that are there so far."""

    def __init__(self, kind: scenes.Kind, folder: Path, limit: int | None = None) -> None:
        self.kind, self.folder, self.limit = kind, folder, limit
        self.images: list[np.ndarray] = []
        self.maps: list[np.ndarray] = []

    def refresh(self) -> int:
        """Loads shards that have arrived since; returns the number of scenes."""
        while self.limit is None or len(self.images) < self.limit:
            path = self.kind.path(self.folder, len(self.images))
            if not path.exists():
                break
            shard = scenes.load_shard(path)
            self.images.append(shard["images"])
            self.maps.append(shard["maps"])
        return len(self.images) * self.kind.shard_scenes

    def scene(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        shard, row = divmod(index, self.kind.shard_scenes)
        return self.images[shard][row], self.maps[shard][row]


def crops(data: SceneSet, rng, settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """Turned, scaled and mirrored cuts: pictures in [0, 1] and their maps at half the size."""
    side, total = settings.crop_px, data.refresh()
    pictures, truths = [], []
    for index in rng.integers(total, size=settings.batch):
        image, maps = data.scene(int(index))
        row, col = _somewhere(maps, rng)
        scale = settings.scale_max ** rng.uniform(-1.0, 1.0)
        angle = np.radians(rng.uniform(-settings.roll_deg_max, settings.roll_deg_max))
        flip = -1.0 if rng.random() < 0.5 else 1.0
        ratio = side * scale / skin_scenes.FRAME_PX
        theta = np.array([
            [ratio * flip * np.cos(angle), -ratio * np.sin(angle), 2.0 * col / skin_scenes.FRAME_PX - 1.0],
            [ratio * flip * np.sin(angle), ratio * np.cos(angle), 2.0 * row / skin_scenes.FRAME_PX - 1.0]])
        theta = torch.from_numpy(theta).float()[None]

        def cut(field, px):
            grid = functional.affine_grid(theta, (1, field.shape[1], px, px), align_corners=False)
            return functional.grid_sample(field, grid, mode="bilinear", padding_mode="border", align_corners=False)

        picture = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255.0
        truth = torch.from_numpy(maps).permute(2, 0, 1)[None].float()
        pictures.append(cut(picture, side))
        truths.append(cut(truth, side // 2))
    return torch.cat(pictures), torch.cat(truths)


def _somewhere(maps: np.ndarray, rng) -> tuple[float, float]:
    """The middle of a cut: mostly on skin, more often than by chance on a line or a spot that can be seen."""
    seen = [maps[..., skin_scenes.MAPS.index(name)] >= JUST_NOTICEABLE for name in ("line_contrast", "spot_contrast")]
    where = [*seen, maps[..., 0] > 0.5][rng.choice(3, p=[0.3, 0.08, 0.62])]
    if rng.random() < 0.08 or not where.any():
        return tuple(rng.uniform(0, skin_scenes.FRAME_PX, 2))
    return tuple(np.argwhere(where)[rng.integers(int(where.sum()))] * 2.0)


def vary_light(picture: torch.Tensor, truth: torch.Tensor, rng) -> tuple[torch.Tensor, torch.Tensor]:
    """Exposure, curve, tint, uneven light, highlights, sharpness and noise, each its own for each picture.

    A highlight that is added is shine in the truth as well.
    """
    count = picture.shape[0]

    def column(low: float, high: float, channels: int = 1) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, channels, 1, 1))).float()

    linear = picture.clamp(1e-4, 1.0) ** 2.2
    # Light that falls unevenly, with soft and with harder edges, and patches that mirror the lamp.
    shade = torch.sigmoid(column(1.0, 8.0) * _smooth(rng, picture, 20.0, 120.0))
    linear = linear * (1.0 - column(0.0, 0.5) * _sometimes(rng, count, 0.4) * shade)
    patches = functional.relu(_smooth(rng, picture, 3.0, 40.0) + column(-1.5, 0.8)) ** column(0.7, 2.0)
    # A film of oil is the other way round: it shines all over but for holes, which are as round and dark as spots.
    film = functional.relu(1.0 + column(0.2, 0.9) * _smooth(rng, picture, 6.0, 30.0))
    gleam = torch.where(_sometimes(rng, count, 0.5) > 0.0, film, patches)
    where = torch.sigmoid(3.0 * _smooth(rng, picture, 40.0, 150.0))
    gleam = column(0.02, 0.4) * _sometimes(rng, count, 0.5) * gleam * where
    truth = truth.clone()
    added = functional.avg_pool2d(gleam, 2)[:, 0] / functional.avg_pool2d(linear.mean(dim=1, keepdim=True) + gleam, 2)[:, 0]
    truth[:, SHINE] = 1.0 - (1.0 - truth[:, SHINE]) * (1.0 - added)
    linear = linear + gleam
    picture = linear.clamp(1e-4, 1.0) ** (1 / 2.2)
    picture = picture ** column(0.8, 1.25) * column(0.8, 1.2) * column(0.92, 1.08, 3)
    soft = functional.avg_pool2d(functional.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    picture = picture + column(-0.6, 0.5) * (soft - picture)
    noise = torch.from_numpy(rng.standard_normal(picture.shape, dtype=np.float32))
    return (picture + noise * column(0.0, 0.02)).clamp(0.0, 1.0), truth


def darken_lines(picture: torch.Tensor, truth: torch.Tensor, rng, settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """Lines of some pictures are darker than the skin, more where they are deep, with a flank of another form in each picture.

    What is darker is seen better, and the truth says so.
    """
    count = picture.shape[0]

    def drawn(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, 1, 1, 1))).float()

    per_mm = drawn(0.0, settings.dark_per_mm_max) * _sometimes(rng, count, settings.dark_lines_share)
    depth = (truth[:, LINES:LINES + 1] / FLANK_MM).clamp(min=0.0) ** drawn(0.6, 1.6) * FLANK_MM
    share = (per_mm * depth).clamp(max=0.6)
    fine = functional.interpolate(share, size=picture.shape[2:], mode="bilinear", align_corners=False)
    linear = picture.clamp(1e-4, 1.0) ** 2.2
    light = functional.avg_pool2d(linear.mean(dim=1, keepdim=True), 2)
    truth = truth.clone()
    truth[:, LINE_CONTRAST] += (LIGHTNESS_OF_ROOT / 3.0 * light ** (1 / 3) * share)[:, 0]
    return (linear * (1.0 - fine)) ** (1 / 2.2), truth


def _sometimes(rng, count: int, share: float) -> torch.Tensor:
    return torch.from_numpy((rng.random((count, 1, 1, 1)) < share).astype(np.float32))


def _smooth(rng, picture: torch.Tensor, smallest_px: float, largest_px: float) -> torch.Tensor:
    """A field of about unit variance for each picture, with a grain of its own size."""
    side, fields = picture.shape[2], []
    for _ in range(picture.shape[0]):
        cells = max(3, int(side / np.exp(rng.uniform(np.log(smallest_px), np.log(largest_px)))))
        coarse = torch.from_numpy(rng.standard_normal((1, 1, cells, cells), dtype=np.float32))
        fields.append(1.3 * functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False))
    return torch.cat(fields)


def targets(truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's outputs as they should be, shine in SHINE_UNIT; and where a line and a spot can be told (1) or not (0).

    There is one where something was drawn and can be seen, nearby at least. What was drawn and cannot be seen is
    neither: to find it is no mistake, and to miss it is none.
    """
    skin, depth, melanin, _, shine, line_contrast, spot_contrast = truth.unbind(dim=1)
    wanted, told = [(skin > 0.5).float()], []
    for drawn, contrast in ((depth > LINE_MM_MIN, line_contrast), (melanin > SPOT_MIN, spot_contrast)):
        seen = drawn & (functional.max_pool2d(contrast[:, None], 3, 1, 1)[:, 0] >= JUST_NOTICEABLE)
        wanted.append(seen.float())
        told.append((seen | ~drawn).float())
    wanted.append(shine / skin_network.SHINE_UNIT)
    return torch.stack(wanted, dim=1), torch.stack(told, dim=1)


def loss_of(raw: torch.Tensor, truth: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Cross-entropy and overlap of the probabilities, distance of shine; on skin alone but for the skin itself."""
    wanted, told = targets(truth)
    on_skin = wanted[:, 0]
    loss = functional.binary_cross_entropy_with_logits(raw[:, 0], on_skin)
    for channel, weight in ((1, settings.line_weight), (2, settings.spot_weight)):
        logits, there, counted = raw[:, channel], wanted[:, channel], on_skin * told[:, channel - 1]
        entropy = functional.binary_cross_entropy_with_logits(
            logits, there, pos_weight=torch.tensor(weight), reduction="none")
        loss = loss + (entropy * counted).sum() / (counted.sum() + 1.0)
        p, there = torch.sigmoid(logits) * counted, there * counted
        loss = loss + settings.overlap_weight * (1.0 - (2.0 * (p * there).sum() + 1.0) / (p.sum() + there.sum() + 1.0))
    shine = functional.smooth_l1_loss(raw[:, 3], wanted[:, 3], beta=0.1, reduction="none")
    return loss + settings.shine_weight * (shine * on_skin).sum() / (on_skin.sum() + 1.0)


def matches(found: np.ndarray, truth: np.ndarray, tolerance_px: int, told: np.ndarray | None = None) -> np.ndarray:
    """Two masks, where a miss by at most so many pixels is none: found rightly, found, there and found, there.

    What is found where nothing can be `told`, or beside it, is left out.
    """
    axis = np.arange(-tolerance_px, tolerance_px + 1)
    reach = np.hypot(axis[:, None], axis) <= tolerance_px + 0.5
    right = found & binary_dilation(truth, reach)
    counted = found if told is None else right | (found & ~binary_dilation(~told, reach))
    return np.array([right.sum(), counted.sum(), (truth & binary_dilation(found, reach)).sum(), truth.sum()], float)


def overlap(counts: np.ndarray) -> dict[str, float]:
    """Precision, recall and intersection over union of summed `matches`."""
    right, seen, hit, there = counts
    precision, recall = right / max(seen, 1.0), hit / max(there, 1.0)
    iou = precision * recall / max(precision + recall - precision * recall, 1e-9)
    return {"precision": float(precision), "recall": float(recall), "iou": float(iou)}


def judge(answer, kind: scenes.Kind, folder: Path, shards: range, threshold: float = 0.5) -> dict:
    """How well `answer` (a picture to OUTPUTS at half the size) does on whole scenes of a kind."""
    counts = {name: np.zeros(4) for name in ("line", "spot")}
    skin_iou, shine = [], []
    for shard in shards:
        data = scenes.load_shard(kind.path(folder, shard))
        for image, maps in zip(data["images"], data["maps"].astype(np.float32)):
            out = answer(image)
            wanted, told = (field[0].numpy() for field in targets(torch.from_numpy(maps).permute(2, 0, 1)[None]))
            skin, found = wanted[0] > 0.5, out[0] > 0.5
            skin_iou.append((found & skin).sum() / max((found | skin).sum(), 1))
            for channel, name in enumerate(counts, start=1):
                # Maps have half the picture's size, and so has the tolerance, rounded down.
                counts[name] += matches((out[channel] > threshold) & found, wanted[channel] > 0.5, TOLERANCE_PX // 2,
                                        told[channel - 1] > 0.5)
            shine.append((out[3][skin].mean(), skin_network.SHINE_UNIT * wanted[3][skin].mean()))
    report: dict = {"scenes": len(skin_iou), "skin_iou": float(np.mean(skin_iou))}
    report |= {name: overlap(sums) for name, sums in counts.items()}
    report["shine_r"] = float(np.corrcoef(np.array(shine).T)[0, 1])
    return report


def train(folder: Path, out: Path, settings: Settings, shards: int | None, threads: int = 1, log_every: int = 100) -> None:
    """Trains and writes `skinmap.pt` and `skinmap.json` into `out`; a run that ended with the same settings is kept."""
    torch.set_num_threads(threads)
    data = SceneSet(scenes.SKIN, folder, shards)
    if data.refresh() == 0:
        raise FileNotFoundError(f"no shard `{scenes.SKIN.path(folder, 0)}`: render skin scenes first")
    if training.is_finished(out / "skinmap.json", settings, skin_scenes.VERSION, data.refresh()):
        return
    torch.manual_seed(settings.seed)
    model = skin_network.SkinNet(settings.width).to(memory_format=torch.channels_last)
    started = time.monotonic()
    for stage in (FIRST, SECOND):
        _train_stage(model, data, out, settings, stage, log_every)
    training.end(out / "skinmap.json", model, settings, started, renderer=skin_scenes.VERSION, scenes=data.refresh(),
                 samples_seen=(settings.steps + settings.second_steps) * settings.batch, threads=threads)


def _train_stage(model, data: SceneSet, out: Path, settings: Settings, stage: int, log_every: int) -> None:
    """Trains `model` and leaves it with the averaged weights, which stand in `skinmap.pt` as well."""
    rng = np.random.default_rng(settings.seed if stage == FIRST else [settings.seed, stage])
    steps, rate = ((settings.steps, settings.learning_rate) if stage == FIRST
                   else (settings.second_steps, settings.second_rate))

    def loss_of_step(_step: int):
        picture, truth = crops(data, rng, settings)
        if stage == SECOND:
            picture, truth = darken_lines(picture, truth, rng, settings)
        picture, truth = vary_light(picture, truth, rng)
        picture = picture.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            raw = model(picture)
        loss = loss_of(raw.float(), truth, settings)
        return loss, loss.item()

    training.descend(model, settings, (steps, rate), out / "skinmap.pt", loss_of_step, log_every)


def answering(weights: Path, width: int):
    """The trained network as a function from a picture (H x W x 3, 8 bits) to its maps."""
    model = skin_network.SkinNet(width)
    model.load_state_dict(torch.load(weights, weights_only=True))
    exported = skin_network.Exported(model).eval()

    def answer(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return exported(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255.0)[0].numpy()

    return answer
