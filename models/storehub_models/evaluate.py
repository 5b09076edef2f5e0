"""Evaluation of the exported networks: held-out renders, and real faces where they are at hand.

Owns the error measure: mean distance of the five named points to their truth over the inter-ocular
distance of the truth. The real faces are read from `faces_hd.json` beside the checkout, only to
measure: nothing here trains, chooses or writes a picture. Without that folder the part is skipped
with a message.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from . import crop, evaluate_skin, export, onnx_file, render

HELD_OUT_FIRST_SEED = 2_000_000
HELD_OUT_COUNT = 500
FAIL_ABOVE = 0.15
JITTER = 0.03
JITTER_REPEATS = 4
BOOTSTRAP_REPEATS = 2000
FACE_CHECK_COUNT = 200


def evaluation_folder() -> Path | None:
    """Where the real faces are: the variable STOREHUB_EVAL, or ../shared/eval beside the checkout."""
    named = os.environ.get("STOREHUB_EVAL")
    root = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "eval"
    return root / "skin" if (root / "skin" / "faces_hd.json").exists() else None


def locate(run, image: np.ndarray, box, passes: int) -> np.ndarray:
    """All points in picture coordinates; a second pass crops by the points of the first."""
    square = crop.crop_from_box(*box)
    points = None
    for _ in range(passes):
        fractions, _ = export.predict(run, crop.sample(image, square))
        points = crop.to_picture(fractions, square)
        square = crop.crop_from_points(points)
    return points


def errors(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Error of each of the five named points over the inter-ocular distance."""
    named = render.NAMED_COUNT
    return np.linalg.norm(points[:named] - truth[:named], axis=1) / np.linalg.norm(truth[0] - truth[1])


def jittered(box, rng):
    """The box with its centre and side moved by a normal JITTER of its side."""
    x, y, width, height = box
    dx, dy, grow = rng.standard_normal(3) * JITTER
    side = width * (1.0 + grow)
    cx, cy = x + width * (0.5 + dx), y + height * (0.5 + dy)
    return cx - side / 2, cy - side / 2, side, side


def summary(per_face: np.ndarray, repeats: int = 1) -> dict:
    """Figures over runs (rows) and named points (columns), in percent of the inter-ocular distance.

    `repeats` consecutive rows belong to one face; the interval resamples faces, not runs.
    """
    mean = per_face.mean(axis=1)
    by_face = mean.reshape(-1, repeats).mean(axis=1)
    rng = np.random.default_rng(5)
    means = [rng.choice(by_face, len(by_face)).mean() for _ in range(BOOTSTRAP_REPEATS)]
    return {
        "faces": len(by_face), "runs": len(mean), "all_five": round(100 * mean.mean(), 2),
        "all_five_ci95": [round(100 * v, 2) for v in np.percentile(means, [2.5, 97.5])],
        "eyes": round(100 * per_face[:, :2].mean(), 2), "nose": round(100 * per_face[:, 2].mean(), 2),
        "mouth": round(100 * per_face[:, 3:5].mean(), 2), "median": round(100 * np.median(mean), 2),
        "worst": round(100 * mean.max(), 2), "above_15_percent": round(100 * (mean > FAIL_ABOVE).mean(), 2),
    }


def thirds(per_face: np.ndarray, lightness: np.ndarray) -> dict:
    order = np.argsort(lightness)
    return {name: round(100 * per_face[part].mean(), 2)
            for name, part in zip(("darkest", "middle", "lightest"), np.array_split(order, 3))}


def held_out(run) -> dict:
    """Renders of seeds that no training saw, with a jittered box."""
    rng = np.random.default_rng(3)
    per_face, everything, tones = [], [], []
    for seed in range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + HELD_OUT_COUNT):
        scene = render.render(seed)
        cx, cy, side = scene.box
        box = jittered((cx - side / 2, cy - side / 2, side, side), rng)
        points = locate(run, scene.image, box, 2)
        per_face.append(errors(points, scene.points))
        iod = np.linalg.norm(scene.points[0] - scene.points[1])
        everything.append(np.linalg.norm(points - scene.points, axis=1) / iod)
        tones.append(-scene.melanin)
    per_face, everything = np.array(per_face), np.array(everything)
    return {**summary(per_face), "by_lightness": thirds(per_face, np.array(tones)),
            "all_32_points": round(100 * everything.mean(), 2),
            "per_point": {n: round(100 * v, 2) for n, v in zip(render.POINT_NAMES, everything.mean(axis=0))}}


RIM = list(render.RIM_POINTS)
INNER = [i for i in range(render.NAMED_COUNT, render.POINT_COUNT) if i not in RIM]


def locate_mirrored(run, image: np.ndarray, box) -> np.ndarray:
    """All points by way of the mirrored picture, in coordinates of the picture as it is."""
    width = image.shape[1]
    turned = locate(run, image[:, ::-1], (width - box[0] - box[2], *box[1:]), 2)[render.MIRROR]
    turned[:, 0] = width - turned[:, 0]
    return turned


def face_spread(run, image: np.ndarray, box) -> float:
    """The statistic of the face check: mean spread of the named points in the first pass."""
    _, spread = export.predict(run, crop.sample(image, crop.crop_from_box(*box)))
    return float(spread[:render.NAMED_COUNT].mean())


def face_check(run, limit: float, folder: Path | None) -> dict:
    """How often the spread tells a face from something else, on seeds and pictures of neither training."""
    rng = np.random.default_rng(6)
    faces, bare = 0, 0
    for seed in range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + FACE_CHECK_COUNT):
        scene = render.render(seed)
        cx, cy, side = scene.box
        faces += face_spread(run, scene.image, jittered((cx - side / 2, cy - side / 2, side, side), rng)) > limit
        backdrop = (np.clip(render.backdrop(rng, 144), 0.0, 1.0) ** 0.45 * 255).astype(np.uint8)
        bare += face_spread(run, backdrop, (20, 20, 100, 100)) <= limit
    result = {"limit": limit, "renders": FACE_CHECK_COUNT, "renders_called_no_face": int(faces),
              "backdrops_called_face": int(bare)}
    if folder is not None:
        taken = called = 0
        for path in sorted((folder / "negatives").glob("*.*")):
            image = crop.load_rgb(path)
            for _ in range(40):
                side = rng.uniform(0.2, 0.6) * min(image.shape[:2])
                x = rng.uniform(0.0, image.shape[1] - side)
                y = rng.uniform(0.0, image.shape[0] - side)
                called += face_spread(run, image, (x, y, side, side)) <= limit
                taken += 1
        result |= {"photographs_without_face_crops": taken, "crops_called_face": int(called)}
    return result


def _cheek_lightness(image: np.ndarray, truth: np.ndarray) -> float:
    """L* of two patches between eye and mouth corner, by the sRGB values as they are."""
    iod = np.linalg.norm(truth[0] - truth[1])
    half = max(2, int(0.12 * iod))
    values = []
    for eye, mouth in ((0, 3), (1, 4)):
        x, y = (0.45 * truth[eye] + 0.55 * truth[mouth]).astype(int)
        values.append(image[y - half:y + half, x - half:x + half].reshape(-1, 3))
    encoded = np.concatenate(values) / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    luminance = float(np.median(linear @ np.array([0.2126, 0.7152, 0.0722])))
    return 116.0 * luminance ** (1 / 3) - 16.0


def small_pictures(run, folder: Path, limit: float) -> dict:
    """The face check on the best box of each 250 px headshot."""
    entries = [e for e in json.loads((folder / "faces_lr.json").read_text()) if e["rustface"]]
    unsure = [face_spread(run, crop.load_rgb(folder / e["file"]), max(e["rustface"], key=lambda b: b[4])[:4]) > limit
              for e in entries]
    return {"boxes": len(entries), "called_no_face": int(np.sum(unsure))}


LANDMARK_KEYS = ("eye_image_left", "eye_image_right", "nose_tip", "mouth_image_left", "mouth_image_right")


def real_faces(run, folder: Path, limit: float) -> dict:
    """The set of real head-and-shoulder pictures with the detector's own boxes."""
    faces = json.loads((folder / "faces_hd.json").read_text())
    rng = np.random.default_rng(4)
    columns: dict[str, list] = {"one_pass": [], "two_passes": [], "one_pass_jittered": [],
                                "two_passes_jittered": []}
    lightness, signed, glasses, unsure, mirrored, signed_mirrored = [], [], [], [], [], []
    for face in faces:
        image = crop.load_rgb(folder / face["file"])
        truth = np.array([face["landmarks5"][key] for key in LANDMARK_KEYS])
        box = face["rustface_box"]
        unsure.append(face_spread(run, image, box) > limit)
        lightness.append(_cheek_lightness(image, truth))
        glasses.append("glasses" in face["tags"])
        for passes, name in ((1, "one_pass"), (2, "two_passes")):
            points = locate(run, image, box, passes)
            columns[name].append(errors(points, truth))
        iod = np.linalg.norm(truth[0] - truth[1])
        signed.append((points[:5] - truth) / iod)
        turned = locate_mirrored(run, image, box)
        mirrored.append(np.linalg.norm(points - turned, axis=1) / iod)
        signed_mirrored.append((turned[:5] - truth) / iod)
        for _ in range(JITTER_REPEATS):
            moved = jittered(box, rng)
            for passes, name in ((1, "one_pass_jittered"), (2, "two_passes_jittered")):
                columns[name].append(errors(locate(run, image, moved, passes), truth))
    result = {name: summary(np.array(rows), JITTER_REPEATS if name.endswith("jittered") else 1)
              for name, rows in columns.items()}
    two = np.array(columns["two_passes"])
    result["small_pictures"] = small_pictures(run, folder, limit)
    result["called_no_face"] = int(np.sum(unsure))
    gap = 100 * np.mean(mirrored, axis=0)
    result["mirror_gap_percent"] = {
        "named": round(gap[:5].mean(), 2), "inner": round(gap[INNER].mean(), 2), "outline": round(gap[RIM].mean(), 2)}
    result["by_lightness"] = thirds(two, np.array(lightness))
    glasses = np.array(glasses)
    if glasses.any():
        result["with_glasses"] = {"faces": int(glasses.sum()), "all_five": round(100 * two[glasses].mean(), 2)}
    # A model that leans to one side leans to the other by way of the mirror; an annotation does not.
    result["common_shift_x_percent"] = {
        name: round(100 * float(np.mean(rows, axis=(0, 1))[0]), 2)
        for name, rows in (("straight", signed), ("by_mirror", signed_mirrored))}
    result["mean_offset_percent"] = {
        name: [round(100 * v, 1) for v in offset]
        for name, offset in zip(render.POINT_NAMES, np.mean(signed, axis=0))}
    return result


def evaluate(weights: Path, scene_folder: Path) -> dict:
    """What there is to say of each network, by its name."""
    from . import evaluate_cover

    return {"landmark96": _landmarks(weights), "cover96": evaluate_cover.measure(weights),
            "skinmap": evaluate_skin.evaluate(weights, scene_folder)}


def _landmarks(weights: Path) -> dict:
    run = onnx_file.session(weights / "landmark96.onnx")
    limit = json.loads((weights / "landmark96.json").read_text())["face_check"]["no_face_above"]
    folder = evaluation_folder()
    report = {"synthetic_held_out": held_out(run), "face_check": face_check(run, limit, folder)}
    if folder is None:
        print("skipped: no real faces beside the checkout (set STOREHUB_EVAL to measure on them)")
    else:
        report["real_faces"] = real_faces(run, folder, limit)
    return report
