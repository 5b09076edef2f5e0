"""Training of the skin network on rendered scenes alone, and how well it does on scenes it never saw.

Owns the augmentation of a crop, the loss, the schedule and the tolerant overlap that lines and spots are judged by.
Seeds are fixed. Renderer B's scenes are for `judge` only.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch.nn import functional

from . import scenes, skin_network, skin_scenes, training

# Maps are judged with this much tolerance, in pixels of the picture.
TOLERANCE_PX = 3


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides the scenes."""

    seed: int = 29
    steps: int = 6000
    batch: int = 12
    crop_px: int = 192
    width: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 200
    average_decay: float = 0.998
    scale_max: float = 1.35
    roll_deg_max: float = 12.0
    # Lines and spots are few: what a pixel of them weighs against one without.
    line_weight: float = 6.0
    spot_weight: float = 6.0
    overlap_weight: float = 0.5


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
        # Skin is where there is something to learn; a tenth of the cuts lie anywhere.
        skin = maps[..., 0] > 0.5
        if rng.random() < 0.9 and skin.any():
            row, col = np.argwhere(skin)[rng.integers(int(skin.sum()))] * 2.0
        else:
            row, col = rng.uniform(0, skin_scenes.FRAME_PX, 2)
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


def vary_light(picture: torch.Tensor, rng) -> torch.Tensor:
    """Exposure, curve, tint, sharpness and noise, each its own for each picture."""
    count = picture.shape[0]

    def column(low: float, high: float, channels: int = 1) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, channels, 1, 1))).float()

    picture = picture.clamp(1e-4, 1.0) ** column(0.8, 1.25) * column(0.8, 1.2) * column(0.92, 1.08, 3)
    soft = functional.avg_pool2d(functional.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    picture = picture + column(-0.6, 0.5) * (soft - picture)
    noise = torch.from_numpy(rng.standard_normal(picture.shape, dtype=np.float32))
    return (picture + noise * column(0.0, 0.02)).clamp(0.0, 1.0)


def targets(truth: torch.Tensor) -> torch.Tensor:
    """The network's outputs as they should be, values in UNITS."""
    skin, depth, melanin, blood, shine = truth.unbind(dim=1)
    units = skin_network.UNITS
    return torch.stack([
        (skin > 0.5).float(), (depth > skin_network.LINE_MM_MIN).float(), (melanin > skin_network.SPOT_MIN).float(),
        depth / units[0], melanin / units[1], blood / units[2], shine / units[3]], dim=1)


def loss_of(raw: torch.Tensor, wanted: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Cross-entropy and overlap of the probabilities, distance of the values; on skin alone but for the skin itself."""
    on_skin = wanted[:, 0]
    area = on_skin.sum() + 1.0
    loss = functional.binary_cross_entropy_with_logits(raw[:, 0], on_skin)
    for channel, weight in ((1, settings.line_weight), (2, settings.spot_weight)):
        logits, truth = raw[:, channel], wanted[:, channel]
        entropy = functional.binary_cross_entropy_with_logits(
            logits, truth, pos_weight=torch.tensor(weight), reduction="none")
        loss = loss + (entropy * on_skin).sum() / area
        p = torch.sigmoid(logits) * on_skin
        loss = loss + settings.overlap_weight * (1.0 - (2.0 * (p * truth).sum() + 1.0) / (p.sum() + truth.sum() + 1.0))
    values = functional.smooth_l1_loss(functional.relu(raw[:, 3:]), wanted[:, 3:], beta=0.1, reduction="none")
    # Where there is something, ten times as much: most skin has nothing.
    weight = on_skin[:, None] * (1.0 + 9.0 * (wanted[:, 3:] > 0.05).float())
    # A ReLU alone gives no way back from below nought.
    below = functional.relu(-raw[:, 3:] - 1.0).mean()
    return loss + 2.0 * (values * weight).sum() / weight.sum().clamp(min=1.0) + 0.1 * below


def matches(found: np.ndarray, truth: np.ndarray, tolerance_px: int) -> np.ndarray:
    """Two masks, where a miss by at most so many pixels is none: found rightly, found, there and found, there."""
    axis = np.arange(-tolerance_px, tolerance_px + 1)
    reach = np.hypot(axis[:, None], axis) <= tolerance_px + 0.5
    return np.array([(found & binary_dilation(truth, reach)).sum(), found.sum(),
                     (truth & binary_dilation(found, reach)).sum(), truth.sum()], float)


def overlap(counts: np.ndarray) -> dict[str, float]:
    """Precision, recall and intersection over union of summed `matches`."""
    right, seen, hit, there = counts
    precision, recall = right / max(seen, 1.0), hit / max(there, 1.0)
    iou = precision * recall / max(precision + recall - precision * recall, 1e-9)
    return {"precision": float(precision), "recall": float(recall), "iou": float(iou)}


def judge(answer, kind: scenes.Kind, folder: Path, shards: range, threshold: float = 0.5) -> dict:
    """How well `answer` (a picture to OUTPUTS at half the size) does on whole scenes of a kind."""
    counts = {name: np.zeros(4) for name in ("line", "spot")}
    skin_iou, pairs = [], {"blood": [], "melanin": []}
    for shard in shards:
        data = scenes.load_shard(kind.path(folder, shard))
        for image, maps in zip(data["images"], data["maps"].astype(np.float32)):
            out = answer(image)
            skin = maps[..., 0] > 0.5
            found = out[0] > 0.5
            skin_iou.append((found & skin).sum() / max((found | skin).sum(), 1))
            for name, channel, truth in (("line", 1, maps[..., 1] > skin_network.LINE_MM_MIN),
                                         ("spot", 2, maps[..., 2] > skin_network.SPOT_MIN)):
                # Maps have half the picture's size, and so has the tolerance, rounded down.
                counts[name] += matches((out[channel] > threshold) & found, truth, TOLERANCE_PX // 2)
            pairs["melanin"].append((out[4][skin].mean(), maps[..., 2][skin].mean()))
            pairs["blood"].append((out[5][skin].mean(), maps[..., 3][skin].mean()))
    report: dict = {"scenes": len(skin_iou), "skin_iou": float(np.mean(skin_iou))}
    report |= {name: overlap(sums) for name, sums in counts.items()}
    for name, values in pairs.items():
        report[f"{name}_r"] = float(np.corrcoef(np.array(values).T)[0, 1])
    return report


def train(folder: Path, out: Path, settings: Settings, shards: int | None, threads: int = 1, log_every: int = 100) -> None:
    """Trains and writes `skinmap.pt` and `skinmap.json` into `out`."""
    torch.set_num_threads(threads)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    data = SceneSet(scenes.SKIN, folder, shards)
    if data.refresh() == 0:
        raise FileNotFoundError(f"no shard `{scenes.SKIN.path(folder, 0)}`: render skin scenes first")
    model = skin_network.SkinNet(settings.width).to(memory_format=torch.channels_last)
    averaged = training.Average(model, settings.average_decay)
    optimiser = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    out.mkdir(parents=True, exist_ok=True)
    started, running = time.monotonic(), []
    for step in range(settings.steps):
        training.set_rate(optimiser, settings.learning_rate, step, settings.steps, settings.warmup_steps)
        picture, truth = crops(data, rng, settings)
        picture = vary_light(picture, rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            raw = model(picture)
        loss = loss_of(raw.float(), targets(truth), settings)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        averaged.take_in(model, step)
        running.append(loss.item())
        if (step + 1) % log_every == 0 or step + 1 == settings.steps:
            print(f"step {step + 1}/{settings.steps}  loss {np.mean(running):.3f}  scenes {data.refresh()}  "
                  f"{time.monotonic() - started:.0f} s", flush=True)
            running.clear()
            torch.save(averaged.state, out / "skinmap.pt")
    record = {"settings": asdict(settings), "renderer": skin_scenes.VERSION, "scenes": data.refresh(),
              "samples_seen": settings.steps * settings.batch, "threads": threads,
              "seconds": round(time.monotonic() - started), "torch": torch.__version__.split("+")[0],
              "parameters": sum(p.numel() for p in model.parameters())}
    (out / "skinmap.json").write_text(json.dumps(record, indent=2) + "\n")


def answering(weights: Path, width: int):
    """The trained network as a function from a picture (H x W x 3, 8 bits) to its maps."""
    model = skin_network.SkinNet(width)
    model.load_state_dict(torch.load(weights, weights_only=True))
    exported = skin_network.Exported(model).eval()

    def answer(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return exported(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255.0)[0].numpy()

    return answer
