"""The model cards: figures from an evaluation and words that must not outlive them.

Owns `MODEL_CARD.md` and `weights/evaluation.json`. The text is here and the numbers come from the
report, so a card cannot disagree with the last measurement.
"""

from __future__ import annotations

import json
from pathlib import Path

# Goals for masks on the renderer that no training sees: overlap at `train_skinmap.TOLERANCE_PX`, and worst tone over best.
SKIN_GOALS = (("skin", 0.9), ("line", 0.55), ("spot", 0.6))
TONE_GOAL = 0.8


def write(report: dict, weights: Path) -> None:
    """Writes the cards beside the folder of weights, and the figures that they were made from into it."""
    path = weights / "evaluation.json"
    last = json.loads(path.read_text()) if path.exists() else {}
    known = manifests(weights)
    report = {name: {"model_sha256": known[name]["sha256"]} | found for name, found in report.items()}
    report = {name: with_last(found, last.get(name, {})) for name, found in report.items()}
    path.write_text(json.dumps(report, indent=1) + "\n")
    (weights.parent / "MODEL_CARD.md").write_text(text(report, known))


def manifests(weights: Path) -> dict[str, dict]:
    """What the kiosk is told of each network."""
    return {name: json.loads((weights / f"{name}.json").read_text()) for name in ("landmark96", "cover96", "skinmap")}


def text(report: dict, known: dict[str, dict]) -> str:
    """All cards."""
    cards = [make(report[name], known[name])
             for name, make in (("landmark96", _landmarks), ("cover96", _cover), ("skinmap", _skinmap))]
    return "\n".join([_HEAD, *cards])


def with_last(found: dict, last: dict) -> dict:
    """The figures found; those that this machine has nothing to measure on are the last ones of the same network."""
    if last.get("model_sha256") != found["model_sha256"]:
        return found
    if "skipped" in found:
        return last
    if "real_faces" in last and "real_faces" not in found:
        return found | {name: last[name] for name in ("real_faces", "face_check") if name in last}
    return found


_HEAD = """<!-- Written by `python -m storehub_models card`; change `storehub_models/card.py` instead. -->"""


def _row(name: str, part: dict) -> str:
    low, high = part["all_five_ci95"]
    faces = str(part["faces"]) + ("" if part["runs"] == part["faces"] else f", {part['runs']} runs")
    return (f"| {name} | {faces} | {part['all_five']} ({low} to {high}) | {part['eyes']} | {part['nose']} | "
            f"{part['mouth']} | {part['worst']} | {part['above_15_percent']} % |")


def _landmarks(report: dict, manifest: dict) -> str:
    training, synthetic = manifest["training"], report["synthetic_held_out"]
    settings = training["settings"]
    rows = [_row("renders of unseen seeds, jittered box, two passes", synthetic)]
    extra = "No real faces were at hand when this card was made."
    goals = outline = ""
    measured = report["face_check"]
    check = (
        f"Mean `spread` of the five points above {measured['limit']} means no face (`face_check` in the manifest). "
        f"Of {measured['renders']} unseen renders {measured['renders_called_no_face']} were called no face, and of as many "
        f"backdrops {measured['backdrops_called_face']} were called a face.")
    if "crops_called_face" in measured:
        check += (f" Of {measured['photographs_without_face_crops']} crops of photographs without a human face "
                  f"{measured['crops_called_face']} were called a face.")
    if "real_faces" in report:
        real = report["real_faces"]
        rows += [_row("real faces, detector's box, one pass", real["one_pass"]),
                 _row("real faces, detector's box, two passes", real["two_passes"]),
                 _row("real faces, box jittered by 3 %, one pass", real["one_pass_jittered"]),
                 _row("real faces, box jittered by 3 %, two passes", real["two_passes_jittered"])]
        tone = real["by_lightness"]
        offsets = "; ".join(f"{name} {x:+.1f}, {y:+.1f}" for name, (x, y) in real["mean_offset_percent"].items())
        shift = real["common_shift_x_percent"]
        glasses = real.get("with_glasses")
        extra = (
            f"By lightness of the cheeks (two passes): darkest third {tone['darkest']} %, middle {tone['middle']} %, "
            f"lightest {tone['lightest']} %."
            + (f" With glasses ({glasses['faces']} faces): {glasses['all_five']} %." if glasses else "")
            + f"\n\nMean offset against the annotation, x and y in percent of the inter-ocular distance: {offsets}. "
            "A steady offset is partly a different idea of the same point (the annotator's nose tip and the "
            "renderer's are not the same spot). The shift in x common to all five points is "
            f"{shift['straight']:+} %, and {shift['by_mirror']:+} % when the picture is mirrored and the points are mirrored "
            "back: what both have in common lies in the annotation, half of their difference in the network. Offsets are "
            "reported, not corrected.")
        gap = real["mirror_gap_percent"]
        outline = (
            f" What can be said without a truth: between a real picture and its mirror image the five points differ by "
            f"{gap['named']} %, the other inner points by {gap['inner']} % and the outline by {gap['outline']} %.")
        small = real["small_pictures"]
        check += (f" On {small['boxes']} detector boxes in 250 px headshots, where no points were annotated, "
                  f"{small['called_no_face']} were called no face.")
        check += f" Of the {real['one_pass']['faces']} real faces {real['called_no_face']} were called no face."
        best = real["two_passes"]
        met = [("eyes at most 6 %", best["eyes"] <= 6.0), ("all five at most 9 %", best["all_five"] <= 9.0),
               ("fewer than 2 % of the faces above 15 %", best["above_15_percent"] < 2.0)]
        goals = "\n".join(f"- {name}: {'met' if ok else '**not met**'}" for name, ok in met)
        if best["above_15_percent"] == 0:
            # Zero of n leaves a share of 1 - 0.05^(1/n) possible at 95 %.
            goals += (f"\n\n{real['one_pass']['faces']} faces are few: none above 15 % among them still allows up to "
                      f"{100 * (1 - 0.05 ** (1 / real['one_pass']['faces'])):.0f} % among all (95 % limit).")
    hardest = sorted(synthetic["per_point"].items(), key=lambda item: -item[1])[:5]
    hardest_text = ", ".join(f"{name} {value} %" for name, value in hardest)
    table = "\n".join(rows)
    return f"""# Model card: landmark96

Finds {len(manifest['points'])} points of one frontal face inside the box of a face detector. It serves the framing of the
skin analysis and of try-on. It recognises nobody, and gives no age, sex, origin, feeling or health.

| | |
|---|---|
| File | `weights/landmark96.onnx`, {manifest['bytes'] / 1e6:.2f} MB, {training['parameters']:,} parameters, sha256 `{manifest['sha256'][:16]}…` |
| Input | 96 x 96 RGB crop, convention in `weights/landmark96.json` |
| Output | points (decoded in the graph), spread, heat maps |
| Trained on | {training['scenes']:,} scenes of renderer {training['renderer']}, {training['samples_seen']:,} crops, seed {settings['seed']}, {training['seconds'] // 60} minutes on one thread |
| Photographs in training | none |

## Error

Mean distance to the truth over the inter-ocular distance, in percent, with a 95 % interval by bootstrap over faces.

| Set | Faces | All five | Eyes | Nose tip | Mouth corners | Worst face | Above 15 % |
|---|---|---|---|---|---|---|---|
{table}

{extra}

{goals}

By skin tone on unseen renders: darkest third {synthetic['by_lightness']['darkest']} %, middle {synthetic['by_lightness']['middle']} %, lightest {synthetic['by_lightness']['lightest']} %.

All 32 points on unseen renders: {synthetic['all_32_points']} %. Hardest: {hardest_text}. On real faces only the five named points
have a truth to compare with; **the other 27 are measured on renders alone**.{outline}

## Face or not

{check}
It is a check on the detector and on tracking, not a detector.

The real faces are a small evaluation set of CC0 head-and-shoulder pictures of adults. Their five points were set by eye
(repeatability 2 to 4 % of the inter-ocular distance), so differences below that mean nothing. They are kept outside this repository, are never trained on and never shown.

## What it is bad at

- It always answers, also where there is no face: apply the face check above.
- Yaw above about 30 degrees, children, closed eyes, hands or masks over the mouth: rare or absent in the renders. Whether
  something stands before the face is asked of another network (cover96).
- Points hidden by hair, beard or dark glasses are guesses from the rest of the face.
- The outline (temples, jaw, chin sides) follows the renderer's idea of a head and is the weakest part on real people.
- Rolls above about 25 degrees are outside the training range.

## How it was made

Each scene is a seed: an analytic head with anthropometric spreads, skin of a two-layer Kubelka-Munk model from very light to
very dark (L* 28 to 67, half of them below 60), painted eyes, brows, lips, hair, beard, glasses, one to three lamps with cast shadow,
and a camera with blur, noise, white balance error, sharpening and JPEG. Known limits: hair and ears are flat
paint on the height field, expressions are neutral to smiling, and there is one design of head. The second renderer has maps of
skin and no points, so how far the network has learnt this one's habits is not measured.

The detector's box was measured by running the detector on our own renders: it found 271 of 300 of them as faces. The crop
convention lies between that result and the anthropometric distance from forehead to chin, and training jitters it
by {settings['shift_sd']} sides in place and {settings['scale_sd']} in the logarithm of the size. Two entries of the evaluation set had
been read (box and points as numbers) when the convention was set; none of its figures chose anything afterwards.

`cargo xtask models` renders, trains, exports, evaluates and writes this card. Repeating a training gives the same
weights only with the pinned versions, one thread and the same processor, because floating-point sums differ otherwise;
the figures differ within their intervals. {'' if training['shards_fixed'] else 'The shipped run read scenes while they were still being rendered, so early steps saw fewer of them.'}
"""


def _cover(report: dict, manifest: dict) -> str:
    training, renders = manifest["training"], report["renders"]
    real = "No real faces were at hand when this card was made."
    if "real_faces" in report:
        hd, lr = report["real_faces"]["faces_hd"], report["real_faces"]["faces_lr"]
        real = (f"\nCalled covered: {hd['called_covered']} of {hd['faces']} real faces with nothing before them, and "
                f"{lr['called_covered']} of {lr['faces']} in 250 px headshots (the most that was called hidden of one: "
                f"{100 * hd['most']:.0f} % and "
                f"{100 * lr['most']:.0f} %). Real pictures of covered faces were not at hand: what hides is drawn by our own "
                "code in all of these figures, and in those of docs/skin-report.md by other code of ours."
                f"\n\nGlasses were found on {hd['glasses_found']} of {hd['glasses']} real faces with them, and on "
                f"{hd['without_glasses_called_with']} of {hd['without_glasses']} without.")
    return f"""# Model card: cover96

Says, in {network_cells(manifest)} cells, where something stands before a face: a hand, a mask, cloth, a cup. It serves the gate of the skin
analysis, which refuses such pictures. Hair, beards and glasses are no cover; whether there
are glasses it says too, for the advice to take them off. It recognises nobody.

| | |
|---|---|
| File | `weights/cover96.onnx`, {manifest['bytes'] / 1e6:.2f} MB, {training['parameters']:,} parameters, sha256 `{manifest['sha256'][:16]}…` |
| Input | 96 x 96 RGB, the crop of the landmark network's second pass |
| Output | a probability for each cell, and one of glasses |
| Trained on | {training['scenes']:,} scenes of {training['renderer']}, {training['samples_seen']:,} crops, seed {training['settings']['seed']}, {training['seconds'] // 60} minutes on one thread |
| Photographs in training | none |

## How well it does

On {renders['scenes']} unseen renders, with crops laid by the landmark network: overlap of hidden cells of the face {renders['cells_iou']}; of
{renders['covered']} faces of which at least 15 % was hidden {renders['covered_found']} were found, and of {renders['bare']} bare ones {renders['bare_called_covered']} were called covered. Glasses were found on {renders['glasses_found']} of
{renders['glasses']} faces, and on {renders['without_glasses_called_with']} of {renders['without_glasses']} that wear none.
{real}

## Where it fails

- What hides less than a finger's width, or has the colour of the skin around it and no edge: a plaster, a single finger along the
  cheek, fingers flat on the forehead. Veils that let the face through, and what looks like hair or a beard: fur, a dark scarf.
- Sunglasses are glasses to it and no cover. The nose beside thick rims often looks hidden; the kiosk leaves it out where glasses are.
- Hands in gloves with a print, other people's faces and hair before the face are rare in the renders or absent.
- A face far from frontal, where landmarks lie beside it.

## How it was made

The landmark network's renderer with one thing in seven of ten pictures, drawn into the scene's light before the camera: hands of
two-boned fingers with their own relief, in the face's own colour or another; masks; boxes, bands and ellipses of cloth; pieces of
the same picture from elsewhere. What real faces have more of than the renderer draws is drawn too and hides nothing: smiles with
teeth, folds, strongly lit noses, beards, fringes, glare and cast shadows. Which of these to add, and that foreheads must be covered
too, was seen on some of the real faces above, bare and with patches painted on them, after earlier trainings.
"""


def network_cells(manifest: dict) -> str:
    """The size of the cover network's map."""
    rows, cols = manifest["outputs"]["cover"]["shape"][1:]
    return f"{rows} x {cols}"


def _skinmap(report: dict, manifest: dict) -> str:
    training, thresholds = manifest["training"], manifest["thresholds"]
    settings = training["settings"]
    samples = f"{training['samples_seen']:,} crops of {settings['crop_px']} px"
    measured = report.get("skipped") and f"Not measured: {report['skipped']}." or _skin_figures(report)
    return f"""# Model card: skinmap

Says, pixel by pixel, where bare skin of one frontal face is seen, where lines and spots can be told on it, and which share of
the light it mirrors. It serves the skin analysis: what is visible in one picture. It recognises nobody, and gives no age, sex,
origin, feeling or health.

| | |
|---|---|
| File | `weights/skinmap.onnx`, {manifest['bytes'] / 1e6:.2f} MB, {training['parameters']:,} parameters, sha256 `{manifest['sha256'][:16]}…` |
| Input | 512 x 512 RGB, the face upright and {manifest['frame']['view_mm']:.0f} mm wide, laid by the landmarks: `frame` in `weights/skinmap.json` |
| Output | four maps of 256 x 256: probability of skin, line and spot, share of mirrored light |
| Thresholds | skin {thresholds['skin']}, line {thresholds['line']}, spot {thresholds['spot']}, chosen on {thresholds['chosen_on']}: seeds that nothing trained on |
| Trained on | {training['scenes']:,} scenes of renderer {training['renderer']}, {samples}, seed {settings['seed']}, {training['seconds'] // 60} minutes on a shared machine |
| Photographs in training | none |

## How well it does

{measured}

## What it is for, and what it is not for

- For: describing what can be seen of a face's skin in one picture, in a kiosk's even light, to the person in front of it.
- Not for: any medical purpose. It knows no disease, a mole is a spot like any other to it, and what it does not find may be there.
- Not for: hydration, oil, elasticity, sensitivity or age of skin. A shine is light that is mirrored, whatever mirrors it.
- Not for: telling people apart, or comparing one person with another. The pictures of two cameras or two lights do not compare.
- Not for: faces turned by more than about 18 degrees, children, hands or other skin: none of them is in the renders.

## Where it fails

- Nobody has drawn lines and spots on real faces that we may use, so **all figures above are of computer-made faces**. Renderer B
  shares no code with renderer A, which it learnt from, but both are our idea of skin: on people it will be worse by an amount
  that is not known.
- Lines are the weakest map, on dark skin most of all. What else is taken for
  a line (hair on the forehead, stubble, rims of glasses, folds of the lids) was not measured.
- Spots on very dark skin and freckles thinner than about a millimetre differ little from their surroundings. Nothing that a
  viewer could not tell counts as missed, so the figures by tone compare what is visible, not what is there.
- A hand or another face's skin before the face is skin to it; the kiosk's gate asks another network (cover96) about that.
- Make-up, tattoos and filters that smooth a picture are not in the renders. Covered skin looks plain, not unmeasurable.

## How it was made

Each scene is a seed: the head of the landmark network's renderer with lines cut into its relief, spots, redness and shine, all
with their exact place. What was drawn counts as a line or a spot where it changes the picture by more than a viewer can just
notice; what was drawn and cannot be seen counts neither for nor against. What the network says of a picture is the mean of its
answers for the picture and for its mirror image. The settings are in the manifest (`training.settings`). `cargo xtask models` makes
it anew; the shipped file's two stages ran as two commands, with the same code, seeds and settings.

In the last stage of the training lines are dark as well as deep, because on skin they hold shadow and pigment. Renderer B draws
them so too, and whoever added that stage knew it: the figures for lines are of scenes that no training and no threshold has
seen, but not of an idea of lines that nobody had seen.
"""


def _skin_figures(report: dict) -> str:
    def overlap(figures: dict) -> str:
        low, high = figures["iou_ci95"]
        return f"{figures['iou']:.3f} ({low:.3f} to {high:.3f})"

    def row(name: str, figures: dict) -> str:
        line, spot = figures["line"], figures["spot"]
        return (f"| {name} | {figures['scenes']} | {overlap(figures['skin'])} | {overlap(line)} | {line['precision']:.2f}, "
                f"{line['recall']:.2f} | {overlap(spot)} | {spot['precision']:.2f}, {spot['recall']:.2f} |")

    rows = "\n".join([row("all", report), *(row(name, figures) for name, figures in report["by_tone"].items())])
    goals = [f"- {name}, overlap at least {goal:.2f}: {_met(goal <= report[name]['iou'])}" for name, goal in SKIN_GOALS]
    goals += [f"- {name}, worst tone at least {TONE_GOAL} of the best: {ratio:.2f}, {_met(TONE_GOAL <= ratio)}"
              for name, ratio in report["worst_over_best"].items()]
    goals = "\n".join(goals)
    failures = "\n".join(_skin_failures(name, report["failures"][name]) for name in report["failures"])
    return f"""Overlap (intersection over union, misses of up to 3 pixels of the picture forgiven for lines and spots) on
{report['scenes']} scenes of renderer {report['renderer']}, which no training and no threshold has seen, with 95 % intervals by bootstrap over
scenes. Tones are groups of the individual typology angle of the skin as it was drawn.

| Tone | Scenes | Skin | Lines | precision, recall | Spots | precision, recall |
|---|---|---|---|---|---|---|
{rows}

{goals}

Tones with fewer than {report['compared_from_scenes']} scenes are shown and not compared. Shine, mean over the skin of a scene against the truth: r = {report['shine_r']:.2f}.

The worst scenes, to be drawn again by their seed (`renderer_b.render_b`):

{failures}"""


def _met(is_met: bool) -> str:
    return "met" if is_met else "**not met**"


def _skin_failures(name: str, failures: dict) -> str:
    worst = "; ".join(f"seed {scene['seed']} (ITA {scene['ita_deg']}°) overlap {scene['iou']:.2f}, precision "
                      f"{scene['precision']:.2f}, recall {scene['recall']:.2f}" for scene in failures["worst"])
    text = f"- {name}s: {worst}."
    if failures["scenes_without"]:
        text += (f" On the {failures['scenes_without']} scenes without any, {100 * failures['found_share_of_skin_without']:.2f} % of the "
                 f"skin is called a {name}, at worst {100 * failures['found_share_of_skin_without_worst']:.2f} %.")
    return text
