"""The bundled model's early-exit training goes on, for as long as there is time.

By `dynexit train`'s own trainer, on this project's pages and Python's library. It is stopped once
and resumed, with as many steps as the speed until then promises.
"""

import dataclasses
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dynexit.bench.provenance import ROOT
from dynexit.model.places import BUNDLED
from dynexit.training.evaluation import evaluate
from dynexit.training.recipe import Recipe, load_recipe
from dynexit.training.trainer import Progress, Trainer
from gpu.part import Part
from gpu.timing import timed

DOMAINS = [
    {"name": "pages", "kind": "text", "paths": ["docs/*.md"], "held_out_documents": 4,
     "weight": 0.3},
    {"name": "python", "kind": "python-stdlib", "paths": ["[a-h]*.py"], "weight": 0.7,
     "held_out_paths": ["csv.py", "bisect.py", "calendar.py"]},
]  # fmt: skip
BATCH = {"window": 512, "batch_windows": 64, "micro_windows": 32}
SMALL = {"window": 32, "batch_windows": 2, "micro_windows": 1}
PROBE = 4  # steps before the first stop, of which the first is slow
END = 4.0  # seconds for what follows the last step
SIDE = 8_192  # of a product that shows what arithmetic the card can do


def run(part: Part) -> None:
    with TemporaryDirectory() as folder:
        out, steps = Path(folder), 10_000
        probe = _trainer(part, steps, out)
        for name, text in probe.held_out.items():
            part.put(dataclasses.asdict(evaluate(probe.model, text)), "before", name)
        work = _work(part, probe)
        seen = _train(part, probe, PROBE)
        speed = median(one.tokens_per_second for one in seen[1:])
        tokens = _tokens(part)
        steps = PROBE + max(int((part.left - END) * speed / tokens), 1)
        if part.rehearse:
            steps = PROBE + 2
        del probe
        rest = _trainer(part, steps, out)
        part.put(rest.step, "resumed_at")
        seen = _train(part, rest, steps)
        _tell(part, rest, seen, work)


def _trainer(part: Part, steps: int, out: Path) -> Trainer:
    """From the bundled model, or from where it was stopped in `out`."""
    trainer = Trainer(_recipe(part, steps), ROOT, out, part.device)
    if part.rehearse:
        for name, text in trainer.held_out.items():
            trainer.held_out[name] = dataclasses.replace(text, windows=text.windows[:1])
    return trainer


def _recipe(part: Part, steps: int) -> Recipe:
    """The bundled model's own, on other texts and in larger batches."""
    changes: dict[str, Any] = {
        "domains": DOMAINS,
        "start_from": str(BUNDLED),
        "evaluate_every": steps + 1,
        "optimisation.tokens": steps * _tokens(part),
        **{f"optimisation.{name}": value for name, value in _batch(part).items()},
    }
    return load_recipe(ROOT / "recipes" / "bundled.yaml", changes)


def _batch(part: Part) -> dict[str, int]:
    return SMALL if part.rehearse else BATCH


def _tokens(part: Part) -> int:
    """Of a step."""
    return _batch(part)["batch_windows"] * _batch(part)["window"]


def _train(part: Part, trainer: Trainer, until: int) -> list[Progress]:
    """Steps up to `until`, or to the end of the time."""
    seen: list[Progress] = []

    def watch(told: Progress) -> None:
        seen.append(told)
        if told.step >= until or part.left < END:
            trainer.stop()
        if told.step % 10 in (0, 1):
            part.put(told.step, "step")
            speed = f"{told.tokens_per_second:.0f} tokens/s"
            part.say(f"step {told.step} of {told.steps}: loss {told.loss:.3f}, {speed}")

    reports = trainer.run(watch)
    for name, report in (reports or {}).items():
        part.put(dataclasses.asdict(report), "after", name)
    return seen


def _work(part: Part, trainer: Trainer) -> float:
    """Floating-point operations of a token, forward and backward, without the optimiser's."""
    batch = _batch(part)
    shape = batch["micro_windows"], batch["window"] + 1
    tokens = torch.randint(trainer.model.config.vocab_size, shape).to(part.device)
    turns = trainer.recipe.early_exit.rotation  # as many steps until all exits had their turn
    with FlopCounterMode(display=False) as counter:
        for step in range(turns):
            trainer.objective(tokens, step, 0.0).total.backward()
    trainer.model.zero_grad()
    return float(counter.get_total_flops() / turns / (shape[0] * batch["window"]))


def _tell(part: Part, trainer: Trainer, seen: list[Progress], work: float) -> None:
    side = 256 if part.rehearse else SIDE
    matrix = torch.randn(side, side, device=part.device).bfloat16()
    took = timed(part, {"product": lambda: matrix @ matrix}, 1.0)["product"]["min"]
    peak = 2 * side**3 / took * 1e3
    speed = median(one.tokens_per_second for one in seen)
    found = {
        "steps": trainer.step,
        "tokens": trainer.step * _tokens(part),
        "first_loss": seen[0].loss,
        "last_loss": seen[-1].loss,
        "tokens_per_second": speed,
        "flops_a_token": work,
        "peak_flops": peak,
        "share_of_arithmetic": work * speed / peak,
    }
    for name, value in found.items():
        part.put(value, name)
    part.say(
        f"{found['tokens']} tokens, {speed:.0f} a second, {found['share_of_arithmetic']:.1%} of "
        f"{peak / 1e12:.1f} TFLOP/s; loss {seen[0].loss:.3f} to {seen[-1].loss:.3f}"
    )
