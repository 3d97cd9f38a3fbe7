"""What a round asks of the model: every layer of every position once, and nothing twice."""

from collections import Counter

import pytest
import torch
from numbers_in import facts
from tiny import EXITING, LLAMA, LOSSLESS, decode, random_model

from dynexit import Sampling
from dynexit.decoding import prefilling
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.requests import drive, serve
from dynexit.decoding.sequence import Decoding
from dynexit.methods import make_controller

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


def started(model, prompt, method, count=12, **sampling):
    limits = Limits(count, model.config.max_positions)
    job = Job(prompt, limits, Sampling(**sampling))
    return Decoding(model, make_controller(method), facts(model.config.num_layers), job)


class Watched:
    """What a model was asked to compute: how often each layer of each position, and how many rows
    of the head.
    """

    def __init__(self, model, monkeypatch):
        self.model, self.work, self.rows = model, Counter(), 0
        self.run_layers, self.unembed = model.run_layers, model.unembed
        for name in ("run_layers", "unembed"):
            monkeypatch.setattr(model, name, getattr(self, f"_{name}"))

    def _run_layers(self, hidden, rows, start, stop, *others):
        for span in rows.spans:
            positions = range(span.start, span.stop)
            self.work.update((a, p) for a in range(start, stop) for p in positions)
        return self.run_layers(hidden, rows, start, stop, *others)

    def _unembed(self, hidden, limit=None):
        self.rows += len(hidden)
        return self.unembed(hidden, limit)

    def drive(self, steps):
        """Counts anew."""
        self.work, self.rows = Counter(), 0
        drive(self.model, steps)


@pytest.fixture
def watched(monkeypatch):
    return Watched(random_model(depth_gain=0.7), monkeypatch)


@pytest.mark.parametrize("method", EXITING)
def test_a_round_computes_every_layer_of_every_position_once(method, watched):
    sequence = started(watched.model, PROMPT, method)
    watched.drive(sequence.prefill())
    drafted = 0
    while sequence.finish_reason is None:
        start = sequence.cache.length
        watched.drive(sequence.round())
        last = sequence.stats.rounds[-1]
        positions = range(start, start + last.drafted + 1)
        assert watched.work == Counter((a, p) for a in range(LLAMA.num_layers) for p in positions)
        drafted += last.drafted
    if "del-e-lim" not in method:
        assert drafted > 0


@pytest.mark.parametrize("method", EXITING)
def test_a_round_unembeds_drafts_targets_and_shadow_tokens_once(method, watched):
    sequence = started(watched.model, PROMPT, method)
    watched.drive(sequence.prefill())
    while sequence.finish_reason is None:
        watched.drive(sequence.round())
        last = sequence.stats.rounds[-1]
        shadows = (last.accepted + 1) * len(sequence.shadowed)
        assert watched.rows == last.drafted + last.drafted + 1 + shadows


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_prompt_is_computed_once(method, watched, monkeypatch):
    monkeypatch.setattr(prefilling, "PREFILL_ROWS", 3)
    watched.drive(started(watched.model, PROMPT, method).prefill())
    grid = ((a, p) for a in range(LLAMA.num_layers) for p in range(len(PROMPT)))
    assert watched.work == Counter(grid)


@torch.inference_mode()
def test_sequences_may_take_turns_with_every_request():
    model = random_model(depth_gain=0.7)
    prompts = [PROMPT, [7, 7], list(range(20)), [1, 2, 3]]
    rule = {"temperature": 0.9, "seed": 5}
    sequences = [
        started(model, prompt, method, **rule)
        for prompt, method in zip(prompts, LOSSLESS, strict=False)
    ]
    running = {s: s.prefill() for s in sequences}
    answers = dict.fromkeys(sequences)
    while running:
        for sequence, steps in list(running.items()):
            try:
                answers[sequence] = serve(model, steps.send(answers[sequence]))
            except StopIteration:
                answers[sequence] = None
                del running[sequence]
                if sequence.finish_reason is None:
                    running[sequence] = sequence.round()
    for sequence, prompt in zip(sequences, prompts, strict=True):
        alone, _ = decode(model, prompt, sampling=Sampling(**rule))
        assert sequence.tokens == alone.tokens
