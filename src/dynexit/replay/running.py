"""Runs a method over traced texts: the loop of real decoding, at the price that a table says."""

from dynexit.costs.table import Costs
from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.loop import generate
from dynexit.decoding.records import Statistics
from dynexit.decoding.sampling import Sampling
from dynexit.decoding.sequence import Limits, Sequence
from dynexit.decoding.text import NoText
from dynexit.errors import DynexitError
from dynexit.replay.model import TraceModel
from dynexit.replay.trace import TracedText, TraceInfo


def replay(info: TraceInfo, text: TracedText, controller: Controller, costs: Costs) -> Statistics:
    """The statistics of one text; seconds are those of `costs`.

    Raises:
        DynexitError: a method that reads what a trace does not hold.
    """
    model = TraceModel(info, text, costs)
    prompt = text.tokens[: text.prompt_length].tolist()
    limits = Limits(text.generated, info.max_positions, frozenset(info.eos))
    sequence = Sequence(model, prompt, controller, Sampling(), limits, NoText(), clock=model.clock)
    for _ in generate(sequence):
        pass
    if sequence.tokens != text.tokens[: len(sequence.tokens)].tolist():
        raise DynexitError(f"{text.name}: replay left the recorded text: the trace is damaged.")
    return sequence.stats
