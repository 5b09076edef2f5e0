"""The skin network: plain 3x3 convolutions from a face's picture to maps of half its size.

Owns the layers, what goes in and what comes out. The contrast of each colour against its surroundings is computed in
the graph, so that the light's colour and strength matter little and no caller repeats it.

Input: RGB of sRGB values in [0, 1], N x 3 x S x S, S a multiple of 32. Output: N x 4 x S/2 x S/2 in the order of
OUTPUTS; the first PROBABILITIES of them are probabilities, the last one the mirrored share of the light.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .network import block

OUTPUTS = ("skin", "line", "spot", "shine")
PROBABILITIES = 3
# What the network's own unit of shine is worth: it answers in quantities about one.
SHINE_UNIT = 0.3
# Side of the neighbourhood that a colour is compared with, in pixels of the input.
SURROUNDINGS_PX = 48


class SkinNet(nn.Module):
    """See the module; `forward` gives logits and shine in SHINE_UNIT, `Exported` gives what leaves."""

    def __init__(self, width: int = 20) -> None:
        super().__init__()
        w = width
        self.to_2 = nn.Sequential(block(6, w, 2), block(w, w))
        self.to_4 = nn.Sequential(block(w, 2 * w, 2), block(2 * w, 2 * w))
        self.to_8 = nn.Sequential(block(2 * w, 3 * w, 2), block(3 * w, 3 * w))
        self.to_16 = nn.Sequential(block(3 * w, 4 * w, 2), block(4 * w, 4 * w))
        self.to_32 = nn.Sequential(block(4 * w, 4 * w, 2), block(4 * w, 4 * w))
        self.back_16, self.back_8 = block(4 * w, 3 * w), block(3 * w, 2 * w)
        self.back_4, self.back_2 = block(2 * w, w), block(w, w)
        self.head = nn.Conv2d(w, len(OUTPUTS), 1)

    @staticmethod
    def contrasts(image: torch.Tensor) -> torch.Tensor:
        """The picture, and the logarithm of each linear colour against its surroundings."""
        light = torch.log(image.clamp(min=0.0) ** 2.2 + 0.01)
        around = functional.avg_pool2d(light, SURROUNDINGS_PX // 2, SURROUNDINGS_PX // 4, SURROUNDINGS_PX // 4)
        around = functional.interpolate(around, size=light.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([image - 0.5, 2.0 * (light - around)], dim=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        def up(field):
            return functional.interpolate(field, scale_factor=2.0, mode="nearest")

        at_2 = self.to_2(self.contrasts(image))
        at_4 = self.to_4(at_2)
        at_8 = self.to_8(at_4)
        at_16 = self.to_16(at_8)
        at_16 = self.back_16(at_16 + up(self.to_32(at_16)))
        at_8 = self.back_8(at_8 + up(at_16))
        at_4 = self.back_4(at_4 + up(at_8))
        return self.head(self.back_2(at_2 + up(at_4)))


class Exported(nn.Module):
    """What leaves for the kiosk: probabilities and the share of mirrored light.

    Each is the mean of what the network says of the picture and of its mirror image. It is right more often than either, and
    a face and its mirror image get the same answer.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raw = self.network(torch.cat([image, image.flip(3)]))
        shine = functional.relu(raw[:, PROBABILITIES:]) * SHINE_UNIT
        straight, mirrored = torch.cat([torch.sigmoid(raw[:, :PROBABILITIES]), shine], dim=1).chunk(2)
        return 0.5 * (straight + mirrored.flip(3))
