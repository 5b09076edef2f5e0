"""The networks that see a crop: plain 3x3 convolutions to maps of 24 x 24.

Owns the layers, and what leaves for the kiosk. The landmark network has one heat map a point; the decoding to
coordinates is part of the exported graph so that no caller repeats it. The cover network has one map, the probability
that something stands before the face there, and says whether the face wears glasses. Coordinates are fractions of the crop's side: (0, 0) is the crop's top
left corner and the centre of heat-map cell (row r, column c) is ((c + 0.5) / 24, (r + 0.5) / 24).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .render import POINT_COUNT

INPUT_PX = 96
HEATMAP_CELLS = 24


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class CropNet(nn.Module):
    """Normalised RGB, N x 3 x 96 x 96, to logits, N x `maps` x 24 x 24."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.to_48 = block(3, 16, 2)
        self.at_48 = block(16, 24)
        self.to_24 = nn.Sequential(block(24, 48, 2), block(48, 48))
        self.to_12 = nn.Sequential(block(48, 64, 2), block(64, 64))
        self.to_6 = nn.Sequential(block(64, 64, 2), block(64, 64))
        self.back_12 = block(64, 48)
        self.back_24 = block(48, 48)
        self.head = nn.Conv2d(48, maps, 1)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """What is seen, in cells of 24 x 24."""
        at_24 = self.to_24(self.at_48(self.to_48(image)))
        at_12 = self.to_12(at_24)
        at_6 = self.to_6(at_12)
        at_12 = self.back_12(at_12 + functional.interpolate(at_6, scale_factor=2.0, mode="nearest"))
        return self.back_24(at_24 + functional.interpolate(at_12, scale_factor=2.0, mode="nearest"))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image))


class CoverNet(CropNet):
    """Normalised RGB to logits: N x 24 x 24 that something stands before the face there, and N that it wears glasses."""

    def __init__(self) -> None:
        super().__init__(1)
        # Glasses lie around the eyes, so the whole is told from where the eyes are and not from everywhere.
        self.glasses = nn.Sequential(block(48, 32, 2), block(32, 32, 2), nn.Flatten(), nn.Linear(32 * 36, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        at_24 = self.features(image)
        return self.head(at_24)[:, 0], self.glasses(at_24)[:, 0]


def cell_centres() -> torch.Tensor:
    """x and y of every heat-map cell as fractions of the crop's side, shape (24 * 24, 2)."""
    axis = (torch.arange(HEATMAP_CELLS, dtype=torch.float32) + 0.5) / HEATMAP_CELLS
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.reshape(-1), y.reshape(-1)], dim=1)


def decode(logits: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities, their means (N x P x 2) and their root mean square radii (N x P)."""
    flat = torch.softmax(logits.flatten(2), dim=2)
    points = flat @ centres
    second = flat @ (centres * centres)
    variance = (second - points * points).sum(dim=2)
    return flat, points, torch.sqrt(torch.clamp(variance, min=0.0) + 1e-12)


def landmark_net() -> CropNet:
    """A heat map for each point."""
    return CropNet(POINT_COUNT)


class ExportedCover(nn.Module):
    """What leaves for the kiosk: probabilities, N x 24 x 24 and N."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, glasses = self.network(image)
        return torch.sigmoid(hidden), torch.sigmoid(glasses)


class Exported(nn.Module):
    """What leaves for the kiosk: network and decoding in one graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("centres", cell_centres())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        flat, points, spread = decode(self.network(image), self.centres)
        return points, spread, flat.reshape(flat.shape[0], POINT_COUNT, HEATMAP_CELLS, HEATMAP_CELLS)
