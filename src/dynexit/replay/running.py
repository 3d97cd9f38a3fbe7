"""Runs methods over traced texts: the real decoding loop, with costs from a table."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.costs import Costs
from dynexit.decoding.facts import Facts
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.loop import finish
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.statistics import Statistics
from dynexit.decoding.successors import SuccessorTable
from dynexit.errors import DynexitError
from dynexit.methods import make_controller
from dynexit.rates import mean_acceptance_length, tokens_per_second
from dynexit.replay.model import TraceModel
from dynexit.replay.trace import Trace, TracedText, TraceInfo


@dataclass(frozen=True)
class Replayed:
    """A method over all texts of a trace; `rounds_per_second` is how fast replay itself was."""

    method: str
    tokens_per_second: float
    by_task: dict[str, float]
    tokens_per_round: float
    rounds_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Replaying:
    """A trace, what passes are taken to cost, and what was learned of the traced model, if anything
    was.
    """

    trace: Trace
    costs: Costs
    table: SuccessorTable | None


def facts_of(given: Replaying, controller: Controller) -> Facts:
    """The facts that a controller gets about a traced model, as about a real one."""
    info = given.trace.info
    default = info.draft_vocabulary if controller.reads_costs else None
    tokens = controller.draft_vocabulary or default
    return Facts(info.num_layers, given.costs, given.trace.sample, tokens, given.table, None, None)


def replay(given: Replaying, text: TracedText, controller: Controller) -> Statistics:
    """The statistics of one of a trace's texts; seconds are those of the costs.

    Raises:
        DynexitError: a method that reads what a trace does not hold.
    """
    info, prompt = given.trace.info, text.tokens[: text.prompt_length].tolist()
    model = TraceModel(info, text, given.costs)
    limits = Limits(text.generated, info.max_positions, frozenset(info.eos))
    job = Job(prompt, limits, clock=model.clock)
    sequence = Decoding(model, controller, facts_of(given, controller), job)
    finish(sequence)
    if sequence.tokens != text.tokens[: len(sequence.tokens)].tolist():
        raise DynexitError(f"{text.name}: replay left the recorded text: the trace is damaged.")
    return sequence.stats


def replay_all(given: Replaying, method: str) -> Replayed:
    """One method over every text, with one controller, as a benchmark runs it."""
    controller = make_controller(method)
    tokens: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    rounds, accepted, began = 0, 0, perf_counter()
    for text in given.trace.texts:
        stats = replay(given, text, controller)
        tokens[text.task] += stats.tokens
        seconds[text.task] += stats.decode_seconds
        rounds += len(stats.rounds)
        accepted += stats.accepted
    return Replayed(
        method,
        tokens_per_second(sum(tokens.values()), sum(seconds.values())) or 0.0,
        {task: tokens_per_second(tokens[task], seconds[task]) or 0.0 for task in tokens},
        mean_acceptance_length(accepted, rounds) or 0.0,
        rounds / (perf_counter() - began),
    )


def fixed_grid(info: TraceInfo) -> list[str]:
    """Every exit layer up to half the depth with every length up to 6, with trimmed exits."""
    trimmed = f"draft_vocabulary={info.draft_vocabulary}"
    return [
        f"layerskip:exit_layer={layer},speculation_length={length},{trimmed}"
        for layer in range(1, info.num_layers // 2 + 1)
        for length in range(1, 7)
    ]
