"""The training loop: batches, optimiser steps, evaluation, checkpoints, resumption.

A run lives in one folder. Its state is written often and atomically; started again with the same
recipe, it continues with the very batch that it had not finished. A loss that is not a number ends
it before any weight is changed.
"""

import copy
import dataclasses
import math
import operator
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynexit.errors import DynexitError, reason
from dynexit.model.dtypes import fast_dtype
from dynexit.model.files import make_folder, replacing
from dynexit.model.saving import save_checkpoint, write_json
from dynexit.model.transformer import Transformer
from dynexit.training.adapter import adapt, merge, save_adapter
from dynexit.training.corpus import DomainStream, Mixture, read_domain
from dynexit.training.evaluation import DomainReport, HeldOut, evaluate
from dynexit.training.masked_diffusion import MaskedDiffusion, evaluate_blocks
from dynexit.training.model_card import model_card
from dynexit.training.muon import Muon
from dynexit.training.objective import Objective
from dynexit.training.recipe import Recipe
from dynexit.training.start import Start
from dynexit.training.state import check_finite, damaged, read_state, restore_optimiser, write_state

STATE = "training.pt"


@dataclass(frozen=True)
class Progress:
    """Progress after a step, for the caller's callback."""

    step: int
    steps: int
    tokens: int
    loss: float
    tokens_per_second: float
    reports: dict[str, DomainReport] | None = None


Watcher = Callable[[Progress], None]


def rate_factor(step: int, steps: int, warmup_share: float, decay_share: float) -> float:
    """Learning rate relative to its peak: linear warm-up, plateau, linear decay to zero."""
    warm = (step + 1) / max(warmup_share * steps, 1)
    cool = (steps - step) / max(decay_share * steps, 1)
    return min(1.0, warm, cool)


class Trainer:
    """One training run, resumable. Call `run`."""

    def __init__(self, recipe: Recipe, data_dir: Path, out: Path, device: torch.device) -> None:
        self.recipe, self.out, self.device = recipe, out, device
        torch.manual_seed(recipe.seed)
        documents = {d.name: read_domain(d, data_dir, recipe.seed) for d in recipe.domains}
        make_folder(out)
        texts = [text for d in documents.values() for text in d.training]
        start = Start.of(recipe, out, texts)
        self.end = start.end
        self.held_out = {name: self._held_out(start, d.held_out) for name, d in documents.items()}
        self.mixture = self._mixture(start, [d.training for d in documents.values()])
        self.model = start.model.to(device)
        teacher = self._teacher()
        if recipe.adapter.rank:
            adapt(self.model, recipe.adapter)
        self.optimisers = self._optimisers()
        if recipe.optimisation.window > self.model.config.max_positions:
            raise DynexitError("recipe: optimisation.window is longer than the model's context.")
        self.objective: Objective | MaskedDiffusion = (
            MaskedDiffusion(self.model, recipe.diffusion)
            if self.recipe.masks
            else Objective(self.model, recipe.early_exit, teacher)
        )
        self.step = 0
        self._stopping = False
        self._resume()

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        settings = self.recipe.optimisation
        return max(1, settings.tokens // (settings.batch_windows * settings.window))

    def stop(self) -> None:
        """End `run` after the step that is running. Signal handlers and threads may call this."""
        self._stopping = True

    def run(self, watch: Watcher) -> dict[str, DomainReport] | None:
        """Train to the end; returns the held-out report and leaves a checkpoint in `out`.

        Returns None where `stop` ended it: then its state is in `out`, to be continued.

        Raises:
            DynexitError: a loss that is not a number; `out` keeps the state of an earlier step.
        """
        saved, settings = time.monotonic(), self.recipe.optimisation
        while self.step < self.steps and not self._stopping:
            began = time.monotonic()
            loss = self._train_step()
            self.step += 1
            speed = settings.batch_windows * settings.window / (time.monotonic() - began)
            reports = self._reports() if self.step % self.recipe.evaluate_every == 0 else None
            seen = self.step * settings.batch_windows * settings.window
            watch(Progress(self.step, self.steps, seen, loss, speed, reports))
            if time.monotonic() - saved > 60 * self.recipe.checkpoint_minutes:
                self._save_state()
                saved = time.monotonic()
        self._save_state()
        return self._finish() if self.step == self.steps else None

    def _held_out(self, start: Start, texts: list[str]) -> HeldOut:
        return HeldOut.of(start.encode(texts), texts, self.recipe.optimisation.window)

    def _mixture(self, start: Start, domains: list[list[str]]) -> Mixture:
        """The training texts of all domains.

        Raises:
            DynexitError: a domain's text is shorter than a window.
        """
        seed, window = self.recipe.seed, self.recipe.optimisation.window + 1
        streams = [DomainStream(start.encode(texts), seed) for texts in domains]
        for domain, stream in zip(self.recipe.domains, streams, strict=True):
            there = sum(map(len, stream.documents))
            if there < window:
                raise DynexitError(
                    f"domain {domain.name!r} has {there} tokens, fewer than one window of {window}."
                )
        return Mixture(streams, [d.weight for d in self.recipe.domains], seed)

    def _teacher(self) -> Transformer | None:
        """A copy of the model as teacher, if the recipe distils from it."""
        if self.recipe.masks or self.recipe.early_exit.teacher == "last":
            return None
        return copy.deepcopy(self.model).requires_grad_(False).to(fast_dtype(self.device))

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        settings = self.recipe.optimisation
        if self.recipe.adapter.rank:
            learned = [p for p in self.model.parameters() if p.requires_grad]
            rate = settings.other_rate
            return [torch.optim.AdamW(learned, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)]
        matrices = [p for p in self.model.layers.parameters() if p.ndim == 2]
        chosen = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in chosen]
        adam = torch.optim.AdamW(
            others, lr=settings.other_rate, betas=(0.9, 0.95), weight_decay=0.0
        )
        return [Muon(matrices, settings.matrix_rate, settings.weight_decay), adam]

    def _train_step(self) -> float:
        settings, progress = self.recipe.optimisation, self.step / self.steps
        torch.manual_seed(hash((self.recipe.seed, self.step)) & 0x7FFFFFFF)
        batch = self.mixture.batch(settings.batch_windows, settings.window + 1)
        parts = torch.from_numpy(batch).long().to(self.device).split(settings.micro_windows)
        last = 0.0
        for part in parts:
            with _autocast(self.device):
                losses = self.objective(part, self.step, progress)
            (losses.total / len(parts)).backward()
            last += float(losses.last) / len(parts)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        if not math.isfinite(last + float(norm)):
            raise self._diverged(f"the loss of step {self.step + 1} or its gradient")
        shares = (settings.warmup_share, settings.decay_share)
        factor = rate_factor(self.step, self.steps, *shares)
        for optimiser in self.optimisers:
            peak = settings.matrix_rate if isinstance(optimiser, Muon) else settings.other_rate
            optimiser.param_groups[0]["lr"] = peak * factor
            optimiser.step()
            optimiser.zero_grad()
        return last

    def _reports(self) -> dict[str, DomainReport]:
        return {name: self._report(text) for name, text in self.held_out.items()}

    def _report(self, text: HeldOut) -> DomainReport:
        if self.recipe.masks:
            return evaluate_blocks(self.model, text, self.recipe.diffusion.block)
        return evaluate(self.model, text)

    def _diverged(self, what: str) -> DynexitError:
        """The error for a number that is not finite."""
        kept = f"{self.out / STATE} keeps an earlier step" if (self.out / STATE).exists() else ""
        return DynexitError(
            f"{what} is not a number: training has stopped{', and ' if kept else ''}{kept}. Lower "
            "optimisation.matrix_rate and optimisation.other_rate, and give another folder."
        )

    def _save_state(self) -> None:
        try:
            check_finite(self.model.state_dict())
        except ValueError as error:
            raise self._diverged(f"a weight after step {self.step}") from error
        state = {
            "recipe": dataclasses.asdict(self.recipe),
            "step": self.step,
            "model": self.model.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "mixture": self.mixture.state(),
        }
        write_state(self.out / STATE, state)

    def _resume(self) -> None:
        file = self.out / STATE
        if not file.exists():
            return
        state = read_state(file, self.device)
        try:
            same = _identity(state["recipe"]) == _identity(dataclasses.asdict(self.recipe))
            if same:
                self._restore(state)
        except Exception as error:  # a part is missing, or of another kind or shape
            raise damaged(file, reason(error)) from error
        if not same:
            raise DynexitError(
                f"{file} belongs to a different recipe: give another folder, or delete it."
            )

    def _restore(self, state: dict[str, Any]) -> None:
        check_finite(state["model"])
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            restore_optimiser(optimiser, saved)
        self.mixture.restore(state["mixture"])
        self.step = operator.index(state["step"])

    def _finish(self) -> dict[str, DomainReport]:
        if self.recipe.adapter.rank:
            save_adapter(self.model, self.out / "adapter", str(self.recipe.start_from))
            merge(self.model)
        save_checkpoint(self.model, self.out, torch.bfloat16, eos=self.end)
        reports = self._reports()
        summary = {name: dataclasses.asdict(report) for name, report in reports.items()}
        write_json(self.out / "held_out.json", summary)
        card = model_card(self.model.config, self.recipe, reports)
        with replacing(self.out / "README.md") as partial:
            partial.write_text(card)
        return reports


def _identity(recipe: dict[str, Any]) -> dict[str, Any]:
    """What must not change when a run is resumed: its budget and its reporting may."""
    optimisation = {k: v for k, v in recipe["optimisation"].items() if k != "tokens"}
    free = ("evaluate_every", "checkpoint_minutes", "optimisation")
    return {**{k: v for k, v in recipe.items() if k not in free}, "optimisation": optimisation}


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bf16 where the machine multiplies it fast, the weights' own fp32 elsewhere."""
    dtype = fast_dtype(device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
