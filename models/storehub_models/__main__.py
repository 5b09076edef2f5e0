"""Command line of everything in this package.

`cargo xtask models` calls these commands in their order; by hand each of them can be called alone. What is there is kept:
a shard of scenes, and a training that ended with the very settings that it would have now.
"""

from __future__ import annotations

import os

# Set before numpy loads: with more threads than idle cores, spinning costs more than it gives.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# ONNX Runtime would write a record of its use to disk and send it to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
# Which scenes there are, and how many shards of them are made: of 500 scenes, of 25 where they are of skin.
SHARDS = {"landmarks": 28, "covered": 24, "skin": 46, "skin-b": 4}
REFERENCE_FACES = 240
# What a shell says of a program that was stopped by Ctrl-C.
STOPPED = 130


def _kind(name: str):
    from . import scenes

    return {"landmarks": scenes.LANDMARKS, "covered": scenes.COVERED, "skin": scenes.SKIN, "skin-b": scenes.SKIN_B}[name]


def _shards(args) -> range:
    return range(args.first_shard, SHARDS[args.scenes] if args.shards is None else args.shards)


def _render(args) -> None:
    for shard in _shards(args):
        _kind(args.scenes).render(args.work / "scenes", shard)


def _train(args) -> None:
    from . import train_landmarks

    settings = train_landmarks.Settings(**({"steps": args.steps} if args.steps else {}))
    shards = SHARDS["landmarks"] if args.shards is None else args.shards
    train_landmarks.train(args.work / "scenes", args.work / "run", settings, shards)


def _train_cover(args) -> None:
    from . import train_cover

    settings = train_cover.Settings(**({"steps": args.steps} if args.steps else {}))
    shards = SHARDS["covered"] if args.shards is None else args.shards
    train_cover.train(args.work / "scenes", args.work / "run", settings, shards)


def _train_skin(args) -> None:
    from . import train_skinmap

    settings = train_skinmap.Settings(**({"steps": args.steps} if args.steps else {}))
    shards = SHARDS["skin"] if args.shards is None else args.shards
    train_skinmap.train(args.work / "scenes", args.work / "run", settings, shards, args.threads)


def _judge_skin(args) -> None:
    from . import train_skinmap

    answer = train_skinmap.answering(args.work / "run" / "skinmap.pt", train_skinmap.Settings().width)
    report = train_skinmap.judge(answer, _kind(args.scenes), args.work / "scenes", _shards(args))
    print(json.dumps(report, indent=1))


def _export(args) -> None:
    from . import export

    export.export(args.work / "run", args.weights)


def _export_cover(args) -> None:
    from . import export_cover

    export_cover.export(args.work / "run", args.weights)


def _export_skin(args) -> None:
    from . import export_skinmap

    export_skinmap.export(args.work / "run", args.work, args.weights)


def _reference(args) -> None:
    from . import reference

    reference.write(args.work, args.weights, args.vision, args.faces)


def _closeups(args) -> None:
    from . import closeups

    print(json.dumps({"folder": str(closeups.folder(args.work))}))


def _compare(args) -> None:
    from . import compare

    compare.compare(args.work / "scenes", args.weights)


def _turned(args) -> None:
    from . import turned

    print(json.dumps(turned.judge(args.vision, args.weights)))


def _evaluate(args) -> None:
    from . import evaluate

    print(json.dumps(evaluate.evaluate(args.weights, args.work / "scenes"), indent=1))


def _card(args) -> None:
    from . import card, evaluate

    card.write(evaluate.evaluate(args.weights, args.work / "scenes"), args.weights)


def _portrait(args) -> None:
    from . import portrait

    portrait.write(args.out, args.seed, args.size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m storehub_models", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    work = argparse.ArgumentParser(add_help=False)
    work.add_argument("--work", type=Path, default=PACKAGE_ROOT / ".work",
                      help="scenes and training runs; can be deleted (default: models/.work)")
    weights = argparse.ArgumentParser(add_help=False)
    weights.add_argument("--weights", type=Path, default=PACKAGE_ROOT / "weights",
                         help="where the exported networks are (default: models/weights)")
    shards = argparse.ArgumentParser(add_help=False)
    shards.add_argument("--shards", type=int, help=f"how many shards (default: {SHARDS})")
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--scenes", choices=list(SHARDS), default="landmarks",
                       help="which scenes (default: %(default)s)")
    which.add_argument("--first-shard", type=int, default=0)
    steps = argparse.ArgumentParser(add_help=False)
    steps.add_argument("--steps", type=int, help="training steps (default: as in the settings)")

    def command(name: str, call, help: str, *parents) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, parents=parents)
        added.set_defaults(call=call)
        return added

    command("render", _render, "draw scenes", work, which, shards)
    command("train", _train, "train the landmark network", work, shards, steps)
    command("train-cover", _train_cover, "train the cover network", work, shards, steps)
    threads = command("train-skin", _train_skin, "train the skin network", work, shards, steps)
    threads.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    command("judge-skin", _judge_skin, "how well a trained skin network does", work, which, shards)
    command("export", _export, "the landmark network's file, manifest and goldens", work, weights)
    command("export-cover", _export_cover, "the cover network's file, manifest and goldens", work, weights)
    command("export-skin", _export_skin, "the skin network's file, thresholds, manifest and goldens", work, weights)
    reference = command("reference", _reference, "what scores are compared with", work, weights)
    reference.add_argument("--vision", type=Path, required=True, help="the program storehub-vision")
    reference.add_argument("--faces", type=int, default=REFERENCE_FACES,
                           help="how many faces are drawn (default: %(default)s)")
    command("closeups", _closeups, "faces from so near that pores would show", work)
    command("compare", _compare, "line and spot masks beside classical ones", work, weights)
    turned = command("turned", _turned, "what the gate says of turned heads", weights)
    turned.add_argument("--vision", type=Path, required=True, help="the program storehub-vision")
    command("evaluate", _evaluate, "the figures of the model cards", work, weights)
    command("card", _card, "evaluate, and write the model cards", work, weights)
    portrait = command("portrait", _portrait, "a large frontal face, no person")
    portrait.add_argument("--seed", type=int, default=1, help="which face (default: %(default)s)")
    portrait.add_argument("--size", type=int, default=1080, help="width in pixels (default: %(default)s)")
    portrait.add_argument("--out", type=Path, required=True, help="a .png or .jpg file")
    return parser


def main() -> int:
    args = _parser().parse_args()
    try:
        args.call(args)
    except KeyboardInterrupt:
        # Whoever stops it knows where it was, and what is there is kept.
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
