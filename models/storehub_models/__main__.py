"""Command line of everything in this package; `all` makes what is missing of the landmark network.

`all` takes minutes when the trained weights of the last run are still in the work folder, and
about an hour on one core when everything has to be rendered and trained again.
"""

from __future__ import annotations

import os

# Set before numpy loads: with more threads than idle cores, spinning costs more than it gives.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = PACKAGE_ROOT / "weights"
SHARDS = 28
REFERENCE_FACES = 240


def _render(args) -> None:
    from . import scenes
    kind = {"landmarks": scenes.LANDMARKS, "skin": scenes.SKIN, "skin-b": scenes.SKIN_B}[args.scenes]
    for shard in range(args.first_shard, args.shards):
        kind.render(args.work / "scenes", shard)


def _train(args) -> None:
    from . import train_landmarks
    settings = train_landmarks.Settings(steps=args.steps) if args.steps else train_landmarks.Settings()
    train_landmarks.train(args.work / "scenes", args.work / "run", settings, args.shards)


def _train_skin(args) -> None:
    from . import train_skinmap
    settings = train_skinmap.Settings(steps=args.steps) if args.steps else train_skinmap.Settings()
    train_skinmap.train(args.work / "scenes", args.work / "run", settings, None, args.threads)


def _judge_skin(args) -> None:
    from . import scenes, train_skinmap
    answer = train_skinmap.answering(args.work / "run" / "skinmap.pt", train_skinmap.Settings().width)
    kind = scenes.SKIN_B if args.scenes == "skin-b" else scenes.SKIN
    shards = range(args.first_shard, args.shards)
    print(json.dumps(train_skinmap.judge(answer, kind, args.work / "scenes", shards), indent=1))


def _export_skin(args) -> None:
    from . import export_skinmap
    export_skinmap.export(args.work / "run", args.work, WEIGHTS)


def _reference(args) -> None:
    from . import reference
    reference.write(args.work, WEIGHTS, args.vision, args.faces)


def _compare(args) -> None:
    from . import compare
    compare.compare(args.work / "scenes", WEIGHTS)


def _export(args) -> None:
    from . import export
    export.export(args.work / "run", WEIGHTS)


def _evaluate(_args) -> dict:
    from . import evaluate
    report = evaluate.evaluate(WEIGHTS)
    print(json.dumps(report, indent=1))
    return report


def _card(args) -> None:
    from . import card
    report = _evaluate(args)
    if "real_faces" not in report:
        # Figures on real faces stay those of the last machine that had them, unless the model changed.
        report = card.merge_with_last(report, WEIGHTS)
    card.write(report, WEIGHTS, PACKAGE_ROOT / "MODEL_CARD.md")


def _portrait(args) -> None:
    from . import portrait
    portrait.write(args.out, args.seed, args.size)


def _all(args) -> None:
    if not (args.work / "run" / "training.json").exists():
        _render(args)
        _train(args)
    _export(args)
    _card(args)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m storehub_models", description=__doc__)
    parser.add_argument("command", choices=["render", "train", "train-skin", "judge-skin", "export-skin", "reference", "compare", "export", "evaluate", "card", "portrait", "all"])
    parser.add_argument("--work", type=Path, default=PACKAGE_ROOT / ".work",
                        help="scenes and training runs; can be deleted (default: models/.work)")
    parser.add_argument("--scenes", choices=["landmarks", "skin", "skin-b"], default="landmarks",
                        help="render: which scenes (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=SHARDS,
                        help="shards of 500 scenes, of 25 for skin (default: %(default)s)")
    parser.add_argument("--first-shard", type=int, default=0)
    parser.add_argument("--steps", type=int, default=None, help="training steps of 64 crops")
    parser.add_argument("--vision", type=Path, help="reference: the program storehub-vision")
    parser.add_argument("--faces", type=int, default=REFERENCE_FACES,
                        help="reference: how many faces are rendered (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="train-skin: threads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="portrait: which person (default: %(default)s)")
    parser.add_argument("--size", type=int, default=1080, help="portrait: width in pixels (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="portrait: a .png or .jpg file")
    args = parser.parse_args()
    if args.command == "reference" and args.vision is None:
        parser.error("reference needs --vision PROGRAM")
    if args.command == "portrait" and args.out is None:
        parser.error("portrait needs --out FILE")
    commands = {"render": _render, "train": _train, "train-skin": _train_skin,
                "judge-skin": _judge_skin, "export-skin": _export_skin, "reference": _reference, "compare": _compare, "export": _export, "evaluate": _evaluate,
                "card": _card, "portrait": _portrait, "all": _all}
    commands[args.command](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
