"""MediaPipe's face mesh on the evaluation pictures: the peer of our face finder and landmarks.

A script by itself, for an interpreter that has `models/peers.txt` and nothing of ours: MediaPipe wants an older numpy.
Prints one JSON document. Its pupils, nose tip and corners of the mouth stand for our five points.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import mediapipe
import numpy as np
from PIL import Image

# Of the 478 points: pupils, nose tip, corners of the mouth, left and right as seen in the picture.
POINTS = (468, 473, 4, 61, 291)
LANDMARKS = ("eye_image_left", "eye_image_right", "nose_tip", "mouth_image_left", "mouth_image_right")
FAILED_PCT = 15.0
FACES_MAX = 16
LIVE_PX = (1280, 720)
ROUNDS = 3
BOOTSTRAP_REPEATS = 2000


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


def points(found, shape) -> np.ndarray:
    """Our five points of one face, in pixels."""
    return np.array([(found.landmark[i].x * shape[1], found.landmark[i].y * shape[0]) for i in POINTS])


def largest(mesh, image: np.ndarray) -> np.ndarray | None:
    """The points of the face whose eyes are farthest apart."""
    faces = [points(face, image.shape) for face in mesh.process(image).multi_face_landmarks or []]
    return max(faces, key=lambda five: np.linalg.norm(five[0] - five[1]), default=None)


def landmarks(mesh, folder: Path) -> dict:
    """The error of the five points, as ours is measured."""
    errors, failures = [], []
    for entry in json.loads((folder / "faces_hd.json").read_text()):
        truth = np.array([entry["landmarks5"][name] for name in LANDMARKS])
        five = largest(mesh, pixels(folder / entry["file"]))
        if five is None:
            failures.append(entry["file"])
            continue
        each = 100 * np.linalg.norm(five - truth, axis=1) / np.linalg.norm(truth[0] - truth[1])
        errors.append(each)
        if each.mean() > FAILED_PCT:
            failures.append(entry["file"])
    errors = np.array(errors)
    by_face, rng = errors.mean(axis=1), np.random.default_rng(5)
    drawn = [rng.choice(by_face, len(by_face)).mean() for _ in range(BOOTSTRAP_REPEATS)]
    return {"faces": len(errors), "mean_pct": by_face.mean(), "mean_ci": list(np.percentile(drawn, [2.5, 97.5])),
            "eyes_pct": errors[:, :2].mean(), "worst_pct": by_face.max(), "failures": failures}


def in_frame(image: np.ndarray) -> np.ndarray:
    """The picture in the middle of a camera's frame, as high as the frame."""
    width, height = LIVE_PX
    picture = Image.fromarray(image)
    picture = picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", LIVE_PX, (128, 128, 128))
    frame.paste(picture, ((width - picture.width) // 2, 0))
    return np.array(frame)


def timed(mesh, images: list[np.ndarray]) -> dict:
    mesh.process(images[0])
    wall, processor, found = [], [], 0
    for image in images * ROUNDS:
        start, began = time.perf_counter(), time.process_time()
        faces = mesh.process(image).multi_face_landmarks
        wall.append(1e3 * (time.perf_counter() - start))
        # Of all its threads.
        processor.append(1e3 * (time.process_time() - began))
        found += faces is not None
    return {"pictures": len(images), "with_face": found / ROUNDS, "ms_p50": np.median(wall), "ms_p99": np.percentile(wall, 99), "per_second": 1e3 / np.median(wall),
            "processor_ms_p50": np.median(processor)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="the folder with faces_hd.json")
    folder = parser.parse_args().pictures
    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=FACES_MAX)
    small = json.loads((folder / "faces_lr.json").read_text())
    seen = {entry["file"]: largest(mesh, pixels(folder / entry["file"])) is not None for entry in small}
    easy = [entry["file"] for entry in small if not entry["hard"]]
    negatives = [path for path in sorted((folder / "negatives").iterdir()) if path.suffix in (".png", ".jpg", ".jpeg", ".webp")]
    portraits = [pixels(path) for path in sorted((folder / "faces_hd").iterdir())]
    report = {
        "name": "MediaPipe face mesh", "version": mediapipe.__version__,
        "landmarks": landmarks(mesh, folder),
        "not_hard": {"counted": sum(seen[file] for file in easy), "of": len(easy)},
        "negatives": {"counted": sum(largest(mesh, pixels(path)) is not None for path in negatives), "of": len(negatives)},
        "stills": timed(mesh, portraits), "live": timed(mesh, [in_frame(image) for image in portraits]),
    }
    print(json.dumps(report, indent=1, default=float))


if __name__ == "__main__":
    main()
