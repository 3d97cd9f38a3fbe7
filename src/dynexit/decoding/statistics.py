"""Raw counters of one generation; every rate is derived."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dynexit import rates
from dynexit.decoding.records import Round

SECONDS = ("draft_seconds", "verify_seconds", "control_seconds", "text_seconds")


@dataclass
class Statistics:
    """Raw counters of one generation; every rate is derived. The prefill's token is not counted.

    `cached_tokens` are tokens of the prompt that came from the prefix cache.
    """

    num_layers: int
    rounds: list[Round] = field(default_factory=list)
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    cached_tokens: int = 0

    @property
    def drafted(self) -> int:
        """Drafted tokens."""
        return sum(r.drafted for r in self.rounds)

    @property
    def accepted(self) -> int:
        """Drafted tokens that the target agreed with."""
        return sum(r.accepted for r in self.rounds)

    @property
    def tokens(self) -> int:
        """Tokens of the text that rounds produced."""
        return sum(r.tokens for r in self.rounds)

    @property
    def acceptance_rate(self) -> float:
        """Share of drafted tokens that were accepted; 0 where nothing was drafted."""
        return rates.acceptance_rate(self.accepted, self.drafted) or 0.0

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens per round; 0 without rounds."""
        return rates.mean_acceptance_length(self.accepted, len(self.rounds)) or 0.0

    @property
    def etpl(self) -> float:
        """Effective tokens per layer; 0 without rounds."""
        drafted_layers = sum(r.plan.exit_layer * r.drafted for r in self.rounds)
        return rates.etpl(self.tokens, drafted_layers, len(self.rounds), self.num_layers) or 0.0

    @property
    def tokens_per_second(self) -> float:
        """Decoding speed, without prefill."""
        return rates.tokens_per_second(self.tokens, self.decode_seconds) or 0.0

    @property
    def acceptance_by_position(self) -> list[float]:
        """Per level 1, 2, ...: the share of rounds with that level that accepted a token there."""
        depths = [r.depth for r in self.rounds]
        longest = max(depths, default=0)
        drafted = [sum(depth > i for depth in depths) for i in range(longest)]
        accepted = [sum(r.accepted > i for r in self.rounds) for i in range(longest)]
        return [a / d for a, d in zip(accepted, drafted, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "num_layers": self.num_layers,
            "rounds": len(self.rounds),
            "drafted": self.drafted,
            "accepted": self.accepted,
            "tokens": self.tokens,
            "acceptance_rate": self.acceptance_rate,
            "mean_acceptance_length": self.mean_acceptance_length,
            "etpl": self.etpl,
            "cached_tokens": self.cached_tokens,
            "prefill_seconds": self.prefill_seconds,
            "decode_seconds": self.decode_seconds,
            "tokens_per_second": self.tokens_per_second,
            "acceptance_by_position": self.acceptance_by_position,
            "round_records": _columns(self.rounds),
        }


def _columns(rounds: Sequence[Round]) -> dict[str, list[Any]]:
    """One list per field, with one entry per round: half the size of one object per round."""
    return {
        "drafter": [r.plan.drafter if r.drafted else None for r in rounds],
        "exit_layer": [r.plan.exit_layer if r.drafted else None for r in rounds],
        "threshold": [_rounded(r.plan.threshold) if r.drafted else None for r in rounds],
        "drafted": [r.drafted for r in rounds],
        "accepted": [r.accepted for r in rounds],
        "depth": [r.depth for r in rounds],
        "tokens": [r.tokens for r in rounds],
        **{name: [_rounded(getattr(r, name)) for r in rounds] for name in SECONDS},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
