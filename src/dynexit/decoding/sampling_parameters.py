"""Sampling parameters, checked before a model loads.

Not responsible for choosing by them (`sampling.py`). Nothing here imports PyTorch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from dynexit.errors import DynexitError

Acceptance = Literal["shared-noise", "speculative"]
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")


def check_new_tokens(count: int) -> None:
    """Raises DynexitError if the text could have no token."""
    if count < 1:
        raise DynexitError(f"max_new_tokens is {count}: it must be at least 1.")


def check_stop(text: str) -> None:
    """Raises DynexitError for a stop string that would end every text."""
    if not text:
        raise DynexitError("a stop string is empty: give at least one character.")


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy; top-k, top-p and min-p then have no effect.

    The repetition penalty divides or multiplies the logits of tokens in the prompt or the text. The
    presence penalty is subtracted once from the logit of each token in the text, the frequency
    penalty once for each occurrence.

    Args:
        logit_bias: what is added to a token's logit, by token.
        banned: token sequences that must not occur in the text: after all but the last token of a
            sequence, the last one cannot be chosen.

    Raises:
        DynexitError: a value outside its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    acceptance: Acceptance = "shared-noise"
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] | None = None
    banned: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        for name, kind in {"top_k": Integral, "seed": Integral | None}.items():
            if not _is(value := getattr(self, name), kind):
                raise DynexitError(f"{name} is {value!r}: it must be a whole number.")
        for name in ("temperature", "top_p", "min_p", *PENALTIES):
            if not _is(value := getattr(self, name), Real):
                raise DynexitError(f"{name} is {value!r}: it must be a number.")
            if not math.isfinite(value):
                raise DynexitError(f"{name} is {value!r}: it must be finite.")
        for token, value in (self.logit_bias or {}).items():
            if not (_is(token, Integral) and _is(value, Real) and math.isfinite(value)):
                raise DynexitError(
                    f"logit_bias has {token!r}: {value!r}: it must be a token id with a number."
                )
        if not all(self.banned):
            raise DynexitError("banned holds an empty sequence: give at least one token.")
        self._check_ranges()

    def _check_ranges(self) -> None:
        limits = {
            "temperature": (self.temperature >= 0, "at least 0"),
            "top_k": (self.top_k >= 0, "at least 0 (0 turns it off)"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "seed": (self.seed is None or abs(self.seed) < 2**63, "between -2^63 and 2^63"),
            "acceptance": (
                self.acceptance in ("shared-noise", "speculative"),
                "shared-noise or speculative",
            ),
        }
        for name, (fine, allowed) in limits.items():
            if not fine:
                raise DynexitError(f"{name} is {getattr(self, name)!r}: it must be {allowed}.")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always chosen."""
        return self.temperature == 0

    @property
    def counting(self) -> bool:
        """Whether a presence or frequency penalty is set."""
        return self.presence_penalty != 0 or self.frequency_penalty != 0

    @property
    def speculative(self) -> bool:
        """Whether drafts are accepted at random (Leviathan), not by equality with the target."""
        return self.acceptance == "speculative" and not self.greedy


def _is(value: object, kind: Any) -> bool:
    """Whether a value is of a kind of number; Python counts true and false among all of them."""
    return isinstance(value, kind) and not isinstance(value, bool)
