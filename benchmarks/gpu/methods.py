"""Methods in turn on recorded passes, and plain decoding on eager ones, by `dynexit bench`.

Random models of real shapes, whose exits agree with the last layer as real ones do; they are made
on the card and never written. A record of every text is appended to a file of its shape and
runtime, which `dynexit report` makes tables and figures of.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any, TypeVar

import torch

from dynexit.agreement import promise
from dynexit.bench.provenance import ROOT
from dynexit.language_model import LanguageModel
from dynexit.model.interface import Model
from dynexit.model.probe import read_layers
from dynexit.model.tokenizer import CheckpointTokenizer
from dynexit.synth import SAMPLE_TOKENS, byte_tokenizer
from dynexit.training.vocabulary import save_tokenizer
from gpu.benching import Bench
from gpu.models import agreeing, config_of, forget, recorded, shapes
from gpu.part import Part
from gpu.summary import VANILLA
from gpu.timing import bandwidth
from gpu.waiting import waits

METHODS = ("del", "del:analysis=full", "auto", "auto:lookup=false")
LAYERSKIP = {"llama3-8b": (6, 4), "llama3.2-1b": (3, 4), "tiny": (2, 3)}  # exit, tokens
PROMPTS, CHARACTERS, TOKENS = 8, 300, 128
EAGER_PROMPTS = 2
LATER = 0.35  # of the time is for each shape that follows
AFTER = 0.15  # of a shape's time is for what follows the methods

Made = TypeVar("Made")


def run(part: Part) -> None:
    found = bandwidth(part)
    part.put(found, "bandwidth_gb_s")
    names, failed = shapes(part)[::-1], []  # the largest first
    with TemporaryDirectory() as folder:
        tokenizer = _tokenizer(part, Path(folder), names[0])
        for index, name in enumerate(names):
            seconds = part.left * (1 - LATER * (len(names) - 1 - index))
            try:
                _Shape(part, name, tokenizer, max(found.values()), seconds).measure()
            except Exception as error:  # the next shape may do better
                failed.append(error)
                part.put(f"{type(error).__name__}: {error}", "shapes", name, "error")
            forget(part)
    if failed:
        raise failed[0]


def _tokenizer(part: Part, folder: Path, name: str) -> CheckpointTokenizer:
    """One token a byte: all shapes have one vocabulary."""
    config = config_of(part, name)
    save_tokenizer(byte_tokenizer(config.vocab_size), folder, config.max_positions)
    return CheckpointTokenizer(folder)


class _Shape:
    """A model of one shape, recorded and eager, over the same weights."""

    def __init__(
        self, part: Part, name: str, tokenizer: CheckpointTokenizer, rate: float, seconds: float
    ) -> None:
        self.part, self.name, self.tokenizer, self.rate = part, name, tokenizer, rate
        self.ends = monotonic() + seconds
        self.benched = self.ends - AFTER * seconds
        exit_layer, length = LAYERSKIP[name]
        layerskip = f"layerskip:exit_layer={exit_layer},speculation_length={length}"
        self.methods = (VANILLA, layerskip, *METHODS)
        prompts, self.tokens = (2, 24) if part.rehearse else (PROMPTS, TOKENS)
        self.watched, *self.texts = _texts(1 + prompts)

    def put(self, value: Any, *keys: str) -> None:
        self.part.put(value, "shapes", self.name, *keys)

    def say(self, told: str) -> None:
        self.part.say(f"{self.name}, {told}")

    def measure(self) -> None:
        eager = self._timed("making", lambda: agreeing(self.part, self.name))
        sample = torch.randint(self.tokenizer.size, (SAMPLE_TOKENS,)).to(self.part.device)
        agreement = read_layers(eager, sample).agreement
        self.put(agreement, "agreement")
        graphs = self._timed("trial", lambda: recorded(self.part, eager))
        lm = self._language_model(graphs)
        costs = self._timed("costs", lambda: lm.costs)
        self.put(costs.as_dict(), "costs")
        promised = promise(graphs, agreement, costs)
        self.put(promised._asdict(), "promise")
        self.say(f"promised: {promised}")
        for method in self.methods:
            self._watch(lm, method)
        bench = self._bench(lm, "graphs", len(self.texts), self.benched)
        bench.run(self.methods)
        plain = self._bench(self._language_model(eager), "eager", EAGER_PROMPTS, self.ends)
        plain.run((VANILLA,))
        self._beside(plain, bench)
        bench.ends = self.ends
        bench.compare()

    def _language_model(self, model: Model) -> LanguageModel:
        return LanguageModel(model, self.tokenizer, frozenset(), self.name)

    def _bench(self, lm: LanguageModel, runtime: str, prompts: int, ends: float) -> Bench:
        given = self.texts[:prompts], self.tokens, self.rate, ends
        return Bench(self.part, lm, runtime, *given)

    def _timed(self, what: str, action: Callable[[], Made]) -> Made:
        """What must be there before texts can be written."""
        began = perf_counter()
        found = action()
        self.part.wait()
        seconds = perf_counter() - began
        self.put(seconds, f"{what}_seconds")
        self.say(f"{what}: {seconds:.2f} s")
        return found

    def _watch(self, lm: LanguageModel, method: str) -> None:
        """Count waits in a text, when another has had every pass recorded."""
        given = {"method": method, "max_new_tokens": self.tokens // 2}
        began = perf_counter()
        lm.generate(self.watched, **given)
        first = perf_counter() - began
        stream = lm.stream(self.watched, **given)
        next(stream)  # the prompt waits, too
        with waits(self.part.device) as seen:
            for _ in stream:
                pass
        stats = stream.output.stats
        rounds = len(stats.rounds)
        found = {
            "first_text_seconds": first,
            "rounds": rounds,
            "waits_a_round": seen.asked / rounds,
            "ready_a_round": seen.ready / rounds,
            "hidden_a_round": seen.hidden.total() / rounds,
            "hidden": dict(seen.hidden),
            "share_waited": seen.seconds / stats.decode_seconds,
        }
        self.put(found, "waits", method)
        self.say(
            f"{method}: first text {first:.2f} s, {found['waits_a_round']:.2f} waits a round and "
            f"{found['hidden_a_round']:.2f} hidden ones, {found['share_waited']:.0%} of the time"
        )

    def _beside(self, eager: Bench, graphs: Bench) -> None:
        """How many plain texts are the same in both runtimes."""
        told = {one.example: one.token_ids for one in graphs.records if one.method == VANILLA}
        texts = [one for one in eager.records if one.example in told]
        same = sum(told[one.example] == one.token_ids for one in texts)
        eager.put(same, "texts_as_by_graphs")
        eager.say(f"{same} of {len(texts)} plain texts as by graphs")


def _texts(count: int) -> list[str]:
    """Pieces of a real text."""
    whole = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    step = len(whole) // count
    return [whole[start : start + CHARACTERS] for start in range(0, step * count, step)]
