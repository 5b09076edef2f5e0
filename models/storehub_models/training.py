"""What every training shares: its steps, the average of the weights, and when there is nothing left to do.

Owns the optimiser, the schedule (a linear start, then a half cosine down to a fiftieth) and the running average that is kept.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

LAST_SHARE = 0.02
# Longer gradients are cut.
GRADIENT_MAX = 5.0
HERE = Path(__file__).resolve().parent


def descend(model: nn.Module, settings, pace: tuple[int, float], file: Path, loss_of_step, log_every: int) -> None:
    """Trains `model` by AdamW for `pace` (steps, highest learning rate) and leaves it with the averaged weights.

    `loss_of_step(step)` draws a batch and gives its loss, to be minimised, and the figure that is printed as the mean over
    `log_every` steps. The average stands in `file` after as many, so that a run can be looked at while it goes on.
    """
    steps, peak = pace
    averaged = Average(model, settings.average_decay)
    optimiser = torch.optim.AdamW(model.parameters(), peak, weight_decay=settings.weight_decay)
    file.parent.mkdir(parents=True, exist_ok=True)
    started, running = time.monotonic(), []
    for step in range(steps):
        set_rate(optimiser, peak, step, steps, settings.warmup_steps)
        loss, told = loss_of_step(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_MAX)
        optimiser.step()
        averaged.take_in(model, step)
        running.append(float(told))
        if (step + 1) % log_every == 0 or step + 1 == steps:
            print(f"{file.stem}  step {step + 1}/{steps}  {sum(running) / len(running):.4f}  "
                  f"{time.monotonic() - started:.0f} s", flush=True)
            running.clear()
            torch.save(averaged.state, file)
    model.load_state_dict(averaged.state)


def set_rate(optimiser: torch.optim.Optimizer, peak: float, step: int, steps: int, warmup_steps: int) -> None:
    """Sets the learning rate of one step."""
    warm = min(1.0, (step + 1) / warmup_steps)
    rate = peak * warm * (LAST_SHARE + (1.0 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * step / steps)))
    for group in optimiser.param_groups:
        group["lr"] = rate


def is_finished(record: Path, settings, renderer: str, scenes: int) -> bool:
    """Whether the run whose record this is ended with these very settings on as many scenes of this renderer."""
    if not record.exists():
        return False
    ended = json.loads(record.read_text())
    if (ended["settings"], ended["renderer"], ended["scenes"]) != (asdict(settings), renderer, scenes):
        return False
    print(f"kept: the training that ended in `{record.name}`; delete it to train again", flush=True)
    return True


def end(record: Path, model: nn.Module, settings, started: float, **found) -> None:
    """Writes down what a run that began at `started` (`time.monotonic`) was, for its manifest and for `is_finished`."""
    found |= {
        "settings": asdict(settings), "seconds": round(time.monotonic() - started), "commit": commit(),
        "torch": torch.__version__.split("+")[0], "parameters": sum(p.numel() for p in model.parameters()),
    }
    record.write_text(json.dumps(found, indent=2) + "\n")


def commit() -> str | None:
    """The commit that this code is of, with `-dirty` behind it where it was changed since; none outside a checkout."""
    def git(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True)

    try:
        head = git("rev-parse", "HEAD")
        changed = git("diff", "--quiet", "HEAD", "--", ".").returncode
    except OSError:
        return None
    return None if head.returncode else head.stdout.strip() + ("-dirty" if changed else "")


class Average:
    """A running average of a network's weights; the first steps count more."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def take_in(self, model: nn.Module, step: int) -> None:
        """Moves towards the weights after `step`."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1.0 - decay)
            else:
                self.state[name].copy_(value)
