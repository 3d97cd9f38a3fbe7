"""`dynexit bench` on a model that is in memory, told as it comes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from dynexit.bench.check import first_difference
from dynexit.bench.options import Options, Shard
from dynexit.bench.records import Record
from dynexit.bench.roofline import weight_bytes
from dynexit.bench.run import run
from dynexit.bench.worker import Worker
from dynexit.language_model import LanguageModel
from gpu.part import Part
from gpu.summary import VANILLA, differing, line, summary, text

DIFFERENCES = 12  # texts that are looked at: each costs a second


class _TimeUpError(Exception):
    """Enough: what there is has been kept."""


@dataclass
class Bench:
    """One model in one runtime.

    Attributes:
        runtime: of `lm`; findings are kept under it.
        texts: prompts.
        tokens: new ones of each.
        rate: GB/s of the card's memory.
        ends: on the clock of `time.monotonic`: no text is begun after it.
    """

    part: Part
    lm: LanguageModel
    runtime: str
    texts: Sequence[str]
    tokens: int
    rate: float
    ends: float
    records: list[Record] = field(default_factory=list)

    def run(self, methods: tuple[str, ...]) -> None:
        """Every method on every prompt, in turns, until time is up."""
        folder, stem = self.part.folder, f"methods-{self.lm.name}-{self.runtime}"
        asked, file = folder / f"prompts-{self.lm.name}.jsonl", folder / f"{stem}.jsonl"
        lines = (json.dumps({"id": str(i), "prompt": one}) for i, one in enumerate(self.texts))
        asked.write_text("\n".join(lines) + "\n")
        file.unlink(missing_ok=True)
        task, model = f"jsonl:{asked}", f"{self.lm.name} {self.runtime}"
        options = Options((model,), (task,), methods, max_new_tokens=self.tokens)

        def watch(record: Record | None, done: int, total: int) -> None:
            if record is not None:
                self._tell(record, done, total)
            if not done % len(methods):
                self.put(summary(self.records), "methods")
            if monotonic() > self.ends:
                raise _TimeUpError

        try:
            run(options, file, _Loaded(self.lm), watch)
        except _TimeUpError:
            self.say(f"no time for more than {len(self.records)} texts")
        self._sum_up()

    def put(self, value: Any, *keys: str) -> None:
        self.part.put(value, "shapes", self.lm.name, self.runtime, *keys)

    def say(self, told: str) -> None:
        self.part.say(f"{self.lm.name}, {self.runtime}, {told}")

    def _tell(self, record: Record, done: int, total: int) -> None:
        self.records.append(record)
        told = text(record)
        self.put(told, "texts", record.method, record.example)
        speed = told.get("error") or f"{told['tokens_per_second']:.1f} tokens/s"
        self.say(f"text {done} of {total}, {record.method}: {speed}")

    def _sum_up(self) -> None:
        told = summary(self.records)
        self.put(told, "methods")
        for method, one in told.items():
            self.say(f"{method}: {line(one)}")
        if VANILLA in told:
            share = self._moved() * told[VANILLA]["tokens_per_second"] / self.rate / 1e9
            self.put(share, "vanilla_share_of_bandwidth")
            self.say(f"vanilla: {share:.0%} of the memory's bandwidth")

    def _moved(self) -> float:
        """Bytes of weights, keys and values that a plain step reads."""
        model, lengths = self.lm.model, [r.prompt_tokens + self.tokens / 2 for r in self.records]
        config = model.config
        position = 2 * config.num_layers * config.num_kv_heads * config.head_dim
        mean = sum(lengths) / len(lengths)
        return weight_bytes(model) + position * mean * model.dtype.itemsize

    def compare(self) -> None:
        """Where texts part from plain decoding's, and whether that is a near tie."""
        for plain, other in differing(self.records)[:DIFFERENCES]:
            if monotonic() > self.ends:
                return
            prompt = self.lm.prompt_tokens(self.texts[int(plain.example)])
            where = first_difference(self.lm, prompt, plain.token_ids, other.token_ids)
            assert where is not None
            told = {**asdict(where), "near_tie": where.near_tie}
            self.put(told, "differences", f"{other.method} on prompt {other.example}")
            self.say(f"{other.method} on prompt {other.example} parts from vanilla: {told}")


class _Loaded:
    """Runs shards with a model that is in memory."""

    shard_size = None

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm

    def run(self, options: Options, shards: Sequence[Shard]) -> Iterator[Record]:
        worker = Worker(options, lambda name, options: self.lm)
        for shard in shards:
            yield from worker.run(shard)
