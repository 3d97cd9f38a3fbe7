"""Records, made small: a report of the paper's full set reads some 175,000 of them.

Rounds are columns rather than objects, and what many records have in common is held once.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynexit.bench.records import Record
from dynexit.bench.report.columns import Rounds
from dynexit.errors import DynexitError


@dataclass(frozen=True)
class Generation:
    """A record of a text.

    Attributes:
        prompt: names the content of what was asked.
        run: names the options; records with equal ones were timed together.
        token_ids: as bytes, to be compared.
    """

    model: str
    task: str
    example: str
    prompt: str
    method: str
    run: str
    token_ids: bytes
    new_tokens: int
    text: str
    reference: Any
    scores: Mapping[str, float]
    peak_memory: int
    shape: Mapping[str, int]
    options: Mapping[str, Any]
    environment: Mapping[str, Any]
    prefill_seconds: float
    decode_seconds: float
    tokens: int
    rounds: Rounds


class Reader:
    """Makes generations of records; holds once what they have in common."""

    def __init__(self) -> None:
        self._shared: dict[str, Mapping[str, Any]] = {}

    def read(self, record: Record) -> Generation | None:
        """None of a failure, or without statistics.

        Raises:
            DynexitError: statistics that cannot be read.
        """
        if record.error is not None or record.stats is None:
            return None
        try:
            return self._read(record, record.stats)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            where = f"{record.task} {record.example} {record.method}"
            raise DynexitError(f"the statistics of {where} cannot be read: {error!r}.") from error

    def _read(self, record: Record, stats: Mapping[str, Any]) -> Generation:
        rounds = Rounds.read(stats)
        return Generation(
            model=sys.intern(record.model),
            task=sys.intern(record.task),
            example=record.example,
            prompt=record.prompt,
            method=sys.intern(record.method),
            run=run_of(record),
            token_ids=np.array(record.token_ids, np.int64).tobytes(),
            new_tokens=len(record.token_ids),
            text=record.text,
            reference=record.reference,
            scores=record.scores,
            peak_memory=record.peak_memory,
            shape=self._share(record.shape),
            options=self._share(record.options),
            environment=self._share(record.environment),
            prefill_seconds=float(stats["prefill_seconds"]),
            decode_seconds=float(stats["decode_seconds"]),
            tokens=int(stats["tokens"]),
            rounds=rounds,
        )

    def _share(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._shared.setdefault(_text_of(values), values)


def run_of(record: Record) -> str:
    """Equal for records with equal options."""
    return sys.intern(_text_of(record.options))


def _text_of(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)
