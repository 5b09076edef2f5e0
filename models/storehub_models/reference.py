"""The reference that scores are compared with: what the kiosk's own analysis says of computer-made faces.

Owns which faces those are and `weights/skin-reference.json`. The faces are renderer A's with seeds of their own, as a
camera takes them; those that the gate refuses are no part of it, as no visitor would be.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from . import onnx_file, skin_scenes

SCHEMA = "skin-reference/1"
FIRST_SEED = 6_000_000
# A face of about 700 pixels, as before a kiosk.
FRAME_PX, VIEW_MM = 1100, 240.0
QUANTILES = 101
# Metrics whose distribution over rendered faces means something. Redness, evenness and what lies under the eyes vary less
# on the renderer's skin than on anybody's: nearly every visitor would be told that he has the most of it.
SCORED = ("lines", "spots", "shine")
FACES_MIN = 100


def picture(work: Path, index: int) -> Path:
    """The file of one face, rendered unless it is there already."""
    path = work / "reference" / f"{skin_scenes.VERSION}-{index:04d}.png"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        scene = skin_scenes.render_skin(FIRST_SEED + index, FRAME_PX, VIEW_MM)
        Image.fromarray(scene.image).save(partial, format="PNG")
        partial.replace(path)
    return path


def write(work: Path, weights: Path, vision: Path, faces: int) -> None:
    """Renders, lets `vision` (the program `storehub-vision`) measure, and writes the quantiles of each metric."""
    pictures = [picture(work, index) for index in range(faces)]
    target = weights / "skin-reference.json"
    # A reference of another network would be refused, and none is needed to make one.
    target.unlink(missing_ok=True)
    found = subprocess.run([vision, "skin", "--json", "--models", weights, *pictures], check=True, capture_output=True)
    reports = [json.loads(line) for line in found.stdout.splitlines()]
    fit = [report for report in reports if report["capture"]["ok"]]
    if len(fit) < FACES_MIN:
        raise ValueError(f"the gate let {len(fit)} of {len(reports)} faces through, at least {FACES_MIN} are needed")
    values: dict[str, list[float]] = {}
    for report in fit:
        for metric in report["metrics"]:
            if metric["id"] in SCORED and "value" in metric:
                values.setdefault(metric["id"], []).append(metric["value"])
    document = {
        "schema": SCHEMA,
        "skinmap": f"sha256:{onnx_file.sha256(weights / 'skinmap.onnx')}",
        "renderer": skin_scenes.VERSION,
        "faces": len(fit),
        "refused": len(reports) - len(fit),
        "metrics": {name: np.round(np.quantile(found, np.linspace(0.0, 1.0, QUANTILES)), 3).tolist()
                    for name, found in sorted(values.items()) if len(found) >= FACES_MIN},
    }
    target.write_text(json.dumps(document) + "\n")
