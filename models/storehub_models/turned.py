"""What the gate says of heads that are turned: no flat picture of a person can be turned, so these are rendered.

Owns which renders those are. They are enlarged to the size that the gate asks for, which adds no detail; only what the gate
says of the turn counts here, and whether anything else let a turned head through.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from . import render

FIRST_SEED, SEEDS = 8_000_000, 600
# Turned beyond what the gate takes, by more than the landmarks are off; and hardly turned at all. Degrees.
TURNED_FROM, STRAIGHT_TO = 20.0, 6.0
# Heads that are also raised, lowered or tilted by more are left out.
OTHERWISE_TO = 10.0
STRAIGHT_MAX = 60
SIDE_PX = 1296


def heads() -> list[tuple[bool, render.Scene]]:
    """Renders with whether their head is turned."""
    found, straight = [], 0
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        scene = render.render(seed)
        yaw, pitch, roll = map(abs, scene.turn_deg)
        is_turned = TURNED_FROM <= yaw
        if max(pitch, roll) <= OTHERWISE_TO and (is_turned or yaw <= STRAIGHT_TO and straight < STRAIGHT_MAX):
            straight += not is_turned
            found.append((is_turned, scene))
    return found


def judge(vision: Path, weights: Path) -> dict:
    """Lets `vision` (the program `storehub-vision`) say what it sees."""
    drawn = heads()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.png" for index in range(len(drawn))]
        for path, (_, scene) in zip(paths, drawn):
            Image.fromarray(scene.image).resize((SIDE_PX, SIDE_PX), Image.LANCZOS).save(path)
        answer = subprocess.run([vision, "skin", "--json", "--models", weights, *paths], check=True, capture_output=True)
    captures = [json.loads(line)["capture"] for line in answer.stdout.splitlines()]
    rejects = [[problem["id"] for problem in capture["problems"] if problem["severity"] == "reject"] for capture in captures]
    counts = {"turned_from_deg": TURNED_FROM, "straight_to_deg": STRAIGHT_TO}
    for name, wanted in (("turned", True), ("straight", False)):
        these = [found for found, (is_turned, _) in zip(rejects, drawn) if is_turned == wanted]
        counts[name] = {"heads": len(these), "called_turned": sum("head_turned" in found for found in these),
                        "without_a_face": sum("no_face" in found for found in these),
                        "refused": sum(bool(found) for found in these)}
    return counts
